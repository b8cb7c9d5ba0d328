# SPDX-License-Identifier: Apache-2.0
"""get_model_async() and its kin: what is awaited, who waits, and what becomes of who does not."""

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import traceback
import unittest
import weakref

import resource_pool
from resource_pool import ResourcePool

LONG = 20  # seconds, after which a test that hangs fails


class Thing:
    """A model that owns nothing."""


def run(main):
    return asyncio.run(asyncio.wait_for(main, LONG))


def run_python(program):
    return subprocess.run([sys.executable, "-W", "error", "-c", program], text=True, capture_output=True, timeout=60,
                          check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


class Awaiting(unittest.TestCase):
    def setUp(self):
        self.pool = ResourcePool(history="off")

    def test_each_getter_can_be_awaited(self):
        async def main():
            model = await self.pool.get_model_async("embedding", "a", Thing)
            tokenizer = await self.pool.get_tokenizer_async("embedding", "a", constructor=Thing)
            data = await self.pool.get_resource_async("data", constructor=Thing, timeout=LONG)
            self.assertIs(self.pool.get_model("embedding", "a"), model)
            self.assertIs(self.pool.get_tokenizer("embedding", "a"), tokenizer)
            self.assertIs(await self.pool.get_resource_async("data"), data)
            self.assertEqual(len({id(each) for each in (model, tokenizer, data)}), 3)

        run(main())

    def test_what_is_loaded_comes_without_a_thread(self):
        model = self.pool.get_model("embedding", "a", Thing)
        threads = []
        start = threading.Thread.start
        threading.Thread.start = lambda thread: (threads.append(thread), start(thread))

        async def main():
            self.assertIs(await self.pool.get_model_async("embedding", "a", Thing), model)
            self.assertEqual(threads, [])
            await self.pool.get_model_async("embedding", "b", Thing)
            self.assertEqual(len(threads), 1)

        try:
            asyncio.run(main())
        finally:
            threading.Thread.start = start

    def test_the_event_loop_is_free_while_something_loads(self):
        may_end = threading.Event()

        def make():
            self.assertTrue(may_end.wait(LONG))
            return Thing()

        async def main():
            waiting = asyncio.ensure_future(self.pool.get_model_async("embedding", "a", make))
            await asyncio.sleep(0)
            may_end.set()  # by the loop: nobody else does
            self.assertIsInstance(await waiting, Thing)

        run(main())

    def test_200_that_await_one_model_load_it_once(self):
        made = []

        async def main():
            all_ask = asyncio.Event()

            async def make():
                made.append(1)
                await all_ask.wait()
                return Thing()

            asking = [asyncio.ensure_future(self.pool.get_model_async("embedding", "a", make)) for _ in range(200)]
            await asyncio.sleep(0.1)
            all_ask.set()
            models = await asyncio.gather(*asking)
            self.assertEqual(len({id(each) for each in models}), 1)

        run(main())
        self.assertEqual(made, [1])

    def test_more_may_wait_than_an_executor_has_threads(self):
        # Each load needs one that starts after it: with a fixed number of threads nobody would get there.
        async def main():
            async def chain(depth):
                if depth:
                    await self.pool.get_model_async("embedding", f"m{depth - 1}", lambda: chain(depth - 1))
                return Thing()

            await self.pool.get_model_async("embedding", "m12", lambda: chain(12))

        run(main())
        self.assertEqual(len(self.pool.models), 13)

    def test_a_constructor_may_be_a_coroutine_function_on_the_callers_loop(self):
        async def main():
            here = threading.get_ident()
            gate = asyncio.Event()
            asyncio.get_running_loop().call_later(0.01, gate.set)

            async def make():
                await gate.wait()
                self.assertEqual(threading.get_ident(), here)
                return Thing()

            model = await self.pool.get_model_async("embedding", "a", make)
            self.assertIsInstance(model, Thing)

        run(main())

    def test_exceptions_come_out_as_themselves_with_their_tracebacks(self):
        raised = KeyError("weights")

        def fail_plainly():
            raise raised

        async def fail_later():
            await asyncio.sleep(0)
            raise raised

        for fail in (fail_plainly, fail_later):
            try:
                run(self.pool.get_model_async("embedding", "a", fail))
            except KeyError as caught:
                self.assertIs(caught, raised)
                names = [frame.name for frame in traceback.extract_tb(caught.__traceback__)]
            self.assertIn(fail.__name__, names)

    def test_everybody_who_waits_gets_the_exception(self):
        async def main():
            gate = asyncio.Event()

            async def fail():
                await gate.wait()
                raise ValueError("no weights")

            asking = [asyncio.ensure_future(self.pool.get_model_async("embedding", "a", fail)) for _ in range(5)]
            await asyncio.sleep(0.05)
            gate.set()
            for each in await asyncio.gather(*asking, return_exceptions=True):
                self.assertIsInstance(each, ValueError)

        run(main())

    def test_an_exit_and_an_interrupt_come_out_as_themselves(self):
        for end in (SystemExit(3), KeyboardInterrupt()):
            def make():
                raise end

            with self.assertRaises(type(end)):
                asyncio.run(self.pool.get_model_async("embedding", "a", make))

    def test_a_constructor_that_raises_stop_iteration_does_not_hang(self):
        def make():
            raise StopIteration

        with self.assertRaises(RuntimeError) as caught:
            run(self.pool.get_model_async("embedding", "a", make))
        self.assertIsInstance(caught.exception.__cause__, StopIteration)

    def test_wrong_arguments_are_raised_where_it_is_awaited(self):
        with self.assertRaises(TypeError):
            run(self.pool.get_model_async(1, "a", Thing))
        with self.assertRaises(TypeError):
            run(self.pool.get_model_async("a", "b", wrong=1))
        with self.assertRaises(resource_pool.NotFoundError):
            run(self.pool.get_model_async("a", "b"))
        with self.assertRaises(resource_pool.LoadError):
            run(self.pool.get_model_async("a", "b", lambda: None))
        self.pool.close()
        with self.assertRaises(resource_pool.StateError):
            run(self.pool.get_model_async("a", "b", Thing))

    def test_a_coroutine_that_returns_none_needs_the_callers_word(self):
        async def make():
            return None

        with self.assertRaises(resource_pool.LoadError):
            run(self.pool.get_model_async("a", "b", make))
        self.assertIsNone(run(self.pool.get_model_async("a", "b", make, allow_none=True)))

    def test_context_variables_are_the_callers(self):
        name = contextvars.ContextVar("name", default="nobody")
        seen = []

        def make():
            seen.append(name.get())
            name.set("the constructor")
            return Thing()

        async def make_later():
            seen.append(name.get())
            return Thing()

        async def main():
            name.set("the caller")
            await self.pool.get_model_async("embedding", "a", make)
            await self.pool.get_model_async("embedding", "b", make_later)
            self.assertEqual(name.get(), "the caller")

        run(main())
        self.assertEqual(seen, ["the caller"] * 2)

    def test_what_a_constructor_awaits_is_noted_as_its_need(self):
        async def make():
            thing = Thing()
            thing.inner = await self.pool.get_model_async("embedding", "inner", Thing)
            thing.known = await self.pool.get_model_async("embedding", "known", Thing)
            return thing

        def run_inside():
            thing = Thing()
            thing.inner = asyncio.run(self.pool.get_model_async("embedding", "inner", Thing))
            return thing

        async def main():
            self.pool.get_model("embedding", "known", Thing)
            await self.pool.get_model_async("embedding", "outer", make)
            await self.pool.get_model_async("embedding", "around", run_inside)

        run(main())
        details = self.pool.get_resource_details("embedding:outer")
        self.assertEqual(sorted(details["depends_on"]), ["embedding:inner@cpu", "embedding:known@cpu"])
        self.assertEqual(self.pool.get_resource_details("embedding:around")["depends_on"], ["embedding:inner@cpu"])

    def test_circles_of_what_is_awaited_are_an_error(self):
        async def itself():
            return await self.pool.get_model_async("embedding", "a", itself)

        def itself_run_inside():
            return asyncio.run(self.pool.get_model_async("embedding", "a", itself_run_inside))

        for make in (itself, itself_run_inside):
            with self.assertRaises(resource_pool.CycleError):
                run(self.pool.get_model_async("embedding", "a", make))

    def test_two_that_await_each_other_are_an_error(self):
        async def main():
            both = [asyncio.Event(), asyncio.Event()]

            async def make(mine, other):
                both[mine].set()
                await both[other].wait()
                await self.pool.get_model_async("embedding", f"m{other}", lambda: make(other, mine))
                return Thing()

            told = await asyncio.gather(self.pool.get_model_async("embedding", "m0", lambda: make(0, 1)),
                                        self.pool.get_model_async("embedding", "m1", lambda: make(1, 0)),
                                        return_exceptions=True)
            self.assertTrue([each for each in told if isinstance(each, resource_pool.CycleError)], told)

        run(main())

    def test_a_load_that_has_ended_is_nobodys_reason(self):
        later = []

        async def main():
            async def long_after():
                await gate.wait()
                return await self.pool.get_model_async("embedding", "later", Thing)

            async def make():
                later.append(asyncio.ensure_future(long_after()))  # in the context of this constructor
                return Thing()

            gate = asyncio.Event()
            await self.pool.get_model_async("embedding", "a", make)
            gate.set()
            self.assertIsInstance(await later[0], Thing)

        run(main())
        self.assertEqual(self.pool.get_resource_details("embedding:a")["depends_on"], [])


class CallingOff(unittest.TestCase):
    def setUp(self):
        self.pool = ResourcePool(history="off")

    def test_who_is_cancelled_waits_no_longer_and_the_load_is_kept(self):
        may_end = threading.Event()
        made = []

        def make():
            made.append(Thing())
            may_end.wait(LONG)
            return made[0]

        async def main():
            asking = asyncio.ensure_future(self.pool.get_model_async("embedding", "a", make))
            while not made:
                await asyncio.sleep(0.001)
            asking.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await asking
            self.assertEqual(dict(self.pool.models), {})
            may_end.set()
            self.assertIs(await self.pool.get_model_async("embedding", "a", make), made[0])

        run(main())
        self.assertEqual(len(made), 1)

    def test_a_wait_for_room_is_called_off(self):
        pool = ResourcePool(history="off", budget=1 << 20)
        held = pool.get_model("embedding", "held", Thing, size=1 << 20)

        async def main():
            before = threading.active_count()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(pool.get_model_async("embedding", "a", Thing, size=1 << 20), 0.1)
            while threading.active_count() > before:  # the thread ends, though there is no room yet
                await asyncio.sleep(0.001)

        with pool.lease_model("embedding", "held"):
            try:
                run(main())
            except resource_pool.CapacityError:
                self.skipTest("no room is an error at once here: nobody else could make any")
        self.assertEqual(list(pool.models), ["embedding:held"])
        del held

    def test_a_deadline_of_the_call_is_its_own(self):
        may_end = threading.Event()
        started = threading.Event()

        def make():
            started.set()
            may_end.wait(LONG)
            return Thing()

        async def main():
            first = asyncio.ensure_future(self.pool.get_model_async("embedding", "a", make))
            while not started.is_set():
                await asyncio.sleep(0.001)
            with self.assertRaises(resource_pool.TimeoutError):
                await self.pool.get_model_async("embedding", "a", make, timeout=0.05)
            may_end.set()
            await first

        run(main())

    def test_when_the_loop_ends_its_constructors_do_and_others_load_for_themselves(self):
        started = threading.Event()
        got = []

        async def never():
            started.set()
            await asyncio.Event().wait()

        def ask():
            started.wait(LONG)
            got.append(self.pool.get_model("embedding", "a", Thing))

        async def main():
            asyncio.ensure_future(self.pool.get_model_async("embedding", "a", never))
            while not started.is_set():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)  # time for the thread to come to wait; where it does not, it is none the worse

        thread = threading.Thread(target=ask)
        thread.start()
        run(main())
        thread.join(LONG)
        self.assertIsInstance(got[0], Thing)

    def test_a_loop_that_is_closed_ends_its_constructors(self):
        started = threading.Event()

        async def never():
            started.set()
            await asyncio.Event().wait()

        loop = asyncio.new_event_loop()
        asking = loop.create_task(self.pool.get_model_async("embedding", "a", never))
        while not started.is_set():
            loop.run_until_complete(asyncio.sleep(0.001))
        tasks = asyncio.all_tasks(loop)
        loop.set_exception_handler(lambda *told: None)
        loop.close()
        self.assertIsInstance(self.pool.get_model("embedding", "a", Thing), Thing)
        for task in [*tasks, asking]:
            task._log_destroy_pending = False  # this test destroys them on purpose


class Leasing(unittest.TestCase):
    def setUp(self):
        self.pool = ResourcePool(history="off")

    def leases(self):
        return self.pool.get_resource_details("embedding:a")["leases"]

    def test_async_with_gives_the_object_and_gives_it_back(self):
        async def main():
            async with self.pool.lease_model_async("embedding", "a", Thing) as model:
                self.assertIsInstance(model, Thing)
                del model
                self.assertEqual(len(self.leases()), 1)
            self.assertEqual(self.leases(), [])
            async with self.pool.lease_tokenizer_async("embedding", "t", Thing), \
                    self.pool.lease_resource_async("data", constructor=Thing) as data:
                self.assertIsInstance(data, Thing)
            with self.assertRaises(ValueError):
                async with self.pool.lease_model_async("embedding", "a", Thing):
                    raise ValueError
            self.assertEqual(self.leases(), [])

        run(main())

    def test_awaited_it_gives_the_lease(self):
        async def main():
            lease = await self.pool.lease_model_async("embedding", "a", Thing)
            self.assertIsInstance(lease, resource_pool.Lease)
            self.assertEqual(lease.key, "embedding:a@cpu")
            with await self.pool.lease_model_async("embedding", "a") as model:
                self.assertIs(model, lease.object)
            lease.release()

        run(main())

    def test_a_lease_that_nobody_took_is_given_back(self):
        may_end = threading.Event()
        started = threading.Event()

        def make():
            started.set()
            may_end.wait(LONG)
            return Thing()

        async def enter():
            async with self.pool.lease_model_async("embedding", "a", make):
                raise AssertionError("it was cancelled")

        async def main():
            asking = asyncio.ensure_future(enter())
            while not started.is_set():
                await asyncio.sleep(0.001)
            asking.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await asking
            may_end.set()
            await self.pool.get_model_async("embedding", "a")
            while self.leases():
                await asyncio.sleep(0.001)

        run(main())


class Elsewhere(unittest.TestCase):
    def test_other_event_loops_are_refused_clearly(self):
        pool = ResourcePool(history="off")
        pool.get_model("embedding", "a", Thing)
        coroutine = pool.get_model_async("embedding", "a")
        with self.assertRaises(resource_pool.UnsupportedError) as caught:
            coroutine.send(None)  # as a loop that is not asyncio's would
        self.assertIn("asyncio", str(caught.exception))
        self.assertEqual(caught.exception.status, "unsupported")
        self.assertTrue(caught.exception.hint)

    def test_asyncio_is_imported_when_it_is_used(self):
        done = run_python("import sys, resource_pool\n"
                          "pool = resource_pool.ResourcePool(history='off')\n"
                          "pool.get_model('a', 'b', object)\n"
                          "assert not {'asyncio', 'resource_pool._await'} & set(sys.modules), 'too early'\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_process_ends_with_awaits_under_way(self):
        done = run_python("""
import asyncio, resource_pool, threading
pool = resource_pool.ResourcePool(history="off")
started = threading.Event()

def never():
    started.set()
    threading.Event().wait()

async def main():
    asking = asyncio.ensure_future(pool.get_model_async("a", "b", never))
    while not started.is_set():
        await asyncio.sleep(0.001)
    print("ends")

asyncio.run(main())
""")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "ends\n", ""))


class Leaks(unittest.TestCase):
    def test_what_was_awaited_is_given_up_without_a_collection(self):
        pool = ResourcePool(history="off")
        gone = []

        class Made:
            pass

        async def main(i):
            def make():
                return Made()

            async def make_later():
                await asyncio.sleep(0)
                return Made()

            def fail():
                raise ValueError("no")

            async def fail_later():
                raise ValueError("no")

            for number, each in enumerate((make, make_later)):
                weakref.finalize(each, gone.append, "constructor")
                model = await pool.get_model_async("embedding", f"m{i}.{number}", each)
                weakref.finalize(model, gone.append, "object")
                async with pool.lease_model_async("embedding", f"m{i}.{number}"):
                    pass
            for each in (fail, fail_later):
                weakref.finalize(each, gone.append, "constructor")
                try:
                    await pool.get_model_async("embedding", "bad", each)
                except ValueError as raised:
                    self.assertEqual(str(raised), "no")

        async def many():
            for i in range(50):
                await main(i)

        gc.collect()
        gc.disable()
        try:
            run(many())
            for thread in threading.enumerate():  # the last one may still be on its way out
                if thread.name == "resource_pool await":
                    thread.join(LONG)
            pool.clear()
            self.assertEqual((gone.count("constructor"), gone.count("object")), (200, 100))
        finally:
            gc.enable()
