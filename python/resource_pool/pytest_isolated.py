# SPDX-License-Identifier: Apache-2.0
"""--pool-isolate: each test runs in a fork of its worker. docs/pytest.md has what that means for a suite.

The child runs the protocol of the test again, with all that other plugins put around it. What they would tell others
(reports, warnings) the child tells its worker instead, through a file that stays whatever becomes of the child; the
worker tells it on when the child has ended, as if it had happened there. A child that did not come to its end is a
failed test.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
import warnings

import pytest

import resource_pool

from .pytest_report import bytes_text
from .pytest_workers import end_text, kills_text, machine_now

# What a child tells nobody but its worker.
_TOLD_BY_WORKER = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish",
                   "pytest_warning_recorded")
_HEAD = struct.Struct("<Q")
# A child that is to end because its worker is interrupted: by itself, when asked, and at last by force.
_END_STEPS = ((None, 2.0), (signal.SIGINT, 5.0), (signal.SIGKILL, None))
# An alarm that was set around the test is the child's, which sets its own; this is for a child that does not hear it.
_ALARM_SECONDS = 1.0


# ---- the way from a child to its worker --------------------------------------------------------


class Channel:
    """Messages in a file without a name: a child writes, its worker reads when the child has ended."""

    def __init__(self):
        self._file = tempfile.TemporaryFile(buffering=0)
        self._writer = None

    def begin(self) -> None:
        """In the child. A fork that a test makes and forgets to end is no writer."""
        self._writer = os.getpid()

    def send(self, kind: str, data: object) -> None:
        if self._writer != os.getpid():
            return
        try:
            body = pickle.dumps((kind, data))
        except Exception:  # a report may carry anything that a plugin or a test put there
            body = pickle.dumps((kind, json.loads(json.dumps(data, default=repr, skipkeys=True))))
        self._file.write(_HEAD.pack(len(body)) + body)

    def take_all(self) -> list[tuple[str, object]]:
        """In the worker. A message that was cut off is none."""
        self._file.seek(0)
        data = self._file.read()
        self._file.close()
        messages, at = [], 0
        while at + _HEAD.size <= len(data):
            size, = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            if at + size <= len(data):
                messages.append(pickle.loads(data[at:at + size]))
            at += size
        return messages


def _warning_data(message: warnings.WarningMessage, when: str, nodeid: str, location) -> dict:
    """Classes go as what they are where they can, which they cannot when the test made them."""
    try:
        text = pickle.dumps((message.message, message.category))
    except Exception:
        category = next(base for base in message.category.__mro__ if base.__module__ in ("builtins", "pytest"))
        text = pickle.dumps((category(f"{message.category.__name__}: {message.message}"), category))
    return {"message": text, "filename": message.filename, "lineno": message.lineno, "when": when, "nodeid": nodeid,
            "location": location}


def _warning_of(data: dict) -> dict:
    try:
        message, category = pickle.loads(data["message"])
    except Exception as error:
        message, category = UserWarning(f"a warning that cannot be shown: {error}"), UserWarning
    return {"warning_message": warnings.WarningMessage(message, category, data["filename"], data["lineno"]),
            "when": data["when"], "nodeid": data["nodeid"], "location": data["location"]}


# ---- processes ---------------------------------------------------------------------------------


def _threads() -> dict[int, str]:
    """Threads of this process with their names, also those that are not Python's."""
    names = {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id}
    try:
        for number in map(int, os.listdir("/proc/self/task")):
            if number not in names:
                with open(f"/proc/self/task/{number}/comm", encoding="utf-8", errors="replace") as file:
                    names[number] = file.read().strip()
    except OSError:  # one has ended meanwhile, or there is no /proc
        pass
    return names


def _library():
    """C's own functions; None: not to be had."""
    try:
        import ctypes

        return ctypes.CDLL(None)
    except (ImportError, OSError):
        return None


def _fork() -> int:
    """The worker of xdist has a thread that waits for its controller, so Python warns of each fork."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _end(pid: int) -> tuple[int | None, object]:
    """End a child, and wait for it: first it may end its fixtures. What interrupted a wait may have come after it."""
    try:
        for number, seconds in _END_STEPS:
            if number:
                os.kill(pid, number)
            until = time.monotonic() + seconds if seconds else None
            while until is None or time.monotonic() < until:
                found, status, usage = os.wait4(pid, os.WNOHANG if until else 0)
                if found:
                    return status, usage
                time.sleep(0.01)
    except (ChildProcessError, ProcessLookupError):
        pass
    return None, None


class _Alarm:
    """Puts an alarm of the worker off while a child has the same one for itself."""

    def __enter__(self):
        self._began = time.monotonic()
        self._left = signal.getitimer(signal.ITIMER_REAL)[0]
        if self._left:
            signal.setitimer(signal.ITIMER_REAL, self._left + _ALARM_SECONDS)

    def __exit__(self, *raised):
        if self._left and signal.getitimer(signal.ITIMER_REAL)[0]:  # else it has rung
            left = self._left - (time.monotonic() - self._began)
            signal.setitimer(signal.ITIMER_REAL, max(left, _ALARM_SECONDS))


# ---- the plugin --------------------------------------------------------------------------------


class Isolation:
    """The hooks, in the worker and in its children. `state` is that of the plugin."""

    def __init__(self, config: pytest.Config, state):
        self._config = config
        self._state = state
        self._pid = os.getpid()
        self._library = _library()
        self._channel: Channel | None = None  # of a child
        self._is_ready = False
        self._machine: dict = {}
        self._kills_told = 0

    # -- in the worker --

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector):
        """Threads that a module starts when it is imported are in no fork: that is told."""
        if not isinstance(collector, pytest.File):
            return (yield)
        before = _threads()
        report = yield
        new = sorted(name for number, name in _threads().items() if number not in before)
        if new:
            self._state.recorder.note_threads(collector.nodeid, new)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        if os.getpid() != self._pid:
            return None
        self._prepare()
        where = {"nodeid": item.nodeid, "location": item.location}
        item.ihook.pytest_runtest_logstart(**where)
        self._run(item)
        item.ihook.pytest_runtest_logfinish(**where)
        return True

    def _prepare(self) -> None:
        if self._is_ready:
            return
        self._is_ready = True
        self._machine = machine_now()
        # Else each child would make a folder of its own for all its temporary ones.
        factory = getattr(self._config, "_tmp_path_factory", None)
        if factory is not None:
            factory.getbasetemp()

    def _run(self, item: pytest.Item) -> None:
        channel = Channel()
        traces = tempfile.TemporaryFile(buffering=0)
        began = time.time()
        with _Alarm():
            try:
                pid = _fork()
            except OSError as error:
                said = f"no process could be forked for it: {error.strerror or error}"
                self._report_death(item, [], [said], began, {})
                return
            if pid == 0:
                self._be_child(item, channel, traces)
            status, usage, said = self._wait(pid)
        reports, told_end = [], None
        for kind, data in channel.take_all():
            if kind == "report":
                reports.append(self._config.hook.pytest_report_from_serializable(config=self._config, data=data))
            elif kind == "warning":
                item.ihook.pytest_warning_recorded.call_historic(kwargs=_warning_of(data))
            elif kind == "end":
                told_end = data
        printed = self._leftovers()
        if told_end is None or said:
            traces.seek(0)
            printed["Python's stacks"] = _of_test(traces.read().decode("utf-8", "replace"))
            self._report_death(item, reports, self._story(pid, status, usage, said), began, printed, pid, status, usage)
        else:
            _add_sections(reports[-1:], printed)
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
        traces.close()
        self._state.recorder.fold((told_end or {}).get("summary"))
        if told_end and not said:
            self._take_end(item, told_end)

    def _wait(self, pid: int) -> tuple[int | None, object, str | None]:
        """How the child ended: its status and what it used; and why it was ended, if it was."""
        try:
            return *os.wait4(pid, 0)[1:], None
        except ChildProcessError:  # the system was told that nobody waits for children
            return None, None, None
        except pytest.fail.Exception as failure:  # by an alarm
            return *_end(pid), str(failure)
        except BaseException:
            _end(pid)
            raise

    def _leftovers(self) -> dict[str, str]:
        """What was printed, and was not taken as a part of a report."""
        manager = self._config.pluginmanager.getplugin("capturemanager")
        if manager is None or not manager.is_globally_capturing():
            return {}
        out, err = manager.read_global_capture()
        return {"Captured stdout": out, "Captured stderr": err}

    def _take_end(self, item: pytest.Item, told: dict) -> None:
        for name in ("shouldstop", "shouldfail"):
            if told.get(name) and not getattr(item.session, name):
                setattr(item.session, name, told[name])
        kind, *words = told["raised"] or ("",)
        if kind == "exit":
            pytest.exit(*words)
        if kind == "interrupt":
            raise KeyboardInterrupt(*words)
        if kind == "error":
            raise RuntimeError(f"in the process of {item.nodeid}:\n{words[0]}")

    # -- a test that died --

    def _story(self, pid: int, status: int | None, usage, said: str | None) -> list[str]:
        code = os.waitstatus_to_exitcode(status) if status is not None else None
        first = f"process {pid} of this test {end_text(code)}"
        if code is not None and code >= 0:
            first += " before the test was over"
        machine = machine_now()
        words, is_killed = kills_text(machine, self._machine, code == -signal.SIGKILL and not said, self._kills_told)
        self._kills_told += is_killed
        lines = [said] if said else []
        lines.append(first + words)
        if usage is not None:
            lines.append(f"memory: {bytes_text(usage.ru_maxrss << 10)} at most")
        if is_killed:
            lines.append("hint: let such tests wait for room, by the mark 'resources', or use fewer workers")
        return lines

    def _report_death(self, item, reports, story, began, printed, pid=None, status=None, usage=None) -> None:
        """One failed test, whatever it was when it died: one that had failed already stays that one."""
        failed = [report for report in reports if report.failed]
        setup = [report for report in reports if report.when == "setup" and report.passed]
        if failed:
            dead = failed[0]
            dead.sections.append(("The end of its process", "\n".join(story)))
            others = [report for report in reports if report.failed or report in setup]
        else:
            seconds = time.time() - began - sum(report.duration for report in setup)
            dead = pytest.TestReport(
                item.nodeid, item.location, dict.fromkeys(item.keywords, 1), "failed", "\n".join(story), "call",
                sections=list(reports[-1].sections) if reports else (), duration=max(seconds, 0.0), start=began,
                stop=time.time(), user_properties=list(item.user_properties))
            _expect_failure(item, dead)
            others = [*setup, dead]
        _add_sections([dead], printed)
        for report in others:
            item.ihook.pytest_runtest_logreport(report=report)
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        self._state.recorder.note_death({
            "test": item.nodeid, "pid": pid, "signal": number, "memory_bytes": None,
            "memory_bytes_peak": usage.ru_maxrss << 10 if usage is not None else None, "memory_bytes_begun": None,
            "memory_kills": None, "machine": machine_now(), "story": story})

    # -- in a child --

    def _be_child(self, item: pytest.Item, channel: Channel, traces) -> None:
        """Never comes back."""
        try:
            channel.begin()
            self._channel = channel
            self._cut_off(traces)
            told = {"raised": _run_protocol(item)}
            told["summary"] = self._close()
            told |= {name: _text(getattr(item.session, name)) for name in ("shouldstop", "shouldfail")}
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            if self._library is not None:
                self._library.fflush(None)
            channel.send("end", told)
        except BaseException:
            channel.send("end", {"raised": ("error", traceback.format_exc())})
        finally:
            os._exit(0)

    def _cut_off(self, traces) -> None:
        """From its worker's ways to tell anybody anything."""
        if self._library is not None and sys.platform == "linux":
            self._library.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: it ends with its worker
            if os.getppid() != self._pid:
                os._exit(0)
        for name in _TOLD_BY_WORKER:
            for impl in getattr(self._config.hook, name).get_hookimpls():
                if impl.plugin is not self:
                    is_wrapper = impl.hookwrapper or getattr(impl, "wrapper", False)
                    impl.function, impl.argnames = (_wrap_nothing if is_wrapper else _do_nothing), ()
        faulthandler = sys.modules.get("faulthandler")
        if faulthandler is not None and faulthandler.is_enabled():
            faulthandler.enable(file=traces)
        self._state.begin_child()

    def _close(self) -> dict:
        """What the child's pool did; what it had is given back in order."""
        self._state.recorder.look()
        if resource_pool._pool_pid == os.getpid():
            try:
                resource_pool._pool.close()
            except resource_pool.ResourcePoolError:
                pass
        coverage = sys.modules.get("coverage")
        current = coverage.Coverage.current() if coverage is not None else None
        if current is not None:
            current.stop()
            current.save()
        return self._state.recorder.summary()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._channel:
            data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
            self._channel.send("report", data)

    def pytest_warning_recorded(self, warning_message, when, nodeid, location) -> None:
        if self._channel:
            self._channel.send("warning", _warning_data(warning_message, when, nodeid, location))


def _do_nothing() -> None:
    pass


def _wrap_nothing():
    yield


def _text(value: object) -> object:
    return value if isinstance(value, bool) else str(value)


def _run_protocol(item: pytest.Item) -> tuple | None:
    """The protocol as without us; what it raised that ends a run."""
    raised = None
    try:
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
    except pytest.exit.Exception as exit:
        raised = ("exit", exit.msg, exit.returncode)
    except KeyboardInterrupt as interrupt:
        raised = ("interrupt", *map(str, interrupt.args))
    if raised:  # fixtures end with the run, which here is this test
        item.session._setupstate.teardown_exact(None)
    return raised


def _add_sections(reports: list, printed: dict[str, str]) -> None:
    for report in reports:
        report.sections.extend((name, text) for name, text in printed.items() if text)


def _of_test(stacks: str) -> str:
    """Without pytest's own frames and ours."""
    others = ("/_pytest/", "/pluggy/", "/pytest/__main__.py", "<frozen runpy>", os.path.dirname(__file__) + "/pytest_")
    return "\n".join(line for line in stacks.splitlines()
                     if not (line.startswith("  File ") and any(map(line.__contains__, others))))


def _expect_failure(item: pytest.Item, report: pytest.TestReport) -> None:
    """A test that is marked to fail, however, may also die."""
    try:
        from _pytest.skipping import evaluate_xfail_marks

        expected = None if item.config.getoption("runxfail") else evaluate_xfail_marks(item)
    except (ImportError, ValueError):
        return
    if expected and expected.raises is None:
        report.outcome = "skipped"
        report.wasxfail = expected.reason
