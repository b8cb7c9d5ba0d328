# SPDX-License-Identifier: Apache-2.0
"""When a keeper begins and ends, whom it serves, and what it does with requests that lie."""

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import unittest

from forked import PATIENCE, PYTHON, RPOOL, ForkServer, until

MAGIC = 0x31534652
HEAD_BYTES = 336
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def is_there(pid):
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


class Lives(ForkServer):
    def setUp(self):
        super().setUp()
        # A folder of its own: a test is not to meet the keeper of another.
        self.broker = os.path.join(self.folder, "b" + str(len(os.listdir(self.folder))))
        self.env["RESOURCE_POOL_BROKER"] = self.broker
        self.addCleanup(self.stop)

    def stop(self, **user):
        subprocess.run([RPOOL, "stop", "--force"], env=self.env, capture_output=True, check=False, **user)
        for pid in self.own_keepers():
            os.kill(pid, signal.SIGTERM)

    def own_keepers(self):
        found = []
        ours = f"RESOURCE_POOL_BROKER={self.broker}".encode()
        for each in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                is_keeper = b"--fork-server" in (each / "cmdline").read_bytes().split(b"\0")
                if is_keeper and ours in (each / "environ").read_bytes().split(b"\0"):
                    found.append(int(each.name))
            except OSError:
                continue
        return found

    def places(self):
        return sorted(name.rpartition(".")[2] for name in os.listdir(self.broker) if name.startswith("python-"))

    def begin(self, **options):
        """A program that ends with 7 when its stdin does, and the pids of its server and keeper."""
        process = self.start("-c", "import sys; print(1, flush=True); sys.stdin.read(); sys.exit(7)",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.assertEqual(process.stdout.readline(), b"1\n")
        keeper, = self.own_keepers()
        return process, int(self.event_lines("forked")[-1][1]), keeper

    def end(self, process):
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 7)
        process.stdout.close()

    def connection(self):
        name, = (name for name in os.listdir(self.broker) if name.startswith("python-") and name.endswith(".sock"))
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        connection.connect(os.path.join(self.broker, name))
        return connection


class Ends(Lives):
    def test_one_that_nobody_uses_ends_and_leaves_nothing(self):
        self.env["RESOURCE_POOL_PYTHON_IDLE"] = "1"
        self.assertEqual(self.run_forked("-c", "print(1)").stdout, b"1\n")
        server = int(self.event_lines("forked")[0][1])
        until(lambda: not self.own_keepers() and not is_there(server), "the end of keeper and server")
        self.assertEqual(self.places(), ["log"] if "log" in self.places() else [])

    def test_one_with_a_child_is_not_idle(self):
        self.env["RESOURCE_POOL_PYTHON_IDLE"] = "0"
        process, server, keeper = self.begin()
        # A keeper that counted the child's time as idle would be gone before the second request.
        self.assertEqual(self.run_forked("-c", "print(2)").stdout, b"2\n")
        self.assertEqual(int(self.event_lines("forked")[-1][1]), server)
        self.assertEqual(self.own_keepers(), [keeper])
        self.end(process)
        until(lambda: not is_there(keeper) and not is_there(server), "the end")

    def test_sigterm_ends_it_once_its_last_child_has(self):
        process, server, keeper = self.begin()
        os.kill(keeper, signal.SIGTERM)
        until(lambda: "sock" not in self.places(), "the end of listening")
        self.assertTrue(is_there(keeper) and is_there(server))
        self.end(process)
        until(lambda: not is_there(keeper) and not is_there(server), "the end")

    def test_a_folder_that_is_removed_ends_it_once_its_last_child_has(self):
        process, server, keeper = self.begin()
        shutil.rmtree(self.broker)
        self.assertIsNone(process.poll())
        self.end(process)
        until(lambda: not is_there(keeper) and not is_there(server), "the end")
        self.assertEqual(self.run_forked("-c", "print(2)").stdout, b"2\n")
        self.assert_forked(2)

    def test_a_socket_that_is_removed_makes_room_for_another_keeper(self):
        """Also while there is a child, who may live long."""
        process, server, keeper = self.begin()
        name, = (name for name in os.listdir(self.broker) if name.startswith("python-") and name.endswith(".sock"))
        os.unlink(os.path.join(self.broker, name))
        self.assertEqual(self.run_forked("-c", "print(2)").stdout, b"2\n")
        self.assert_forked(2)
        self.assertTrue(is_there(keeper) and is_there(server))
        self.end(process)
        until(lambda: not is_there(keeper) and not is_there(server), "the end")

    def test_an_environment_that_is_deleted(self):
        """Who runs goes on; who comes hears that there is no interpreter."""
        place = pathlib.Path(self.folder, "venv-" + self.id().rpartition(".")[2])
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(place)], check=True, env=self.env)
        self.command = lambda *args, preload=None: [super(Ends, self).command()[0], "--interpreter",
                                                    str(place / "bin/python3"), *args]
        code = "import sys; sys.stdin.read(); print(sys.prefix, flush=True)"
        process = self.start("-c", "print(1, flush=True); " + code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"1\n")
        shutil.rmtree(place)
        done = self.run_forked("-c", "print(2)")
        self.assertEqual(done.returncode, 127)
        self.assertIn(b"there is no interpreter", done.stderr)
        process.stdin.close()
        self.assertEqual(process.stdout.read(), f"{place}\n".encode())
        self.assertEqual(process.wait(PATIENCE), 0)
        process.stdout.close()


class Pairs(Lives):
    KEY = "0123456789abcdef0123456789abcdef"

    def keep(self):
        """A keeper as a launcher starts it, and the end of its ready pipe."""
        ready, write = os.pipe()
        os.set_inheritable(write, True)
        process = subprocess.Popen([RPOOL, "serve", "--fork-server", self.KEY, str(write), PYTHON], env=self.env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   pass_fds=(write,))
        os.close(write)
        self.started.append(process)
        self.addCleanup(os.close, ready)
        return process, ready

    def test_of_many_at_once_one_stays_and_all_say_that_there_is_one(self):
        os.mkdir(self.broker, 0o700)
        pairs = [None] * 8
        gate = threading.Barrier(len(pairs))

        def begin(i):
            gate.wait()
            pairs[i] = self.keep()

        threads = [threading.Thread(target=begin, args=(i,)) for i in range(len(pairs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([os.read(ready, 2) for _, ready in pairs], [b"r"] * len(pairs))
        until(lambda: sum(process.poll() is None for process, _ in pairs) == 1, "the end of all but one")
        self.assertEqual({process.returncode for process, _ in pairs if process.returncode is not None}, {0})
        last, = (process for process, _ in pairs if process.poll() is None)
        self.connection()
        last.terminate()
        self.assertEqual(last.wait(PATIENCE), 0)
        self.assertNotIn("sock", self.places())

    def test_the_place_of_one_that_was_killed_is_taken(self):
        os.mkdir(self.broker, 0o700)
        for _ in range(3):
            process, ready = self.keep()
            self.assertEqual(os.read(ready, 2), b"r")
            self.connection()
            process.kill()
            process.wait()

    def test_without_its_folder_it_says_so(self):
        process, ready = self.keep()
        self.assertEqual(os.read(ready, 2), b"")
        self.assertNotEqual(process.wait(PATIENCE), 0)


class Strangers(Lives):
    @unittest.skipIf(os.geteuid() != 0, "needs root, to be another user")
    def test_another_user_is_not_heard(self):
        self.run_forked("-c", "pass")
        name, = (name for name in os.listdir(self.broker) if name.startswith("python-") and name.endswith(".sock"))
        path = os.path.join(self.broker, name)
        os.chmod(self.folder, 0o711)
        os.chmod(self.broker, 0o711)
        os.chmod(path, 0o666)
        code = ("import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
                "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(20); s.connect(sys.argv[1])\n"
                # One of the keeper's own user hears that this is no request.
                "try: s.send(b'x'); print(s.recv(4096))\n"
                "except (BrokenPipeError, ConnectionResetError): print(b'')\n")
        done = subprocess.run([PYTHON, "-c", code, path], capture_output=True, check=False, timeout=PATIENCE + 5)
        self.assertEqual(done.stdout, b"b''\n", done.stderr)
        os.chmod(self.broker, 0o700)
        os.chmod(path, 0o600)
        self.assertEqual(self.run_forked("-c", "print(3)").stdout, b"3\n")
        self.assert_forked(2)

    @unittest.skipIf(os.geteuid() != 0, "needs root, to be another user; as that one test_keeper.py has the test")
    def test_a_fork_that_a_limit_of_processes_refuses_is_run_plainly(self):
        os.mkdir(self.broker, 0o700)
        os.chmod(self.folder, 0o711)
        for path in (self.broker, self.events):
            os.chown(path, 65534, 65534)
        user = {"user": 65534, "group": 65534, "extra_groups": (), "cwd": "/"}
        self.env["HOME"] = "/"
        self.addCleanup(self.stop, **user)
        try:
            self.run_forked("-c", "pass", **user)
        except PermissionError as error:
            self.skipTest(f"another user cannot run it: {error}")
        if not self.event_lines("forked"):
            self.skipTest(f"another user's interpreter does not start: {self.event_lines('plain')}")
        server = int(self.event_lines("forked")[0][1])
        code = ("import resource, sys; pid, soft = map(int, sys.argv[1:]); kind = resource.RLIMIT_NPROC\n"
                "resource.prlimit(pid, kind, (soft, resource.prlimit(pid, kind)[1]))")

        def limit(soft):
            subprocess.run([PYTHON, "-c", code, str(server), str(soft)], check=True, **user)

        limit(0)
        self.assertEqual(self.run_forked("-c", "print(1)", **user).stdout, b"1\n")
        self.assertRegex(self.event_lines("plain")[0][0], "cannot fork")
        limit(1000)
        self.assertEqual(self.run_forked("-c", "print(2)", **user).stdout, b"2\n")
        self.assertEqual([line[1] for line in self.event_lines("forked")], [str(server)] * 2)


class Lies(Lives):
    """Requests that are sealed memory, and not what they say. Each is refused, and the next one served."""

    def head(self, size, **changes):
        fields = {"magic": MAGIC, "version": 1, "bytes": size, "mode": 0, "argv": 1, "original": 1, "environment": 0,
                  "passed": 0, **changes}
        return struct.pack("<IIQ5I", *fields.values()).ljust(HEAD_BYTES, b"\0")

    def refused(self, data, seals=SEALS, extra=0, size=None):
        """The reason for a request of these bytes."""
        memory = os.memfd_create("request", os.MFD_ALLOW_SEALING)
        folder = os.open("/", os.O_PATH)
        try:
            os.write(memory, data)
            if size:
                os.truncate(memory, size)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
            connection = self.connection()
            frame = struct.pack("<IHHIi4Q200s", MAGIC, 1, 1, 0, 0, 0, 0, 0, 0, b"")
            fds = [memory, folder, *[folder] * extra]
            connection.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])
            answer = connection.recv(4096)
            self.assertEqual(len(answer), len(frame))
            self.assertEqual(struct.unpack_from("<IHH", answer)[2], 3)
            return answer[48:].partition(b"\0")[0].decode()
        finally:
            os.close(memory)
            os.close(folder)

    def test_each_is_refused_with_its_reason(self):
        self.run_forked("-c", "pass")
        keeper, = self.own_keepers()
        texts = b"pass\0-c\0python\0"
        size = HEAD_BYTES + len(texts)
        good = self.head(size) + texts
        count = len(os.listdir(f"/proc/{keeper}/fd"))
        cases = {"not sealed": self.refused(good, seals=0), "half sealed": self.refused(good, seals=fcntl.F_SEAL_WRITE),
                 "empty": self.refused(b""), "half a head": self.refused(good[:100]),
                 "too large": self.refused(good, size=(16 << 20) + 1), "cut": self.refused(good[:-3]),
                 "longer than it says": self.refused(good + b"more"),
                 "magic": self.refused(self.head(size, magic=1) + texts),
                 "version": self.refused(self.head(size, version=9) + texts),
                 "mode": self.refused(self.head(size, mode=77) + texts),
                 "counts": self.refused(self.head(size, argv=2**32 - 1) + texts),
                 "counts that overflow": self.refused(self.head(size, argv=2**31, original=2**31) + texts),
                 "descriptors that did not come": self.refused(self.head(size, passed=2**32 - 1) + texts),
                 "descriptors that nobody named": self.refused(good, extra=3),
                 "no end": self.refused(self.head(size - 1) + texts[:-1])}
        for case, reason in cases.items():
            self.assertRegex(reason, "the request is damaged: .", case)
        self.assertEqual(self.run_forked("-c", "print(3)").stdout, b"3\n")
        until(lambda: len(os.listdir(f"/proc/{keeper}/fd")) <= count, "the end of what they left open")
        self.assertEqual(self.own_keepers(), [keeper])
        self.assert_forked(2)

    def test_a_message_that_is_too_long_is_refused(self):
        self.run_forked("-c", "pass")
        connection = self.connection()
        connection.send(b"x" * 100000)
        self.assertEqual(struct.unpack_from("<IHH", connection.recv(4096))[2], 3)
        self.assertEqual(self.run_forked("-c", "print(3)").stdout, b"3\n")
        self.assert_forked(2)


if __name__ == "__main__":
    unittest.main()
