# SPDX-License-Identifier: Apache-2.0
"""Models that a fork server has loaded before it forks: its children find them in place of a constructor's.

A line "@TYPE NAME PLACE:FUNCTION" among the modules to preload says that FUNCTION of PLACE (a module, or the path of a
file) makes what get_model(TYPE, NAME, ...) is to give. It is imported by the server for such lines only.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time

# (type, name) -> object: looked up by the extension where it would call a constructor.
objects: dict[tuple[str, str], object] = {}

TOUCHED_MAX = 2_000_000  # Python objects that a trial looks at


def _module(place: str):
    if not place.endswith(".py"):
        return importlib.import_module(place)
    from importlib.util import module_from_spec, spec_from_file_location

    if not os.path.isabs(place):
        raise ValueError(f"'{place}' is no absolute path")
    name = "rpool_models_" + os.path.basename(place)[:-3]
    spec = spec_from_file_location(name, place)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _make(maker):
    """The object, made on this thread alone: threads of a library that computes would be missing in a fork."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        return maker()
    finally:
        if torch:
            torch.set_num_threads(threads)


# ---- the two ways ------------------------------------------------------------------------------


def _private_bytes() -> int:
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(("Private_Dirty", "Private_Clean")))


def _touch(root) -> None:
    """Take and give back a reference to everything that an object is made of, as its use does."""
    seen = {id(root)}
    found = [root]
    while found and len(seen) < TOUCHED_MAX:
        for each in gc.get_referents(found.pop()):
            if id(each) not in seen and not isinstance(each, type) and type(each).__name__ != "module":
                seen.add(id(each))
                found.append(each)


def _measure_fork(root) -> str:
    """In a fork: what it costs a child to use the object that is there."""
    before = _private_bytes()
    start = time.perf_counter()
    _touch(root)
    return f"{_private_bytes() - before} {(time.perf_counter() - start) * 1e3:.1f}"


def _in_fork(measure) -> str:
    """What it says in a fork of its own, where no page is this process's alone yet."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, measure().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def _measure_segment(root, maker) -> str:
    """In a fork: what it costs a process to make the object of shared memory; "" where it cannot be shared."""
    from . import _pickling

    def attach():
        before = _private_bytes()
        start = time.perf_counter()
        state, *rest = _pickling.load(parts)
        if state != "object":
            return ""
        _touch(rest[0])
        return f"{_private_bytes() - before} {(time.perf_counter() - start) * 1e3:.1f}"

    try:
        parts, reason = _pickling.dump(root, "model", maker)
        gc.collect()
        return _in_fork(attach) if reason is None else ""
    except Exception:
        return ""


def _is_segment_better(fork: str, segment: str) -> bool:
    """A fork costs nobody a load and a publication, so a segment must spare more than the noise of a figure."""
    if not fork or not segment:
        return not fork
    mine, shared = int(fork.split()[0]), int(segment.split()[0])
    return mine - shared > max(4 << 20, mine // 10)


def _say(said: str):
    return f"{int(said.split()[0]) / 2**20:.1f} MiB, {said.split()[1]} ms" if said else "not possible"


def load(line: str, trial) -> str:
    """Make the object of a line; what the two ways of sharing it would cost each process, and which was chosen."""
    kind, name, place = line.split()
    place, _, function = place.rpartition(":")
    maker = getattr(_module(place), function)
    root = _make(maker)
    if root is None:
        raise ValueError(f"{place}:{function}() returned None")
    gc.collect()
    gc.freeze()
    fork = trial(lambda: _measure_fork(root))
    segment = trial(lambda: _measure_segment(root, maker))
    is_fork = not _is_segment_better(fork, segment)
    if is_fork:
        objects[kind, name] = root
    return f"each child: fork {_say(fork)}; segment {_say(segment)}: {'fork' if is_fork else 'segment'}"
