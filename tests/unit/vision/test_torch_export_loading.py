"""Archives that cannot be used fail by a typed error that names the file and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from carpool.errors import ModelFormatError, ModelNotFound, ModelUnsafe
from carpool.vision.torch.exported_program import load_exported_program
from carpool.vision.torch_export.inspection import inspect
from carpool.vision.torch_export.operators import ATEN, ON_SIZES
from support.pt2_archives import (
    CONFIGS,
    PROGRAM,
    SAMPLE_INPUTS,
    SIDE,
    any_batch,
    changed,
    in_json,
    save,
    tiny_detector,
)

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return save(tiny_detector(), tmp_path_factory.mktemp("pt2") / "model.pt2", dynamic=any_batch())


def test_a_loaded_program_computes_what_the_network_does(archive):
    images = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    program = load_exported_program(archive)
    found, expected = program.module()(images), tiny_detector()(images)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert program.example_inputs is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.pt2", b"", "is no .pt2 archive, or is truncated"),
        ("text.pt2", b"weights", "is no .pt2 archive, or is truncated"),
        ("zip.pt2", b"PK\x05\x06" + b"\0" * 18, "has no entry archive_format"),
    ],
)
def test_a_file_that_is_no_archive_is_named(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFormatError, match=f"{name}: {reason}"):
        load_exported_program(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "gone.pt2", tmp_path):
        with pytest.raises(ModelNotFound, match=str(path)):
            load_exported_program(path)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_a_truncated_archive_is_named(kept, archive, tmp_path):
    content = archive.read_bytes()
    path = tmp_path / "short.pt2"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelFormatError, match=r"short\.pt2: is .*truncated"):
        load_exported_program(path)


def test_a_damaged_weight_is_named(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    [weight] = [tiny_detector().conv.weight.numpy().tobytes()]
    content[content.index(weight) + 5] ^= 0xFF
    path = tmp_path / "damaged.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"damaged\.pt2: data/weights/weight_0: cannot be"):
        load_exported_program(path)


def weight(**changes):
    return in_json(lambda d: d["config"]["conv.weight"].update(changes))


def weight_meta(**changes):
    return in_json(lambda d: d["config"]["conv.weight"]["tensor_meta"].update(changes))


def program(change):
    return {PROGRAM: in_json(change)}


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({"archive_version": b"1"}, "archive_version: found b'1', expected '0'"),
        ({"archive_format": b"pt9"}, "archive_format: found b'pt9', expected 'pt2'"),
        ({"byteorder": b"big"}, "byteorder: the weights were written on a big-endian machine"),
        ({PROGRAM: None}, "has no entry models/model.json"),
        ({CONFIGS["weights"]: None}, "has no entry data/weights/model_weights_config.json"),
        ({PROGRAM: b"{"}, "models/model.json: is no JSON"),
        ({PROGRAM: b"[" * 100_000}, "models/model.json: is no JSON"),
        ({PROGRAM: b"[]"}, "models/model.json: has schema version None"),
        (
            program(lambda d: d["schema_version"].update(major=9)),
            r"has schema version 9 \(torch 2.*\), expected 8",
        ),
        (
            program(lambda d: d["graph_module"].pop("signature")),
            "models/model.json: graph_module: has no signature",
        ),
        (
            program(lambda d: d["graph_module"]["graph"]["nodes"][0].update(outputs=3)),
            r"graph.nodes\[0\].outputs: found 3, expected a list",
        ),
        ({"data/weights/weight_0": None}, "its entry data/weights/weight_0 is missing"),
        (
            {"data/weights/weight_0": b"\0" * 12},
            r"config\['conv.weight'\]: needs 1344 bytes for shape \[7, 3, 4, 4\]",
        ),
        ({"data/weights/weight_0": b""}, "needs 1344 bytes .*, and its entry has 0"),
        (
            {CONFIGS["weights"]: weight_meta(storage_offset={"as_int": 1})},
            "needs 1348 bytes .*, and its entry has 1344",
        ),
        (
            {CONFIGS["weights"]: weight_meta(layout=1)},
            "has dtype 7 and layout 1, expected a dense tensor",
        ),
        ({CONFIGS["weights"]: weight_meta(dtype=99)}, "dtype: found 99, expected an integer"),
    ],
)
def test_what_is_wrong_in_an_archive_is_named(edits, reason, archive, tmp_path):
    path = changed(archive, tmp_path / "model.pt2", edits)
    with pytest.raises(ModelFormatError, match=f"model.pt2: .*{reason}|model.pt2: {reason}"):
        load_exported_program(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # An operator that another version of torch has, or had.
        (
            lambda d: d["graph_module"]["graph"]["nodes"][0].update(
                target="torch.ops.aten.conv2d.quickly"
            ),
            r"torch 2\..* cannot load the program that torch 2\..* saved: SerializeError",
        ),
        (
            lambda d: d["graph_module"]["graph"]["nodes"].reverse(),
            r"cannot load the program .*: SerializeError: .*KeyError",
        ),
        (
            lambda d: d["graph_module"]["signature"]["input_specs"].pop(0),
            "cannot load the program",
        ),
    ],
)
def test_what_torch_cannot_make_sense_of_is_named(change, reason, archive, tmp_path):
    path = changed(archive, tmp_path / "model.pt2", program(change))
    with pytest.raises(ModelFormatError, match=f"model.pt2: .*{reason}|model.pt2: {reason}"):
        load_exported_program(path)


def test_sample_inputs_may_be_missing(archive, tmp_path):
    load_exported_program(changed(archive, tmp_path / "model.pt2", {SAMPLE_INPUTS: None}))


def test_tensors_may_have_any_name(tmp_path):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("device", torch.ones(3, 1, 1))
            self.register_buffer("index", torch.ones(3, 1, 1))

        def forward(self, device):
            return (device + self.device).mean(dim=(2, 3)), self.index * 2.0

    path = save(Odd(), tmp_path / "odd.pt2", dynamic=any_batch())
    module = load_exported_program(path).module()
    assert module(torch.zeros(1, 3, SIDE, SIDE))[0].tolist() == [[1.0, 1.0, 1.0]]


def test_programs_with_sizes_that_are_computed_load(tmp_path):
    class Halves(nn.Module):
        def forward(self, images):
            half = images.shape[0] // 2
            return images[:half].reshape(half * 3, -1).sum(dim=1), images[half:]

    halves = ({0: 2 * torch.export.Dim("half", min=2, max=32)},)
    path = save(Halves(), tmp_path / "halves.pt2", images=torch.zeros(6, 3, 8, 8), dynamic=halves)
    with inspect(path) as found:
        assert [str(o) for o in found.type.outputs.values()][1].endswith("3, 8, 8]")
    first, second = load_exported_program(path).module()(torch.ones(6, 3, 8, 8))
    assert first.shape == (9,)
    assert second.shape == (3, 3, 8, 8)


def test_every_operator_on_the_list_is_one_of_torch_and_opens_nothing():
    """No text that an operator takes is a path: each chooses one of a few ways, or is a message."""
    texts = {
        *("mode", "rounding_mode", "approximate", "padding", "pad_mode", "reduce", "side", "norm"),
        *("driver", "equation", "indexing", "interpolation", "assert_msg", "ord"),
    }
    of_tensors = {
        (name, overload or "default")
        for name, _, overload in (
            full.removeprefix("aten::").partition(".")
            for full in torch._C._dispatch_get_all_op_names()
        )
    }
    for name in sorted(ATEN):
        assert any(known == name for known, _ in of_tensors), name
        packet = getattr(torch.ops.aten, name)
        for overload in packet.overloads():
            if (name, overload) not in of_tensors:
                continue  # one of TorchScript's functions of plain values: "add.str"
            for argument in getattr(packet, overload)._schema.arguments:
                if "str" in str(argument.type):
                    assert argument.name in texts, (name, overload, argument.name)
                assert str(argument.type) not in {"Any", "Storage", "Stream"}, (name, overload)
    assert {"from_file", "set_", "resize", "_print", "save", "load"}.isdisjoint(ATEN)
    for target in ON_SIZES:
        module, _, function = target.rpartition(".")
        assert callable(getattr(__import__(module), function))


def test_a_name_list_that_is_malformed_is_named(archive, tmp_path):
    path = changed(archive, tmp_path / "model.pt2", {"extra/names": b"\xff\xfe"})
    with pytest.raises(ModelFormatError, match="extra/names: is no text"):
        load_exported_program(path)


def test_unsafe_is_not_malformed(archive, tmp_path):
    path = changed(
        archive, tmp_path / "model.pt2", program(lambda d: d.update(more=json.loads("1")))
    )
    with pytest.raises(ModelUnsafe) as caught:
        load_exported_program(path)
    assert caught.value.reason == "ModelUnsafe"
    assert not caught.value.retryable
