# SPDX-License-Identifier: Apache-2.0
"""Load each model once, however many ask for it.

    from resource_pool import get_global_resource_pool

    pool = get_global_resource_pool()
    model = pool.get_model("embedding", "bert-base-uncased", constructor=load)
    with pool.lease_model("embedding", "bert-base-uncased") as model:
        ...

help(resource_pool.ResourcePool) has every call. A ResourcePool loads what is asked for once, a Lease keeps it, a Model
is one that an engine loaded from a file, a Tensor what its run leaves where numpy is not installed. All errors are
ResourcePoolError, with `status` and `hint`, and Python's own class of that meaning where there is one. What a
constructor raises comes out as it is. placer() registers how objects of a class are put on a device.
"""

import os
import sys

from ._core import *  # noqa: F401,F403  (ResourcePool, Lease and the exceptions)
from ._core import ResourcePool, __version__

_lock = __import__("_thread").allocate_lock()
_pool = None
_pool_pid = None


def get_global_resource_pool():
    """The one pool of this process, opened on first use. A child of fork() gets its own."""
    global _pool, _pool_pid
    if _pool is not None and _pool_pid == os.getpid():
        return _pool
    with _lock:
        if _pool is None or _pool_pid != os.getpid():
            _pool = ResourcePool()
            _pool_pid = os.getpid()
    return _pool


def _renew_lock():
    """In a child of fork(): whoever held the lock is not here."""
    global _lock
    _lock = __import__("_thread").allocate_lock()


def _finish_imports():
    """Before a fork: what the pool imports when it is first needed is there, or still nobody's.

    A thread in the midst of an import has Python's lock of that module, which in the child nobody would ever give back.
    """
    if len(sys._current_frames()) < 2:
        return
    names = [f"{__name__}._pickling", f"{__name__}._place", f"{__name__}._sizes", f"{__name__}._torch", "json", "mmap",
             "stat", "traceback"]
    # These are imported for people who have them already, or for whom it takes long; then it may be going on now.
    names += [name for name in ("asyncio", "logging", "numpy") if name in sys.modules]
    if "asyncio" in names:
        names.append(f"{__name__}._await")
    for name in names:
        try:
            __import__(name)
        except Exception:  # whoever needs it is told
            pass


os.register_at_fork(before=_finish_imports, after_in_child=_renew_lock)


def __getattr__(name):
    if name == "global_resource_pool":
        return get_global_resource_pool()
    if name == "placer":
        from ._place import placer
        return placer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
