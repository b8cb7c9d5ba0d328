# SPDX-License-Identifier: Apache-2.0
"""What one process of a run did with the pool, what all did together, and how it is told."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time

import resource_pool
from resource_pool import _core

TOTALS = ("requests", "hits", "misses", "loads", "load_failures", "evictions", "room_waits")
SLOWEST = 5


def bytes_text(size: int) -> str:
    """As the library says sizes: "512 B", "1.3 GiB"."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1000:
            break
    return f"{value:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


class Recorder:
    """Follows the pool, and the leases, of this process from test to test."""

    def __init__(self, worker: str, record: str | None = None):
        self.worker = worker
        self.pid = os.getpid()
        self.test = None
        self.waiting: dict | None = None
        self.totals: dict = {}
        self.objects: dict[tuple, dict] = {}
        self.leaks: list[dict] = []
        self.admissions: list[dict] = []
        self.deaths: list[dict] = []  # of tests in processes of their own
        self.threads: list[dict] = []
        self.isolated = 0  # tests that ran in one
        self.owners: dict[int, object] = {}  # leases that belong to more than the test that runs
        self._folded_totals: dict = {}
        self._folded_objects: dict[tuple, dict] = {}
        self._before = 0  # leases up to this number were out when the test began
        self._marks: list[set] = []
        self._record = record
        self._file = -1
        self._statm = -1  # stays open: a run of short tests would notice it
        self._page = os.sysconf("SC_PAGE_SIZE") if record else 0
        self._begun: dict = {}
        self._text = ""

    # -- the pool --

    def look(self) -> None:
        """Take down what the pool did. What was cleared stays as it was last seen."""
        pool = resource_pool._pool
        if pool is None or resource_pool._pool_pid != self.pid or os.getpid() != self.pid:
            return
        try:
            totals, rows = pool._totals, pool._stats
        except resource_pool.ResourcePoolError:  # closed by a test
            return
        if totals == self.totals:
            return
        self.totals = totals
        self._text = ""
        for key, row in rows.items():
            if isinstance(row, dict) and "load_ms" in row:
                seen = {"key": key, "hits": row["hits"], "load_seconds": row["load_ms"] / 1e3}
                if row.get("device"):
                    seen["device"] = row["device"]
                if row.get("memory_usage") is not None:
                    seen["memory_bytes"] = row["memory_usage"]
                if row.get("attached"):
                    seen["attached"] = True
                self.objects[key, row.get("created")] = seen

    def summary(self) -> dict:
        totals = {name: self.totals.get(name, 0) + self._folded_totals.get(name, 0) for name in TOTALS}
        totals["peak_bytes"] = max(each.get("peak_bytes", 0) for each in (self.totals, self._folded_totals))
        return {"worker": self.worker, "pid": self.pid, "totals": totals,
                "objects": [*self.objects.values(), *self._folded_objects.values()], "leaks": self.leaks,
                "admissions": self.admissions, "deaths": self.deaths, "threads": self.threads,
                "isolated": self.isolated}

    # -- tests in processes of their own --

    def of_child(self) -> Recorder:
        """For a fork of this process, which writes the record meanwhile: what it tells is its own."""
        child = Recorder(self.worker, self._record)
        child.test = self.test
        return child

    def fold(self, summary: dict | None) -> None:
        """What such a child did, None if it did not come to tell, is counted as this process's."""
        self.isolated += 1
        self._text = ""
        if summary is None:
            return
        totals = self._folded_totals
        for name in TOTALS:
            totals[name] = totals.get(name, 0) + summary["totals"][name]
        totals["peak_bytes"] = max(totals.get("peak_bytes", 0), summary["totals"]["peak_bytes"])
        self.leaks.extend(summary["leaks"])
        self.admissions.extend(summary["admissions"])
        for each in summary["objects"]:
            kind = (each["key"], each.get("device"), each.get("memory_bytes"), each.get("attached"))
            row = self._folded_objects.setdefault(kind, {
                **each, "hits": 0, "load_seconds": 0.0, "load_seconds_max": 0.0, "saved_seconds": 0.0, "count": 0})
            row["count"] += 1
            row["hits"] += each["hits"]
            row["load_seconds"] += each["load_seconds"]
            row["load_seconds_max"] = max(row["load_seconds_max"], each["load_seconds"])
            row["saved_seconds"] += each["hits"] * each["load_seconds"]

    def note_death(self, death: dict) -> None:
        self.deaths.append({**death, "worker": self.worker})
        self._text = ""

    def note_threads(self, module: str, names: list[str]) -> None:
        self.threads.append({"module": module, "threads": names})
        self._text = ""

    # -- tests and leases --

    def begin(self, test: str) -> None:
        self.test = test
        out = _core._leases()
        self._before = out[0][0] if out else 0
        if self._record:
            self._begun = {"begun_bytes": self._memory(), "begun_at": time.monotonic()}
            self.write()

    def _memory(self) -> int | None:
        """The resident bytes of this process; None: not known."""
        try:
            if self._statm < 0:
                self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
            return int(os.pread(self._statm, 128, 0).split()[1]) * self._page
        except (OSError, ValueError, IndexError):
            return None

    def end(self) -> None:
        if os.getpid() != self.pid:
            return
        self.look()
        self._tell_leaks(self._unowned(), test=self.test)
        self.test = None
        if self._record and not self._text:
            self.write()  # else the record lacks nothing but that the test is over, which pytest knows

    def _unowned(self) -> dict[int, str]:
        """Leases that came since the test began and are only its own."""
        found = {n: key for n, key in _core._leases() if n > self._before and n not in self.owners}
        if found:
            gc.collect()  # some may be garbage in a cycle
            found = {n: key for n, key in _core._leases() if n in found}
        return found

    def _tell_leaks(self, leases: dict[int, str], **where) -> None:
        counts: dict[str, int] = {}
        for key in leases.values():
            counts[key] = counts.get(key, 0) + 1
        for key, count in counts.items():
            self.leaks.append({**where, "key": key, "count": count})
            self._text = ""

    def own(self, lease) -> None:
        """A lease of the plugin's own: it is given back when its scope ends."""
        number = getattr(lease, "_number", None)
        if number is not None:
            self.owners[number] = self

    def enter(self) -> None:
        """A fixture of a wider scope is set up; such ones nest."""
        self._marks.append({n for n, _ in _core._leases()})

    def leave(self, owner) -> None:
        before = self._marks.pop()
        for number, _ in _core._leases():
            if number not in before:
                self.owners.setdefault(number, owner)

    def finalized(self, fixture) -> None:
        its = {number for number, owner in self.owners.items() if owner is fixture}
        if not its:
            return
        self.owners.update(dict.fromkeys(its))  # nobody's any more, and not the test's either
        left = {n: key for n, key in _core._leases() if n in its}
        self._tell_leaks(left, fixture=fixture.argname, scope=fixture.scope, test=self.test or fixture.baseid)

    # -- the record: what others find when this process has died --

    def write(self) -> None:
        if not self._record or os.getpid() != self.pid:
            return
        if not self._text:
            self._text = json.dumps(self.summary())
        head = json.dumps({"test": self.test, "waiting": self.waiting, **self._begun})
        data = f'{{"now": {head}, "summary": {self._text}}}'.encode()
        try:
            if self._file < 0:
                self._file = os.open(self._record, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._file, b"%012d" % len(data) + data, 0)
        except OSError:  # a run does not fail of it
            self._record = None

    def note_admission(self, row: dict) -> None:
        self.admissions.append(row)
        self._text = ""

    def note_wait(self, what: str | None) -> None:
        self.waiting = {"test": self.test, "what": what, "since": time.time()} if what else None
        if self._record:
            self.write()

    def close(self) -> None:
        for file in (self._file, self._statm):
            if file >= 0:
                os.close(file)
        self._file = self._statm = -1
        self._record = None


def read_record(path: str) -> dict | None:
    """What a worker wrote last; None: nothing, or half of it."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        return json.loads(data[12:12 + int(data[:12])])
    except (OSError, ValueError):
        return None


# ---- all processes together --------------------------------------------------------------------


def _merge_objects(summaries: list[dict]) -> list[dict]:
    """One row for each key: a load in each process, or after each clear(), counts as one; what another process made, as
    one attached."""
    rows: dict[str, dict] = {}
    for summary in summaries:
        for each in summary["objects"]:
            row = rows.setdefault(each["key"], {
                "key": each["key"], "loads": 0, "attached": 0, "hits": 0, "load_seconds": 0.0, "load_seconds_max": 0.0,
                "saved_seconds": 0.0, "saved_bytes": None, "memory_bytes": None, "devices": [], "workers": []})
            row["attached" if each.get("attached") else "loads"] += each.get("count", 1)
            row["hits"] += each["hits"]
            row["load_seconds"] += 0.0 if each.get("attached") else each["load_seconds"]
            row["load_seconds_max"] = max(row["load_seconds_max"], each.get("load_seconds_max", each["load_seconds"]))
            row["saved_seconds"] += each.get("saved_seconds", each["hits"] * each["load_seconds"])
            size = each.get("memory_bytes")
            if size is not None:
                row["memory_bytes"] = max(row["memory_bytes"] or 0, size)
                row["saved_bytes"] = (row["saved_bytes"] or 0) + each["hits"] * size
            for name, value in (("devices", each.get("device")), ("workers", summary["worker"])):
                if value and value not in row[name]:
                    row[name].append(value)
    return sorted(rows.values(), key=lambda row: -row["load_seconds_max"])


def _merge_isolated(summaries: list[dict]) -> dict | None:
    """None: no test ran in a process of its own. Each worker imports all modules: one row tells of each."""
    modules: dict[str, list[str]] = {}
    for summary in summaries:
        for each in summary["threads"]:
            modules.setdefault(each["module"], each["threads"])
    count = sum(each["isolated"] for each in summaries)
    threads = [{"module": module, "threads": names} for module, names in sorted(modules.items())]
    return {"tests": count, "threads": threads} if count else None


def merge(summaries: list[dict], deaths: list[dict], forked: dict | None = None) -> dict:
    """The report (docs/pytest.md has its fields)."""
    isolated = _merge_isolated(summaries)
    deaths = [*deaths, *(death for each in summaries for death in each["deaths"])]
    summaries = [each for each in summaries if each["totals"]["requests"] or each["leaks"] or each["admissions"]]
    objects = _merge_objects(summaries)
    sizes = [row["saved_bytes"] for row in objects if row["saved_bytes"] is not None]
    totals = {name: sum(each["totals"][name] for each in summaries) for name in TOTALS}
    totals["attached"] = sum(row["attached"] for row in objects)
    totals["loads"] -= totals["attached"]
    totals["load_seconds"] = sum(row["load_seconds"] for row in objects)
    totals["saved_seconds"] = sum(row["saved_seconds"] for row in objects)
    totals["saved_bytes"] = sum(sizes) if sizes else None
    # Of objects that came and went within one test nobody saw how long they took.
    totals["hits_of_unknown_worth"] = max(0, totals["hits"] - sum(row["hits"] for row in objects))
    totals["waited_seconds"] = sum(row["waited_seconds"] for each in summaries for row in each["admissions"])
    return {
        "version": 1,
        "share": os.environ.get("RESOURCE_POOL_SHARE") or "process",
        "totals": totals,
        "objects": objects,
        "leaks": [{**row, "worker": each["worker"]} for each in summaries for row in each["leaks"]],
        "admissions": [{**row, "worker": each["worker"]} for each in summaries for row in each["admissions"]],
        "deaths": deaths,
        "forked": forked,
        "isolated": isolated,
        "processes": [{"worker": each["worker"], "pid": each["pid"], **each["totals"]} for each in summaries],
    }


def write(path: str, report: dict) -> None:
    """Whole or not at all: who reads the file never finds half of it."""
    text = json.dumps(report, indent=2) + "\n"
    file, name = tempfile.mkstemp(prefix=".pool-report-", dir=os.path.dirname(path) or ".")
    try:
        mask = os.umask(0)
        os.umask(mask)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o666 & ~mask)
            stream.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


# ---- the closing section -----------------------------------------------------------------------


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _first_line(totals: dict) -> str:
    line = f"{_plural(totals['loads'], 'load')} in {seconds_text(totals['load_seconds'])}"
    if totals["attached"]:
        line += f", {totals['attached']} attached to what another process made"
    line += f", {_plural(totals['hits'], 'hit')}"
    if totals["load_failures"]:
        line += f", {_plural(totals['load_failures'], 'load')} failed"
    if totals["evictions"]:
        line += f", {_plural(totals['evictions'], 'object')} made room"
    if totals["hits"]:
        line += f"; {seconds_text(totals['saved_seconds'])} saved"
        if totals["saved_bytes"] is not None:
            line += f", {bytes_text(totals['saved_bytes'])} not loaded again"
    if totals["hits_of_unknown_worth"]:
        line += f" (and what {_plural(totals['hits_of_unknown_worth'], 'hit')} of objects that are gone saved)"
    return line


def _object_lines(objects: list[dict], verbosity: int) -> list[str]:
    lines = []
    for row in objects if verbosity > 0 else objects[:SLOWEST]:
        line = f"  {seconds_text(row['load_seconds_max']):>9}  {row['key']}"
        if row["devices"]:
            line += f" on {', '.join(row['devices'])}"
        if row["memory_bytes"] is not None:
            line += f", {bytes_text(row['memory_bytes'])}"
        line += f": {_plural(row['loads'], 'load')}"
        if row["attached"]:
            line += f", {row['attached']} attached"
        line += f", {_plural(row['hits'], 'hit')}"
        if len(row["workers"]) > 1:
            line += f" in {' '.join(sorted(row['workers']))}"
        lines.append(line)
    return lines


def _leak_line(leak: dict) -> str:
    where = f"fixture '{leak['fixture']}' ({leak['scope']}), after " if leak.get("fixture") else ""
    return f"  {where}{leak['test']}: {leak['key']}" + (f", {leak['count']} times" if leak["count"] > 1 else "")


def _admission_lines(admissions: list[dict]) -> list[str]:
    lines = []
    waited = sorted((row for row in admissions if row["waited_seconds"] > 0), key=lambda row: -row["waited_seconds"])
    room = [row for row in admissions if row["memory_bytes"]]
    if room:
        line = f"admissions: {len(room)}"
        if waited:
            total = sum(row["waited_seconds"] for row in waited)
            line += (f", {_plural(len(waited), 'wait')} of {seconds_text(total)} in all, the longest "
                     f"{seconds_text(waited[0]['waited_seconds'])}: {waited[0]['test']}")
        lines.append(line)
    refused = [row for row in admissions if row["outcome"] != "admitted"]
    lines.extend(f"  {row['test']}: {row['outcome']} after {seconds_text(row['waited_seconds'])}" for row in refused)
    simulated = sorted({row["device"] for row in admissions if row.get("simulated") and row.get("device")})
    if simulated:
        count = sum(1 for row in admissions if row.get("simulated"))
        lines.append(f"simulated hardware: {_plural(count, 'test')} ran for {', '.join(simulated)}, which this machine "
                     "does not have")
    return lines


def _forked_lines(forked: dict | None) -> list[str]:
    if not forked or not (forked["forked"] or forked["are_workers"]):
        return []
    line = (f"{forked['forked']} of {_plural(forked['processes'], 'worker')}" if forked["are_workers"]
            else "this process was") + " forked from a Python"
    if not forked["forked"]:
        return [f"{line} that has its libraries loaded"]
    if not forked["preloads"]:
        return [f"{line} that has no library loaded yet"]
    line += f" with {_plural(forked['preloads'], 'module')} loaded: {seconds_text(forked['spared_seconds'])} of imports"
    line += " spared"
    if forked["forked"] > 1:
        line += f" ({seconds_text(forked['import_seconds'])} in one that starts plainly)"
    return [line]


def _isolated_lines(isolated: dict | None) -> list[str]:
    if not isolated:
        return []
    count = isolated["tests"]
    lines = ["1 test in a fork of its own" if count == 1 else f"{count} tests in forks of their own"]
    if isolated["threads"]:
        lines.append("modules that started threads when they were imported, which no fork has:")
        lines.extend(f"  {each['module']}: {', '.join(each['threads'])}" for each in isolated["threads"])
    return lines


def section(report: dict, verbosity: int) -> list[str]:
    """The lines of the closing section; none when the pool was not used, and no process was forked."""
    lines = []
    if report["totals"]["requests"]:
        lines.append(_first_line(report["totals"]))
        if report["objects"]:
            lines.append("slowest loads:")
            lines.extend(_object_lines(report["objects"], verbosity))
    lines.extend(_admission_lines(report["admissions"]))
    lines.extend(_forked_lines(report["forked"]))
    lines.extend(_isolated_lines(report["isolated"]))
    if report["leaks"]:
        lines.append("leases that were not given back:")
        lines.extend(map(_leak_line, report["leaks"]))
    if lines and report["deaths"]:
        lines.append("tests that died:")
        lines.extend(f"  {each['test']} ({each['worker']}): {each['story'][0]}" for each in report["deaths"])
    return lines
