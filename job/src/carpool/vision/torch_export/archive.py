"""The zip file around an exported program: which entries there may be, and reading them.

Entries are known by name or refused, each kind that could carry code with its own reason. torch
stores entries uncompressed, so compression is refused, and with it every bomb: the entries together
cannot be larger than the file. Entries are read by Python's zipfile alone; torch's reader, which
may understand a crafted file differently, never sees the file.

Source of the layout: torch/csrc/export/pt2_archive_constants.h and
torch/export/pt2_archive/_package.py of torch 2.11 to 2.15.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from carpool.errors import ModelNotFound, ModelUnsafe
from carpool.vision.torch_export.place import Place, shown

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/"
CONSTANTS = "data/constants/"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
CLASS_NAMES = "extra/names"
"""Class names, one a line: what `torch.export.save(…, extra_files={"names": …})` writes."""

VERSION = "0"
MAX_TEXT_BYTES = 64 << 20
"""Most bytes of an entry that is read into memory: a program of 40,000 operators fits."""

_MAX_ENTRIES = 200_000
_ENCRYPTED = 0x1
_AGAIN = "save the program again with torch.export.save of torch 2.11 or newer"

_KNOWN = re.compile(
    r"models/model\.json|archive_format|archive_version|byteorder"
    r"|\.data/(?:version|serialization_id)|\.format_version|\.storage_alignment|version"
    r"|data/weights/(?:model_weights_config\.json|weight_[0-9]{1,9})"
    r"|data/constants/(?:model_constants_config\.json|tensor_[0-9]{1,9})"
    r"|data/sample_inputs/model\.pt"
    r"|extra/[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*"
)
"""Names below the archive's root folder."""

_REFUSED = (
    (r"data/aotinductor/", "is compiled code of AOTInductor", "export without compiling"),
    (r"data/executorch/", "is a program of ExecuTorch", _AGAIN),
    (r"data/constants/custom_obj_", "is a pickled object of a C++ class", "export without it"),
    (r"data/constants/opaque_obj_", "is a pickled Python object", "export without it"),
    (r"data/(?:weights|constants)/[^/]*\.pt$", "is a pickle, as torch before 2.9 wrote", _AGAIN),
    (r"models/", "is another program; only one named model is loaded", _AGAIN),
    (r"data/sample_inputs/", "is a pickle that belongs to no program here", _AGAIN),
)
_LEGACY = re.compile(r"serialized_(?:exported_program|state_dict|constants|example_inputs)\.\w+")


class Archive:
    """An open archive whose entries all have names that are known."""

    def __init__(self, zip_file: zipfile.ZipFile, place: Place, size: int) -> None:
        self.place = place
        self._zip = zip_file
        self._entries = _entries(zip_file, place, size)
        for name, expected in (("archive_format", b"pt2"), ("archive_version", VERSION.encode())):
            if self.read(name).strip() != expected:
                raise place.inside(name).malformed(
                    f"found {shown(self.read(name)[:20])}, expected {expected.decode()!r}", _AGAIN
                )
        if "byteorder" in self._entries and self.read("byteorder").strip() != b"little":
            raise place.inside("byteorder").malformed(
                "the weights were written on a big-endian machine",
                "save the program again on a little-endian one",
            )

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self, folder: str) -> frozenset[str]:
        """Names of the entries of a folder, without the folder."""
        return frozenset(
            name.removeprefix(folder) for name in self._entries if name.startswith(folder)
        )

    def size(self, name: str) -> int:
        """Bytes of an entry.

        Raises:
            ModelFormatError: there is no such entry.
        """
        return self._entry(name).file_size

    def read(self, name: str) -> bytes:
        """Content of an entry.

        Raises:
            ModelFormatError: there is no such entry, it is too large for a text, or it is damaged.
        """
        if self.size(name) > MAX_TEXT_BYTES:
            raise self.place.inside(name).malformed(
                f"has {self.size(name)} bytes, expected at most {MAX_TEXT_BYTES}"
            )
        with self.open(name) as stream:
            return stream.read()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """An entry as a stream.

        Raises:
            ModelFormatError: there is no such entry, or it is damaged.
        """
        try:
            with self._zip.open(self._entry(name)) as stream:
                yield stream
        except (zipfile.BadZipFile, EOFError) as error:
            raise self.place.inside(name).malformed(f"cannot be read: {error}") from error

    def _entry(self, name: str) -> zipfile.ZipInfo:
        if name not in self._entries:
            raise self.place.malformed(f"has no entry {name}", _AGAIN)
        return self._entries[name]


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a .pt2 archive; its content has been looked at by name only.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is no archive, damaged, or of another version.
        ModelUnsafe: it holds an entry that is not known to be safe.
    """
    place = Place(path.name)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
            zip_file = stack.enter_context(zipfile.ZipFile(stream))
            archive = Archive(zip_file, place, path.stat().st_size)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ModelNotFound(f"{path}: {error.strerror}, expected a .pt2 file") from error
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise place.malformed(f"is no .pt2 archive, or is truncated: {error}") from error
        yield archive


def _entries(zip_file: zipfile.ZipFile, place: Place, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name below the root folder.

    Raises:
        ModelFormatError, ModelUnsafe: see `open_archive`.
    """
    found = zip_file.infolist()
    if len(found) > _MAX_ENTRIES:
        raise place.malformed(f"has {len(found)} entries, expected at most {_MAX_ENTRIES}")
    for info in found:
        if _LEGACY.fullmatch(info.filename):
            raise place.inside(info.filename).unsafe(
                "is the layout of torch before 2.8, which is loaded by unpickling", _AGAIN
            )
    # A zip file is read from its end. Where that is missing, zipfile finds that of an inner file.
    if found and min(info.header_offset for info in found) != 0:
        raise place.malformed("is truncated, or something stands before the archive", _AGAIN)
    root = found[0].filename.partition("/")[0] if found else ""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in found:
        # `orig_filename` is the name as it is in the file; zipfile cuts it at a null character.
        inside = place.inside(shown(info.orig_filename).strip("'\""))
        folder, separator, name = info.orig_filename.partition("/")
        if folder != root or not separator:
            raise inside.unsafe(f"stands outside of the archive's folder {shown(root)}", _AGAIN)
        if name in entries:
            raise inside.unsafe("is there twice", _AGAIN)
        if not _KNOWN.fullmatch(name):
            raise _unknown(name, inside)
        if info.flag_bits & _ENCRYPTED:
            raise inside.unsafe("is encrypted", _AGAIN)
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise inside.unsafe("is compressed, and torch.export.save compresses nothing", _AGAIN)
        entries[name] = info
    total = sum(info.file_size for info in found)
    if total > size:
        raise place.unsafe(f"its entries claim {total} bytes, more than the file has ({size})")
    return entries


def _unknown(name: str, place: Place) -> ModelUnsafe:
    for pattern, what, advice in _REFUSED:
        if re.match(pattern, name):
            return place.unsafe(what, advice)
    return place.unsafe("is no part of an exported program that is known to be safe", _AGAIN)
