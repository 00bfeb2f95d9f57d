"""Input files on any storage: local paths, `file://`, `s3://`, and what else pyarrow knows.

The planner turns `spec.input.uris` into `InputFile`s once; from then on a file is known by its URI,
size and modification time, so that every later reader can tell whether it is still the same file.
`InputFile.path` must be equal for a local and a remote copy of the same tree: it goes into result
hashes, while URIs stay out of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from carpool.errors import InputUnavailable, NoInput, SpecError
from carpool.inputs.globs import has_magic, is_recursive, matches, split_pattern

_LOCAL_SCHEMES = {"", "file"}


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """Where object storage is; credentials come from the environment as AWS SDKs read them.

    Attributes:
        endpoint: URL of an S3-compatible server; None for AWS itself.
        region: region of the buckets; None to let the environment or the bucket say it.
    """

    endpoint: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input file as the planner saw it.

    Attributes:
        uri: absolute URI; local files as `file:///…`.
        path: posix path below the fixed part of the pattern; the plain name for a plain file.
        size: bytes.
        modified_ns: modification time, nanoseconds since the epoch; 0 where storage keeps none.
    """

    uri: str
    path: str
    size: int
    modified_ns: int


def is_local(uri: str) -> bool:
    """Whether a URI names a file of this machine's file system."""
    return _scheme(uri) in _LOCAL_SCHEMES


def local_path(uri: str) -> Path:
    """The absolute local path of a plain path or a `file://` URI."""
    path = unquote(urlsplit(uri).path) if _scheme(uri) == "file" else uri
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve()` would follow symlinks


def resolve(uri: str, storage: StorageOptions) -> tuple[fs.FileSystem, str]:
    """The file system of a URI and the path on it.

    Args:
        uri: a local path, `file://…`, `s3://bucket/key`, or any URI that pyarrow understands.
        storage: where S3 is.

    Raises:
        SpecError: no file system is known for the URI.
        InputUnavailable: the storage cannot be reached.
    """
    scheme = _scheme(uri)
    if scheme in _LOCAL_SCHEMES:
        return fs.LocalFileSystem(), str(local_path(uri))
    if scheme == "s3":
        path = uri[len("s3://") :]  # not parsed: object keys may hold '?', '#' and '%'
        return _s3(path.split("/", 1)[0], storage), path
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        raise SpecError(
            f"{uri}: no storage is known for {scheme}:// ({error}); use a path, file:// or s3://"
        ) from error
    except OSError as error:
        raise InputUnavailable(f"{uri}: the storage cannot be reached: {error}") from error
    return filesystem, path


def expand(uris: Sequence[str], storage: StorageOptions) -> list[InputFile]:
    """All files that the patterns name, each once, sorted by path, then URI.

    A plain file is itself, a folder stands for all files directly in it, and a pattern may use
    `*`, `?`, `[…]` and `**` on any storage. Names with a leading dot match only when written out.

    Raises:
        NoInput: a pattern matches no file; the message names the pattern.
        InputUnavailable: the storage cannot be listed.
        SpecError: no file system is known for a URI.
    """
    found: dict[str, InputFile] = {}
    for uri in uris:
        matches = list(_expand_one(uri, storage))
        if not matches:
            raise NoInput(f"input.uris: {uri!r} matches no file; check the path and the pattern")
        for match in matches:
            found.setdefault(match.uri, match)
    return sorted(found.values(), key=lambda file: (file.path, file.uri))


def _expand_one(uri: str, storage: StorageOptions) -> Iterator[InputFile]:
    filesystem, path = resolve(uri, storage)
    try:
        info = filesystem.get_file_info(path.rstrip("/") or "/")
        if info.type == fs.FileType.File:
            yield _input_file(uri, info, PurePosixPath(path).name)
            return
        if info.type == fs.FileType.Directory:
            folder, pattern = path.rstrip("/"), "*"
        elif has_magic(path):
            folder, pattern = split_pattern(path)
        else:
            return
        selector = fs.FileSelector(folder, recursive=is_recursive(pattern), allow_not_found=True)
        listed = filesystem.get_file_info(selector)
    except (OSError, pa.ArrowException) as error:
        raise InputUnavailable(f"{uri}: the files cannot be listed now: {error}") from error
    prefix = folder.rstrip("/") + "/" if folder else ""
    for info in listed:
        below = info.path.removeprefix(prefix)
        if info.type == fs.FileType.File and matches(pattern, below):
            yield _input_file(uri, info, below)


def _input_file(uri: str, info: fs.FileInfo, path: str) -> InputFile:
    """Describe a listed file; its URI gets the scheme and authority of the pattern."""
    scheme = _scheme(uri)
    if scheme in _LOCAL_SCHEMES:
        full = Path(info.path).as_uri()
    elif scheme == "s3":
        full = f"s3://{info.path}"
    else:
        full = f"{scheme}://{urlsplit(uri).netloc}/{info.path.lstrip('/')}"
    return InputFile(full, path, int(info.size or 0), modified_ns(info))


def modified_ns(info: fs.FileInfo) -> int:
    """The modification time of a listed file, nanoseconds; 0 where storage keeps none."""
    return int(info.mtime_ns or 0)


def _s3(bucket: str, storage: StorageOptions) -> fs.FileSystem:
    options: dict[str, Any] = {}
    region = (
        storage.region
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
        or (None if storage.endpoint else _bucket_region(bucket))
    )
    if region:
        options["region"] = region
    if storage.endpoint:
        scheme, _, host = storage.endpoint.rpartition("://")
        options["endpoint_override"] = host.rstrip("/")
        options["scheme"] = scheme or "https"
    return fs.S3FileSystem(**options)


def _bucket_region(bucket: str) -> str | None:
    """The region AWS keeps a bucket in; None lets the SDK's default stand."""
    try:
        return str(fs.resolve_s3_region(bucket))
    except (OSError, pa.ArrowException):
        return None


def _scheme(uri: str) -> str:
    head, separator, _ = uri.partition("://")
    return head.lower() if separator else ""
