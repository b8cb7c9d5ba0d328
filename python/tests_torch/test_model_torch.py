# SPDX-License-Identifier: Apache-2.0
"""Models of files with what torch, transformers and pandas hand them."""

import gc
import importlib.util
import pathlib
import unittest

import numpy
import torch

from resource_pool import ArgumentError, Tensor

TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "test_model.py"
spec = importlib.util.spec_from_file_location("models_of_files", TESTS)
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)


@files.needs_runtime
class FromTorch(files.Files):
    def test_tensors_go_in_as_they_lie(self):
        model = self.get(files.sum_and_product())
        a, b = torch.ones(2, 3), torch.arange(6.0).reshape(3, 2).T
        numpy.testing.assert_array_equal(model(a=a, b=b)["product"], b.numpy())
        numpy.testing.assert_array_equal(model.run(["sum"], {"a": a, "b": b[:, 1:2].expand(2, 3)})[0],
                                         (a + b[:, 1:2]).numpy())

    def test_outputs_become_tensors_without_a_copy(self):
        out = self.get(files.doubling())(torch.ones(1000, 3))
        tensor = torch.from_numpy(out)
        tensor[0] = 5
        self.assertEqual(out[0].tolist(), [5, 5, 5])
        del out
        gc.collect()
        self.assertEqual(tensor[1].tolist(), [2, 2, 2])

    def test_bfloat16_goes_through_by_dlpack(self):
        given = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
        out = self.get(files.same(files.BFLOAT16))(given)
        self.assertIs(type(out), Tensor)
        tensor = torch.from_dlpack(out)
        del out
        gc.collect()
        self.assertTrue(torch.equal(tensor, given))

    def test_what_cannot_be_given_is_told(self):
        model = self.get(files.doubling())
        self.assertIn("require gradient", self.refuses(model, torch.ones(1, 3, requires_grad=True)))
        self.assertIn("wants float32, not float64", self.refuses(model, torch.ones(1, 3, dtype=torch.float64)))
        with self.assertRaisesRegex(ArgumentError, "the input 'x'"):
            model(torch.ones(1, 3, device="meta"))
        with self.assertRaisesRegex(ArgumentError, "the input 'x'"):
            model(torch.ones(1, 3).to_sparse())

    def test_a_batch_of_a_tokenizer_is_a_mapping(self):
        from transformers import BatchEncoding

        out = self.get(files.sum_and_product())(BatchEncoding({"a": torch.ones(1, 3), "b": torch.ones(1, 3)}))
        self.assertEqual(out["sum"].tolist(), [[2, 2, 2]])


@files.needs_runtime
class FromPandas(files.Files):
    def test_a_column_is_an_array_and_keeps_its_type(self):
        import pandas

        model = self.get(files.doubling(files.DOUBLE, ("n",)))
        self.assertEqual(model(pandas.Series([1.0, 2.0])).tolist(), [2, 4])
        self.assertIn("wants float64, not int64", self.refuses(model, pandas.Series([1, 2])))


del files.Files  # its tests run elsewhere

if __name__ == "__main__":
    unittest.main()
