# SPDX-License-Identifier: Apache-2.0
"""
A forked interpreter is a plain one, as far as programs can tell: each probe runs both ways. What differs and is to
stay so has a name here, and a line in docs/forkserver.md.

RP_TEST_PLAIN=1: both ways are plain, which checks the probes. RP_TEST_PYTHONS: interpreters; the first gets all
probes, others those of an interpreter's own start and end.
"""

import concurrent.futures
import glob
import os
import re
import sys
import unittest

import probes
import probes_libraries
import probes_numeric
import probes_terminal
from differences import BUILD, ROOT, Runner, version_of

LAUNCHER = os.environ.get("RP_TEST_LAUNCHER", str(BUILD / "forkserver/rpool-python"))
IS_PLAIN = "RP_TEST_PLAIN" in os.environ
OTHERS = "/usr/bin/python3", "~/.pyenv/versions/3.1[0-9]*/bin/python3", "/usr/bin/python3.1[0-9]"
TORCH = str(BUILD / "torch-venv/bin/python")

ACCEPTED = {
    "modules": "what is preloaded is in sys.modules before the program imports it",
    "collector": "gc counts what the server froze (gc.get_freeze_count()), and does not list it",
    "parent": "os.getppid() is the fork server, and the process id is not the one that the caller started",
    "leader": "a child in the session of its caller is no leader of its session or group: that is the launcher",
    "finalizing": "at the very end sys.is_finalizing() is false, and warnings of then have all their lines",
    "state": "what a module computed while it was loaded (a process id, a time, a random generator of its own) "
             "is the server's",
    "sitecustomize": "sitecustomize and .pth files ran once, in the server, without the arguments of the program",
}


def interpreters():
    """This one, and one of each other version that is found and has what the server needs (3.10 or newer)."""
    given = os.environ.get("RP_TEST_PYTHONS")
    if given:
        return given.split(os.pathsep)
    found = {sys.version_info[:2]: sys.executable}
    for pattern in OTHERS:
        for path in sorted(glob.glob(os.path.expanduser(pattern))):
            version = version_of(path)
            if version and version >= (3, 10):
                found.setdefault(version, path)
    return list(found.values())


class Probes:
    """The probes of an interpreter, all run at once by the first test that asks."""

    def __init__(self, python, found):
        self.python = python
        self.probes = found
        self.results = None

    def run(self):
        runner = Runner(self.python, LAUNCHER)
        try:
            needed = {each.needs for each in self.probes if each.needs}
            missing = {name for name in needed if not runner.has(name)}

            def look(probe):
                if probe.needs in missing or not probe.since <= runner.version < probe.before:
                    return "skip"
                try:
                    return runner.twice(probe) if IS_PLAIN else runner.both(probe)
                except Exception as error:
                    return f"{type(error).__name__}: {error}"

            with concurrent.futures.ThreadPoolExecutor(os.cpu_count() + 1) as pool:
                self.results = dict(zip((each.name for each in self.probes), pool.map(look, self.probes)))
            # A difference is there each time. What threads and signals race for comes out another way now and then,
            # of two plain interpreters too: whatever differed is tried again, alone.
            for probe in self.probes:
                for _ in range(2):
                    if self.results[probe.name] not in (None, "skip"):
                        print(f"differed once: {probe.name}: {self.results[probe.name]}", file=sys.stderr)
                        self.results[probe.name] = look(probe)
        finally:
            runner.close()

    def result(self, name):
        if self.results is None:
            self.run()
        return self.results[name]


def case_of(label, python, found):
    """A class with a test for each probe."""
    suite = Probes(python, found)

    def test_of(name):
        def test(self):
            result = suite.result(name)
            if result == "skip":
                self.skipTest("not of this version, or a module is missing")
            self.assertIsNone(result, f"{python}: {result}")
        return test

    case = type(f"Differences{label}", (unittest.TestCase,),
                {f"test_{each.name}": test_of(each.name) for each in found})
    case.maxDiff = None
    return case


class Table(unittest.TestCase):
    def test_each_accepted_difference_is_seen_and_on_the_page(self):
        used = {each.accepted for each in ALL if each.accepted}
        self.assertEqual(used, set(ACCEPTED))
        page = (ROOT / "docs/forkserver.md").read_text(encoding="utf-8")
        section = re.search(r"^## Accepted differences$(.*?)(?=^## |\Z)", page, re.M | re.S)
        rows = dict(re.findall(r"^- \*\*(\w+)\*\*: (.*?)\.$", section[1], re.M))
        self.assertEqual(rows, ACCEPTED)

    def test_names_are_of_one_probe_each(self):
        self.assertEqual(len(ALL), len({each.name for each in ALL}))


ALL = [*probes.PROBES, *probes_libraries.PROBES, *probes_terminal.PROBES, *probes_numeric.PROBES]
# Those that versions of the interpreter differ in, and that need no server of their own.
OF_VERSIONS = [each for each in [*probes.of_main(), *probes.of_ends()] if not each.env and not each.prepare]
for index, each in enumerate(interpreters()):
    if index == 0:
        Whole = case_of("", each, [*probes.PROBES, *probes_libraries.PROBES, *probes_terminal.PROBES])
    else:
        globals()[f"Version{index}"] = case_of(re.sub(r"\W", "_", each), each, OF_VERSIONS)
if os.path.exists(TORCH):
    Numeric = case_of("Numeric", TORCH, probes_numeric.PROBES)


if __name__ == "__main__":
    unittest.main()
