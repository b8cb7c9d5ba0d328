# SPDX-License-Identifier: Apache-2.0
"""What a keeper does with libraries that misbehave or change, and with servers and launchers that die."""

import fcntl
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

from forked import PATIENCE, ForkServer, state_of, until


class Modules(ForkServer):
    """Tests with modules of their own, in a folder of PYTHONPATH."""

    def setUp(self):
        super().setUp()
        self.modules = pathlib.Path(self.folder, "modules-" + self.id().rpartition(".")[2])
        self.modules.mkdir()
        self.env["PYTHONPATH"] = str(self.modules)

    def write(self, name, text):
        (self.modules / f"{name}.py").write_text(text)

    def refused(self):
        return {name: reason for name, reason in self.event_lines("refused")}


class Preloads(Modules):
    GOOD = "value = 41\n"

    def refuse(self, text, reason, name="bad"):
        """A module that must not be loaded; the good one beside it is, and the bad one can be imported as ever."""
        self.write("good", self.GOOD)
        self.write(name, text)
        done = self.run_forked("-c", "import sys; print('good' in sys.modules, 'bad' in sys.modules)", preload="good,bad")
        self.assertEqual(done.stdout, b"True False\n", done.stderr)
        self.assert_forked()
        self.assertRegex(self.refused().get("bad", ""), reason)
        server = int(self.event_lines("forked")[0][1])
        row = until(lambda: [row for row in self.fork_servers() if row["server_pid"] == server],
                    "the keeper's word to the broker")[0]
        self.assertRegex([each["reason"] for each in row["refused"] if each["name"] == "bad"][0], reason)

    def test_what_is_asked_for_is_loaded(self):
        self.write("good", self.GOOD + "import os\npid = os.getpid()\n")
        for _ in range(3):
            done = self.run_forked("-c", "import sys, os; print('good' in sys.modules, sys.modules['good'].pid == os.getpid())",
                                   preload="good")
            self.assertEqual(done.stdout, b"True False\n")
        self.assert_forked(3)
        self.assertEqual(len({line[1] for line in self.event_lines("forked")}), 1)

    def test_one_that_raises(self):
        self.refuse("raise ValueError('no good')", "raises ValueError: no good")

    def test_one_with_a_mistake(self):
        self.refuse("def f(:\n", "raises SyntaxError")

    def test_one_that_is_not_there(self):
        self.write("good", self.GOOD)
        done = self.run_forked("-c", "import sys; print('good' in sys.modules)", preload="absent_module,good")
        self.assertEqual(done.stdout, b"True\n")
        self.assertRegex(self.refused()["absent_module"], "ModuleNotFoundError")

    def test_one_that_ends_the_process(self):
        self.refuse("import os\nos._exit(3)\n", r"ends the process \(code 3\)")

    def test_one_that_calls_exit(self):
        self.refuse("import sys\nsys.exit(3)\n", "raises SystemExit: 3")

    def test_one_that_is_killed(self):
        self.refuse("import os\nos.kill(os.getpid(), 9)\n", "killed by signal 9")

    def test_one_that_starts_a_thread(self):
        self.refuse("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n",
                    "starts threads")

    def test_one_that_forks(self):
        self.refuse("import os\nif os.fork() == 0: os._exit(0)\nos.wait()\n", "forks")

    def test_one_that_leaves_a_child(self):
        self.refuse("import subprocess\nkept = subprocess.Popen(['sleep', '1000'])\n", "forks")

    def test_one_that_opens_a_file(self):
        self.refuse("file = open('/etc/passwd')\n", "leaves a descriptor open: /etc/passwd")

    def test_one_that_opens_a_socket(self):
        self.refuse("import socket\nkept = socket.socket()\n", "leaves a descriptor open: socket:")

    def test_one_that_prints(self):
        self.refuse("print('hello')\n", "prints 6 bytes")

    def test_one_that_warns_on_stderr(self):
        self.refuse("import os\nos.write(2, b'careful')\n", "prints 7 bytes")

    def test_one_that_hangs(self):
        self.env["RESOURCE_POOL_PYTHON_IMPORT_SECONDS"] = "1"
        self.refuse("import time\ntime.sleep(1000)\n", "takes longer than 1 s")

    def test_one_that_spoils_the_inventory(self):
        """A start that never comes to its end is not tried for ever."""
        self.write("bad", "import os\ndef stat(*args, **names): raise ValueError('no')\nos.stat = stat\n")
        done = self.run_forked("-c", "print(1)", preload="bad")
        self.assertEqual(done.stdout, b"1\n", done.stderr)
        self.assert_plain("did not start")

    def test_too_many_that_raise(self):
        names = [f"bad{i}" for i in range(20)]
        for name in names:
            self.write(name, "raise ValueError")
        done = self.run_forked("-c", "print(1)", preload=",".join(names))
        self.assertEqual(done.stdout, b"1\n")
        self.assert_forked()


class Changes(Modules):
    CODE = "import library; print(library.value)"

    def say(self, text):
        (self.modules / "library.py").write_text(text)

    def test_a_file_that_changed_is_loaded_anew(self):
        for text, value in (("value = 1", b"1\n"), ("value = 222", b"222\n"), ("value = 333", b"333\n")):
            self.say(text)
            self.assertEqual(self.run_forked("-c", self.CODE, preload="library").stdout, value)
        self.assert_forked(3)
        self.assertEqual(len({line[1] for line in self.event_lines("forked")}), 3)

    def test_children_of_the_old_one_go_on(self):
        self.say("value = 1")
        process = self.start("-c", "import library, sys; print(1, flush=True); sys.stdin.read(); print(library.value)",
                             preload="library", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        self.say("value = 222")
        self.assertEqual(self.run_forked("-c", self.CODE, preload="library").stdout, b"222\n")
        process.stdin.close()
        self.assertEqual(process.stdout.read(), b"1\n")
        self.assertEqual(process.wait(PATIENCE), 0)
        process.stdout.close()

    def test_a_module_that_is_removed(self):
        self.say("value = 1")
        self.assertEqual(self.run_forked("-c", self.CODE, preload="library").stdout, b"1\n")
        os.unlink(self.modules / "library.py")
        self.assertIn(b"ModuleNotFoundError", self.run_forked("-c", self.CODE, preload="library").stderr)

    def test_a_namesake_beside_the_program_is_the_programs(self):
        self.say("value = 1")
        folder = self.modules / "elsewhere"
        folder.mkdir()
        (folder / "library.py").write_text("value = 'mine'")
        (folder / "program.py").write_text(self.CODE)
        self.assertEqual(self.run_forked("-c", self.CODE, preload="library").stdout, b"1\n")
        self.assertEqual(self.run_forked("-c", self.CODE, preload="library", cwd=folder).stdout, b"mine\n")
        self.assertEqual(self.run_forked(str(folder / "program.py"), preload="library").stdout, b"mine\n")
        self.assertRegex(self.event_lines("plain")[-1][0], "has a module 'library' too")

    def test_a_variable_that_a_module_read_must_be_the_same(self):
        (self.modules / "library.py").write_text("import os\nvalue = os.environ.get('WISH')\nall = dict(os.environ)")
        for wish in ("one", "two", None):
            env = {**self.env, **({"WISH": wish} if wish else {})}
            done = self.run_forked("-c", self.CODE, preload="library", env=env)
            self.assertEqual(done.stdout.decode(), f"{wish}\n")
        self.assertEqual(len(self.event_lines("forked")), 1)
        self.assertRegex(self.event_lines("plain")[0][0], "has read WISH with another value")

    def test_a_variable_that_nobody_read_may_differ(self):
        (self.modules / "library.py").write_text("import os\nvalue = 1\nall = dict(os.environ)")
        for wish in ("one", "two"):
            self.run_forked("-c", self.CODE, preload="library", env={**self.env, "WISH": wish})
        self.assert_forked(2)


class Deaths(ForkServer):
    def begin(self):
        process = self.start("-c", "import sys; print(1, flush=True); sys.stdin.read(); sys.exit(7)",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"1\n")
        server = int(self.event_lines("forked")[-1][1])
        return process, server

    def end(self, process, code):
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), code)
        process.stdout.close()

    def test_children_of_a_server_that_was_killed_go_on_and_tell_their_end(self):
        process, server = self.begin()
        os.kill(server, signal.SIGKILL)
        done = self.run_forked("-c", "print(2)")
        self.assertEqual(done.stdout, b"2\n")
        self.assertIsNone(process.poll())
        self.end(process, 7)
        self.assert_forked(2)
        self.assertNotEqual(int(self.event_lines("forked")[-1][1]), server)

    def test_an_orphan_is_killed_with_its_launcher(self):
        process, server = self.begin()
        child = int(self.event_lines("forked")[-1][0])
        os.kill(server, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{server}"), "the end of the server")
        process.kill()
        until(lambda: not os.path.exists(f"/proc/{child}"), "the end of the child")
        process.stdin.close()
        process.stdout.close()

    def test_a_keeper_that_was_killed_is_missed_by_nobody(self):
        process, server = self.begin()
        for pid in self.keepers():
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.run_forked("-c", "print(2)").stdout, b"2\n")
        self.end(process, 7)
        until(lambda: not os.path.exists(f"/proc/{server}"), "the end of the server without a keeper")
        self.assert_forked(2)

    def test_without_keeper_and_server_the_end_is_unknown(self):
        process, server = self.begin()
        for pid in [*self.keepers(), server]:
            os.kill(pid, signal.SIGKILL)
        self.end(process, 125)

    def test_servers_that_are_killed_all_the_time(self):
        """No request hangs or is lost: each is answered, forked or plainly."""
        is_over = threading.Event()

        def kill_servers():
            while not is_over.wait(0.01):
                for row in self.fork_servers():
                    if row["server_pid"]:
                        try:
                            os.kill(row["server_pid"], signal.SIGKILL)
                        except ProcessLookupError:
                            pass

        killer = threading.Thread(target=kill_servers)
        killer.start()
        try:
            for i in range(60):
                self.assertEqual(self.run_forked("-c", f"print({i})").stdout, b"%d\n" % i)
        finally:
            is_over.set()
            killer.join()
        self.assertEqual(len(self.event_lines("forked")) + len(self.event_lines("plain")) >= 60, True)

    def test_a_server_that_does_not_answer_is_replaced(self):
        process, server = self.begin()
        os.kill(server, signal.SIGSTOP)
        waiting = self.start("-c", "print(2)", stdout=subprocess.PIPE)
        self.assertEqual(waiting.stdout.read(), b"2\n")
        self.assertEqual(waiting.wait(PATIENCE), 0)
        waiting.stdout.close()
        until(lambda: not os.path.exists(f"/proc/{server}"), "the end of the server")
        log = pathlib.Path(self.env["RESOURCE_POOL_BROKER"], "python.log").read_text(errors="replace")
        self.assertEqual(self.event_lines("plain"), [["the server was killed", "-c print(2)"]], log)
        self.assertEqual(self.run_forked("-c", "print(3)").stdout, b"3\n")
        self.end(process, 7)
        self.assertEqual(len(self.event_lines("forked")), 2)

    def test_a_keeper_that_waits_for_its_last_child_is_in_nobodys_way(self):
        process, _ = self.begin()
        old = self.keepers()
        for pid in old:
            os.kill(pid, signal.SIGTERM)
        broker = self.env["RESOURCE_POOL_BROKER"]
        until(lambda: not any(name.startswith("python-") and name.endswith(".sock") for name in os.listdir(broker)),
              "the end of listening")
        self.assertEqual(self.run_forked("-c", "print(2)").stdout, b"2\n")
        self.assert_forked(2)
        self.assertTrue(all(os.path.exists(f"/proc/{pid}") for pid in old))
        self.end(process, 7)
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in old), "the end of the keeper")

    def test_a_daemon_of_a_program_is_no_child_of_the_server(self):
        """What a program leaves behind is the keeper's, who must not take it for what a dead server forked."""
        code = ("import os, time\nif not os.fork():\n os.setsid()\n if os.fork(): os._exit(0)\n"
                " print(os.getpid(), flush=True)\n os.close(1)\n os.close(2)\n time.sleep(60)\nos.wait()\n")
        daemon = self.run_forked("-c", code).stdout.decode().strip()
        keeper, = self.keepers()
        children = pathlib.Path(f"/proc/{keeper}/task/{keeper}/children")
        server = self.event_lines("forked")[0][1]
        until(lambda: daemon in children.read_text().split(), "the daemon")
        try:
            os.kill(int(server), signal.SIGSTOP)
            waiting = self.start("-c", "print(2)")
            until(lambda: self.is_asked(int(server)), "the request")
            os.kill(int(server), signal.SIGKILL)
            until(lambda: not os.path.exists(f"/proc/{server}"), "the end of the server")
            waiting.kill()
            waiting.wait()
            self.assertEqual(self.run_forked("-c", "print(3)").stdout, b"3\n")
            self.assertTrue(os.path.exists(f"/proc/{daemon}"))
        finally:
            os.kill(int(daemon), signal.SIGKILL)

    @staticmethod
    def is_asked(server):
        """Whether something lies in the server's socket, which holds the launcher's descriptors."""
        text = pathlib.Path(f"/proc/{server}/fdinfo/3").read_text()
        return re.search(r"scm_fds:\s*[1-9]", text) is not None

    def test_a_socket_that_is_removed_ends_the_keeper(self):
        self.run_forked("-c", "print(1)")
        keepers = self.keepers()
        broker = self.env["RESOURCE_POOL_BROKER"]
        for name in os.listdir(broker):
            if name.startswith("python-"):
                os.unlink(os.path.join(broker, name))
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in keepers), "the end of the keeper")
        self.assertEqual(self.run_forked("-c", "print(1)").stdout, b"1\n")

    def test_the_end_of_the_broker_is_the_keepers(self):
        self.run_forked("-c", "print(1)")
        until(self.fork_servers, "the keeper's word to the broker")
        keepers = self.keepers()
        self.assertTrue(keepers)
        done = subprocess.run([os.environ.get("RP_TEST_RPOOL", "") or self.rpool(), "stop"], env=self.env, check=False)
        self.assertEqual(done.returncode, 0)
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in keepers), "the end of the keeper")

    @staticmethod
    def rpool():
        from forked import RPOOL
        return RPOOL


class Crowds(ForkServer):
    def test_64_at_once(self):
        processes = [self.start("-c", f"print({i})", stdout=subprocess.PIPE) for i in range(64)]
        for i, process in enumerate(processes):
            self.assertEqual(process.stdout.read(), b"%d\n" % i)
            self.assertEqual(process.wait(PATIENCE), 0)
            process.stdout.close()
        self.assert_forked(64)
        self.assertEqual(len(self.keepers()), 1)

    def test_a_server_does_not_grow_with_its_children(self):
        self.run_forked("-c", "pass")
        server = int(self.event_lines("forked")[0][1])

        def private_kib():
            text = pathlib.Path(f"/proc/{server}/smaps_rollup").read_text()
            return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))

        for _ in range(20):
            self.run_forked("-c", "pass")
        before = private_kib()
        for _ in range(100):
            self.run_forked("-c", "pass")
        self.assertLess(private_kib() - before, 256)
        self.assert_forked(121)


class Refusals(ForkServer):
    @unittest.skipIf(os.geteuid() == 0, "root has no limit of processes")
    def test_a_fork_that_is_refused_is_run_plainly(self):
        self.run_forked("-c", "pass")
        server = int(self.event_lines("forked")[0][1])
        self.addCleanup(os.kill, server, signal.SIGKILL)  # of no use to the next test
        resource.prlimit(server, resource.RLIMIT_NPROC, (0, 0))
        self.assertEqual(self.run_forked("-c", "print(1)").stdout, b"1\n")
        self.assertRegex(self.event_lines("plain")[0][0], "cannot fork")

    def test_a_fork_without_memory_is_run_plainly(self):
        self.run_forked("-c", "pass")
        server = int(self.event_lines("forked")[0][1])
        # The copy of the process would be larger than this allows.
        resource.prlimit(server, resource.RLIMIT_DATA, (4096, 4096))
        resource.prlimit(server, resource.RLIMIT_AS, (4096, 4096))
        self.assertEqual(self.run_forked("-c", "print(1)").stdout, b"1\n")
        self.assertRegex(self.event_lines("plain")[0][0], "Cannot allocate memory")


class Rubbish(ForkServer):
    def connect(self):
        self.run_forked("-c", "pass")
        broker = self.env["RESOURCE_POOL_BROKER"]
        name = next(name for name in os.listdir(broker) if name.startswith("python-") and name.endswith(".sock"))
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        connection.connect(os.path.join(broker, name))
        return connection

    def frame(self, kind, fds=(), magic=0x31534652, version=1):
        data = struct.pack("<IHHIi4Q200s", magic, version, kind, 0, 0, 0, 0, 0, 0, b"")
        return [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []

    def answer(self, connection):
        data = connection.recv(4096)
        return struct.unpack("<IHHIi4Q200s", data)[2] if data else None

    def still_serves(self):
        self.assertEqual(self.run_forked("-c", "print(3)").stdout, b"3\n")
        self.assertEqual(self.event_lines("plain"), [])

    def ask(self, connection, code):
        """A request as a launcher makes it."""
        argv, original = [b"-c"], [b"python3", b"-c", code]
        environment = [f"{name}={value}".encode() for name, value in self.env.items()]
        texts = b"".join(text + b"\0" for text in (code, *argv, *original, *environment))
        passed = struct.pack("3i", 0, 1, 2)
        limits = [value % 2**64 for kind in range(16) for value in resource.getrlimit(kind)]
        head = struct.pack("<IIQ7I5i2Q32Q", 0x31534652, 1, 336 + len(passed) + len(texts), 0, len(argv), len(original),
                           len(environment), 3, 0, 0o22, os.getpid(), os.getpgrp(), os.getsid(0), 0, 0, 0, 0, *limits)
        memory = os.memfd_create("request", os.MFD_ALLOW_SEALING)
        os.write(memory, head + passed + texts)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
                    | fcntl.F_SEAL_SEAL)
        folder = os.open("/", os.O_PATH)
        null = os.open("/dev/null", os.O_RDWR)
        connection.sendmsg(*self.frame(1, (memory, folder, null, null, null)))
        for fd in (memory, folder, null):
            os.close(fd)

    def test_who_does_not_read_holds_up_nobody_and_is_told_the_end(self):
        connection = self.connect()
        self.ask(connection, b"import time; time.sleep(100)")
        child = int(until(lambda: self.event_lines("forked")[1:], "the child")[0][0])
        for _ in range(1000):
            os.kill(child, signal.SIGSTOP)
            until(lambda: state_of(child) == "T", "the stop")
            os.kill(child, signal.SIGCONT)
            until(lambda: state_of(child) != "T", "the continue")
        self.still_serves()
        os.kill(child, signal.SIGKILL)
        frames = []
        while (data := connection.recv(4096)):
            frames.append(struct.unpack("<IHHIi4Q200s", data))
        self.assertGreater(len(frames), 20)
        self.assertEqual((frames[-1][2], frames[-1][4]), (7, 9))

    def test_what_is_no_request_is_refused(self):
        null = os.open("/dev/null", os.O_RDONLY)
        memory = os.memfd_create("empty", os.MFD_ALLOW_SEALING)
        for kind, fds in ((1, ()), (1, (null,)), (1, (null, null)), (1, (memory, null)), (18, (null, null)), (99, ())):
            connection = self.connect()
            connection.sendmsg(*self.frame(kind, fds))
            self.assertEqual(self.answer(connection), 3, (kind, fds))
        connection = self.connect()
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.answer(connection), 3)
        connection = self.connect()
        connection.sendmsg(*self.frame(1, magic=1))
        self.assertEqual(self.answer(connection), 3)
        os.close(null)
        os.close(memory)
        self.still_serves()

    def test_who_says_nothing_is_let_go(self):
        connection = self.connect()
        start = time.monotonic()
        self.assertIsNone(self.answer(connection))
        self.assertLess(time.monotonic() - start, PATIENCE)
        self.still_serves()

    def test_who_leaves_at_once_leaves_nothing(self):
        for _ in range(200):
            self.connect_quickly()
        self.still_serves()

    def connect_quickly(self):
        broker = self.env["RESOURCE_POOL_BROKER"]
        if not getattr(self, "socket_name", None):
            self.connect()
            self.socket_name = next(n for n in os.listdir(broker) if n.startswith("python-") and n.endswith(".sock"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(os.path.join(broker, self.socket_name))


if __name__ == "__main__":
    unittest.main()
