# SPDX-License-Identifier: Apache-2.0
"""The mark `resources`: what it accepts, whom it skips, and how a test waits for room."""

import json

import pytest

from conftest import ROOT


def machine(name):
    return ROOT / "tests/machines" / name


def test_the_mark_is_registered(run, pytester):
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.resources(*"])
    pytester.makepyfile("""
        import pytest
        @pytest.mark.resources("cpu")
        def test_it(): pass
    """)
    run("--strict-markers").assert_outcomes(passed=1)


@pytest.mark.parametrize(("arguments", "said"), [
    ("'cdua'", "'cdua' is no kind of device; the kinds are cpu cuda*"),
    ("'cuda:'", "'cuda:' is no kind of device*"),
    ("1", "a kind of device is a text, not 1"),
    ("'cuda', memory='8 monkeys'", "memory='8 monkeys' is no size*"),
    ("'cuda', memory=0", "memory=0 is no size*"),
    ("'cuda', memory=True", "memory=True is no size*"),
    ("'cuda', memory=-5", "memory=-5 is no size*"),
    ("'cuda', memory=1.5", "memory=1.5 is no size*"),
    ("'cuda', memory='99999999999TB'", "memory='99999999999TB' is no size*"),
    ("'cuda', memory=1, timeout='soon'", "timeout='soon' is no number of seconds"),
    ("'cuda', memory=1, timeout=-1", "timeout=-1 is no number of seconds"),
    ("'cuda', memory=1, timeout=float('nan')", "timeout=nan is no number of seconds"),
    ("'cuda', timeout=1", "a timeout is for waiting for memory*"),
    ("'cuda', mem='8GB'", "'mem' is no word of this mark; they are memory and timeout"),
    ("", "neither a kind of device nor memory is named"),
])
def test_a_bad_mark_is_an_error_of_its_file(run, pytester, arguments, said):
    pytester.makepyfile(test_bad=f"""
        import pytest
        @pytest.mark.resources({arguments})
        def test_it(): pass
    """, test_good="def test_it(): pass")
    done = run("-q")
    assert done.ret == 2
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*ERROR collecting test_bad.py*", f"test_bad.py::test_it: mark 'resources': {said}"])


def test_bad_marks_of_classes_and_modules_are_found_too(run, pytester):
    pytester.makepyfile(test_c="""
        import pytest
        @pytest.mark.resources("wrong class")
        class TestA:
            def test_it(self): pass
    """, test_m="""
        import pytest
        pytestmark = pytest.mark.resources("wrong module")
        def test_it(): pass
    """, test_p="""
        import pytest
        @pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.resources("wrong case"))])
        def test_it(x): pass
    """)
    done = run("--continue-on-collection-errors")
    text = done.stdout.str()
    for what in ("class", "module", "case"):
        assert f"'wrong {what}' is no kind of device" in text
    assert "INTERNALERROR" not in text
    done = run("-n2")
    assert done.ret != 0 and "'wrong module' is no kind of device" in done.stdout.str()


def test_absent_hardware_is_a_skip_with_the_reason(run, pytester):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.resources("cuda", "rocm", memory="8GB")
        def test_any_of(): raise AssertionError
        @pytest.mark.resources("cpu")
        class TestHere:
            def test_it(self): pass
        @pytest.mark.resources("mps", "cpu")
        def test_one_is_enough(): pass
        @pytest.mark.resources("cpu", memory="900TB")
        def test_too_large(): raise AssertionError
        @pytest.mark.resources("cpu:7")
        def test_no_such(): raise AssertionError
    """)
    done = run("-rs", RESOURCE_POOL_SIMULATE=machine("container-2gib.json"))
    done.assert_outcomes(passed=2, skipped=3)
    done.stdout.fnmatch_lines(["SKIPPED*test_*.py:2: needs 7.5 GiB on cuda or rocm: cuda: *; rocm: *"])
    done.stdout.fnmatch_lines(["SKIPPED*needs 818.5 TiB on cpu: cpu has * in all*"])
    done.stdout.fnmatch_lines(["SKIPPED*needs cpu:7: cpu:7: there is no such cpu device*"])


def test_a_simulated_machine_counts_and_is_labelled(run, pytester):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.resources("cuda")
        def test_it(): pass
        @pytest.mark.resources("cuda:1")
        def test_second(): pass
    """)
    done = run("--pool-report=r.json", RESOURCE_POOL_SIMULATE=machine("1xh100.json"))
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines(["simulated hardware: 1 test ran for cuda:0, which this machine does not have"])
    rows = json.loads((pytester.path / "r.json").read_text())["admissions"]
    assert [(row["device"], row["simulated"]) for row in rows] == [("cuda:0", True)]


def test_a_simulated_device_of_a_real_machine_does_not_count(run, pytester):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.resources("webnn")
        def test_it(): raise AssertionError
    """)
    done = run("-rs", WEBNN_SIMULATION="1", PATH="/nowhere", CHROME_PATH="")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["SKIPPED*webnn: only simulated here*"])


def test_room_is_there_before_fixtures_and_until_after_them(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import note, AT_ONCE
        @pytest.fixture
        def around():
            note("up")
            yield
            note("down")
        @pytest.mark.resources(memory=AT_ONCE)
        def test_it(around): note("test")
        @pytest.mark.skip
        @pytest.mark.resources(memory=AT_ONCE)
        def test_skipped(): pass
    """)
    run("-p", "no:randomly").assert_outcomes(passed=1, skipped=1)
    assert scripted() == ["reserve cpu 1001 test_a.py::test_it None", "up", "test", "down",
                          "release test_a.py::test_it"]


def test_room_of_a_class_lasts_as_long_as_the_class(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import note, AT_ONCE
        @pytest.mark.resources("cpu", memory=AT_ONCE)
        class TestA:
            def test_1(self): note("1")
            def test_2(self): assert False
            def test_3(self): note("3")
        def test_after(): note("after")
    """, test_b="""
        import pytest
        from conftest import note, AT_ONCE
        pytestmark = pytest.mark.resources("cpu", memory=AT_ONCE)
        def test_1(): note("b1")
        @pytest.mark.resources("cpu", memory="1001 B")
        def test_nearest(): note("b2")
        @pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.resources(memory=AT_ONCE))])
        def test_3(x): pass
    """)
    run().assert_outcomes(passed=7, failed=1)
    assert scripted() == [
        "reserve cpu 1001 test_a.py::TestA::test_1 None", "1", "3", "release test_a.py::TestA::test_1", "after",
        "reserve cpu 1001 test_b.py::test_1 None", "b1",
        "reserve cpu 1001 test_b.py::test_nearest None", "b2", "release test_b.py::test_nearest",
        "reserve cpu 1001 test_b.py::test_3[2] None",
        "release test_b.py::test_1", "release test_b.py::test_3[2]"]


def test_a_wait_is_shown_and_counted(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import LATER
        @pytest.mark.resources(memory=LATER, timeout=30)
        def test_it(): pass
    """)
    done = run("-v", "--pool-report=r.json")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["test_a.py::test_it waits for 1002 B on cpu",
                               "admissions: 1, 1 wait of 2.0? s in all, *"])
    row, = json.loads((pytester.path / "r.json").read_text())["admissions"]
    assert row["outcome"] == "admitted" and row["waited_seconds"] >= 1.9
    assert (row["test"], row["device"], row["memory_bytes"]) == ("test_a.py::test_it", "cpu", 1002)
    assert "waits for" not in run().stdout.str()


def test_a_wait_of_a_worker_is_shown_by_the_controller(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import LATER
        @pytest.mark.resources(memory=LATER)
        def test_it(): pass
    """)
    done = run("-v", "-n1")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*[[]gw0[]] test_a.py::test_it waits for 1002 B on cpu"])


def test_a_deadline_fails_the_test_with_the_story(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import NEVER
        @pytest.mark.resources(memory=NEVER, timeout=0.2)
        def test_it(): raise AssertionError
        @pytest.mark.resources(memory=NEVER)
        def test_by_the_ini(): raise AssertionError
    """)
    done = run("-o", "pool_timeout=0.1")
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines([
        "resource pool: no room for 1003 B on cpu: waited * s",
        "TimeoutError: no room now", "cpu: * free",
        "resource pool: no room for 1003 B on cpu: waited * s"])
    done.stdout.fnmatch_lines(["  test_a.py::test_it: timeout after * s"])


def test_a_circle_and_a_refusal_fail_at_once(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import CYCLE, REFUSED
        @pytest.mark.resources(memory=CYCLE, timeout=3600)
        def test_circle(): raise AssertionError
        @pytest.mark.resources(memory=REFUSED, timeout=3600)
        def test_refused(): raise AssertionError
        def test_after(): pass
    """)
    done = run()
    done.assert_outcomes(errors=2, passed=1)
    done.stdout.fnmatch_lines(["*wait for each other", "CycleError: 'a' and 'b' wait for each other",
                               "CapacityError: larger than the budget"])


def test_of_several_devices_the_first_with_room_is_taken(run, pytester, scripted):
    pytester.makepyfile(test_a="""
        import pytest
        from conftest import AT_ONCE, NEVER
        @pytest.mark.resources("rocm", "cuda", memory=AT_ONCE)
        def test_it(): pass
        @pytest.mark.resources("cuda", "cpu", memory=NEVER, timeout=1)
        def test_turns(): pass
    """)
    done = run(RESOURCE_POOL_SIMULATE=machine("4xa10g.json"))
    done.assert_outcomes(passed=1, errors=1)
    lines = scripted()
    assert lines[0].startswith("reserve cuda 1001")
    assert {line.split()[1] for line in lines if "test_turns" in line} == {"cuda", "cpu"}


def test_a_bad_setting_is_told(run, pytester):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.resources("cpu")
        def test_it(): pass
    """)
    done = run("-o", "pool_timeout=soon")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["*pool_timeout: 'soon' is no number of seconds*"])
