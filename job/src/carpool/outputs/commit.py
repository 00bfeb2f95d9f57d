"""How bytes become a file all at once.

A reader of the output must see a file whole or not at all, whenever the writer dies. The bytes are
complete before anything is opened here, so nothing but the storage itself can fail in between.

* Local: a hidden file beside the final one, flushed to the disk, then renamed over it (atomic in
  POSIX); the directory is flushed too, so that an order of commits survives a loss of power.
* Object stores: the whole buffer goes to the final key in one call. Below 10 MB that is one PUT; a
  larger buffer becomes a multipart upload, whose object appears with the last request, and never if
  a part has failed.
* Other storage (HDFS): a hidden file, then a move.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

_TEMPORARY_SUFFIX: Final = ".carpool-tmp"
_OBJECT_STORES: Final = frozenset({"s3", "gcs", "abfs"})
_NO_DIRECTORY_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


def is_temporary(name: str) -> bool:
    """Whether `name` (a base name) is that of a temporary file of an unfinished commit."""
    return name.startswith(".") and name.endswith(_TEMPORARY_SUFFIX)


def keeps_temporaries(filesystem: Any) -> bool:
    """Whether an interrupted commit can leave a temporary file on `filesystem`."""
    return filesystem.type_name not in _OBJECT_STORES


def prepared(filesystem: Any) -> Any:
    """The file system as commits need it.

    pyarrow opens a multipart upload as soon as a file on S3 is opened, three requests for each file
    however small, unless it may open late; then what fits one request is one PUT.
    https://arrow.apache.org/docs/python/generated/pyarrow.fs.S3FileSystem.html
    """
    if filesystem.type_name != "s3":
        return filesystem
    rebuild, (options,) = filesystem.__reduce__()  # as pickle copies it: credentials included
    return rebuild({**options, "allow_delayed_open": True})


def commit_bytes(filesystem: Any, path: str, data: bytes) -> None:
    """Make `data` the content of the file at `path`, replacing what was there, atomically.

    Args:
        filesystem: a `pyarrow.fs.FileSystem`, prepared.
        path: path on that file system; missing directories are created where there are any.
        data: the whole content.

    Raises:
        OSError: the storage refused; what was at `path` before is unchanged, unless the error came
            from flushing the directory (then the new content is there).
        pyarrow.ArrowException: as OSError.
    """
    if filesystem.type_name == "local":
        _replace_local_file(Path(path), data)
    elif filesystem.type_name in _OBJECT_STORES:
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
    else:
        _move_into_place(filesystem, path, data)


def _temporary_name(name: str) -> str:
    return f".{name}.{uuid4().hex}{_TEMPORARY_SUFFIX}"


def _replace_local_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_directory(path.parent)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a directory; their renames are durable by contract.
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


def _move_into_place(filesystem: Any, path: str, data: bytes) -> None:
    folder, name = posixpath.split(path)
    filesystem.create_dir(folder, recursive=True)
    temporary = posixpath.join(folder, _temporary_name(name))
    try:
        with filesystem.open_output_stream(temporary) as stream:
            stream.write(data)
        _remove_file(filesystem, path)  # HDFS does not rename over a file
        filesystem.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_file(filesystem, temporary)
        raise


def _remove_file(filesystem: Any, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        filesystem.delete_file(path)
