# SPDX-License-Identifier: Apache-2.0
"""pytest-xdist's workers as forks of a Python that has their libraries loaded: under `rpool run`, for the plugin.

The launcher stands in the place of the interpreter. It is a process of its own, which the controller knows, and the
worker is another; how the worker ends is how the launcher ends.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys


def launcher() -> str | None:
    """The program in the place of the interpreter, which `rpool run` names; None: workers start plainly.

    `rpool bench python` takes an interpreter by the same variable, which is none.
    """
    path = os.environ.get("RESOURCE_POOL_PYTHON", "")
    is_launcher = os.path.isabs(path) and os.path.basename(path) == "rpool-python"
    return path if is_launcher and os.access(path, os.X_OK) else None


def command() -> str | None:
    """What starts this process's interpreter through the launcher, as execnet splits it."""
    path = launcher()
    words = [path, "--interpreter", sys.executable] if path and sys.executable else None
    line = shlex.join(words) if words else ""
    # execnet ends a value at two slashes.
    return line if line and "//" not in line else None


def fork_workers(specs: list) -> None:
    """Let xdist's own processes start through the launcher; those with a Python of their own keep it, and those that
    another machine's gateway starts have none of ours."""
    line = command()
    for index, spec in enumerate(specs):
        if line is None or not spec.popen or spec.python or spec.via:
            continue
        # xdist makes a new one of its text.
        forked = type(spec)(f"{spec}//python={line}")
        for name, value in vars(spec).items():
            if name not in ("_spec", "python"):
                setattr(forked, name, value)
        specs[index] = forked


def fork_children():
    """Let what this process starts with its own interpreter go through the launcher too; what is given back ends it."""
    path = launcher()
    if path is None:
        return None
    from ._children import fork_children

    return fork_children(path)


def _forked_lines(path: str) -> dict[int, tuple[float, int, int]]:
    """By pid: what imports took in the server, in ms and bytes, and how many modules those were."""
    found = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            kind, *fields = line.split("\t", 6)
            if kind == "forked" and len(fields) == 6:
                with contextlib.suppress(ValueError):
                    pid, _, ms, size, count = fields[:5]
                    found[int(pid)] = float(ms), int(size), int(count)
    return found


def forks(pids: list[int], are_workers: bool) -> dict | None:
    """How many of these processes were forked, and what imports they were spared; None: nobody keeps account."""
    path = os.environ.get("RESOURCE_POOL_PYTHON_EVENTS", "")
    if launcher() is None or not os.path.isabs(path):
        return None
    try:
        lines = _forked_lines(path)
    except OSError:
        return None
    rows = [lines[pid] for pid in pids if pid in lines]
    most = [max(column) for column in zip(*rows)] or [0.0, 0, 0]
    return {"processes": len(pids), "forked": len(rows), "are_workers": are_workers, "preloads": most[2],
            "import_seconds": most[0] / 1e3, "private_bytes": most[1],
            "spared_seconds": sum(ms for ms, _, _ in rows) / 1e3}
