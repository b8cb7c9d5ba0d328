# SPDX-License-Identifier: Apache-2.0
"""What the modules beside the pool have in common: checked arguments, and questions to the library.

Nothing is decided here. A snapshot is the dictionary that docs/snapshot.md describes.
"""

from __future__ import annotations

import os
from typing import Any

from . import _core

KINDS: tuple[str, ...] = _core._KINDS
FAMILIES: tuple[str, ...] = tuple(_core._FAMILIES)
MIB = 1 << 20

# The maker's name of Qualcomm's interface: what the flat flags call that kind.
ALIASES = {"qnn": "qualcomm"}


def text(value: Any, what: str, optional: bool = False) -> Any:
    """A str (or None where that may be), else TypeError; a NUL in it is a ValueError."""
    if value is None and optional:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{what}: a str is needed, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what}: there is a NUL in it")
    return value


def path(value: Any, what: str) -> str | None:
    """A path as a str, or None."""
    if value is None:
        return None
    found = os.fspath(value)
    return text(found, what)


def texts(value: Any, what: str) -> list[str]:
    """A list of str; None is none."""
    if value is None:
        return []
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{what}: a list of str is needed, not one {type(value).__name__}")
    return [text(each, what) for each in value]


def index(value: Any, what: str) -> int:
    """A whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: an int is needed, not {type(value).__name__}")
    if not 0 <= value < 1 << 31:
        raise ValueError(f"{what}: {value} is not from 0 to 2^31-1")
    return value


def kind(value: Any, what: str = "hardware_type") -> str:
    """A kind of device by its name."""
    name = text(value, what)
    name = ALIASES.get(name, name)
    if name not in KINDS:
        raise ValueError(f"{what}: '{name[:80]}' is no kind of device; the kinds are {' '.join(KINDS)}")
    return name


def kinds(value: Any, what: str = "priority_list") -> list[str] | None:
    """A list of kinds, each once; None stays None."""
    if value is None:
        return None
    return list(dict.fromkeys(kind(each, what) for each in texts(value, what)))


def family(value: Any, what: str = "model_family") -> str | None:
    """The name of a family, or None."""
    name = text(value, what, optional=True)
    if name is not None and name not in FAMILIES:
        raise ValueError(f"{what}: '{name[:80]}' is no family; the families are {' '.join(FAMILIES)}")
    return name


def absent(message: str, hint: str = "") -> Exception:
    """The library's error for what is not on this machine, to be raised."""
    error = _core.AbsentError(message)
    error.status = "absent"
    error.hint = hint
    return error


def devices_of(snapshot: dict, name: str) -> list[dict]:
    """The devices of a kind that can be used, real and simulated ones."""
    return [each for each in snapshot["devices"] if each["kind"] == name and each.get("available", True)]


def is_simulated(device: dict) -> bool:
    return bool(device.get("simulated"))


def why_not(snapshot: dict, name: str) -> tuple[str, str]:
    """Why no device of a kind can be used, and what would help ('': nothing known)."""
    for each in snapshot["devices"]:
        if each["kind"] == name and not each.get("available", True):
            return each.get("reason") or "nobody says why", ""
    for each in snapshot.get("absent", []):
        if each["kind"] == name:
            return each["reason"], each.get("hint") or ""
    return "not on this machine", ""


def torch_name(device_id: str) -> str:
    """What torch calls a device: it knows cards of AMD as cuda, and of other kinds only mps."""
    name, _, number = device_id.partition(":")
    if name in ("cuda", "rocm"):
        return f"cuda:{number if number.isdigit() else 0}"
    return "mps" if name == "mps" else "cpu"


def place(model: str, snapshot: dict, preferences: dict | None = None) -> dict:
    """Ask the library where a model goes; '' is any model."""
    wishes = {key: value for key, value in (preferences or {}).items() if value is not None}
    return _core._place(model, snapshot, wishes or None)


def a_device_of_each_kind() -> dict:
    """A machine with one device of each kind and of no known size: to ask what a kind can do."""
    machine = [{"id": name, "kind": name, "available": True} for name in KINDS]
    return {"version": 1, "devices": machine}


def ranking(model: str, model_family: str | None = None) -> list[str]:
    """Kinds by how well they would do for a model, the best first, were they all here."""
    plan = place(model, a_device_of_each_kind(), {"model_family": known(model_family)})
    accepted = [each["kind"] for each in plan["candidates"] if each["accepted"]]
    return list(dict.fromkeys(accepted))


def known(model_family: str | None) -> str | None:
    """A family that says something."""
    return None if model_family == "unknown" else model_family


def best_of_each_kind(plan: dict) -> dict[str, dict]:
    """The first candidate of each kind: an accepted one where there is one."""
    first: dict[str, dict] = {}
    for each in plan["candidates"]:
        first.setdefault(each["kind"], each)
    return first
