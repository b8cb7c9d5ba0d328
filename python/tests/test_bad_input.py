# SPDX-License-Identifier: Apache-2.0
"""What callers and constructors can do wrong: a clear exception each time, nothing that hangs, nothing that leaks."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
import weakref

import resource_pool
from resource_pool import ResourcePool

LONG = 20  # seconds, after which a test that hangs fails

OUR_ERRORS = (TypeError, ValueError, OverflowError, LookupError, resource_pool.ResourcePoolError)


class Thing:
    """A model that owns nothing."""


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Boolless:
    def __bool__(self):
        raise RuntimeError("neither")


def run_python(program, *arguments, timeout=30):
    return subprocess.run([sys.executable, "-X", "faulthandler", "-c", program, *arguments], text=True,
                          capture_output=True, timeout=timeout, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


PRELUDE = """
import os, signal, sys, threading, time
import resource_pool
from resource_pool import ResourcePool
class Thing: pass
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
pool = ResourcePool(history="off")
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.pool = ResourcePool(history="off")

    def assert_works(self, pool=None):
        """After whatever went wrong the same name can be loaded, and nobody is left inside."""
        pool = pool or self.pool
        self.assertIsInstance(pool.get_model("embedding", "a", Thing), Thing)
        pool.clear()
        pool.close()

    def assert_program(self, program, says="", code=0):
        done = run_python(PRELUDE + program)
        self.assertEqual((done.returncode, done.stdout.strip()), (code, says), done.stderr)
        return done.stderr


class Constructors(Case):
    def test_raises_anything(self):
        class Own(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        for problem in (ValueError("x"), Own(), StopIteration(), GeneratorExit(), AssertionError("a\0b"),
                        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), OSError(2, "no file"), Exception("\ud800"),
                        Exception("x" * (1 << 20)), resource_pool.CapacityError("his own"), MemoryError()):
            def make():
                raise problem

            caught = None
            try:
                self.pool.get_resource("data", repr(type(problem)), constructor=make)
            except BaseException as raised:
                caught = raised
            self.assertIs(caught, problem)
        self.assert_works()

    def test_raises_a_group_of_exceptions(self):
        if sys.version_info < (3, 11):
            self.skipTest("Python 3.10 has no groups of exceptions")
        group = ExceptionGroup("two", [ValueError("one"), KeyError("two")])  # noqa: F821

        def make():
            raise group

        try:
            self.pool.get_model("embedding", "a", make)
        except BaseException as raised:
            self.assertIs(raised, group)
        self.assert_works()

    def test_recurses_through_the_pool(self):
        def itself():
            return self.pool.get_model("embedding", "a", itself)

        def there():
            return self.pool.get_model("embedding", "b", back)

        def back():
            return self.pool.get_model("embedding", "a", there)

        for make in (itself, there):
            with self.assertRaises(resource_pool.CycleError):
                self.pool.get_model("embedding", "a", make)
        self.assert_works()

    def test_goes_deeper_than_anybody_needs(self):
        def make(depth):
            return self.pool.get_model("embedding", f"m{depth}", lambda: make(depth + 1))

        with self.assertRaises((resource_pool.LimitError, RecursionError)):
            make(0)
        self.assert_works()

    def test_returns_a_coroutine_an_awaitable_or_a_generator(self):
        async def later():
            return Thing()

        with self.assertRaisesRegex(resource_pool.LoadError, "coroutine"):
            self.pool.get_model("embedding", "a", later)
        generator = self.pool.get_resource("generator", constructor=lambda: (i for i in range(3)))
        self.assertEqual(list(generator), [0, 1, 2])  # an object like any other
        stand_in = unittest.mock.MagicMock()  # which has every attribute that it is asked for
        self.assertIs(self.pool.get_model("embedding", "mock", lambda: stand_in), stand_in)
        self.assert_works()

    def test_deletes_what_it_makes(self):
        def make():
            thing = Thing()
            made = weakref.proxy(thing)
            del thing
            return made

        proxy = self.pool.get_model("embedding", "a", make)
        with self.assertRaises(ReferenceError):
            proxy.anything
        self.pool.clear()
        del proxy
        self.assert_works()

    def test_takes_the_pools_last_name_away(self):
        names = {"pool": self.pool}
        self.pool = None

        def make():
            del names["pool"]
            gc.collect()
            return Thing()

        self.assertIsInstance(names["pool"].get_model("embedding", "a", make), Thing)

    def test_clears_and_closes_the_pool_inside(self):
        def make():
            self.pool.clear()
            self.pool.cleanup_unused_resources(0)
            with self.assertRaises(resource_pool.BusyError):
                self.pool.close()
            return Thing()

        self.assertIsInstance(self.pool.get_model("embedding", "a", make), Thing)
        self.assert_works()

    def test_exits_or_is_interrupted(self):
        for end in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
            def make():
                raise end

            try:
                self.pool.get_model("embedding", "a", make)
                self.fail("nothing was raised")
            except BaseException as raised:
                self.assertIs(raised, end)
        self.assert_works()

    def test_never_returns_while_others_have_a_deadline(self):
        may_end = threading.Event()
        started = threading.Event()

        def never():
            started.set()
            may_end.wait(LONG)
            return Thing()

        thread = threading.Thread(target=self.pool.get_model, args=("embedding", "a", never))
        thread.start()
        started.wait(LONG)
        with self.assertRaises(resource_pool.TimeoutError) as caught:
            self.pool.get_model("embedding", "a", Thing, timeout=0.01)
        self.assertIn("embedding:a", str(caught.exception))
        may_end.set()
        thread.join()
        self.assert_works()

    def test_returns_one_object_under_two_names(self):
        thing = Thing()
        self.assertIs(self.pool.get_model("embedding", "one", lambda: thing), thing)
        self.assertIs(self.pool.get_model("embedding", "two", lambda: thing), thing)
        self.assertEqual(len(self.pool.models), 2)
        self.pool.clear()
        gone = weakref.ref(thing)
        del thing
        self.pool.cleanup_unused_resources(0)
        self.assertIsNone(gone())
        self.assert_works()

    def test_returns_the_pool_a_lease_or_a_class(self):
        for made in (self.pool, Thing, Thing.__init__, resource_pool, 7, "text", b"", (), None, float("nan")):
            got = self.pool.get_resource("odd", repr(type(made)), constructor=lambda: made, allow_none=True)
            self.assertIs(got, made)
        lease = self.pool.lease_model("embedding", "a", Thing)
        self.assertIs(self.pool.get_resource("lease", constructor=lambda: lease), lease)
        lease.release()
        self.pool.clear()
        self.pool.close()

    def test_wants_arguments_or_cannot_be_called(self):
        with self.assertRaises(TypeError):
            self.pool.get_model("embedding", "a", lambda wanted: Thing())
        with self.assertRaises(TypeError):
            self.pool.get_model("embedding", "a", Unprintable())
        self.assert_works()

    def test_forks(self):
        def make():
            child = os.fork()
            if child == 0:
                # The parent's pool is refused in the child, a new one works.
                code = 1
                try:
                    self.pool.get_model("embedding", "b", Thing)
                except resource_pool.ForkedError:
                    own = ResourcePool(history="off")
                    code = 0 if isinstance(own.get_model("embedding", "b", Thing), Thing) else 2
                os._exit(code)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            return Thing()

        self.pool.get_model("embedding", "a", make)
        self.assert_works()

    def test_a_child_that_returns_from_the_constructor_ends_in_order(self):
        self.assert_program("""
def make():
    make.child = os.fork()
    return Thing()
try:
    pool.get_model("a", "b", make)
except resource_pool.ForkedError:
    pass
if make.child == 0:
    sys.exit(0)
print(os.waitpid(make.child, 0)[1])
""", "0")

    def test_changes_its_own_arguments(self):
        preferences = {"device": "cpu", "priority_list": ["cpu"]}

        def make():
            preferences.clear()
            gc.collect()
            return Thing()

        self.assertIsInstance(self.pool.get_model("embedding", "a", make, preferences), Thing)
        self.assertIsInstance(self.pool.get_model("".join(["emb", "edding"]), "".join("xyz"), Thing), Thing)


class Arguments(Case):
    # Each wrong for a text; what a number or a flag may be is told apart below.
    TEXTS = (None, 7, b"bytes", [], {}, object(), Unprintable(), 1 << 80, float("nan"), -1, True, Thing,
             "a\0b", "a\nb", "", "\ud800", "x" * (1 << 20))

    def assert_refused(self, call, value, *, but=()):
        """Refused with one of our errors; `but` are values that may also do."""
        try:
            call(value)
        except OUR_ERRORS as problem:
            if isinstance(problem, resource_pool.ResourcePoolError):
                self.assertTrue(str(problem), value)
            return
        except RecursionError:
            return
        except RuntimeError as problem:
            self.assertIn(str(problem), ("no text", "neither"))
            return
        self.assertTrue(any(value is each or value == each for each in but), f"{value!r} was taken")

    def test_texts_of_every_getter(self):
        for each in ("get_model", "get_tokenizer", "lease_model", "lease_tokenizer"):
            call = getattr(self.pool, each)
            for value in self.TEXTS:
                self.assert_refused(lambda v: call(v, "name", Thing), value)
                self.assert_refused(lambda v: call("type", v, Thing), value)
        for each in ("get_resource", "lease_resource"):
            call = getattr(self.pool, each)
            for value in self.TEXTS:
                self.assert_refused(lambda v: call(v, "name", Thing), value)
                self.assert_refused(lambda v: call("type", v, Thing), value, but=(None,))
        self.assertEqual(dict(self.pool.models), {})
        self.assertEqual(dict(self.pool.tokenizers), {})

    def test_constructors_of_every_getter(self):
        for each in ("get_model", "get_tokenizer", "get_resource", "lease_model", "lease_tokenizer", "lease_resource"):
            for value in (7, "text", b"bytes", [], {}, object(), float("nan"), True):
                self.assert_refused(lambda v: getattr(self.pool, each)("type", "name", v), value)
                self.assert_refused(lambda v: getattr(self.pool, each)("type", "name", constructor=v), value)

    def test_options_of_every_getter(self):
        for each in ("get_model", "get_tokenizer", "get_resource", "lease_model", "lease_tokenizer", "lease_resource"):
            call = getattr(self.pool, each)
            for value in ("soon", b"1", [], {}, object(), -1, -0.5, float("nan"), float("inf"), 1 << 80, 1e300):
                self.assert_refused(lambda v: call("type", "name", Thing, timeout=v), value)
            for value in ("1 GB", b"1", [], {}, object(), -1, 1.5, 1 << 80, float("nan")):
                self.assert_refused(lambda v: call("type", "name", Thing, size=v), value)
            for value in ("planet", 7, [], object(), b"machine", ""):
                self.assert_refused(lambda v: call("type", "name", Thing, share=v), value)
            self.assert_refused(lambda v: call("type", "name", Thing, allow_none=v), Boolless())
            for wrong in ({"timeuot": 1}, {"": 1}, {"constructor ": Thing}):
                with self.assertRaises(TypeError):
                    call("type", "name", **wrong)
            with self.assertRaises(TypeError):
                call("type", "name", Thing, {}, 1, 2, 3)
            with self.assertRaises(TypeError):
                call("type", "name", Thing, constructor=Thing)
        self.assertEqual(self.pool.get_stats()["misses"], 0)

    def test_a_wrong_type_names_its_argument(self):
        pool = ResourcePool(history="off")
        with self.assertRaisesRegex(TypeError, "size must be an int, in bytes, not <class 'str'>"):
            pool.get_model("embedding", "bert", Thing, size="9")
        with self.assertRaisesRegex(TypeError, "timeout must be a number"):
            pool.get_model("embedding", "bert", Thing, timeout="9")
        with self.assertRaisesRegex(TypeError, "max_age_minutes must be a number"):
            pool.cleanup_unused_resources("9")

    def test_a_file_that_is_not_there_is_said_to_be_missing(self):
        pool = ResourcePool(history="off")
        for name in ("/not/there", "./not/there", "not/there.onnx"):
            with self.assertRaises(resource_pool.NotFoundError) as caught:
                pool.get_model("embedding", name)
            self.assertIn(f"there is no file or folder '{name}'", caught.exception.hint)
        with self.assertRaises(resource_pool.NotFoundError) as caught:
            pool.get_model("embedding", "bert")
        self.assertIn("or as the name the path", caught.exception.hint)

    def test_an_unknown_kind_of_device_is_told_the_known_ones(self):
        pool = ResourcePool(history="off")
        with self.assertRaises(resource_pool.DataError) as caught:
            pool.get_model("embedding", "bert", Thing, {"priority_list": ["cuda", "toaster"]})
        self.assertIn("cuda rocm mps", caught.exception.hint)

    def test_sizes_that_nothing_has_room_for(self):
        for size in ((1 << 64) - 2, 1 << 60):
            with self.assertRaises(resource_pool.ResourcePoolError):
                self.pool.get_model("embedding", "a", Thing, size=size)
        self.assert_works()

    def test_a_size_that_means_unknown(self):
        # 2**64 - 1 is the library's word for it.
        self.assertIsInstance(self.pool.get_model("embedding", "a", Thing, size=(1 << 64) - 1), Thing)

    def test_preferences(self):
        cyclic = {}
        cyclic["self"] = cyclic
        deep = {}
        for _ in range(100_000):
            deep = {"device": deep}
        for value in ("cuda", 7, [], b"", object(), Unprintable(), float("nan"), cyclic, deep,
                      {"device": 7}, {"device": []}, {"device": "quantum"}, {"device": "cuda:x"}, {"device": "cuda:-1"},
                      {"device": "x" * (1 << 20)}, {"device": "a\0b"}, {"device": "\ud800"},
                      {"priority_list": "cuda"}, {"priority_list": ["quantum"]}, {"priority_list": [7]},
                      {"priority_list": {"cpu": 1}}, {"preferred_index": "first"}, {"preferred_index": -1},
                      {"preferred_index": 1 << 80}, {"preferred_index": float("nan")}, {"precision": 16},
                      {"precision": "fp17"}, {"hw_compatibility": 7}, {"hw_compatibility": {"cpu": 7}},
                      {"model_family": 7}, {("a", "tuple"): 1}, {"device": Unprintable()}):
            self.assert_refused(lambda v: self.pool.get_model("embedding", "a", Thing, v), value)
            try:
                self.assertTrue(self.pool.explain("embedding", "a", value)["error"], value)
            except (*OUR_ERRORS, RuntimeError) as problem:
                self.assertTrue(type(problem))
        del deep
        self.assertEqual(dict(self.pool.models), {})
        self.assert_works()

    def test_preferences_whose_keys_are_no_words(self):
        # JSON makes texts of these; then they are keys that nobody knows, which is a warning.
        with self.assertLogs("resource_pool", "WARNING") as logs:
            for value in ({7: "cuda"}, {None: 1}, {True: 1}, {"": 1}, {"Device": "cpu"}, {"devcie": "cpu"},
                          {"x" * 5000: 1}):
                self.pool.get_model("embedding", "a", Thing, value)
        self.assertEqual(len(logs.output), 7)
        with self.assertRaises(resource_pool.LimitError):
            self.pool.get_model("embedding", "a", Thing, {"x" * (1 << 16): 1})

    def test_an_endless_list_of_priorities_of_the_same_kind(self):
        try:
            self.pool.get_model("embedding", "a", Thing, {"priority_list": ["cpu"] * 100_000})
        except resource_pool.ResourcePoolError as problem:
            self.assertTrue(str(problem))
        self.pool.clear()
        self.assert_works()

    def test_clean_up(self):
        for value in ("x", None, [], b"", object(), -1, float("nan"), float("inf"), -0.001, 1 << 2000):
            self.assert_refused(self.pool.cleanup_unused_resources, value)
        self.assertEqual(self.pool.cleanup_unused_resources(1e6), 0)
        with self.assertRaises(TypeError):
            self.pool.cleanup_unused_resources(1, 2)
        for name in ("clear", "close", "get_stats", "check_memory_pressure", "enable_low_memory_mode"):
            with self.assertRaises(TypeError):
                getattr(self.pool, name)(1)

    def test_keys(self):
        for value in self.TEXTS + ("nothing", "a:b", ":", "@", "a:b@", "tokenizer:", "x" * 5000):
            self.assert_refused(self.pool.get_resource_details, value)

    def test_devices_that_are_recommended(self):
        for value in self.TEXTS:
            if isinstance(value, str) and "\0" not in value and value.isascii():
                continue  # a word that tells nothing of the kind of model
            self.assert_refused(self.pool.get_recommended_device, value)
            self.assert_refused(lambda v: self.pool.get_recommended_device("embedding", v), value, but=(None,))
            self.assert_refused(lambda v: self.pool.explain(v, "a"), value)
            self.assert_refused(lambda v: self.pool.explain("embedding", v), value)

    def test_error_reports(self):
        for value in (None, 7, b"bytes", [], {}, object(), Unprintable(), float("nan"), "\ud800"):
            self.assert_refused(lambda v: self.pool.generate_error_report(v, "cpu", "text"), value)
            self.assert_refused(lambda v: self.pool.generate_error_report("m", v, "text"), value)
            self.assert_refused(lambda v: self.pool.generate_error_report("m", "cpu", v), value)
            self.assert_refused(lambda v: self.pool.generate_error_report("m", "cpu", "text", v), value, but=(None,))
        with tempfile.TemporaryDirectory() as folder:
            for value in (None, 7, b"bytes", [], object(), Unprintable(), "text"):
                self.assert_refused(lambda v: self.pool.save_error_report(v, folder), value)
            report = self.pool.generate_error_report("m", "cpu", "text")
            for value in (7, [], object(), "a\0b", os.path.join(folder, "x" * 5000)):
                try:
                    self.pool.save_error_report(report, value)
                    self.fail(f"{value!r} was taken")
                except (*OUR_ERRORS, OSError):
                    pass
            cyclic = dict(report)
            cyclic["self"] = cyclic
            self.assert_refused(lambda v: self.pool.save_error_report(v, folder), cyclic)
            self.assertEqual(os.listdir(folder), [])

    def test_exceptions_that_have_no_text_are_reported(self):
        class Silent(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        try:
            report = self.pool.generate_error_report("m", "cpu", Silent())
            self.assertIn("Silent", report["error_message"])
        except RuntimeError as problem:
            self.assertEqual(str(problem), "no text")

    def test_options_of_the_pool(self):
        for name, values in {
                "budget": (-1, 1 << 80, 1.5, [], b"1", object(), "much", "cpu=", "quantum=1GiB", "a\0b", "\ud800"),
                "history": (7, [], object(), "a\0b"), "low_memory": (Boolless(),),
                "idle_expiry": ("soon", -1, float("nan"), float("inf"), [], object(), 1 << 2000),
                "share": ("planet", 7, [], "", object())}.items():
            for value in values:
                self.assert_refused(lambda v: ResourcePool(**{"history": "off", name: v}), value)
        for wrong in ((7,), ("off",)):
            with self.assertRaises(TypeError):
                ResourcePool(*wrong)

    def test_attributes_are_not_to_be_set(self):
        for name in ("models", "resources", "tokenizers", "_stats", "low_memory_mode", "available_memory_mb", "logger"):
            with self.assertRaises(AttributeError):
                setattr(self.pool, name, 1)
        with self.assertRaises(AttributeError):
            self.pool.nothing

    def test_methods_of_another_object(self):
        for call in (ResourcePool.get_model, ResourcePool.clear, resource_pool.Lease.release):
            with self.assertRaises(TypeError):
                call(Thing(), "a", "b")
        with self.assertRaises(TypeError):
            resource_pool.Lease()
        with self.assertRaises(TypeError):
            ResourcePool.models.__get__(Thing())

    def test_a_method_before_its_object_is_made(self):
        with self.assertRaises(TypeError):
            object.__new__(ResourcePool)
        with self.assertRaises(TypeError):
            object.__new__(resource_pool.Lease)

    def test_reentrance_through_the_arguments(self):
        pool = self.pool

        class Text(str):
            def __str__(self):
                pool.clear()
                return "x"

        class Size:
            def __index__(self):
                pool.clear()
                return 5

        class Time:
            def __float__(self):
                pool.get_model("embedding", "nested", Thing)
                return 1.0

        self.assertIsInstance(pool.get_model(Text("a"), Text("b"), Thing, {"model_family": Text("embedding")},
                                             timeout=Time()), Thing)
        self.assert_refused(lambda v: pool.get_model("a", "c", Thing, size=v), Size(), but=())


class Objects(Case):
    def test_pools_and_leases_are_not_copied_or_pickled(self):
        lease = self.pool.lease_model("embedding", "a", Thing)
        for each in (self.pool, lease):
            for call in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.assertRaises(TypeError):
                    call(each)
        lease.release()

    def test_errors_can_be_pickled(self):
        problem = None
        try:
            self.pool.get_model("embedding", "nothing")
        except resource_pool.NotFoundError as raised:
            problem = raised
        again = pickle.loads(pickle.dumps(problem))
        self.assertIs(type(again), resource_pool.NotFoundError)
        self.assertEqual((str(again), again.status, again.hint), (str(problem), problem.status, problem.hint))

    def test_a_pool_can_be_subclassed(self):
        class Own(ResourcePool):
            def __init__(self, **options):
                self.mine = []

            def get_model(self, *arguments, **keywords):
                self.mine.append(arguments[1])
                return super().get_model(*arguments, **keywords)

        pool = Own(history="off")
        self.assertIsInstance(pool.get_model("embedding", "a", Thing), Thing)
        self.assertEqual(pool.mine, ["a"])
        self.assert_works(pool)

    def test_a_pool_in_a_cycle_is_collected(self):
        class Own(ResourcePool):
            pass

        pool = Own(history="off")
        pool.me = pool
        gone = weakref.ref(pool)
        thing = weakref.ref(pool.get_model("embedding", "a", Thing))
        del pool
        gc.collect()
        self.assertIsNone(gone())
        self.assertIsNone(thing())

    def test_an_object_that_holds_its_own_lease_and_pool(self):
        class Own:
            pass

        thing = self.pool.get_model("embedding", "a", Own)
        thing.lease = self.pool.lease_model("embedding", "a")
        thing.pool = self.pool
        with self.assertRaises(resource_pool.BusyError):
            self.pool.close()
        gone = weakref.ref(thing)
        thing.lease.release()
        thing.lease = None
        del thing
        self.pool.close()
        self.assertIsNone(gone())

    def test_destructors_that_use_the_pool(self):
        pool = self.pool
        told = []

        class Own:
            def __del__(self):
                told.append(pool.get_stats()["cached_models"])
                pool.get_tokenizer("embedding", "made in the end", Thing)

        pool.get_model("embedding", "a", Own)
        pool.clear()
        gc.collect()
        pool.cleanup_unused_resources(0)
        self.assertEqual(len(told), 1)
        del Own
        pool.clear()
        pool.close()

    def test_leases_given_back_twice_and_on_other_threads(self):
        lease = self.pool.lease_model("embedding", "a", Thing)
        threads = []
        told = []

        def release():
            try:
                lease.release()
                told.append("given back")
            except resource_pool.StateError:
                told.append("refused")

        for _ in range(8):
            threads.append(threading.Thread(target=release))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(told), ["given back"] + ["refused"] * 7)
        self.assert_works()

    def test_pools_in_threads(self):
        def work():
            for _ in range(20):
                pool = ResourcePool(history="off")
                pool.get_model("embedding", "a", Thing)
                with pool.lease_model("embedding", "a"):
                    pass
                pool.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Processes(Case):
    @unittest.skipIf("libasan" in os.environ.get("LD_PRELOAD", ""),
                     "a child of fork() may wait for ever for AddressSanitizer's own lock")
    def test_fork_with_a_pool_in_use_by_threads(self):
        self.assert_program("""
stop = threading.Event()
def work():
    i = 0
    while not stop.is_set():
        i += 1
        pool.get_model("a", f"b{i % 3}", Thing)
        with pool.lease_model("a", f"c{i % 3}", Thing): pass
        if i % 20 == 0: pool.cleanup_unused_resources(0)
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        try:
            pool.get_model("a", "b1", Thing)
            os._exit(1)
        except resource_pool.ForkedError:
            pass
        own = resource_pool.get_global_resource_pool()
        own.get_model("a", "b1", Thing)
        own.clear()
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
stop.set()
for t in threads: t.join()
print(set(codes))
""", "{0}")

    @unittest.skipIf("libasan" in os.environ.get("LD_PRELOAD", ""),
                     "a child of fork() may wait for ever for AddressSanitizer's own lock")
    def test_fork_while_another_thread_imports_what_the_pool_needs(self):
        # A fork in the midst of that import would leave Python's lock of the module with a thread that the child does
        # not have. The import begins before the fork does, and ends a while after that has begun.
        self.assert_program("""
import importlib.machinery
importing, forking = threading.Event(), threading.Event()
class Slow:
    def find_spec(self, name, path, target=None):
        if name != "resource_pool._sizes": return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def run_slowly(module):
            importing.set()
            forking.wait()
            time.sleep(0.3)
            run(module)
        spec.loader.exec_module = run_slowly
        return spec
sys.meta_path.insert(0, Slow())
os.register_at_fork(before=forking.set)
thread = threading.Thread(target=pool.get_model, args=("a", "b", Thing))
thread.start()
importing.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    resource_pool.get_global_resource_pool().get_model("a", "b", Thing)
    os._exit(0)
print(os.waitpid(child, 0)[1])
thread.join()
""", "0")

    def test_a_forked_child_ends_in_order_with_the_parents_leases(self):
        self.assert_program("""
lease = pool.lease_model("a", "b", Thing)
kept = pool.get_model("a", "c", Thing)
child = os.fork()
if child == 0:
    try:
        lease.release()
    except resource_pool.ForkedError:
        sys.exit(7)
    sys.exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pool.get_resource_details("a:b")["leases"] != [])
""", "7 True")

    def test_an_exit_without_farewell(self):
        self.assert_program("""
lease = pool.lease_model("a", "b", Thing)
print("ends", flush=True)
os._exit(0)
""", "ends")

    def test_interpreters_end_with_leases_and_threads_alive(self):
        # Each program ends in another way, ten times; what must not happen is a crash or a hang.
        ends = {
            "leases": "a = pool.lease_model('a', 'b', Thing)\nb = pool.get_model('a', 'c', Thing)\n",
            "daemons that get": """
def work():
    i = 0
    while True:
        i += 1
        pool.get_model('a', f'b{i % 5}', Thing)
        with pool.lease_model('a', f'c{i % 7}', Thing): pass
        if i % 50 == 0: pool.cleanup_unused_resources(0)
for _ in range(4): threading.Thread(target=work, daemon=True).start()
time.sleep(0.02)
""",
            "daemons in constructors": """
started = threading.Semaphore(0)
def make():
    started.release()
    while True: sum(range(100))
def ask(name):
    pool.get_model('a', name, make)
for i in range(4): threading.Thread(target=ask, args=(f'b{i // 2}',), daemon=True).start()
started.acquire(); started.acquire()
""",
            "destructors that use the pool": """
class Own:
    def __del__(self):
        try: pool.get_stats()
        except Exception: pass
a = pool.get_model('a', 'b', Own)
pool.get_model('a', 'c', Own)
b = pool.lease_model('a', 'd', Own)
""",
            "daemons that wait for room": """
pool = ResourcePool(history='off', budget=1 << 20)
lease = pool.lease_model('a', 'b', Thing, size=1 << 20)
def ask():
    try: pool.get_model('a', 'c', Thing, size=1 << 20)
    except resource_pool.ResourcePoolError: pass
for _ in range(3): threading.Thread(target=ask, daemon=True).start()
time.sleep(0.02)
""",
        }
        for name, program in ends.items():
            with self.subTest(name):
                for _ in range(10):
                    self.assert_program(program)

    def test_ctrl_c_ends_a_wait(self):
        self.assert_program("""
started = threading.Event()
may_end = threading.Event()
def never():
    started.set()
    may_end.wait(30)
    return Thing()
thread = threading.Thread(target=pool.get_model, args=("a", "b", never))
thread.start()
started.wait(30)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    pool.get_model("a", "b", Thing)
except KeyboardInterrupt:
    print("interrupted")
may_end.set()
thread.join()
print(type(pool.get_model("a", "b")).__name__)
""", "interrupted\nThing")

    def test_ctrl_c_in_a_constructor(self):
        self.assert_program("""
def make():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
try:
    pool.get_model("a", "b", make)
except KeyboardInterrupt:
    print("interrupted", dict(pool.models), type(pool.get_model("a", "b", Thing)).__name__)
""", "interrupted {} Thing")

    def test_a_signal_handler_that_uses_the_pool_in_a_wait(self):
        self.assert_program("""
seen = []
signal.signal(signal.SIGALRM, lambda *told: seen.append(type(pool.get_model("a", "c", Thing)).__name__))
started = threading.Event()
def slow():
    started.set()
    while not seen: time.sleep(0.001)
    return Thing()
thread = threading.Thread(target=pool.get_model, args=("a", "b", slow))
thread.start()
started.wait(30)
signal.setitimer(signal.ITIMER_REAL, 0.05)
pool.get_model("a", "b", Thing)
thread.join()
print(seen)
""", "['Thing']")

    def test_subinterpreters_refuse_the_import_clearly(self):
        said = self.assert_program("""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = '''
try:
    import resource_pool
    print("imported", flush=True)
except ImportError as problem:
    print(problem, flush=True)
'''
each = interpreters.create()
try:
    interpreters.run_string(each, code) if hasattr(interpreters, "run_string") else interpreters.exec(each, code)
except Exception as problem:
    print(problem)
interpreters.destroy(each)
print(type(pool.get_model("a", "b", Thing)).__name__)
""", "resource_pool works in the main interpreter only\nThing"
                if sys.version_info < (3, 12) else
                "module resource_pool._core does not support loading in subinterpreters\nThing")
        self.assertEqual(said, "")

    def test_a_free_threaded_python_is_refused_clearly(self):
        program = "import sys; sys.abiflags = 't'; import resource_pool"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        self.assertEqual(done.stderr.splitlines()[-1:],
                         ["ImportError: resource_pool is not made for a free-threaded Python: it needs the GIL"])

    def test_what_is_destroyed_at_the_close_does_not_come_in_again(self):
        said = self.assert_program("""
told = []
class Last:
    def __del__(self):
        try:
            told.append(pool.get_resource("another", constructor=Thing))
        except resource_pool.StateError as problem:
            told.append(str(problem))
last = pool.get_resource("last", constructor=Last)
pool.clear()
del last
pool.close()
print(told)
""", "['the pool is closed']")
        self.assertEqual(said, "")


if __name__ == "__main__":
    unittest.main()
