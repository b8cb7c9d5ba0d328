# SPDX-License-Identifier: Apache-2.0
"""Load each model once, however many ask for it.

    from resource_pool import get_global_resource_pool

    pool = get_global_resource_pool()
    model = pool.get_model("embedding", "bert-base-uncased", constructor=load)

docs/python.md has the rest.
"""

import os

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


os.register_at_fork(after_in_child=_renew_lock)


def __getattr__(name):
    if name == "global_resource_pool":
        return get_global_resource_pool()
    if name == "placer":
        from ._place import placer
        return placer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
