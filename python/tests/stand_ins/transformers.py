# SPDX-License-Identifier: Apache-2.0
"""As much of transformers as the guide's blocks touch. Each load is counted in `loads`."""

import types

import torch

loads = []


class _Model:
    def __init__(self, name):
        self.name = name
        self.weight = torch.Tensor(2, 3)

    @property
    def device(self):
        return self.weight.device

    def parameters(self):
        return iter([self.weight])

    def to(self, where=None, *_, **__):
        self.weight = self.weight.to(where or "cpu")
        return self

    def __call__(self, input_ids, **_):
        return types.SimpleNamespace(last_hidden_state=torch.Tensor(input_ids.shape[0], 4, 8))


class AutoModel:
    @staticmethod
    def from_pretrained(name, **_):
        loads.append(("model", name))
        return _Model(name)


class _Tokenizer:
    def __call__(self, text, **_):
        length = len(text.split())
        return {"input_ids": torch.Tensor(1, length), "attention_mask": torch.Tensor(1, length)}


class AutoTokenizer:
    @staticmethod
    def from_pretrained(name, **_):
        loads.append(("tokenizer", name))
        return _Tokenizer()
