# SPDX-License-Identifier: Apache-2.0
"""Sizes of objects of real libraries, and how they are known."""

import gc
import importlib.util
import sys
import unittest
import weakref

from resource_pool import ResourcePool, _sizes

try:
    import torch
except ImportError as why:
    raise unittest.SkipTest(f"torch cannot be imported: {why}")


def needs(name):
    return unittest.skipUnless(importlib.util.find_spec(name), f"{name} is not installed")


def entry_of(constructor, **more):
    pool = ResourcePool(history="off")
    pool.get_model("a", "b", constructor, **more)
    entry = pool._stats["a:b"]
    return entry.get("memory_usage"), entry.get("memory_estimation_method")


class Torch(unittest.TestCase):
    def test_parameters_and_buffers(self):
        def make():
            module = torch.nn.Linear(100, 200)
            module.register_buffer("extra", torch.zeros(50, dtype=torch.int64), persistent=False)
            module.loose = torch.zeros(10)
            return module

        self.assertEqual(entry_of(make), ((100 * 200 + 200) * 4 + 50 * 8 + 10 * 4, "tensors"))

    def test_shared_storages_count_once(self):
        def make():
            module = torch.nn.ModuleList([torch.nn.Linear(100, 100, bias=False) for _ in range(3)])
            module[1].weight = module[0].weight
            module[2].weight = torch.nn.Parameter(module[0].weight.detach()[:50])
            return module

        self.assertEqual(entry_of(make), (40000, "tensors"))

    def test_nested_boxes_of_tensors(self):
        whole = torch.zeros(1000)
        made = {"a": [whole, (whole[:10], torch.zeros(5, dtype=torch.float16))], "b": torch.nn.Linear(2, 2)}
        self.assertEqual(entry_of(lambda: made), (4000 + 10 + 24, "tensors"))

    def test_sparse_and_meta_tensors(self):
        sparse = torch.eye(100).to_sparse()
        self.assertEqual(entry_of(lambda: sparse), (100 * 4 + 2 * 100 * 8, "tensors"))
        self.assertEqual(_sizes.measure(torch.empty(1000, device="meta"), "cpu"), (0, _sizes.TENSORS))

    def test_what_lies_elsewhere_counts_elsewhere(self):
        sums = {}
        from resource_pool import _torch
        _torch.add_bytes(torch.zeros(10), sums, set())
        self.assertEqual(sums, {"cpu": 40})

    def test_growth_beside_it_does_not_count(self):
        kept = []

        def make():
            kept.append(bytearray(b"x" * (64 << 20)))  # as an import in a constructor has it
            return torch.nn.Linear(100, 100)

        self.assertEqual(entry_of(make), (40400, "tensors"))

    def test_nothing_is_kept(self):
        module = torch.nn.Linear(3, 3)
        reference = weakref.ref(module)
        _sizes.measure({"a": module}, "cpu")
        del module
        self.assertIsNone(reference())

    @needs("transformers")
    def test_a_bert_is_its_parameters(self):
        import transformers
        model = transformers.BertModel(transformers.BertConfig(
            hidden_size=64, num_hidden_layers=12, num_attention_heads=4, intermediate_size=128))
        expected = sum(each.nbytes for each in {id(t): t for t in (*model.parameters(), *model.buffers())}.values())
        self.assertEqual(_sizes.measure(model, "cpu"), (expected, _sizes.TENSORS))


@needs("numpy")
class Arrays(unittest.TestCase):
    def test_views_count_their_base_once(self):
        import numpy
        base = numpy.zeros((100, 100))
        self.assertEqual(entry_of(lambda: [base[:5], base.T, base]), (80000, "arrays"))
        self.assertEqual(entry_of(lambda: base[::2][1:]), (80000, "arrays"))

    def test_an_index_is_a_view_of_its_own(self):
        import numpy
        self.assertEqual(entry_of(lambda: numpy.ones(1000, dtype="u1")), (1000, "arrays"))

    def test_arrays_and_tensors_together(self):
        import numpy
        size, method = entry_of(lambda: {"a": numpy.zeros(1000), "b": torch.zeros(1000)})
        self.assertEqual((size, method), (12000, "tensors"))

    @needs("scipy")
    def test_sparse_matrices(self):
        import scipy.sparse
        matrix = scipy.sparse.random(1000, 1000, density=0.1, format="csr", random_state=1)
        size, method = entry_of(lambda: matrix)
        self.assertEqual(size, matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes)
        self.assertEqual(method, "arrays")

    @needs("pandas")
    def test_tables(self):
        import numpy
        import pandas
        table = pandas.DataFrame({"a": numpy.zeros(10000), "b": numpy.zeros(10000, dtype="i4")})
        self.assertEqual(entry_of(lambda: table), (120000 + table.index.memory_usage(), "arrays"))


class Others(unittest.TestCase):
    @needs("tokenizers")
    def test_a_tokenizer_is_as_large_as_its_vocabulary(self):
        from tokenizers import Tokenizer, models
        words = {f"word{i}": i for i in range(30000)}
        words["[UNK]"] = 30000
        pool = ResourcePool(history="off")
        pool.get_tokenizer("a", "b", lambda: Tokenizer(models.WordPiece(words, unk_token="[UNK]")))
        details = pool.get_resource_details("tokenizer:a:b")
        self.assertEqual(details["memory_estimation_method"], "vocabulary")
        self.assertTrue(3 << 20 < details["memory_bytes"] < 12 << 20, details["memory_bytes"])

    @needs("transformers")
    def test_a_tokenizer_of_transformers(self):
        import transformers
        from tokenizers import Tokenizer, models
        words = {f"w{i}": i for i in range(1000)}
        made = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({**words, "[UNK]": 1000}, "[UNK]")), unk_token="[UNK]")
        size, method = _sizes.measure(made, None)
        self.assertEqual(method, _sizes.VOCABULARY)
        self.assertGreater(size, 100000)

    def test_an_onnx_session_is_its_file(self):
        class InferenceSession:
            _model_path = __file__

        InferenceSession.__module__ = "onnxruntime.capi.onnxruntime_inference_collection"
        import os
        self.assertEqual(_sizes.measure(InferenceSession(), "cpu"), (os.path.getsize(__file__), _sizes.FILE))

    def test_libraries_have_no_size(self):
        self.assertEqual(_sizes.measure(torch, None), (None, _sizes.NOT_ITS_OWN))
        pool = ResourcePool(history="off")
        pool.get_resource("torch", constructor=lambda: torch)
        self.assertNotIn("memory_bytes", pool.get_resource_details("torch"))

    def test_what_nobody_knows_is_measured(self):
        import mmap

        class Opaque:
            def __init__(self):
                self.other = iter([])

        self.assertIsNone(_sizes.measure(Opaque(), "cpu"))
        self.assertIsNone(_sizes.measure(list(range(10 ** 6)), "cpu"))
        with mmap.mmap(-1, 8192) as area:
            self.assertEqual(_sizes.measure(area, None), (8192, _sizes.BUFFER))

    def test_a_hundred_thousand_parts_are_not_walked(self):
        parts = [[i] for i in range(100000)]
        gc.collect()
        self.assertIsNone(_sizes.measure(parts, None))

    def test_references_are_given_back(self):
        module = torch.nn.Linear(3, 3)
        before = sys.getrefcount(module)
        for _ in range(100):
            _sizes.measure([module, {"a": module}], "cpu")
        self.assertEqual(sys.getrefcount(module), before)


if __name__ == "__main__":
    unittest.main()
