# SPDX-License-Identifier: Apache-2.0
"""Nothing stays behind: each path many times, with the memory that Python knows of, the process's own and every count.

RESOURCE_POOL_SOAK=1 makes it 1,000,000 calls of each hot path (minutes instead of seconds) and prints what was found:

    RESOURCE_POOL_SOAK=1 PYTHONPATH=build/python python3 -m unittest -v python/tests/test_leaks.py

RESOURCE_POOL_COUNT_REFERENCES=1, under a debug build of Python and with an extension that was compiled for it,
counts every reference as well (any other extension's are not in sys.gettotalrefcount()).
"""

import asyncio
import gc
import os
import sys
import tracemalloc
import unittest
import weakref

import resource_pool
from resource_pool import ResourcePool

SOAK = os.environ.get("RESOURCE_POOL_SOAK", "") not in ("", "0")
TIMES = 100 if SOAK else 1


class Thing:
    """A model that owns nothing."""


def resident_bytes():
    """None where the system does not say."""
    try:
        with open("/proc/self/statm") as told:
            return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def fail():
    raise ValueError("no weights")


@unittest.skipIf("libasan" in os.environ.get("LD_PRELOAD", ""), "AddressSanitizer keeps what was freed")
class Leaks(unittest.TestCase):
    def setUp(self):
        self.pool = ResourcePool(history="off")
        self.model = self.pool.get_model("embedding", "a", Thing)
        self.pool.get_tokenizer("embedding", "a", Thing)
        self.pool.get_resource("data", constructor=Thing)

    def assert_flat(self, call, rounds, resident=2 << 20):
        """Blocks of Python after `rounds` calls as before them, and the process not larger by more than `resident`."""
        for _ in range(min(rounds, 500)):
            call()
        gc.collect()
        tracemalloc.start()
        for _ in range(min(rounds, 2000)):
            call()
        base = tracemalloc.get_traced_memory()[0]
        for _ in range(min(rounds, 2000)):
            call()
        grown = tracemalloc.get_traced_memory()[0] - base
        tracemalloc.stop()
        self.assertLess(grown, 4000, "bytes of Python")
        count = sys.gettotalrefcount if os.environ.get("RESOURCE_POOL_COUNT_REFERENCES") else lambda: 0
        # A leak is there every time; what is made once and kept, on whichever round, is not.
        grown = [self.growth(call, rounds, count) for _ in range(3)]
        resident_grown, blocks, references = (min(column) for column in zip(*grown))
        if SOAK:
            print(f"\n  {rounds:,} calls: resident {resident_grown:+,} bytes, blocks {blocks:+}, "
                  f"references {references:+}", end=" ", flush=True)
        self.assertLess(blocks, 50 + rounds // 4, "blocks")
        self.assertLess(references, 50, "references")
        self.assertLess(resident_grown, resident, "resident bytes")
        self.assertEqual(gc.collect(), 0)

    def growth(self, call, rounds, count):
        """Resident bytes (0 where the system does not say), blocks and references more after so many calls."""
        before = resident_bytes() or 0, sys.getallocatedblocks(), count()
        for _ in range(rounds):
            call()
        return (resident_bytes() or 0) - before[0], sys.getallocatedblocks() - before[1], count() - before[2]

    def test_hits(self):
        get, make = self.pool.get_model, Thing
        self.assert_flat(lambda: get("embedding", "a", make), 10_000 * TIMES)

    def test_hits_with_everything_given(self):
        get, make, preferences = self.pool.get_model, Thing, {"device": "cpu", "priority_list": ["cpu"]}
        self.assert_flat(lambda: get(model_type="embedding", model_name="a", constructor=make, timeout=1.5, size=1,
                                     hardware_preferences=preferences, allow_none=True), 3_000 * TIMES)

    def test_hits_of_tokenizers_and_resources(self):
        tokenizer, resource = self.pool.get_tokenizer, self.pool.get_resource
        self.assert_flat(lambda: (tokenizer("embedding", "a"), resource("data", None)), 10_000 * TIMES)

    def test_leases(self):
        lease = self.pool.lease_model

        def call():
            with lease("embedding", "a"):
                pass

        self.assert_flat(call, 10_000 * TIMES)

    def test_leases_that_are_dropped(self):
        lease = self.pool.lease_model
        self.assert_flat(lambda: lease("embedding", "a").object, 10_000 * TIMES)

    def test_misses_and_clean_ups(self):
        def call():
            self.pool.get_model("embedding", "b", Thing)
            self.pool.clear()

        self.assert_flat(call, 100 * TIMES, resident=8 << 20)

    def test_misses_that_push_each_other_out(self):
        pool = ResourcePool(history="off", budget=2 << 20)
        numbers = iter(range(1 << 60))
        self.assert_flat(lambda: pool.get_model("embedding", f"m{next(numbers) % 5}", Thing, size=1 << 20), 200 * TIMES,
                         resident=8 << 20)

    def test_constructors_that_fail(self):
        get = self.pool.get_model

        def call():
            try:
                get("embedding", "bad", fail)
            except ValueError:
                pass

        self.assert_flat(call, 1_000 * TIMES, resident=8 << 20)

    def test_what_is_not_loaded(self):
        get = self.pool.get_model

        def call():
            try:
                get("embedding", "nothing")
            except resource_pool.NotFoundError:
                pass

        self.assert_flat(call, 2_000 * TIMES)

    def test_wrong_arguments(self):
        get = self.pool.get_model

        def call():
            for wrong in ((7, "a"), ("a", 7), ("a", "b", 7), ("a", "b", Thing, 7), ("a", "b", Thing, {"device": 7}),
                          ("a\0", "b"), ("a", "\ud800")):
                try:
                    get(*wrong)
                except (TypeError, ValueError, resource_pool.ResourcePoolError):
                    pass
            try:
                get("a", "b", nothing=1)
            except TypeError:
                pass

        self.assert_flat(call, 500 * TIMES)

    def test_looks(self):
        def call():
            self.pool.get_stats()
            self.pool._stats
            self.pool.models
            self.pool.get_resource_details("embedding:a")
            self.pool.explain("embedding", "a", {"device": "cpu"})
            self.pool.get_recommended_device("embedding")
            self.pool.generate_error_report("m", "cpu", "CUDA out of memory")

        self.assert_flat(call, 20 * TIMES, resident=8 << 20)

    def test_pools(self):
        def call():
            pool = ResourcePool(history="off")
            pool.get_model("embedding", "a", Thing)
            pool.lease_model("embedding", "a").release()

        self.assert_flat(call, 200 * min(TIMES, 10), resident=8 << 20)

    def test_awaits_of_what_is_loaded(self):
        async def many():
            for _ in range(50):
                await self.pool.get_model_async("embedding", "a")
                async with self.pool.lease_model_async("embedding", "a"):
                    pass

        with asyncio.Runner() if hasattr(asyncio, "Runner") else _Runner() as runner:
            self.assert_flat(lambda: runner.run(many()), 20 * TIMES, resident=8 << 20)

    def test_nobody_waits_for_a_collection(self):
        gone = []
        gc.disable()
        try:
            for i in range(100):
                class Made:
                    pass

                def make():
                    return Made()

                def refuse():
                    make()
                    raise ValueError("no weights")

                for each in (make, refuse):
                    weakref.finalize(each, gone.append, "constructor")
                weakref.finalize(self.pool.get_model("embedding", f"m{i}", make), gone.append, "object")
                try:
                    self.pool.get_model("embedding", "bad", refuse)
                except ValueError:
                    pass
                del make, refuse, each
                self.assertEqual(gone.count("constructor"), 2 * (i + 1))
                self.pool.enable_low_memory_mode()  # which sweeps, and keeps nothing that nobody has
                self.pool.cleanup_unused_resources(0)
                self.assertEqual(gone.count("object"), i + 1)
        finally:
            gc.enable()


class _Runner:
    """asyncio.Runner for Python 3.10."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        return self

    def run(self, main):
        return self.loop.run_until_complete(main)

    def __exit__(self, *raised):
        self.loop.close()


if __name__ == "__main__":
    unittest.main()
