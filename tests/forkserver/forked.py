# SPDX-License-Identifier: Apache-2.0
"""What the tests of the fork server have in common: a folder of its own for its sockets, and its parts found."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RP_TEST_BUILD", ROOT / "build"))
LAUNCHER = str(BUILD / "forkserver/rpool-python")
RPOOL = str(BUILD / "cli/rpool")
PYTHON = os.environ.get("RP_TEST_PYTHON", sys.executable)
# Whoever started the tests in the background may have had these ignored, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
PATIENCE = 20


def until(condition, what, seconds=PATIENCE):
    """Wait for what must come; the time is only when to give up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come in {seconds} s")


def state_of(pid):
    """'T' for a stopped process, '' for one that is no more."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text[text.rindex(")") + 2]


class ForkServer(unittest.TestCase):
    """A test with a folder of sockets, a keeper of its own and a file of events."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="rpool-fs-")
        cls.environment = {name: value for name, value in os.environ.items()
                           if not name.startswith(("RESOURCE_POOL_", "PYTHON", "COV"))}
        cls.environment |= {"RESOURCE_POOL_BROKER": os.path.join(cls.folder, "b"), "RESOURCE_POOL_HISTORY": "off",
                            "RESOURCE_POOL_PYTHON_IDLE": "60", "HARDWARE_DETECTION_CACHE": "off",
                            "PYTHONDONTWRITEBYTECODE": "1"}

    @classmethod
    def tearDownClass(cls):
        subprocess.run([RPOOL, "stop", "--force"], env=cls.environment, capture_output=True, check=False)
        for pid in cls.keepers():
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        self.events = os.path.join(self.folder, f"events-{self.id().rpartition('.')[2]}")
        open(self.events, "w").close()
        self.env = {**self.environment, "RESOURCE_POOL_PYTHON_EVENTS": self.events}
        # A test that fails leaves no process behind.
        self.started = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def command(self, *args, preload=None):
        return [LAUNCHER, *(["--preload", preload] if preload else []), "--interpreter", PYTHON, *args]

    def run_forked(self, *args, preload=None, **options):
        options.setdefault("env", self.env)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(*args, preload=preload), capture_output=True, check=False,
                              timeout=PATIENCE, **options)

    def start(self, *args, preload=None, **options):
        options.setdefault("env", self.env)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(self.command(*args, preload=preload), **options)
        self.started.append(process)
        return process

    def event_lines(self, kind):
        lines = [line.split("\t") for line in pathlib.Path(self.events).read_text(errors="replace").splitlines()]
        return [line[1:] for line in lines if line[0] == kind]

    def assert_forked(self, count=1):
        """That it was no plain interpreter that passed the test."""
        self.assertEqual(self.event_lines("plain"), [])
        self.assertEqual(len(self.event_lines("forked")), count)

    def assert_plain(self, reason):
        self.assertEqual(self.event_lines("forked"), [])
        self.assertRegex(self.event_lines("plain")[-1][0], reason)

    @classmethod
    def keepers(cls):
        """The pids of keepers in our folder."""
        found = []
        for each in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = each.read_bytes().split(b"\0")
                variables = (each.parent / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            ours = f"RESOURCE_POOL_BROKER={cls.folder}/b".encode()
            if b"--fork-server" in words and ours in variables:
                found.append(int(each.parent.name))
        return found

    def fork_servers(self):
        done = subprocess.run([RPOOL, "status", "--json"], env=self.env, capture_output=True, check=False)
        return json.loads(done.stdout)["fork_servers"] if done.returncode == 0 else []
