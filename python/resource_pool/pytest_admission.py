# SPDX-License-Identifier: Apache-2.0
"""The mark `resources`: a test runs where its hardware is, and once there is room for it."""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import re
import signal
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

import pytest

import resource_pool
from resource_pool import _core, _shapes

from .pytest_report import bytes_text, seconds_text

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "kb": 10**3, "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
          "g": 1 << 30, "gib": 1 << 30, "gb": 10**9, "t": 1 << 40, "tib": 1 << 40, "tb": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([a-z]*)", re.I | re.A)
# Where several kinds would do, how long to wait for one before looking at the next.
_TURN_SECONDS = 0.25
# A wait that is shorter is not worth a line.
_QUIET_SECONDS = 1.0
# Asking takes that long by itself, with a broker that has to be started.
_NO_WAIT_SECONDS = 0.1


class Need(NamedTuple):
    """What one mark asks for."""

    kinds: tuple[str, ...]  # or ids of devices: any of them
    memory: int | None  # bytes
    timeout: float | None  # seconds

    def __str__(self) -> str:
        where = " or ".join(self.kinds)
        return where if self.memory is None else f"{bytes_text(self.memory)} on {where}"


# ---- reading marks -----------------------------------------------------------------------------


def _kind(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a kind of device is a text, not {value!r:.80}")
    name, colon, rest = value.partition(":")
    name = _shapes.ALIASES.get(name, name)
    if name not in _shapes.KINDS or (colon and not rest):
        raise ValueError(f"'{value[:80]}' is no kind of device; the kinds are {' '.join(_shapes.KINDS)}")
    return name + colon + rest


def _memory(value: object) -> int | None:
    """As the library reads sizes: GB is 10^9 bytes, GiB and G are 2^30."""
    if value is None:
        return None
    size = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        unit = _UNITS.get(found[2].lower()) if found else None
        size = int(float(found[1]) * unit) if found and unit else -1
    if not 0 < size < 1 << 64:
        raise ValueError(f"memory={value!r:.80} is no size; it is a number of bytes, or such as '8GB', '512MiB'")
    return size


def _timeout(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"timeout={value!r:.80} is no number of seconds")
    return float(value)


def read(mark: pytest.Mark) -> Need:
    """What a mark asks for. ValueError says what is wrong with it."""
    unknown = sorted(set(mark.kwargs) - {"memory", "timeout"})
    if unknown:
        raise ValueError(f"'{unknown[0][:80]}' is no word of this mark; they are memory and timeout")
    need = Need(tuple(dict.fromkeys(map(_kind, mark.args))) or ("cpu",), _memory(mark.kwargs.get("memory")),
                _timeout(mark.kwargs.get("timeout")))
    if not mark.args and need.memory is None:
        raise ValueError("neither a kind of device nor memory is named")
    if need.timeout is not None and need.memory is None:
        raise ValueError("a timeout is for waiting for memory, and none is named")
    return need


def complaints(nodes: Iterable[pytest.Item | pytest.Collector]) -> str:
    """What is wrong with the marks of these nodes, a line each; '' when nothing is."""
    lines = {}
    for node in nodes:
        for mark in node.own_markers:
            if mark.name != "resources":
                continue
            try:
                read(mark)
            except ValueError as error:
                lines[f"{node.nodeid}: mark 'resources': {error}"] = None
    return "\n".join(lines)


def needs_of(item: pytest.Item) -> list[tuple[object, Need]]:
    """(the node whose mark it is, what it asks for), in one order for all tests.

    Of marks for the same kinds the nearest one counts: a test's before its class's before its module's, and the last
    of those at one place. Marks for different kinds all count.
    """
    found: dict[tuple, tuple[object, Need]] = {}
    for node in item.listchain():
        for mark in node.own_markers:
            if mark.name == "resources":
                need = read(mark)
                found[tuple(sorted(need.kinds))] = (node, need)
    return [found[kinds] for kinds in sorted(found)]


# ---- hardware ----------------------------------------------------------------------------------


def _fits(device: dict, memory: int | None) -> bool:
    total = device.get("memory_bytes_total")
    return memory is None or total is None or total >= memory


def _matching(snapshot: dict, wanted: str) -> list[dict]:
    name = wanted.partition(":")[0]
    return [each for each in _shapes.devices_of(snapshot, name) if wanted in (name, each["id"])]


def choose(snapshot: dict, need: Need) -> tuple[dict[str, list[dict]], str]:
    """What would do of what is wanted, with the devices of each, and why there is none.

    A simulated one counts where the whole machine is simulated, which its user has asked for.
    """
    may_simulate = bool(os.environ.get("RESOURCE_POOL_SIMULATE"))
    chosen: dict[str, list[dict]] = {}
    why = []
    for wanted in need.kinds:
        there = _matching(snapshot, wanted)
        real = [each for each in there if may_simulate or not _shapes.is_simulated(each)]
        roomy = [each for each in real if _fits(each, need.memory)]
        if roomy:
            chosen[wanted] = roomy
        name = wanted.partition(":")[0]
        if real and not roomy:
            sizes = ", ".join(f"{each['id']} has {bytes_text(each['memory_bytes_total'])} in all" for each in real)
            why.append(sizes)
        elif there and not real:
            why.append(f"{wanted}: only simulated here")
        elif not there and _shapes.devices_of(snapshot, name):
            why.append(f"{wanted}: there is no such {name} device")
        elif not there:
            why.append(f"{wanted}: {_shapes.why_not(snapshot, name)[0]}")
    return chosen, "; ".join(why)


# ---- admission ---------------------------------------------------------------------------------


class Admission:
    """The room that this process's tests hold."""

    def __init__(self, config: pytest.Config, recorder):
        self._config = config
        self._recorder = recorder
        self._snapshots: dict[bool, dict] = {}
        self._held: dict[tuple, tuple[object, contextlib.ExitStack]] = {}  # by node and kinds
        self._timeout = float(config.getini("pool_timeout"))

    def _snapshot(self, need: Need) -> dict:
        """The machine, looked at once. Browsers are only asked where a mark names what they offer."""
        with_browsers = any(kind.partition(":")[0] in ("webnn", "webgpu") for kind in need.kinds)
        if with_browsers not in self._snapshots:
            self._snapshots[with_browsers] = _core._hardware(all=with_browsers)
        return self._snapshots[with_browsers]

    def admit(self, item: pytest.Item) -> None:
        """Return with room for the test, or skip it, or fail it."""
        for node, need in needs_of(item):
            key = (node.nodeid, need.kinds)
            if key in self._held:
                continue
            places, why = choose(self._snapshot(need), need)
            if not places:
                raise pytest.skip.Exception(f"needs {need}: {why}", _use_item_location=True)
            devices = [device for each in places.values() for device in each]
            simulated = all(map(_shapes.is_simulated, devices))
            if need.memory is not None:
                self._reserve(item, node, key, need, list(places), simulated)
            elif simulated:
                self._note(item, need, devices[0]["id"], 0.0, "admitted", True)
            if simulated:
                item.add_report_section("setup", "resource pool", f"simulated hardware: {devices[0]['id']}")

    def release(self, nextitem: pytest.Item | None) -> None:
        """Give back what the next test has no share in: that of a class lasts as long as the class."""
        stays = set(map(id, nextitem.listchain())) if nextitem is not None else set()
        for key, (node, stack) in list(self._held.items()):
            if id(node) not in stays:
                del self._held[key]
                stack.close()

    def release_all(self) -> None:
        self.release(None)

    def _note(self, item, need: Need, device: str | None, seconds: float, outcome: str, simulated: bool) -> None:
        row = {"test": item.nodeid, "kinds": list(need.kinds), "device": device, "memory_bytes": need.memory,
               "waited_seconds": round(seconds, 3), "outcome": outcome}
        if simulated:
            row["simulated"] = True
        self._recorder.note_admission(row)

    def _reserve(self, item, node, key, need: Need, places: list[str], simulated: bool) -> None:
        timeout = self._timeout if need.timeout is None else need.timeout
        start = time.monotonic()
        lease, device, outcome, error = None, None, "failed", None
        try:
            # At one place a request without a deadline: a lease that was got with one is in no circle that is found.
            lease = _at_once(places, need, item.nodeid) if len(places) > 1 else None
            if lease is None:
                with self._shown(item, need):
                    lease = _wait(places, need, item.nodeid, start + timeout)
            outcome, device = "admitted", lease.device
        except resource_pool.CycleError as caught:
            outcome, error = "cycle", caught
        except resource_pool.TimeoutError as caught:
            outcome, error = "timeout", caught
        except resource_pool.CapacityError as caught:
            outcome, error = "no room", caught
        finally:
            seconds = time.monotonic() - start
            seconds = seconds if seconds > _NO_WAIT_SECONDS else 0.0
            self._note(item, need, device, seconds, outcome, simulated)
        if error is not None:
            pytest.fail(_story(need, places, outcome, seconds, error), pytrace=False)
        stack = contextlib.ExitStack()
        stack.push(lease)
        self._recorder.own(lease)
        self._held[key] = (node, stack)

    @contextlib.contextmanager
    def _shown(self, item, need: Need):
        """While it lasts longer than a moment, a wait is told: here, or through the controller of xdist."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        is_worker = hasattr(self._config, "workerinput")
        timer = None
        if not is_worker and reporter is not None:
            timer = threading.Timer(_QUIET_SECONDS, show, (reporter, item.nodeid, str(need), ""))
            timer.daemon = True
        with capture.global_and_fixture_disabled() if capture and timer else contextlib.nullcontext():
            self._recorder.note_wait(str(need))
            if timer:
                timer.start()
            try:
                yield
            finally:
                if timer:
                    timer.cancel()
                    timer.join()
                    unshow(reporter)
                self._recorder.note_wait(None)


def _at_once(places: list[str], need: Need, test: str):
    for place in places:
        with contextlib.suppress(resource_pool.TimeoutError, resource_pool.CapacityError):
            return resource_pool.get_global_resource_pool().reserve(place, need.memory, name=test, timeout=0)
    return None


def _wait(places: list[str], need: Need, test: str, deadline: float):
    """At one place to the end, without losing the turn; at several in turns."""
    pool = resource_pool.get_global_resource_pool()
    left = list(places)
    while True:
        for place in list(left):
            seconds = max(0.0, deadline - time.monotonic())
            try:
                if len(left) == 1:
                    return _wait_at(pool, place, need, test, seconds)
                return pool.reserve(place, need.memory, name=test, timeout=min(seconds, _TURN_SECONDS))
            except resource_pool.TimeoutError:
                if len(left) == 1 or time.monotonic() >= deadline:
                    raise
            except resource_pool.CapacityError:
                left.remove(place)
                if not left:
                    raise


class _Over(BaseException):
    """The time for waiting is over."""


def _wait_at(pool, place: str, need: Need, test: str, seconds: float):
    """The library looks for circles among those who wait for ever: whoever has a deadline gives up by himself.

    So the wait has none, and is ended from here, by a signal that nobody sends: Python is only told that it came. That
    reaches the main thread alone; another one waits with a deadline.
    """
    number = getattr(signal, "SIGURG", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        return pool.reserve(place, need.memory, name=test, timeout=seconds)

    def over(*_):
        raise _Over

    before = signal.signal(number, over)
    timer = threading.Timer(seconds, _thread.interrupt_main, (number,))
    timer.daemon = True
    lease = None
    try:
        timer.start()
        lease = pool.reserve(place, need.memory, name=test)
        timer.cancel()
        timer.join()
    except _Over:
        pass
    finally:
        with contextlib.suppress(_Over):
            timer.cancel()
            timer.join()
        signal.signal(number, before if before is not None else signal.SIG_DFL)
    if lease is not None:  # also where the time was over just then
        return lease
    # Once more, for what the library has to say.
    return pool.reserve(place, need.memory, name=test, timeout=0)


def _story(need: Need, places: list[str], outcome: str, seconds: float, error: Exception) -> str:
    what = {
        "cycle": f"{need}: this test and others wait for each other",
        "timeout": f"no room for {need}: waited {seconds_text(seconds)}",
        "no room": f"no room for {need}",
    }[outcome]
    lines = [f"resource pool: {what}", f"{type(error).__name__}: {error}"]
    hint = getattr(error, "hint", "")
    if hint:
        lines.append(f"hint: {hint}")
    for device in _core._hardware()["devices"]:
        free = device.get("memory_bytes_free")
        if {device["id"], device["kind"]} & set(places) and free is not None:
            lines.append(f"{device['id']}: {bytes_text(free)} free")
    return "\n".join(lines)


# ---- what a wait looks like --------------------------------------------------------------------

_titled: set[int] = set()


def show(reporter, test: str, what: str, worker: str) -> None:
    """A line where there are lines for tests, else the title of the terminal."""
    text = f"{'[' + worker + '] ' if worker else ''}{test} waits for {what}"
    if reporter.verbosity > 0:
        reporter.ensure_newline()
        reporter.write_line(text, yellow=True)
    elif reporter.verbosity == 0 and reporter.isatty:
        # Terminals keep a stack of titles: the old one comes back.
        reporter._tw._file.write(("" if id(reporter) in _titled else "\033[22;0t") + f"\033]0;{text}\007")
        reporter.flush()
        _titled.add(id(reporter))


def unshow(reporter) -> None:
    if id(reporter) in _titled:
        _titled.discard(id(reporter))
        reporter._tw._file.write("\033[23;0t")
        reporter.flush()
