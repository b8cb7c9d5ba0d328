# SPDX-License-Identifier: Apache-2.0
"""What knows asyncio: get_model_async() and its kin. Imported when the first of them is called.

A call that finds nothing loaded runs on a thread of its own: the few threads of an event loop's executor
could all be taken by calls that wait for one that has none. The threads are daemons, for a load that
nobody waits for any more must not keep the process from its end.
"""

import asyncio
import contextvars
import threading

from . import _core

#: The load whose constructor's coroutine runs in this context: what it awaits is on its behalf.
_within = contextvars.ContextVar("resource_pool_within", default=None)


def _running_loop():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        error = _core.UnsupportedError("no event loop of asyncio runs here: the pool cannot be awaited")
        error.status, error.hint = "unsupported", "under another loop, such as trio's, call get_model() on a thread"
        raise error from None


async def get(call):
    """The result of a call: at once what is loaded, else once a thread has it."""
    loop = _running_loop()
    load = _within.get() or _core._load()
    found = call.loaded(load)
    if found is not None:
        return found[0]
    future = loop.create_future()
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_run, call, load, loop, future), name="resource_pool await",
                     daemon=True).start()
    try:
        raised, result = await future
    except asyncio.CancelledError:
        call.call_off()
        raise
    if raised is None:
        return result
    try:
        raise raised
    finally:
        del raised, future  # its traceback has this frame


def _run(call, load, loop, future):
    """On the thread."""
    box = []  # taken out on the loop: this thread must not look like somebody who has the object
    try:
        box.append((None, call.run(load, lambda coroutine, load: _finish(coroutine, load, loop))))
    except BaseException as raised:  # noqa: B902  (whoever awaits it raises it)
        box.append((raised, None))
    try:
        loop.call_soon_threadsafe(_tell, future, box)
    except RuntimeError:
        box.clear()  # the loop is closed: nobody waits
    finally:
        del future  # what it comes to may be an exception, whose traceback has this frame


def _tell(future, box):
    told = box.pop()
    if not future.done():  # done: cancelled, and what was made stays with the pool
        future.set_result(told)


def _finish(coroutine, load, loop):
    """On the thread: what a constructor's coroutine comes to, which runs on the loop of who asked."""
    ended = threading.Event()
    tasks = []

    def start():
        _within.set(load)
        tasks.append(loop.create_task(coroutine))
        tasks[0].add_done_callback(lambda task: ended.set())

    try:
        loop.call_soon_threadsafe(start, context=contextvars.copy_context())
    except RuntimeError:  # the loop is closed
        coroutine.close()
        raise
    while not ended.wait(0.5):
        if loop.is_closed():
            if not tasks:
                coroutine.close()
            # Its caller's end, and nobody else's: others who wait load for themselves.
            raise asyncio.CancelledError("the event loop was closed while a constructor ran on it")
    return tasks.pop().result()


class Leasing:
    """What lease_model_async() returns: for `async with`, which gives the object, or to be awaited for the Lease."""

    def __init__(self, call):
        self._call = call
        self._leases = []

    def __await__(self):
        return get(self._call).__await__()

    async def __aenter__(self):
        lease = await get(self._call)
        self._leases.append(lease)
        return lease.object

    async def __aexit__(self, *raised):
        self._leases.pop().__exit__(*raised)
