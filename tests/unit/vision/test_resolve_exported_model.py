"""What the driver does with a model of format TorchExport, without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from carpool.errors import ModelChecksumMismatch, ModelUnsafe
from carpool.inputs.filesystem import StorageOptions
from carpool.spec import ModelSpec
from carpool.vision.model import EXPORTED_HANDLER, resolve_model
from support.pt2_archives import (
    SIDE,
    Trap,
    any_batch,
    changed,
    pickled_by_torch,
    save,
    tiny_detector,
)

pytestmark = pytest.mark.torch

NAMES = ["car", "bus", "truck"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    return save(tiny_detector(), path, dynamic=any_batch())


def resolved(path: Path, folder: Path, **model):
    document = {"format": "TorchExport", "uri": str(path), "parameters": {"classNames": NAMES}}
    return resolve_model(ModelSpec.model_validate(document | model), StorageOptions(), folder)


def test_a_detector_gets_the_built_in_handler_and_the_programs_size(archive, tmp_path):
    model = resolved(archive, tmp_path)
    assert model.handler == EXPORTED_HANDLER
    assert model.parameters == {"inputSize": [SIDE, SIDE], "classNames": NAMES}
    assert model.digests == {"model": hashlib.sha256(archive.read_bytes()).hexdigest()}
    assert model.max_batch is None
    assert model.build_handler().input_shape == (SIDE, SIDE, 3)


def test_an_own_handler_gets_its_parameters_as_they_are_and_counts_as_part_of_the_model(
    archive, tmp_path
):
    model = resolved(archive, tmp_path, handler="support.pt2_handler:Mine", parameters={"a": 1})
    assert model.parameters == {"a": 1}
    assert set(model.digests) == {"model", "handler"}


@pytest.mark.parametrize("handler", [None, "support.pt2_handler:Mine"])
def test_an_unsafe_archive_is_refused_whoever_would_load_it(handler, archive, tmp_path):
    canary = tmp_path / "canary"
    trap = pickled_by_torch(((Trap(canary),), {}))
    bad = changed(archive, tmp_path / "bad.pt2", {"data/sample_inputs/model.pt": trap})
    with pytest.raises(ModelUnsafe, match=r"bad\.pt2: data/sample_inputs/model\.pt"):
        resolved(bad, tmp_path, handler=handler, allowCode=True)
    assert not canary.exists()


def test_the_hash_is_checked_before_the_archive_is_looked_into(tmp_path):
    (tmp_path / "other.pt2").write_bytes(b"no archive at all")
    with pytest.raises(ModelChecksumMismatch, match=r"other\.pt2 has sha256"):
        resolved(tmp_path / "other.pt2", tmp_path, sha256="0" * 64)
