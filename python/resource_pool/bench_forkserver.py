# SPDX-License-Identifier: Apache-2.0
"""What starting Pythons from one that has its libraries loaded saves: `rpool bench forkserver`.

Each figure is taken in turn with the plain interpreter's, in one run. The suite is what people write: a model that a
fixture loads, sixteen tests, four workers of pytest-xdist; its model is made from a seed into a temporary folder. Each
of its rounds has a server of its own, so that one run starts it and the next finds it.
"""

import contextlib
import glob
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from .bench import MIB, PROCESSES, skip

TESTS = 16
CHILDREN = 1000
AT_ONCE = 64

CONFTEST = '''
import os

def pytest_sessionfinish(session):
    if os.environ.get("PYTEST_XDIST_WORKER"):
        with open("/proc/self/smaps_rollup") as file:
            kib = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
        with open(os.path.join(os.environ["BENCH_OUT"], str(os.getpid())), "w") as file:
            file.write(str(kib))
'''

SUITE = f'''
import os, pytest, torch
from transformers import AutoModel

@pytest.fixture(scope="session")
def model():
    return AutoModel.from_pretrained(os.environ["BENCH_MODEL"]).eval()

@pytest.mark.parametrize("turn", range({TESTS}))
def test_model(model, turn):
    with torch.no_grad():
        found = model(input_ids=torch.arange(100 + turn, 132 + turn)[None]).last_hidden_state
    assert found.shape == (1, 32, 768)
'''

LIGHT = '''
import json, pytest

@pytest.mark.parametrize("turn", range(200))
def test_text(turn):
    data = {"turn": turn, "list": list(range(turn))}
    assert json.loads(json.dumps(data)) == data
'''


def rpool():
    return os.environ.get("RESOURCE_POOL_RPOOL") or shutil.which("rpool") or "rpool"


def launcher():
    """The program beside rpool that stands in the interpreter's place; None: not there."""
    folder = os.path.dirname(os.path.realpath(rpool()))
    places = [os.path.join(folder, "rpool-python"), os.path.join(folder, "..", "forkserver", "rpool-python")]
    return next((path for path in places if os.access(path, os.X_OK)), None)


def missing(*names):
    return next((name for name in names if importlib.util.find_spec(name) is None), None)


def milliseconds(command, environment, cwd="/"):
    start = time.perf_counter()
    subprocess.run(command, env=environment, cwd=cwd, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


@contextlib.contextmanager
def own_servers(folder):
    """The environment of processes that meet no server of others; those that they start go at the end."""
    place = tempfile.mkdtemp(prefix="servers-", dir=folder)
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("RESOURCE_POOL_", "PYTHON")) or name == "PYTHONDONTWRITEBYTECODE"}
    environment = {
        **kept, "RESOURCE_POOL_BROKER": place, "XDG_CACHE_HOME": os.path.join(folder, "cache"),
        "RESOURCE_POOL_RPOOL": rpool(), "HARDWARE_DETECTION_CACHE": "off", "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false",
        # The package's own folder, for the plugin of pytest; nothing else of ours.
        "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    }
    try:
        yield environment
    finally:
        subprocess.run([rpool(), "stop", "--force"], env=environment, check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


# ---- a suite under pytest -----------------------------------------------------------------------------------------


def run_suite(tests, environment, model, under):
    """Seconds, and MiB that are private to a worker when its tests are done."""
    with tempfile.TemporaryDirectory(prefix="rpool-out-") as out:
        command = [*under, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(PROCESSES), tests]
        start = time.perf_counter()
        done = subprocess.run(command, env={**environment, "BENCH_OUT": out, "BENCH_MODEL": model}, cwd=tests,
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        spent = time.perf_counter() - start
        if done.returncode != 0:
            raise RuntimeError(f"the suite failed: {done.stdout[-1500:]}{done.stderr[-500:]}")
        told = [int(open(path, encoding="ascii").read()) / 1024 for path in glob.glob(os.path.join(out, "*"))]
        if under and f"{PROCESSES} of {PROCESSES} processes forked" not in done.stderr:
            raise RuntimeError(f"not every worker was forked: {done.stderr[-1500:]}")
        return {"seconds": spent, "private": statistics.mean(told)}


def write_suite(folder, text):
    tests = os.path.join(folder, "tests")
    os.makedirs(tests)
    for name, content in (("conftest.py", CONFTEST), ("test_suite.py", text)):
        with open(os.path.join(tests, name), "w", encoding="utf-8") as file:
            file.write(content)
    return tests


def make_model(folder):
    """In a process of its own: what it leaves in the heap is nobody's."""
    code = ("import sys, torch\nfrom transformers import BertConfig, BertModel\n"
            "torch.manual_seed(1)\nBertModel(BertConfig()).save_pretrained(sys.argv[1])")
    subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True)


def alternate(tests, folder, model, rounds):
    """(plain, with the server's start, with the server there, the very first), each a list of runs."""
    under = [rpool(), "run", "--"]
    plain, started, there = [], [], []
    with own_servers(folder) as environment:
        run_suite(tests, environment, model, [])  # for the disk's cache
        first = run_suite(tests, environment, model, under)  # it learns what to load
    for _ in range(rounds):
        with own_servers(folder) as environment:
            plain.append(run_suite(tests, environment, model, []))
            started.append(run_suite(tests, environment, model, under))
            there.append(run_suite(tests, environment, model, under))
    return plain, started, there, [first]


def bench_heavy(table, rounds):
    name = f"{TESTS} tests of a BERT-base, -n {PROCESSES}"
    lacks = missing("torch", "transformers", "safetensors", "pytest", "xdist")
    if lacks:
        return skip(name, f"{lacks} is not installed for {sys.executable}; RESOURCE_POOL_PYTHON names another")
    with tempfile.TemporaryDirectory(prefix="rpool-bench-") as folder:
        model = os.path.join(folder, "model")
        make_model(model)
        plain, started, there, first = alternate(write_suite(folder, SUITE), folder, model, rounds)

    def add(what, unit, ours, key):
        table.add(f"{name}: {what}", unit, [run[key] for run in ours], [run[key] for run in plain][:len(ours)])

    add("with the server running", "s", there, "seconds")
    add("the server's start counted", "s", started, "seconds")
    add("the very first, nothing learnt", "s", first, "seconds")
    add("private memory of a worker", "MiB", there, "private")
    return None


def bench_light(table, rounds):
    name = f"a suite without heavy imports, -n {PROCESSES}"
    lacks = missing("pytest", "xdist")
    if lacks:
        return skip(name, f"{lacks} is not installed for {sys.executable}")
    with tempfile.TemporaryDirectory(prefix="rpool-bench-") as folder:
        plain, started, there, _ = alternate(write_suite(folder, LIGHT), folder, "", rounds)
    seconds = [run["seconds"] for run in plain]
    table.add(f"{name}: with the server running", "s", [run["seconds"] for run in there], seconds)
    table.add(f"{name}: the server's start counted", "s", [run["seconds"] for run in started], seconds)
    return None


# ---- one process --------------------------------------------------------------------------------------------------


def forked(preloads=()):
    """The command that starts this interpreter from a server."""
    return [launcher(), *(["--preload", ",".join(preloads)] if preloads else []), "--interpreter", sys.executable]


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024


def server_of(command, environment):
    """The process that a child was forked from; the child says that it is one."""
    code = "import os, sys; print(os.getppid(), os.environ.get('BENCH'))"
    done = subprocess.run([*command, "-c", code], env={**environment, "BENCH": "1"}, check=True, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)
    pid = int(done.stdout.split()[0])
    if pid == os.getpid():
        raise RuntimeError("nothing was forked: 'rpool status' tells why")
    if not os.path.exists(f"/proc/{pid}"):
        raise RuntimeError("the server was replaced by another while its child ran")
    return pid


def bench_start(table, environment, rounds, code, preloads, name):
    """A program from a server beside the same from the plain interpreter."""
    command = forked(preloads)
    server_of(command, environment)
    pairs = [(milliseconds([*command, "-c", code], environment),
              milliseconds([sys.executable, "-c", code], environment)) for _ in range(rounds + 1)][1:]
    table.add(name, "ms", *map(list, zip(*pairs)))


def bench_many(table, environment, preloads):
    """One after another, and many at once."""
    command = [*forked(preloads), "-c", "pass"]
    what = f" of a server with {preloads[0]}" if preloads else ""
    server = server_of(forked(preloads), environment)
    for _ in range(20):  # what is made once is no growth
        milliseconds(command, environment)
    before = anonymous_bytes(server)
    for _ in range(CHILDREN):
        milliseconds(command, environment)
    if server_of(forked(preloads), environment) != server:
        raise RuntimeError("the server was replaced")
    table.add(f"{CHILDREN:,} children one after another{what}: it grows by (baseline: the promise)", "KiB",
              [max(0, anonymous_bytes(server) - before) / 1024], MIB / 1024)
    bench_at_once(table, environment, command, what)


def start_at_once(command, environment):
    """(how many of them answered, milliseconds until all had ended)."""
    words = [*command[:-1], "print('here')"]
    start = time.perf_counter()
    processes = [subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
                 for _ in range(AT_ONCE)]
    answers = [process.communicate()[0] for process in processes]
    spent = (time.perf_counter() - start) * 1e3
    good = sum(answer == b"here\n" and process.returncode == 0 for answer, process in zip(answers, processes))
    return good, spent


def bench_at_once(table, environment, command, what, rounds=3):
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(start_at_once(command, environment))
        plain.append(start_at_once([sys.executable, "-c", ""], environment))
    table.add(f"{AT_ONCE} children at once{what}: answered (baseline: all)", "of", [good for good, _ in ours],
              float(AT_ONCE))
    table.add(f"{AT_ONCE} children at once{what}: all ended (baseline: {AT_ONCE} plain ones, nothing loaded)", "ms",
              [spent for _, spent in ours], [spent for _, spent in plain])


def bench_processes(table, rounds):
    with tempfile.TemporaryDirectory(prefix="rpool-bench-") as folder:
        with own_servers(folder) as environment:
            lacks = missing("torch")
            preloads = () if lacks else ("torch",)
            bench_start(table, environment, 3 * rounds, "pass", (), "python -c pass, nothing loaded before")
            if lacks:
                skip("python -c 'import torch'", f"torch is not installed for {sys.executable}")
            else:
                bench_start(table, environment, rounds, "import torch", preloads, "python -c 'import torch'")
            bench_many(table, environment, preloads)


def bench_forkserver(table, rounds):
    if launcher() is None:
        return skip("forkserver", "rpool-python is not beside rpool")
    for part, times in ((bench_heavy, rounds or 3), (bench_light, rounds or 7), (bench_processes, rounds or 5)):
        try:
            part(table, times)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            skip(part.__name__, str(error))
    return None
