# SPDX-License-Identifier: Apache-2.0
"""The controller of pytest-xdist: what its workers did, and how it stood with one that died.

The controller opens no pool. A thread of its own looks at the memory of local workers, which therefore carry no
thread for it, and a worker leaves a record in a file: who is dead can still be read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

from .pytest_report import bytes_text, read_record, seconds_text

_LOOK_SECONDS = 0.1
# A look at the waits takes longer, and nobody needs it that often.
_LOOKS_PER_WAIT = 5
_QUIET_SECONDS = 1.0


# ---- the machine -------------------------------------------------------------------------------


def _words(path: str) -> dict[str, int]:
    """Files such as /proc/meminfo and memory.events: a name and a number on a line."""
    found = {}
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):  # a line of another kind
                name, number = line.split()[:2]
                found[name.rstrip(":")] = int(number)
    return found


# Where a control group says its limit, what it has, and how often the kernel killed in it.
_VERSION_2 = ("/sys/fs/cgroup", "memory.max", "memory.current", "memory.events")
_VERSION_1 = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
# What version 1 says where there is no limit is a little below 2^63.
_NO_LIMIT = 1 << 62


def _groups() -> list[tuple[str, str, str, str]]:
    """Control groups of memory that this process is in, the innermost first: the folder, and its three files."""
    path, files = None, _VERSION_2
    with contextlib.suppress(OSError, ValueError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            number, controllers, its_path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):
                path, files = its_path, _VERSION_1
                break
            if number == "0":
                path = its_path
    found = []
    while path is not None:
        folder = files[0] + path.rstrip("/")
        each = (folder, *(f"{folder}/{name}" for name in files[1:]))
        if os.path.exists(each[1]):
            found.append(each)
        path = os.path.dirname(path) if path not in ("", "/") else None
    return found


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def machine_now() -> dict:
    """Free memory of the machine and of the tightest control group, and how often the kernel killed for memory."""
    memory = _words("/proc/meminfo")
    seen = {"free_bytes": memory.get("MemAvailable"), "total_bytes": memory.get("MemTotal"),
            "kills": _words("/proc/vmstat").get("oom_kill")}
    for name in ("free_bytes", "total_bytes"):
        seen[name] = None if seen[name] is None else seen[name] << 10
    groups = _groups()
    # Who is killed is counted where he was: the workers are where this process is.
    seen["group_kills"] = _words(groups[0][3]).get("oom_kill") if groups else None
    tightest = None
    for folder, limit_file, used_file, _ in groups:
        limit, used = _number(limit_file), _number(used_file)
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        row = {"group": folder, "group_limit_bytes": limit, "group_used_bytes": used}
        if tightest is None or limit - used < tightest["group_limit_bytes"] - tightest["group_used_bytes"]:
            tightest = row
    return {**seen, **(tightest or {})}


def broker_knows(pid: int | None) -> list[str]:
    """What the broker of this machine has to tell of a process; nothing where there is none."""
    program = os.environ.get("RESOURCE_POOL_RPOOL") or shutil.which("rpool")
    if os.environ.get("RESOURCE_POOL_SHARE") != "machine" or not program or pid is None:
        return []
    try:
        done = subprocess.run([program, "status", "--json"], capture_output=True, timeout=3, check=False)
        told = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    lines = []
    for leak in told.get("leaks") or []:
        if leak.get("pid") == pid and leak.get("key"):
            lines.append(f"it had {leak['key']} on lease from the broker")
    for failure in told.get("failures") or []:
        if failure.get("pid") == pid and failure.get("message"):
            lines.append(failure["message"])
    return lines


def end_text(code: int | None) -> str:
    """How a process ended, by its exit code as subprocess has it; None: nobody knows."""
    if code is None:
        return "ended, nobody knows how"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was ended by signal {-code}"


# ---- one worker --------------------------------------------------------------------------------


def _pid_of(node, process) -> int | None:
    """The worker's own: what was started may be a launcher, which waits for it."""
    try:
        return int(node.gateway._rinfo().pid)
    except Exception:  # part of no interface
        return getattr(process, "pid", None)


class Watched:
    """A worker, as seen from outside."""

    def __init__(self, node, record: str | None):
        self.node = node
        self.name = node.gateway.id
        self.record = record
        self.process = getattr(getattr(node.gateway, "_io", None), "popen", None)
        self.pid = _pid_of(node, self.process) if record else None
        self.last_bytes: int | None = None
        self.last_at = 0.0
        self.peak_bytes: int | None = None
        self.shown: tuple | None = None

    def look(self) -> None:
        words = _words(f"/proc/{self.pid}/status")
        size = words.get("VmRSS")
        if size:  # a zombie has none
            self.last_bytes, self.last_at = size << 10, time.monotonic()
            self.peak_bytes = words.get("VmHWM", size) << 10

    def wait(self) -> dict | None:
        """What its test waits for, if that is long enough to be told, and was not yet."""
        told = read_record(self.record) if self.record else None
        waiting = told and told["now"]["waiting"]
        if not waiting:
            self.shown = None
            return None
        this = (waiting["test"], waiting["since"])
        if time.time() - waiting["since"] < _QUIET_SECONDS or this == self.shown:
            return None
        self.shown = this
        return waiting

    def end_text(self) -> str:
        try:
            code = self.process.wait(timeout=2) if self.process else None
        except subprocess.TimeoutExpired:
            code = None
        return end_text(code)

    @property
    def signal(self) -> int | None:
        code = getattr(self.process, "returncode", None)
        return -code if code is not None and code < 0 else None


def _memory_line(worker: Watched, now: dict) -> str | None:
    begun = now.get("begun_bytes")
    if begun is not None and now["begun_at"] > worker.last_at:  # a short test: nobody looked meanwhile
        ago = seconds_text(time.monotonic() - now["begun_at"])
        return f"memory: {bytes_text(begun)} when the test began, {ago} ago"
    if worker.last_bytes is None:
        return None
    ago = seconds_text(time.monotonic() - worker.last_at)
    line = f"memory: {bytes_text(worker.last_bytes)} when last seen, {ago} ago"
    if worker.peak_bytes is not None and worker.peak_bytes > worker.last_bytes:
        line += f"; {bytes_text(worker.peak_bytes)} at most"
    if begun is not None:
        line += f"; {bytes_text(begun)} when the test began"
    return line


def _machine_line(machine: dict) -> str | None:
    if machine.get("free_bytes") is None or machine.get("total_bytes") is None:
        return None
    line = f"machine: {bytes_text(machine['free_bytes'])} of {bytes_text(machine['total_bytes'])} free"
    if machine.get("group"):
        line += (f"; control group: {bytes_text(machine['group_used_bytes'])} of "
                 f"{bytes_text(machine['group_limit_bytes'])} used")
    return line


def _kills_since(machine: dict, before: dict) -> tuple[int | None, str]:
    """Processes that the kernel killed for memory meanwhile, and where; None: nobody counts them.

    Of the machine's some may be of others: they only count where the control group has none, or is not known.
    """
    counts = {}
    for name in ("group_kills", "kills"):
        if machine.get(name) is not None and before.get(name) is not None:
            counts[name] = machine[name] - before[name]
    if counts.get("group_kills"):
        return counts["group_kills"], "in this run"
    count = counts.get("kills", counts.get("group_kills"))
    return count, "on this machine in this run"


def kills_text(machine: dict, before: dict, is_killed: bool, told: int) -> tuple[str, bool]:
    """What the kernel's counters say of a process that SIGKILL ended, and whether it was the kernel: it kills by this
    signal, and each that it counts is the end of one process; those that were told before are others."""
    kills, where = _kills_since(machine, before)
    if kills is None or not is_killed:
        return "", False
    if kills > told:
        return f"; the kernel killed {kills} process{'es' if kills > 1 else ''} for memory {where}", True
    return f"; not by the kernel for memory: it killed nobody {'else ' if kills else ''}in this run", False


def _pool_line(summary: dict) -> str | None:
    """What its pool had loaded; what went since is in it."""
    held = {row["key"]: row for row in summary.get("objects", [])}
    if not held:
        return None
    rows = sorted(held.values(), key=lambda row: -(row.get("memory_bytes") or 0))
    names = [row["key"] + (f" {bytes_text(row['memory_bytes'])}" if row.get("memory_bytes") is not None else "")
             for row in rows[:5]]
    more = f", and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"its pool had loaded {', '.join(names)}{more}"


# ---- all of them -------------------------------------------------------------------------------


class Workers:
    """The hooks of xdist's controller."""

    def __init__(self, config: pytest.Config):
        self._config = config
        self._folder: str | None = None
        self._workers: dict[str, Watched] = {}  # those that live
        self.pids: list[int] = []  # of all that were here, on this machine
        self._summaries: list[dict] = []
        self._deaths: list[dict] = []
        self._latest_death: dict[str, dict] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._before: dict = {}
        self._kills_told = 0

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def summaries(self) -> list[dict]:
        """Also of those that were interrupted and did not come to tell: as they were last seen."""
        found = list(self._summaries)
        for worker in self._workers.values():
            told = read_record(worker.record) if worker.record else None
            if told:
                found.append(told["summary"])
        return found

    def deaths(self) -> list[dict]:
        return self._deaths

    # -- hooks --

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node) -> None:
        record = None
        if getattr(node.gateway.spec, "popen", False):  # on this machine
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="resource-pool-")
                self._before = machine_now()
            record = os.path.join(self._folder, node.gateway.id)
        node.workerinput["resource_pool_record"] = record
        worker = self._workers[node.gateway.id] = Watched(node, record)
        if worker.pid:
            self.pids.append(worker.pid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node) -> None:
        if self._thread is None and self._folder is not None:
            self._thread = threading.Thread(target=self._watch, name="resource_pool", daemon=True)
            self._thread.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error) -> None:
        worker = self._workers.pop(node.gateway.id, None)
        if worker is None:
            return
        output = getattr(node, "workeroutput", None) or {}
        told = read_record(worker.record) if worker.record else None
        summary = output.get("resource_pool") or (told or {}).get("summary")
        if summary:
            self._summaries.append(summary)
        if error:
            self._latest_death[worker.name] = self._death(worker, told or {})

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem, report, sched) -> None:
        death = self._latest_death.pop(report.node.gateway.id, None)
        if death is None:
            return
        death["test"] = crashitem
        self._deaths.append(death)
        report.longrepr = "\n".join([str(report.longrepr), *death["story"]])

    # -- what they do --

    def _watch(self) -> None:
        from .pytest_admission import show, unshow

        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        shown = False
        looks = 0
        while not self._stop.wait(_LOOK_SECONDS):
            looks += 1
            for worker in list(self._workers.values()):
                if worker.pid is None:
                    continue
                worker.look()
                wait = worker.wait() if looks % _LOOKS_PER_WAIT == 0 else None
                if wait and reporter is not None:
                    show(reporter, wait["test"], wait["what"], worker.name)
                    shown = True
            if shown and not any(worker.shown for worker in list(self._workers.values())):
                unshow(reporter)
                shown = False
        if shown:
            unshow(reporter)

    def _death(self, worker: Watched, told: dict) -> dict:
        machine = machine_now()
        now = told.get("now", {})
        kills, _ = _kills_since(machine, self._before)
        process = f"process {worker.pid}" if worker.pid else "its process"
        first = f"{process} {worker.end_text()}"
        words, is_killed = kills_text(machine, self._before, worker.signal == signal.SIGKILL, self._kills_told)
        self._kills_told += is_killed
        lines = [first + words, _memory_line(worker, now), _machine_line(machine), _pool_line(told.get("summary", {}))]
        if now.get("waiting"):
            lines.append(f"it waited for {now['waiting']['what']}, since "
                         f"{seconds_text(max(0.0, time.time() - now['waiting']['since']))}")
        lines.extend(broker_knows(worker.pid))
        if is_killed:
            lines.append("hint: let such tests wait for room, by the mark 'resources', or use fewer workers")
        return {"test": now.get("test"), "worker": worker.name, "pid": worker.pid, "signal": worker.signal,
                "memory_bytes": worker.last_bytes, "memory_bytes_peak": worker.peak_bytes,
                "memory_bytes_begun": now.get("begun_bytes"), "memory_kills": kills, "machine": machine,
                "story": [line for line in lines if line]}
