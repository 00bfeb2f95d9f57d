"""The model's files, found and checked before anything is loaded, and looked at again after.

The driver hashes each file once; its hashes are part of the job's fingerprint, and the host's child
holds every file against them whenever it loads. Between the hash and the end of loading a file
could be replaced; so its identity (inode, size, times of change) must be the same afterwards, or
what was loaded is not used.

Threat model: whoever made or hosts a model file may be hostile, and gets no code run and no other
file in its place. Whoever can write to the host's own machine as its user is not kept out: such a
one needs no model file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carpool.errors import ModelChecksumMismatch, ModelNotFound
from carpool.host.config import ModelFiles

Identity = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class ModelPaths:
    """Local files of a model: `path` of its URI (None where it has none), `files` by role."""

    path: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    identities: Mapping[Path, Identity] = field(default_factory=dict, compare=False)

    def check_unchanged(self) -> None:
        """Refuse what was loaded where a file is not the one that was checked any more.

        Raises:
            ModelChecksumMismatch: a file was changed or replaced since `find_model`.
        """
        for path, checked in self.identities.items():
            try:
                now: Identity | None = _identity(path.stat())
            except OSError:
                now = None
            if now != checked:
                raise ModelChecksumMismatch(
                    f"model file {path} was changed while it was being loaded; run the job again "
                    "when it is complete"
                )


def find_model(model: ModelFiles) -> ModelPaths:
    """Find the files of a model and check them.

    Raises:
        ModelNotFound: a file does not exist, or cannot be read.
        ModelChecksumMismatch: a file is not the one that was named.
    """
    identities: dict[Path, Identity] = {}
    path = None if model.uri is None else _checked(model.uri, "model", model.sha256, identities)
    files = {
        role: _checked(uri, role, model.files_sha256.get(role), identities)
        for role, uri in model.files.items()
    }
    return ModelPaths(path, files, identities)


def _checked(uri: str, role: str, sha256: str | None, identities: dict[Path, Identity]) -> Path:
    path = Path(uri.removeprefix("file://"))
    if not path.is_file():
        raise ModelNotFound(f"{role} file {uri} does not exist on the host's machine")
    try:
        with path.open("rb") as stream:
            identities[path] = _identity(os.fstat(stream.fileno()))
            found = sha256 and hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelNotFound(f"{role} file {uri} cannot be read: {error.strerror}") from error
    if sha256 is not None and found != sha256.lower():
        raise ModelChecksumMismatch(f"{role} file {path} has sha256 {found}, expected {sha256}")
    return path


def _identity(status: os.stat_result) -> Identity:
    """Equal for one file that was not written to; nobody can set the time of change back."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
