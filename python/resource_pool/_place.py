# SPDX-License-Identifier: Apache-2.0
"""Where objects are put: placers of the program's own, torch's objects, and what holds them.

The pool chooses a device and a precision. What puts an object there is, in this order: the placer that was registered
for its class or the nearest base of it; torch's own `to()`, where torch is imported; nothing.
"""

import copy as _copy
import logging
import sys
from typing import Any, Callable, Optional, TypeVar

from . import UnsupportedError

Place = Callable[[Any, str, Optional[str]], Any]
_P = TypeVar("_P", bound=Place)

#: What is looked into: a constructor that returns a model and its tokenizer returns a tuple.
_DEPTH_MAX = 4

_placers = {}


def refusal(message, hint):
    """What the library would raise, with what to do next also in its text."""
    error = UnsupportedError(f"{message}: {hint}")
    error.status = "unsupported"
    error.hint = hint
    return error


class _Placer:
    def __init__(self, function, copies, simulated):
        self.function = function
        self.copies = copies
        self.simulated = simulated


def placer(cls: type, *, copies: bool = False, simulated: bool = False) -> Callable[[_P], _P]:
    """Register what puts objects of a class, and of classes made of it, on the device that the pool chose.

        @resource_pool.placer(Session)
        def place(session, device, precision):
            return session.on(device)

    The function gets the object, the device as the pool names it ('cpu', 'cuda:0', 'openvino:GPU') and the precision
    that is wanted ('fp16'; None: as it is), and returns the object that is there: the same or another. What it raises
    is raised by get_model(); a memory error makes the pool try elsewhere. It is called for each model of the class.

    copies: it returns a new object and leaves the given one as it was. Otherwise move_model_to_device() gives it a
    copy.deepcopy(). simulated: call it for devices that are simulated too; otherwise the object stays where it is.
    The latest function for a class counts; placer(cls)(None) takes it away.
    """
    if not isinstance(cls, type):
        raise TypeError(f"placer() takes a class, not {cls!r}")

    def register(function: _P) -> _P:
        if function is None:
            _placers.pop(cls, None)
        elif callable(function):
            _placers[cls] = _Placer(function, copies, simulated)
        else:
            raise TypeError(f"a placer is a function (object, device, precision), not {function!r}")
        return function

    return register


def _find(cls):
    if _placers:
        for base in cls.__mro__:
            if base in _placers:
                return _placers[base]
    return None


def _name(thing):
    cls = type(thing)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class _Target:
    """Where something goes: the device and precision of the pool. Refers to nothing that refers to it."""

    def __init__(self, device, precision, simulated, required):
        self.device = device
        self.precision = precision
        self.simulated = simulated
        self.required = required
        self.memo = {}
        self.moved_count = 0

    def put(self, thing, depth):
        own = _find(type(thing))
        if own:
            is_left = self.simulated and not own.simulated
            return thing if is_left else own.function(thing, self.device, self.precision)
        torch = _torch_for(thing)
        if torch:
            return torch.place(thing, self)
        return _map(thing, self.put, depth, keep=True) if depth < _DEPTH_MAX and _is_box(thing) else thing

    def copy(self, thing, depth):
        own = _find(type(thing))
        if own:
            self.moved_count += 1
            return self.copy_with(own, thing)
        torch = _torch_for(thing)
        if torch:
            self.moved_count += 1
            return torch.copy(thing, self)
        return _map(thing, self.copy, depth, keep=False) if depth < _DEPTH_MAX and _is_box(thing) else thing

    def copy_with(self, own, thing):
        if self.simulated and not own.simulated:
            return _copy.deepcopy(thing, self.memo)
        given = thing if own.copies else _copy.deepcopy(thing, self.memo)
        result = own.function(given, self.device, self.precision)
        if result is thing:
            raise refusal(f"the placer of {_name(thing)} returned the object it was given, and somebody may have it",
                          "register it without copies=True, or return a copy")
        return result


def _torch_for(thing):
    if "torch" not in sys.modules:
        return None
    from . import _torch
    return _torch if _torch.knows(thing) else None


def _is_box(thing):
    cls = type(thing)
    return cls in (list, tuple, dict) or (isinstance(thing, (tuple, dict)) and cls.__module__ != "builtins" and
                                          (hasattr(cls, "_make") or cls.__module__ == "collections"))


def _map(thing, function, depth, keep):
    """What holds others, with each of them replaced by function(it): itself where `keep` allows, else a new one."""
    if isinstance(thing, dict):
        new = {key: function(value, depth + 1) for key, value in thing.items()}
        if not keep:
            thing = _copy.copy(thing)
        for key, value in new.items():
            if thing[key] is not value:
                thing[key] = value
        return thing
    new = [function(value, depth + 1) for value in thing]
    if keep and all(a is b for a, b in zip(new, thing)):
        return thing
    if isinstance(thing, list):
        if not keep:
            return new
        thing[:] = new
        return thing
    return type(thing)._make(new) if hasattr(type(thing), "_make") else tuple(new)


def place(made, device, precision, simulated, required):
    """The object on that device: it is fresh, so it may be moved itself."""
    return _Target(device, precision, simulated, required).put(made, 0)


def copy(source, device, precision, simulated):
    """A copy of the object on that device; who has the object keeps it as it is."""
    target = _Target(device, precision, simulated, True)
    result = target.copy(source, 0)
    if target.moved_count == 0:
        raise refusal(f"cannot move a {_name(source)} to {device}: nobody knows how",
                      f"register a function for its class with resource_pool.placer({type(source).__name__}), or ask "
                      f"get_model() for the device ({{'device': '{device}'}}), which makes another one there")
    return result


def warn(line):
    """A line of the pool's log."""
    logging.getLogger("resource_pool").warning("%s", line)
