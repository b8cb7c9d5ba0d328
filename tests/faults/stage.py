# SPDX-License-Identifier: Apache-2.0
"""What tests of faults share: a broker of their own, clients that obey, and what must hold afterwards.

Nothing here trusts the broker's word alone: processes, descriptors and threads are counted in /proc. The
script is a subreaper, so that whatever loses its parent becomes its child and is found.
"""

import array
import contextlib
import ctypes
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS = 60  # until something that must happen has: long, since a busy machine is no fault
FILES = {"broker.sock", "broker.lock", "broker.start", "broker.log"}
PR_SET_CHILD_SUBREAPER = 36
LARGE = 17 << 20  # small models may share a worker


class Skip(Exception):
    """This machine cannot show it."""


def become_subreaper():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def until(condition, what, seconds=SECONDS):
    """What `condition` answers, once that is true."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


# --- models ---------------------------------------------------------------------------------


def field(number, value):
    """One field of a protocol buffer: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def port(name, shape):
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def onnx(shape, steps):
    """A model of one input x and one output y; `steps` are (operator, inputs, output)."""
    nodes = b"".join(field(1, b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, operator))
                     for operator, inputs, output in steps)
    graph = nodes + field(2, "g") + field(11, port("x", shape)) + field(12, port("y", shape))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def doubling():
    return onnx([2], [("Add", ("x", "x"), "y")])


def slow(side=384, length=400):
    """x to a high power: the identity stays itself, and takes seconds."""
    names = ["x"] + [f"t{i}" for i in range(length - 1)] + ["y"]
    return onnx([side, side], [("MatMul", (names[i], "x"), names[i + 1]) for i in range(length)])


def hungry(side=1024, length=64):
    """The sum of x, 2 x, 3 x, ...: all of them are there at once, 4 MiB each."""
    names = ["x"] + [f"t{i}" for i in range(length)]
    return onnx([side, side], [("Add", (names[i], "x"), names[i + 1]) for i in range(length)] + [("Sum", names, "y")])


# --- processes ------------------------------------------------------------------------------


def stat_of(pid):
    """(state, parent) of a process; None when there is none."""
    try:
        rest = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return rest[0], int(rest[1])


def is_there(pid):
    found = stat_of(pid)
    return found is not None and found[0] not in "ZX"


def descendants():
    """All processes below this one; those that have ended and are nobody else's are collected."""
    parents = {}
    for name in os.listdir("/proc"):
        found = stat_of(int(name)) if name.isdigit() else None
        if found:
            parents[int(name)] = found
    below = set()
    for pid in parents:
        at = pid
        while at in parents and at != os.getpid():
            at = parents[at][1]
        if at == os.getpid() and pid != at:
            below.add(pid)
    for pid in below:
        if parents[pid] == ("Z", os.getpid()) and pid not in Client.pids:
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
    return {pid for pid in below if parents[pid][0] not in "ZX"}


def stop(pid):
    """SIGSTOP, and wait until no thread of it runs any more."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(stat_of(f"{pid}/task/{task}")[0] == "T" for task in os.listdir(f"/proc/{pid}/task")),
          f"process {pid} stops")


def words_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def workers():
    return {pid for pid in descendants() if "--worker" in words_of(pid)}


def brokers():
    return {pid for pid in descendants() if words_of(pid)[1:2] == ["serve"] and "--worker" not in words_of(pid)}


def descriptors(pid):
    """How many of each kind a process has open."""
    counts = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            kind = re.sub(r":\[\d+\]$|:[^:]*\(deleted\)$", "", target).replace(f"/proc/{pid}/", "/proc/self/")
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def number_of(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{key}:\s*(\d+)", text, re.M).group(1))


def is_more(found, before):
    """Whether there is more of something than before; lists must be the same."""
    if isinstance(found, dict):
        return any(found[kind] > before.get(kind, 0) for kind in found)
    return found > before if isinstance(found, int) else found != before


class Client:
    """A process of tests/faults/client.c."""

    pids = set()  # of all that are ours to collect
    answers_max = 1 << 20

    def __init__(self, stage, name="", **kwargs):
        self.errors = open(stage.folder / f"client-{len(Client.pids)}{name}.err", "w+")
        kwargs.setdefault("env", stage.env)
        self.process = subprocess.Popen([stage.program, *([name] if name else [])], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, bufsize=0, **kwargs)
        self.pid = self.process.pid
        self.kept = b""
        Client.pids.add(self.pid)

    def send(self, order):
        self.process.stdin.write(order.encode() + b"\n")

    def lines(self):
        """Whole lines that are there; None once there will be no more."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                return None
            self.kept += got
        *whole, self.kept = self.kept.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def answer(self, seconds=SECONDS):
        end = time.monotonic() + seconds
        while b"\n" not in self.kept:
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"client {self.pid} did not answer within {seconds} s")
            if select.select([self.process.stdout], [], [], left)[0]:
                got = os.read(self.process.stdout.fileno(), 65536)
                if not got:
                    raise AssertionError(f"client {self.pid} ended: {self.said()}")
                self.kept += got
        line, _, self.kept = self.kept.partition(b"\n")
        return line.decode(errors="replace")

    def order(self, order, seconds=SECONDS):
        self.send(order)
        return self.answer(seconds)

    def ok(self, order=None, seconds=SECONDS):
        """What follows the "ok" that the order, or one sent before, must be answered with."""
        answer = self.order(order, seconds) if order else self.answer(seconds)
        assert answer == "ok" or answer.startswith("ok "), f"{order}: {answer}"
        return answer[3:]

    def fails(self, order=None, status=None, says=None, seconds=SECONDS):
        """It fails with one of these (a word for each), and the message says why."""
        answer = self.order(order, seconds) if order else self.answer(seconds)
        found = re.fullmatch(r"error (\w+) (\d+) (.+)", answer)
        assert found, f"{order}: {answer}"
        assert status is None or found.group(1) in status.split(), f"{order}: {answer}"
        assert says is None or re.search(says, found.group(3)), f"{order}: {answer}"
        return found.group(3)

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.collect()

    def collect(self, seconds=SECONDS):
        code = self.process.wait(seconds)
        for file in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                file.close()
        return code

    def end(self):
        """As a program ends: it gives back what it has."""
        if self.process.poll() is None:
            self.process.stdin.close()
        code = self.collect()
        assert code == 0, f"client {self.pid} ended with {code}: {self.said()}"


# --- frames ---------------------------------------------------------------------------------

HELLO, WELCOME, REFUSED, FAILED = 1, 2, 3, 6
OBJECT_GET, OBJECT, OBJECT_BUILD, OBJECT_PUT = 9, 10, 11, 12
MAGIC = 0x4D505231
VERSION = int(re.search(r"RP_FRAME_VERSION = (\d+)", (ROOT / "src/machine/protocol.h").read_text()).group(1))


def text(value):
    value = value.encode()
    return struct.pack("<I", len(value)) + value + b"\0"


def frame(kind, body=b"", number=1, version=VERSION, size=None):
    return struct.pack("<IHHII", MAGIC, version, kind, 16 + len(body) if size is None else size, number) + body


def hello(version=VERSION):
    return frame(HELLO, struct.pack("<IQ", version, os.getpid()) + text("a stranger"), version=version)


def object_get(key):
    """No deadline, no size, no thread."""
    return frame(OBJECT_GET, text(key) + bytes(24))


class Stranger:
    """A connection that says what it likes."""

    def __init__(self, stage, greets=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(SECONDS)
        self.socket.connect(str(stage.where / "broker.sock"))
        if greets:
            self.send(hello())
            kind, _ = self.receive()
            assert kind == WELCOME, kind

    def send(self, data, fds=()):
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], extra)

    def receive(self):
        """(type, what follows the header); (None, b"") once the broker has hung up."""
        try:
            data, extra, _, _ = self.socket.recvmsg(1 << 16, 256)
        except ConnectionResetError:
            return None, b""
        for _, _, fds in extra:
            for fd in array.array("i", fds[:len(fds) // 4 * 4]):
                os.close(fd)
        return (struct.unpack_from("<H", data, 6)[0], data[16:]) if data else (None, b"")

    def close(self):
        self.socket.close()


# --- a broker and what must hold ------------------------------------------------------------


class Stage:
    def __init__(self, folder, rpool, **more):
        self.folder = pathlib.Path(folder)
        self.where = self.folder / "b"
        self.rpool = os.path.abspath(rpool)
        self.build = pathlib.Path(self.rpool).parent.parent
        self.program = str(self.build / "tests/fault_client")
        self.clients = []
        library = ROOT / "build/deps/lib/libonnxruntime.so.1"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("RESOURCE_POOL_")}
        self.env |= {"RESOURCE_POOL_BROKER": str(self.where), "RESOURCE_POOL_RPOOL": self.rpool,
                     "RESOURCE_POOL_HISTORY": "off", "HARDWARE_DETECTION_CACHE": "off", "NO_COLOR": "1",
                     "RESOURCE_POOL_LOG": "info", "RESOURCE_POOL_ONNXRUNTIME":
                     os.environ.get("RESOURCE_POOL_ONNXRUNTIME", str(library))} | more

    def model(self, name="m", data=None, is_large=True):
        """A file of its own for each name; "slow" takes seconds to run. A large one has a worker to itself: it
        ends in a description of nothing but zeros, which are a hole in the file."""
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            data = data or (slow() if name.startswith("slow") else doubling())
            path.write_bytes(data + (varint(6 << 3 | 2) + varint(LARGE) if is_large else b""))
            os.truncate(path, path.stat().st_size + (LARGE if is_large else 0))
        return str(path)

    def client(self, *orders, **kwargs):
        """A client that has obeyed these."""
        made = Client(self, **kwargs)
        self.clients.append(made)
        for order in orders:
            made.ok(order)
        return made

    def serve(self, *options, gate=None):
        """A broker that nobody had to start: its process, once it serves. With a gate, the end of a pipe for
        reading, it begins when nobody can write there any more, and is not waited for."""
        reader, writer = os.pipe()
        log = open(self.folder / "serve.log", "a")
        words = [self.rpool, "serve", "--ready-fd", str(writer), *options]
        if gate is not None:
            words = ["sh", "-c", 'read -r line; exec "$@" </dev/null', "sh", *words]
        process = subprocess.Popen(words, env=self.env, pass_fds=[writer], stderr=log,
                                   stdin=subprocess.DEVNULL if gate is None else gate)
        log.close()
        os.close(writer)
        Client.pids.add(process.pid)
        process.ready = reader
        if gate is None:
            line = self.first_line(process)
            assert line.startswith("ready "), line
        return process

    @staticmethod
    def first_line(process):
        with open(process.ready) as reader:
            assert select.select([reader], [], [], SECONDS)[0], "a broker says nothing"
            return reader.readline()

    def call(self, *words, seconds=SECONDS):
        return subprocess.run([self.rpool, *words], env=self.env, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=seconds, check=False)

    def status(self):
        done = self.call("status", "--all", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def broker(self):
        """The process that serves; None when there is none."""
        found = self.status()
        return found["broker"]["pid"] if found else None

    def leases(self, pid=None):
        return [row for row in self.status()["leases"] if pid in (None, row["pid"])]

    def log(self):
        parts = [self.where / "broker.log", self.folder / "serve.log"]
        return "".join(part.read_text(errors="replace") for part in parts if part.exists())

    # What must hold.

    def serve_a_stranger(self):
        """A program that knows of nothing is served: a model, and an object."""
        client = self.client()
        client.ok(f"lease 0 0 - {self.model('fresh')}")
        client.ok("run 0")
        assert client.ok("alone") == "0", "a fresh client is not served by the broker"
        answer = client.ok(f"get 0 0 fresh:{client.pid}")
        assert answer == "build", answer
        client.ok("publish 0 100000")
        client.ok("check 0")
        client.end()
        self.clients.remove(client)

    def picture(self):
        """What the broker holds when nobody uses it, once that has come to rest."""
        done = self.call("clear")
        assert done.returncode == 0, done.stderr

        def look():
            status = self.status()
            pid = status["broker"]["pid"]
            return {"workers": len(workers()), "brokers": len(brokers()), "leases": status["leases"],
                    "waiters": status["waiters"], "entries": [e["key"] for e in status["entries"]],
                    "builds": status["objects"]["builds"], "objects": status["objects"]["leases"],
                    "clients": len(status["clients"]),
                    "bytes": sum(d["charged_bytes"] or 0 for d in status["ledger"].values()),
                    "descriptors": descriptors(pid), "threads": number_of(pid, "Threads"),
                    "files": sorted(set(os.listdir(self.where)) - FILES)}
        return look

    def expect(self, wanted):
        """The broker is as it was: anything left behind by a fault is named."""
        look = self.picture()
        seen = {}

        def is_as_wanted():
            seen.clear()
            seen.update(look())
            return not any(is_more(seen[k], wanted[k]) for k in wanted)

        until(is_as_wanted, lambda: "left behind (found, before): " + repr(
            {k: (seen[k], wanted[k]) for k in wanted if is_more(seen[k], wanted[k])}))

    def begin(self, brokers=1):
        """Use everything once, and take the picture that the end is compared with. The thread that answered
        may still be on its way out, so that of several looks the least counts."""
        self.serve_a_stranger()
        look = self.picture()
        wanted = {"workers": 0, "brokers": brokers, "leases": [], "waiters": [], "entries": [], "builds": [],
                  "objects": [], "clients": 1, "bytes": 0, "files": []}
        if brokers > 1:
            del wanted["workers"]  # others may have some
        found = {}

        def is_quiet():
            found.update(look())
            return all(found[k] == v for k, v in wanted.items())

        until(is_quiet, lambda: f"a quiet broker, but {found}")
        for _ in range(4):
            time.sleep(0.02)
            again = look()
            found["threads"] = min(found["threads"], again["threads"])
            if not is_more(found["descriptors"], again["descriptors"]):
                continue
            found["descriptors"] = again["descriptors"]
        return found | {"workers": 0, "brokers": 1}

    def end(self, before):
        """The fault is over: everybody goes, and nothing may be left."""
        for client in self.clients:
            if client.process.poll() is None:
                client.signal(signal.SIGCONT)
                client.kill()
        self.clients.clear()
        self.serve_a_stranger()
        self.expect(before)
        assert "Sanitizer" not in self.log(), "a sanitizer has something to say"

    def close(self):
        """Whatever the case left, ends."""
        for client in self.clients:
            if client.process.poll() is None:
                client.kill()
        self.call("stop", "--force")
        for pid in descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(AssertionError):
            until(lambda: not descendants(), "all have ended", 10)
        shutil.rmtree(self.where, ignore_errors=True)
