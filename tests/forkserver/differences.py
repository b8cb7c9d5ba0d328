# SPDX-License-Identifier: Apache-2.0
"""
The same small program twice: by the plain interpreter and by a fork of one with libraries loaded. Both have the same
folder, environment and input, so what a program can tell about itself has to be the same.
"""

import dataclasses
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RP_TEST_BUILD", ROOT / "build"))
RPOOL = str(BUILD / "cli/rpool")
# Whoever started the tests in the background may have had these ignored, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
PATIENCE = int(os.environ.get("RP_TEST_PATIENCE", "60"))

# Libraries that a program finds loaded: what keeps state of the process, or does something when it is imported.
PRELOADS = ("asyncio,concurrent.futures.process,concurrent.futures.thread,cProfile,ctypes,decimal,email.message,"
            "faulthandler,http.client,inspect,json,json.tool,logging.handlers,multiprocessing.managers,"
            "multiprocessing.pool,multiprocessing.shared_memory,pickle,pydoc,random,shutil,socket,sqlite3,ssl,"
            "subprocess,tempfile,threading,tracemalloc,typing,unittest,unittest.mock,uuid,weakref,zipfile")

# What an exec by another program, which prepares the process, has to undo of its own interpreter's.
BEGIN = """import os, sys, signal, resource
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
"""
END = "\nos.execv(sys.argv[1], sys.argv[1:])\n"
TAKE_TERMINAL = "import fcntl, termios\nos.setsid()\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"


@dataclasses.dataclass
class Probe:
    name: str
    code: str
    how: str = "code"  # code, script, module, stdin, folder, zip: what the interpreter is given the code as
    options: tuple = ()  # of the interpreter, before that
    args: tuple = ()
    files: dict = dataclasses.field(default_factory=dict)  # in the current folder
    stdin: bytes | None = b""  # None: closed
    env: dict = dataclasses.field(default_factory=dict)  # None: not there
    prepare: str = ""  # done in the process before it becomes the interpreter
    steps: tuple = ()  # on a terminal: (text that is waited for, what is typed then)
    command: str = ""  # what is typed into a shell, {python} in it; steps and code go on from there
    preloads: str = PRELOADS
    since: tuple = (3, 10)
    before: tuple = (4,)
    needs: str = ""  # a module that the interpreter must have
    plain: str = ""  # a reason: the launcher leaves it to the plain interpreter
    accepted: str = ""  # a name in ACCEPTED: it differs
    forget: str = ""  # a pattern of what may differ


def version_of(python):
    """(3, 11); None: it does not start."""
    done = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=False,
                          text=True)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


class Runner:
    """Runs probes with one interpreter, in a folder of its own."""

    def __init__(self, python, launcher):
        self.python = python
        self.launcher = launcher
        self.root = tempfile.mkdtemp(prefix="rpool-differences-")
        self.broker = os.path.join(self.root, "b")
        self.version = version_of(python)

    def has(self, module):
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        return subprocess.run([self.python, "-c", code], check=False).returncode == 0

    def close(self):
        for each in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = each.read_bytes().split(b"\0")
                variables = (each.parent / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--fork-server" in words and f"RESOURCE_POOL_BROKER={self.broker}".encode() in variables:
                os.kill(int(each.parent.name), signal.SIGTERM)
        subprocess.run([RPOOL, "stop", "--force"], env={"RESOURCE_POOL_BROKER": self.broker}, capture_output=True,
                       check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self, probe, home, events):
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": self.root, "LC_ALL": "C.UTF-8", "TERM": "dumb",
               "PYTHONDONTWRITEBYTECODE": "1", "RESOURCE_POOL_BROKER": self.broker, "RESOURCE_POOL_HISTORY": "off",
               "RESOURCE_POOL_PYTHON_EVENTS": events, "RESOURCE_POOL_PYTHON_IDLE": "60",
               "HARDWARE_DETECTION_CACHE": "off"}
        env |= probe.env
        return {name: value.format(folder=home) if isinstance(value, str) else value
                for name, value in env.items() if value is not None}

    @staticmethod
    def arguments(probe, folder):
        """What the interpreter is given, after the files that it needs were written."""
        for name, text in probe.files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        stdin = probe.stdin
        match probe.how:
            case "code":
                line = ["-c", probe.code]
            case "script":
                pathlib.Path(folder, "program.py").write_text(probe.code)
                line = ["program.py"]
            case "module":
                pathlib.Path(folder, "program.py").write_text(probe.code)
                line = ["-m", "program"]
            case "folder":
                os.mkdir(os.path.join(folder, "place"))
                pathlib.Path(folder, "place", "__main__.py").write_text(probe.code)
                line = ["place"]
            case "package":
                os.mkdir(os.path.join(folder, "place"))
                pathlib.Path(folder, "place", "__init__.py").write_text("")
                pathlib.Path(folder, "place", "__main__.py").write_text(probe.code)
                line = ["-m", "place"]
            case "zip":
                with zipfile.ZipFile(os.path.join(folder, "place.zip"), "w") as archive:
                    archive.writestr("__main__.py", probe.code)
                line = ["place.zip"]
            case "stdin":
                stdin = probe.code.encode()
                line = []
            case "line":
                line = []
        return [*probe.options, *line, *probe.args], stdin

    def run(self, probe, is_forked):
        """Status, output, error output, lines of events."""
        home = os.path.join(self.root, probe.name)
        events = os.path.join(self.root, probe.name + ".events")
        shutil.rmtree(home, ignore_errors=True)
        os.mkdir(home)
        open(events, "w").close()
        arguments, stdin = self.arguments(probe, home)
        env = self.environment(probe, home, events)
        start = [self.python]
        if is_forked:
            start = [self.launcher, "--preload", probe.preloads, "--interpreter", self.python, "--"]
        if arguments[-1:] == ["{start}"]:
            arguments[-1:] = start  # for a program that starts another one in the same way
        command = [*start, *arguments]
        if probe.command:
            command = ["bash", "--norc", "--noprofile", "-i"]
        if probe.steps:
            result = self.run_on_terminal(probe, command, " ".join(f"'{word}'" for word in start), home, env)
        else:
            result = self.run_with_pipes(probe, command, stdin, home, env)
        with open(events, encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip("\n").split("\t") for line in file]
        return [self.comparable(probe, each) for each in result], lines

    @staticmethod
    def prepared(text, command):
        return [sys.executable, "-S", "-E", "-c", BEGIN + text + END, shutil.which(command[0]), *command[1:]]

    def run_with_pipes(self, probe, command, stdin, home, env):
        prepare = probe.prepare + ("\nos.close(0)" if stdin is None else "")
        if prepare:
            command = self.prepared(prepare, command)
        done = subprocess.run(command, cwd=home, env=env, input=stdin or b"", capture_output=True, check=False,
                              timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def run_on_terminal(self, probe, command, start, home, env):
        """Only lines with a mark are compared: what is echoed comes when it likes."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(self.prepared(TAKE_TERMINAL + probe.prepare, command), cwd=home, env=env,
                                   stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        text = b""
        seen = 0
        end = time.monotonic() + PATIENCE
        try:
            steps = list(probe.steps)
            if probe.command:
                steps.insert(0, ("\\$ $", probe.command.format(python=start, code=probe.code) + "\n"))
            while True:
                found = steps and re.compile(steps[0][0].encode()).search(text[seen:])
                if found:
                    seen += found.end()
                    os.write(ours, steps.pop(0)[1].encode())
                    continue
                if not select.select([ours], [], [], max(0, end - time.monotonic()))[0]:
                    raise TimeoutError(f"{probe.name}: waited for {steps[:1]}, got {text[seen:]!r}")
                try:
                    more = os.read(ours, 65536)
                except OSError:
                    more = b""
                if not more:
                    break
                text += more
            status = process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(ours)
        if steps:
            raise AssertionError(f"{probe.name}: {steps[0]} did not come: {text!r}")
        return status, b"\n".join(re.findall(rb"=> [^\r\n]*", text)), b""

    def comparable(self, probe, value):
        if not isinstance(value, bytes):
            return value
        text = value.decode("utf-8", "backslashreplace")
        text = re.sub(r"0x[0-9a-f]{4,}", "0x..", text)
        return re.sub(probe.forget, "..", text) if probe.forget else text

    def twice(self, probe):
        """Both plain: None when a probe tells the same each time."""
        one, other = self.run(probe, False)[0], self.run(probe, False)[0]
        return None if one == other else f"{one!r} and then {other!r}"

    def both(self, probe):
        """What is to be told of a pair: None when all is well."""
        plain, _ = self.run(probe, False)
        forked, lines = self.run(probe, True)
        reasons = [line[1] for line in lines if line[0] == "plain"]
        if probe.plain:
            if not reasons or not re.search(probe.plain, reasons[0]):
                return f"it was to run plainly because of {probe.plain!r}, but: {lines}"
        elif not any(line[0] == "forked" for line in lines):
            return f"it was not forked: {reasons or lines}"
        is_equal = plain == forked
        if is_equal and probe.accepted:
            return f"it no longer differs ({probe.accepted})"
        if is_equal or probe.accepted:
            return None
        words = ("status", "stdout", "stderr")
        return "\n".join(f"{word}:\n  plain  {a!r}\n  forked {b!r}"
                         for word, a, b in zip(words, plain, forked) if a != b)
