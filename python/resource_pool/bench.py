# SPDX-License-Identifier: Apache-2.0
"""What the package costs and what it saves: `python -m resource_pool.bench`, or `rpool bench python`.

Each figure is taken several times, in turn with the baseline beside it. `calls` needs nothing else. `sharing` and
`suite` build their models from seeds into a temporary folder, which is not measured, and load them the way one would
without a pool, and through one. What cannot be measured here is named on stderr with the reason.
"""

import contextlib
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

MIB = 1 << 20
PROCESSES = 4


class Table:
    """The rows, as the other sets of `rpool bench` have them."""

    def __init__(self):
        self.rows = []

    def add(self, name, unit, ours, baselines):
        """Figures of some rounds, and the baselines of the same rounds (or one number for all)."""
        if not isinstance(baselines, list):
            baselines = [baselines] * len(ours)
        ratios = [a / b for a, b in zip(ours, baselines) if b > 0]
        if not ratios:
            skip(name, "the baseline is nothing")
            return
        self.rows.append({
            "name": name, "unit": unit, "min": float(min(ours)), "median": float(statistics.median(ours)),
            "max": float(max(ours)), "baseline": float(statistics.median(baselines)),
            "ratio": float(statistics.median(ratios)),
        })

    def show(self):
        print(f"{'figure':70} {'unit':>5} {'min':>10} {'median':>10} {'max':>10} {'baseline':>10} {'ratio':>7}")
        for row in self.rows:
            print(f"{row['name']:70} {row['unit']:>5} {row['min']:10.3f} {row['median']:10.3f} {row['max']:10.3f} "
                  f"{row['baseline']:10.3f} {row['ratio']:7.3f}")


def skip(name, reason):
    print(f"skipped: {name}: {reason}", file=sys.stderr, flush=True)


# ---- calls ------------------------------------------------------------------------------------------------------


def nanoseconds(loop, count=50000):
    """Of one turn of a loop that makes so many calls."""
    start = time.perf_counter_ns()
    loop(count)
    return (time.perf_counter_ns() - start) / count


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_threads(loop, threads, count):
    """Nanoseconds of a call when that many threads share the calls."""
    workers = [threading.Thread(target=loop, args=(count // threads,)) for _ in range(threads)]
    start = time.perf_counter_ns()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (time.perf_counter_ns() - start) / count


def new_pool(**options):
    from resource_pool import ResourcePool

    return ResourcePool(**{"history": "off", "share": "process", **options})


class Behind:
    """What people write instead of a pool: a dict, and a lock around it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.models = {}

    def get_model(self, model_type, model_name):
        with self.lock:
            return self.models[model_type, model_name]


def hit_loops(pool, behind):
    """Loops as callers write them, so that nothing but the call is in them; the dict's comes last."""
    preferences = {"device": "auto", "priority_list": ["cuda", "cpu"]}

    def load():
        return []

    def get_model(count):
        for _ in itertools.repeat(None, count):
            pool.get_model("embedding", "bert-base-uncased", load)

    def get_with_preferences(count):
        for _ in itertools.repeat(None, count):
            pool.get_model("embedding", "bert-base-uncased", load, preferences)

    def get_tokenizer(count):
        for _ in itertools.repeat(None, count):
            pool.get_tokenizer("embedding", "bert-base-uncased", load)

    def get_resource(count):
        for _ in itertools.repeat(None, count):
            pool.get_resource("data", "corpus", load)

    def lease_model(count):
        for _ in itertools.repeat(None, count):
            pool.lease_model("embedding", "bert-base-uncased", load).release()

    def get_behind(count):
        for _ in itertools.repeat(None, count):
            behind.get_model("embedding", "bert-base-uncased")

    return get_model, get_with_preferences, get_tokenizer, get_resource, lease_model, get_behind


def bench_hits(table, rounds):
    pool = new_pool()
    behind = Behind()
    behind.models["embedding", "bert-base-uncased"] = []
    *loops, base = hit_loops(pool, behind)
    names = ("get_model(), hit", "get_model(), hit, with hardware_preferences", "get_tokenizer(), hit",
             "get_resource(), hit", "lease_model() and release(), hit")
    for name, loop in zip(names, loops):
        nanoseconds(loop, 5000)
        taken = [(nanoseconds(loop), nanoseconds(base)) for _ in range(rounds)]
        table.add(name, "ns", *map(list, zip(*taken)))
    one = loops[0]
    taken = [(in_threads(one, 4, 400000), in_threads(one, 1, 400000)) for _ in range(rounds)]
    table.add("get_model(), hit, 4 threads in all (baseline: 1 thread)", "ns", *map(list, zip(*taken)))
    taken = [(in_threads(one, 4, 400000), in_threads(base, 4, 400000)) for _ in range(rounds)]
    table.add("get_model(), hit, 4 threads (baseline: the dict, 4 threads)", "ns", *map(list, zip(*taken)))
    pool.close()


def bench_loads(table, rounds):
    def two_constructors():
        pool = new_pool()
        threads = [threading.Thread(target=pool.get_model, args=("embedding", name, lambda: time.sleep(1) or [1]))
                   for name in "ab"]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    table.add("two constructors of 1 s, 2 threads", "s", [two_constructors() for _ in range(min(rounds, 3))], 1.0)
    opened = []
    for _ in range(rounds):
        start = time.perf_counter()
        pool = new_pool()
        opened.append((time.perf_counter() - start) * 1e3)
        pool.close()
    table.add("open a pool (baseline: the promised 1 ms)", "ms", opened, 1.0)


def bench_import(table, rounds):
    code = ("import time; start = time.perf_counter(); import resource_pool; "
            "print((time.perf_counter() - start) * 1e3)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    taken = [float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
             for _ in range(rounds + 1)]
    table.add("import resource_pool (baseline: the aim)", "ms", taken[1:], 5.0)


def bench_looks(table, rounds):
    pool = new_pool()
    kept = [pool.get_model("embedding", f"model-{index}", lambda: bytearray(64), size=1000) for index in range(1000)]

    def each_key(keys):
        for key in keys:
            pool._stats[key]

    keys = list(pool.models)
    pool.get_stats()
    table.add("get_stats(), 1,000 objects (baseline: the aim)", "ms",
              [seconds(pool.get_stats) * 1e3 for _ in range(rounds)], 1.0)
    looks = []
    for _ in range(rounds):
        pool.get_model("embedding", "model-0")  # what was looked at is old now
        few = seconds(lambda: each_key(keys[:1]))
        pool.get_model("embedding", "model-0")
        looks.append((seconds(lambda: each_key(keys)) * 1e3, few * 1e3))
    table.add("_stats[key] for each of 1,000 keys (baseline: for one)", "ms", *map(list, zip(*looks)))
    details = [seconds(lambda: pool.get_resource_details(keys[500])) * 1e3 for _ in range(rounds)]
    table.add("get_resource_details(), 1,000 objects (baseline: get_stats())", "ms", details,
              [seconds(pool.get_stats) * 1e3 for _ in range(rounds)])
    del kept
    pool.close()


def bench_calls(table, rounds):
    rounds = rounds or 15
    bench_hits(table, rounds)
    bench_loads(table, rounds)
    bench_import(table, rounds)
    bench_looks(table, rounds)


# ---- what is loaded -----------------------------------------------------------------------------------------------


class Kind:
    """Something that tests load. `plain` is what one writes without a pool; `touch` reads all of it, as using it does:
    pages of a mapped file count once they were read."""

    needs = ()
    resource = False

    def build(self, folder, small):
        """Make its files, from a seed."""

    def plain(self, folder):
        raise NotImplementedError

    def pooled(self, pool, folder, name):
        get = pool.get_resource if self.resource else pool.get_model
        return get("bench", name, self.timed(folder))

    def timed(self, folder):
        """The constructor; how long it took goes into `constructing`."""
        self.constructing = None

        def constructor():
            start = time.perf_counter()
            made = self.plain(folder)
            self.constructing = time.perf_counter() - start
            return made

        return constructor

    def touch(self, thing):
        pass


class TorchKind(Kind):
    needs = ("torch",)

    def touch(self, thing):
        import torch

        with torch.no_grad():
            for tensor in itertools.chain(thing.parameters(), thing.buffers()):
                tensor.sum()

    def bytes_of(self, thing):
        return sum(tensor.nbytes for tensor in itertools.chain(thing.parameters(), thing.buffers()))


class Bert(TorchKind):
    name = "BERT-base fp32, safetensors"
    needs = ("torch", "transformers", "safetensors")

    def config(self, small):
        from transformers import BertConfig

        sizes = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "intermediate_size": 64}
        return BertConfig(**sizes) if small else BertConfig()

    def model(self, small):
        import torch
        from transformers import BertModel

        torch.manual_seed(1)
        return BertModel(self.config(small))

    def build(self, folder, small):
        self.model(small).save_pretrained(folder)

    def plain(self, folder):
        from transformers import BertModel

        return BertModel.from_pretrained(folder, local_files_only=True).eval()


class HalfBert(Bert):
    name = "BERT-base cast to fp16"

    def plain(self, folder):
        import torch
        from transformers import BertModel

        return BertModel.from_pretrained(folder, dtype=torch.float16, local_files_only=True).eval()


class BinBert(Bert):
    name = "BERT-base, .bin checkpoint"

    def build(self, folder, small):
        import torch

        model = self.model(small)
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), os.path.join(folder, "pytorch_model.bin"))

    def plain(self, folder):
        import torch
        from transformers import BertConfig, BertModel

        with torch.device("meta"):
            model = BertModel(BertConfig.from_pretrained(folder))
        state = torch.load(os.path.join(folder, "pytorch_model.bin"), weights_only=True)
        model.load_state_dict(state, assign=True)
        # What is made and not loaded stays on the meta device otherwise.
        for module in model.modules():
            for name, buffer in list(module._buffers.items()):
                if buffer is not None and buffer.is_meta:
                    filler = torch.arange(buffer.numel()) if name == "position_ids" else torch.zeros(buffer.numel())
                    module._buffers[name] = filler.reshape(buffer.shape).to(buffer.dtype)
        return model.eval()


class QuantisedBert(Bert):
    name = "BERT-base, dynamically quantised"

    def plain(self, folder):
        import warnings

        import torch
        from transformers import BertModel

        warnings.simplefilter("ignore")
        model = BertModel.from_pretrained(folder, local_files_only=True).eval()
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)


class Fused(TorchKind):
    name = "convolutions with batch norms fused in"
    needs = ("torch", "safetensors")

    def model(self, small):
        import torch
        from torch import nn

        torch.manual_seed(1)
        width, depth = (8, 2) if small else (512, 20)
        layers = []
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width)]
        return nn.Sequential(*layers).eval(), width, depth

    def build(self, folder, small):
        from safetensors.torch import save_file

        model, width, depth = self.model(small)
        save_file(model.state_dict(), os.path.join(folder, "model.safetensors"))
        with open(os.path.join(folder, "shape.json"), "w", encoding="utf-8") as file:
            json.dump([width, depth], file)

    def plain(self, folder):
        import torch
        from safetensors.torch import load_file
        from torch import nn
        from torch.nn.utils.fusion import fuse_conv_bn_eval

        with open(os.path.join(folder, "shape.json"), encoding="utf-8") as file:
            width, depth = json.load(file)
        with torch.device("meta"):
            layers = []
            for _ in range(depth):
                layers += [nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width)]
            model = nn.Sequential(*layers).eval()
        model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), assign=True)
        pairs = zip(model[::2], model[1::2])
        return nn.Sequential(*(fuse_conv_bn_eval(convolution, norm) for convolution, norm in pairs))


class Tokenizer(Kind):
    name = "tokenizer of 120,000 words"
    needs = ("transformers", "tokenizers")

    def build(self, folder, small):
        import random

        from tokenizers import Tokenizer as Words
        from tokenizers.models import WordPiece
        from tokenizers.pre_tokenizers import Whitespace

        chance = random.Random(1)
        words = {"[PAD]": 0, "[UNK]": 1}
        while len(words) < (100 if small else 120000):
            word = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(chance.randint(3, 12)))
            words.setdefault(word, len(words))
        made = Words(WordPiece(words, unk_token="[UNK]"))
        made.pre_tokenizer = Whitespace()
        made.save(os.path.join(folder, "tokenizer.json"))

    def plain(self, folder):
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))

    def pooled(self, pool, folder, name):
        return pool.get_tokenizer("bench", name, self.timed(folder))

    def touch(self, thing):
        thing("some words of a text")


class DataSet(Kind):
    name = "data set of 184 MB made in memory (numpy)"
    needs = ("numpy",)
    resource = True

    def build(self, folder, small):
        import numpy

        images = numpy.random.default_rng(1).integers(0, 256, (10 if small else 60000, 28, 28), dtype=numpy.uint8)
        numpy.save(os.path.join(folder, "images.npy"), images)

    def plain(self, folder):
        import numpy

        images = numpy.load(os.path.join(folder, "images.npy"))
        inputs = images.astype(numpy.float32) / 255
        inputs -= inputs.mean(axis=0)
        return {"inputs": inputs, "labels": images.sum(axis=(1, 2)) % 10}

    def touch(self, thing):
        thing["inputs"].sum()

    def bytes_of(self, thing):
        return sum(array.nbytes for array in thing.values())


class OnnxSession(Kind):
    name = "ONNX session, 256 MiB of weights"
    needs = ("numpy", "onnxruntime")

    def build(self, folder, small):
        import numpy

        def number(value):
            out = b""
            while value > 127:
                out += bytes([value & 127 | 128])
                value >>= 7
            return out + bytes([value])

        def field(key, value):
            if isinstance(value, int):
                return number(key << 3) + number(value)
            value = value.encode() if isinstance(value, str) else value
            return number(key << 3 | 2) + number(len(value)) + value

        def shaped(name, width):
            shape = field(1, field(1, 1)) + field(1, field(1, width))
            return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

        width, depth = (8, 2) if small else (2048, 16)
        chance = numpy.random.default_rng(1)
        graph = field(2, "bench")
        for layer in range(depth):
            node = field(1, f"x{layer}") + field(1, f"w{layer}") + field(2, f"x{layer + 1}") + field(4, "MatMul")
            weights = chance.standard_normal((width, width), dtype=numpy.float32) / width
            graph += field(1, node)
            graph += field(5, field(1, width) * 2 + field(2, 1) + field(8, f"w{layer}") + field(9, weights.tobytes()))
        graph += field(11, shaped("x0", width)) + field(12, shaped(f"x{depth}", width))
        with open(os.path.join(folder, "model.onnx"), "wb") as file:
            file.write(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)))

    def plain(self, folder):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options,
                                            providers=["CPUExecutionProvider"])

    def pooled(self, pool, folder, name):
        self.constructing = None
        return pool.get_model("bench", os.path.join(folder, "model.onnx"))

    def touch(self, thing):
        import numpy

        given = thing.get_inputs()[0]
        thing.run(None, {given.name: numpy.ones(given.shape, dtype=numpy.float32)})


KINDS = [Bert, HalfBert, BinBert, QuantisedBert, Fused, Tokenizer, DataSet, OnnxSession]


def missing(kind):
    """The first library that it needs and that is not here."""
    import importlib.util

    return next((name for name in kind.needs if importlib.util.find_spec(name) is None), None)


def small_machine():
    """As tests are mostly run: a thread a process, nothing downloaded, no progress bars. Before torch is imported:
    what it is told later, its processes after a fork() trip over."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
                       "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})


def memory(pid="self"):
    """{private, shared once}: bytes of a process, this one if no other is named."""
    figures = {"Private_Clean": 0, "Private_Dirty": 0, "Pss": 0}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in figures:
                figures[name] = int(rest.split()[0]) * 1024
    return figures["Private_Clean"] + figures["Private_Dirty"], figures["Pss"]


def memory_of_workers():
    """What processes of the broker hold for all: every byte of theirs, the engine's library too."""
    done = subprocess.run([os.environ.get("RESOURCE_POOL_RPOOL", "rpool"), "status", "--json"], check=True,
                          capture_output=True, text=True)
    broker, *workers = [json.loads(done.stdout)["broker"]["pid"],
                        *{entry.get("process") for entry in json.loads(done.stdout)["entries"]} - {None}]
    return sum(memory(pid)[1] for pid in workers if pid != broker)


# ---- processes that load ------------------------------------------------------------------------------------------


class Child:
    """A fork of this process, which has imported what loads need: it is told what to do line by line, and answers with
    a line of JSON each."""

    ours = set()  # ends of pipes to children that live: a child that keeps another's would never see it end

    def __init__(self, work):
        orders, self.orders = os.pipe()
        self.answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for end in {self.orders, self.answers, *self.ours}:
                os.close(end)
            self.serve(work, os.fdopen(orders), os.fdopen(answers, "w"))
        os.close(orders)
        os.close(answers)
        self.ours.update((self.orders, self.answers))
        self.lines = os.fdopen(self.answers)

    @staticmethod
    def serve(work, orders, answers):
        code = 1
        try:
            gc.collect()  # it writes into each object: those pages are private before anything is measured
            steps = work()
            for _ in orders:
                answers.write(json.dumps(next(steps)) + "\n")
                answers.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def ask(self):
        os.write(self.orders, b"\n")
        line = self.lines.readline()
        if not line:
            raise RuntimeError("a process that loads has died")
        return json.loads(line)

    def end(self):
        self.ours.difference_update((self.orders, self.answers))
        os.close(self.orders)
        self.lines.close()
        os.waitpid(self.pid, 0)


def loading(kind, folder, name, is_pooled):
    """The steps of a process: be there, look at the memory, load and use, tell the memory."""
    def work():
        from resource_pool import ResourcePool

        yield {}  # once all are there: what forks share counts less with each that comes
        before = memory()
        yield {}
        start = time.perf_counter()
        opening = 0.0
        if is_pooled:
            pool = ResourcePool(share="machine", history="off")
            pool.get_resource("bench", "warm", lambda: None)
            opening = time.perf_counter() - start
            thing = kind.pooled(pool, folder, name)
        else:
            thing = kind.plain(folder)
        spent = time.perf_counter() - start
        kind.touch(thing)
        yield {"seconds": spent, "opening": opening, "constructing": getattr(kind, "constructing", None),
               "bytes": kind.bytes_of(thing) if hasattr(kind, "bytes_of") else None}
        after = memory()
        yield {"private": after[0] - before[0], "once": after[1] - before[1]}

    return work


def run_round(kind, folder, name, is_pooled):
    """Four processes load one after the other; what they took once all have it."""
    children = []
    try:
        for _ in range(PROCESSES):
            children.append(Child(loading(kind, folder, name, is_pooled)))
        for _ in range(2):  # all are there; all have looked at their memory
            for child in children:
                child.ask()
        loads = [child.ask() for child in children]
        sizes = [child.ask() for child in children]
        elsewhere = memory_of_workers() if is_pooled else 0
    finally:
        for child in children:
            child.end()
    def mean_of_others(get):
        return statistics.mean(get(load) for load in loads[1:])

    return {
        "first": loads[0]["seconds"], "others": mean_of_others(lambda load: load["seconds"]),
        "attach": mean_of_others(lambda load: load["seconds"] - load["opening"]),
        "opening": statistics.mean(load["opening"] for load in loads),
        "publish": loads[0]["seconds"] - loads[0]["opening"] - (loads[0]["constructing"] or 0.0),
        "made": sum(load["constructing"] is not None for load in loads), "bytes": loads[0]["bytes"],
        "private": sum(size["private"] for size in sizes),
        "once": sum(size["once"] for size in sizes) + elsewhere,
    }


@contextlib.contextmanager
def own_broker(folder):
    """A broker for this benchmark alone, which is there before the first load and gone afterwards."""
    before = os.environ.get("RESOURCE_POOL_BROKER")
    os.environ["RESOURCE_POOL_BROKER"] = os.path.join(folder, "broker")

    def hold():
        from resource_pool import ResourcePool

        pool = ResourcePool(share="machine", history="off")
        held = pool.get_resource("bench", "warm", lambda: [b"x" * 100000])
        yield len(held)
        yield None

    holder = Child(hold)
    try:
        holder.ask()
        yield
    finally:
        holder.end()
        subprocess.run([os.environ.get("RESOURCE_POOL_RPOOL", "rpool"), "stop"], check=False, capture_output=True)
        if before is None:
            del os.environ["RESOURCE_POOL_BROKER"]
        else:
            os.environ["RESOURCE_POOL_BROKER"] = before


def write_once(count):
    """Seconds that it takes to write so many bytes into fresh memory of the kind that is shared."""
    block = bytes(range(256)) * (4 * MIB // 256)

    def work():
        file = os.memfd_create("bench")
        start = time.perf_counter()
        for at in range(0, count, len(block)):
            os.write(file, block[:count - at] if count - at < len(block) else block)
        yield {"seconds": time.perf_counter() - start}

    child = Child(work)
    try:
        return child.ask()["seconds"]
    finally:
        child.end()


def add_kind(table, kind, plain, pooled):
    def column(rounds, name, scale=1.0):
        return [each[name] * scale for each in rounds]

    name = kind.name
    table.add(f"{name}: first process", "ms", column(pooled, "first", 1e3), column(plain, "first", 1e3))
    table.add(f"{name}: second to fourth", "ms", column(pooled, "others", 1e3), column(plain, "others", 1e3))
    table.add(f"{name}: private, 4 processes", "MiB", column(pooled, "private", 1 / MIB),
              column(plain, "private", 1 / MIB))
    table.add(f"{name}: with what is shared, once", "MiB", column(pooled, "once", 1 / MIB),
              column(plain, "once", 1 / MIB))
    if pooled[0]["made"] > 1:
        skip(f"{name}: sharing", f"each of {pooled[0]['made']} processes loaded it for itself")
    elif isinstance(kind, HalfBert):
        table.add(f"{name}: attach (baseline: the aim)", "ms", column(pooled, "attach", 1e3), 40.0)
        table.add("open a pool that shares, its first object (baseline: the aim of an attach)", "ms",
                  column(pooled, "opening", 1e3), 40.0)
        table.add(f"{name}: publish (baseline: written once)", "ms", column(pooled, "publish", 1e3),
                  [write_once(pooled[0]["bytes"]) * 1e3 for _ in pooled])


def bench_kind(table, kind, folder, rounds):
    for name, small in (("small", True), ("large", False)):
        os.makedirs(os.path.join(folder, name))
        kind.build(os.path.join(folder, name), small)
    # What is imported only when something is loaded comes here, before any process is measured.
    kind.touch(kind.plain(os.path.join(folder, "small")))
    gc.collect()
    large = os.path.join(folder, "large")
    plain, pooled = [], []
    for turn in range(rounds + 1):
        loads = run_round(kind, large, "", False), None
        with own_broker(folder):
            loads = loads[0], run_round(kind, large, f"{kind.name} {turn}", True)
        if turn > 0:  # the first is for the disk's cache
            plain.append(loads[0])
            pooled.append(loads[1])
    add_kind(table, kind, plain, pooled)


def bench_sharing_here(table, rounds, name):
    """One kind, in this process and its forks."""
    small_machine()
    kind = next(kind for kind in KINDS if kind.name == name)
    for needed in kind.needs:
        __import__(needed)
    with tempfile.TemporaryDirectory(prefix="rpool-bench-") as folder:
        try:
            bench_kind(table, kind(), folder, rounds or 3)
        except Exception as error:
            skip(name, f"{type(error).__name__}: {error}")


def bench_sharing(table, rounds, only=None):
    """Each kind in a process of its own: what one leaves behind in the heap is not the next one's."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for kind in KINDS:
        if only and only not in kind.name:
            continue
        lacks = missing(kind)
        if lacks:
            skip(kind.name, f"{lacks} is not installed for this Python")
            continue
        command = [sys.executable, "-m", "resource_pool.bench", "--json", "--rounds", str(rounds), "--kind", kind.name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
        if done.returncode == 0:
            table.rows += json.loads(done.stdout)
        else:
            skip(kind.name, f"it ended with {done.returncode}")


# ---- a suite under pytest -----------------------------------------------------------------------------------------

CONFTEST = '''
import json, os, sys, time
start = time.perf_counter()
import torch, transformers.models.bert.modeling_bert
from resource_pool import bench
bench.small_machine()
imports = time.perf_counter() - start

def pytest_sessionfinish(session):
    if os.environ.get("PYTEST_XDIST_WORKER"):
        private, once = bench.memory()
        with open(os.path.join(os.environ["BENCH_OUT"], f"{os.getpid()}.json"), "w") as file:
            json.dump({"imports": imports, "private": private, "once": once}, file)
'''

SUITE = '''
import functools, os, pytest

from resource_pool import bench

FOLDER = os.environ["BENCH_MODELS"]
IS_POOLED = os.environ["BENCH_POOLED"] == "1"
MODELS = bench.suite_models()
touched = set()

@functools.lru_cache(maxsize=None)
def plainly(index):
    return MODELS[index].plain(os.path.join(FOLDER, str(index)))

def load(index):
    if not IS_POOLED:
        return plainly(index)
    from resource_pool import get_global_resource_pool
    return MODELS[index].pooled(get_global_resource_pool(), os.path.join(FOLDER, str(index)), f"suite {index}")

@pytest.mark.parametrize("index", [index for _ in range(6) for index in range(len(MODELS))])
def test_model(index):
    model = load(index)
    if index not in touched:
        touched.add(index)
        MODELS[index].touch(model)
'''


class MiddleBert(Bert):
    def config(self, small):
        from transformers import BertConfig

        return BertConfig(num_hidden_layers=6)


class MiddleHalfBert(HalfBert, MiddleBert):
    pass


class MiddleBinBert(BinBert, MiddleBert):
    pass


def suite_models():
    """Eight; half of them are made at load, the others only mapped."""
    return [MiddleBert(), MiddleHalfBert(), MiddleBert(), MiddleBinBert(), MiddleBert(), Fused(), MiddleBert(),
            DataSet()]


def run_suite(folder, models, workers, is_pooled):
    """Seconds, those of the imports, and memory when the workers are done."""
    with tempfile.TemporaryDirectory(prefix="rpool-suite-") as out:
        environment = {
            **os.environ, "BENCH_MODELS": models, "BENCH_OUT": out, "BENCH_POOLED": str(int(is_pooled)),
            "RESOURCE_POOL_SHARE": "machine" if is_pooled else "process", "RESOURCE_POOL_HISTORY": "off",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(workers), folder]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
        spent = time.perf_counter() - start
        if done.returncode != 0:
            raise RuntimeError(f"the suite failed: {done.stdout[-1500:]}")
        told = []
        for name in os.listdir(out):
            with open(os.path.join(out, name), encoding="ascii") as file:
                told.append(json.load(file))
        return {"seconds": spent, "imports": max(each["imports"] for each in told),
                "once": sum(each["once"] for each in told) / MIB,
                "private": sum(each["private"] for each in told) / MIB}


def bench_suite(table, rounds):
    small_machine()
    name = "suite of 8 models"
    for needed in ("torch", "transformers", "safetensors", "numpy", "pytest", "xdist"):
        import importlib.util

        if importlib.util.find_spec(needed) is None:
            return skip(name, f"{needed} is not installed for this Python")
    with tempfile.TemporaryDirectory(prefix="rpool-bench-") as folder:
        models = os.path.join(folder, "models")
        tests = os.path.join(folder, "tests")
        os.makedirs(tests)
        for index, kind in enumerate(suite_models()):
            os.makedirs(os.path.join(models, str(index)))
            kind.build(os.path.join(models, str(index)), False)
        for file_name, text in (("conftest.py", CONFTEST), ("test_suite.py", SUITE)):
            with open(os.path.join(tests, file_name), "w", encoding="utf-8") as file:
                file.write(text)
        try:
            for workers in (PROCESSES, 1):
                suite_rows(table, f"{name}, -n {workers}", workers, tests, models, folder, rounds or 3)
        except RuntimeError as error:
            skip(name, str(error))
    return None


def suite_rows(table, name, workers, tests, models, folder, rounds):
    plain, pooled = [], []
    for _ in range(rounds):  # the files were just written: the disk's cache has them
        plain.append(run_suite(tests, models, workers, False))
        with own_broker(folder):
            pooled.append(run_suite(tests, models, workers, True))

    def column(runs, get):
        return [get(run) for run in runs]

    for what, unit, get in (("in all", "s", lambda run: run["seconds"]),
                            ("imports of it", "s", lambda run: run["imports"]),
                            ("without its imports", "s", lambda run: run["seconds"] - run["imports"]),
                            ("memory of the workers, shared once", "MiB", lambda run: run["once"])):
        table.add(f"{name}: {what}", unit, column(pooled, get), column(plain, get))


# ---- the command --------------------------------------------------------------------------------------------------


def main(arguments=None):
    """Take the figures. The exit code."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m resource_pool.bench",
                                     description="What the package costs and saves.")
    parser.add_argument("part", nargs="?", choices=["calls", "sharing", "suite", "forkserver"],
                        help="one part only; forkserver: only if it is named")
    parser.add_argument("--rounds", type=int, default=0, help="how often each figure is taken")
    parser.add_argument("--only", help="of sharing: only what has this in its name")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    given = parser.parse_args(arguments)
    os.environ.setdefault("HARDWARE_DETECTION_CACHE", "off")
    table = Table()
    if given.kind:
        given.part = "kind"
        bench_sharing_here(table, given.rounds, given.kind)
    if given.part in (None, "calls"):
        bench_calls(table, given.rounds)
    if given.part in (None, "sharing"):
        bench_sharing(table, given.rounds, given.only)
    if given.part in (None, "suite"):
        bench_suite(table, given.rounds)
    if given.part == "forkserver":
        from .bench_forkserver import bench_forkserver

        bench_forkserver(table, given.rounds)
    if given.json:
        print(json.dumps(table.rows))
    else:
        table.show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
