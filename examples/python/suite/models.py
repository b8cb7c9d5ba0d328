# SPDX-License-Identifier: Apache-2.0
"""Eight things that test suites load, made in place from seeds: no network, and the same bytes each time.

Four of a kind where a pool pays, for they are made at load: a cast to fp16, a pickled checkpoint, a quantised
model, a data set built in memory. Four of a kind where it only must not cost: weights that are read as they stand.
"""

import os
import pathlib

import numpy
import torch

LAYERS = int(os.environ.get("EXAMPLE_SUITE_LAYERS", "4"))  # 4: 13 million weights a model; 12: 85 million, as BERT base
WIDTH = int(os.environ.get("EXAMPLE_SUITE_WIDTH", "512"))


class Encoder(torch.nn.Module):
    """A transformer's encoder with an embedding in front."""

    def __init__(self, words=4096):
        super().__init__()
        self.embedding = torch.nn.Embedding(words, WIDTH)
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, dropout=0.0, batch_first=True) for _ in range(LAYERS))

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden.mean(1)


def seeded(seed, kind=Encoder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind().eval()


def write_files(folder):
    """The checkpoints that the loads below read; done once, before the tests."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    from safetensors.torch import save_file

    for seed, name in enumerate(("plain-a", "plain-b", "half", "quantised")):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            new = path.with_suffix(f".{os.getpid()}")
            save_file(seeded(seed).state_dict(), new)
            new.rename(path)
    path = folder / "pickled.bin"
    if not path.exists():
        new = path.with_suffix(f".{os.getpid()}")
        torch.save(seeded(7).state_dict(), new)
        new.rename(path)
    return folder


def empty():
    with torch.device("meta"):
        return Encoder().eval()


def from_safetensors(folder, name):
    from safetensors.torch import load_file

    model = empty()
    model.load_state_dict(load_file(pathlib.Path(folder) / f"{name}.safetensors"), assign=True)
    return model


def half(folder):
    """Pays: the cast makes memory of its own in each process."""
    return from_safetensors(folder, "half").half()


def pickled(folder):
    """Pays: a pickled checkpoint is read into memory of its own."""
    model = empty()
    model.load_state_dict(torch.load(pathlib.Path(folder) / "pickled.bin", weights_only=True), assign=True)
    return model


class Quantised(torch.nn.Module):
    """Weights of a linear layer in eight bits, one scale a row."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-8) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, x):
        return x @ (self.weight.to(x.dtype) * self.scale).T


def quantised(folder):
    """Pays: the eight-bit weights are computed at load."""
    model = from_safetensors(folder, "quantised")
    return torch.nn.Sequential(*(Quantised(layer.linear1) for layer in model.layers)).eval()


def data_set():
    """Pays: a million rows built in memory."""
    return numpy.random.default_rng(11).standard_normal((1_000_000, 16), dtype=numpy.float32)


def vocabulary():
    """A table of words, as tokenizers build one."""
    return {f"word{i}": i for i in range(200_000)}


def small():
    return seeded(5, lambda: torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)))
