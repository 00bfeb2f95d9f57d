"""The output folder on any storage: the only way in which Carpool writes results.

A file comes into being whole (see `carpool.outputs.commit`) and every failure of the storage is an
`OutputUnavailable` that says what was tried and where. Which names mean what is not known here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import pyarrow as pa
from pyarrow import fs

from carpool.errors import InputUnavailable, OutputNotOurs, OutputUnavailable
from carpool.inputs.filesystem import StorageOptions, resolve
from carpool.outputs.commit import commit_bytes, is_temporary, keeps_temporaries, prepared

_THREADS: Final = 16
"""Requests to storage that run at once; each of them only waits."""

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in an output folder.

    Attributes:
        path: path below the output folder, with "/".
        size: bytes; 0 for a directory.
        is_file: False for a directory.
    """

    path: str
    size: int
    is_file: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)


class OutputFolder:
    """A folder for results, local or remote; it need not exist.

    Attributes:
        uri: where the folder is, as the job names it.

    Raises:
        SpecError: no file system is known for the URI.
        OutputUnavailable: the storage cannot be reached.
    """

    def __init__(self, uri: str, storage: StorageOptions) -> None:
        self.uri = uri.rstrip("/") or uri
        try:
            filesystem, root = resolve(uri, storage)
        except InputUnavailable as error:
            raise OutputUnavailable(str(error)) from error
        self._filesystem = prepared(filesystem)
        self._root = root.rstrip("/")

    def commit(self, relative: str, data: bytes) -> None:
        """Make `data` the content of a file, all at once; replaces what was there.

        Args:
            relative: path below the folder; directories are created as needed.
            data: the complete content.

        Raises:
            OutputUnavailable: the storage refused; the previous content, if any, still stands.
        """
        with self._reporting("write", relative):
            commit_bytes(self._filesystem, self._path(relative), data)

    def read(self, relative: str) -> bytes | None:
        """The content of a file; None where there is none.

        Raises:
            OutputUnavailable: the file cannot be read now.
        """
        with self._reporting("read", relative):
            try:
                with self._filesystem.open_input_file(self._path(relative)) as file:
                    content: bytes = file.read()
            except FileNotFoundError:
                return None
            return content

    def read_end(self, relative: str, size: int, length: int) -> bytes:
        """The last bytes of a file, with one request.

        Args:
            relative: path below the folder.
            size: the file's size, as listed.
            length: how many bytes; the whole file if it is shorter.

        Raises:
            OutputUnavailable: the file is missing or cannot be read now.
        """
        length = min(size, length)
        with self.open(relative) as file:
            content: bytes = file.read_at(length, size - length)
        return content

    @contextmanager
    def open(self, relative: str) -> Iterator[Any]:
        """Open a file for random access (a `pyarrow.NativeFile`).

        Raises:
            OutputUnavailable: the file is missing or cannot be read now; errors of the body pass
                through unless they are the storage's.
        """
        with (
            self._reporting("read", relative),
            self._filesystem.open_input_file(self._path(relative)) as file,
        ):
            yield file

    def exists(self, relative: str) -> bool:
        """Whether there is a file (not a directory) of this name.

        Raises:
            OutputUnavailable: the storage does not say.
        """
        with self._reporting("look at", relative):
            info = self._filesystem.get_file_info(self._path(relative))
        return bool(info.type == fs.FileType.File)

    def list(self, subfolder: str = "", *, recursive: bool = False) -> tuple[Entry, ...]:
        """What lies in the folder or in a folder below it, sorted by path; empty if it is missing.

        Raises:
            OutputNotOurs: there is a file where the folder should be.
            OutputUnavailable: the storage does not say.
        """
        selector = fs.FileSelector(self._path(subfolder), allow_not_found=True, recursive=recursive)
        with self._reporting("list", subfolder):
            infos = self._filesystem.get_file_info(selector)
        entries = (
            Entry(
                path=info.path.removeprefix(self._root).lstrip("/"),
                size=info.size or 0,
                is_file=info.type == fs.FileType.File,
            )
            for info in infos
        )
        return tuple(sorted(entries, key=lambda entry: entry.path))

    def delete(self, relative: str) -> None:
        """Delete a file; one that is not there is fine.

        Raises:
            OutputUnavailable: the storage refused.
        """
        with self._reporting("delete", relative):
            try:
                self._filesystem.delete_file(self._path(relative))
            except FileNotFoundError:
                return

    def delete_tree(self, subfolder: str) -> None:
        """Delete a folder below this one with all it holds; one that is not there is fine.

        Raises:
            OutputUnavailable: the storage refused; part of the folder may be gone.
        """
        with self._reporting("delete", subfolder):
            try:
                self._filesystem.delete_dir(self._path(subfolder))
            except FileNotFoundError:
                return

    def sweep(self, subfolders: Iterable[str]) -> int:
        """Remove what interrupted commits left in the given folders (not below them).

        Returns:
            How many files were removed.

        Raises:
            OutputUnavailable: the storage refused.
        """
        if not keeps_temporaries(self._filesystem):
            return 0
        left = [
            entry.path
            for subfolder in subfolders
            for entry in self.list(subfolder)
            if entry.is_file and is_temporary(entry.name)
        ]
        for path in left:
            self.delete(path)
        return len(left)

    def _path(self, relative: str) -> str:
        return f"{self._root}/{relative}" if relative else self._root

    @contextmanager
    def _reporting(self, action: str, relative: str) -> Iterator[None]:
        where = f"{self.uri}/{relative}" if relative else self.uri
        try:
            yield
        except (NotADirectoryError, FileExistsError) as error:
            raise OutputNotOurs(
                f"cannot {action} {where}: there is a file where Carpool needs a folder ({error}). "
                "Choose another spec.output.uri."
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise OutputUnavailable(f"cannot {action} {where}: {error}") from error


def for_each(work: Callable[[_Item], _Answer], items: Iterable[_Item]) -> list[_Answer]:
    """Run work that waits for storage on many items at once; answers in the order of the items.

    Raises:
        Exception: the first that `work` raised, in the order of the items.
    """
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return list(pool.map(work, items))
