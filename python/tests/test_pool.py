# SPDX-License-Identifier: Apache-2.0
"""The pool of the guide: each call, key and attribute, and what must not happen."""

import datetime
import gc
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import unittest
import weakref

import resource_pool
from resource_pool import ResourcePool, get_global_resource_pool


class Thing:
    """A model that owns nothing."""


class Model:
    def __init__(self):
        self.device = "cpu"


def open_pool(**options):
    return ResourcePool(history="off", **options)


def run_python(program, *arguments, **options):
    """Another interpreter with the same path; what it printed."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], text=True, capture_output=True,
                          timeout=60, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                          **options)
    return done


class Getting(unittest.TestCase):
    def setUp(self):
        self.pool = open_pool()

    def test_the_first_call_makes_and_the_next_ones_get_the_same(self):
        calls = []

        def make():
            calls.append(1)
            return Model()

        first = self.pool.get_model("embedding", "bert", constructor=make)
        self.assertIs(self.pool.get_model("embedding", "bert", make), first)
        self.assertIs(self.pool.get_model("embedding", "bert"), first)
        self.assertIs(self.pool.get_model(model_type="embedding", model_name="bert"), first)
        self.assertEqual(len(calls), 1)

    def test_name_spaces_are_apart(self):
        model = self.pool.get_model("embedding", "a", Thing)
        tokenizer = self.pool.get_tokenizer("embedding", "a", constructor=Thing)
        resource = self.pool.get_resource("embedding", "a", constructor=Thing)
        alone = self.pool.get_resource("embedding", constructor=Thing)
        self.assertEqual(len({id(each) for each in (model, tokenizer, resource, alone)}), 4)
        self.assertEqual(dict(self.pool.models), {"embedding:a": model})
        self.assertEqual(dict(self.pool.tokenizers), {"tokenizer:embedding:a": tokenizer})
        self.assertEqual(dict(self.pool.resources), {"embedding:a": resource, "embedding": alone})

    def test_modules_are_resources(self):
        self.assertIs(self.pool.get_resource("json", constructor=lambda: __import__("json")), json)

    def test_what_is_asked_for_with_a_place_stands_beside_it(self):
        own = self.pool.get_model("embedding", "a", Thing, {"device": "cpu"})
        self.assertEqual(list(self.pool.models), ["embedding:a@cpu"])
        self.assertIs(self.pool.get_model("embedding", "a", Thing, {"device": "cpu"}), own)
        # A machine without an accelerator has one place: the same instance.
        if not self.pool.get_recommended_device("embedding").startswith("cpu"):
            self.skipTest("this machine has more than a processor")
        self.assertIs(self.pool.get_model("embedding", "a", Thing), own)
        self.assertEqual(list(self.pool.models), ["embedding:a"])

    def test_a_constructor_may_use_the_pool(self):
        def outer():
            thing = Thing()
            thing.inner = self.pool.get_model("embedding", "inner", Thing)
            return thing

        made = self.pool.get_model("embedding", "outer", outer)
        self.assertIs(made.inner, self.pool.get_model("embedding", "inner"))
        details = self.pool.get_resource_details("embedding:outer")
        self.assertEqual(details["depends_on"], ["embedding:inner@cpu"])

    def test_a_circle_of_constructors_is_an_error_that_names_it(self):
        def again():
            return self.pool.get_model("embedding", "a", again)

        with self.assertRaisesRegex(resource_pool.CycleError, "embedding:a@cpu -> embedding:a@cpu"):
            self.pool.get_model("embedding", "a", again)

    def test_names_of_any_script_work(self):
        self.pool.get_model("embedding", "mödel-模型", Thing)
        self.assertIn("embedding:mödel-模型", self.pool.models)

    def test_the_size_that_a_caller_says_is_believed(self):
        self.pool.get_model("embedding", "a", Thing, size=1 << 20)
        entry = self.pool._stats["embedding:a"]
        self.assertEqual(entry["memory_usage"], 1 << 20)
        self.assertEqual(entry["memory_estimation_method"], "constructor")
        self.assertEqual(self.pool.get_stats()["memory_usage_mb"], 1.0)


class Wrong(unittest.TestCase):
    def setUp(self):
        self.pool = open_pool()

    def test_types_of_arguments(self):
        for call in (lambda: self.pool.get_model(), lambda: self.pool.get_model("a"),
                     lambda: self.pool.get_model(1, "a"), lambda: self.pool.get_model("a", None, Thing),
                     lambda: self.pool.get_model("a", "b", 7), lambda: self.pool.get_model("a", "b", Thing, "cuda"),
                     lambda: self.pool.get_model("a", "b", Thing, 7), lambda: self.pool.get_model("a", "b", wrong=1),
                     lambda: self.pool.get_model("a", "b", Thing, {}, None),
                     lambda: self.pool.get_model("a", "b", model_type="a"),
                     lambda: self.pool.get_model("a", "b", Thing, timeout="soon"),
                     lambda: self.pool.cleanup_unused_resources("x"), lambda: self.pool.get_resource_details(3),
                     lambda: self.pool.generate_error_report("m", "cpu", 3), lambda: ResourcePool(7),
                     lambda: ResourcePool(wrong=1), resource_pool.Lease):
            with self.assertRaises(TypeError):
                call()

    def test_values_of_arguments(self):
        for call in (lambda: self.pool.get_model("a\0b", "c", Thing), lambda: self.pool.get_model("a", "b\nc", Thing),
                     lambda: self.pool.get_model("a", "b", Thing, timeout=-1),
                     lambda: self.pool.cleanup_unused_resources(-1), lambda: ResourcePool(share="planet"),
                     lambda: self.pool.cleanup_unused_resources(float("nan"))):
            with self.assertRaises(resource_pool.ArgumentError):
                call()
        with self.assertRaises(resource_pool.LimitError):
            self.pool.get_model("a", "x" * (1 << 20), Thing)
        with self.assertRaises(UnicodeEncodeError):
            self.pool.get_model("a", "\ud800", Thing)
        with self.assertRaises(KeyError):
            self.pool.get_resource_details("embedding:nothing")
        self.assertEqual(self.pool.get_stats()["total_requests"], 0)

    def test_nothing_loaded_and_no_constructor(self):
        for get in (self.pool.get_model, self.pool.get_tokenizer, self.pool.get_resource):
            with self.assertRaises(resource_pool.NotFoundError) as caught:
                get("a", "b")
            self.assertEqual(caught.exception.status, "not_found")
            self.assertIn("constructor", caught.exception.hint)
            self.assertIsInstance(caught.exception, LookupError)

    def test_every_status_has_a_class(self):
        for name in ("ArgumentError", "MemoryError", "CapacityError", "TimeoutError", "CancelledError", "NotFoundError",
                     "AbsentError", "UnsupportedError", "DataError", "LoadError", "CycleError", "BusyError",
                     "StateError", "ForkedError", "LimitError", "SystemError", "RunError"):
            self.assertTrue(issubclass(getattr(resource_pool, name), resource_pool.ResourcePoolError), name)
        self.assertTrue(issubclass(resource_pool.TimeoutError, TimeoutError))
        self.assertTrue(issubclass(resource_pool.MemoryError, MemoryError))

    def test_what_a_constructor_raises_comes_out_as_it_is(self):
        raised = KeyError("weights")

        def make():
            raise raised

        try:
            self.pool.get_model("embedding", "a", make)
        except KeyError as e:
            self.assertIs(e, raised)
            trace = e.__traceback__
        if sys.version_info >= (3, 11):
            self.assertIn("cannot load 'embedding:a@cpu'", raised.__notes__[0])
        frames = []
        while trace:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        self.assertIn("make", frames)
        self.assertIsInstance(self.pool.get_model("embedding", "a", Thing), Thing)

    def test_causes_stay_chained(self):
        def make():
            try:
                open("/no/such/file", "rb")
            except OSError as e:
                raise RuntimeError("no weights") from e

        with self.assertRaises(RuntimeError) as caught:
            self.pool.get_model("embedding", "a", make)
        self.assertIsInstance(caught.exception.__cause__, FileNotFoundError)

    def test_none_is_an_error_unless_the_caller_says_so(self):
        with self.assertRaisesRegex(resource_pool.LoadError, "returned None") as caught:
            self.pool.get_model("embedding", "a", lambda: None)
        self.assertIn("allow_none", caught.exception.hint)
        self.assertIsNone(self.pool.get_model("embedding", "a", lambda: None, allow_none=True))
        self.assertIsNone(self.pool.get_model("embedding", "a"))

    def test_a_coroutine_is_an_error(self):
        async def make():
            return Thing()

        with self.assertRaisesRegex(resource_pool.LoadError, "coroutine"):
            self.pool.get_model("embedding", "a", make)

    def test_endless_recursion_is_an_exception(self):
        def make():
            return make()

        with self.assertRaises(RecursionError):
            self.pool.get_model("embedding", "a", make)

    def test_what_found_no_memory_is_gone_before_it_is_tried_once_more(self):
        parts = []

        def make():
            part = Thing()
            alive = [each() for each in parts if each() is not None]
            parts.append(weakref.ref(part))
            if len(parts) == 1:
                raise MemoryError()
            return alive

        self.pool.get_model("embedding", "idle", Thing, size=1000)
        self.assertEqual(self.pool.get_model("embedding", "a", make), [])
        self.assertEqual(len(parts), 2)

    def test_out_of_memory_is_tried_once_more_after_room_was_made(self):
        tries = []

        def make():
            tries.append(1)
            if len(tries) == 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return Thing()

        self.pool.get_model("embedding", "idle", Thing)
        self.assertIsInstance(self.pool.get_model("embedding", "a", make), Thing)
        self.assertEqual(len(tries), 2)
        self.assertNotIn("embedding:idle", self.pool.models)

    def test_a_misspelt_preference_is_warned_of(self):
        with self.assertLogs("resource_pool", logging.WARNING) as logs:
            self.pool.get_model("embedding", "a", Thing, {"precison": "fp32"})
        self.assertIn("precison", logs.output[0])

    def test_preferences_that_say_nonsense(self):
        for wrong in ({"priority_list": ["quantum"]}, {"priority_list": 3}, {"device": 7}):
            with self.assertRaises(resource_pool.ResourcePoolError):
                self.pool.get_model("embedding", "a", Thing, wrong)

    def test_every_preference_of_the_guide_is_understood(self):
        preferences = {
            "device": "auto", "priority_list": ["cuda", "mps", "webnn", "webgpu", "cpu"], "preferred_index": 0,
            "hw_compatibility": {"cuda": {"compatible": True, "memory_usage": {"peak": 1200}},
                                 "mps": {"compatible": True}, "openvino": {"compatible": True}},
            "force_low_memory": False, "precision": None, "model_family": "embedding", "subfamily": "web_deployment",
            "fallback_to_simulation": False, "browser_optimized": True, "force_device": False, "description": "text"}
        with self.assertLogs("resource_pool", logging.INFO) as logs:
            self.pool.get_model("embedding", "a", Thing, preferences)
        self.assertFalse([line for line in logs.output if line.startswith("WARNING")], logs.output)

    def test_a_closed_pool_says_so(self):
        self.pool.close()
        with self.assertRaises(resource_pool.StateError):
            self.pool.get_model("a", "b", Thing)
        with self.assertRaises(resource_pool.StateError):
            self.pool.get_stats()


class Leases(unittest.TestCase):
    def setUp(self):
        self.pool = open_pool()

    def test_a_lease_gives_the_object_and_says_where_it_is(self):
        with self.pool.lease_model("embedding", "a", Model) as model:
            self.assertIsInstance(model, Model)
            self.assertIs(self.pool.get_model("embedding", "a"), model)
        lease = self.pool.lease_model("embedding", "a", size=1)
        self.assertIs(lease.object, model)
        self.assertEqual(lease.key, "embedding:a@cpu")
        self.assertEqual(lease.device, "cpu")
        self.assertIsNone(lease.precision)
        self.assertTrue(lease.reason)
        self.assertFalse(lease.released)
        lease.release()
        self.assertTrue(lease.released)
        for call in (lease.release, lambda: lease.object, lambda: lease.key):
            with self.assertRaises(resource_pool.StateError):
                call()

    def test_other_kinds_are_leased_alike(self):
        with self.pool.lease_tokenizer("embedding", "a", Thing) as tokenizer, \
                self.pool.lease_resource("data", constructor=Thing) as data:
            self.assertIs(self.pool.get_tokenizer("embedding", "a"), tokenizer)
            self.assertIs(self.pool.get_resource("data"), data)

    def test_what_is_leased_stays(self):
        lease = self.pool.lease_model("embedding", "a", Thing)
        self.assertEqual(self.pool.cleanup_unused_resources(0), 0)
        with self.assertRaises(resource_pool.BusyError):
            self.pool.close()
        lease.release()
        self.pool.close()

    def test_a_pool_is_not_closed_under_a_constructor(self):
        def make():
            with self.assertRaises(resource_pool.BusyError):
                self.pool.close()
            return Thing()

        self.pool.get_model("embedding", "a", make)
        self.pool.close()

    def test_a_lease_keeps_its_pool_open(self):
        pool = open_pool()
        lease = pool.lease_model("embedding", "a", Thing)
        del pool
        gc.collect()
        self.assertIsInstance(lease.object, Thing)

    def test_a_forgotten_lease_is_given_back(self):
        self.pool.lease_model("embedding", "a", Thing)
        gc.collect()
        self.assertEqual(self.pool.get_resource_details("embedding:a")["leases"], [])


class Holding(unittest.TestCase):
    """What get_model() handed out counts as held while anybody but the pool refers to it."""

    def test_held_objects_stay_and_others_go(self):
        pool = open_pool()
        held = pool.get_model("embedding", "held", Thing)
        pool.get_model("embedding", "dropped", Thing)
        time.sleep(0.05)
        self.assertEqual(pool.cleanup_unused_resources(max_age_minutes=0), 1)
        self.assertEqual(list(pool.models), ["embedding:held"])
        self.assertEqual(len(pool.get_resource_details("embedding:held")["leases"]), 1)
        self.assertIs(pool.get_model("embedding", "held"), held)

    def test_garbage_in_a_cycle_does_not_hold(self):
        pool = open_pool()
        box = [pool.get_model("embedding", "a", Thing)]
        box.append(box)
        del box
        self.assertEqual(pool.cleanup_unused_resources(max_age_minutes=0), 1)

    def test_300_models_pass_through_room_for_six(self):
        pool = open_pool(budget=6 << 20)
        for i in range(300):
            model = pool.get_model("embedding", f"m{i}", Thing, size=1 << 20)
            del model
        self.assertLessEqual(len(pool.models), 6)
        self.assertEqual(pool.get_stats()["misses"], 300)

    def test_what_is_held_is_in_the_way(self):
        pool = open_pool(budget=2 << 20)
        held = [pool.get_model("embedding", name, Thing, size=1 << 20) for name in "ab"]
        with self.assertRaises(resource_pool.CapacityError):
            pool.get_model("embedding", "c", Thing, size=1 << 20)
        held.pop()
        self.assertIsInstance(pool.get_model("embedding", "c", Thing, size=1 << 20), Thing)

    def test_a_wait_for_room_ends_when_another_thread_lets_go(self):
        pool = open_pool(budget=1 << 20)
        got = threading.Event()
        let_go = threading.Event()

        def hold():
            model = pool.get_model("embedding", "a", Thing, size=1 << 20)
            got.set()
            let_go.wait(20)
            del model

        holder = threading.Thread(target=hold)
        holder.start()
        got.wait(20)
        threading.Timer(0.2, let_go.set).start()
        self.assertIsInstance(pool.get_model("embedding", "b", Thing, size=1 << 20), Thing)
        self.assertTrue(let_go.is_set())
        holder.join()

    def test_clear_leaves_what_somebody_has_and_makes_a_fresh_one(self):
        pool = open_pool()
        old = pool.get_model("embedding", "a", Thing)
        pool.get_tokenizer("embedding", "a", Thing)
        self.assertIsNone(pool.clear())
        stats = pool.get_stats()
        self.assertEqual((stats["hits"], stats["misses"], stats["total_requests"]), (0, 0, 0))
        self.assertEqual((dict(pool.models), dict(pool.tokenizers)), ({}, {}))
        self.assertIsNot(pool.get_model("embedding", "a", Thing), old)
        self.assertEqual(list(pool.models), ["embedding:a"])


class Looking(unittest.TestCase):
    def setUp(self):
        self.pool = open_pool()
        self.model = self.pool.get_model("embedding", "bert", Model, size=3 << 20)
        self.pool.get_model("embedding", "bert")
        self.pool.get_resource("data", constructor=dict)

    def assert_time(self, text):
        self.assertIsInstance(datetime.datetime.fromisoformat(text), datetime.datetime)

    def test_get_stats(self):
        stats = self.pool.get_stats()
        self.assertEqual((stats["hits"], stats["misses"], stats["total_requests"]), (1, 2, 3))
        self.assertAlmostEqual(stats["hit_ratio"], 1 / 3)
        self.assertEqual((stats["memory_usage"], stats["memory_usage_mb"]), (3 << 20, 3.0))
        self.assertEqual(
            (stats["cached_models"], stats["cached_tokenizers"], stats["cached_resources"]), (1, 0, 1))
        self.assert_time(stats["timestamp"])
        self.assertIs(stats["low_memory_mode"], self.pool.low_memory_mode)
        memory = stats["system_memory"]
        self.assertGreaterEqual(memory["total_mb"], memory["available_mb"])
        self.assertTrue(0 <= memory["percent_used"] <= 100)
        self.assertIsInstance(memory["under_pressure"], bool)
        self.assertIsInstance(self.pool.check_memory_pressure(), bool)
        for key in ("cuda_memory", "rocm", "mps", "openvino", "web", "cpu"):
            self.assertIsInstance(stats[key], dict)
        self.assertEqual(list(stats["models"]), ["embedding:bert"])
        self.assertEqual(stats["devices"]["cpu"], 3 << 20)
        self.assertLessEqual({"runs", "removed", "freed_bytes"}, set(stats["cleanup"]))
        self.assertEqual(set(stats["ages"]), {"embedding:bert", "data"})
        self.pool.cleanup_unused_resources()
        cleanup = self.pool.get_stats()["cleanup"]
        self.assertEqual(cleanup["runs"], 1)
        self.assert_time(cleanup["last"])

    def test_the_loops_of_the_guide_run(self):
        seen = []
        for key in self.pool.models:
            if key in self.pool._stats:
                entry = self.pool._stats[key]
                seen.append((key, entry.get("memory_usage", 0) / (1024 * 1024),
                             entry.get("memory_estimation_method", "unknown"), entry.get("device", "unknown")))
        self.assertEqual(seen, [("embedding:bert", 3.0, "constructor", "cpu")])
        cuda_memory = self.pool.get_stats().get("cuda_memory", {})
        if cuda_memory and cuda_memory.get("device_count", 0) > 0:
            for device in cuda_memory.get("devices", []):
                f"{device['id']} {device['name']} {device['free_mb']:.2f} {device['percent_used']:.1f}"

    def test_private_stats(self):
        stats = self.pool._stats
        self.assertEqual((stats["hits"], stats["misses"], stats["memory_usage"]), (1, 2, 3 << 20))
        for name in ("creation_timestamps", "last_accessed"):
            self.assertEqual(set(stats[name]), {"embedding:bert", "data"})
            self.assert_time(stats[name]["data"])
        entry = stats["embedding:bert"]
        self.assertEqual((entry["hits"], entry["device"]), (1, "cpu"))
        self.assertGreaterEqual(entry["load_ms"], 0)
        self.assertGreaterEqual(entry["last_accessed"], entry["created"])
        self.assertNotIn("precision", entry)

    def test_details(self):
        details = self.pool.get_resource_details("embedding:bert")
        self.assertEqual(details, {**details, "key": "embedding:bert", "instance": "embedding:bert@cpu",
                                   "kind": "model", "type": "embedding", "name": "bert", "device": "cpu",
                                   "state": "loaded", "memory_bytes": 3 << 20, "hits": 1,
                                   "memory_estimation_method": "constructor", "depends_on": [], "dependents": []})
        self.assertGreaterEqual(details["age_seconds"], 0)
        self.assertEqual(details["placement"]["device"], "cpu")
        self.assertEqual(details["leases"][0]["pid"], os.getpid())
        self.assert_time(details["created"])
        self.assertEqual(self.pool.get_resource_details("embedding:bert@cpu")["key"], "embedding:bert")

    def test_mappings_are_read_only(self):
        with self.assertRaises(TypeError):
            self.pool.models["x"] = 1

    def test_low_memory_mode(self):
        pool = open_pool()
        self.assertIsNone(pool.enable_low_memory_mode())
        self.assertIsNone(pool.enable_low_memory_mode())
        self.assertIs(pool.low_memory_mode, True)
        self.assertIs(open_pool(low_memory=True).low_memory_mode, True)
        self.assertGreater(pool.available_memory_mb, 0)

    def test_recommended_device(self):
        self.assertRegex(self.pool.get_recommended_device("embedding"), r"^\w+(:\d+)?$")
        self.assertRegex(self.pool.get_recommended_device("bert-base-uncased", "embedding"), r"^\w+(:\d+)?$")

    def test_explain(self):
        plan = self.pool.explain("embedding", "bert-base-uncased", {"device": "cpu"})
        self.assertEqual(plan["placement"]["device"], "cpu")
        self.assertTrue(plan["candidates"][0]["accepted"])
        self.assertIsNone(plan["error"])
        self.assertNotIn("embedding:bert-base-uncased", self.pool.models)
        nothing = self.pool.explain("embedding", "bert-base-uncased", {"device": "cuda:31"})
        self.assertIsNone(nothing["placement"])
        self.assertTrue(nothing["error"])

    def test_error_reports(self):
        report = self.pool.generate_error_report("bert-base-uncased", "cuda",
                                                 "CUDA out of memory. Tried to allocate 20.00 MiB")
        self.assertLessEqual({"timestamp", "model_name", "hardware_type", "error_message", "stack_trace",
                              "recommendations", "category", "cause", "confidence", "evidence", "checks"}, set(report))
        self.assertEqual(report["category"], "out_of_memory_device")
        self.assertIsNone(report["stack_trace"])
        self.assertTrue(all(isinstance(each, str) for each in report["recommendations"]))
        with tempfile.TemporaryDirectory() as folder:
            path = self.pool.save_error_report(report, output_dir=folder)
            again = self.pool.save_error_report(report, pathlib.Path(folder))
            self.assertNotEqual(path, again)
            self.assertEqual(json.loads(pathlib.Path(path).read_text())["category"], report["category"])
        try:
            raise ValueError("boom")
        except ValueError as e:
            told = self.pool.generate_error_report("m", "cpu", e, stack_trace="Traceback: ...")
        self.assertIn("ValueError: boom", told["error_message"])
        with self.assertRaises(resource_pool.ArgumentError):
            self.pool.generate_error_report("m", "toaster", "x")

    def test_the_logger_prints_nothing_unasked(self):
        self.assertIs(self.pool.logger, logging.getLogger("resource_pool"))
        self.assertIsInstance(self.pool.logger.handlers[0], logging.NullHandler)
        self.assertEqual(len(self.pool.logger.handlers), 1)

    def test_the_chosen_device_is_logged(self):
        with self.assertLogs("resource_pool", logging.INFO) as logs:
            self.pool.get_model("embedding", "logged", Thing)
        self.assertTrue([line for line in logs.output
                         if "Selected optimal device for embedding:logged: cpu" in line], logs.output)


class Threads(unittest.TestCase):
    def test_two_constructors_run_at_the_same_time(self):
        pool = open_pool()
        both = threading.Barrier(2)

        def make():
            both.wait(20)  # breaks, and raises, where one waits for the other
            return Thing()

        threads = [threading.Thread(target=pool.get_model, args=("embedding", name, make)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(pool.models), {"embedding:a", "embedding:b"})

    def test_many_threads_share_one_load(self):
        pool = open_pool()
        started = threading.Event()
        may_end = threading.Event()
        made = []
        got = []

        def make():
            made.append(1)
            started.set()
            may_end.wait(20)
            return Thing()

        threads = [threading.Thread(target=lambda: got.append(pool.get_model("embedding", "a", make)))
                   for _ in range(8)]
        for thread in threads:
            thread.start()
        started.wait(20)
        other = pool.get_model("embedding", "other", Thing)
        may_end.set()
        for thread in threads:
            thread.join()
        self.assertEqual(len(made), 1)
        self.assertEqual({id(each) for each in got}, {id(got[0])})
        self.assertIsNot(other, got[0])

    def test_every_waiter_raises_what_the_constructor_raised(self):
        pool = open_pool()
        may_end = threading.Event()
        waiting = threading.Semaphore(0)
        raised = []
        made = []

        def make():
            made.append(1)
            may_end.wait(20)
            raise KeyError("weights")

        def ask():
            waiting.release()
            try:
                pool.get_model("embedding", "a", make)
            except KeyError as e:
                raised.append(e)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in threads:
            waiting.acquire()
        time.sleep(0.2)  # all are in the pool by now; where not, they load for themselves
        may_end.set()
        for thread in threads:
            thread.join()
        self.assertEqual(len(raised), 4)
        if len(made) == 1:
            self.assertEqual({id(each) for each in raised}, {id(raised[0])})

    def test_a_wait_has_its_deadline(self):
        pool = open_pool()
        started = threading.Event()
        may_end = threading.Event()

        def make():
            started.set()
            may_end.wait(20)
            return Thing()

        thread = threading.Thread(target=pool.get_model, args=("embedding", "a", make))
        thread.start()
        started.wait(20)
        with self.assertRaises(TimeoutError):
            pool.get_model("embedding", "a", make, timeout=0.05)
        may_end.set()
        thread.join()
        self.assertIsInstance(pool.get_model("embedding", "a", timeout=0.05), Thing)

    def test_an_interrupt_of_one_thread_is_not_the_others(self):
        pool = open_pool()
        started = threading.Event()
        may_end = threading.Event()
        caught = []

        def interrupted():
            started.set()
            may_end.wait(20)
            raise KeyboardInterrupt

        def ask():
            try:
                pool.get_model("embedding", "a", interrupted)
            except KeyboardInterrupt as e:
                caught.append(e)

        thread = threading.Thread(target=ask)
        thread.start()
        started.wait(20)
        threading.Timer(0.2, may_end.set).start()
        self.assertIsInstance(pool.get_model("embedding", "a", Thing), Thing)
        thread.join()
        self.assertEqual(len(caught), 1)

    def test_threads_come_and_go(self):
        pool = open_pool()

        def work(seed):
            for i in range(200):
                pool.get_model("embedding", f"m{(i * seed) % 7}", Thing)
                with pool.lease_tokenizer("embedding", f"t{(i * seed) % 5}", Thing):
                    pass
                if i % 50 == 0:
                    pool.get_stats()
                    pool.cleanup_unused_resources(0)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 3, 5, 11)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pool.clear()
        pool.close()


class Leaks(unittest.TestCase):
    def test_100000_gets_leave_nothing_behind(self):
        pool = open_pool()
        make = Thing
        model = pool.get_model("embedding", "a", make)
        name = "a"
        before = [sys.getrefcount(each) for each in (model, make, name, None)]
        gc.collect()
        tracemalloc.start()
        base = tracemalloc.get_traced_memory()[0]
        for _ in range(100_000):
            pool.get_model("embedding", name, make)
        grown = tracemalloc.get_traced_memory()[0] - base
        tracemalloc.stop()
        after = [sys.getrefcount(each) for each in (model, make, name, None)]
        self.assertLess(grown, 10_000)
        for was, now in zip(before, after):
            self.assertLess(abs(now - was), 20)
        self.assertEqual(gc.collect(), 0)

    def test_objects_constructors_and_exceptions_are_given_up(self):
        import weakref
        pool = open_pool()
        gone = []

        def fail(make):
            raise RuntimeError("no")

        for i in range(200):
            class Made:
                pass

            def make():
                return Made()

            weakref.finalize(make, gone.append, 1)
            weakref.finalize(pool.get_model("embedding", f"m{i}", make, {"device": "cpu"}), gone.append, 2)
            try:
                pool.get_model("embedding", "bad", lambda: fail(make))
            except RuntimeError:
                pass
            pool.lease_model("embedding", f"m{i}").release()
        del make, Made
        pool.clear()
        gc.collect()
        self.assertEqual((gone.count(1), gone.count(2)), (200, 200))

    def test_a_pool_gives_up_what_it_holds(self):
        import weakref
        pool = open_pool()
        made = weakref.ref(pool.get_model("embedding", "a", Thing))
        self.assertIsNotNone(made())
        del pool
        self.assertIsNone(made())


class Processes(unittest.TestCase):
    def test_the_global_pool_is_one(self):
        pool = get_global_resource_pool()
        self.assertIs(get_global_resource_pool(), pool)
        self.assertIs(resource_pool.global_resource_pool, pool)
        with self.assertRaises(AttributeError):
            resource_pool.nothing

    def test_ctrl_c_ends_a_wait(self):
        done = run_python("""
import os, signal, threading, time
from resource_pool import ResourcePool
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs this may ignore it
pool = ResourcePool(history="off")
started, may_end, ended = threading.Event(), threading.Event(), threading.Event()
def make():
    started.set()
    may_end.wait(10)
    ended.set()
    return object()
thread = threading.Thread(target=pool.get_model, args=("embedding", "a", make))
thread.start()
started.wait(20)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    pool.get_model("embedding", "a", make)
except KeyboardInterrupt:
    print("interrupted", ended.is_set())
may_end.set()
thread.join()
print(type(pool.get_model("embedding", "a")).__name__)
""")
        self.assertEqual(done.stdout, "interrupted False\nobject\n", done.stderr)
        self.assertEqual(done.returncode, 0)

    def test_a_child_of_fork_has_a_pool_of_its_own(self):
        done = run_python("""
import os, sys, resource_pool
from resource_pool import get_global_resource_pool
pool = get_global_resource_pool()
model = pool.get_model("embedding", "a", dict)
lease = pool.lease_model("embedding", "a")
child = os.fork()
if child == 0:
    try:
        pool.get_model("embedding", "a")
    except resource_pool.ForkedError:
        own = get_global_resource_pool()
        assert own is not pool and dict(own.models) == {}
        assert own.get_model("embedding", "a", list) == []
        del lease, pool
        sys.exit(7)
    sys.exit(8)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
lease.release()
print(pool.get_model("embedding", "a") is model)
""")
        self.assertEqual(done.stdout, "7\nTrue\n", done.stderr)

    def test_the_interpreter_ends_with_leases_and_threads_alive(self):
        done = run_python("""
import threading, time
from resource_pool import get_global_resource_pool, ResourcePool
class Thing:
    def __del__(self):
        time
pool = get_global_resource_pool()
lease = pool.lease_model("embedding", "a", Thing)
other = ResourcePool(history="off", idle_expiry=0.05)
other.get_model("embedding", "b", Thing)
def forever():
    while True:
        pool.get_model("embedding", "a")
        other.get_model("embedding", str(time.time()), Thing)
for _ in range(2):
    threading.Thread(target=forever, daemon=True).start()
def waits():
    pool.get_model("embedding", "never", lambda: time.sleep(60))
for _ in range(2):
    threading.Thread(target=waits, daemon=True).start()
time.sleep(0.3)
print("ends")
""")
        self.assertEqual((done.returncode, done.stdout), (0, "ends\n"), done.stderr)

    def test_importing_costs_little_and_brings_nothing(self):
        done = run_python("""
import os, sys, time
before = set(sys.modules)
start = time.perf_counter()
import resource_pool
ms = (time.perf_counter() - start) * 1e3
print(sorted(set(sys.modules) - before - {"atexit"}))
print(f"{ms:.2f}", file=sys.stderr)
""")
        self.assertEqual(done.stdout, "['resource_pool', 'resource_pool._core']\n", done.stderr)
        self.assertLess(float(done.stderr), 1000)


if __name__ == "__main__":
    unittest.main()
