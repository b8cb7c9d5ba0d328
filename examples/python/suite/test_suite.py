# SPDX-License-Identifier: Apache-2.0
"""Eight models, thirty-two tests, any number of workers:

    pytest -n 4 examples/python/suite                  each process loads what its tests need, once
    rpool run -- pytest -n 4 examples/python/suite     one load of each for all processes

EXAMPLE_SUITE_POOL=0 does the same without the pool, to compare.
"""

import os
import pathlib
import tempfile

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
numpy = pytest.importorskip("numpy", reason="numpy is not installed")

import models  # noqa: E402
from resource_pool import get_global_resource_pool  # noqa: E402

NAME = f"resource-pool-example-{os.getuid()}-{models.LAYERS}x{models.WIDTH}"
FOLDER = pathlib.Path(os.environ.get("EXAMPLE_SUITE_FOLDER") or pathlib.Path(tempfile.gettempdir()) / NAME)
LOADS = {
    "plain-a": lambda: models.from_safetensors(FOLDER, "plain-a"),
    "plain-b": lambda: models.from_safetensors(FOLDER, "plain-b"),
    "half": lambda: models.half(FOLDER),
    "pickled": lambda: models.pickled(FOLDER),
    "quantised": lambda: models.quantised(FOLDER),
    "data set": models.data_set,
    "vocabulary": models.vocabulary,
    "small": models.small,
}
PARTS = range(4)  # each model is asked for by four tests, which xdist gives to different workers


@pytest.fixture(scope="session", autouse=True)
def files():
    models.write_files(FOLDER)


def get(name):
    if os.environ.get("EXAMPLE_SUITE_POOL") == "0":
        return LOADS[name]()
    if name in ("data set", "vocabulary"):
        return get_global_resource_pool().get_resource(name, constructor=LOADS[name])
    return get_global_resource_pool().get_model("embedding", name, LOADS[name])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["plain-a", "plain-b", "half", "pickled"])
def test_encoder(name, part):
    model = get(name)
    tokens = torch.arange(16).reshape(1, 16) + part
    with torch.no_grad():
        vector = model(tokens)
    assert vector.shape == (1, models.WIDTH)
    assert torch.isfinite(vector).all()
    assert vector.dtype == (torch.float16 if name == "half" else torch.float32)


@pytest.mark.parametrize("part", PARTS)
def test_quantised(part):
    layer = get("quantised")[part % models.LAYERS]
    assert layer.weight.dtype == torch.int8
    assert int(layer.weight.abs().max()) <= 127
    with torch.no_grad():
        assert torch.isfinite(layer(torch.ones(1, models.WIDTH))).all()


@pytest.mark.parametrize("part", PARTS)
def test_data_set(part):
    rows = get("data set")
    quarter = rows[part * 250_000:(part + 1) * 250_000]
    assert quarter.shape == (250_000, 16)
    assert abs(float(quarter.mean())) < 0.01 and abs(float(quarter.std()) - 1) < 0.01


@pytest.mark.parametrize("part", PARTS)
def test_vocabulary(part):
    assert get("vocabulary")[f"word{part}"] == part


@pytest.mark.parametrize("part", PARTS)
def test_small(part):
    with torch.no_grad():
        first, second = get("small")(torch.full((2, 64), float(part)))
    assert torch.equal(first, second)
