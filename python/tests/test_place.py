# SPDX-License-Identifier: Apache-2.0
"""Devices of objects: placers, moves, failures on the way there, and memory given back. On a machine from a file."""

import array
import gc
import os
import pathlib
import subprocess
import sys
import types
import unittest

import resource_pool
from resource_pool import ResourcePool

MACHINE = pathlib.Path(__file__).parents[2] / "tests" / "machines" / "2xrtx4090.json"


def on_two_cards(method):
    """Run a test in an interpreter of its own, on a simulated machine with two cards."""
    name = f"{method.__qualname__}"

    def run(self):
        if os.environ.get("RP_TEST_INSIDE") == name:
            method(self)
            return
        if not MACHINE.exists():
            self.skipTest(f"{MACHINE} is not here")
        done = subprocess.run([sys.executable, "-W", "error", "-m", "unittest", f"test_place.{name}"], text=True,
                              capture_output=True, timeout=120, check=False, cwd=pathlib.Path(__file__).parent,
                              env={**os.environ, "RP_TEST_INSIDE": name, "RESOURCE_POOL_SIMULATE": str(MACHINE),
                                   "RESOURCE_POOL_HISTORY": "off", "PYTHONPATH": os.pathsep.join(sys.path)})
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    run.__name__ = method.__name__
    return run


class Model:
    def __init__(self):
        self.device = "cpu"
        self.precision = None


class Better(Model):
    """Found by its base."""


class Thing:
    """Nobody knows how to put it anywhere."""


def put(model, device, precision):
    model.device = device
    model.precision = precision
    return model


def open_pool(**options):
    return ResourcePool(history="off", **options)


class Placers(unittest.TestCase):
    def tearDown(self):
        for cls in (Model, Better):
            resource_pool.placer(cls)(None)

    @on_two_cards
    def test_a_placer_puts_objects_of_its_class_and_of_classes_made_of_it(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        self.assertEqual(pool.get_model("a", "b", Better, {"device": "cuda:1", "precision": "int8"}).__dict__,
                         {"device": "cuda:1", "precision": "int8"})
        self.assertEqual(pool.get_model("a", "c", Model, {"device": "cpu"}).device, "cpu")

    @on_two_cards
    def test_the_nearest_class_counts(self):
        resource_pool.placer(Model, simulated=True)(put)
        resource_pool.placer(Better, simulated=True)(lambda model, device, precision: put(model, "mine", None))
        pool = open_pool()
        self.assertEqual(pool.get_model("a", "b", Better).device, "mine")
        self.assertTrue(pool.get_model("a", "c", Model).device.startswith("cuda:"))

    @on_two_cards
    def test_a_simulated_device_leaves_the_object_where_it_is_and_says_so(self):
        resource_pool.placer(Model)(put)
        with open_pool().lease_model("a", "b", Model, {"device": "cuda:1"}) as model:
            self.assertEqual(model.device, "cpu")
        lease = open_pool().lease_model("a", "b", Model, {"device": "cuda:1"})
        self.assertEqual(lease.device, "cuda:1")
        self.assertIn("simulated", lease.reason)
        lease.release()

    @on_two_cards
    def test_two_devices_are_two_instances(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        first = pool.get_model("a", "b", Model, {"device": "cuda:0"})
        second = pool.get_model("a", "b", Model, {"device": "cuda:1"})
        self.assertEqual((first.device, second.device), ("cuda:0", "cuda:1"))

    @on_two_cards
    def test_models_inside_a_tuple_or_a_dict_are_put_there_too(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        model, tokenizer = pool.get_model("a", "b", lambda: (Model(), "tokenizer"), {"device": "cuda:1"})
        self.assertEqual((model.device, tokenizer), ("cuda:1", "tokenizer"))
        parts = pool.get_model("a", "c", lambda: {"model": Model(), "more": [Model()]}, {"device": "cuda:0"})
        self.assertEqual((parts["model"].device, parts["more"][0].device), ("cuda:0", "cuda:0"))

    @on_two_cards
    def test_tokenizers_and_resources_are_never_placed(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        self.assertEqual(pool.get_tokenizer("a", "b", Model).device, "cpu")
        self.assertEqual(pool.get_resource("a", "b", Model).device, "cpu")

    @on_two_cards
    def test_what_a_placer_raises_is_raised(self):
        def refuse(model, device, precision):
            raise KeyError(f"not on {device}")

        resource_pool.placer(Model, simulated=True)(refuse)
        with self.assertRaisesRegex(KeyError, "not on cuda:1"):
            open_pool().get_model("a", "b", Model, {"device": "cuda:1"})

    def test_a_placer_is_for_a_class_and_a_function(self):
        with self.assertRaisesRegex(TypeError, "takes a class"):
            resource_pool.placer("Model")
        with self.assertRaisesRegex(TypeError, "a placer is a function"):
            resource_pool.placer(Model)(7)


class OutOfMemory(unittest.TestCase):
    """A device without memory: the pool goes on to the next."""

    TEXTS = (
        ("OutOfMemoryError", RuntimeError, "torch", "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a "
         "total capacity of 23.99 GiB of which 3.25 MiB is free."),
        ("RuntimeError", RuntimeError, "builtins", "MPS backend out of memory (MPS allocated: 8.00 GB)"),
        ("RuntimeError", RuntimeError, "builtins", "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: "
         "can't allocate memory: you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"),
        ("RuntimeException", RuntimeError, "onnxruntime.capi.onnxruntime_pybind11_state",
         "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: bfc_arena.cc:376 "
         "AllocateRawInternal Failed to allocate memory for requested buffer of size 1073741824"),
        ("MemoryError", MemoryError, "builtins", ""),
    )

    def raiser(self, case):
        name, base, module, text = case
        error = base if module == "builtins" else type(name, (base,), {"__module__": module})

        def place(model, device, precision):
            if device.startswith("cuda"):
                raise error(text)
            return put(model, device, precision)
        return place

    @on_two_cards
    def test_the_next_device_is_tried(self):
        for case in self.TEXTS:
            with self.subTest(case[0] + ": " + case[3][:20]):
                resource_pool.placer(Model, simulated=True)(self.raiser(case))
                with open_pool().lease_model("a", "b", Model) as model:
                    self.assertEqual(model.device, "cpu")
                lease = open_pool().lease_model("a", "b", Model)
                self.assertEqual(lease.device, "cpu")
                self.assertIn("cuda:0: no memory", lease.reason)
                self.assertIn("cuda:1: no memory", lease.reason)
                lease.release()

    @on_two_cards
    def test_a_device_that_was_named_raises_it(self):
        for case in self.TEXTS:
            resource_pool.placer(Model, simulated=True)(self.raiser(case))
            with self.subTest(case[0]), self.assertRaises(case[1]):
                open_pool().get_model("a", "b", Model, {"device": "cuda:0"})


class Moving(unittest.TestCase):
    def tearDown(self):
        resource_pool.placer(Model)(None)

    @on_two_cards
    def test_the_model_is_there_and_the_old_one_stays_with_its_holders(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        old = pool.get_model("a", "b", Model)
        there = "cuda:0" if old.device == "cuda:1" else "cuda:1"
        where = old.device
        new = pool.move_model_to_device("a", "b", there)
        self.assertEqual((new.device, old.device), (there, where))
        self.assertIsNot(new, old)
        self.assertIs(pool.get_model("a", "b"), new)
        self.assertEqual(list(pool.models), ["a:b"])
        self.assertEqual(pool._stats["a:b"]["device"], there)
        self.assertIs(pool.move_model_to_device("a", "b", there), new)
        self.assertIs(pool.move_model_to_device("a", "b", "cuda"), new)
        self.assertEqual(pool.move_model_to_device("a", "b", "cpu").device, "cpu")

    @on_two_cards
    def test_requests_with_preferences_but_no_device_are_led_there(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        wishes = {"priority_list": ["cuda", "cpu"]}
        pool.get_model("a", "b", Model, wishes)
        new = pool.move_model_to_device("a", "b", "cpu")
        self.assertIs(pool.get_model("a", "b", Model, wishes), new)
        self.assertIs(pool.get_model("a", "b", Model), new)

    @on_two_cards
    def test_the_old_one_goes_when_nobody_has_it(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        old = pool.get_model("a", "b", Model, size=5 << 20)
        where = old.device
        pool.move_model_to_device("a", "b", "cpu")
        self.assertEqual(pool.get_stats()["devices"].get(where), 5 << 20)
        del old
        pool.get_stats()
        self.assertFalse(pool.get_stats()["devices"].get(where))

    @on_two_cards
    def test_a_placer_that_copies_is_given_the_model_itself(self):
        seen = []

        def copies(model, device, precision):
            seen.append(model)
            return put(Model(), device, precision)

        resource_pool.placer(Model, copies=True, simulated=True)(copies)
        pool = open_pool()
        old = pool.get_model("a", "b", Model, {"device": "cuda:0"})
        new = pool.move_model_to_device("a", "b", "cuda:1")
        self.assertIs(seen[-1], old)
        self.assertEqual((old.device, new.device), ("cuda:0", "cuda:1"))

    @on_two_cards
    def test_a_placer_that_says_it_copies_and_does_not_is_an_error(self):
        pool = open_pool()
        model = pool.get_model("a", "b", Model, {"device": "cuda:0"})
        resource_pool.placer(Model, copies=True, simulated=True)(put)
        with self.assertRaisesRegex(resource_pool.UnsupportedError, "returned the object it was given"):
            pool.move_model_to_device("a", "b", "cuda:1")
        self.assertIs(pool.get_model("a", "b", hardware_preferences={"device": "cuda:0"}), model)

    @on_two_cards
    def test_what_nobody_can_move_is_named_with_the_way_out(self):
        pool = open_pool()
        thing = pool.get_model("a", "b", Thing)
        with self.assertRaisesRegex(resource_pool.UnsupportedError, r"Thing.*resource_pool.placer\(Thing\)"):
            pool.move_model_to_device("a", "b", "cpu")
        self.assertIs(pool.get_model("a", "b"), thing)

    @on_two_cards
    def test_unknown_models_and_devices(self):
        resource_pool.placer(Model, simulated=True)(put)
        pool = open_pool()
        with self.assertRaisesRegex(resource_pool.NotFoundError, "'a:b' to cuda:1: no such model"):
            pool.move_model_to_device("a", "b", "cuda:1")
        pool.get_model("a", "b", Model)
        for device in ("cuda:9", "abacus"):
            with self.subTest(device), self.assertRaisesRegex(resource_pool.AbsentError, device):
                pool.move_model_to_device("a", "b", device)
        for wrong in ((1, "b", "cpu"), ("a", None, "cpu"), ("a", "b", None)):
            with self.subTest(wrong), self.assertRaises(TypeError):
                pool.move_model_to_device(*wrong)
        pool.close()
        with self.assertRaises(resource_pool.StateError):
            pool.move_model_to_device("a", "b", "cpu")


class Sizes(unittest.TestCase):
    def setUp(self):
        self.pool = open_pool()

    def entry(self, constructor, **more):
        self.pool.get_model("a", "b", constructor, **more)
        return self.pool._stats["a:b"]

    def test_bytes_are_counted(self):
        entry = self.entry(lambda: bytearray(3 << 20))
        self.assertEqual((entry["memory_usage"], entry["memory_estimation_method"]), (3 << 20, "buffer"))

    def test_views_count_what_they_look_at_once(self):
        whole = bytearray(1 << 20)
        entry = self.entry(lambda: [memoryview(whole)[10:20], memoryview(whole), whole])
        self.assertEqual((entry["memory_usage"], entry["memory_estimation_method"]), (1 << 20, "buffer"))

    def test_objects_are_looked_into(self):
        def make():
            thing = Thing()
            thing.parts = {"a": array.array("d", bytes(8 << 10)), "b": (bytes(1 << 20),)}
            thing.myself = thing
            return thing

        self.assertEqual(self.entry(make)["memory_usage"], (1 << 20) + (8 << 10))

    def test_what_the_caller_says_goes_first(self):
        entry = self.entry(lambda: bytearray(3 << 20), size=7 << 20)
        self.assertEqual((entry["memory_usage"], entry["memory_estimation_method"]), (7 << 20, "constructor"))

    def test_a_library_has_no_size(self):
        import json
        self.pool.get_resource("json", constructor=lambda: json)
        self.pool.get_resource("made", constructor=lambda: types.ModuleType("made"))
        for key in ("json", "made"):
            self.assertNotIn("memory_usage", self.pool.get_resource_details(key))

    def test_measuring_never_raises_and_keeps_nothing(self):
        class Wild:
            __slots__ = ("inside",)

            def __getattr__(self, name):
                raise OSError(name)

        class Worse:
            @property
            def __dict__(self):
                raise ValueError("no")

        for make in (Wild, Worse):
            thing = self.pool.get_model("a", make.__name__, make)
            count = sys.getrefcount(thing)
            self.assertLessEqual(count, 3)

    def test_300_models_pass_through_room_for_six(self):
        pool = open_pool(budget=6 << 20)
        most = 0
        for i in range(300):
            self.assertEqual(len(pool.get_model("a", f"m{i}", lambda: bytearray(1 << 20), size=1 << 20)), 1 << 20)
            most = max(most, sum(pool.get_stats()["devices"].values()))
        self.assertLessEqual(most, 6 << 20)
        self.assertLessEqual(len(pool.models), 6)
        self.assertEqual(pool.get_stats()["misses"], 300)


class GivingBack(unittest.TestCase):
    """A torch that only counts."""

    def stand_in(self):
        torch = types.ModuleType("torch")
        torch.calls = 0

        def empty_cache():
            torch.calls += 1

        torch.cuda = types.SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True,
                                           empty_cache=empty_cache)
        torch.backends = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))
        sys.modules["torch"] = torch
        self.addCleanup(sys.modules.pop, "torch")
        return torch

    @on_two_cards
    def test_torch_is_asked_once_for_all_that_went(self):
        torch = self.stand_in()
        pool = open_pool()
        for i in range(5):
            pool.get_model("a", f"m{i}", Thing, {"device": "cuda:0"})
        pool.clear()
        self.assertEqual(torch.calls, 1)
        pool.get_model("a", "m", Thing, {"device": "cuda:0"})
        pool.get_model("a", "n", Thing, {"device": "cuda:1"})
        self.assertEqual(pool.cleanup_unused_resources(max_age_minutes=0), 2)
        self.assertEqual(torch.calls, 2)

    @on_two_cards
    def test_what_was_on_the_processor_is_not_torchs_matter(self):
        torch = self.stand_in()
        pool = open_pool()
        pool.get_model("a", "m", Thing, {"device": "cpu"})
        pool.get_tokenizer("a", "m", Thing)
        pool.clear()
        self.assertEqual(torch.calls, 0)

    def test_garbage_in_a_cycle_is_collected(self):
        gone = []

        class Ring:
            def __init__(self):
                self.data = bytearray(2 << 20)
                self.me = self

            def __del__(self):
                gone.append(1)

        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(0)  # not by chance
        pool = open_pool()
        pool.lease_model("a", "b", Ring).release()
        pool.clear()
        self.assertEqual(gone, [1])


if __name__ == "__main__":
    unittest.main()
