# SPDX-License-Identifier: Apache-2.0
"""Admission by the pool itself: one process, and workers that share one account."""

import json

import pytest
import resource_pool

from conftest import ROOT


@pytest.fixture(autouse=True)
def _has_reserve():
    pool = resource_pool.ResourcePool(history="off")
    try:
        pool.reserve("cpu", 1, timeout=0).release()
    except NotImplementedError as error:
        pytest.skip(str(error))


def admissions(pytester):
    return json.loads((pytester.path / "r.json").read_text())["admissions"]


def test_room_that_is_taken_is_waited_for_and_room_that_cannot_be_is_refused(run, pytester):
    pytester.makepyfile(test_a="""
        import threading
        import pytest
        kept = []
        @pytest.mark.resources(memory="60MB")
        def test_has_it(resource_pool):
            with pytest.raises(TimeoutError):
                resource_pool.reserve("cpu", "60MB", timeout=0.01)
        def test_it_is_free_again(resource_pool):
            # Of another thread: whoever waits for what he holds himself is told at once.
            other = threading.Thread(target=lambda: kept.append(resource_pool.reserve("cpu", "60MB", timeout=0)))
            other.start()
            other.join()
        @pytest.mark.resources(memory="60MB", timeout=0.3)
        def test_waits_in_vain(): raise AssertionError
        @pytest.mark.resources(memory="200MB", timeout=3600)
        def test_never(): raise AssertionError
    """)
    done = run("--pool-report=r.json", RESOURCE_POOL_BUDGET="100MB")
    done.assert_outcomes(passed=2, errors=2)
    assert [row["outcome"] for row in admissions(pytester)] == ["admitted", "timeout", "no room"]
    done.stdout.fnmatch_lines(["resource pool: no room for 57.2 MiB on cpu: waited 0.3? s", "CapacityError: *"])


def test_workers_of_one_machine_take_turns(pytester, below_rpool):
    pytester.makepyfile(test_a="""
        import os, time
        import pytest
        @pytest.mark.parametrize("i", range(4))
        @pytest.mark.resources(memory="60MB", timeout=60)
        def test_alone(i):
            os.close(os.open("alone", os.O_CREAT | os.O_EXCL))
            time.sleep(0.1)
            os.unlink("alone")
    """)
    done = below_rpool("-n2", "--pool-report=r.json", budget="100MB")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = admissions(pytester)
    assert len(rows) == 4 and {row["outcome"] for row in rows} == {"admitted"}
    assert len({row["worker"] for row in rows}) == 2


def test_two_that_wait_for_each_other_are_told_at_once(pytester, below_rpool, monkeypatch):
    body = """
        import os, time
        import pytest
        pytestmark = pytest.mark.resources("{mine}", memory="6GiB")
        def test_1():
            open("{me}", "w").close()
            while not os.path.exists("{other}"):
                time.sleep(0.01)
        @pytest.mark.resources("{wanted}", memory="6GiB", timeout=60)
        def test_2():
            pass
    """
    pytester.makepyfile(test_a=body.format(me="a", other="b", mine="cuda:0", wanted="cuda:1"),
                        test_b=body.format(me="b", other="a", mine="cuda:1", wanted="cuda:0"))
    monkeypatch.setenv("RESOURCE_POOL_SIMULATE", str(ROOT / "tests/machines/2xrtx4090.json"))
    done = below_rpool("-n2", "--dist=loadfile", "--pool-report=r.json", budget="cuda:0=10GiB,cuda:1=10GiB")
    outcomes = sorted(row["outcome"] for row in admissions(pytester))
    assert outcomes == ["admitted"] * 3 + ["cycle"], done.stdout + done.stderr
    assert "CycleError: " in done.stdout
    assert all(row["waited_seconds"] < 30 for row in admissions(pytester))
