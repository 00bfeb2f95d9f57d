"""Filling a network from a .safetensors file: whole, or not at all."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from carpool.errors import ModelFormatError, ModelNotFound
from carpool.vision.torch.safetensors_file import load_safetensors

pytestmark = pytest.mark.torch


def network(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


def values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    found = values(network())
    return {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in found.items()}


def written(tensors, path: Path) -> Path:
    save_file(tensors, path)
    return path


def assert_refused(path: Path, reason: str) -> None:
    """And the network is as it was."""
    module = network()
    before = values(module)
    with pytest.raises(ModelFormatError, match=reason):
        load_safetensors(path, module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(module).items())


def test_every_parameter_and_buffer_is_filled(tensors, tmp_path):
    module = network()
    load_safetensors(written(tensors, tmp_path / "w.safetensors"), module)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in values(module).items())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match=r"gone\.safetensors"):
        load_safetensors(tmp_path / "gone.safetensors", network())


def test_a_missing_tensor_is_named(tensors, tmp_path):
    del tensors["1.running_mean"]
    assert_refused(
        written(tensors, tmp_path / "w.safetensors"),
        r"w\.safetensors: has no 1\.running_mean, which the network needs",
    )


def test_unexpected_tensors_are_named_and_counted(tensors, tmp_path):
    more = {f"head.{n}": torch.zeros(1) for n in range(7)}
    assert_refused(
        written(tensors | more, tmp_path / "w.safetensors"),
        r"w\.safetensors: has head\.0, head\.1, .* and 2 more, which the network does not have",
    )


def test_another_shape_is_named(tensors, tmp_path):
    tensors["0.weight"] = torch.zeros(5, 3)
    assert_refused(
        written(tensors, tmp_path / "w.safetensors"),
        r"w\.safetensors: 0\.weight is float32 \[5, 3\], and the network has float32 \[4, 3\]",
    )


def test_another_dtype_is_named(tensors, tmp_path):
    tensors["0.bias"] = tensors["0.bias"].half()
    assert_refused(
        written(tensors, tmp_path / "w.safetensors"),
        r"0\.bias is float16 \[4\], and the network has float32 \[4\]",
    )


def test_tied_weights_may_be_there_once(tmp_path):
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    tensors = {name: torch.rand(3, 3) for name in ("0.weight",)}
    tensors |= {name: torch.rand(3) for name in ("0.bias", "1.bias")}
    load_safetensors(written(tensors, tmp_path / "w.safetensors"), module)
    assert torch.equal(module[1].weight, tensors["0.weight"])


def header(document: object, size: int | None = None) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no tensors",
        header({}, size=1 << 62),
        header({}, size=1000),
        header([]),
        header({"0.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 60]}}),
        header({"0.bias": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 16]}})
        + b"0" * 16,
        header({"0.bias": {"dtype": "F32", "shape": [4], "data_offsets": [8, 4]}}) + b"0" * 16,
        header({"0.bias": {"dtype": "Object", "shape": [4], "data_offsets": [0, 16]}}) + b"0" * 16,
    ],
    ids=["empty", "text", "huge", "short", "list", "beyond", "overflow", "backwards", "dtype"],
)
def test_a_malformed_file_is_named(content, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert_refused(path, r"w\.safetensors: is no \.safetensors file, or is damaged or truncated")


def test_a_truncated_file_is_named(tensors, tmp_path):
    path = written(tensors, tmp_path / "w.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    assert_refused(path, "is no .safetensors file, or is damaged or truncated")


def test_a_pickle_under_that_name_is_not_opened(tmp_path):
    path = tmp_path / "w.safetensors"
    torch.save({"0.bias": torch.zeros(4)}, path)
    assert_refused(path, "is no .safetensors file")
