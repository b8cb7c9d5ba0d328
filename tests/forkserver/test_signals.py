# SPDX-License-Identifier: Apache-2.0
"""Signals that are for the launcher alone, for its group, for both: the child gets what a plain one would."""

import os
import pty
import signal
import subprocess
import sys
import unittest

from forked import PATIENCE, ForkServer, state_of, until

# Says what came, one number a line; a signal that came is told before the next call of ours returns.
COUNTS = ("import os, signal, sys\n"
          "numbers = [int(n) for n in sys.argv[1:]]\n"
          "signal.pthread_sigmask(signal.SIG_BLOCK, numbers)\n"
          "for n in numbers: signal.signal(n, signal.SIG_DFL)\n"
          "print('ready', os.getpid(), flush=True)\n"
          "while (n := signal.sigwait(numbers)) != 12: print(n, flush=True)\n"
          "while (more := signal.sigtimedwait(numbers, 0)): print(more.si_signo)\n"
          "print('end', flush=True)\n")


def give_up(*_):
    raise AssertionError("a signal did not come")


signal.signal(signal.SIGALRM, give_up)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def settle(pid):
    """Until a launcher has seen to its signals: the next would melt into one that waits there still."""
    def has_nothing_left():
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            text = file.read()
        return "\nShdPnd:\t0000000000000000" in text and "\nState:\tS" in text

    until(has_nothing_left, "that the launcher has seen to its signals")


class Hurried(ForkServer):
    """Who waits for a signal that never comes is told so."""

    def setUp(self):
        super().setUp()
        signal.alarm(PATIENCE)
        self.addCleanup(signal.alarm, 0)


class Signals(Hurried):
    def begin(self, *numbers, **options):
        options.setdefault("preexec_fn", os.setpgrp)
        process = self.start("-c", COUNTS, *[str(int(n)) for n in (12, *numbers)], stdout=subprocess.PIPE, text=True,
                             **options)
        self.addCleanup(process.stdout.close)
        words = process.stdout.readline().split()
        self.assertEqual(words[0], "ready")
        return process, int(words[1])

    def rest(self, process):
        """What came until the end, which a signal for the launcher alone brings."""
        settle(process.pid)
        process.send_signal(12)
        lines = process.stdout.read().split()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(lines[-1], "end")
        self.assert_forked()
        return [int(line) for line in lines[:-1]]

    def test_one_for_the_launcher_after_one_for_the_group(self):
        process, _ = self.begin(15)
        for _ in range(20):
            os.killpg(process.pid, 15)
            self.assertEqual(process.stdout.readline(), "15\n")
            settle(process.pid)
            process.send_signal(15)
            self.assertEqual(process.stdout.readline(), "15\n")
            settle(process.pid)
        self.assertEqual(self.rest(process), [])

    def test_signals_that_queue_are_all_counted(self):
        number = signal.SIGRTMIN + 1
        process, _ = self.begin(number)
        for _ in range(100):
            os.killpg(process.pid, number)
        for _ in range(50):
            process.send_signal(number)
        self.assertEqual([int(process.stdout.readline()) for _ in range(150)], [number] * 150)
        self.assertEqual(self.rest(process), [])

    def test_a_burst_for_the_group_is_not_doubled(self):
        # One that waits already melts into the next, but none comes twice.
        for _ in range(20):
            process, child = self.begin(15)
            os.kill(child, signal.SIGSTOP)
            until(lambda process=process: state_of(process.pid) == "T", "the stop of the launcher")
            for _ in range(5):
                os.killpg(process.pid, 15)
            os.killpg(process.pid, signal.SIGCONT)
            self.assertEqual(process.stdout.readline(), "15\n")
            self.assertEqual(self.rest(process), [])
            open(self.events, "w").close()

    def test_a_group_that_was_stopped_and_a_launcher_that_is_continued(self):
        process, child = self.begin(15)
        os.killpg(process.pid, signal.SIGSTOP)
        until(lambda: state_of(process.pid) == "T" and state_of(child) == "T", "the stop of both")
        process.send_signal(signal.SIGCONT)
        until(lambda: state_of(child) != "T", "that the child goes on")
        process.send_signal(15)
        self.assertEqual(process.stdout.readline(), "15\n")
        settle(process.pid)
        os.killpg(process.pid, 15)
        self.assertEqual(process.stdout.readline(), "15\n")
        self.assertEqual(self.rest(process), [])

    def test_a_continue_comes_once(self):
        for _ in range(3):
            process, child = self.begin(18)
            process.send_signal(signal.SIGSTOP)
            until(lambda child=child: state_of(child) == "T", "the stop of the child")
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.stdout.readline(), "18\n")
            self.assertEqual(self.rest(process), [])
            open(self.events, "w").close()

    def test_who_ends_by_command_line_ends_the_child(self):
        # pkill -f: each process of that name, one by one; the child's name is its server's.
        process, _ = self.begin(15)
        for pid in [process.pid, *children_of(process.pid)]:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"sigwait" in file.read():
                    os.kill(pid, 15)
        self.assertEqual(process.stdout.readline(), "15\n")
        self.assertEqual(self.rest(process), [])

    def test_who_ends_a_tree_ends_the_child(self):
        # Each process below the launcher, one by one; the child is not below it.
        process = self.start("-c", "print(1, flush=True); import signal; signal.pause()", stdout=subprocess.PIPE,
                             preexec_fn=os.setpgrp)
        self.assertEqual(process.stdout.readline(), b"1\n")
        child = self.event_lines("forked")[0][0]

        def is_asleep():
            with open(f"/proc/{child}/wchan", encoding="ascii") as file:
                return "pause" in file.read()

        # One that computes cannot be told from one that has just had the signal: docs/forkserver.md has it.
        until(is_asleep, "that the child sleeps")
        for pid in [*children_of(process.pid), process.pid]:
            os.kill(pid, 15)
        self.assertEqual(process.wait(PATIENCE), -15)
        process.stdout.close()
        self.assert_forked()

    def test_a_gentle_stop_in_another_session(self):
        self.assertEqual(self.run_forked("-c", "").returncode, 0)  # the keeper is in our session
        process, child = self.begin(preexec_fn=os.setsid)
        process.send_signal(signal.SIGTSTP)
        # The launcher leads a session, and so is no group whose stop anybody could end: nor is it a plain one's.
        process.send_signal(12)
        self.assertEqual(process.stdout.readline(), "end\n")
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(state_of(child), "")


class Terminals(Hurried):
    def on_a_terminal(self, code):
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(self.command()[0], self.command("-c", code), self.env)
        self.addCleanup(self.end, pid)
        return pid, fd

    def end(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def read_line(self, fd):
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(fd, 1)
        return line.strip()

    def test_one_for_the_launcher_after_a_ctrl_c(self):
        pid, fd = self.on_a_terminal("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2, 12])\n"
                                     "print('ready', flush=True)\n"
                                     "while (n := signal.sigwait([2, 12])) != 12: print(int(n), flush=True)\n")
        self.assertEqual(self.read_line(fd), b"ready")
        for _ in range(5):
            os.write(fd, b"\x03")
            self.assertEqual(self.read_line(fd).lstrip(b"^C"), b"2")
            settle(pid)
            os.kill(pid, 2)
            self.assertEqual(self.read_line(fd), b"2")
            settle(pid)
        os.kill(pid, 12)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(fd)
        self.assert_forked()

    def test_a_terminal_that_is_closed(self):
        # The kernel tells the leader of the session alone.
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        pid, fd = self.on_a_terminal("import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [1])\n"
                                     "print('ready', flush=True)\n"
                                     f"os.write({writing}, b'%d' % signal.sigwait([1]))\n")
        os.close(writing)
        self.assertEqual(self.read_line(fd), b"ready")
        os.close(fd)
        with open(reading, "rb") as file:
            self.assertEqual(file.read(), b"1")
        os.waitpid(pid, 0)
        self.assert_forked()


if __name__ == "__main__":
    sys.exit(unittest.main())
