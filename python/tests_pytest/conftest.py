# SPDX-License-Identifier: Apache-2.0
"""Each test here starts a pytest of its own, in a folder of its own."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

pytest_plugins = ["pytester"]

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A pool whose reserve() does what the size says, so that a test decides how an admission goes.
SCRIPTED = '''
import os
import time

import pytest
import resource_pool

AT_ONCE, LATER, NEVER, CYCLE, REFUSED = 1001, 1002, 1003, 1004, 1005


def note(*words):
    with open(os.environ["SCRIPTED_LOG"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


class Room:
    def __init__(self, name, device):
        self.name = name
        self.device = device

    def __exit__(self, *raised):
        note("release", self.name)


class Pool(resource_pool.ResourcePool):
    def reserve(self, device, memory, *, name=None, timeout=None):
        note("reserve", device, memory, name, timeout)
        if memory == AT_ONCE:
            return Room(name, device)
        if timeout == 0:
            raise resource_pool.TimeoutError("no room now")
        if memory == LATER:
            time.sleep(2)
            return Room(name, device)
        if memory == NEVER:
            time.sleep(timeout or 0)
            while timeout is None:  # as the library: signals end a wait
                time.sleep(0.01)
            raise resource_pool.TimeoutError(f"no room on '{device}': 'other' holds 20.0 GiB")
        if memory == CYCLE:
            raise resource_pool.CycleError("'a' and 'b' wait for each other")
        raise resource_pool.CapacityError("larger than the budget")


@pytest.fixture(scope="session", autouse=True)
def unrelated():
    yield


def pytest_sessionstart():
    resource_pool._pool = Pool(history="off")
    resource_pool._pool_pid = os.getpid()
'''


@pytest.fixture
def run(pytester, monkeypatch):
    """run(*arguments, **environment): a pytest that found the plugin by itself."""
    for name in list(os.environ):
        if name.startswith(("PYTEST_", "RESOURCE_POOL_", "WEBNN_", "WEBGPU_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RESOURCE_POOL_HISTORY", "off")
    monkeypatch.setenv("HARDWARE_DETECTION_CACHE", "off")

    def run_pytest(*arguments, **environment):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, str(value))
            return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=120)

    return run_pytest


@pytest.fixture
def scripted(pytester, monkeypatch):
    """Makes admissions go as their sizes say; gives what was asked of the pool."""
    log = pytester.path / "log"
    log.touch()
    pytester.makeconftest(SCRIPTED)
    monkeypatch.setenv("SCRIPTED_LOG", str(log))
    return lambda: log.read_text().splitlines()


@pytest.fixture
def rpool():
    """The command, from the build folder that the package comes from."""
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        program = pathlib.Path(folder).resolve().parent / "cli/rpool"
        if folder and program.exists():
            return str(program)
    found = shutil.which("rpool")
    if not found:
        pytest.skip("no 'rpool' beside the package")
    return found


@pytest.fixture
def below_rpool(run, rpool, pytester):
    """below_rpool(*arguments): `rpool run -- pytest` with a broker of its own; its path is short, for a socket."""

    def run_pytest(*arguments, budget="1GiB", options=(), python=(sys.executable,), **environment):
        with tempfile.TemporaryDirectory() as folder:
            return subprocess.run([rpool, "run", "--isolated", "--budget", budget, *options, "--", *python, "-m",
                                   "pytest", "-p", "no:cacheprovider", *arguments], cwd=pytester.path, text=True,
                                  capture_output=True, timeout=120, check=False,
                                  env={**os.environ, "RESOURCE_POOL_BROKER": folder, "RESOURCE_POOL_RUNS": "off",
                                       **environment})

    return run_pytest
