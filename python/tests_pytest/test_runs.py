# SPDX-License-Identifier: Apache-2.0
"""The closing section, the report, and runs that are spread over processes or end early."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

LOADS = """
    import time
    import pytest
    def load():
        time.sleep(0.02)
        return bytearray(10)
    @pytest.mark.parametrize("i", range(8))
    def test_it(model, i):
        model("embedding", "bert", load, size=1 << 20)
    def test_cleared(resource_pool):
        resource_pool.clear()
"""


def report(pytester, name="r.json"):
    return json.loads((pytester.path / name).read_text())


def test_the_section_tells_loads_hits_and_what_they_saved(run, pytester):
    pytester.makepyfile(LOADS)
    done = run("--pool-report=r.json")
    done.stdout.fnmatch_lines([
        "*= resource pool =*", "1 load in * s, 7 hits; * s saved, 7.0 MiB not loaded again", "slowest loads:",
        "*s  embedding:bert on cpu, 1.0 MiB: 1 load, 7 hits"])
    told = report(pytester)
    assert told["version"] == 1 and told["share"] == "process"
    assert (told["totals"]["loads"], told["totals"]["hits"], told["totals"]["requests"]) == (1, 7, 8)
    row, = told["objects"]
    assert row["saved_bytes"] == 7 << 20 and row["hits"] == 7 and row["key"] == "embedding:bert"
    assert abs(row["saved_seconds"] - 7 * row["load_seconds"]) < 1e-9
    assert told["deaths"] == told["leaks"] == told["admissions"] == []
    assert [path.name for path in pytester.path.iterdir() if "pool-report" in path.name] == []


def test_nothing_is_printed_when_the_pool_was_not_used(run, pytester):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.resources("cuda:77")
        def test_skipped(): pass
        def test_it(resource_pool): pass
    """)
    for arguments in ((), ("-n1",), ("-v",)):
        assert "= resource pool =" not in run(*arguments).stdout.str()
    run("--pool-report=r.json")
    assert report(pytester)["totals"]["requests"] == 0


def test_quiet_runs_stay_quiet(run, pytester):
    pytester.makepyfile(LOADS)
    for arguments in (("-q",), ("--no-summary",), ("-qq", "-n1")):
        done = run(*arguments)
        done.assert_outcomes(passed=9) if "-qq" not in arguments else None
        assert "resource pool" not in done.stdout.str()


def test_what_comes_and_goes_within_a_test_is_not_made_up(run, pytester):
    pytester.makepyfile("""
        def test_it(resource_pool):
            resource_pool.get_model("embedding", "bert", list)
            resource_pool.get_model("embedding", "bert", list)
            resource_pool.clear()
    """)
    done = run("--pool-report=r.json")
    done.stdout.fnmatch_lines(["1 load in 0.00 s, 1 hit; 0.00 s saved (and what 1 hit of objects that are gone saved)"])
    totals = report(pytester)["totals"]
    assert totals["hits_of_unknown_worth"] == 1 and totals["saved_bytes"] is None


def test_a_report_that_cannot_be_written_is_said(run, pytester):
    pytester.makepyfile("def test_it(): pass")
    done = run("--pool-report=nowhere/r.json")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["*--pool-report: '*nowhere/r.json' cannot be written: there is no folder '*nowhere'"])
    assert run("--pool-report=.").ret == 4
    pytester.makepyfile("""
        import os
        def test_it(): os.rename("sub", "gone")
    """)
    (pytester.path / "sub").mkdir()
    done = run("--pool-report=sub/r.json")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["--pool-report: '*sub/r.json' was not written: No such file or directory"])


@pytest.mark.parametrize("how", ["load", "loadscope", "loadfile", "loadgroup", "worksteal"])
def test_workers_tell_their_controller(run, pytester, how):
    pytester.makepyfile(test_a=LOADS, test_b=LOADS)
    pytester.makeconftest("""
        import resource_pool
        def pytest_unconfigure(config):
            if not hasattr(config, "workerinput"):
                print("controller's pool:", resource_pool._pool)
    """)
    done = run("-n2", f"--dist={how}", "--pool-report=r.json")
    done.assert_outcomes(passed=18)
    done.stdout.fnmatch_lines(["*= resource pool =*", "controller's pool: None"])
    told = report(pytester)
    assert told["totals"]["requests"] == 16
    assert sum(each["requests"] for each in told["processes"]) == 16
    assert {each["worker"] for each in told["processes"]} <= {"gw0", "gw1"}


def test_leaks_name_their_worker(run, pytester):
    pytester.makepyfile("""
        kept = []
        def test_it(resource_pool):
            kept.append(resource_pool.lease_model("embedding", "bert", list))
    """)
    run("-n2", "--pool-report=r.json")
    leak, = report(pytester)["leaks"]
    assert leak["worker"] in ("gw0", "gw1") and leak["key"] == "embedding:bert@cpu"
    assert leak["test"].endswith("::test_it") and leak["count"] == 1


KILLED = """
    import os, signal
    def test_before(model):
        model("embedding", "bert", list, size=3 << 20)
    def test_dies():
        os.kill(os.getpid(), signal.SIGKILL)
    def test_after(model):
        model("embedding", "bert", list, size=3 << 20)
"""


@pytest.fixture
def memory_group():
    """A control group with 120 MiB, below the one that we are in."""
    lines = [line.split(":", 2) for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()]
    paths = {controllers: path.lstrip("/") for _, controllers, path in lines}
    groups = [("/sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "", "memory.max")]
    for root, controllers, limit in groups:
        group = pathlib.Path(root, paths.get(controllers, ""), f"resource-pool-{os.getpid()}")
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(120 << 20))
                with contextlib.suppress(OSError):  # only where nothing may be swapped out
                    (group / "memory.swap.max").write_text("0")
                yield group
            finally:
                group.rmdir()
            return
    pytest.skip("no memory control group can be made here")


def test_whom_the_kernel_killed_is_told_from_whom_it_did_not(pytester, run, memory_group):
    pytester.makepyfile("""
        import os
        def test_1_eats():
            eaten = []
            while True:
                eaten.append(b"x" * (4 << 20))
        def test_2_is_killed_by_somebody():
            os.kill(os.getpid(), 9)
        def test_3_exits():
            os._exit(3)
    """)
    done = subprocess.run(
        ["sh", "-c", f'echo $$ > {memory_group}/cgroup.procs; exec "$@"', "sh", sys.executable, "-m", "pytest", "-n1",
         "-p", "no:cacheprovider", "-p", "no:randomly", "--pool-report=r.json"],
        cwd=pytester.path, text=True, capture_output=True, timeout=120, check=False)
    deaths = {each["test"].rpartition("::")[2]: each for each in report(pytester)["deaths"]}
    assert len(deaths) == 3, done.stdout + done.stderr
    first = {name: each["story"][0] for name, each in deaths.items()}
    assert "(SIGKILL); the kernel killed 1 process for memory in this run" in first["test_1_eats"]
    assert "(SIGKILL); not by the kernel for memory" in first["test_2_is_killed_by_somebody"]
    assert first["test_3_exits"].endswith("ended with exit code 3")
    hinted = [name for name, each in deaths.items() if any(line.startswith("hint:") for line in each["story"])]
    assert hinted == ["test_1_eats"]
    machine = deaths["test_1_eats"]["machine"]
    assert machine["group"] == str(memory_group) and machine["group_limit_bytes"] == 120 << 20
    assert any("of 120.0 MiB used" in line for line in deaths["test_1_eats"]["story"])


def test_a_worker_that_died_is_named_with_its_memory(run, pytester):
    pytester.makepyfile(test_a=KILLED)
    done = run("-n1", "--pool-report=r.json")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines([
        "worker 'gw0' crashed while running 'test_a.py::test_dies'",
        "process * was ended by signal 9 (SIGKILL)*", "memory: * MiB *", "machine: * GiB free*",
        "its pool had loaded embedding:bert 3.0 MiB", "tests that died:", "  test_a.py::test_dies (gw0): process *"])
    told = report(pytester)
    death, = told["deaths"]
    assert (death["test"], death["worker"], death["signal"]) == ("test_a.py::test_dies", "gw0", 9)
    assert death["memory_bytes_begun"] > 1 << 20
    # What the dead one did is counted with what its replacement did.
    assert told["totals"]["loads"] == 2


def test_a_worker_that_leaves_is_told_by_its_exit_code(run, pytester):
    pytester.makepyfile(test_a="""
        import os
        def test_leaves(): os._exit(3)
    """)
    done = run("-n1", "--max-worker-restart=0")
    done.stdout.fnmatch_lines(["process * ended with exit code 3"])
    assert "SIGKILL" not in done.stdout.str()


def test_memory_is_followed_while_a_test_runs(run, pytester):
    pytester.makepyfile(test_a="""
        import os, time
        def test_grows():
            large = bytearray(b"x") * (200 << 20)
            time.sleep(1)  # as long as a few looks
            os.abort()
    """)
    run("-n1", "--max-worker-restart=0", "-p", "no:faulthandler", "--pool-report=r.json")
    death, = report(pytester)["deaths"]
    assert death["signal"] == 6
    assert death["memory_bytes_peak"] > 200 << 20 > death["memory_bytes_begun"]


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_an_interrupted_run_still_tells(run, pytester, workers):
    pytester.makepyfile(test_a="""
        def test_1(model): model("embedding", "bert", list)
        def test_2(): raise KeyboardInterrupt
        def test_3(): raise AssertionError
    """)
    done = run(*workers, "--pool-report=r.json")
    assert done.ret == 2
    done.stdout.fnmatch_lines(["*= resource pool =*", "1 load *"])
    assert report(pytester)["totals"]["loads"] == 1


def test_stopping_early_repeating_and_collecting_only(pytester, run):
    pytester.makepyfile(test_a="""
        def test_1(model): model("embedding", "bert", list)
        def test_2(): assert False
        def test_3(model): model("embedding", "other", list)
    """)
    run("-x", "--pool-report=x.json").assert_outcomes(passed=1, failed=1)
    assert report(pytester, "x.json")["totals"]["loads"] == 1
    run("-x", "-n1", "--pool-report=xn.json").assert_outcomes(passed=1, failed=1)
    assert report(pytester, "xn.json")["totals"]["loads"] >= 1
    done = run("--collect-only", "--pool-report=c.json")
    assert done.ret == 0 and not (pytester.path / "c.json").exists()
    pytester.runpytest_subprocess("-q")
    done = pytester.runpytest_subprocess("--lf")
    done.assert_outcomes(failed=1)
    assert "= resource pool =" not in done.stdout.str()


def test_a_child_of_a_test_does_not_tell(run, pytester):
    pytester.makepyfile("""
        import os
        def test_it(model):
            model("embedding", "bert", list)
            if os.fork() == 0:
                os._exit(0)
            os.wait()
    """)
    run("--pool-report=r.json").assert_outcomes(passed=1)
    assert report(pytester)["totals"]["loads"] == 1


def test_it_works_below_rpool_run(pytester, below_rpool, run):
    pytester.makepyfile(test_a=LOADS)
    done = below_rpool("-n2", "--pool-report=r.json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = report(pytester)
    assert told["share"] == "machine" and told["totals"]["requests"] == 8
    (row,) = told["objects"]
    assert (told["totals"]["loads"], row["loads"], row["attached"]) == (1, 1, 1)
    assert "1 load, 1 attached, 6 hits in gw0 gw1" in done.stdout
