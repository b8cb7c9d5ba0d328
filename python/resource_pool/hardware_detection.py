# SPDX-License-Identifier: Apache-2.0
"""What this machine has: kinds of device, their details, which is best, and why others are absent.

    from hardware_detection import detect_available_hardware, CUDA
    info = detect_available_hardware()
    if info["hardware"][CUDA]: print(info["details"][CUDA]["devices"])

Devices that only exist in a simulation (``WEBNN_SIMULATION=1``, ``RESOURCE_POOL_SIMULATE=FILE``) are
marked everywhere and are never the best where a real one is. What is not known is left out. "MB" are
2^20 bytes and "GB" 2^30, as everywhere in the guide; keys that end in ``_bytes`` are bytes.

A file to simulate that is missing or damaged raises the library's error (NotFoundError, DataError,
...): the real machine never stands in for it. Wrong types of arguments are TypeError, unknown names
ValueError.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any, Union

from . import _core, _shapes

CPU = "cpu"
CUDA = "cuda"
ROCM = "rocm"
MPS = "mps"
OPENVINO = "openvino"
WEBNN = "webnn"
WEBGPU = "webgpu"
QUALCOMM = "qualcomm"
TPU = "tpu"

__all__ = [
    "CPU", "CUDA", "ROCM", "MPS", "OPENVINO", "WEBNN", "WEBGPU", "QUALCOMM", "TPU",
    "HardwareDetector", "detect_available_hardware", "detect_browser_features",
    "detect_hardware_with_comprehensive_checks", "get_hardware_priority_list",
    "get_model_hardware_compatibility", "get_recommended_device", "is_hardware_simulated",
]

Path = Union[str, "os.PathLike[str]"]

_BROWSERS = (WEBNN, WEBGPU)
# Of these an absence with a way out means that something is there and does not work.
_HARDWARE = (CUDA, ROCM, MPS, QUALCOMM, TPU)


# --- details of each kind -----------------------------------------------------------------------


def _fill(target: dict, **values: Any) -> dict:
    """Put in what is known."""
    target.update((key, value) for key, value in values.items() if value is not None)
    return target


def _mb(size: int | None) -> int | None:
    return None if size is None else size >> 20


def _gb(size: int | None) -> float | None:
    return None if size is None else round(size / (1 << 30), 2)


def _its(device: dict) -> dict:
    return device.get("accelerator") or {}


def _said_by_first(devices: list[dict], key: str) -> Any:
    return next((_its(each)[key] for each in devices if _its(each).get(key) is not None), None)


def _cpu_details(snapshot: dict) -> dict:
    device = next(iter(_shapes.devices_of(snapshot, CPU)), {})
    cpu = device.get("cpu") or {}
    features = cpu.get("features") or []
    memory = _fill({"unit": "MB"}, total=_mb(device.get("memory_bytes_total")),
                   available=_mb(device.get("memory_bytes_free")))
    details = {
        "system": platform.system(),
        "python_version": platform.python_version(),
        "cores": _fill({}, logical=cpu.get("logical_count"), physical=cpu.get("physical_count"),
                       allowed=cpu.get("affinity_count")),
        "memory": memory,
    }
    if features:
        details["sse_support"] = any(each.startswith("sse") for each in features)
        details["avx_support"] = "avx" in features
        details["avx2_support"] = "avx2" in features
        details["features"] = list(features)
    return _fill(details, architecture=cpu.get("architecture"), processor=device.get("name"),
                 memory_limit_source=cpu.get("memory_limit_source"))


def _gpu(device: dict) -> dict:
    its = _its(device)
    total = device.get("memory_bytes_total")
    free = device.get("memory_bytes_free")
    return _fill({"id": device["id"]}, name=device.get("name"), total_memory=_gb(total),
                 total_memory_bytes=total, free_memory_bytes=free,
                 multi_processor_count=its.get("compute_unit_count"), uuid=its.get("uuid"),
                 pci_address=its.get("pci_address"), driver_version=its.get("driver_version"),
                 has_tensor_cores=its.get("tensor_cores"))


def _cuda_details(devices: list[dict]) -> dict:
    listed = []
    for each in devices:
        capability = _its(each).get("compute_capability")
        row = _fill(_gpu(each), capability=capability)
        parts = capability.split(".") if capability else []
        if len(parts) == 2 and all(part.isdigit() for part in parts):
            row["compute_capability_major"], row["compute_capability_minor"] = map(int, parts)
        listed.append(row)
    return _fill({"device_count": len(listed), "devices": listed},
                 cuda_version=_said_by_first(devices, "runtime_version"),
                 driver_version=_said_by_first(devices, "driver_version"))


def _rocm_details(devices: list[dict]) -> dict:
    listed = [_fill(_gpu(each), gfx_target=_its(each).get("gfx_target")) for each in devices]
    return _fill({"device_count": len(listed), "devices": listed},
                 hip_version=_said_by_first(devices, "runtime_version"),
                 driver_version=_said_by_first(devices, "driver_version"))


def _torch_has_mps() -> bool | None:
    """What torch says, where the program has it loaded already."""
    backends = getattr(sys.modules.get("torch"), "backends", None)
    is_built = getattr(getattr(backends, "mps", None), "is_built", None)
    return bool(is_built()) if callable(is_built) else None


def _mps_details(devices: list[dict]) -> dict:
    first = devices[0]
    return _fill({"device": first.get("name") or first["id"]}, built_with_mps=_torch_has_mps(),
                 macos_version=platform.mac_ver()[0] or None,
                 metal_version=_its(first).get("runtime_version"),
                 total_memory_bytes=first.get("memory_bytes_total"))


def _openvino_details(devices: list[dict]) -> dict:
    names = [each["id"].partition(":")[2] or "CPU" for each in devices]
    told = {}
    for name, each in zip(names, devices):
        told[name] = _fill({"name": name}, full_name=each.get("name"), type=_its(each).get("type"),
                           total_memory_bytes=each.get("memory_bytes_total"))
    return _fill({"available_devices": names, "device_info": told},
                 version=_said_by_first(devices, "runtime_version"))


def _qualcomm_details(devices: list[dict]) -> dict:
    return _fill({"backend": "qnn", "device_count": len(devices)}, device=devices[0].get("name"),
                 qnn_sdk=_said_by_first(devices, "runtime_version"))


def _tpu_details(devices: list[dict]) -> dict:
    return {"device_count": len(devices), "devices": [_gpu(each) for each in devices]}


def _browser_details(snapshot: dict, name: str) -> dict:
    """Of WebNN and WebGPU, available or not."""
    devices = _shapes.devices_of(snapshot, name)
    is_simulated = bool(devices) and all(map(_shapes.is_simulated, devices))
    details = {
        "environment": "browser" if devices and not _is_made_up(devices) else "none",
        "mode": "unavailable" if not devices else "simulation" if is_simulated else "real",
        "simulation_enabled": is_simulated,
        "runtime_available": bool(devices) and not is_simulated,
    }
    if not devices:
        reason, hint = _shapes.why_not(snapshot, name)
        return _fill(details, reason=reason, hint=hint or None)
    first = devices[0]
    details["reason"] = f"{'a simulation' if is_simulated else 'a browser'} offers '{first['id']}'"
    return _fill(details, device=first.get("name"), vendor=_its(first).get("vendor"),
                 type=_its(first).get("type"), version=_said_by_first(devices, "runtime_version"))


def _is_made_up(devices: list[dict]) -> bool:
    """By WEBNN_SIMULATION and the like: there is not even a browser in it."""
    return all(each["id"].endswith(":simulated") for each in devices)


_DETAILS = {
    CUDA: _cuda_details, ROCM: _rocm_details, MPS: _mps_details, OPENVINO: _openvino_details,
    QUALCOMM: _qualcomm_details, TPU: _tpu_details,
}


def _details(snapshot: dict, name: str) -> dict:
    if name in _BROWSERS:
        return _browser_details(snapshot, name)
    devices = _shapes.devices_of(snapshot, name)
    if not devices:
        reason, hint = _shapes.why_not(snapshot, name)
        return _fill({"reason": reason}, hint=hint or None)
    found = _cpu_details(snapshot) if name == CPU else _DETAILS[name](devices)
    if all(map(_shapes.is_simulated, devices)):
        found["simulated"] = True
    return found


def _errors(snapshot: dict) -> dict[str, str]:
    """What is there and cannot be used, by kind; a kind that is merely absent is no error."""
    errors = {}
    for name in _shapes.KINDS:
        if _shapes.devices_of(snapshot, name):
            continue
        is_there = any(each["kind"] == name for each in snapshot["devices"])
        reason, hint = _shapes.why_not(snapshot, name)
        if is_there or (hint and name in _HARDWARE):
            errors[name] = reason
    return errors


# --- the flat form ------------------------------------------------------------------------------


def _system(details: dict, snapshot: dict) -> dict:
    cpu = details[CPU]
    system = {
        "os": platform.system(),
        "os_version": platform.version(),
        "platform": platform.platform(),
        "python_version": platform.python_version(),
    }
    if snapshot.get("simulated"):
        system["simulated"] = True
    return _fill(system, architecture=cpu.get("architecture"), processor=cpu.get("processor"),
                 cpu_count=cpu.get("cores", {}).get("logical"),
                 total_memory=cpu.get("memory", {}).get("total"),
                 available_memory=cpu.get("memory", {}).get("available"))


def _flat_gpu(row: dict) -> dict:
    total = row.get("total_memory_bytes")
    return _fill({}, name=row.get("name"), total_memory=_mb(total),
                 compute_capability=row.get("capability"))


def _infos(details: dict, flags: dict[str, bool]) -> dict:
    """cuda_info and its like, of the kinds that are there."""
    infos: dict[str, dict] = {}
    if flags[CUDA]:
        cuda = details[CUDA]
        infos["cuda_info"] = _fill({"device_count": cuda["device_count"],
                                    "devices": [_flat_gpu(each) for each in cuda["devices"]]},
                                   cuda_version=cuda.get("cuda_version"))
    if flags[ROCM]:
        rocm = details[ROCM]
        infos["rocm_info"] = _fill({"device_count": rocm["device_count"],
                                    "devices": [_flat_gpu(each) for each in rocm["devices"]]},
                                   hip_version=rocm.get("hip_version"))
    if flags[MPS]:
        infos["mps_info"] = {"is_built": details[MPS].get("built_with_mps", True)}
    if flags[OPENVINO]:
        told = details[OPENVINO]
        infos["openvino_info"] = _fill({"available_devices": list(told["available_devices"])},
                                       version=told.get("version"))
    if flags[QUALCOMM]:
        infos["qnn_info"] = dict(details[QUALCOMM])
    for name in _BROWSERS:
        if flags[name]:
            told = details[name]
            infos[f"{name}_info"] = _fill({"simulation": told["simulation_enabled"]},
                                          type=told.get("type"), version=told.get("version"))
    return infos


def _report(snapshot: dict, priority: list[str] | None, device_index: int) -> dict[str, Any]:
    """All of it: the nested form, and beside it the same as flat flags."""
    devices = {name: _shapes.devices_of(snapshot, name) for name in _shapes.KINDS}
    flags = {name: bool(found) for name, found in devices.items()}
    real = {name: any(not _shapes.is_simulated(each) for each in found)
            for name, found in devices.items()}
    details = {name: _details(snapshot, name) for name in _shapes.KINDS}
    best = _best(snapshot, priority, device_index)
    report: dict[str, Any] = {
        "hardware": flags,
        "details": details,
        "errors": _errors(snapshot),
        "best_available": best.partition(":")[0],
        "best_device": best,
        "torch_device": _shapes.torch_name(best),
        "real_hardware": real,
        "simulated_hardware": {name: flags[name] and not real[name] for name in flags},
        "simulated": bool(snapshot.get("simulated")),
        "notes": list(snapshot.get("notes") or []),
        "system": _system(details, snapshot),
        "timestamp": time.time(),
        "preferred_device_index": device_index,
        "snapshot": snapshot,
    }
    if priority is not None:
        report["priority_list"] = priority
    for name, is_there in flags.items():
        report["qnn" if name == QUALCOMM else name] = is_there
    report.update(_infos(details, flags))
    return report


def _best(snapshot: dict, priority: list[str] | None, device_index: int) -> str:
    """The id of the device that the library prefers for a model of which nothing is known."""
    plan = _shapes.place("", snapshot, {"priority_list": priority, "preferred_index": device_index})
    return plan["placement"]["device"] if plan["placement"] else CPU


def _look(cache_file: Any, use_cache: bool, force_refresh: bool) -> dict:
    where = _shapes.path(cache_file, "cache_file") if use_cache else "off"
    return _core._hardware(cache=where, refresh=bool(force_refresh), all=True)


# --- functions ----------------------------------------------------------------------------------


def detect_available_hardware(cache_file: Path | None = None, priority_list: Sequence[str] | None = None,
                              preferred_device_index: int = 0, use_cache: bool = True,
                              force_refresh: bool = False) -> dict[str, Any]:
    """Look at the machine now.

    cache_file              where to keep what slow runtimes and browsers said, for a day (never free
                            memory); None: HARDWARE_DETECTION_CACHE, else the user's cache folder
    priority_list           kinds in order of preference, for best_available and torch_device
    preferred_device_index  which device of its kind to prefer
    use_cache               False: such a file is neither read nor written
    force_refresh           True: nothing in the file is believed; it is written anew

    Returns {hardware {kind: bool}, details {kind: {...}, or {reason} of an absent one}, errors
    {kind: text}, best_available, best_device, torch_device, real_hardware, simulated_hardware,
    system, timestamp (seconds since 1970), snapshot, ...}, and every kind as a flag beside them
    (``info["cuda"]``; Qualcomm's is ``qnn``). Takes a few ms; the first time, up to some seconds
    where there are browsers or slow runtimes to ask.
    """
    priority = _shapes.kinds(priority_list)
    device_index = _shapes.index(preferred_device_index, "preferred_device_index")
    return _report(_look(cache_file, use_cache, force_refresh), priority, device_index)


def detect_hardware_with_comprehensive_checks() -> dict[str, Any]:
    """As detect_available_hardware(), with every runtime and browser asked anew (seconds)."""
    return detect_available_hardware(force_refresh=True)


def get_model_hardware_compatibility(model_name: str, model_family: str | None = None) -> dict[str, bool]:
    """Which kinds of device would run a model, here or not: a bool per kind.

    False: the rules have no support of its family there (docs/placement.md: level "none"), or a
    known problem refuses it. Room is not asked about.
    """
    told = _compatibility(_shapes.text(model_name, "model_name"), _shapes.family(model_family))
    return {name: row["compatible"] for name, row in told.items()}


def _compatibility(model_name: str, model_family: str | None) -> dict[str, dict]:
    """{kind: {compatible, level, reason, memory_bytes}}, asked of a machine that has one of each."""
    wishes = {"priority_list": list(_shapes.KINDS), "model_family": _shapes.known(model_family)}
    plan = _shapes.place(model_name, _shapes.a_device_of_each_kind(), wishes)
    group = model_family or _core._facts(model_name)["family"]
    told = {}
    for name, candidate in _shapes.best_of_each_kind(plan).items():
        level, note = _core._level(group, name)
        reason = f"{level} for {group}" + (f": {note}" if note else "")
        told[name] = {
            "compatible": candidate["accepted"] and level != "none",
            "level": level,
            "reason": reason if candidate["accepted"] else candidate["reason"],
            "memory_bytes": candidate["memory_bytes_needed"],
        }
    return {name: told[name] for name in _shapes.KINDS}


def get_hardware_priority_list(model_type: str | None = None, model_name: str | None = None) -> list[str]:
    """Kinds that a model would go to by itself, the best first, here or not.

    model_type is a family ("embedding"; anything else counts as unknown). OpenVINO, Qualcomm, TPUs
    and browsers take models that were made for them, and are chosen only where they are named.
    """
    name = _shapes.text(model_name, "model_name", optional=True) or ""
    return _shapes.ranking(name, _family_of_type(model_type))


def get_recommended_device(model_type: str | None = None, model_name: str | None = None) -> str:
    """The device of this machine that a model would go to, such as "cuda:0".

    model_type is a family; anything else counts as unknown. CapacityError where it fits nowhere.
    """
    name = _shapes.text(model_name, "model_name", optional=True) or ""
    wishes = {"model_family": _family_of_type(model_type)}
    plan = _shapes.place(name, _core._hardware(), wishes)
    if plan["placement"]:
        return plan["placement"]["device"]
    error = _core.CapacityError(plan["error"]["message"])
    error.status = plan["error"]["status"]
    error.hint = plan["error"]["hint"] or ""
    raise error


def _family_of_type(model_type: Any) -> str | None:
    name = _shapes.text(model_type, "model_type", optional=True)
    return _shapes.known(name) if name in _shapes.FAMILIES else None


def is_hardware_simulated(hardware_type: str) -> bool:
    """Whether a kind is there in a simulation only; False where it is not there at all."""
    name = _shapes.kind(hardware_type)
    devices = _shapes.devices_of(_core._hardware(all=name in _BROWSERS), name)
    return bool(devices) and all(map(_shapes.is_simulated, devices))


def detect_browser_features() -> dict[str, Any]:
    """What browsers of this machine offer: {running_in_browser, webnn, webgpu, browsers {name:
    {webnn, webgpu, version?}}, details {webnn, webgpu}}. Takes seconds the first time, as each
    browser is started once to be asked; the answer is kept for a day."""
    snapshot = _core._hardware(all=True)
    browsers: dict[str, dict] = {}
    for name in _BROWSERS:
        for each in snapshot["devices"]:
            if each["kind"] != name:
                continue
            row = browsers.setdefault(each["id"].partition(":")[2] or name,
                                      {WEBNN: False, WEBGPU: False, "simulation": False})
            row[name] = each.get("available", True)
            row["simulation"] = row["simulation"] or _shapes.is_simulated(each)
            _fill(row, version=_its(each).get("runtime_version"))
    return {
        "running_in_browser": False,
        WEBNN: bool(_shapes.devices_of(snapshot, WEBNN)),
        WEBGPU: bool(_shapes.devices_of(snapshot, WEBGPU)),
        "browsers": browsers,
        "details": {name: _browser_details(snapshot, name) for name in _BROWSERS},
    }


# --- the class ----------------------------------------------------------------------------------


class HardwareDetector:
    """The machine as it was when this was made; refresh() looks again.

    cache_file, force_refresh   as for detect_available_hardware()
    """

    def __init__(self, cache_file: Path | None = None, force_refresh: bool = False):
        self._cache_file = _shapes.path(cache_file, "cache_file")
        self._report: dict[str, Any] = {}
        self.refresh(force_refresh)

    def refresh(self, force_refresh: bool = True) -> None:
        """Look at the machine again; True: ask slow runtimes and browsers again as well."""
        self._report = _report(_look(self._cache_file, True, force_refresh), None, 0)

    @property
    def snapshot(self) -> dict[str, Any]:
        """What the library saw, as docs/snapshot.md describes it."""
        return self._report["snapshot"]

    def get_available_hardware(self) -> dict[str, bool]:
        """Each kind, and whether it can be used (simulated ones too)."""
        return dict(self._report["hardware"])

    def get_hardware_details(self) -> dict[str, dict]:
        """What is known of each kind; {reason} of one that is absent."""
        return dict(self._report["details"])

    def get_errors(self) -> dict[str, str]:
        """What is there and does not work, by kind."""
        return dict(self._report["errors"])

    def is_available(self, hardware_type: str) -> bool:
        """Whether a kind can be used. ValueError: there is no such kind."""
        return self._report["hardware"][_shapes.kind(hardware_type)]

    def get_best_available_hardware(self) -> str:
        """The kind that the library prefers for a model of which nothing is known."""
        return self._report["best_available"]

    def get_torch_device(self) -> str:
        """What torch calls the best device: "cuda:0" (of AMD too), "mps" or "cpu"."""
        return self._report["torch_device"]

    def get_device_with_index(self, hardware_type: str, index: int = 0) -> str:
        """One device of a kind: as torch calls it, or by its own id where torch has no word for it.

        AbsentError: no such kind is here (with the reason). IndexError: it has not so many.
        """
        name = _shapes.kind(hardware_type)
        at = _shapes.index(index, "index")
        devices = _shapes.devices_of(self.snapshot, name)
        if not devices:
            raise _shapes.absent(*_shapes.why_not(self.snapshot, name))
        if at >= len(devices):
            raise IndexError(f"'{name}' has {len(devices)} device(s) here, and number {at} is asked for")
        found = devices[at]["id"]
        return _shapes.torch_name(found) if name in (CPU, CUDA, ROCM, MPS) else found

    def get_compatible_hardware_types(self, model_requirements: dict | str | None = None) -> list[str]:
        """Kinds of this machine that a model could go to, the best first.

        model_requirements  the model's name, or a dict: model_name, and preferences as for
                            get_model() (model_family, precision, hw_compatibility, priority_list,
                            ...); None: any model
        """
        wishes = model_requirements
        if wishes is None or isinstance(wishes, str):
            wishes = {"model_name": wishes or ""}
        if not isinstance(wishes, dict):
            raise TypeError("model_requirements: a dict, a model's name or None is needed")
        wishes = dict(wishes)
        name = _shapes.text(wishes.pop("model_name", ""), "model_name")
        wishes["priority_list"] = wishes.get("priority_list") or _all_in_order(name, wishes)
        plan = _shapes.place(name, self.snapshot, wishes)
        return list(dict.fromkeys(each["kind"] for each in plan["candidates"] if each["accepted"]))

    def get_hardware_by_priority(self, priority_list: Sequence[str] | None = None) -> str:
        """The kind to use when kinds are preferred in this order; None: the library's own order."""
        return self._by_priority(priority_list, 0).partition(":")[0]

    def get_torch_device_with_priority(self, priority_list: Sequence[str] | None = None,
                                       preferred_index: int = 0) -> str:
        """The same as torch calls it, with the number of the device to prefer of its kind."""
        at = _shapes.index(preferred_index, "preferred_index")
        return _shapes.torch_name(self._by_priority(priority_list, at))

    def _by_priority(self, priority_list: Any, at: int) -> str:
        return _best(self.snapshot, _shapes.kinds(priority_list), at)

    def print_summary(self, detailed: bool = False) -> None:
        """Print what there is, and why other kinds are absent."""
        report = self._report
        print("Hardware" + (" (simulated)" if report["simulated"] else ""))
        for name in _shapes.KINDS:
            devices = _shapes.devices_of(self.snapshot, name)
            if not devices:
                print(f"  {name}: no ({_shapes.why_not(self.snapshot, name)[0]})")
                continue
            mark = " (simulated)" if report["simulated_hardware"][name] else ""
            print(f"  {name}: yes{mark}")
            for each in devices if detailed else devices[:1]:
                print(f"    {each['id']}: {each.get('name') or 'name unknown'}")
        for name, why in report["errors"].items():
            print(f"  error: {name}: {why}")
        print(f"  best: {report['best_device']} (torch: {report['torch_device']})")


def _all_in_order(model_name: str, wishes: dict) -> list[str]:
    """Every kind, so that those count that must be named: the library's own order, then the rest."""
    first = _shapes.ranking(model_name, wishes.get("model_family"))
    return first + [name for name in _shapes.KINDS if name not in first]
