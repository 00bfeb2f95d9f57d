"""From `spec.model` to a model that tasks and host can use: its class, its files, their digests.

The driver resolves a model once. Everything that depends on files is read here (a Darknet cfg's
input size, an exported program's types, class names), so that workers build handlers from
parameters alone, and the digests of all files go into the job's fingerprint, so that a changed file
is another model.
"""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carpool.errors import (
    HandlerError,
    InputUnavailable,
    ModelChecksumMismatch,
    ModelNotFound,
    NoInput,
)
from carpool.inputs.filesystem import StorageOptions, expand, is_local, local_path
from carpool.inputs.staging import private_copy
from carpool.spec import ModelSpec
from carpool.spec.model import Precision
from carpool.vision.darknet.resolve import ROLES, complete_parameters, darknet_files
from carpool.vision.handler import Handler, build_handler, handler_class
from carpool.vision.torch_export.resolve import check_program
from carpool.vision.torch_export.resolve import (
    complete_parameters as complete_exported_parameters,
)

DARKNET_HANDLER = "carpool.vision.darknet.handler:DarknetDetector"
EXPORTED_HANDLER = "carpool.vision.torch_export.handler:ExportedDetector"

_BUILT_IN = {"Darknet": DARKNET_HANDLER, "TorchExport": EXPORTED_HANDLER}
"""Handlers of the formats that need none of the user's; a job of format Python names one."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose files are here and whose parameters are complete.

    Attributes:
        handler: `module:Class`.
        parameters: for the handler's constructor.
        path: local file of `spec.model.uri`, or None where the job names none.
        files: further local files by role.
        digests: sha256 of each file by role, that of `path` under "model".
        precision: as in the spec.
        max_batch: items of a batch where the model takes but one number of them; else None.
    """

    handler: str
    parameters: Mapping[str, Any]
    path: Path | None
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    precision: Precision
    max_batch: int | None = None

    def facts(self) -> dict[str, Any]:
        """What makes this model this model, in the words of the job file.

        Where its files lie is no part of it: the same files elsewhere are the same model.
        """
        parameters = {k: v for k, v in self.parameters.items() if k not in ROLES}
        return {
            "model": {
                "handler": self.handler,
                "precision": self.precision,
                "sha256": dict(self.digests),
                "parameters": parameters,
            }
        }

    def build_handler(self) -> Handler:
        """The handler as a task builds it; proves that class and parameters fit together.

        Raises:
            HandlerError: the class cannot be imported or is no handler.
            SpecError: a parameter is unknown or wrong.
        """
        return build_handler(self.handler, self.parameters)


def resolve_model(spec: ModelSpec, storage: StorageOptions, directory: Path) -> ResolvedModel:
    """Find a model's files, bring remote ones here, check them, and complete its parameters.

    Args:
        spec: `spec.model` of a job that is runnable.
        storage: how to reach storage that is not local.
        directory: where copies of remote files go.

    Raises:
        ModelError: a file is missing, is not the one named by sha256, is malformed, or could run
            code when loaded.
        SpecError: a parameter is wrong.
        InputUnavailable: storage failed; trying again may succeed.
    """
    path = None if spec.uri is None else _local_file(spec.uri, "spec.model.uri", storage, directory)
    files: dict[str, Path] = {}
    handler, parameters = spec.handler or _BUILT_IN[spec.format], dict(spec.parameters)
    max_batch = None
    digests: dict[str, str] = {}
    if path is not None:
        # Before the file is looked at in any other way.
        digests["model"] = _sha256(path)
        _check_digest(spec, digests["model"])
    if spec.format == "Darknet" and spec.uri is not None and path is not None:
        for role, uri in darknet_files(spec.uri, spec.parameters).items():
            field = f"spec.model.parameters.{role}"
            files[role] = _local_file(uri, field, storage, directory)
        parameters = complete_parameters(path, files.get("names"), spec.parameters)
    elif spec.format == "TorchExport" and path is not None:
        if spec.handler is None:
            model = complete_exported_parameters(path, spec.parameters)
            parameters, max_batch = model.parameters, model.max_batch
        else:
            check_program(path)
    digests |= {role: _sha256(file) for role, file in files.items()}
    if spec.handler is not None:
        # A handler is code that its user changes between two runs; other code is another model.
        digests["handler"] = _sha256(_source_file(handler))
    return ResolvedModel(handler, parameters, path, files, digests, spec.precision, max_batch)


def _local_file(uri: str, field: str, storage: StorageOptions, directory: Path) -> Path:
    """The file itself where it is local, else a copy in `directory`."""
    if is_local(uri):
        path = local_path(uri)
        if not path.is_file():
            raise ModelNotFound(f"{field}: no file {path}")
        return path
    try:
        [file] = expand([uri], storage)
    except (NoInput, ValueError) as error:
        raise ModelNotFound(f"{field}: no file {uri}") from error
    # A folder of its own per URI, so that two files of one name do not meet.
    target = directory / "model" / hashlib.sha256(uri.encode()).hexdigest()[:8] / Path(uri).name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with private_copy(file, storage, directory) as copy:
            shutil.copyfile(copy, target)
    except OSError as error:
        raise InputUnavailable(f"{uri}: cannot be copied to {target}: {error}") from error
    return target


def _source_file(handler: str) -> Path:
    kind = handler_class(handler)
    try:
        return Path(inspect.getfile(kind))
    except (OSError, TypeError) as error:
        raise HandlerError(
            f"handler {handler!r} has no file that could be read: {error}"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_digest(spec: ModelSpec, found: str) -> None:
    if spec.sha256 is not None and spec.sha256.lower() != found:
        raise ModelChecksumMismatch(
            f"spec.model.sha256: {spec.uri} has sha256 {found}, expected {spec.sha256}"
        )
