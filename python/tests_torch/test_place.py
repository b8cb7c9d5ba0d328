# SPDX-License-Identifier: Apache-2.0
"""Torch modules, with real torch on the processor: precisions, copies, what is never moved, memory given back."""

import copy
import gc
import importlib.util
import os
import pathlib
import subprocess
import sys
import unittest

import resource_pool
from resource_pool import ResourcePool

try:
    import torch
except ImportError as why:
    raise unittest.SkipTest(f"torch cannot be imported: {why}")

MACHINE = pathlib.Path(__file__).parents[2] / "tests" / "machines" / "2xrtx4090.json"


def open_pool(**options):
    return ResourcePool(history="off", **options)


def small():
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64))


class Tied(torch.nn.Module):
    """Two names of one parameter, and a view of another."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 32)
        self.head = torch.nn.Linear(32, 100, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("whole", torch.arange(20.0))
        self.register_buffer("part", self.whole[5:10])
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)


def dtypes(module):
    return {parameter.dtype for parameter in module.parameters()}


class Precision(unittest.TestCase):
    def setUp(self):
        self.pool = open_pool()

    def test_nothing_asked_nothing_done(self):
        made = small()
        before = {name: value.data_ptr() for name, value in made.state_dict().items()}
        got = self.pool.get_model("a", "b", lambda: made)
        self.assertIs(got, made)
        self.assertEqual({name: value.data_ptr() for name, value in got.state_dict().items()}, before)

    def test_halves_are_applied_and_whole_numbers_stay(self):
        for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
            with self.subTest(name):
                wishes = {"device": "cpu", "precision": name, "require_precision": True}
                try:
                    model = self.pool.get_model("a", "b", small, wishes)
                except resource_pool.UnsupportedError as why:
                    self.skipTest(f"the processor does not do it: {why}")
                self.assertEqual(dtypes(model), {dtype})
                self.assertEqual(model[1].num_batches_tracked.dtype, torch.int64)

    def test_what_torch_does_not_cast_to_is_refused(self):
        from resource_pool import _place
        for precision in ("int8", "int4", "fp8"):
            with self.subTest(precision), self.assertRaisesRegex(resource_pool.UnsupportedError, "quantise") as caught:
                _place.place(small(), "cpu", precision, False, True)
            self.assertEqual(caught.exception.status, "unsupported")
            self.assertIn("placer()", caught.exception.hint)

    def test_what_is_quantised_already_is_taken(self):
        from resource_pool import _place
        module = small()
        module.register_buffer("codes", torch.zeros(4, dtype=torch.int8))
        self.assertIs(_place.place(module, "cpu", "int8", False, True), module)

    def test_tensors_and_what_lies_in_boxes(self):
        from resource_pool import _place
        made = {"model": small(), "more": [torch.ones(3), torch.ones(3, dtype=torch.int32)], "name": "x"}
        placed = _place.place(made, "cpu", "fp16", False, True)
        self.assertEqual(dtypes(placed["model"]), {torch.float16})
        self.assertEqual([each.dtype for each in placed["more"]], [torch.float16, torch.int32])

    def test_a_device_that_torch_cannot_use_is_refused_where_it_is_required(self):
        from resource_pool import _place
        if torch.cuda.is_available():
            self.skipTest("this torch can use it")
        with self.assertRaisesRegex(resource_pool.UnsupportedError, "this torch .* cannot use cuda:0"):
            _place.place(small(), "cuda:0", None, False, True)
        with self.assertLogs("resource_pool", "WARNING") as log:
            _place.place(small(), "cuda:0", None, False, False)
        self.assertIn("stays on the CPU", log.output[0])

    def test_a_move_to_meta_is_a_real_move(self):
        from resource_pool import _torch
        module = small()
        before = module[0].weight.clone()
        new = _torch._copy_to(module, "meta", torch.float16, {})
        self.assertEqual({str(each.device) for each in new.parameters()}, {"meta"})
        self.assertEqual(dtypes(new), {torch.float16})
        self.assertTrue(torch.equal(module[0].weight, before))


class Held(unittest.TestCase):
    """What the pool gave out is never changed."""

    def test_a_cached_global_is_copied_the_second_time(self):
        from resource_pool import _place
        the_one = small()
        first = _place.place(the_one, "cpu", None, False, True)
        second = _place.place(the_one, "cpu", "bf16", False, True)
        self.assertIs(first, the_one)
        self.assertIsNot(second, the_one)
        self.assertEqual((dtypes(first), dtypes(second)), ({torch.float32}, {torch.bfloat16}))

    def test_a_model_around_one_that_is_held_leaves_it_alone(self):
        from resource_pool import _place
        inner = _place.place(small(), "cpu", None, False, True)
        outer = _place.place(torch.nn.Sequential(inner, torch.nn.Linear(64, 2)), "cpu", "bf16", False, True)
        self.assertEqual((dtypes(inner), dtypes(outer)), ({torch.float32}, {torch.bfloat16}))

    def test_the_same_object_for_two_requests_of_a_pool(self):
        pool = open_pool()
        the_one = small()
        first = pool.get_model("a", "b", lambda: the_one, {"device": "cpu"})
        second = pool.get_model("a", "c", lambda: the_one, {"device": "cpu"})
        self.assertIs(first, second)


class Failing(unittest.TestCase):
    def test_out_of_memory_half_way_leaves_nothing_behind(self):
        from resource_pool import _torch

        class Stubborn(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(4))
                self.went = []

            def to(self, device=None, dtype=None):
                self.went.append(device)
                if device == "cuda:0":
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                return self

        module = Stubborn()
        with self.assertRaises(torch.OutOfMemoryError):
            _torch._move(module, "cuda:0", None, [module.weight])
        self.assertEqual(module.went, ["cuda:0", "cpu"])

    def test_torchs_own_errors_make_room_and_try_again(self):
        errors = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")]
        try:
            torch.empty(1 << 50)
        except RuntimeError as why:
            errors.append(why)
        self.assertEqual(len(errors), 2)
        for error in errors:
            with self.subTest(str(error)[:40]):
                pool = open_pool()
                pool.lease_model("a", "idle", small).release()
                calls = []

                def make():
                    calls.append(1)
                    if len(calls) == 1:
                        raise error
                    return small()

                self.assertIsInstance(pool.get_model("a", "b", make), torch.nn.Module)
                self.assertEqual((len(calls), list(pool.models)), (2, ["a:b"]))


class Copies(unittest.TestCase):
    def test_what_was_tied_stays_tied(self):
        from resource_pool import _place
        model = Tied().eval()
        new = _place.copy(model, "cpu", "fp16", False)
        self.assertIs(new.head.weight, new.embedding.weight)
        self.assertIsNot(new.head.weight, model.head.weight)
        self.assertEqual(new.part.untyped_storage().data_ptr(), new.whole.untyped_storage().data_ptr())
        self.assertTrue(torch.equal(new.part, torch.arange(5.0, 10.0).half()))
        self.assertFalse(new.training)
        self.assertEqual((new.frozen.requires_grad, new.head.weight.requires_grad), (False, True))
        self.assertEqual((dtypes(model), dtypes(new)), ({torch.float32}, {torch.float16}))
        self.assertIs(type(new.frozen), torch.nn.Parameter)

    def test_a_copy_computes_the_same(self):
        from resource_pool import _place
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.LSTM(8, 4)).eval()
        data = torch.randn(3, 8)
        new = _place.copy(model, "cpu", None, False)
        self.assertTrue(torch.equal(new(data)[0], model(data)[0]))
        with torch.no_grad():
            new[0].weight.zero_()
        self.assertFalse(torch.equal(new[0].weight, model[0].weight))

    def test_what_cannot_be_copied_is_named(self):
        import threading
        from resource_pool import _place
        model = small()
        model.lock = threading.Lock()
        with self.assertRaisesRegex(resource_pool.UnsupportedError, "Sequential.*lock.*placer"):
            _place.copy(model, "cpu", None, False)

    def test_a_model_and_its_tokenizer(self):
        from resource_pool import _place
        tokenizer = object()
        model, same = _place.copy((small(), tokenizer), "cpu", "bf16", False)
        self.assertIs(same, tokenizer)
        self.assertEqual(dtypes(model), {torch.bfloat16})

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers is not installed")
    def test_a_transformer_and_its_pipeline(self):
        import transformers
        from resource_pool import _place, _torch
        config = transformers.BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                         intermediate_size=64)
        model = transformers.BertForMaskedLM(config).eval()
        new = _place.copy(model, "cpu", "bf16", False)
        self.assertEqual((dtypes(model), dtypes(new)), ({torch.float32}, {torch.bfloat16}))
        self.assertIs(new.get_output_embeddings().weight, new.get_input_embeddings().weight)
        from tokenizers import Tokenizer, models
        words = {word: i for i, word in enumerate(["[UNK]", "[PAD]", "[MASK]", "[CLS]", "[SEP]", "a", "b"])}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, "[UNK]")),
                                                         unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")
        pipeline = transformers.pipeline("fill-mask", model=copy.deepcopy(model), tokenizer=tokenizer, device="cpu")
        self.assertTrue(_torch.is_pipeline(pipeline))
        moved = _place.copy(pipeline, "cpu", "bf16", False)
        self.assertEqual((dtypes(pipeline.model), dtypes(moved.model)), ({torch.float32}, {torch.bfloat16}))
        self.assertIs(moved.tokenizer, pipeline.tokenizer)
        placed = _place.place(pipeline, "cpu", "bf16", False, True)
        self.assertEqual(dtypes(placed.model), {torch.bfloat16})


def run_inside(program, **environment):
    return subprocess.run([sys.executable, "-W", "error", "-c", program], text=True, capture_output=True, timeout=300,
                          check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment})


class Whole(unittest.TestCase):
    @unittest.skipUnless(MACHINE.exists(), f"{MACHINE} is not here")
    def test_moves_on_a_machine_from_a_file(self):
        done = run_inside('''
import torch
from resource_pool import ResourcePool
pool = ResourcePool(history="off")
old = pool.get_model("a", "b", lambda: torch.nn.Linear(4, 4), {"priority_list": ["cuda"]})
new = pool.move_model_to_device("a", "b", "cpu")
assert new is not old and torch.equal(new.weight, old.weight)
assert pool.get_model("a", "b") is new and pool._stats["a:b"]["device"] == "cpu"
half = pool.get_model("a", "b", lambda: torch.nn.Linear(4, 4), {"device": "cuda:0", "precision": "fp16"})
assert half.weight.dtype is torch.float16 and half.weight.device.type == "cpu" and new.weight.dtype is torch.float32
lease = pool.lease_model("a", "b", hardware_preferences={"device": "cuda:0", "precision": "fp16"})
assert lease.precision == "fp16" and "simulated" in lease.reason, lease.reason
''', RESOURCE_POOL_SIMULATE=str(MACHINE), RESOURCE_POOL_HISTORY="off")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_memory_comes_back_after_clear(self):
        done = run_inside('''
import gc, torch
from resource_pool import ResourcePool

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) >> 10

class Large(torch.nn.Module):
    def __init__(self):
        super().__init__()
        # Parts small enough for the heap, with something that stays between them.
        self.parts = torch.nn.ParameterList(torch.nn.Parameter(torch.ones(12800)) for _ in range(8000))

pool = ResourcePool(history="off")
pool.get_model("a", "warm", lambda: torch.nn.Linear(4, 4))
before = private()
model = pool.get_model("a", "b", Large)
size = pool._stats["a:b"]["memory_usage"] >> 20
there = private()
del model
pool.clear()
after = private()
assert 385 <= size <= 400, size
assert there - before > 380 and after - before < 60, (before, there, after)
''', RESOURCE_POOL_HISTORY="off")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_300_modules_pass_through_room_for_six(self):
        # 1 MiB each, and 4 KiB of it is the bias.
        pool = open_pool(budget=6 * ((1 << 20) + 4096))
        most = 0
        for i in range(300):
            module = pool.get_model("a", f"m{i}", lambda: torch.nn.Linear(256, 1024), size=(1 << 20) + 4096)
            self.assertEqual(module.weight.shape, (1024, 256))
            most = max(most, sum(pool.get_stats()["devices"].values()))
        self.assertLessEqual(most, 6 * ((1 << 20) + 4096))
        self.assertLessEqual(len(pool.models), 6)
        del module
        gc.collect()
        pool.clear()


if __name__ == "__main__":
    unittest.main()
