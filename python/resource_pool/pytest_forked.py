# SPDX-License-Identifier: Apache-2.0
"""pytest-xdist's workers as forks of a Python that has their libraries loaded: under `rpool run`, for the plugin."""

from __future__ import annotations

import os
import shlex
import sys


def launcher() -> str | None:
    """The program in the place of the interpreter, which `rpool run` names; None: workers start plainly."""
    path = os.environ.get("RESOURCE_POOL_PYTHON", "")
    return path if os.path.isabs(path) and os.access(path, os.X_OK) else None


def command() -> str | None:
    """What starts this process's interpreter through the launcher, as execnet splits it."""
    path = launcher()
    words = [path, "--interpreter", sys.executable] if path and sys.executable else None
    line = shlex.join(words) if words else ""
    # execnet ends a value at two slashes.
    return line if line and "//" not in line else None


def fork_workers(specs: list) -> None:
    """Let xdist's own processes start through the launcher; those with a Python of their own keep it."""
    line = command()
    for index, spec in enumerate(specs):
        if line is None or not getattr(spec, "popen", None) or getattr(spec, "python", None):
            continue
        # xdist makes a new one of its text.
        forked = type(spec)(f"{spec}//python={line}")
        for name, value in vars(spec).items():
            if name not in ("_spec", "python"):
                setattr(forked, name, value)
        specs[index] = forked
