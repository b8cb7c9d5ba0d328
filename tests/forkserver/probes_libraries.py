# SPDX-License-Identifier: Apache-2.0
"""Libraries with state of a process: each must work in a fork, and find what it would find in a plain interpreter."""

from differences import Probe

GUARD = "if __name__ == '__main__':\n"


def script(name, code, **more):
    return Probe(name, code, "script", **more)


def of_random():
    yield Probe("random_is_seeded_anew",
        "import random, subprocess, sys, os\nx = random.random()\nprint(0 <= x < 1, x != "
        "float(os.environ.get('X', 2)))")
    yield Probe("random_that_is_fixed",
        "import random\nrandom.seed(3)\nprint(random.random(), random.Random(4).random(), "
        "random.getstate()[1][:3])")
    yield Probe("random_of_two_children",
        "import os, random\nr, w = os.pipe()\nif os.fork() == 0:\n    os.write(w, "
        "repr(random.random()).encode()); os._exit(0)\nos.wait(); print(os.read(r, 100).decode() != "
        "repr(random.random()))")
    yield Probe("uuid_and_secrets",
        "import uuid, secrets\nprint(len({str(uuid.uuid4()) for _ in range(9)}), len(secrets.token_hex()), "
        "uuid.getnode() == uuid.getnode())")
    yield Probe("tempfile_names",
        "import tempfile, os\nwith tempfile.TemporaryDirectory(dir='.') as d: print(len(d))\nf = "
        "tempfile.NamedTemporaryFile(dir='.')\nprint(os.path.exists(f.name))")
    yield Probe("temporary_folder_at_the_end",
        "import tempfile, atexit, os\nd = tempfile.TemporaryDirectory(dir='.')\natexit.register(lambda: "
        "print(os.path.exists(d.name)))")


    yield Probe("state_of_a_loaded_module", "import mine, os\nprint(mine.pid == os.getpid(), mine.r.random() >= 0)",
        env={
            "PYTHONPATH": "{folder}/more",
        }, preloads="json,mine",
        files={
            "more/mine.py": "import os, random\npid = os.getpid()\nr = random.Random()",
        }, accepted="state")


def of_logging():
    yield Probe("logging_untouched",
        "import logging\nr = logging.getLogger()\nprint(r.handlers, r.level, r.disabled, "
        "logging.root.manager.disable, logging.raiseExceptions, logging.lastResort, "
        "logging.getLogger('x').getEffectiveLevel(), logging._nameToLevel, logging.getLoggerClass(), "
        "logging.getLogRecordFactory().__name__)\nlogging.warning('w')\nlogging.info('i')")
    yield Probe("logging_last_resort", "import logging\nlogging.getLogger('a').error('e %s', 1)")
    yield script("logging_to_a_file",
        "import logging\nlogging.basicConfig(filename='log', level=10, format='%(levelname)s %(name)s "
        "%(filename)s:%(lineno)d %(funcName)s %(message)s '\n    '%(threadName)s %(processName)s')\ndef "
        "f(): logging.getLogger('x').debug('d')\nf()\nprint(open('log').read())")
    yield Probe("logging_since_the_start",
        "import logging, time\nprint(0 <= logging.LogRecord('n', 1, 'p', 1, 'm', (), None).relativeCreated "
        "< 60000)\nprint(abs(time.time() - (logging._startTime if isinstance(logging._startTime, float) "
        "else logging._startTime / 1e9)) < 60)")
    yield Probe("logging_of_a_process",
        "import logging, os\nr = logging.LogRecord('n', 1, 'p', 1, 'm', (), None)\nprint(r.process == "
        "os.getpid(), r.threadName, r.processName)")
    yield Probe("logging_config",
        "import logging, logging.config, sys\nlogging.config.dictConfig({'version': 1, 'handlers': {'h': "
        "{'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}}, 'root': {'handlers': ['h'], "
        "'level': 'INFO'}})\nlogging.info('x')")
    yield Probe("logging_shutdown",
        "import logging\nclass H(logging.Handler):\n    def emit(s, r): print('emit', r.msg)\n    def "
        "close(s): print('close')\nlogging.root.addHandler(H())\nlogging.error('e')")
    yield Probe("warnings_untouched",
        "import warnings, sys\nprint(warnings.filters, warnings.showwarning.__name__, "
        "warnings._defaultaction, warnings._onceregistry)")
    yield script("warnings_once",
        "import warnings\nfor i in range(3): warnings.warn('w')\nfor i in range(2): warnings.warn('d', "
        "DeprecationWarning)\nprint(__warningregistry__)")
    yield script("warnings_of_a_module", "import helper\nhelper.f(); helper.f()",
        files={
            "helper.py": "import warnings\ndef f(): warnings.warn('from', UserWarning, "
            "stacklevel=2)",
        })
    yield script("warnings_as_errors", "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('w')")
    yield Probe("warnings_of_resources",
        "import warnings\nwarnings.simplefilter('always')\nopen('/dev/null')\nprint('on')")


MP = """import multiprocessing as mp, os, sys
def square(x): return x * x
def tell(q): q.put((os.getpid() != os.getppid(), __name__, mp.current_process().name, mp.parent_process().name, sys.argv, [p for p in sys.path if p]))
class Thing:
    def __init__(self, x): self.x = x
def thing(x): return Thing(x)
"""


def of_processes():
    for method in ("fork", "spawn", "forkserver"):
        yield script(f"multiprocessing_{method}",
            MP +
            GUARD +
            f"    c = mp.get_context('{method}')\n"
            "    q = c.Queue()\n"
            "    p = c.Process(target=tell, args=(q,))\n"
            "    p.start(); print(q.get()); p.join(); print(p.exitcode)\n"
            "    with c.Pool(2) as pool: print(pool.map(square, range(5)), pool.apply(thing, (3,)).x)\n")
        yield script(f"multiprocessing_failure_{method}",
            MP +
            GUARD +
            f"    c = mp.get_context('{method}')\n"
            "    p = c.Process(target=sys.exit, args=(3,)); p.start(); p.join(); print(p.exitcode)\n"
            "    p = c.Process(target=square, args=('x',), name='n'); p.start(); p.join(); "
            "print(p.exitcode)\n", forget="\\d+")
    yield Probe("multiprocessing_start_method",
        "import multiprocessing as mp\nprint(mp.get_start_method(allow_none=True), mp.get_start_method(), "
        "mp.get_all_start_methods(), mp.current_process(), mp.parent_process(), mp.active_children(), "
        "mp.cpu_count() > 0, mp.get_context().__class__.__name__)")
    yield Probe("multiprocessing_set_start_method",
        "import multiprocessing as mp\nmp.set_start_method('spawn')\nprint(mp.get_start_method())\ntry: "
        "mp.set_start_method('fork')\nexcept RuntimeError as e: print(e)")
    yield Probe("multiprocessing_key",
        "import multiprocessing as mp\nprint(len(mp.current_process().authkey), "
        "type(mp.current_process().authkey).__name__)")
    yield script("multiprocessing_manager",
        MP +
        GUARD +
        "    with mp.Manager() as m:\n        d = m.dict(); d['a'] = m.list([1])\n        "
        "print(dict(d)['a'][0], len(d))\n")
    yield script("multiprocessing_shared_memory",
        "from multiprocessing import shared_memory\ns = shared_memory.SharedMemory(create=True, size=10)\n"
        "s.buf[0] = 7\nt = shared_memory.SharedMemory(s.name)\nprint(t.buf[0], t.size >= 10)\nt.close(); "
        "s.close(); s.unlink()")
    yield script("multiprocessing_leaked_memory",
        "from multiprocessing import shared_memory\ns = shared_memory.SharedMemory(create=True, size=10, "
        "name=None)\nprint(1)\ns.close()", forget="psm_\\w+|/usr\\S+|/root\\S+|<\\S+")
    yield script("multiprocessing_pipe_and_event",
        MP +
        "def child(c, e):\n    e.wait(); c.send(1); c.close()\n" +
        GUARD +
        "    a, b = mp.Pipe(); e = mp.Event(); p = mp.Process(target=child, args=(b, e)); p.start()\n    "
        "e.set(); print(a.recv()); p.join(); v = mp.Value('i', 3); print(v.value, mp.Lock(), "
        "mp.Semaphore(2))\n", forget="0x\\w+")
    yield script("multiprocessing_from_stdin_code",
        MP +
        GUARD +
        "    p = mp.get_context('fork').Process(target=print, args=('in child',)); p.start(); p.join()\n")
    yield script("multiprocessing_daemon_at_the_end",
        MP +
        "import time\n" +
        GUARD +
        "    p = mp.Process(target=time.sleep, args=(1000,), daemon=True); p.start(); print('main')\n")
    yield script("multiprocessing_is_joined_at_the_end",
        MP +
        "import time\ndef late(): time.sleep(0.1); print('late')\n" +
        GUARD +
        "    p = mp.Process(target=late); p.start(); print('main', flush=True)\n")
    yield script("multiprocessing_resource_tracker",
        "from multiprocessing import resource_tracker as t\nprint(t._resource_tracker._fd, "
        "t._resource_tracker._pid)\nt.ensure_running()\nprint(t._resource_tracker._pid > 0)")
    yield script("multiprocessing_executable",
        "import multiprocessing.spawn as s, sys\nprint(s.get_executable() in (sys.executable, "
        "sys.executable.encode()), s.get_preparation_data('n')['sys_argv'], s.get_command_line(fd=1))")
    for kind in ("ProcessPool", "ThreadPool"):
        yield script(f"futures_{kind}",
            MP +
            f"from concurrent.futures import {kind}Executor\n" +
            GUARD +
            f"    with {kind}Executor(2) as e:\n"
            "        print(list(e.map(square, range(4))), e.submit(square, 3).result())\n"
            "        print(repr(e.submit(square, 'x').exception()))\n")
    yield script("futures_at_the_end",
        "from concurrent.futures import ThreadPoolExecutor\nimport time\ne = ThreadPoolExecutor(1)\n"
        "e.submit(lambda: (time.sleep(0.05), print('done')))\nprint('main')")
    yield Probe("subprocess_run",
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv, "
        "sys.stdin.read()); sys.exit(3)', 'a'], input='in', text=True, capture_output=True))")
    yield Probe("subprocess_of_the_interpreter",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import sys; print(sys.flags, "
        "sys.path, len(sys.modules) < 200)'])")
    yield Probe("subprocess_shell",
        "import os, subprocess\nprint(os.system('exit 3'), subprocess.getstatusoutput('echo a; exit 2'), "
        "os.popen('echo b').read())")
    yield Probe("subprocess_signal",
        "import subprocess\np = subprocess.Popen(['sleep', '100'])\np.terminate(); print(p.wait())")
    yield Probe("subprocess_new_session",
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import os; "
        "print(os.getsid(0) == os.getpid())'], start_new_session=True, capture_output=True))",
        forget="args=.*?\\], ")
    yield Probe("os_spawn_and_wait",
        "import os\np = os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 4'], os.environ)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))\ntry: os.wait()\nexcept OSError as e: "
        "print(e)")
    yield Probe("no_children",
        "import os\ntry: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError as e: print(e)\n"
        "print(open(f'/proc/self/task/{os.getpid()}/children').read())")
    yield Probe("register_at_fork",
        "import os\nos.register_at_fork(before=lambda: print('before', flush=True), after_in_child=lambda: "
        "print('child', flush=True))\np = os.fork()\nif not p: os._exit(0)\nos.waitpid(p, 0)")


def of_threads():
    yield Probe("main_thread",
        "import threading, _thread\nt = threading.main_thread()\nprint(t is threading.current_thread(), "
        "t.name, t.ident == _thread.get_ident(), t.native_id == __import__('os').getpid(), t.daemon, "
        "t.is_alive(), threading.active_count(), threading.enumerate(), threading.get_native_id() == "
        "t.native_id, threading.stack_size())", forget="\\d{6,}")
    yield Probe("thread_names",
        "import threading\nt = threading.Thread(target=lambda: print(threading.current_thread().name)); "
        "t.start(); t.join()\nprint(threading.Thread().name, threading.local().__dict__)")
    yield Probe("threads_and_locks",
        "import threading, queue\nq = queue.Queue(); l = threading.RLock()\ndef f():\n    with l: "
        "q.put(1)\n[threading.Thread(target=f).start() for _ in range(20)]\nprint(sum(q.get() for _ in "
        "range(20)))")
    yield Probe("timer", "import threading\nt = threading.Timer(0.01, print, ['timer']); t.start(); t.join()")
    yield Probe("asyncio_run",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return await "
        "asyncio.gather(*(asyncio.sleep(0, i) for i in range(3)))\nprint(asyncio.run(f()))")
    yield Probe("asyncio_subprocess",
        "import asyncio, sys\nasync def f():\n    p = await asyncio.create_subprocess_exec(sys.executable, "
        "'-c', 'print(5); raise SystemExit(2)', stdout=-1)\n    print((await p.communicate())[0], "
        "p.returncode)\nasyncio.run(f())")
    yield Probe("asyncio_signal",
        "import asyncio, os, signal\nasync def f():\n    e = asyncio.Event()\n    "
        "asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, e.set)\n    os.kill(os.getpid(), "
        "signal.SIGUSR1)\n    await e.wait(); print('met')\nasyncio.run(f())")
    yield Probe("asyncio_interrupted",
        "import asyncio, os, signal\nasync def f():\n    try:\n        os.kill(os.getpid(), 2)\n        "
        "await asyncio.sleep(5)\n    except asyncio.CancelledError: print('cancelled'); raise\n"
        "asyncio.run(f())", since=(3, 11))
    yield Probe("asyncio_threads",
        "import asyncio\nasync def f(): print(await asyncio.to_thread(sum, [1, 2]))\nasyncio.run(f())")
    yield Probe("asyncio_policy",
        "import asyncio, warnings\nwarnings.simplefilter('ignore')\n"
        "print(type(asyncio.get_event_loop_policy()).__name__)\nloop = asyncio.new_event_loop(); "
        "print(type(loop).__name__, loop.get_debug()); loop.close()")
    yield Probe("context_variables", "import contextvars, decimal\nprint(decimal.getcontext(), decimal.Decimal(1) / 3)")
    yield Probe("sockets",
        "import socket, select\na, b = socket.socketpair()\na.sendall(b'x'); print(b.recv(9), "
        "socket.getdefaulttimeout(), select.select([a], [], [], 0))\ns = "
        "socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[0])")
    yield Probe("ssl",
        "import ssl, hashlib, os\nc = ssl.create_default_context()\nprint(c.verify_mode, "
        "len(ssl.RAND_bytes(8)), ssl.RAND_status(), hashlib.sha256(b'x').hexdigest(), "
        "ssl.get_default_verify_paths())")
    yield Probe("ssl_random_of_two",
        "import ssl, os\nr, w = os.pipe()\nif os.fork() == 0:\n    os.write(w, ssl.RAND_bytes(8)); "
        "os._exit(0)\nos.wait(); print(os.read(r, 9) != ssl.RAND_bytes(8))")
    yield Probe("sqlite",
        "import sqlite3\nc = sqlite3.connect('d.db'); c.execute('create table t(x)'); c.execute('insert "
        "into t values(1)'); c.commit(); print(c.execute('select * from t').fetchall(), "
        "sqlite3.sqlite_version, sqlite3.threadsafety)")
    yield Probe("ctypes_callback",
        "import ctypes\nF = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), "
        "ctypes.POINTER(ctypes.c_int))\na = (ctypes.c_int * 4)(3, 1, 2, 0)\nctypes.CDLL(None).qsort(a, 4, "
        "4, F(lambda x, y: x[0] - y[0])); print(list(a), ctypes.get_errno(), "
        "ctypes.pythonapi.Py_IsInitialized())")
    yield Probe("ctypes_exception_in_callback",
        "import ctypes\nF = ctypes.CFUNCTYPE(None)\nF(lambda: 1/0)()\nprint('on')", forget="<function.*?>")


def of_tools():
    yield script("settrace",
        "import sys\ndef f():\n    return 1\ndef t(frame, event, arg):\n    print(event, "
        "frame.f_code.co_name, frame.f_lineno); return t\nsys.settrace(t)\nf()\nsys.settrace(None)")
    yield script("setprofile",
        "import sys\ndef f(): return len('x')\nsys.setprofile(lambda f, e, a: print(e, f.f_code.co_name) "
        "if f.f_code.co_filename.endswith('program.py') else None)\nf()\nsys.setprofile(None)")
    yield script("tracing_ends_the_program",
        "import sys\ncount = [0]\ndef t(frame, event, arg):\n    if "
        "frame.f_code.co_filename.endswith('program.py'): print(event, frame.f_code.co_name)\n    return "
        "t\nsys.settrace(t)\ndef f(): pass\nf()")
    yield Probe("monitoring",
        "import sys\nprint([sys.monitoring.get_tool(i) for i in range(6)])\nm = sys.monitoring; "
        "m.use_tool_id(3, 't'); m.register_callback(3, m.events.PY_START, lambda c, o: print(c.co_name))\n"
        "m.set_events(3, m.events.PY_START)\ndef f(): pass\nf()\nm.set_events(3, 0)", since=(3, 12))
    yield Probe("profile",
        "import cProfile, pstats, io\np = cProfile.Profile(); p.enable(); sum(range(9)); p.disable()\ns = "
        "io.StringIO(); pstats.Stats(p, stream=s).print_stats(); print('sum' in s.getvalue())")
    yield Probe("tracemalloc",
        "import tracemalloc\nprint(tracemalloc.is_tracing()); tracemalloc.start(); x = bytearray(10**6)\n"
        "print(tracemalloc.get_traced_memory()[0] > 10**6, tracemalloc.get_object_traceback(x)); "
        "tracemalloc.stop()")
    yield Probe("faulthandler_state",
        "import faulthandler\nprint(faulthandler.is_enabled()); faulthandler.enable(); "
        "print(faulthandler.is_enabled()); faulthandler.dump_traceback(all_threads=False)",
        forget="Current thread \\S+")
    yield Probe("faulthandler_segfault",
        "import faulthandler, ctypes\nfaulthandler.enable()\ndef f(): ctypes.string_at(0)\nf()",
        forget="Extension modules.*|Current thread's C stack(?s:.*)")
    yield Probe("faulthandler_signal",
        "import faulthandler, signal, os\nfaulthandler.register(signal.SIGUSR1, all_threads=False)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\nprint('on')")
    yield Probe("faulthandler_later",
        "import faulthandler, time\nfaulthandler.dump_traceback_later(0.05, exit=True)\ntime.sleep(5)",
        forget="0:00:00.*?\\)")
    yield Probe("collector",
        "import gc\nprint(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks, gc.garbage, "
        "len(gc.get_stats()))")
    yield Probe("collector_counts", "import gc\nprint(gc.get_freeze_count() > 1000)", accepted="collector")
    yield Probe("collector_works",
        "import gc, weakref\nclass A: pass\na = A(); a.a = a; r = weakref.ref(a); del a\n"
        "print(gc.collect() > 0, r())\nprint(gc.collect(), gc.get_count()[1:])")
    yield Probe("collector_finds_mine",
        "import gc\nclass A: pass\na = A()\nprint(any(x is a for x in gc.get_objects()), gc.is_tracked(a), "
        "len(gc.get_referrers(a)))")
    yield Probe("collector_unfreeze",
        "import gc\ngc.unfreeze(); print(gc.collect() >= 0, gc.get_freeze_count())\nimport json; "
        "print(json.dumps([1]))")
    yield Probe("size_of_things",
        "import sys\nclass A: __slots__ = ('a',)\nprint(sys.getsizeof([]), sys.getsizeof(A()), "
        "sys.getrefcount(object()))")
    yield Probe("interned_and_identity",
        "a = 'some' + str(1)\nimport sys\nprint(sys.intern(a) is sys.intern('some1'), id(None) == "
        "id(None), (lambda: 257)() is (lambda: 257)())")
    yield Probe("seed_of_hashes",
        "print(hash('a text') == hash('a text'), hash(1), hash(1.5), hash(None) == hash(None))")
    yield Probe("unittest_main",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(1, 1)\n    "
        "@unittest.skip('s')\n    def test_b(self): pass\n    def test_c(self): self.assertLogs('x')\n"
        "unittest.main()", forget="in [\\d.]+s")
    yield script("unittest_mock",
        "import unittest.mock as m, os\nwith m.patch('os.getcwd', return_value='x'): print(os.getcwd())\n"
        "print(os.getcwd() == 'x')")
    yield script("unittest_mock_of_variables",
        "import unittest.mock as m, os\nwith m.patch.dict(os.environ, {'A': '1'}, clear=True): "
        "print(dict(os.environ))\nprint(len(os.environ) > 3)")
    yield script("doctest",
        "def f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1\nimport doctest\n"
        "print(doctest.testmod())")
    yield script("inspect_source",
        "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f), inspect.getsourcefile(f), "
        "inspect.getmodule(f), inspect.currentframe().f_code.co_name, inspect.stack()[0].filename)")
    yield script("pickle_to_a_child",
        "import pickle, subprocess, sys\nclass A: pass\ntry: subprocess.run([sys.executable, '-c', 'import "
        "pickle, sys; pickle.loads(sys.stdin.buffer.read())'], input=pickle.dumps(A()), stderr=-1, "
        "check=True)\nexcept Exception as e: print(type(e))")
    yield Probe("dataclasses_and_enum",
        "import dataclasses, enum, typing\n@dataclasses.dataclass\nclass A:\n    x: int = 1\nprint(A(), "
        "enum.Enum('E', 'a b').a, typing.get_type_hints(A))")
    yield Probe("importlib_metadata",
        "import importlib.metadata as m, importlib.util as u\nprint(u.find_spec('json').origin, "
        "u.find_spec('nothing'), isinstance(list(m.distributions()), list))")
    yield script("importlib_of_a_new_file",
        "import importlib, sys, pathlib\npathlib.Path('later.py').write_text('x = 1')\n"
        "importlib.invalidate_caches()\nimport later\npathlib.Path('later.py').write_text('x = 22')\n"
        "importlib.reload(later)\nprint(later.x)")
    yield script("import_hook",
        "import sys\nclass F:\n    def find_spec(s, n, p, t=None): print('find', n) if n == 'nothing' else "
        "None\nsys.meta_path.insert(0, F())\ntry: import nothing\nexcept ImportError as e: print(e)")
    yield script("import_of_zip",
        "import sys, zipfile\nzipfile.ZipFile('a.zip', 'w').writestr('inzip.py', 'x = 4')\n"
        "sys.path.insert(0, 'a.zip')\nimport inzip\nprint(inzip.x, inzip.__file__)")
    yield script("namespace_package", "import space.a\nprint(space.a.x, list(space.__path__)[0][-5:])",
        files={
            "space/a.py": "x = 1",
        })
    yield script("relative_path_entry",
        "import sys, os\nsys.path.insert(0, 'lib')\nimport inlib\nprint(inlib.__file__)",
        files={
            "lib/inlib.py": "",
        })
    yield Probe("time_zone_change",
        "import os, time\nos.environ['TZ'] = 'America/New_York'\ntime.tzset(); print(time.tzname)")
    yield Probe("clocks",
        "import time\nprint(time.perf_counter() > 0, time.monotonic() > 0, time.process_time() < 1, "
        "time.thread_time() < 1)")
    yield Probe("locale_change",
        "import locale\nprint(locale.setlocale(locale.LC_ALL, 'C'), locale.setlocale(locale.LC_ALL), "
        "locale.str(1.5))")
    yield Probe("readline",
        "import readline\nprint(readline.get_current_history_length(), readline.get_completer(), "
        "readline.get_completer_delims())", needs="readline")
    yield Probe("argparse_names", "import argparse\nargparse.ArgumentParser().parse_args()", args=("--wrong",))
    yield script("argparse_of_a_script", "import argparse\nargparse.ArgumentParser().parse_args()", args=("-h",))
    yield Probe("platform",
        "import platform, sysconfig\nprint(platform.python_version(), platform.node(), "
        "sysconfig.get_paths()['purelib'], sysconfig.get_config_var('prefix'), platform.python_build())")
    yield Probe("mimetypes_and_gettext",
        "import mimetypes, gettext\nprint(mimetypes.guess_type('x.html'), gettext.gettext('x'))")
    yield Probe("audit_hooks",
        "import sys\nseen = []\nsys.addaudithook(lambda e, a: seen.append(e))\nopen('/dev/null').close()\n"
        "print('open' in seen)")
    yield Probe("unclosed_at_the_end",
        "import warnings, asyncio\nwarnings.simplefilter('always')\nloop = asyncio.new_event_loop()\n"
        "print('end')", accepted="finalizing")
    yield Probe("coroutine_never_awaited", "async def f(): pass\nf()\nprint('end')")
    yield Probe("code_module", "import code\ncode.InteractiveInterpreter().runsource('print(2)')")
    yield Probe("subinterpreters",
        "import _xxsubinterpreters as i\nn = i.create(); i.run_string(n, 'print(3, flush=True)'); "
        "i.destroy(n)", before=(3, 12))
    yield script("coverage", "import subprocess, sys\ncode = open('t.py').read()\nprint(1)",
        files={
            "t.py": "",
        }, needs="coverage")
    yield Probe("coverage_run", "", "line", args=("-m", "coverage", "run", "t.py"),
        files={
            "t.py": "def f():\n    return 1\nprint(f())\n",
        }, needs="coverage")
    yield script("coverage_of_an_interface",
        "import coverage\nc = coverage.Coverage(data_file=None); c.start()\nimport helper\nhelper.f(); "
        "c.stop()\nprint(c.analysis(helper)[1:])",
        files={
            "helper.py": "def f():\n    return 1\ndef g():\n    return 2\n",
        }, needs="coverage")
    yield Probe("pytest_run", "", "line", args=("-m", "pytest", "-p", "no:cacheprovider", "-q", "test_x.py"),
        files={
            "test_x.py": "def test_a(capfd, monkeypatch, tmp_path):\n    print(1)\n    assert "
            "capfd.readouterr().out == '1\\n'\ndef test_b():\n    assert [1] == "
            "[2]\n",
        }, needs="pytest", forget="in [\\d.]+s")


PROBES = [*of_random(), *of_logging(), *of_processes(), *of_threads(), *of_tools()]
