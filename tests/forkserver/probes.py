# SPDX-License-Identifier: Apache-2.0
"""What a program can find out about the interpreter that runs it: one small program for each thing."""

import os

from differences import Probe

SHOW_MAIN = """
import sys
main = sys.modules['__main__']
print(dir(main), main is __import__('__main__'))
for name in ('__name__', '__doc__', '__package__', '__spec__', '__builtins__', '__annotations__'):
    print(name, repr(getattr(main, name, 'none')))
print(getattr(main, '__file__', 'no file'), getattr(main, '__cached__', 'no cached'), type(main.__loader__).__name__,
      main.__loader__ if isinstance(main.__loader__, type) else getattr(main.__loader__, 'path', None))
print(globals() is main.__dict__, sys.argv, sys.path[0], sys.orig_argv)
"""
RAISE = """def inner(value):
    return 1 / value


def outer():
    try:
        inner(0)
    except ZeroDivisionError as error:
        raise ValueError('no') from error


outer()
"""
STREAMS = """
import sys
for name in ('stdin', 'stdout', 'stderr'):
    stream = getattr(sys, name)
    print(name, stream is getattr(sys, f'__{name}__'), repr(stream), stream.name, stream.mode,
          stream.encoding, stream.errors,
          stream.line_buffering, stream.write_through, stream.newlines, type(stream.buffer).__name__,
          stream.isatty(), stream.fileno(),
          stream.closed, stream.readable(), stream.writable(), stream.seekable())
    raw = getattr(stream.buffer, 'raw', stream.buffer)
    print(raw.name, raw.mode, raw.closefd, type(raw).__name__, stream.buffer.name, stream._CHUNK_SIZE)
"""
LOCALES = {
    "c": {"LC_ALL": "C"},
    "posix": {"LC_ALL": "POSIX"},
    "none": {"LC_ALL": None},
    "lang_c": {"LC_ALL": None, "LANG": "C"},
    "lc_ctype": {"LC_ALL": None, "LC_CTYPE": "C.UTF-8"},
    "unknown": {"LC_ALL": "xx_XX"},
    "no_coercion": {"LC_ALL": None, "PYTHONCOERCECLOCALE": "0"},
    "utf8": {"LC_ALL": "C", "PYTHONUTF8": "1"},
    "warn": {"LC_ALL": None, "PYTHONCOERCECLOCALE": "warn"},
}
HOWS = ("code", "script", "module", "folder", "package", "zip", "stdin")


def of_main():
    for how in HOWS:
        dash = ("-",) if how == "stdin" else ()
        yield Probe(f"main_as_{how}", SHOW_MAIN, how, args=(*dash, "a", "-b", "--", ""))
        yield Probe(f"traceback_of_{how}", RAISE, how)
    yield Probe("annotations", "x: int = 1\nprint(__annotations__)", "script")
    yield Probe("no_frame_beneath",
        "import sys, inspect\nprint(sys._getframe().f_back, len(inspect.stack(0)), "
        "inspect.stack(0)[0][3])\ntry: sys._getframe(1)\nexcept ValueError as e: print(e)")
    yield Probe("depth_of_recursion", "import sys\nn = 0\ndef f():\n    global n\n    n += 1\n    f()\ntry: f()\n"
                "except RecursionError as e: print(n, e)\nprint(sys.getrecursionlimit())")
    yield Probe("deep_recursion_in_c",
        "import sys\nsys.setrecursionlimit(20000)\nclass A:\n    def __repr__(s): return repr(s.x) if s.x "
        "else 'end'\na = A(); a.x = None\nfor _ in range(3000):\n    b = A(); b.x = a; a = b\n"
        "print(repr(a))", before=(3, 12))
    yield Probe("syntax_error", "print(1\nx = = 2\n", "script")
    yield Probe("syntax_error_of_code", "print(1))")
    yield Probe("syntax_warning", "x = 1 is 1\nprint(x)", "script")
    yield Probe("coding_comment", "# coding: latin-1\nprint(ascii('\u00e4'))\n", "script")
    yield Probe("future_of_a_program",
        "from __future__ import annotations\ndef f(x: y): pass\nprint(f.__annotations__)", "script")
    yield Probe("line_ends", "print(1)\r\nprint(2)\r\n", "script")
    yield Probe("pickled_main",
        "import pickle\nclass A:\n    def __init__(self): self.x = 1\nprint(A.__module__, "
        "pickle.dumps(A()))\nprint(pickle.loads(pickle.dumps(A())).x)", "script")
    yield Probe("exec_and_eval", "exec('y = 2'); print(eval('y'), compile('1', 'f', 'eval').co_filename)")
    yield Probe("flags",
        "import sys\nprint(sys.flags, sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, "
        "sys._base_executable, sys.platlibdir, sys.pycache_prefix, sys.dont_write_bytecode, "
        "sys.warnoptions, sys._xoptions, sys.hash_info, sys.api_version, sys.implementation, "
        "sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.getdefaultencoding())")
    yield Probe("settings",
        "import sys\nprint(sys.getswitchinterval(), sys.getrecursionlimit(), sys.gettrace(), "
        "sys.getprofile(), sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__, "
        "sys.unraisablehook is sys.__unraisablehook__, sys.breakpointhook is sys.__breakpointhook__, "
        "hasattr(sys, 'ps1'), hasattr(sys, 'last_value'), sys.getdlopenflags(), sys.get_asyncgen_hooks(), "
        "sys.get_coroutine_origin_tracking_depth(), sys.exc_info())")
    yield Probe("import_system",
        "import sys\nprint(sys.meta_path, sys.path_hooks, sys.builtin_module_names, "
        "sorted(sys.stdlib_module_names) == list(sorted(sys.stdlib_module_names)))")
    yield Probe("path", "import sys\nprint(sys.path)")
    yield Probe("path_of_script", "import sys\nprint(sys.path, __file__)", "script", args=("x",))
    yield Probe("script_behind_a_link", "print(1)", "line", args=("link/p.py",),
        files={
            "real/p.py": "import sys, helper\nprint(sys.path[0].rpartition('/')[2], __file__, "
            "helper.x)",
            "real/helper.py": "x = 3",
        }, prepare="os.symlink('real', 'link')")
    yield Probe("script_that_is_a_link", "print(1)", "line", args=("link.py",),
        files={
            "real/p.py": "import sys, helper\nprint(sys.path[0].rpartition('/')[2], __file__, "
            "helper.x, sys.argv)",
            "real/helper.py": "x = 3",
        }, prepare="os.symlink('real/p.py', 'link.py')")
    for i, name in enumerate(("./program.py", "sub/../program.py", ".//program.py", "../{name}/program.py")):
        name = name.format(name=f"script_named_{i}")
        yield Probe(f"script_named_{i}", "", "line", args=(name,),
            files={
                "program.py": "import sys\nprint(__file__, sys.path[0], sys.argv)",
                "sub/x": "",
            })
    yield Probe("folder_itself", "", "line", args=(".",),
        files={
            "__main__.py": "import sys\nprint(__file__, sys.path[0], sys.argv)",
        })
    yield Probe("package_that_loads_its_main", "", "line", args=("-m", "place.prog"),
        files={
            "place/__init__.py": "from . import prog",
            "place/prog.py": "print(__name__)",
        })
    yield Probe("no_such_script", "", "line", args=("missing.py",), plain="no file of source")
    yield Probe("no_such_module", "", "line", args=("-m", "missing"))
    yield Probe("no_main_in_package", "", "line", args=("-m", "place"), files={"place/__init__.py": ""})
    yield Probe("no_main_in_folder", "", "line", args=("place",), files={"place/x.py": ""})
    yield Probe("module_of_the_library", "", "line", args=("-m", "json.tool"), stdin=b'{"a": [1, 2]}')
    yield Probe("module_that_is_loaded", "", "line", args=("-m", "pydoc", "-h"))
    yield Probe("module_timeit", "", "line", args=("-m", "timeit", "-n1", "-r1", "pass"), forget=r"[\d.]+ \w?sec")
    yield Probe("module_unittest", "", "line", args=("-m", "unittest", "-v", "test_x"),
        files={
            "test_x.py": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): "
            "pass\n    def test_b(self): self.fail('b')\n",
        }, forget="in [\\d.]+s")
    yield Probe("module_doctest", "", "line", args=("-m", "doctest", "t.py"),
        files={
            "t.py": "def f():\n    '''\n    >>> f()\n    2\n    '''\n    return 1\n",
        })
    yield Probe("module_profile", "", "line", args=("-m", "cProfile", "-s", "name", "t.py"),
        files={
            "t.py": "def f(): return 1\nf()\nf()\n",
        }, forget="\\d+\\.\\d+|in .* seconds")
    yield Probe("module_trace", "", "line", args=("-m", "trace", "--trace", "t.py"),
        files={
            "t.py": "def f():\n    return 1\nf()\n",
        })
    yield Probe("module_pdb", "", "line", args=("-m", "pdb", "t.py"), stdin=b"n\nn\nw\nq\n",
        files={
            "t.py": "x = 1\ny = 2\n",
        })
    yield Probe("module_code_of_c", "", "line", args=("-mthis",))
    yield Probe("module_runpy", "", "line", args=("-m", "runpy", "t"),
        files={
            "t.py": "import sys\nprint(sys.argv, __name__)",
        })
    yield Probe("module_ast", "", "line", args=("-m", "ast"), stdin=b"x = 1\n")
    yield Probe("module_tokenize", "", "line", args=("-m", "tokenize"), stdin=b"x = 1\n")
    yield Probe("module_site", "", "line", args=("-m", "site"))
    yield Probe("module_zipfile", "", "line", args=("-m", "zipfile", "-l", "none.zip"))
    yield Probe("compiled_script", "", "line", args=("t.pyc",), files={"t.pyc": ""}, plain="compiled")
    yield Probe("script_with_nul", "", "line", args=("t.py",), files={"t.py": "print(1)\0"}, plain="no file of source")
    yield Probe("empty_code", "")
    yield Probe("empty_script", "", "script")
    yield Probe("dash", "import sys\nprint(sys.argv, __name__)", "stdin", args=("-", "x"))
    yield Probe("rest_of_stdin", "import sys\nprint(repr(sys.stdin.read()))\n", "stdin")
    yield Probe("large_program_on_stdin", "x = 1\n" * 20000 + "print(x)\n", "stdin")
    yield Probe("quit", "print(exit, quit, copyright)\nexit(4)")
    yield Probe("own_module_beside", "import helper\nprint(helper.__name__, helper.__spec__)", "script",
        files={
            "helper.py": "print('in', __name__)",
        })
    yield Probe("own_module_of_a_loaded_name", "import json\nprint(json.x)", files={"json.py": "x = 5"}, plain="json")
    yield Probe("own_module_of_a_loaded_name_beside_script", "import json\nprint(json.x)", "script",
        files={
            "json/__init__.py": "x = 5",
        }, plain="json")
    yield Probe("reload", "import importlib, json\nx = importlib.reload(json)\nprint(x is json, json.dumps([1]))")
    yield Probe("fresh_import",
        "import sys\nbefore = 'colorsys' in sys.modules\nimport colorsys\nprint(before, colorsys.__file__)")
    yield Probe("import_again",
        "import sys\nimport json\ndel sys.modules['json']\nimport json\nprint(json.dumps({}), "
        "sys.modules['json'] is json)")
    yield Probe("loaded_modules", "import sys\nprint(sorted(sys.modules))", accepted="modules")
    yield Probe("empty_file_of_annotations",
        "def f(): ...\nprint(f.__globals__ is globals(), f.__module__, f.__builtins__ is "
        "__builtins__.__dict__)")


def of_ends():
    values = ("0", "1", "256", "-1", "2**40", "True", "None", "'text'", "1.0", "(1, 2)",
              "''", "[]", "ValueError('x')", "b'x'")
    for i, value in enumerate(values):
        yield Probe(f"exit_with_{i}", f"import sys\nsys.exit({value})")
    yield Probe("exit_raise_class", "raise SystemExit")
    yield Probe("exit_of_subclass", "class E(SystemExit): pass\nraise E(7)")
    yield Probe("exit_code_that_raises",
        "class E(SystemExit):\n    @property\n    def code(self): raise ValueError('x')\nraise E(7)")
    yield Probe("exit_text_not_printable", "import sys\nsys.exit('\\udc80')")
    yield Probe("exit_without_stderr", "import sys\nsys.stderr = None\nsys.exit('text')")
    yield Probe("exit_in_thread",
        "import threading, sys\nt = threading.Thread(target=lambda: sys.exit(3))\nt.start(); t.join(); "
        "print('on')")
    yield Probe("os_exit", "import os, sys\nsys.stdout.write('lost')\nos._exit(9)")
    yield Probe("abort", "import os\nos.abort()")
    yield Probe("keyboard_interrupt", "raise KeyboardInterrupt")
    yield Probe("keyboard_interrupt_of_subclass", "class K(KeyboardInterrupt): pass\nraise K('x')", "script")
    yield Probe("keyboard_interrupt_by_signal",
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)")
    yield Probe("keyboard_interrupt_and_atexit",
        "import atexit\natexit.register(print, 'end')\nraise KeyboardInterrupt")
    yield Probe("keyboard_interrupt_in_a_module", "raise KeyboardInterrupt", "module")
    for name in ("SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGSEGV", "SIGQUIT"):
        yield Probe(f"ended_by_{name}",
            "import os, signal\n"
            "print('x', flush=True)\n"
            f"os.kill(os.getpid(), signal.{name})")
    yield Probe("raise_signal", "import signal\nsignal.raise_signal(signal.SIGTERM)")
    yield Probe("excepthook", "import sys\nsys.excepthook = lambda t, v, b: print('hook', t, v, b.tb_lineno)\n1/0")
    yield Probe("excepthook_that_raises", "import sys\ndef f(*a): raise KeyError('k')\nsys.excepthook = f\n1/0",
        "script")
    yield Probe("excepthook_that_exits", "import sys\ndef f(*a): sys.exit(5)\nsys.excepthook = f\n1/0")
    yield Probe("no_excepthook", "import sys\ndel sys.excepthook\n1/0")
    yield Probe("last_exception",
        "import sys, atexit\natexit.register(lambda: print(sys.last_type, sys.last_value))\n1/0")
    yield Probe("exception_without_stderr", "import sys\nsys.stderr = None\n1/0")
    yield Probe("exception_group", "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])", "script", since=(3, 11))
    yield Probe("exception_note", "e = ValueError('v')\ne.add_note('note')\nraise e", "script", since=(3, 11))
    yield Probe("exception_that_does_not_print",
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E")
    yield Probe("threading_excepthook",
        "import threading\nt = threading.Thread(target=lambda: 1/0, name='n')\nt.start(); t.join()")
    yield Probe("unraisable", "class A:\n    def __del__(self): 1/0\na = A()\ndel a\nprint('on')", "script")
    yield Probe("atexit_order", "import atexit\nfor i in range(3): atexit.register(print, i)\nprint('main')")
    yield Probe("atexit_raises",
        "import atexit\ndef f(): 1/0\natexit.register(print, 1)\natexit.register(f)\n"
        "atexit.register(print, 2)")
    yield Probe("atexit_exits",
        "import atexit, sys\natexit.register(print, 1)\natexit.register(sys.exit, 4)\n"
        "atexit.register(print, 2)")
    yield Probe("atexit_registers", "import atexit\natexit.register(lambda: atexit.register(print, 'late'))")
    yield Probe("atexit_count", "import atexit\nprint(atexit._ncallbacks() >= 0)\natexit.unregister(print)")
    yield Probe("del_of_globals",
        "class A:\n    def __init__(s, n): s.n = n\n    def __del__(s): print('del', s.n)\na = A('a'); _b "
        "= A('_b'); \nprint('main')", "script")
    yield Probe("del_of_a_cycle", "class A:\n    def __del__(s): print('del')\nd = A(); d.d = d\nprint('main')",
        "script")
    yield Probe("del_in_a_traceback", "class A:\n    def __del__(s): print('del')\ndef f():\n    a = A()\n    1/0\nf()")
    yield Probe("del_after_atexit",
        "import atexit\nclass A:\n    def __del__(s): print('del')\na = A()\natexit.register(print, "
        "'atexit')")
    yield Probe("del_of_what_a_module_holds", "import helper\nprint('main')", "script",
                files={"helper.py": "class A:\n    def __del__(s): print('del in helper')\na = A()"})
    yield Probe("del_in_builtins", "import builtins\nclass A:\n    def __del__(s): print('del')\nbuiltins.some = A()")
    yield Probe("del_in_a_loaded_module", "import json\nclass A:\n    def __del__(s): print('del')\njson.some = A()")
    yield Probe("del_uses_globals", "import os\nclass A:\n    def __del__(s): print(os is None, A is None)\na = A()",
        "script")
    yield Probe("weakref_callback",
        "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a, lambda r: print('gone'))\ndel a\n"
        "print('on')\nb = A()\nweakref.finalize(b, print, 'finalized')")
    yield Probe("file_left_open", "f = open('x', 'w')\nf.write('abc')\nimport atexit, sys\nsys.stdout.flush()")
    yield Probe("file_left_in_a_loaded_module",
        "import json, os, sys\nif os.fork():\n    os.wait(); print(open('x').read())\nelse:\n    json.f = "
        "open('x', 'w')\n    json.f.write('abc')\n    sys.exit()")
    yield Probe("generator_left",
        "def g():\n    try: yield 1\n    finally: print('closed')\nx = g(); next(x)\nprint('main')")
    yield Probe("thread_is_waited_for",
        "import threading, time\ndef f():\n    time.sleep(0.05); print('thread')\n"
        "threading.Thread(target=f).start()\nprint('main')")
    yield Probe("daemon_is_not_waited_for",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "print('main')")
    yield Probe("atexit_after_threads", "import threading, time, atexit\natexit.register(print, 'atexit')\n"
                "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()")
    yield Probe("threading_register_atexit",
        "import threading\nthreading._register_atexit(print, 'threads end')\nprint('main')")
    yield Probe("stdout_closed_by_program", "import sys\nprint('x')\nsys.stdout.close()")
    yield Probe("stdout_full", "print('x' * 10)", prepare="os.dup2(os.open('/dev/full', os.O_WRONLY), 1)")
    yield Probe("stdout_full_and_exit_code", "import sys\nprint('x' * 10)\nsys.exit(3)",
        prepare="os.dup2(os.open('/dev/full', os.O_WRONLY), 1)")
    yield Probe("stdout_bad", "import os\nprint('x')\nos.close(1)")
    yield Probe("stderr_full", "import sys\nsys.stderr.write('x')",
        prepare="os.dup2(os.open('/dev/full', os.O_WRONLY), 2)")
    yield Probe("broken_pipe", "import sys\nprint('x' * 100)", prepare="r, w = os.pipe()\nos.close(r)\nos.dup2(w, 1)")
    yield Probe("broken_pipe_flush", "import sys\nprint('x' * 100, flush=True)",
        prepare="r, w = os.pipe()\nos.close(r)\nos.dup2(w, 1)")
    yield Probe("stdout_replaced", "import sys, io\nsys.stdout = io.StringIO()\nprint('x')\nsys.__stdout__.write('y')")
    yield Probe("stdout_without_flush", "import sys\nclass S:\n    def write(s, t): pass\nsys.stdout = S()\nprint('x')")
    yield Probe("stdout_none", "import sys\nsys.stdout = None\nprint('x')")
    yield Probe("output_of_c_is_flushed",
        "import ctypes\nctypes.CDLL(None).printf(b'from c\\n')\nprint('from python', flush=True)")
    yield Probe("c_output_unbuffered",
        "import ctypes, sys\nc = ctypes.CDLL(None)\nsys.stdout.write('1')\nc.printf(b'2')\n"
        "sys.stdout.write('3')\nc.printf(b'4')", options=("-u",))
    yield Probe("c_atexit",
        "import ctypes\nF = ctypes.CFUNCTYPE(None)\nf = F(lambda: None)\nprint(ctypes.CDLL(None).on_exit "
        "is not None)")
    yield Probe("fork_in_program",
        "import os, sys\nprint('before', flush=True)\np = os.fork()\nif not p: print('child'); "
        "sys.exit(3)\nprint(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))")
    yield Probe("finalizing", "import sys\nclass A:\n    def __del__(s): print(sys.is_finalizing())\na = A()",
        accepted="finalizing")
    yield Probe("child_left_running", "import subprocess\nsubprocess.Popen(['sleep', '0.1'], stdout=2)\nprint('x')")
    yield Probe("execv",
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import sys; print(sys.argv); "
        "sys.exit(6)', 'a'])")
    yield Probe("stop_and_go_on",
        "import os, signal, subprocess\np = os.getpid()\nsubprocess.Popen(['sh', '-c', f'sleep 0.1; kill "
        "-CONT {p}'])\nos.kill(p, signal.SIGSTOP)\nprint('on')", prepare="os.setsid()")
    # Blocked until it is waited for: it may come at any time.
    yield Probe("alarm_from_before_exec", "import signal\nprint(signal.sigwait([signal.SIGALRM]))",
                prepare="signal.pthread_sigmask(signal.SIG_BLOCK, [14])\nsignal.setitimer(signal.ITIMER_REAL, 0.2)")


def of_streams():
    yield Probe("streams", STREAMS)
    yield Probe("streams_unbuffered", STREAMS, options=("-u",))
    yield Probe("streams_unbuffered_by_variable", STREAMS, env={"PYTHONUNBUFFERED": "1"})
    yield Probe("streams_of_files", STREAMS,
        prepare="os.dup2(os.open('in', os.O_RDONLY), 0)\nos.dup2(os.open('out', os.O_WRONLY | os.O_CREAT), "
                "2)",
        files={
            "in": "x\n",
        })
    yield Probe("streams_latin", STREAMS, env={"PYTHONIOENCODING": "latin-1:replace"})
    for i, closed in enumerate(((0,), (1,), (2,), (0, 1, 2))):
        yield Probe(f"streams_closed_{i}", "import os, sys\nfd = os.open('out', os.O_WRONLY | os.O_CREAT)\n"
                    "os.write(fd, repr((fd, sys.stdin, sys.stdout, sys.stderr)).encode())", "script",
                    prepare="".join(f"os.close({fd});" for fd in closed))
    yield Probe("stdin_read", "import sys\nprint(repr(sys.stdin.read()))", stdin="a\u00e4\r\nb\n".encode())
    yield Probe("stdin_not_utf8", "import sys\nprint(ascii(sys.stdin.readline()))", stdin=b"\xff\xfe\n")
    yield Probe("stdin_lines", "import sys, os\nprint(next(sys.stdin), sys.stdin.fileno(), os.read(0, 10))",
        stdin=b"a\nb\n")
    yield Probe("input_of_pipe",
        "print(repr(input('question ')), repr(input()))\ntry: input()\nexcept EOFError as e: print('EOF', "
        "e)", stdin=b"one\ntwo\n")
    yield Probe("getpass_of_pipe", "import getpass\nprint(getpass.getpass('p: '))", stdin=b"secret\n",
        prepare="os.setsid()")
    yield Probe("stdout_reconfigured",
        "import sys\nsys.stdout.reconfigure(encoding='ascii', errors='backslashreplace')\nprint('ä')")
    yield Probe("surrogates_out", "print('\\udc80')", "script")
    yield Probe("large_output", "import sys\nsys.stdout.write('x' * 3000000)\nprint('end')")
    yield Probe("order_of_streams", "import sys\nfor i in range(5): print(i); print(i, file=sys.stderr)",
        prepare="os.dup2(1, 2)")
    yield Probe("descriptors", "import os\nprint(sorted(map(int, os.listdir('/proc/self/fd'))))")
    yield Probe("first_free_descriptor", "import os\nprint(os.open('/dev/null', os.O_RDONLY))",
        prepare="os.closerange(3, 20)")
    yield Probe("inherited_descriptors",
        "import os\nprint(sorted(map(int, os.listdir('/proc/self/fd'))), os.read(7, 9), "
        "os.get_inheritable(7), os.lseek(7, 0, 1))",
        prepare="fd = os.open('in', os.O_RDONLY)\nos.read(fd, 1)\nos.dup2(fd, 7)\nos.dup2(1, 50)\n"
                "os.closerange(3, 7)",
        files={
            "in": "abcdef",
        })
    yield Probe("pass_fds",
        "import os, subprocess, sys\nr, w = os.pipe()\nsubprocess.run([sys.executable, '-c', f'import os; "
        'os.write({w}, b"x")\'], pass_fds=[w])\nos.close(w)\nprint(os.read(r, 5), os.read(r, 5))')


def of_surroundings():
    yield Probe("environment", "import os\nprint(dict(os.environ), list(os.environ)[:3], os.environb[b'HOME'])",
        env={
            "Z": "1",
            "A": "",
            "M": "ä",
        })
    yield Probe("environment_not_utf8", "import os\nprint(ascii(os.environ['X']), os.environb[b'X'])",
        prepare="os.environb[b'X'] = b'\\xff'")
    yield Probe("environment_twice", "import os\nprint(os.environ['X'], sum(k == 'X' for k in os.environ))",
        prepare="import ctypes\ne = [b'X=1', b'X=2', b'=y', b'novalue', *(k + b'=' + v for k, v in "
                "os.environb.items())]\na = [x.encode() for x in sys.argv[1:]]\n"
                "ctypes.CDLL(None).execve(a[0], (ctypes.c_char_p * (len(a) + 1))(*a), (ctypes.c_char_p * "
                "(len(e) + 1))(*e))")
    yield Probe("environment_of_posix", "import posix\nprint(posix.environ.get(b'X'), len(posix.environ))",
        env={
            "X": "1",
        })
    yield Probe("environment_of_c",
        "import os, ctypes\nc = ctypes.CDLL(None); c.getenv.restype = ctypes.c_char_p\n"
        "print(c.getenv(b'X'))\nos.environ['X'] = '2'\nprint(c.getenv(b'X'))\ndel os.environ['X']\n"
        "print(c.getenv(b'X'), os.getenv('X'))\nos.putenv('Y', '3')\nprint(c.getenv(b'Y'), "
        "os.environ.get('Y'))",
        env={
            "X": "1",
        })
    yield Probe("environment_of_children",
        "import os, subprocess\nos.environ['NEW'] = '1'\nos.environ.pop('A')\nsubprocess.run('env | sort | "
        "grep -v ^_=', shell=True)",
        env={
            "A": "1",
            "B": "2",
        })
    yield Probe("environment_cleared",
        "import os, subprocess\nos.environ.clear()\nprint(os.environ, subprocess.run(['/usr/bin/env'], "
        "capture_output=True).stdout)")
    yield Probe("folder",
        "import os\nprint(os.getcwd(), os.environ.get('PWD'), os.path.realpath('.'), os.path.abspath('x'))",
        env={
            "PWD": "/somewhere",
        })
    yield Probe("folder_gone",
        "import os, sys\nprint(sys.path[0])\ntry: print(os.getcwd())\nexcept OSError as e: print(e)",
        prepare="os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')")
    yield Probe("folder_gone_for_module", "", "line", args=("-m", "json.tool"), stdin=b"[]",
        prepare="os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')")
    yield Probe("umask", "import os\nopen('x', 'w'); print(oct(os.stat('x').st_mode), oct(os.umask(0)))",
        prepare="os.umask(0o027)")
    yield Probe("limits",
        "import resource\nprint([(n, resource.getrlimit(getattr(resource, n))) for n in "
        "sorted(dir(resource)) if n.startswith('RLIMIT_')])",
        prepare="resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\n"
                "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
                "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))")
    yield Probe("stack_of_threads",
        "import threading, ctypes\nc = ctypes.CDLL(None)\na = ctypes.create_string_buffer(256)\nn = "
        "ctypes.c_size_t()\nc.pthread_getattr_np.argtypes = [ctypes.c_ulong, ctypes.c_void_p]\ndef f(): "
        "print(c.pthread_getattr_np(threading.get_ident(), a), c.pthread_attr_getstacksize(a, "
        "ctypes.byref(n)), n.value)\nt = threading.Thread(target=f); t.start(); t.join()",
        prepare="resource.setrlimit(resource.RLIMIT_STACK, (33554432, -1))")
    yield Probe("little_memory", "import mmap\ntry: mmap.mmap(-1, 1 << 31)\nexcept OSError as e: print(e)",
        prepare="resource.setrlimit(resource.RLIMIT_AS, (1 << 30, -1))")
    yield Probe("file_size_limit",
        "f = open('x', 'wb', 0)\ntry: print(f.write(b'x' * 200000), f.write(b'x'))\nexcept OSError as e: "
        "print(e)", prepare="resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))")
    yield Probe("rights",
        "import re\nprint(re.findall(r'(?m)^(?:Cap|NoNew|Seccomp|Uid|Gid|Groups|Umask).*', "
        "open('/proc/self/status').read()))")
    yield Probe("no_new_privileges",
        "import re\nprint(re.findall(r'(?m)^(?:Cap|NoNew).*', open('/proc/self/status').read()))",
        prepare="import ctypes\nctypes.CDLL(None).prctl(38, 1, 0, 0, 0)")
    yield Probe("fewer_capabilities",
        "import re\nprint(re.findall(r'(?m)^(?:Cap|NoNew).*', open('/proc/self/status').read()))",
        prepare="import ctypes\nctypes.CDLL(None).prctl(24, 21, 0, 0, 0)")
    yield Probe("personality", "print(open('/proc/self/personality').read())",
        prepare="import ctypes\nctypes.CDLL(None).personality(0x0040000)")
    yield Probe("nice", "import os\nprint(os.nice(0))", prepare="os.nice(3)")
    yield Probe("affinity", "import os\nprint(os.sched_getaffinity(0), os.cpu_count())",
        prepare="os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")
    yield Probe("session_and_group", "import os\nprint(os.getsid(0) == os.getppid(), os.getpgrp() == os.getpid())")
    yield Probe("session_of_its_own", "import os\nprint(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())",
        prepare="os.setsid()")
    yield Probe("parent", "import os\nprint(os.getppid() == int(os.environ['RUNNER']))",
        env={
            "RUNNER": str(os.getpid()),
        }, accepted="parent")
    yield Probe("command_line", "print(open('/proc/self/cmdline').read().split(chr(0)))", args=("a", "b c"))
    yield Probe("environment_in_proc", "print(open('/proc/self/environ').read().split(chr(0)))", env={"X": "1"})
    yield Probe("name_in_proc", "print(open('/proc/self/comm').read(), __import__('os').readlink('/proc/self/exe'))")
    yield Probe("oom_score", "print(open('/proc/self/oom_score_adj').read())",
        prepare="open('/proc/self/oom_score_adj', 'w').write('300')")
    yield Probe("death_signal",
        "import ctypes\nn = ctypes.c_int(9)\nctypes.CDLL(None).prctl(2, ctypes.byref(n), 0, 0, 0)\n"
        "print(n.value)")
    yield Probe("dumpable",
        "import ctypes\nprint(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), ctypes.CDLL(None).prctl(37, 0, 0, 0, "
        "0))")
    yield Probe("timer_slack", "print(open('/proc/self/timerslack_ns').read())")
    yield Probe("usage",
        "import resource, time\nu = resource.getrusage(resource.RUSAGE_SELF)\nprint(u.ru_utime + "
        "u.ru_stime < 0.5, time.process_time() < 0.5, "
        "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    yield Probe("locale",
        "import locale, time\nprint(locale.setlocale(locale.LC_ALL), locale.localeconv()['decimal_point'], "
        "locale.getpreferredencoding(), locale.getlocale())")
    for name, env in LOCALES.items():
        yield Probe(f"locale_{name}",
            "import locale, os, subprocess, sys\nprint(locale.setlocale(locale.LC_ALL), "
            "sys.getfilesystemencoding(), sys.stdout.encoding, sys.stdout.errors, sys.stdin.errors, "
            "sys.stderr.errors, sys.flags.utf8_mode, dict(os.environ))\nsubprocess.run(['sh', '-c', 'echo "
            "$LC_CTYPE.'])\nprint(ascii(sys.argv))", args=("\u00e4",), env=env,
            plain="printed|sitecustomize|." if name == "warn" else "")
    yield Probe("time_zone",
        "import time, datetime\nprint(time.tzname, time.timezone, datetime.datetime.fromtimestamp(0))",
        env={
            "TZ": "Asia/Tokyo",
        })
    yield Probe("temporary_folder", "import tempfile\nprint(tempfile.gettempdir(), tempfile.tempdir)",
        env={
            "TMPDIR": "{folder}",
        })
    yield Probe("home",
        "import os, site\nprint(os.path.expanduser('~'), site.getuserbase(), site.USER_SITE, "
        "site.ENABLE_USER_SITE, site.getsitepackages())")
    yield Probe("variables_safe_path", "import sys\nprint(sys.path, sys.flags.safe_path)",
        env={
            "PYTHONSAFEPATH": "1",
        }, since=(3, 11))
    yield Probe("variables_path", "import sys, extra\nprint(sys.path, extra.x)",
        env={
            "PYTHONPATH": "{folder}/more:/nowhere",
        },
        files={
            "more/extra.py": "x = 1",
        })
    yield Probe("variables_relative_path", "import sys, extra\nprint(sys.path, extra.x)",
        env={
            "PYTHONPATH": "more",
        },
        files={
            "more/extra.py": "x = 1",
        })
    yield Probe("variables_empty_path", "import sys, extra\nprint(sys.path, extra.x)",
        env={
            "PYTHONPATH": ":/usr",
        },
        files={
            "extra.py": "x = 1",
        })
    yield Probe("variables_relative_path_of_script", "import sys, extra\nprint(sys.path, extra.x)", "line",
        args=("sub/p.py",),
        env={
            "PYTHONPATH": "more:../x",
        },
        files={
            "more/extra.py": "x = 1",
            "sub/p.py": "import sys, extra\nprint(sys.path, extra.x)",
        })
    yield Probe("variables_startup", "print(1)", "stdin",
        env={
            "PYTHONSTARTUP": "{folder}/s.py",
        },
        files={
            "s.py": "print('startup')",
        })
    yield Probe("variables_hash_seed", "print(hash('x'), {'a', 'b', 'c'})", env={"PYTHONHASHSEED": "5"})
    yield Probe("variables_no_hash_seed",
        "import os, sys, subprocess\nprint(os.environ.get('PYTHONHASHSEED'), sys.flags.hash_randomization)")
    yield Probe("variables_warnings",
        "import warnings, sys\nprint(warnings.filters, sys.warnoptions)\nwarnings.warn('x')",
        env={
            "PYTHONWARNINGS": "error::DeprecationWarning,ignore",
        })
    yield Probe("variables_optimize", "import sys\nassert False\nprint(sys.flags.optimize, __debug__)",
        env={
            "PYTHONOPTIMIZE": "1",
        })
    yield Probe("variables_dev_mode",
        "import sys, faulthandler\nprint(sys.flags.dev_mode, faulthandler.is_enabled())\n"
        "open('/dev/null')\n",
        env={
            "PYTHONDEVMODE": "1",
        })
    yield Probe("variables_fault_handler",
        "import faulthandler, ctypes\nprint(faulthandler.is_enabled(), flush=True)\nctypes.string_at(0)",
        env={
            "PYTHONFAULTHANDLER": "1",
        }, forget="Extension modules.*")
    yield Probe("variables_tracemalloc",
        "import tracemalloc\nprint(tracemalloc.is_tracing(), tracemalloc.get_traceback_limit())",
        env={
            "PYTHONTRACEMALLOC": "3",
        }, plain="PYTHONTRACEMALLOC")
    yield Probe("variables_malloc", "import sys\nprint(1)", env={"PYTHONMALLOC": "malloc"})
    yield Probe("variables_malloc_debug", "import sys\nprint(1)", env={"PYTHONMALLOC": "debug"})
    yield Probe("variables_malloc_stats", "print(1)",
        env={
            "PYTHONMALLOCSTATS": "1",
        }, plain="PYTHONMALLOCSTATS", forget="(?s).*")
    yield Probe("variables_import_time", "print(1)",
        env={
            "PYTHONPROFILEIMPORTTIME": "1",
        }, plain=".", forget="(?s)import time:.*")
    yield Probe("variables_verbose", "print(1)", env={"PYTHONVERBOSE": "1"}, plain=".", forget=r"(?s).*")
    yield Probe("variables_inspect", "print(1)", env={"PYTHONINSPECT": "1"}, plain="PYTHONINSPECT", stdin=b"")
    yield Probe("variables_no_user_site", "import site, sys\nprint(site.ENABLE_USER_SITE, sys.flags.no_user_site)",
        env={
            "PYTHONNOUSERSITE": "1",
        })
    yield Probe("variables_bytecode", "import helper, os\nprint(os.path.exists('__pycache__'))", "script",
        files={
            "helper.py": "",
        },
        env={
            "PYTHONDONTWRITEBYTECODE": None,
        })
    yield Probe("variables_bytecode_prefix", "import helper, sys\nprint(helper.__cached__, sys.pycache_prefix)",
        "script",
        files={
            "helper.py": "",
        },
        env={
            "PYTHONPYCACHEPREFIX": "{folder}/cache",
            "PYTHONDONTWRITEBYTECODE": None,
        })
    yield Probe("variables_asyncio_debug",
        "import asyncio\nasync def f(): print(asyncio.get_running_loop().get_debug())\nasyncio.run(f())",
        env={
            "PYTHONASYNCIODEBUG": "1",
        })
    yield Probe("variables_breakpoint", "breakpoint()\nprint('on')", env={"PYTHONBREAKPOINT": "0"})
    yield Probe("variables_breakpoint_function", "breakpoint()\nprint('on')",
        env={
            "PYTHONBREAKPOINT": "helper.f",
        },
        files={
            "helper.py": "def f(): print('stopped')",
        })
    yield Probe("variables_int_digits", "import sys\nprint(sys.get_int_max_str_digits())\nstr(10**5000)",
        env={
            "PYTHONINTMAXSTRDIGITS": "2000",
        }, since=(3, 11))
    yield Probe("variables_ioencoding",
        "import sys\nprint(sys.stdout.encoding, sys.stdin.encoding, sys.stderr.errors)",
        env={
            "PYTHONIOENCODING": "utf-16",
        })
    yield Probe("variables_of_a_loaded_module", "import os\nprint(os.environ['MINE'])", env={"MINE": "1"})
    yield Probe("sitecustomize",
        "import sys\nprint(sys.customized, 'sitecustomize' in sys.modules, "
        "sys.modules['sitecustomize'].__file__)",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/sitecustomize.py": "import sys\nsys.customized = 1",
        })
    yield Probe("sitecustomize_that_looks_at_arguments", "import sys\nprint(sys.customized)",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/sitecustomize.py": "import sys\nsys.customized = sys.argv",
        }, accepted="sitecustomize")
    yield Probe("sitecustomize_that_prints", "print('main')",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/sitecustomize.py": "print('site')",
        }, plain=".")
    yield Probe("sitecustomize_that_raises", "print('main')",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/sitecustomize.py": "1/0",
        }, plain=".")
    yield Probe("sitecustomize_with_a_thread", "import threading\nprint('main', threading.active_count())",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/sitecustomize.py": "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(100,), "
            "daemon=True).start()",
        }, plain=".")
    yield Probe("usercustomize", "import sys\nprint(sys.modules['usercustomize'].x)",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/usercustomize.py": "x = 2",
        })
    yield Probe("usercustomize_that_prints", "print('main')",
        env={
            "PYTHONPATH": "{folder}/more",
        },
        files={
            "more/usercustomize.py": "print('user')",
        }, plain=".")
    yield Probe("coverage_of_subprocesses", "print(1)",
        env={
            "COVERAGE_PROCESS_START": "{folder}/x",
        }, plain="COVERAGE_PROCESS_START")
    yield Probe("signals",
        "import signal\nprint([(s, signal.getsignal(s)) for s in sorted(signal.valid_signals())], "
        "signal.pthread_sigmask(0, []), signal.getitimer(0))")
    yield Probe("signals_ignored", "import signal\nprint([signal.getsignal(s) for s in (1, 2, 13, 15, 17, 20)])",
                prepare="for s in (1, 2, 15, 17, 20): signal.signal(s, signal.SIG_IGN)")
    # Of signals 32 and 33, which are the C library's own, whoever started the tests may have left something.
    masks = ("for n, v in re.findall(r'(?m)^(Sig(?:Pnd|Blk|Ign|Cgt)|ShdPnd):.(.*)', text):\n"
             "    print(n, hex(int(v, 16) & ~(3 << 31)))")
    yield Probe("signals_ignored_by_kernel", "import re\ntext = open('/proc/self/status').read()\n" + masks,
                prepare="signal.signal(1, signal.SIG_IGN)")
    yield Probe("signals_blocked", "import signal\nprint(signal.pthread_sigmask(0, []), signal.sigpending())",
        prepare="signal.pthread_sigmask(signal.SIG_BLOCK, [10, 15, 40])")
    yield Probe("signals_of_children",
        "import re, subprocess\ntext = subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True).stdout\n"
        + masks)
    yield Probe("signal_handler",
        "import os, signal\nsignal.signal(10, lambda n, f: print(n, f.f_lineno, f.f_code.co_name))\n"
        "os.kill(os.getpid(), 10)\nprint('on')")
    yield Probe("signal_wakeup", "import signal\nprint(signal.set_wakeup_fd(-1), signal.siginterrupt(10, False))")
    yield Probe("sigpipe_default",
        "import signal, os\nsignal.signal(13, signal.SIG_DFL)\nr, w = os.pipe(); os.close(r)\nos.write(w, "
        "b'x')")
    yield Probe("sigchld",
        "import signal, subprocess\nsignal.signal(17, lambda *a: print('child'))\n"
        "subprocess.run(['true'])\nprint('on')")


PROBES = [*of_main(), *of_ends(), *of_streams(), *of_surroundings()]
