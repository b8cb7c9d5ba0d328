# SPDX-License-Identifier: Apache-2.0
"""A terminal, and a shell with job control on it. Lines with '=>' are what is compared."""

from differences import Probe

READY = "print('rea' + 'dy', flush=True)\n"


def alone():
    """The interpreter is the program of a terminal of its own."""
    yield Probe("terminal_streams",
        "import sys, os\nfor s in (sys.stdin, sys.stdout, sys.stderr): print('=>', s.isatty(), "
        "s.line_buffering, s.write_through, s.encoding, s.errors, type(s.buffer).__name__, "
        "s.buffer.raw.name, s.mode, os.ttyname(s.fileno()) == os.ttyname(0))\n" +
        READY +
        "input()", steps=(("ready", "\n"),))
    yield Probe("terminal_input",
        READY +
        "print('=>', repr(input('name? ')))\nimport sys\nprint('=>', repr(sys.stdin.readline()))",
        steps=(("name. ", "me\n"), ("=> 'me'", "two\n")))
    yield Probe("terminal_input_with_readline", "import readline\nprint('=>', repr(input('name? ')))",
        steps=(("name. ", "ab\x7fc\n"),), needs="readline")
    yield Probe("terminal_end_of_input", "try: input('name? ')\nexcept EOFError: print('=> EOF')",
        steps=(("name. ", "\x04"),))
    yield Probe("terminal_getpass", "import getpass\nprint('=>', getpass.getpass('secret? '))",
        steps=(("secret. ", "abc\n"),))
    yield Probe("terminal_settings",
        "import termios, os, tty\na = termios.tcgetattr(0)\nprint('=>', a[:6], "
        "os.get_terminal_size())\ntty.setraw(0); termios.tcsetattr(0, termios.TCSANOW, a)\n" +
        READY +
        "input()", steps=(("ready", "\n"),))
    yield Probe("terminal_group",
        "import os\nprint('=>', os.tcgetpgrp(0) == os.getpgrp(), os.getsid(0) == os.tcgetsid(0) if "
        "hasattr(os, 'tcgetsid') else '', open('/dev/tty').isatty())\n" +
        READY +
        "input()", steps=(("ready", "\n"),))
    yield Probe("terminal_leader",
        "import os\nprint('=>', os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())\n" +
        READY +
        "input()", steps=(("ready", "\n"),), accepted="leader")
    yield Probe("terminal_interrupt",
        "import time\ntry:\n    " +
        READY +
        "    time.sleep(100)\nexcept KeyboardInterrupt: print('=> interrupted')", steps=(("ready", "\x03"),))
    yield Probe("terminal_interrupt_ends", "import time\n" + READY + "time.sleep(100)", steps=(("ready", "\x03"),))
    yield Probe("terminal_interrupt_of_input",
        "try: input('name? ')\nexcept KeyboardInterrupt: print('=> interrupted')",
        steps=(("name. ", "\x03"), ("\\^C", "\n")))
    yield Probe("terminal_interrupt_counted",
        "import signal\nn = []\nsignal.signal(2, lambda *a: n.append(1))\n" +
        READY +
        "input()\nprint('=>', len(n))", steps=(("ready", "\x03"), ("\\^C", "\n")))
    yield Probe("terminal_interrupt_of_children",
        "import subprocess, time\ntry:\n    p = subprocess.Popen(['sleep', '100'])\n    " +
        READY +
        # Not p.wait(): an interrupt between the kernel's answer and its keeping loses the status, in any interpreter.
        "    time.sleep(100)\nexcept KeyboardInterrupt: print('=>', p.wait())", steps=(("ready", "\x03"),))
    yield Probe("terminal_quit",
        "import time, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" +
        READY +
        "time.sleep(100)", steps=(("ready", "\x1c"),))
    yield Probe("terminal_quit_with_faulthandler",
        "import time, faulthandler, signal\nfaulthandler.register(signal.SIGQUIT, chain=False)\n" +
        READY +
        "input()\nprint('=> on')", steps=(("ready", "\x1c"), ("most recent call first", "\n")))
    yield Probe("terminal_of_code_colours",
        "import os, sys\nprint('=>', os.environ.get('TERM'), os.environ.get('NO_COLOR'))\n1/0",
        env={
            "TERM": "xterm",
        })
    yield Probe("terminal_session", "", "line", plain="interactive",
        steps=((">>> ", "print('=>', 1 + 1)\n"), (">>> ", "exit(3)\n")),
        env={
            "PYTHON_BASIC_REPL": "1",
        })


def of_shells():
    """Under bash with job control, as people use it."""
    def shell(name, code, *steps, **more):
        steps = (*steps, ("\\$ $", "echo '=>' code $?\n"), ("=> code", ""), ("\\$ $", "exit\n"))
        return Probe(name, code, steps=steps, command="{python} -c \"$CODE\"", env={"CODE": code, "PS1": "$ ", "HISTFILE": ""}, how="line", **more)

    yield shell("shell_status", "import sys\nprint('=> x')\nsys.exit(7)")
    yield shell("shell_group", "import os\nprint('=>', os.tcgetpgrp(0) == os.getpgrp(), os.getpgrp() == os.getsid(0))")
    yield shell("shell_interrupt", "import time\n" + READY + "time.sleep(100)", ("ready", "\x03"))
    yield shell("shell_stop_and_foreground",
        READY +
        "print('=> got', repr(input()))", ("ready", "\x1a"), ("(?s)Stopped.*\n\\$ $", "fg\n"),
        ("CODE", "hello\n"))
    yield shell("shell_stop_and_background",
        "import signal\n" +
        READY +
        "signal.sigwait([signal.SIGUSR1])\nprint('=> met', flush=True)", ("ready", "\x1a"),
        ("(?s)Stopped.*\n\\$ $", "bg\n"), ("\\$ $", "kill -USR1 %1; wait %1\n"))
    yield shell("shell_stop_is_seen",
        "import signal, time\nmet = []\nsignal.signal(signal.SIGTSTP, lambda *a: met.append(1))\n" +
        READY +
        "while not met: time.sleep(0.01)\nprint('=> asked', len(met))", ("ready", "\x1a"))
    yield shell("shell_stop_and_kill",
        "import time\n" +
        READY +
        "time.sleep(100)", ("ready", "\x1a"),
        (
            "(?s)Stopped.*\n\\$ $",
            'kill -9 %1; while [ -n "$(jobs -ps)" ]; do sleep 0.05; done; echo \'=>\' gone\n',
        ), ("\n=> gone", ""))
    yield shell("shell_window_size",
        "import signal, os, fcntl, struct, termios\nsizes = []\nsignal.signal(signal.SIGWINCH, lambda "
        "*a: sizes.append(tuple(os.get_terminal_size())))\nfcntl.ioctl(0, termios.TIOCSWINSZ, "
        "struct.pack('4H', 20, 70, 0, 0))\nwhile not sizes: signal.pause()\n" +
        READY +
        "input()\nprint('=>', sizes)", ("ready", "\n"))
    yield Probe("shell_pipeline", "", "line", steps=(("=> 3 0 0", ""), ("\\$ $", "exit\n")),
        env={
            "PS1": "$ ",
            "HISTFILE": "",
        },
        command='{python} -c \'print(1); print(2)\' | {python} -c \'import sys; print("=> " + '
                'str(sum(map(int, sys.stdin))), end=" ", flush=True)\'; echo ${{PIPESTATUS[@]}}')
    yield Probe("shell_pipe_that_closes", "", "line", steps=(("=> [0-9]+ 0", ""), ("\\$ $", "exit\n")),
        env={
            "PS1": "$ ",
            "HISTFILE": "",
        },
        command='{python} -c \'while True: print("y")\' 2>/dev/null | head -1; echo \'=>\' '
                "${{PIPESTATUS[@]}}")
    yield Probe("shell_here_document", "", "line", steps=(("=> 5", ""), ("\\$ $", "exit\n")),
        env={
            "PS1": "$ ",
            "HISTFILE": "",
        }, command='{python} - <<< \'print("=>", 2 + 3)\'')
    yield Probe("shell_background", "", "line", steps=(("=> 4", ""), ("\\$ $", "exit\n")),
        env={
            "PS1": "$ ",
            "HISTFILE": "",
        }, command="{python} -c 'import sys; sys.exit(4)' & wait $!; echo '=>' $?")
    yield Probe("shell_nohup", "", "line", steps=(("=> Handlers.SIG_IGN", ""), ("\\$ $", "exit\n")),
        env={
            "PS1": "$ ",
            "HISTFILE": "",
        },
        command='nohup {python} -c \'import signal; print("=>", repr(signal.getsignal(1))[1:17])\' '
                "2>/dev/null; cat nohup.out")


PROBES = [*alone(), *of_shells()]
