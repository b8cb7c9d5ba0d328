# SPDX-License-Identifier: Apache-2.0
# A notebook as a script: each "# %%" begins a cell, which Jupyter (by jupytext), VS Code and others can run alone.
# As a whole: PYTHONPATH=build/python python3 examples/python/notebook.py. It needs no other library.

# %% [markdown]
# # A pool in a notebook
# A cell is run again and again; what it loads should not be. The pool keeps it under a name, so a cell that is run
# a second time, or that was changed and run again, gets what is there.

# %%
import time

from resource_pool import get_global_resource_pool

pool = get_global_resource_pool()


class Model:
    """Stands for something that takes a while to load."""

    def __init__(self, seconds):
        time.sleep(seconds)
        self.weights = bytearray(8 << 20)

    def __call__(self, text):
        return len(text)


def load():
    return Model(0.5)


# %%
# Run this cell twice: the second time it takes no time.
start = time.perf_counter()
model = pool.get_model("embedding", "demo", load, size=8 << 20)
print(f"after {time.perf_counter() - start:.3f} s: {model('a text')}")

# %% [markdown]
# ## What is there, and what it takes

# %%
for key, entry in ((key, pool._stats[key]) for key in pool.models):
    megabytes = entry["memory_usage"] / (1 << 20)
    print(f"{key}: {megabytes:.1f} MB on {entry['device']}, loaded in {entry['load_ms']:.0f} ms")
stats = pool.get_stats()
print(f"{stats['hits']} hits, {stats['misses']} loads, {stats['system_memory']['available_mb']:.0f} MB of memory left")

# %% [markdown]
# ## Without loading: where would it go, and why?

# %%
plan = pool.explain("embedding", "bert-base-uncased")
print(plan["placement"]["device"], "-", plan["placement"]["reason"])

# %% [markdown]
# ## A constructor that has changed
# The name decides, not the constructor: a new version of `load()` is not called while the old model is there. Take the
# old one out first. A name of the notebook (`model`, or `_` and `Out[...]` of a cell's result) keeps it alive: what
# somebody has is never taken from him.

# %%
del model
pool.clear()
model = pool.get_model("embedding", "demo", lambda: Model(0.0), size=8 << 20)

# %% [markdown]
# ## In an event loop
# Jupyter runs cells in one, so `await` works in a cell and the notebook stays alive meanwhile. In a script:

# %%
import asyncio  # noqa: E402


async def several():
    # Three loads at the same time, each on a thread of its own.
    return await asyncio.gather(*(pool.get_model_async("embedding", f"demo-{i}", load) for i in range(3)))


start = time.perf_counter()
asyncio.run(several())  # in a notebook: await several()
print(f"three models after {time.perf_counter() - start:.1f} s")

# %%
# At the end of the day: what nobody has and nobody asked for in the last ten minutes goes.
print(pool.cleanup_unused_resources(max_age_minutes=10), "models taken out")
