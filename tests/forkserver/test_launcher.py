# SPDX-License-Identifier: Apache-2.0
"""A launcher is to its caller what a plain interpreter is: status, signals, descriptors, terminals, its end."""

import os
import pty
import resource
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from forked import LAUNCHER, PATIENCE, PYTHON, ForkServer, state_of, until


class Terminal:
    """The other side of a terminal, read up to what is waited for and no further."""

    def __init__(self, fd):
        self.fd = fd
        self.unread = b""

    def write(self, text):
        os.write(self.fd, text)

    def until(self, what):
        end = time.monotonic() + PATIENCE
        while what not in self.unread:
            left = end - time.monotonic()
            try:
                more = os.read(self.fd, 4096) if left > 0 and select.select([self.fd], [], [], left)[0] else b""
            except OSError:
                more = b""
            if not more:
                raise AssertionError(f"{what!r} did not come: {self.unread!r}")
            self.unread += more
        text, _, self.unread = self.unread.partition(what)
        return text + what


class Ends(ForkServer):
    def test_an_exit_status_comes_back(self):
        for code in (0, 1, 3, 255):
            self.assertEqual(self.run_forked("-c", f"import os; os._exit({code})").returncode, code)
        self.assert_forked(4)

    def test_a_signal_that_ends_the_child_ends_the_launcher(self):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGUSR1):
            done = self.run_forked("-c", f"import os; os.kill(os.getpid(), {int(number)})")
            self.assertEqual(done.returncode, -number)
        self.assert_forked(5)

    def test_a_killed_launcher_takes_its_child_along(self):
        process = self.start("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)",
                             stdout=subprocess.PIPE)
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        until(lambda: not os.path.exists(f"/proc/{child}"), "the end of the child")
        process.stdout.close()
        self.assert_forked()

    def test_a_killed_child_is_the_end_of_its_launcher(self):
        process = self.start("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)",
                             stdout=subprocess.PIPE)
        os.kill(int(process.stdout.readline()), signal.SIGKILL)
        self.assertEqual(process.wait(PATIENCE), -signal.SIGKILL)
        process.stdout.close()

    def test_pipes_end_with_the_child_that_closes_them(self):
        process = self.start("-c", "import os, time; os.close(1); os.close(2); time.sleep(1000)",
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.read(), b"")
        self.assertEqual(process.stderr.read(), b"")
        self.assertIsNone(process.poll())
        process.stdout.close()
        process.stderr.close()

    def test_a_program_that_cannot_be_found_is_the_interpreters_error(self):
        done = self.run_forked("/nowhere/at/all.py")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"can't open file", done.stderr)
        done = self.run_forked("-m", "no_such_module_at_all")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No module named", done.stderr)


class Signals(ForkServer):
    COUNTS = ("import os, signal\n"
              "met = []\n"
              "def take(number, frame):\n"
              "    met.append(number)\n"
              "    os.write(1, b'%d\\n' % number)\n"
              "for number in (1, 2, 10, 12, 15, 28):\n"
              "    signal.signal(number, take)\n"
              "print('ready', flush=True)\n"
              "while 12 not in met: signal.pause()\n"
              "print(sorted(met), flush=True)\n")

    def begin(self, **options):
        process = self.start("-c", self.COUNTS, stdout=subprocess.PIPE, text=True, **options)
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.addCleanup(process.stdout.close)
        return process

    def test_a_signal_for_the_launcher_is_the_childs(self):
        process = self.begin()
        for number in (15, 2, 1, 10, 28):
            process.send_signal(number)
            self.assertEqual(process.stdout.readline(), f"{number}\n")
        process.send_signal(12)
        self.assertEqual(process.stdout.readline(), "12\n")
        self.assertEqual(process.stdout.readline(), "[1, 2, 10, 12, 15, 28]\n")
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assert_forked()

    def test_a_signal_for_the_group_reaches_the_child_once(self):
        # A group of its own in our session, so that the child can join it.
        process = self.begin(preexec_fn=os.setpgrp)
        for _ in range(50):
            os.killpg(process.pid, 15)
            self.assertEqual(process.stdout.readline(), "15\n")
            process.send_signal(10)
            self.assertEqual(process.stdout.readline(), "10\n")
        os.killpg(process.pid, 12)
        self.assertEqual(process.stdout.readline(), "12\n")
        self.assertEqual(process.stdout.readline(), f"{sorted([15, 10] * 50 + [12])}\n")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_in_a_session_of_its_own_too(self):
        process = self.begin(start_new_session=True)
        os.killpg(process.pid, 15)
        self.assertEqual(process.stdout.readline(), "15\n")
        os.killpg(process.pid, 12)
        self.assertEqual(process.stdout.readline(), "12\n")
        self.assertEqual(process.stdout.readline(), "[12, 15]\n")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_the_child_is_in_the_callers_group_and_session(self):
        done = self.run_forked("-c", "import os; print(os.getpgrp(), os.getsid(0))")
        self.assertEqual(done.stdout.decode().split(), [str(os.getpgrp()), str(os.getsid(0))])
        self.assert_forked()

    def test_a_stop_is_the_callers_to_see_and_goes_on(self):
        process = self.begin()
        child = int(self.event_lines("forked")[0][0])
        for stop in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGSTOP):
            process.send_signal(stop)
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status))
            self.assertEqual(os.WSTOPSIG(status), stop)
            until(lambda: state_of(child) == "T", "the stop of the child")
            process.send_signal(signal.SIGCONT)
            until(lambda: state_of(child) not in "T" and state_of(process.pid) != "T", "that both go on")
        process.send_signal(12)
        self.assertEqual(process.stdout.readline(), "12\n")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_a_child_that_stops_itself_stops_the_launcher(self):
        process = self.start("-c", "import os, signal; print(os.getpid(), flush=True); "
                             "os.kill(os.getpid(), signal.SIGSTOP); print('on', flush=True)", stdout=subprocess.PIPE)
        child = int(process.stdout.readline())
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        # Whoever continues the child continues the launcher.
        os.kill(child, signal.SIGCONT)
        self.assertEqual(process.stdout.readline(), b"on\n")
        self.assertEqual(process.wait(PATIENCE), 0)
        process.stdout.close()

    def test_ignored_and_blocked_signals_stay_so(self):
        def prepare():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

        code = ("import signal; print(signal.getsignal(1), signal.getsignal(2), "
                "signal.pthread_sigmask(signal.SIG_BLOCK, []))")
        plain = subprocess.run([PYTHON, "-c", code], capture_output=True, preexec_fn=prepare, check=True)
        done = self.run_forked("-c", code, preexec_fn=prepare)
        self.assertEqual(done.stdout, plain.stdout)
        self.assert_forked()


class Terminals(ForkServer):
    def shell(self, *argv):
        """A program on a terminal of its own; its pid and the other side."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe(argv[0], argv, self.env)
        self.addCleanup(os.close, fd)

        def end():
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self.addCleanup(end)
        return pid, Terminal(fd)

    def test_ctrl_c_is_a_keyboard_interrupt(self):
        pid, terminal = self.shell(*self.command("-c", "import time; print('ready', flush=True); time.sleep(1000)"))
        terminal.until(b"ready")
        terminal.write(b"\x03")
        self.assertIn(b"KeyboardInterrupt", terminal.until(b"KeyboardInterrupt"))
        _, status = os.waitpid(pid, 0)
        self.assertEqual(os.WTERMSIG(status), signal.SIGINT)
        self.assert_forked()

    def test_ctrl_c_comes_once(self):
        code = ("import signal, os\nmet = []\nsignal.signal(2, lambda *_: met.append(2))\nprint('ready', flush=True)\n"
                "input()\nprint('met', len(met), 'times')")
        pid, terminal = self.shell(*self.command("-c", code))
        terminal.until(b"ready")
        terminal.write(b"\x03")
        time.sleep(0.3)  # a second one would come now; too early a look only makes the test weaker
        terminal.write(b"\n")
        self.assertIn(b"met 1 times", terminal.until(b" times"))
        os.waitpid(pid, 0)

    def test_a_shells_job_control(self):
        _, terminal = self.shell("bash", "--norc", "--noprofile", "-i")
        terminal.write(b"PS1='p''$ '; set +o history\n")
        terminal.until(b"p$ ")
        line = shlex.join(self.command(
            "-c", "import os; print(os.tcgetpgrp(0) == os.getpgrp(), open('/dev/tty').isatty(), 'rea' + 'dy', flush=True)\n"
            "print('got', repr(input()))"))
        terminal.write(line.encode() + b"\n")
        text = terminal.until(b"ready")
        self.assertIn(b"True True ready", text)
        terminal.write(b"\x1a")
        terminal.until(b"Stopped")
        terminal.until(b"p$ ")
        terminal.write(b"jobs; bg\n")
        terminal.until(b"p$ ")
        terminal.write(b"\n")
        terminal.until(b"p$ ")
        terminal.write(b"fg\n")
        terminal.until(b"input()")
        terminal.write(b"hello\n")
        terminal.until(b"got 'hello'")
        terminal.write(b"echo code $?\n")
        terminal.until(b"code 0")
        self.assert_forked()


    def test_a_terminal_that_goes_takes_what_is_stopped_along(self):
        shell, terminal = self.shell("bash", "--norc", "--noprofile", "-i")
        terminal.write(shlex.join(self.command("-c", "import time; print('rea' + 'dy', flush=True); time.sleep(1000)"))
                       .encode() + b"\n")
        terminal.until(b"ready")
        terminal.write(b"\x1a")
        terminal.until(b"Stopped")
        child = int(self.event_lines("forked")[0][0])
        os.kill(shell, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{child}"), "the end of the child")


class Descriptors(ForkServer):
    def test_inherited_ones_have_their_numbers(self):
        reading, writing = os.pipe()
        high = os.dup2(writing, 200)
        done = self.run_forked("-c", "import os; os.write(200, b'x'); print(sorted(map(int, os.listdir('/proc/self/fd'))))",
                               pass_fds=[high])
        self.assertEqual(os.read(reading, 10), b"x")
        for fd in (reading, writing, high):
            os.close(fd)
        # 3 is the listing's own.
        self.assertEqual(done.stdout, b"[0, 1, 2, 3, 200]\n")
        self.assert_forked()

    def test_closed_ones_stay_closed(self):
        code = "import os, sys; os.write(7, repr([sys.stdin, sys.stdout, sys.stderr]).encode())"
        for closed in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):
            outputs = []
            for command in ([PYTHON, "-c", code], self.command("-c", code)):
                reading, writing = os.pipe()

                def prepare(writing=writing, closed=closed):
                    os.dup2(writing, 7)
                    for fd in closed:
                        os.close(fd)

                process = subprocess.Popen(command, env=self.env, preexec_fn=prepare, close_fds=False,
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                os.close(writing)
                with open(reading, "rb") as file:
                    outputs.append(file.read())
                self.assertEqual(process.wait(PATIENCE), 0)
            self.assertEqual(outputs[0], outputs[1])
        self.assert_forked(5)

    def test_too_many_are_the_plain_interpreters(self):
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
        done = self.run_forked("-c", "print(1)", pass_fds=fds)
        for fd in fds:
            os.close(fd)
        self.assertEqual(done.stdout, b"1\n")
        self.assert_plain("more than 240 open descriptors")

    def test_a_full_pipe_is_waited_for(self):
        process = self.start("-c", "import sys; sys.stdout.write('x' * 1000000)", stdout=subprocess.PIPE)
        self.assertEqual(len(process.stdout.read()), 1000000)
        self.assertEqual(process.wait(PATIENCE), 0)
        process.stdout.close()
        self.assert_forked()


class Surroundings(ForkServer):
    def test_an_environment_of_a_megabyte(self):
        env = {**self.env, **{f"LARGE_{i}": "x" * 100000 for i in range(10)}}
        done = self.run_forked("-c", "import os; print(sum(len(v) for k, v in os.environ.items() if k[:6] == 'LARGE_'))",
                               env=env)
        self.assertEqual(done.stdout, b"1000000\n")
        self.assert_forked()

    def test_arguments_that_are_no_utf8(self):
        done = self.run_forked("-c", "import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])", b"\xff\xfe", b"\x80")
        self.assertEqual(done.stdout, b"[b'\\xff\\xfe', b'\\x80']\n")
        self.assert_forked()

    def test_a_folder_that_is_gone(self):
        folder = tempfile.mkdtemp(dir=self.folder)

        def prepare():
            os.chdir(folder)
            os.rmdir(folder)

        done = self.run_forked("-c", "import os\ntry: os.getcwd()\nexcept FileNotFoundError: print('gone')",
                               preexec_fn=prepare)
        self.assertEqual(done.stdout, b"gone\n")
        self.assert_forked()

    def test_mask_limits_and_folder(self):
        def prepare():
            os.umask(0o057)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
            os.chdir(self.folder)

        code = ("import os, resource; m = os.umask(0); print(m, resource.getrlimit(resource.RLIMIT_NOFILE), "
                "resource.getrlimit(resource.RLIMIT_CORE), os.getcwd())")
        plain = subprocess.run([PYTHON, "-c", code], capture_output=True, preexec_fn=prepare, check=True)
        done = self.run_forked("-c", code, preexec_fn=prepare)
        self.assertEqual(done.stdout, plain.stdout)
        self.assert_forked()

    def test_variables_are_the_callers(self):
        env = {**self.env, "SOME": "thing", "EMPTY": ""}
        code = "import os; print({k: v for k, v in os.environ.items() if k != 'LC_CTYPE'}); os.system('echo $SOME')"
        plain = subprocess.run([PYTHON, "-c", code], capture_output=True, env=env, check=True)
        self.assertEqual(self.run_forked("-c", code, env=env).stdout, plain.stdout)
        self.assert_forked()

    def test_what_only_the_interpreter_can_do_it_does(self):
        for words, reason in ((["-X", "dev", "-c", "print(1)"], "the option -X"), (["-I", "-c", "print(1)"], "-I"),
                              (["-E", "-c", "print(1)"], "-E"), (["-W", "error", "-c", "print(1)"], "-W"),
                              (["-O", "-c", "print(1)"], "-O")):
            done = self.run_forked(*words)
            self.assertEqual(done.stdout, b"1\n", words)
            self.assert_plain(reason)
        self.assertTrue(self.run_forked("--version").stdout.startswith(b"Python 3"))
        done = self.run_forked("-c", "print(1)", env={**self.env, "RESOURCE_POOL_PYTHON": "off"})
        self.assertEqual(done.stdout, b"1\n")
        self.assert_plain("RESOURCE_POOL_PYTHON=off")

    def test_a_script_for_an_interpreter_is_started_as_it_is(self):
        script = os.path.join(self.folder, "interpreter")
        with open(script, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec "{PYTHON}" "$@"\n')
        os.chmod(script, 0o755)
        done = subprocess.run([LAUNCHER, "--interpreter", script, "-c", "print(1)"], env=self.env, capture_output=True,
                              check=True)
        self.assertEqual(done.stdout, b"1\n")
        self.assert_plain("is a script")

    def test_under_the_name_of_the_interpreter(self):
        folder = os.path.join(self.folder, "names")
        os.mkdir(folder)
        os.symlink(LAUNCHER, os.path.join(folder, "python3"))
        path = os.path.join(self.folder, "real")
        os.mkdir(path)
        os.symlink(os.path.realpath(PYTHON), os.path.join(path, "python3"))
        env = {**self.env, "PATH": f"{folder}:{path}:/usr/bin:/bin"}
        done = subprocess.run(["python3", "-c", "import sys; print(sys.argv, sys.executable)", "--preload", "x"], env=env,
                              capture_output=True, check=True)
        self.assertEqual(done.stdout.decode(), f"['-c', '--preload', 'x'] {path}/python3\n")
        self.assert_forked()

    def test_no_interpreter_is_an_error_that_names_it(self):
        done = subprocess.run([LAUNCHER, "--interpreter", "/nowhere/python", "-c", "1"], env=self.env, capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 127)
        self.assertIn(b"'/nowhere/python'", done.stderr)


class Strangers(ForkServer):
    def test_a_folder_of_somebody_elses_is_not_entered(self):
        folder = os.path.join(self.folder, "open")
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        done = self.run_forked("-c", "print(1)", env={**self.env, "RESOURCE_POOL_BROKER": folder})
        self.assertEqual(done.stdout, b"1\n")
        self.assert_plain("no folder of this user's alone")

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_another_users_server_is_not_asked(self):
        # The first start makes the socket; then another user listens there.
        self.assertEqual(self.run_forked("-c", "print(1)").stdout, b"1\n")
        broker = self.env["RESOURCE_POOL_BROKER"]
        socket = next(os.path.join(broker, name) for name in os.listdir(broker)
                      if name.startswith("python-") and name.endswith(".sock"))
        code = ("import os, socket, sys, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
                f"os.unlink({socket!r}); s.bind({socket!r}); os.chmod({socket!r}, 0o777); "
                "os.setuid(65534); s.listen(); print('ready', flush=True); time.sleep(1000)")
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        self.started.append(other)
        self.assertEqual(other.stdout.readline(), b"ready\n")
        open(self.events, "w").close()
        self.assertEqual(self.run_forked("-c", "print(1)").stdout, b"1\n")
        other.stdout.close()
        other.kill()
        other.wait()
        os.unlink(socket)
        self.assert_plain("cannot reach the keeper")


if __name__ == "__main__":
    unittest.main()
