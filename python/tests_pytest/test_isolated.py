# SPDX-License-Identifier: Apache-2.0
"""--pool-isolate: each test in a fork of its worker."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])

# How a test may die; each is one failed test, and those around it go on.
DEATHS = """
    import ctypes, os, signal, sys
    import pytest
    @pytest.fixture
    def prints():
        print("in the fixture")
    def test_before(): pass
    def test_crashes(prints):
        print("out")
        print("err", file=sys.stderr)
        os.system("echo of a child")
        ctypes.string_at(0)
    def test_exits(): os._exit(3)
    def test_exits_well(): os._exit(0)
    def test_is_killed(): os.kill(os.getpid(), signal.SIGKILL)
    def test_dies_in_its_teardown(request):
        request.addfinalizer(lambda: os._exit(5))
    def test_fails_and_dies(request):
        request.addfinalizer(lambda: os._exit(6))
        assert 1 == 2
    @pytest.mark.xfail
    def test_is_expected_to(): os.abort()
    @pytest.mark.xfail(raises=ValueError)
    def test_is_expected_to_raise(): os.abort()
    def test_after(): pass
"""


def report(pytester):
    return json.loads((pytester.path / "r.json").read_text())


@WORKERS
def test_a_test_that_dies_is_one_failed_test(run, pytester, workers):
    pytester.makepyfile(test_a=DEATHS)
    done = run("--pool-isolate", "--pool-report=r.json", "--junitxml=j.xml", "-v", *workers)
    done.assert_outcomes(passed=2, failed=7, xfailed=1)
    text = done.stdout.str()
    assert "crashed while running" not in text  # a worker
    for line in ("of this test was ended by signal 11 (SIGSEGV)", "ended with exit code 3 before the test was over",
                 "ended with exit code 0 before the test was over",
                 "was ended by signal 9 (SIGKILL); not by the kernel",
                 "ended with exit code 5", "ended with exit code 6", "was ended by signal 6 (SIGABRT)"):
        assert line in text, line
    done.stdout.fnmatch_lines([
        "*_ test_crashes _*", "process * was ended by signal 11 (SIGSEGV)", "memory: * MiB at most",
        "*Captured stdout setup*", "in the fixture", "*Captured stdout -*", "out", "of a child", "*Captured stderr -*",
        "err", "*Python's stacks*", '  File "*test_a.py", line * in test_crashes'])
    assert "_pytest/runner.py" not in text
    assert "assert 1 == 2" in text
    deaths = {death["test"].rpartition("::")[2]: death for death in report(pytester)["deaths"]}
    assert {name: death["signal"] for name, death in deaths.items()} == {
        "test_crashes": 11, "test_exits": None, "test_exits_well": None, "test_is_killed": 9,
        "test_dies_in_its_teardown": None, "test_fails_and_dies": None, "test_is_expected_to": 6,
        "test_is_expected_to_raise": 6}
    assert all(death["memory_bytes_peak"] > 1 << 20 for death in deaths.values())
    suite = xml.etree.ElementTree.parse(pytester.path / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("10", "7", "0")


@WORKERS
def test_tests_know_nothing_of_each_other(run, pytester, workers):
    pytester.makepyfile("""
        import os
        import pytest
        seen = []
        made = []
        @pytest.fixture(scope="session")
        def wide():
            made.append(os.getpid())
            yield made
            with open("ended", "a") as file:
                file.write(f"{os.getpid()}\\n")
        @pytest.mark.parametrize("i", range(6))
        def test_it(wide, i, tmp_path):
            seen.append(i)
            os.environ["SEEN"] = os.environ.get("SEEN", "") + str(i)
            assert seen == [i] and os.environ["SEEN"] == str(i)
            assert wide == [os.getpid()]
    """)
    done = run("--pool-isolate", "--pool-report=r.json", *workers)
    done.assert_outcomes(passed=6)
    done.stdout.fnmatch_lines(["6 tests in forks of their own"])
    assert len(set((pytester.path / "ended").read_text().split())) == 6
    assert report(pytester)["isolated"] == {"tests": 6, "threads": []}


@WORKERS
def test_everything_that_is_not_dead_is_told_as_without(run, pytester, workers):
    pytester.makepyfile("""
        import sys, unittest, warnings
        import pytest
        def test_passes(record_property):
            record_property("color", "green")
            print("printed")
        def test_warns():
            warnings.warn("beware")
        def test_exits(): sys.exit(4)
        @pytest.mark.skip(reason="no time")
        def test_skipped(): pass
        def test_skips(): pytest.skip("none")
        @pytest.mark.xfail
        def test_xfails(): assert 0
        @pytest.mark.xfail
        def test_xpasses(): pass
        @pytest.mark.xfail(strict=True)
        def test_xpasses_strictly(): pass
        @pytest.fixture
        def broken(): raise ValueError("broken")
        def test_errs(broken): pass
        def test_errs_late(request): request.addfinalizer(lambda: 1 / 0)
        class TestUnit(unittest.TestCase):
            @classmethod
            def setUpClass(cls): cls.value = 1
            def test_unit(self): self.assertEqual(self.value, 1)
        def documented():
            '''
            >>> 1 + 1
            2
            '''
    """)
    arguments = ("--doctest-modules", "-p", "no:randomly", "-rA", "-ojunit_family=xunit1", "--junitxml=j.xml")

    def outcomes(*more):
        done = run(*arguments, *workers, *more)
        root = xml.etree.ElementTree.parse(pytester.path / "j.xml").getroot()
        cases = sorted((case.get("name"), *sorted(part.tag for part in case)) for case in root.iter("testcase"))
        assert [each.get("value") for each in root.iter("property")] == ["green"]
        return done.parseoutcomes(), cases, done

    plain, plain_cases, _ = outcomes()
    isolated, cases, done = outcomes("--pool-isolate")
    assert (isolated, cases) == (plain, plain_cases)
    assert isolated == {"passed": 5, "failed": 2, "errors": 2, "skipped": 2, "xfailed": 1, "xpassed": 1,
                        "warnings": plain["warnings"]}
    done.stdout.fnmatch_lines(["*UserWarning: beware", "*Captured stdout call*", "printed"])


def test_a_warning_of_a_class_that_others_cannot_know(run, pytester):
    pytester.makepyfile("""
        import warnings
        def test_warns():
            class Own(UserWarning): pass
            warnings.warn(Own("of me"))
    """)
    done = run("--pool-isolate")
    done.assert_outcomes(passed=1, warnings=1)
    done.stdout.fnmatch_lines(["*Own: of me"])


def test_early_ends_and_repeating(pytester, run):
    pytester.makepyfile("""
        import os, time
        def test_1(): pass
        def test_2(): os._exit(1)
        def test_3(): time.sleep(0.05)
    """)
    run("--pool-isolate", "-x").assert_outcomes(passed=1, failed=1)
    run("--pool-isolate", "--durations=1", "-vv").stdout.fnmatch_lines(["0.0[5-9]s call *::test_3"])
    pytester.runpytest_subprocess("--pool-isolate").assert_outcomes(passed=2, failed=1)
    pytester.runpytest_subprocess("--pool-isolate", "--lf").assert_outcomes(failed=1)


@pytest.mark.parametrize("how, code, says", [
    ("pytest.exit('enough', 7)", 7, "*Exit: enough*"), ("raise KeyboardInterrupt", 2, "*KeyboardInterrupt*"),
    ("request.session.shouldstop = 'stop'", 2, "*Interrupted: stop*")])
def test_a_test_can_end_the_run(run, pytester, how, code, says):
    pytester.makepyfile(f"""
        import pytest
        @pytest.fixture(scope="session")
        def wide():
            yield
            open("ended", "w").close()
        def test_1(): pass
        def test_2(request, wide): {how}
        def test_3(): pass
    """)
    done = run("--pool-isolate")
    assert done.ret == code
    done.stdout.fnmatch_lines([says])
    assert "test_3" not in done.stdout.str() and (pytester.path / "ended").exists()


@pytest.mark.parametrize("whom", ["group", "pytest", "for good"])
def test_an_interrupt_ends_the_test_and_its_fixtures(run, pytester, whom):
    pytester.makepyfile("""
        import os, time
        import pytest
        @pytest.fixture(scope="session", autouse=True)
        def wide():
            yield
            open("ended", "w").close()
        def test_it():
            with open("begun", "w") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(100)
    """)
    process = subprocess.Popen([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pool-isolate"],
                               cwd=pytester.path, stdout=subprocess.PIPE, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    begun = pytester.path / "begun"
    until = time.monotonic() + 60
    while not (begun.exists() and begun.read_text().endswith("\n")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.01)
    if whom == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT if whom == "pytest" else signal.SIGKILL)
    said, _ = process.communicate(timeout=60)  # all who could write to it are ending
    assert process.returncode == (-9 if whom == "for good" else 2), said
    assert (pytester.path / "ended").exists() == (whom != "for good")
    state = pathlib.Path(f"/proc/{int(begun.read_text())}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_alarm_is_the_tests(run, pytester):
    """As pytest-timeout does it: set around the protocol, in the child once more."""
    pytester.makeconftest("""
        import signal
        import pytest
        def ring(number, frame): pytest.fail("too long")
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_protocol(item):
            signal.signal(signal.SIGALRM, ring)
            signal.setitimer(signal.ITIMER_REAL, 1)
            yield
            signal.setitimer(signal.ITIMER_REAL, 0)
    """)
    pytester.makepyfile("""
        import signal, time
        def test_hears_it(): time.sleep(100)
        def test_does_not():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(100)
        def test_is_quick(): pass
    """)
    done = run("--pool-isolate")
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines(["*_ test_hears_it _*", ">*time.sleep(100)", "E *Failed: too long", "*_ test_does_not _*",
                               "too long", "process * of this test *"])


def test_no_process_to_be_had(run, pytester):
    pytester.makeconftest("""
        import os
        def pytest_sessionstart():
            fork, count = os.fork, []
            def refused():
                count.append(1)
                if len(count) == 2: raise BlockingIOError(11, "Resource temporarily unavailable")
                return fork()
            os.fork = refused
    """)
    pytester.makepyfile("""
        def test_1(): pass
        def test_2(): pass
        def test_3(): pass
    """)
    done = run("--pool-isolate")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["*_ test_2 _*", "no process could be forked for it: Resource temporarily unavailable"])


@WORKERS
def test_threads_of_modules_are_told(run, pytester, workers):
    pytester.makepyfile(test_a="""
        import threading
        threading.Thread(target=threading.Event().wait, name="waits", daemon=True).start()
        def test_it(): assert threading.active_count() == 1
    """, test_b="def test_it(): pass")
    done = run("--pool-isolate", "--pool-report=r.json", "-W", "error", *workers)
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["modules that started threads when they were imported, which no fork has:",
                               "  test_a.py: waits"])
    assert report(pytester)["isolated"]["threads"] == [{"module": "test_a.py", "threads": ["waits"]}]


@WORKERS
def test_what_the_pools_of_tests_did_is_counted(run, pytester, workers):
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("i", range(4))
        def test_it(model_session, i):
            for _ in range(2):
                model_session("embedding", "bert", list, size=1 << 20)
        def test_leaks(resource_pool):
            global kept
            kept = resource_pool.lease_model("embedding", "bert", list)
        @pytest.mark.resources("cpu", memory="1MB")
        def test_room(): pass
    """)
    done = run("--pool-isolate", "--pool-report=r.json", *workers)
    done.assert_outcomes(passed=6)
    told = report(pytester)
    assert (told["totals"]["requests"], told["totals"]["loads"], told["totals"]["hits"]) == (9, 5, 4)
    row, = told["objects"]
    assert (row["loads"], row["hits"], row["saved_bytes"]) == (5, 4, 4 << 20)
    assert [leak["test"].rpartition("::")[2] for leak in told["leaks"]] == ["test_leaks"]
    assert [each["outcome"] for each in told["admissions"]] == ["admitted"]


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_ways_to_capture(run, pytester, capture):
    pytester.makepyfile("""
        import ctypes, os
        def test_prints(): print("hello")
        def test_fails():
            ctypes.CDLL(None).puts(b"from C")
            print("bye")
            assert 0
    """)
    done = run("--pool-isolate", f"--capture={capture}", "-p", "no:randomly")
    done.assert_outcomes(passed=1, failed=1)
    text = done.stdout.str()
    assert text.count("bye\n") == (2 if capture == "tee-sys" else 1) and "from C" in text
    assert text.count("hello") == (capture in ("tee-sys", "no"))


def test_it_can_be_a_setting(run, pytester):
    pytester.makeini("[pytest]\npool_isolate = true")
    pytester.makepyfile("import os\ndef test_it(): os._exit(0)")
    run().assert_outcomes(failed=1)


def test_a_test_that_forks_and_forgets_is_told_once(run, pytester):
    pytester.makepyfile("""
        import os
        def test_it():
            if os.fork(): os.wait()
    """)
    run("--pool-isolate").assert_outcomes(passed=1)


def test_in_forked_workers(run, pytester, below_rpool):
    pytester.makepyfile(test_a=DEATHS)
    done = below_rpool("-n2", "--pool-isolate", options=("--preload", "decimal"))
    assert "7 failed, 2 passed, 1 xfailed" in done.stdout, done.stdout + done.stderr
    assert "10 tests in forks of their own" in done.stdout
