"""Local copies of input files: the decoder needs a path, and proof of bad input needs a full read.

A remote file is downloaded whole, once per machine, however many tasks read it; a local file is
used where it lies. What must stay true: a path that is handed out holds exactly the file that the
planner saw (same size, same modification time), and every failure to get there is
`InputUnavailable`, never `BadInput`, because it could pass.

Copies under `scratch` are guarded by `flock` on a lock file beside each: exclusive while it is
written, shared while it is used. Locks die with their process, so nothing is left to clean up.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from carpool.errors import InputUnavailable
from carpool.inputs.filesystem import (
    InputFile,
    StorageOptions,
    is_local,
    local_path,
    modified_ns,
    resolve,
)

_log = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
# Units of one file run close together in time; two spare copies serve the stragglers of the files
# before it, and keep scratch bounded by the files in use.
UNUSED_COPIES = 2
_PART = "part-"
_LOCK = ".lock"


@contextmanager
def local_copy(file: InputFile, storage: StorageOptions, scratch: Path) -> Iterator[Path]:
    """A local path that holds the file; valid inside the `with` block.

    Args:
        file: the file as planned.
        storage: where S3 is.
        scratch: folder for copies of remote files, shared by all tasks of the machine.

    Raises:
        InputUnavailable: the file is gone, has changed since it was planned, or cannot be read now.
    """
    if is_local(file.uri):
        check_unchanged(file, storage)
        yield local_path(file.uri)
        return
    folder = _folder(scratch, "inputs")
    key = hashlib.sha256(f"{file.uri}\n{file.size}\n{file.modified_ns}".encode()).hexdigest()[:32]
    copy = folder / (key + _suffix(file))
    with _shared_copy(copy, file, storage):
        yield copy


@contextmanager
def private_copy(file: InputFile, storage: StorageOptions, scratch: Path) -> Iterator[Path]:
    """A copy of the file made by reading all of it, local files too; removed afterwards.

    That it exists proves that the file could be read completely, so what fails on it fails because
    of the content.

    Raises:
        InputUnavailable: the file is gone, has changed since it was planned, or cannot be read now.
    """
    copy = _folder(scratch, "private") / (uuid4().hex + _suffix(file))
    _download(file, storage, copy)
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def check_unchanged(file: InputFile, storage: StorageOptions) -> None:
    """Check that the storage still holds the file that was planned.

    Raises:
        InputUnavailable: it is gone, or its size or modification time is another.
    """
    filesystem, path = resolve(file.uri, storage)
    try:
        info = filesystem.get_file_info(path)
    except (OSError, pa.ArrowException) as error:
        raise InputUnavailable(f"{file.uri}: cannot be read now: {error}") from error
    if info.type != fs.FileType.File:
        raise InputUnavailable(f"{file.uri}: is gone since the job was planned; put it back")
    if (info.size, modified_ns(info)) != (file.size, file.modified_ns):
        raise InputUnavailable(
            f"{file.uri}: has changed since the job was planned ({file.size} bytes then, "
            f"{info.size} now); run the job again when the file is complete"
        )


@contextmanager
def _shared_copy(copy: Path, file: InputFile, storage: StorageOptions) -> Iterator[None]:
    """Hold the shared copy in place, downloading it first where it is missing."""
    while True:
        with _locked(copy, fcntl.LOCK_SH):
            if _is_whole(copy, file):
                os.utime(copy)  # the last to be used is the last to be removed
                yield
                return
        # flock cannot turn shared into exclusive in one step, so whoever gets the exclusive lock
        # looks again, and whoever has downloaded goes back to take the shared one.
        with _locked(copy, fcntl.LOCK_EX):
            if not _is_whole(copy, file):
                _remove_unused(copy.parent)
                part = copy.with_name(_PART + copy.name)  # only the lock's holder writes it
                _download(file, storage, part)
                part.replace(copy)


def _is_whole(copy: Path, file: InputFile) -> bool:
    return copy.exists() and copy.stat().st_size == file.size


@contextmanager
def _locked(copy: Path, operation: int) -> Iterator[None]:
    """Hold a lock on a copy; raises BlockingIOError where `operation` holds LOCK_NB."""
    # The lock file is never removed: two processes could then lock two files of one name.
    with (copy.parent / (copy.name + _LOCK)).open("ab") as lock:
        fcntl.flock(lock, operation)
        yield


def _remove_unused(folder: Path) -> None:
    """Remove what nobody uses: left-over parts, and copies but the `UNUSED_COPIES` used last."""
    try:
        kept = sorted(
            (path for path in folder.iterdir() if path.suffix != _LOCK),
            key=lambda path: (path.name.startswith(_PART), -path.stat().st_mtime_ns),
        )
    except FileNotFoundError:
        return  # another task is removing at this moment
    copies = [path for path in kept if not path.name.startswith(_PART)]
    for path in copies[UNUSED_COPIES:] + kept[len(copies) :]:
        try:
            copy = path.with_name(path.name.removeprefix(_PART))
            with _locked(copy, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            continue


def _download(file: InputFile, storage: StorageOptions, target: Path) -> None:
    """Read the whole file into `target` and check that it is what was planned.

    Nothing is left at `target` when it fails.
    """
    try:
        copied = _copy_bytes(file, storage, target)
        check_unchanged(file, storage)
        _check_size(file, copied)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    _log.info("%s: read %d bytes", file.uri, copied)


def _copy_bytes(file: InputFile, storage: StorageOptions, target: Path) -> int:
    filesystem, path = resolve(file.uri, storage)
    copied = 0
    try:
        with (
            target.open("wb") as sink,
            # compression=None: by default pyarrow unpacks what is named .gz or .bz2
            filesystem.open_input_stream(path, compression=None) as source,
        ):
            while block := source.read(BLOCK_BYTES):
                sink.write(block)
                copied += len(block)
    except (OSError, pa.ArrowException) as error:
        raise InputUnavailable(
            f"{file.uri}: cannot be read now, failed after {copied} of {file.size} bytes: {error}"
        ) from error
    return copied


def _check_size(file: InputFile, copied: int) -> None:
    if copied != file.size:
        raise InputUnavailable(
            f"{file.uri}: {copied} bytes were read instead of {file.size}; "
            "is it still being written, or did the connection break?"
        )


def _folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputUnavailable(f"scratch folder {folder} cannot be made: {error}") from error
    return folder


def _suffix(file: InputFile) -> str:
    """The file's extension: FFmpeg looks at it where the content alone does not tell."""
    return PurePosixPath(file.path).suffix[:16]
