# SPDX-License-Identifier: Apache-2.0
"""A test class that loads bert-base-uncased through the pool: once, whoever else asks for it.

    python -m unittest examples/python/test_example_models.py
    pytest -n 4 examples/python/test_example_models.py
    rpool run -- pytest -n 4 examples/python/test_example_models.py      one load for all four processes

The model has to be in the local hub cache: nothing is downloaded. In a checkout, tools/hub-cache makes one
with seeded weights (then set HF_HOME=build/hub). Without torch, transformers or the model the class is skipped.
"""

import logging
import os
import unittest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from resource_pool import get_global_resource_pool

NAME = "bert-base-uncased"

logger = logging.getLogger(__name__)


def require(pool, module):
    """A library as a resource of the pool, or a skip with the reason."""
    try:
        return pool.get_resource(module, constructor=lambda: __import__(module))
    except ImportError as problem:
        raise unittest.SkipTest(f"{module} cannot be imported: {problem}") from None


class TestBertEmbedding(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        pool = get_global_resource_pool()
        cls.torch = require(pool, "torch")
        transformers = require(pool, "transformers")
        # Where there is a GPU the pool puts the model on it, in half precision; else on the processor, as stored.
        preferences = {"priority_list": ["cuda", "mps", "openvino", "cpu"], "preferred_index": 0,
                       "precision": "fp16" if cls.torch.cuda.is_available() else None}
        try:
            cls.model = pool.get_model("embedding", NAME, lambda: transformers.AutoModel.from_pretrained(NAME).eval(),
                                       hardware_preferences=preferences)
            cls.tokenizer = pool.get_tokenizer("embedding", NAME,
                                               lambda: transformers.AutoTokenizer.from_pretrained(NAME))
        except OSError as problem:  # what transformers raises for a model that is not there
            raise unittest.SkipTest(f"{NAME} is not in the local hub cache: {str(problem).splitlines()[0]}") from None
        cls.device = next(cls.model.parameters()).device
        logger.info("%s is on %s", NAME, cls.device)

    @classmethod
    def tearDownClass(cls):
        pool = get_global_resource_pool()
        stats = pool.get_stats()
        logger.info("%d loads, %d hits, %.0f MB", stats["misses"], stats["hits"], stats["memory_usage_mb"])
        # The class has the last names of them; what nobody has may go after six seconds.
        for name in ("model", "tokenizer"):
            if hasattr(cls, name):
                delattr(cls, name)
        pool.cleanup_unused_resources(max_age_minutes=0.1)

    def embed(self, *texts):
        """One vector for each text: the mean over its tokens."""
        inputs = self.tokenizer(list(texts), return_tensors="pt", padding=True).to(self.device)
        with self.torch.no_grad():
            hidden = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)

    def test_model_embedding(self):
        inputs = self.tokenizer("Hello, world!", return_tensors="pt").to(self.device)
        with self.torch.no_grad():
            outputs = self.model(**inputs)
        batch, tokens, width = outputs.last_hidden_state.shape
        self.assertEqual(batch, 1)
        self.assertEqual(tokens, inputs["input_ids"].shape[1])
        self.assertEqual(width, self.model.config.hidden_size)

    def test_the_same_text_has_the_same_vector(self):
        first, second, other = self.embed("a small cat", "a small cat", "the price of copper")
        self.assertTrue(self.torch.allclose(first, second, atol=1e-3))
        self.assertFalse(self.torch.allclose(first, other, atol=1e-3))

    def test_padding_changes_nothing(self):
        alone = self.embed("a small cat")[0]
        padded = self.embed("a small cat", "a text that is longer than the other one by a few words")[0]
        self.assertTrue(self.torch.allclose(alone, padded, atol=1e-3))

    def test_device_compatibility(self):
        places = {str(each.device) for each in self.model.parameters()}
        self.assertEqual(places, {str(self.device)})

    def test_everybody_gets_the_same_model(self):
        pool = get_global_resource_pool()
        preferences = {"priority_list": ["cuda", "mps", "openvino", "cpu"], "preferred_index": 0,
                       "precision": "fp16" if self.torch.cuda.is_available() else None}
        self.assertIs(pool.get_model("embedding", NAME, hardware_preferences=preferences), self.model)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    unittest.main()
