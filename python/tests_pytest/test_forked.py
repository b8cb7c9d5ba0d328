# SPDX-License-Identifier: Apache-2.0
"""Workers that a fork server forks below `rpool run`, and what tests start themselves."""

import json
import pathlib
import shlex
import sys

import pytest

PRELOAD = ("--preload", "decimal,sqlite3")

# Says of each worker whether it was forked with that module loaded, and which interpreter it takes itself for.
TELLS = """
    import os
    import sys
    import pytest
    were_there = "sqlite3" in sys.modules
    @pytest.mark.parametrize("i", range(6))
    def test_it(i):
        with open("told", "a") as file:
            file.write(f"{os.getpid()} {were_there} {sys.executable}\\n")
"""


@pytest.fixture
def told(pytester):
    """What the workers wrote: pairs of whether they were forked, and their interpreter."""
    def read():
        path = pytester.path / "told"
        lines = {tuple(line.split(" ", 2)) for line in path.read_text().splitlines()} if path.exists() else set()
        path.unlink(missing_ok=True)
        return sorted((were_there == "True", executable) for _, were_there, executable in lines)
    return read


@pytest.fixture(autouse=True)
def has_server(rpool):
    if not (pathlib.Path(rpool).resolve().parents[1] / "forkserver/_forkserver.abi3.so").exists():
        pytest.skip("no fork server beside 'rpool'")


@pytest.mark.parametrize("arguments", [
    "-n2", "-nauto --maxprocesses=2", "--tx=2*popen --dist=load", "--tx=2*popen --dist=each", "-n2 --dist=loadscope",
    "-n2 --dist=loadfile", "-n2 --dist=loadgroup", "-n2 --dist=worksteal", "--tx=popen//nice=3 --tx=popen --dist=load"])
def test_workers_are_forked(run, below_rpool, pytester, told, arguments):
    pytester.makepyfile(test_a=TELLS, test_b=TELLS)
    done = below_rpool(*arguments.split(), "--pool-report=r.json", options=PRELOAD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(told()) == {(True, sys.executable)}
    assert "2 of 2 workers forked from a Python with 2 modules loaded: " in done.stdout
    row = json.loads((pytester.path / "r.json").read_text())["forked"]
    assert (row["processes"], row["forked"], row["preloads"]) == (2, 2, 2)
    assert row["spared_seconds"] == pytest.approx(2 * row["import_seconds"]) and row["private_bytes"] > 0


def test_who_names_an_interpreter_gets_it(run, below_rpool, pytester, told):
    pytester.makepyfile(TELLS)
    python = shlex.quote(sys.executable)
    done = below_rpool(f"--tx=popen//python={python}", "--tx=popen", "--dist=each", options=PRELOAD)
    assert "1 of 2 workers forked" in done.stdout
    assert told() == [(False, sys.executable), (True, sys.executable)]


@pytest.mark.parametrize("arguments, options, environment", [
    (["--pool-plain-workers"], PRELOAD, {}), ([], ("--python", "plain"), {}),
    ([], (), {"RESOURCE_POOL_PYTHON": "off"})])
def test_workers_are_plain_where_that_is_asked_for(run, below_rpool, pytester, told, arguments, options, environment):
    pytester.makepyfile(TELLS)
    done = below_rpool("-n2", *arguments, options=options, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(told()) == {(False, sys.executable)}


def test_without_rpool_nothing_is_told(run, pytester, told):
    pytester.makepyfile(TELLS)
    done = run("-n2", "--pool-report=r.json")
    assert "forked" not in done.stdout.str()
    assert json.loads((pytester.path / "r.json").read_text())["forked"] is None
    assert set(told()) == {(False, sys.executable)}


def test_the_launcher_is_given_what_execnet_splits(run, pytester, tmp_path):
    """With a stand-in for the launcher, in a folder with a blank and an equals sign in its name."""
    folder = tmp_path / "a b=c"
    folder.mkdir()
    launcher = folder / "rpool-python"
    launcher.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> "{tmp_path}/words"\nshift\nexec "$@"\n')
    launcher.chmod(0o755)
    pytester.makepyfile(TELLS)
    done = run("-n1", RESOURCE_POOL_PYTHON=launcher)
    done.assert_outcomes(passed=6)
    words = (tmp_path / "words").read_text()
    assert words == f"--interpreter|{sys.executable}|-u|-c|import sys;exec(eval(sys.stdin.readline()))|"


def test_an_interpreter_is_no_launcher(run, pytester):
    pytester.makepyfile(TELLS)
    run("-n1", RESOURCE_POOL_PYTHON=sys.executable).assert_outcomes(passed=6)


def test_a_worker_that_died_is_forked_again_and_told_by_its_own_pid(run, below_rpool, pytester, told):
    pytester.makepyfile(test_a=TELLS, test_b="""
        import os, time
        def test_dies():
            with open("pid", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(1)  # as long as a few looks
            os.kill(os.getpid(), 9)
    """)
    done = below_rpool("-n1", "--pool-report=r.json", options=PRELOAD)
    pid = (pytester.path / "pid").read_text()
    assert f"process {pid} was ended by signal 9 (SIGKILL)" in done.stdout, done.stdout
    assert "2 of 2 workers forked" in done.stdout
    death, = json.loads((pytester.path / "r.json").read_text())["deaths"]
    # The launcher, which the controller started, has no memory to speak of.
    assert death["memory_bytes_peak"] > 8 << 20
    assert set(told()) == {(True, sys.executable)}


def test_a_run_without_workers_is_told_too(run, below_rpool, rpool, pytester, told):
    pytester.makepyfile(TELLS)
    done = below_rpool(options=PRELOAD, python=(rpool, "python", "--interpreter", sys.executable))
    assert "this process was forked from a Python with 2 modules loaded: " in done.stdout, done.stdout + done.stderr
    assert told() == [(True, sys.executable)]


CHILDREN = """
    import multiprocessing
    import subprocess
    import sys
    def work(number):
        return "sqlite3" in sys.modules, sys.executable
    def test_it():
        told = subprocess.check_output([sys.executable, "-c", "import sys; print('sqlite3' in sys.modules)"], text=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            were_there, executable = pool.map(work, [0])[0]
        with open("told", "a") as file:
            file.write(f"0 {told.strip()} {sys.executable}\\n1 {were_there} {executable}\\n")
"""


@pytest.mark.parametrize("arguments, environment, is_asked", [
    (["-n1"], {}, False), (["-n1", "--pool-fork-children"], {}, True), (["--pool-fork-children"], {}, True),
    (["-n1", "-opool_fork_children=true"], {}, True), (["-n1"], {"RESOURCE_POOL_PYTHON_CHILDREN": "1"}, True),
    (["-n1", "--pool-fork-children"], {"RESOURCE_POOL_PYTHON": "off"}, False)])
def test_what_tests_start_is_forked_where_that_is_asked_for(run, below_rpool, pytester, told, arguments, environment,
                                                            is_asked):
    pytester.makepyfile(CHILDREN)
    done = below_rpool(*arguments, options=PRELOAD if not environment.get("RESOURCE_POOL_PYTHON") else (),
                       **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told() == [(is_asked, sys.executable)] * 2
