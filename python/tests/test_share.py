# SPDX-License-Identifier: Apache-2.0
"""One copy of an object for all processes: real processes, a broker of the test's own."""

import array
import gc
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import types
import unittest

import resource_pool
from resource_pool import ResourcePool

# What several processes import: the things they share, and how a test talks with them.
THINGS = '''
import json, os, pickle, signal, sys, threading, time
import logging
import resource_pool
from resource_pool import ResourcePool

class Blob:
    """Bytes that travel beside the pickle."""
    def __init__(self, data):
        self.data = data
    def __reduce_ex__(self, protocol):
        return Blob, (pickle.PickleBuffer(self.data),)
    @property
    def view(self):
        return memoryview(self.data)

class Greedy(Blob):
    """Brings much with it when it is unpickled, as objects of a library that is imported then."""
    def __reduce_ex__(self, protocol):
        return grow, (pickle.PickleBuffer(self.data),)

def grow(data):
    Greedy.kept = bytearray(b"x" * (64 << 20))
    return Greedy(data)

class Dies:
    """Whoever pickles it first is killed."""
    def __reduce__(self):
        if once("pickled"):
            os.kill(os.getpid(), signal.SIGKILL)
        return Dies, ()

class Part:
    pass

class Grumpy:
    """Can be pickled, and not be read back."""
    def __reduce__(self):
        return grumble, ()

def grumble():
    raise ValueError("not in the mood")

folder = os.environ["SHARE_TEST_FOLDER"]

def once(name):
    """Whether this is the first process that comes here."""
    try:
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

def note(name):
    """One line more in a file."""
    with open(os.path.join(folder, name), "a") as file:
        file.write(f"{os.getpid()}\\n")

def tell(**facts):
    print(json.dumps(facts), flush=True)

class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []
    def emit(self, record):
        self.lines.append((record.levelname, record.getMessage()))
    def of(self, event):
        return [line for line in self.lines if f"event={event} " in line[1]]

heard = Lines()
logging.getLogger("resource_pool").addHandler(heard)
logging.getLogger("resource_pool").setLevel("INFO")

def open_pool(**options):
    return ResourcePool(history="off", share="machine", **options)
'''


def find_rpool():
    beside = pathlib.Path(resource_pool.__file__).resolve().parents[2] / "cli" / "rpool"
    return str(beside) if beside.is_file() else os.environ.get("RESOURCE_POOL_RPOOL") or shutil.which("rpool")


RPOOL = find_rpool()


@unittest.skipUnless(RPOOL, "there is no rpool to start a broker with: build cli/rpool")
class Sharing(unittest.TestCase):
    """Starts each test with a broker of its own, and ends it."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rp-share-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        (self.folder / "things.py").write_text(THINGS)
        paths = [str(self.folder), *(path for path in sys.path if path)]
        self.environment = {**os.environ, "RESOURCE_POOL_BROKER": str(self.folder / "broker"),
                            "RESOURCE_POOL_RPOOL": RPOOL,
                            "RESOURCE_POOL_HISTORY": "off", "HARDWARE_DETECTION_CACHE": "off",
                            "SHARE_TEST_FOLDER": str(self.folder), "PYTHONPATH": os.pathsep.join(paths),
                            "PYTHONDONTWRITEBYTECODE": "1"}
        for name in ("RESOURCE_POOL_SHARE", "RESOURCE_POOL_LOG"):
            self.environment.pop(name, None)
        self.running = []
        self.addCleanup(self.end)

    def end(self):
        for process in self.running:
            process.kill()
            process.communicate()
        self.rpool("stop", "--force")

    def rpool(self, *words):
        done = subprocess.run([RPOOL, *words], env=self.environment, text=True, capture_output=True, timeout=60,
                              check=False)
        return done.stdout

    def start(self, program, **options):
        """A process that runs it; it answers with tell()."""
        program = "from things import *\n" + textwrap.dedent(program)
        process = subprocess.Popen([sys.executable, "-W", "error", "-c", program],
                                   env={**self.environment, **options.pop("environment", {})}, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.running.append(process)
        return process

    def told(self, process):
        line = process.stdout.readline()
        self.assertTrue(line, process.stderr.read() if not line else "")
        return json.loads(line)

    def finish(self, process, rc=0):
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, rc, err)
        return [json.loads(line) for line in out.splitlines()]

    def run_all(self, program, count=4):
        processes = [self.start(program) for _ in range(count)]
        return [self.finish(process)[-1] for process in processes]

    def count(self, name):
        path = self.folder / name
        return len(path.read_text().split()) if path.exists() else 0


class OneCopy(Sharing):
    def test_one_process_makes_it_and_all_have_it(self):
        found = self.run_all("""
            def make():
                note("made")
                return {"large": Blob(bytearray(range(256)) * 4096), "middle": Blob(bytearray(b"m" * 9000)),
                        "small": Blob(bytearray(b"s")), "text": "x" * 10}
            pool = open_pool()
            it = pool.get_resource("things", "a", constructor=make)
            assert pool.get_resource("things", "a") is it
            tell(large=bytes(it["large"].view[:300]).hex(), size=it["large"].view.nbytes, text=it["text"],
                 middle=bytes(it["middle"].view).decode(), small=bytes(it["small"].view).decode(),
                 stats=pool.get_resource_details("things:a"))
        """)
        self.assertEqual(self.count("made"), 1)
        for each in found:
            self.assertEqual(each["large"], bytes([*range(256), *range(44)]).hex())
            self.assertEqual((each["size"], each["text"], each["middle"], each["small"]),
                             (1 << 20, "x" * 10, "m" * 9000, "s"))
            stats = each["stats"]
            self.assertEqual(stats["shared_bytes"], (1 << 20) + 9000)
            self.assertLess(stats["private_bytes"], 1000)
            self.assertEqual(stats["memory_usage"], stats["shared_bytes"] + stats["private_bytes"])
            self.assertEqual(stats["memory_estimation_method"], "shared")
        self.assertEqual(sum(each["stats"].get("attached", False) for each in found), len(found) - 1)

    def test_an_import_on_the_way_is_no_part_of_what_is_shared(self):
        found = self.run_all("""
            pool = open_pool()
            it = pool.get_resource("things", "a", constructor=lambda: Greedy(bytearray(1 << 20)))
            tell(stats=pool.get_resource_details("things:a"), size=it.view.nbytes)
        """, 2)
        for each in found:
            self.assertEqual((each["size"], each["stats"]["shared_bytes"]), (1 << 20, 1 << 20))
            self.assertLess(each["stats"]["private_bytes"], 1000)

    def test_what_has_no_part_there_is_sized_as_if_nobody_shared_it(self):
        found = self.run_all("""
            pool = open_pool()
            pool.get_resource("bytes", "a", constructor=lambda: bytearray(1 << 20))
            tell(stats=pool.get_resource_details("bytes:a"))
        """, 2)
        for each in found:
            self.assertEqual((each["stats"]["shared_bytes"], each["stats"]["private_bytes"]), (0, 1 << 20))
            self.assertEqual(each["stats"]["memory_estimation_method"], "buffer")

    def test_what_one_process_writes_no_other_sees(self):
        program = """
            pool = open_pool()
            it = pool.get_resource("things", constructor=lambda: Blob(bytearray(100000)))
            tell(before=it.view[5])
            sys.stdin.readline()
            it.view[5] = 7
            tell(after=it.view[5])
            sys.stdin.readline()
        """
        first, second = self.start(program), self.start(program)
        self.assertEqual([self.told(each)["before"] for each in (first, second)], [0, 0])
        first.stdin.write("\n")
        first.stdin.flush()
        self.assertEqual(self.told(first)["after"], 7)
        third = self.start(program)
        self.assertEqual(self.told(third)["before"], 0)

    def test_the_one_that_made_it_has_no_copy_of_its_own(self):
        found, = self.run_all("""
            import gc
            def own():
                with open("/proc/self/smaps_rollup") as rollup:
                    return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))
            pool = open_pool()
            pool.get_resource("warm", constructor=dict)
            before = own()
            it = pool.get_resource("things", constructor=lambda: Blob(bytearray(b"x") * (64 << 20)))
            tell(own_kib=own() - before, sum=bytes(it.view[-3:]).decode())
        """, 1)
        self.assertEqual(found["sum"], "xxx")
        self.assertLess(found["own_kib"], 8 << 10)

    def test_memory_lives_as_long_as_what_is_made_of_it(self):
        found, = self.run_all("""
            import gc, json, subprocess
            def leases():
                told = subprocess.run([os.environ["RESOURCE_POOL_RPOOL"], "status", "--json"], capture_output=True)
                return len(json.loads(told.stdout)["objects"]["leases"])
            pool = open_pool()
            it = pool.get_resource("things", constructor=lambda: Blob(bytearray(b"x") * 100000))
            view = it.view[10:20]
            counts = [leases()]
            del it
            pool.clear()
            counts.append(leases())
            kept = bytes(view).decode()
            view.release()
            gc.collect()
            counts.append(leases())
            plain = pool.get_resource("plain", constructor=lambda: ["no buffers at all"])
            counts.append(leases())
            tell(counts=counts, kept=kept)
        """, 1)
        self.assertEqual(found, {"counts": [1, 1, 0, 1], "kept": "x" * 10})

    def test_what_one_process_clears_the_others_keep(self):
        holder = self.start("""
            pool = open_pool()
            it = pool.get_resource("things", constructor=lambda: (note("made"), Blob(bytearray(b"x" * 5000)))[1])
            tell(ready=True)
            sys.stdin.readline()
            tell(data=bytes(it.view[:3]).decode())
        """)
        self.told(holder)
        self.run_all("""
            pool = open_pool()
            pool.get_resource("things", constructor=lambda: note("made"))
            pool.clear()
            pool.get_resource("things", constructor=lambda: note("made"))
            pool.cleanup_unused_resources(0)
            tell()
        """, 1)
        holder.stdin.write("\n")
        self.assertEqual(self.finish(holder), [{"data": "xxx"}])
        self.assertEqual(self.count("made"), 1)

    def test_arrays_outlive_a_fork(self):
        found, = self.run_all("""
            pool = open_pool()
            it = pool.get_resource("things", constructor=lambda: Blob(bytearray(b"x" * 100000)))
            pid = os.fork()
            if pid == 0:
                right = bytes(it.view[-3:]) == b"xxx"
                it.view[0] = 0
                del it
                os._exit(0 if right else 1)
            how = os.waitpid(pid, 0)[1]
            again = open_pool().get_resource("things", constructor=lambda: None)
            tell(how=how, first=it.view[0], again=again.view[0])
        """, 1)
        self.assertEqual(found, {"how": 0, "first": ord("x"), "again": ord("x")})

    def test_people_find_its_name_in_the_status(self):
        holder = self.start("""
            pool = open_pool()
            it = pool.get_model("embedding", "bert-base-uncased", lambda: Blob(bytearray(5000)))
            tell()
            sys.stdin.readline()
        """)
        self.told(holder)
        self.assertIn("embedding:bert-base-uncased", self.rpool("status"))

    def test_environments_are_apart(self):
        from resource_pool import _pickling

        program = """
            sys.prefix = "/elsewhere" if once("first") else "/here"
            tell(it=open_pool().get_resource("things", constructor=lambda: note("made") or 5))
        """
        self.run_all(program, 2)
        self.assertEqual(self.count("made"), 2)
        self.assertIn(sys.implementation.cache_tag, _pickling.KEY_SUFFIX)


class WhatCannotBeShared(Sharing):
    MAKE = """
        def make():
            note("made")
            model, encoder = Part(), Part()
            model.layers = [encoder, {"x": 1}]
            encoder.lock = threading.Lock()
            return model
        pool = open_pool()
        it = pool.get_model("embedding", "locked", make)
        tell(lines=heard.of("unshared"), is_own=it.layers[0].lock.acquire(False))
    """

    def test_each_makes_its_own_and_the_log_says_once_what_stands_in_the_way(self):
        first, second = self.run_all(self.MAKE, 1) + self.run_all(self.MAKE, 1)
        reason = "model.layers[0].lock: cannot pickle '_thread.lock' object"
        self.assertEqual(self.count("made"), 2)
        self.assertTrue(first["is_own"] and second["is_own"])
        self.assertEqual([line[0] for line in first["lines"]], ["WARNING"])
        self.assertIn(reason, first["lines"][0][1])
        self.assertEqual([line[0] for line in second["lines"]], ["INFO"])
        self.assertIn(reason, second["lines"][0][1])

    def test_nobody_waits_for_it_a_second_time(self):
        program = """
            def make():
                note("made")
                deadline = time.monotonic() + 30
                while len(open(os.path.join(folder, "made")).readlines()) < wanted and time.monotonic() < deadline:
                    time.sleep(0.01)
                return threading.Lock()
            pool = open_pool()
            pool.get_resource("lock", constructor=make)
            tell(seen=len(open(os.path.join(folder, "made")).readlines()))
        """
        self.run_all("wanted = 1\n" + textwrap.dedent(program), 1)
        # These two are in their constructors at once, or one of them would not see the other.
        self.assertEqual([each["seen"] for each in self.run_all("wanted = 3\n" + textwrap.dedent(program), 2)], [3, 3])

    def test_what_stands_in_the_way_has_a_name(self):
        from resource_pool import _pickling

        class Local:
            pass

        local = types.SimpleNamespace(kind=Local())
        cases = (
            ({"f": lambda: 1}, "resource['f']: cannot pickle '"),
            ([1, (2, open(os.devnull))], "resource[1][1]: cannot pickle '"),
            (types.SimpleNamespace(m=types.SimpleNamespace(gen=iter(x for x in []))),
             "resource.m.gen: cannot pickle 'generator' object"),
            (local, "resource.kind"),
            ({"deep": {"json": json}}, "resource['deep']['json']: cannot pickle 'module' object"),
        )
        for made, wanted in cases:
            with self.subTest(wanted):
                parts, reason = _pickling.dump(made, "resource", None)
                self.assertIn(wanted, reason)
                self.assertEqual(_pickling.load(parts), ("alone", reason))
        self.assertIn("<lambda>", _pickling.dump(cases[0][0], "resource", None)[1])
        self.assertIn("TextIOWrapper", _pickling.dump(cases[1][0], "resource", None)[1])
        cases[1][0][1][1].close()

    def test_modules_are_passed_over_in_silence(self):
        found = self.run_all("""
            pool = open_pool()
            import re
            assert pool.get_resource("re", constructor=lambda: __import__("re")) is re
            tell(lines=heard.of("unshared"))
        """, 2)
        self.assertEqual(found, [{"lines": []}] * 2)

    def test_what_a_program_defines_is_shared_with_the_same_program_only(self):
        text = textwrap.dedent("""
            from things import *
            class Own:
                value = 5
            if __name__ == "__main__":
                it = open_pool().get_resource("own", constructor=lambda: (note("made"), Own())[1])
                tell(value=it.value, lines=heard.of("unshared"))
        """)
        for name in ("one.py", "two.py"):
            (self.folder / name).write_text(text)
        lines = []
        for name in ("one.py", "one.py", "two.py"):
            done = subprocess.run([sys.executable, str(self.folder / name)], env=self.environment, text=True,
                                  capture_output=True, timeout=60, check=True)
            lines.append(json.loads(done.stdout)["lines"])
        self.assertEqual(self.count("made"), 2)
        self.assertEqual(lines[:2], [[], []])
        self.assertIn("one.py", lines[2][0][1])

    def test_what_a_command_line_defines_is_not_shared(self):
        found, = self.run_all("""
            class Own:
                pass
            open_pool().get_resource("own", constructor=Own)
            tell(lines=heard.of("unshared"))
        """, 1)
        self.assertIn("'Own' is of '__main__'", found["lines"][0][1])

    def test_what_cannot_be_read_back_is_made_by_each(self):
        program = """
            it = open_pool().get_resource("grumpy", constructor=lambda: (note("made"), Grumpy())[1])
            tell(kind=type(it).__name__, lines=heard.of("unshared"))
        """
        found = self.run_all(program, 1) + self.run_all(program, 1)
        self.assertEqual([each["kind"] for each in found], ["Grumpy"] * 2)
        self.assertEqual(self.count("made"), 2)
        self.assertIn("not in the mood", found[0]["lines"][0][1])

    def test_without_a_broker_each_works_alone_and_says_so_once(self):
        program = """
            pool = open_pool()
            first = pool.get_resource("a", constructor=lambda: [1])
            second = pool.get_resource("b", constructor=lambda: [2])
            tell(it=[first, second])
        """
        process = self.start(program, environment={"RESOURCE_POOL_RPOOL": "/nowhere/rpool"})
        out, err = process.communicate(timeout=60)
        self.assertEqual(json.loads(out), {"it": [[1], [2]]})
        self.assertEqual(err.count("works alone"), 1, err)


class Failures(Sharing):
    def test_an_exception_of_the_constructor_reaches_all_who_wait(self):
        maker = self.start("""
            def make():
                tell(makes=True)
                sys.stdin.readline()
                raise KeyError("no such checkpoint")
            pool = open_pool()
            try:
                pool.get_model("embedding", "x", make)
            except KeyError as error:
                tell(error=str(error))
            tell(again=pool.get_model("embedding", "x", lambda: [1]))
        """)
        self.assertEqual(self.told(maker), {"makes": True})
        waiter = self.start("""
            pool = open_pool()
            tell(waits=True)
            try:
                pool.get_model("embedding", "x", lambda: note("made"))
            except resource_pool.LoadError as error:
                tell(error=str(error))
        """)
        self.assertEqual(self.told(waiter), {"waits": True})
        self.wait_for_waiters(1)
        maker.stdin.write("\n")
        self.assertEqual(self.finish(maker), [{"error": "'no such checkpoint'"}, {"again": [1]}])
        error, = self.finish(waiter)
        self.assertIn(f"process {maker.pid}", error["error"])
        self.assertIn("KeyError: 'no such checkpoint'", error["error"])
        self.assertEqual(self.count("made"), 0)

    def builds(self):
        out = self.rpool("status", "--json")
        return json.loads(out)["objects"]["builds"] if out else []

    def wait_for_waiters(self, count):
        deadline = time.monotonic() + 30
        while sum(build["waiters"] for build in self.builds()) < count:
            self.assertLess(time.monotonic(), deadline, "nobody waits")
            time.sleep(0.01)

    def test_when_a_builder_is_killed_the_next_one_goes_on(self):
        """In its constructor; while it pickles; while it writes; with the object in use."""
        deaths = {
            "constructing": "make = lambda: (die(), Blob(bytearray(50000)))[1]",
            "pickling": "make = lambda: (note('made'), [Dies(), Blob(bytearray(50000))])[1]",
            "publishing": """
def make():
    # Between the pickle and its bytes at the broker: the last thing that Python does there.
    from resource_pool import _pickling
    dump = _pickling.dump
    _pickling.dump = lambda *arguments: (dump(*arguments), die())[0]
    return Blob(bytearray(50000))""",
            "attached": """
def make():
    from resource_pool import _pickling
    load = _pickling.load
    _pickling.load = lambda parts: (load(parts), die())[0]
    return Blob(bytearray(50000))""",
        }
        for phase, make in deaths.items():
            with self.subTest(phase):
                program = f"""
def die():
    if once("{phase}"):
        os.kill(os.getpid(), signal.SIGKILL)
{make}
open_pool().get_resource("{phase}", constructor=make, timeout=50)
tell(ready=True)
"""
                processes = [self.start(program) for _ in range(4)]
                codes = []
                for process in processes:
                    out, err = process.communicate(timeout=60)
                    codes.append(process.returncode)
                    self.assertIn(process.returncode, (0, -signal.SIGKILL), err)
                self.assertEqual(sorted(codes), [-signal.SIGKILL, 0, 0, 0])
                (self.folder / "pickled").unlink(missing_ok=True)

    def test_when_the_broker_is_killed_what_is_attached_stays_and_the_next_one_serves(self):
        found, = self.run_all("""
            pool = open_pool()
            it = pool.get_resource("a", constructor=lambda: Blob(bytearray(b"x" * 5000)))
            import subprocess
            status = subprocess.run([os.environ["RESOURCE_POOL_RPOOL"], "status", "--json"], capture_output=True)
            os.kill(json.loads(status.stdout)["broker"]["pid"], signal.SIGKILL)
            other = pool.get_resource("b", constructor=lambda: Blob(bytearray(b"y" * 5000)))
            tell(a=bytes(it.view[:2]).decode(), b=bytes(other.view[:2]).decode(), lines=heard.of("unshared"))
        """, 1)
        self.assertEqual(found, {"a": "xx", "b": "yy", "lines": []})

    def test_ctrl_c_ends_a_wait_for_another_process(self):
        maker = self.start("""
            pool = open_pool()
            pool.get_resource("slow", constructor=lambda: (tell(makes=True), sys.stdin.readline(), Part())[2])
        """)
        self.told(maker)
        waiter = self.start("""
            signal.signal(signal.SIGINT, signal.default_int_handler)
            tell(ready=True)
            try:
                open_pool().get_resource("slow", constructor=Part)
            except KeyboardInterrupt:
                tell(interrupted=True)
        """)
        self.told(waiter)
        self.wait_for_waiters(1)
        waiter.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(waiter), [{"interrupted": True}])
        self.assertEqual([build["waiters"] for build in self.builds()], [0])

    def test_ctrl_c_in_a_constructor_lets_the_next_one_build(self):
        maker = self.start("""
            signal.signal(signal.SIGINT, signal.default_int_handler)
            def make():
                tell(makes=True)
                sys.stdin.readline()
            try:
                open_pool().get_resource("slow", constructor=make)
            except KeyboardInterrupt:
                tell(interrupted=True)
        """)
        self.told(maker)
        waiter = self.start("tell(it=open_pool().get_resource('slow', constructor=lambda: 5))")
        self.wait_for_waiters(1)
        maker.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(maker), [{"interrupted": True}])
        self.assertEqual(self.finish(waiter), [{"it": 5}])

    def test_a_timeout_names_the_process_that_takes_so_long(self):
        maker = self.start("""
            open_pool().get_resource("slow", constructor=lambda: (tell(makes=True), sys.stdin.readline(), 5)[2])
        """)
        self.told(maker)
        found, = self.run_all("""
            try:
                open_pool().get_resource("slow", constructor=lambda: 6, timeout=0.2)
            except TimeoutError as error:
                tell(error=str(error))
        """, 1)
        self.assertIn(f"process {maker.pid}", found["error"])

    def test_what_does_not_fit_is_made_by_each(self):
        broker = subprocess.Popen([RPOOL, "serve", "--budget", "cpu=1MiB"], env=self.environment,
                                  stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.running.append(broker)
        deadline = time.monotonic() + 30
        while not self.rpool("status"):
            self.assertLess(time.monotonic(), deadline)
        found, = self.run_all("""
            it = open_pool().get_resource("big", constructor=lambda: Blob(bytearray(8 << 20)), timeout=5)
            tell(size=it.view.nbytes, lines=heard.of("unshared"))
        """, 1)
        self.assertEqual(found["size"], 8 << 20)
        self.assertEqual([line[0] for line in found["lines"]], ["WARNING"])
        # What it holds itself is in the way, and it would wait for itself.
        found, = self.run_all("""
            pool = open_pool()
            held = [pool.get_resource(f"big {i}", constructor=lambda: Blob(bytearray(600 << 10))) for i in range(3)]
            tell(sizes=[it.view.nbytes for it in held], lines=heard.of("unshared"))
        """, 1)
        self.assertEqual(found["sizes"], [600 << 10] * 3)
        self.assertEqual([line[0] for line in found["lines"]], ["WARNING"] * 2)


class Changes(Sharing):
    def write(self, name, text):
        """Never within the same tick of the file system's clock as before."""
        path = self.folder / name
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(text)
        if path.stat().st_mtime_ns <= before:
            os.utime(path, ns=(before + 10**7, before + 10**7))

    RUN = """
        import maker
        pool = open_pool()
        tell(it=pool.get_resource("thing", constructor=maker.make))
    """

    def test_an_edited_constructor_gives_no_object_of_yesterday(self):
        self.write("maker.py", "def make():\n    return 'old'\n")
        self.assertEqual(self.run_all(self.RUN, 2), [{"it": "old"}] * 2)
        self.write("maker.py", "def make():\n    return 'new'\n")
        self.assertEqual(self.run_all(self.RUN, 4), [{"it": "new"}] * 4)

    def test_another_constructor_gets_what_there_is(self):
        self.write("maker.py", "def make():\n    return 'made'\n")
        self.run_all(self.RUN, 1)
        found = self.run_all("tell(it=open_pool().get_resource('thing', constructor=lambda: 'own'))", 1)
        self.assertEqual(found, [{"it": "made"}])

    def test_a_class_that_was_edited_is_made_anew(self):
        program = """
            import kind
            it = open_pool().get_resource("thing", constructor=lambda: (note("made"), kind.Kind())[1])
            tell(it=it.value)
        """
        self.write("kind.py", "class Kind:\n    def __init__(self):\n        self.value = 1\n")
        self.run_all(program, 2)
        self.write("kind.py", "class Kind:\n    def __init__(self):\n        self.value = 22\n")
        self.assertEqual(self.run_all(program, 2), [{"it": 22}] * 2)
        self.assertEqual(self.count("made"), 2)

    def test_another_version_of_a_library_is_another_object(self):
        program = """
            import library
            it = open_pool().get_resource("thing", constructor=lambda: (note("made"), library.Kind())[1])
            tell(lines=heard.of("unshared"))
        """
        text = "import os\n__version__ = os.environ['LIBRARY']\nclass Kind:\n    pass\n"
        self.write("library.py", text)
        for version, made in (("1.0", 1), ("1.0", 1), ("2.0", 2), ("2.0", 2)):
            self.finish(self.start(program, environment={"LIBRARY": version}))
            self.assertEqual(self.count("made"), made)

    def test_a_module_of_the_same_name_elsewhere_is_not_taken_for_it(self):
        program = "import kind\ntell(it=open_pool().get_resource('thing', constructor=lambda: kind.Kind()).value())"
        found = []
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            self.write(f"{name}/kind.py", f"class Kind:\n    def value(self):\n        return '{name}'\n")
            path = os.pathsep.join([str(self.folder / name), self.environment["PYTHONPATH"]])
            found += self.finish(self.start(program, environment={"PYTHONPATH": path}))
        self.assertEqual(found, [{"it": "one"}, {"it": "two"}])

    def test_two_checkouts_of_a_package_are_apart_whatever_is_imported_so_far(self):
        program = """
            def make():
                note("made")
                import kinds.inner
                return kinds.inner.Kind()
            tell(it=open_pool().get_resource("thing", constructor=make).value())
        """
        found = []
        for name in ("one", "two", "one", "two"):
            folder = self.folder / name / "kinds"
            if not folder.is_dir():
                folder.mkdir(parents=True)
                self.write(f"{name}/kinds/__init__.py", f"__version__ = '{name}'\n")
                self.write(f"{name}/kinds/inner.py", f"class Kind:\n    def value(self):\n        return '{name}'\n")
            path = os.pathsep.join([str(self.folder / name), self.environment["PYTHONPATH"]])
            found += self.finish(self.start(program, environment={"PYTHONPATH": path}))
        self.assertEqual([row["it"] for row in found], ["one", "two", "one", "two"])
        self.assertEqual(self.count("made"), 3, "the second one does not take the first one's away")



class Files(Sharing):
    PROGRAM = """
        import mmap
        class Mapped:
            pass
        def make():
            note("made")
            with open(os.path.join(folder, "weights"), "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            if os.environ.get("WRITE"):
                mapped[5000:5003] = b"new"
            return Blob(memoryview(mapped)[4096:])
        it = open_pool().get_resource("weights", constructor=make)
        with open("/proc/self/maps") as maps:
            is_mapped = any(line.rstrip().endswith("/weights") for line in maps)
        tell(data=bytes(it.view[904:907]).decode(), is_mapped=is_mapped)
    """

    def setUp(self):
        super().setUp()
        (self.folder / "weights").write_bytes(b"old" * 100000)

    def test_what_a_file_has_is_mapped_from_it_by_all(self):
        found = self.run_all(self.PROGRAM, 3)
        self.assertEqual(self.count("made"), 1)
        self.assertEqual(found, [{"data": "dol", "is_mapped": True}] * 3)
        self.assertNotIn("KiB (constructor)", [line for line in self.rpool("status").splitlines() if "weights" in line])

    def test_what_was_written_to_since_is_copied(self):
        self.environment["WRITE"] = "1"
        first = self.run_all(self.PROGRAM, 1)
        second = self.run_all(self.PROGRAM, 1)
        self.assertEqual(first[0]["data"], "new")
        self.assertEqual(second, [{"data": "new", "is_mapped": False}])

    def test_another_file_of_that_name_is_another_object(self):
        self.run_all(self.PROGRAM, 1)
        (self.folder / "next").write_bytes(b"xyz" * 100000)
        (self.folder / "next").replace(self.folder / "weights")
        self.assertEqual(self.run_all(self.PROGRAM, 2), [{"data": "zxy", "is_mapped": True}] * 2)
        self.assertEqual(self.count("made"), 2)


class Plain:
    def __init__(self, **parts):
        self.__dict__.update(parts)


class Streams(unittest.TestCase):
    """What load() makes of parts that are not as dump() made them."""

    def setUp(self):
        from resource_pool import _pickling

        self.pickling = _pickling
        large = array.array("B", range(256)) * 512
        holder = types.SimpleNamespace(text="x" * 100, numbers=list(range(100)))
        self.made = {"holder": holder, "large": large}
        self.parts = [bytes(part) for part in _pickling.dump(self.made, "resource", len)[0]]

    def test_what_was_dumped_is_loaded(self):
        word, found, own, shared = self.pickling.load(self.parts)
        self.assertEqual((word, found["holder"], found["large"]), ("object", self.made["holder"], self.made["large"]))
        self.assertEqual((own, shared), (len(self.parts[1]), 0))

    def test_truncated_and_lengthened_parts_are_refused(self):
        for index in (0, 1):
            part = self.parts[index]
            for length in {0, 1, 7, 8, 20, len(part) // 2, len(part) - 1}:
                for changed in (part[:length], part + b"x"):
                    with self.assertRaises(ValueError):
                        self.pickling.load([*self.parts[:index], changed, *self.parts[index + 1:]])
        for parts in ([], self.parts[:1], self.parts[::-1]):
            with self.assertRaises(ValueError):
                self.pickling.load(parts)

    def test_a_byte_that_is_another_is_found(self):
        chance = random.Random(8)
        for index in (0, 1):
            for _ in range(2000):
                part = bytearray(self.parts[index])
                part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
                with self.assertRaises(ValueError):
                    self.pickling.load([*self.parts[:index], part, *self.parts[index + 1:]])

    def test_descriptions_with_a_right_checksum_and_wrong_values_are_refused(self):
        """As a process might send them that means no good, or a bug of ours."""
        meta, stream = self.pickling._read(self.parts)
        chance = random.Random(8)
        odd = (None, -1, 1 << 70, "x", [], [[]], {}, [[2, 0, 1]], [[-1, 0, 10]], [[-9, 0, 1]], [[2, -1, 5]],
               [["a", 0, 1]],
               [["/nowhere", 1, 2, 3, 4]], [["json", None, "/nowhere", 1, 1]], 1.5, True)
        for _ in range(2000):
            changed = {**meta, chance.choice(list(meta)): chance.choice(odd)}
            parts = [self.pickling._head(changed, stream), stream, *self.parts[2:]]
            try:
                result = self.pickling.load(parts)
            except (ValueError, OSError):
                continue
            self.assertIn(result[0], ("object", "alone", "stale"))
        for buffers in ([[2, 0, 1]], [[3, 0, 1 << 40]], [[0, 0, 1]], [[1, 0, 1]], [[99, 0, 1]]):
            parts = [self.pickling._head({**meta, "buffers": buffers}, stream), stream, b"", b"x"]
            with self.assertRaises(ValueError):
                self.pickling.load(parts)


class Memory(unittest.TestCase):
    def test_nothing_keeps_what_was_pickled(self):
        """The pool takes an object out when nobody refers to it: cycles would put that off."""
        import weakref

        from resource_pool import _pickling

        class Local:
            pass

        for make in (Plain, lambda: Plain(local=Local()), lambda: array.array("b", [1])):
            made = make()
            gone = weakref.ref(made)
            gc.disable()
            try:
                _pickling.load(_pickling.dump(made, "model", None)[0])
                del made
                self.assertIsNone(gone())
            finally:
                gc.enable()

    def test_many_small_views_leak_nothing(self):
        from resource_pool import _core

        data = bytearray(5000)
        address = _core._address(data)
        count = sys.getrefcount(data)
        for _ in range(100000):
            self.assertEqual(memoryview(_core._memory(address, 5000, data)).nbytes, 5000)
        gc.collect()
        self.assertEqual(sys.getrefcount(data), count)

    def test_the_last_reference_may_end_on_any_thread(self):
        from resource_pool import _core

        data = bytearray(5000)
        views = [_core._memory(_core._address(data), 5000, data) for _ in range(100)]
        thread = threading.Thread(target=views.clear)
        thread.start()
        thread.join()
        self.assertEqual(sys.getrefcount(data), 2)

    def test_it_cannot_be_made_by_hand(self):
        from resource_pool import _core

        kind = type(_core._memory(_core._address(b"x" * 10), 10, None))
        with self.assertRaises(TypeError):
            kind()


if __name__ == "__main__":
    unittest.main()
