"""The model's files, found and checked before anything is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carpool.errors import ModelChecksumMismatch, ModelNotFound
from carpool.host.config import ModelFiles


@dataclass(frozen=True, slots=True)
class ModelPaths:
    """Local files of a model: `path` of its URI (None where it has none), `files` by role."""

    path: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


def find_model(model: ModelFiles) -> ModelPaths:
    """Find the files of a model.

    Raises:
        ModelNotFound: a file does not exist.
        ModelChecksumMismatch: the model file is not the one that was named.
    """
    path = None if model.uri is None else _local(model.uri, "model")
    if path is not None and model.sha256 is not None:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != model.sha256.lower():
            raise ModelChecksumMismatch(
                f"model {path} has sha256 {found}, spec.model.sha256 says {model.sha256}"
            )
    return ModelPaths(path, {role: _local(uri, role) for role, uri in model.files.items()})


def _local(uri: str, role: str) -> Path:
    path = Path(uri.removeprefix("file://"))
    if not path.is_file():
        raise ModelNotFound(f"{role} file {uri} does not exist on the host's machine")
    return path
