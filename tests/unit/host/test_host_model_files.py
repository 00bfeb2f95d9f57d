"""Every file of a model is held against its hash, before it is loaded and after."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from carpool.errors import ModelChecksumMismatch, ModelNotFound
from carpool.host.config import ModelFiles
from carpool.host.model_files import ModelPaths, find_model


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "m.cfg").write_bytes(b"[net]")
    (tmp_path / "m.weights").write_bytes(b"w")
    return tmp_path / "m.cfg"


def files_of(model: Path, **changes: str) -> ModelFiles:
    weights = model.with_suffix(".weights")
    hashes = {"weights": sha256(b"w")} | changes
    return ModelFiles(
        uri=str(model),
        sha256=sha256(b"[net]"),
        files={"weights": str(weights)},
        files_sha256=hashes,
    )


def test_files_are_found_by_path_and_uri(model):
    weights = model.with_suffix(".weights")
    for uri in (str(model), model.as_uri()):
        found = find_model(ModelFiles(uri=uri, files={"weights": str(weights)}))
        assert found == ModelPaths(model, {"weights": weights})
        found.check_unchanged()
    assert find_model(ModelFiles()) == ModelPaths()


def test_a_missing_file_is_named_by_its_role(model):
    files = files_of(model)
    model.with_suffix(".weights").unlink()
    with pytest.raises(ModelNotFound, match=r"weights file .*m\.weights does not exist"):
        find_model(files)
    with pytest.raises(ModelNotFound, match=r"model file .*gone\.cfg does not exist"):
        find_model(ModelFiles(uri=str(model.with_name("gone.cfg"))))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(model):
    model.chmod(0)
    with pytest.raises(ModelNotFound, match=r"model file .*m\.cfg cannot be read"):
        find_model(files_of(model))


def test_another_model_file_is_refused(model):
    files = files_of(model)
    model.write_bytes(b"[NET]")
    with pytest.raises(ModelChecksumMismatch, match=rf"model file .*{sha256(b'[NET]')}"):
        find_model(files)


def test_another_file_beside_it_is_refused_too(model):
    with pytest.raises(ModelChecksumMismatch, match=rf"weights file .*expected {'0' * 64}"):
        find_model(files_of(model, weights="0" * 64))


def replaced(path: Path) -> None:
    draft = path.with_name("draft")
    draft.write_bytes(path.read_bytes())
    draft.replace(path)


def rewritten_with_its_old_time(path: Path) -> None:
    """The time of modification can be set back, that of change cannot."""
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, rewritten_with_its_old_time, Path.unlink])
@pytest.mark.parametrize("suffix", [".cfg", ".weights"])
def test_what_was_loaded_from_a_file_that_changed_meanwhile_is_refused(model, suffix, change):
    for path in (model, model.with_suffix(".weights")):
        os.utime(path, ns=(1, 1))
    found = find_model(files_of(model))
    _wait_for_another_time(model.parent)
    change(model.with_suffix(suffix))
    with pytest.raises(ModelChecksumMismatch, match=rf"m\{suffix} was changed while it was being"):
        found.check_unchanged()


def _wait_for_another_time(folder: Path) -> None:
    """Until the file system's clock, which ticks every few milliseconds, shows another time."""
    first = folder / "clock"
    first.touch()
    begun = first.stat().st_ctime_ns
    while first.stat().st_ctime_ns == begun:
        first.touch()
