# SPDX-License-Identifier: Apache-2.0
"""Sharing what torch, transformers, numpy, scipy and pandas make; each where it is installed."""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import resource_pool
from resource_pool import _pickling

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None


def needs(name):
    return unittest.skipUnless(importlib.util.find_spec(name), f"{name} is not installed")


def round_trip(made):
    parts, reason = _pickling.dump(made, "model", None)
    if reason is not None:
        raise AssertionError(reason)
    word, found, own, shared = _pickling.load([bytearray(part) for part in parts])
    assert word == "object", word
    return found, own, shared


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(100, 64)
        self.head = torch.nn.Linear(64, 100, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.arange(5000))
        self.embed.weight.requires_grad_(False)
        self.norm = torch.nn.LayerNorm(64)

    def forward(self, tokens):
        return self.head(self.norm(self.embed(tokens)))


class Scaled(torch.nn.Parameter):
    """A parameter of a class of one's own, as quantising libraries have them."""


def double(module, inputs, output):
    return output * 2


class OnAnotherDevice(torch.Tensor):
    """Says that it is on a card, on machines without one."""

    @property
    def device(self):
        return torch.device("cuda:0")


class Torch(unittest.TestCase):
    def test_tied_weights_stay_tied(self):
        found, own, shared = round_trip(Tied())
        self.assertIs(found.head.weight, found.embed.weight)
        self.assertEqual(shared, 100 * 64 * 4 + 5000 * 8)
        found.embed.weight[0, 0] = 5
        self.assertEqual(found.head.weight[0, 0], 5)
        self.assertLess(own, 10000)

    def test_gradients_modes_and_hooks_are_as_they_were(self):
        model = Tied().eval()
        model.head.register_forward_hook(double)
        found, _, _ = round_trip(model)
        self.assertFalse(found.training)
        self.assertFalse(found.embed.weight.requires_grad)
        self.assertTrue(found.norm.weight.requires_grad)
        tokens = torch.arange(10)
        self.assertTrue(torch.equal(found(tokens), model(tokens)))
        self.assertTrue(round_trip(Tied())[0].training)

    def test_views_share_what_they_view(self):
        base = torch.arange(10000.0).reshape(100, 100)
        made = {"base": base, "part": base[10:20, ::2], "turned": base.t(), "sparse": base.to_sparse()}
        found, _, shared = round_trip(made)
        for name in ("base", "part", "turned"):
            self.assertTrue(torch.equal(found[name], made[name]))
            self.assertEqual(found[name].stride(), made[name].stride())
        self.assertTrue(torch.equal(found["sparse"].to_dense(), base))
        found["base"][10, 0] = -1
        self.assertEqual((found["part"][0, 0], found["turned"][0, 10]), (-1, -1))
        self.assertLess(shared, 40000 + 3 * 8 * 10000)

    def test_kinds_of_tensors(self):
        made = [torch.zeros(0), torch.tensor(5), torch.arange(5000, dtype=torch.bfloat16), torch.ones(3000) > 0,
                torch.full((2000,), 1 + 2j), torch.quantize_per_tensor(torch.ones(9000), 0.1, 0, torch.qint8),
                torch.ones(3000, dtype=torch.float8_e4m3fn), torch.nn.Parameter(torch.ones(3000))]
        found, _, _ = round_trip(made)
        for one, other in zip(found, made):
            self.assertEqual((one.dtype, one.shape, type(one)), (other.dtype, other.shape, type(other)))
            self.assertEqual(str(one), str(other))
        empty = torch.empty(1000, device="meta")
        self.assertEqual(round_trip(empty)[0].device.type, "meta")

    def test_parameters_keep_their_class_and_what_is_said_of_them(self):
        made = torch.nn.Linear(64, 64)
        made.weight = Scaled(torch.ones(64, 64), requires_grad=False)
        made.weight.scale = 3
        made.bias.scale = 4
        made.again = made.weight
        found, _, shared = round_trip(made)
        self.assertIs(type(found.weight), Scaled)
        self.assertIs(found.again, found.weight)
        self.assertEqual((found.weight.scale, found.bias.scale), (3, 4))
        self.assertEqual((found.weight.requires_grad, found.bias.requires_grad), (False, True))
        self.assertTrue(torch.equal(found.weight, made.weight))
        self.assertEqual(shared, 64 * 64 * 4)

    def test_what_is_on_another_device_is_refused_by_name(self):
        model = torch.nn.Sequential(torch.nn.Linear(4, 4))
        model[0].scale = torch.ones(4).as_subclass(OnAnotherDevice)
        reason = _pickling.dump(model, "model", None)[1]
        self.assertEqual(reason, "model.0.scale: it is on cuda:0, and only what the CPU has can be shared")

    def test_what_stands_in_the_way_is_named_as_torch_names_it(self):
        model = torch.nn.ModuleDict({"encoder": torch.nn.Sequential(torch.nn.Linear(2, 2))})
        model["encoder"][0].hook = lambda: 1
        self.assertTrue(_pickling.dump(model, "model", None)[1].startswith("model.encoder.0.hook: cannot pickle '"))

    def test_versions_of_what_it_is_made_of_are_known(self):
        parts, _ = _pickling.dump(Tied(), "model", None)
        meta, _ = _pickling._read(parts)
        self.assertIn(str(torch.__version__), [row[1] for row in meta["modules"] if row[0].startswith("torch")])


class Others(unittest.TestCase):
    @needs("numpy")
    def test_numpy(self):
        import numpy

        base = numpy.arange(10000.0).reshape(100, 100)
        frozen = base.copy()
        frozen.flags.writeable = False
        made = {"c": base, "f": numpy.asfortranarray(base), "part": base[::2, ::3], "frozen": frozen,
                "small": numpy.arange(3), "empty": numpy.zeros((0, 3)), "objects": numpy.array([1, "x"], dtype=object),
                "rows": numpy.zeros(1000, dtype=[("a", "i4"), ("b", "f8")]), "text": numpy.array(["abc"] * 2000)}
        found, own, shared = round_trip(made)
        for name, array in made.items():
            self.assertTrue(numpy.array_equal(found[name], array), name)
            self.assertEqual(found[name].dtype, array.dtype)
        self.assertTrue(found["f"].flags.f_contiguous)
        self.assertFalse(found["frozen"].flags.writeable)
        self.assertTrue(found["c"].flags.writeable)
        self.assertLess(own, 4000)
        self.assertEqual(shared, sum(made[name].nbytes for name in ("c", "f", "part", "frozen", "rows", "text")))

    @needs("numpy")
    def test_a_memory_map_is_mapped_from_its_file(self):
        import numpy

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "array")
            numpy.arange(10000).tofile(path)
            made = numpy.memmap(path, dtype=int, mode="c")
            parts, _ = _pickling.dump(made, "model", None)
            self.assertEqual(sum(len(part) for part in parts[2:]), 0)
            found = _pickling.load(parts)[1]
            self.assertIsInstance(found, numpy.memmap)
            self.assertEqual(found.filename, path)
            self.assertTrue(numpy.array_equal(found, made))
            found[0] = 7
            self.assertEqual(made[0], 0)

    @needs("numpy")
    def test_what_is_only_read_is_mapped_and_stays_so(self):
        import numpy

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "array.npy")
            numpy.save(path, numpy.arange(10000))
            made = {mode: numpy.load(path, mmap_mode=mode) for mode in ("r", "r+")}
            parts, _ = _pickling.dump(made, "model", None)
            self.assertEqual(sum(len(part) for part in parts[2:]), 80000, "what is written to is copied")
            found = _pickling.load([bytearray(part) for part in parts])[1]
            self.assertEqual([found[mode].flags.writeable for mode in made], [False, True])
            for mode in made:
                self.assertTrue(numpy.array_equal(found[mode], made[mode]))
            found["r+"][0] = 5
            self.assertEqual(made["r+"][0], 0)
        pieces = numpy.broadcast_to(numpy.arange(1000), (20, 1000))
        self.assertFalse(round_trip(pieces)[0].flags.writeable)
        self.assertTrue(round_trip(numpy.arange(20000)[::2])[0].flags.writeable)

    @needs("scipy")
    def test_scipy(self):
        import scipy.sparse

        made = scipy.sparse.random(1000, 1000, density=0.05, format="csr", random_state=1)
        found, own, shared = round_trip(made)
        self.assertEqual(abs(found - made).sum(), 0)
        self.assertGreater(shared, 50000 * 8)
        self.assertLess(own, 6000)  # its row starts go with the stream

    @needs("pandas")
    def test_pandas(self):
        import pandas

        made = pandas.DataFrame({"a": range(5000), "b": [x / 2 for x in range(5000)], "c": ["text"] * 5000})
        found, _, shared = round_trip(made)
        pandas.testing.assert_frame_equal(found, made)
        self.assertGreaterEqual(shared, 2 * 5000 * 8)

    @needs("tokenizers")
    def test_fast_tokenizers(self):
        import tokenizers

        made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        self.assertEqual(round_trip(made)[0].encode("two one three").ids, [2, 1, 0])

    @needs("safetensors")
    def test_safetensors_are_mapped_from_their_file(self):
        from safetensors import safe_open
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "weights.safetensors")
            save_file({"a": torch.arange(100000.0), "b": torch.arange(2000), "tiny": torch.ones(2)}, path)
            with safe_open(path, "pt") as file:
                made = {name: file.get_tensor(name) for name in file.keys()}
            parts, _ = _pickling.dump(made, "model", None)
            meta, _ = _pickling._read(parts)
            self.assertEqual([row[0] for row in meta["files"]], [path])
            self.assertEqual(sum(len(part) for part in parts[2:]), 0)
            found = _pickling.load([bytearray(part) for part in parts])[1]
            for name, tensor in made.items():
                self.assertTrue(torch.equal(found[name], tensor))
            found["a"][0] = 5
            self.assertEqual(made["a"][0], 0)
            made["a"][0] = 3  # its page is this process's own now: it has to be copied
            parts, _ = _pickling.dump(made, "model", None)
            self.assertEqual(_pickling.load(parts)[1]["a"][0], 3)


def find_rpool():
    beside = pathlib.Path(resource_pool.__file__).resolve().parents[2] / "cli" / "rpool"
    return str(beside) if beside.is_file() else os.environ.get("RESOURCE_POOL_RPOOL") or shutil.which("rpool")


PROGRAM = """
import json, os, sys
import torch
from transformers import BertConfig, BertModel
from resource_pool import ResourcePool

def own_mib():
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:")) / 1024

def make():
    with open(os.environ["MADE"], "a") as file:
        file.write("made ")
    torch.manual_seed(0)
    return BertModel(BertConfig(num_hidden_layers=4)).half().eval()

pool = ResourcePool(share="machine", history="off")
before = own_mib()
model = pool.get_model("embedding", "bert-fp16", make)
own = own_mib() - before
checksum = sum(float(weight.detach().float().sum()) for weight in model.parameters())
print(json.dumps({"own_mib": own, "checksum": checksum, "training": model.training,
                  "mib": sum(weight.nbytes for weight in model.parameters()) / 2**20,
                  "stats": pool._stats["embedding:bert-fp16"]}), flush=True)
sys.stdin.readline()
"""


@unittest.skipUnless(find_rpool(), "there is no rpool to start a broker with: build cli/rpool")
@needs("transformers")
class Transformers(unittest.TestCase):
    def test_a_model_in_half_precision_is_there_once(self):
        with contextlib.ExitStack() as stack:
            folder = tempfile.mkdtemp(prefix="rp-share-")
            stack.callback(shutil.rmtree, folder, True)
            environment = {**os.environ, "RESOURCE_POOL_BROKER": os.path.join(folder, "broker"), "OMP_NUM_THREADS": "1",
                           "RESOURCE_POOL_RPOOL": find_rpool(), "MADE": os.path.join(folder, "made"),
                           "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            stack.callback(subprocess.run, [find_rpool(), "stop", "--force"], env=environment, capture_output=True)
            found = []
            for _ in range(2):
                process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM)], env=environment, text=True,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                stack.callback(process.communicate)
                found.append(json.loads(process.stdout.readline()))
            self.assertEqual(pathlib.Path(environment["MADE"]).read_text(), "made ")
        self.assertEqual(found[0]["checksum"], found[1]["checksum"])
        for each in found:
            self.assertFalse(each["training"])
            self.assertLess(each["own_mib"], each["mib"] * 0.1)
            self.assertGreater(each["stats"]["shared_bytes"], 0.99 * each["mib"] * 2**20)


if __name__ == "__main__":
    unittest.main()
