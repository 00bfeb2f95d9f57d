"""The door for .pt2 archives: what passes is understood completely, and only that reaches torch.

`inspect` reads and checks; `write_clean` writes a new archive of the same program from what was
understood: known entries, known fields, no sample inputs, one device. So torch's reader opens no
pickle, and what was checked is what is loaded, even if the file changes meanwhile (of the file
itself only the numbers in the weights are read again, and any number is safe).
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from carpool.vision.torch_export.archive import (
    CLASS_NAMES,
    CONSTANTS,
    CONSTANTS_CONFIG,
    PROGRAM,
    SAMPLE_INPUTS,
    VERSION,
    WEIGHTS,
    WEIGHTS_CONFIG,
    Archive,
    open_archive,
)
from carpool.vision.torch_export.payloads import check_payloads
from carpool.vision.torch_export.pickles import check_tensors_only
from carpool.vision.torch_export.place import Place
from carpool.vision.torch_export.program import ProgramType, program_type
from carpool.vision.torch_export.program_schema import PROGRAM as PROGRAM_SCHEMA
from carpool.vision.torch_export.program_schema import SCHEMA_MAJOR

_COPY_BYTES = 1 << 20
_DEVICE_FIELDS = {"type", "index"}


@dataclass(frozen=True, slots=True)
class InspectedProgram:
    """A program that is safe to load; valid while its archive is open.

    Attributes:
        source: name of the file.
        type: what it takes and gives.
        torch_version: of the torch that saved it.
        class_names: text of the extra file "names"; None where there is none.
    """

    source: str
    type: ProgramType
    torch_version: str
    class_names: str | None
    _archive: Archive
    _program: Any
    _configs: dict[str, Any]

    def write_clean(self, target: IO[bytes], device: str) -> None:
        """Write a new archive of the program.

        Args:
            target: a file open for writing.
            device: where the program will be and compute, "cpu" or "cuda:0".

        Raises:
            ModelFormatError: an entry is damaged.
        """
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as clean:

            def put(name: str, content: str) -> None:
                clean.writestr(f"archive/{name}", content)

            put("archive_format", "pt2")
            put("archive_version", VERSION)
            put(".data/version", "6\n")
            put(PROGRAM, json.dumps(_on_device(self._program, device)))
            put(SAMPLE_INPUTS, "")
            for name, config in self._configs.items():
                folder = f"{name.rpartition('/')[0]}/"
                put(name, json.dumps(_on_device(config, device)))
                for entry in sorted({p["path_name"] for p in config["config"].values()}):
                    with (
                        self._archive.open(folder + entry) as source,
                        clean.open(f"archive/{folder}{entry}", "w", force_zip64=True) as copy,
                    ):
                        shutil.copyfileobj(source, copy, _COPY_BYTES)


@contextmanager
def inspect(path: Path) -> Iterator[InspectedProgram]:
    """Open a .pt2 archive and check all of it but the numbers in its weights.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is no archive of torch.export.save, damaged, or of another version.
        ModelUnsafe: it holds something that is not known to be safe; none of it has been run.
    """
    with open_archive(path) as archive:
        document = _json(archive, PROGRAM)
        place = archive.place.inside(PROGRAM)
        _check_version(document, place)
        program = PROGRAM_SCHEMA(document, place)
        configs = {
            config: check_payloads(_json(archive, config), archive, config, folder, kind)
            for config, folder, kind in (
                (WEIGHTS_CONFIG, WEIGHTS, "weight"),
                (CONSTANTS_CONFIG, CONSTANTS, "tensor"),
            )
        }
        if SAMPLE_INPUTS in archive and archive.size(SAMPLE_INPUTS):
            with archive.open(SAMPLE_INPUTS) as inputs:
                check_tensors_only(inputs, archive.place.inside(SAMPLE_INPUTS))
        yield InspectedProgram(
            path.name,
            program_type(program, place),
            program.get("torch_version", "unknown"),
            _class_names(archive),
            archive,
            program,
            configs,
        )


def _json(archive: Archive, name: str) -> Any:
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise archive.place.inside(name).malformed(f"is no JSON: {error}") from error


def _check_version(document: Any, place: Place) -> None:
    """Before anything else: a program of another version fails for that reason."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    major = version.get("major") if isinstance(version, dict) else None
    if major != SCHEMA_MAJOR:
        made = document.get("torch_version") if isinstance(document, dict) else None
        raise place.malformed(
            f"has schema version {major!r} (torch {str(made)[:40]}), expected {SCHEMA_MAJOR}",
            "save the program again with a torch that this version of Carpool knows",
        )


def _class_names(archive: Archive) -> str | None:
    if CLASS_NAMES not in archive:
        return None
    try:
        return archive.read(CLASS_NAMES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise archive.place.inside(CLASS_NAMES).malformed("is no text") from error


def _on_device(value: Any, device: str) -> Any:
    """The same value with every device in it replaced."""
    kind, _, index = device.partition(":")
    place = {"type": kind, "index": int(index) if index else None}

    def replaced(found: Any) -> Any:
        if isinstance(found, dict):
            # A tensor may be called "type" or "device", but no such tensor looks like one.
            if found.keys() == _DEVICE_FIELDS and isinstance(found["type"], str):
                return place
            return {key: replaced(item) for key, item in found.items()}
        return [replaced(item) for item in found] if isinstance(found, list) else found

    return replaced(value)
