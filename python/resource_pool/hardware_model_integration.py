# SPDX-License-Identifier: Apache-2.0
"""A model and this machine together: its family, its size, where it would go and why.

    from hardware_model_integration import integrate_hardware_and_model
    plan = integrate_hardware_and_model("bert-base-uncased")
    pool.get_model(..., hardware_preferences=plan["hardware_preferences"])

The library decides (docs/placement.md); nothing is loaded. "mb" are 2^20 bytes. What is not known is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import _core, _shapes
from .hardware_detection import Path, _all_in_order, _compatibility, detect_available_hardware
from .model_family_classifier import _hints, classify_model, get_template_for_family

__all__ = ["get_hardware_aware_model_classification", "integrate_hardware_and_model"]

# The words for a model's size: below so many parameters. bert-large has 0.34 B, gpt2-xl 1.5 B.
_SIZES = (("small", 300_000_000), ("medium", 2_000_000_000), ("large", math.inf))
_CORES = {"small": 1, "medium": 2, "large": 4}
# The largest batch that is suggested.
_BATCH_MAX = 32


def integrate_hardware_and_model(model_name: str, model_family: str | None = None,
                                 model_class: str | type | None = None,
                                 hardware_info: dict | None = None) -> dict[str, Any]:
    """Where a model would go on this machine, and the preferences that send it there.

    model_name     a name, or the path of a folder or file
    model_family   what the caller knows better than the classifier; None: it is found out
    model_class    the name of its class, or the class
    hardware_info  what detect_available_hardware() returned; None: the machine is looked at now

    Returns {model_name, original_family (as given, or None), available_hardware {kind: bool},
    detected_family?, family_confidence?, effective_family, model_size ("small" below 300 M
    parameters, "medium" below 2 B, else "large"; by the memory it needs where only that is known,
    "medium" where nothing is), estimated_memory_mb?, device, reason, memory_required_mb?,
    compatible_devices [kinds of this machine that could take it, the best first], preferred_devices
    [kinds, the best first, were all here], compatibility_reasons {kind: text}, torch_device,
    hardware_preferences {device, priority_list, hw_compatibility}}. Where it fits nowhere, device
    is "cpu", error {status, message, hint} is there, and reason says why.
    """
    given = _shapes.family(model_family)
    facts = _facts(model_name, model_class)
    info = _info(hardware_info)
    group = given or facts["family"]
    found = _Found(model_name, group, facts, info)
    result: dict[str, Any] = {
        "model_name": model_name,
        "original_family": given,
        "available_hardware": dict(info["hardware"]),
        "effective_family": group,
        "model_size": found.size(),
    }
    if given is None:
        result["detected_family"] = facts["family"]
        result["family_confidence"] = facts["confidence"]
    result.update(found.placement())
    return result


def get_hardware_aware_model_classification(model_name: str, model_class: str | type | None = None,
                                            tasks: Sequence[str] | None = None,
                                            methods: Sequence[str] | None = None,
                                            hardware_info: dict | None = None,
                                            hw_cache_path: Path | None = None,
                                            model_db_path: Path | None = None) -> dict[str, Any]:
    """classify_model()'s answer, with what the model would need and where it would go.

    hardware_info as above; hw_cache_path is detect_available_hardware()'s cache_file, the rest is
    classify_model()'s. Adds hardware_profile {kind: {compatible (the rules support its family there,
    and no known problem refuses it), memory_usage? {peak: MB}, system_available,
    effective_compatibility (both, and there is room), level, reason}}, recommended_hardware (a
    kind), recommended_device, hardware_priority [kinds], recommended_template, torch_device and
    resource_requirements {min_memory_mb?, recommended_memory_mb?, cpu_cores, disk_space_mb?,
    batch_size (the largest power of two up to 32 that fits)}.

    The recommended kind is where the library would put it. That may be one whose support of the
    family is only partial ("compatible" false) where nothing better is there; the reason says so.
    """
    result = classify_model(model_name, model_class, tasks, methods, None, model_db_path)
    facts = _facts(model_name, model_class, tasks, methods, model_db_path)
    found = _Found(model_name, result["family"], facts, _info(hardware_info, hw_cache_path))
    result["hardware_profile"] = found.profile()
    result["recommended_hardware"] = found.kind()
    result["recommended_device"] = found.device
    result["hardware_priority"] = found.priority
    result["recommended_template"] = get_template_for_family(result["family"], result["subfamily"])
    result["torch_device"] = _shapes.torch_name(found.device)
    result["resource_requirements"] = found.requirements()
    return result


# --- questions ----------------------------------------------------------------------------------


def _facts(model_name: Any, model_class: Any = None, tasks: Any = None, methods: Any = None,
           model_db_path: Any = None) -> dict:
    return _core._facts(**_hints(model_name, model_class, tasks, methods, None, model_db_path))


def _info(given: Any, cache_file: Any = None) -> dict[str, Any]:
    """What detect_available_hardware() returned, or a dict of its flags that was made by hand."""
    if given is None:
        return detect_available_hardware(cache_file)
    if not isinstance(given, dict):
        raise TypeError(f"hardware_info: a dict is needed, not {type(given).__name__}")
    if "snapshot" in given:
        return given
    flags = given.get("hardware", given)
    if not isinstance(flags, dict):
        raise TypeError("hardware_info: 'hardware' is no dict")
    flags = {_shapes.ALIASES.get(name, name): bool(value) for name, value in flags.items()}
    named = {name: flags.get(name, name == "cpu") for name in _shapes.KINDS}
    machine = [{"id": name, "kind": name, "available": True} for name in _shapes.KINDS if named[name]]
    away = [{"kind": name, "reason": "not in hardware_info"} for name in _shapes.KINDS if not named[name]]
    return {"hardware": named, "snapshot": {"version": 1, "devices": machine, "absent": away}}


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / _shapes.MIB, 1)


class _Found:
    """The answers about one model on one machine."""

    def __init__(self, name: str, group: str, facts: dict, info: dict):
        self.name = name
        self.group = group
        self.facts = facts
        self.info = info
        self.snapshot = info["snapshot"]
        wishes = {"model_family": _shapes.known(group)}
        self.plan = _shapes.place(name, self.snapshot, wishes)
        self.order = _all_in_order(name, wishes)
        self.priority = self.order[: len(_shapes.ranking(name, group))]
        self.here = _shapes.place(name, self.snapshot, {**wishes, "priority_list": self.order})
        self.kinds = _compatibility(name, group)
        placed = self.plan["placement"]
        self.device = placed["device"] if placed else "cpu"
        self.candidate = next((each for each in self.plan["candidates"]
                               if each["device"] == self.device), {})

    def kind(self) -> str:
        return self.device.partition(":")[0]

    def size(self) -> str:
        count = self.facts["parameters"]
        if count is None:
            need = self.candidate.get("memory_bytes_needed")
            # Four bytes a parameter is what is needed where nothing says less.
            count = need / 4 if need is not None else None
        return "medium" if count is None else next(word for word, most in _SIZES if count < most)

    def placement(self) -> dict[str, Any]:
        placed = self.plan["placement"]
        needed = _mb(self.candidate.get("memory_bytes_needed"))
        taken = [each["kind"] for each in self.here["candidates"] if each["accepted"]]
        result: dict[str, Any] = {
            "device": self.device,
            "reason": placed["reason"] if placed else self.plan["error"]["message"],
            "compatible_devices": list(dict.fromkeys(taken)),
            "preferred_devices": list(self.priority),
            "compatibility_reasons": {kind: row["reason"] for kind, row in self.kinds.items()},
            "torch_device": _shapes.torch_name(self.device),
            "hardware_preferences": {
                "device": self.device,
                "priority_list": list(self.priority),
                "hw_compatibility": self.hw_compatibility(),
            },
        }
        estimate = _mb(_core._memory_need(self.name)["total_bytes"])
        if estimate is not None:
            result["estimated_memory_mb"] = estimate
        if needed is not None:
            result["memory_required_mb"] = needed
        if not placed:
            result["error"] = dict(self.plan["error"])
        return result

    def hw_compatibility(self) -> dict[str, dict]:
        """As get_model() takes it. A kind with partial support is not refused there: it ranks last.
        What it needs is left to the library, which knows better once it was loaded."""
        return {kind: {"compatible": row["compatible"] or row["level"] == "none"}
                for kind, row in self.kinds.items()}

    def profile(self) -> dict[str, dict]:
        rows = {}
        first = _shapes.best_of_each_kind(self.here)
        for kind, told in self.kinds.items():
            is_here = bool(self.info["hardware"].get(kind))
            fits = first.get(kind, {}).get("accepted", False)
            rows[kind] = {
                "compatible": told["compatible"],
                "system_available": is_here,
                "effective_compatibility": told["compatible"] and is_here and fits,
                "level": told["level"],
                "reason": first[kind]["reason"] if is_here and kind in first else told["reason"],
            }
            if told["memory_bytes"] is not None:
                rows[kind]["memory_usage"] = {"peak": _mb(told["memory_bytes"])}
        return rows

    def requirements(self) -> dict[str, Any]:
        need = _core._memory_need(self.name, self.candidate.get("precision"))
        result: dict[str, Any] = {"cpu_cores": _CORES[self.size()], "batch_size": self.batch()}
        weights = self.facts["file_bytes"] or self.facts["weights_bytes"] or need["weights_bytes"]
        for key, value in (("min_memory_mb", need["total_bytes_min"]),
                           ("recommended_memory_mb", need["total_bytes_max"]),
                           ("disk_space_mb", weights)):
            if value is not None:
                result[key] = _mb(value)
        return result

    def batch(self) -> int:
        """The largest power of two whose need fits the device now; 1 where that is not known."""
        room = self.candidate.get("memory_bytes_usable")
        precision = self.candidate.get("precision")
        size = 1
        while room is not None and size < _BATCH_MAX:
            need = _core._memory_need(self.name, precision, batch_size=2 * size)["total_bytes"]
            if need is None or need > room:
                break
            size *= 2
        return size
