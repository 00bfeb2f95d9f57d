"""Starts a real host for a test, and finds its processes. Nothing here sleeps."""

from __future__ import annotations

import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from carpool.host.client import HostClient
from carpool.host.config import HostConfig
from carpool.host.inquiry import ask_figures
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE

TESTS = str(Path(__file__).parents[1])
PATIENCE = 60.0
"""Seconds after which something that should happen will not."""


def config(handler: str = "Digest", **fields: Any) -> HostConfig:
    """The configuration of a host for one of `support.host_handlers`."""
    return HostConfig(
        handler=f"support.host_handlers:{handler}", python_path=(TESTS,), threads=1, **fields
    )


class RunningHost:
    """A supervisor in a folder of its own, short enough for a Unix socket."""

    def __init__(
        self,
        settings: HostConfig,
        *arguments: str,
        folder: Path | None = None,
        prefix: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
    ) -> None:
        """Start it.

        Args:
            settings: of the host.
            arguments: of the supervisor, besides the usual.
            folder: where it runs; None makes one.
            prefix: a command that runs the supervisor, for example as another user.
            limits: hard and soft resource limits (setrlimit) that the supervisor finds.
        """
        self.config = settings
        self.folder = folder or Path(tempfile.mkdtemp(prefix="cph"))
        self.socket = self.folder / "host.sock"
        self.log = self.folder / "host.log"
        settings.write(self.folder / "host.json")
        read, write = os.pipe()
        command = [
            *prefix,
            *(sys.executable, "-m", "carpool.host"),
            *("--config", str(self.folder / "host.json"), "--socket", str(self.socket)),
            *("--listening-fd", str(write), *arguments),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                pass_fds=[write],
                env=self.environment(),
                preexec_fn=None if limits is None else partial(_limit, limits),  # noqa: PLW1509 - one thread
            )
        os.close(write)
        assert select.select([read], [], [], PATIENCE)[0], "the supervisor does not listen"
        os.close(read)

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if "CARPOOL" not in name}

    def client(self, **options: Any) -> HostClient:
        """A client that is not connected yet."""
        wanted: dict[str, Any] = {
            "model_key": self.config.model_key,
            "item_shape": SHAPE,
            "output_rows": OUTPUT_ROWS,
            "row_width": ROW_WIDTH,
            "host_timeout": PATIENCE,
        }
        return HostClient(self.socket, **(wanted | options))

    def statistics(self) -> dict[str, Any]:
        """The host's figures, asked for without becoming a client."""
        figures = ask_figures(self.socket, PATIENCE)
        assert figures is not None
        return figures

    def child(self) -> int:
        """Process id of the child, once it is ready."""
        with self.client() as client:
            return int(client.statistics()["pid"])

    def arenas_mapped(self) -> int:
        """Arenas that the child holds in its memory."""
        return arenas_mapped(self.statistics()["pid"])

    def settles(self, condition: Callable[[], bool]) -> bool:
        """Whether the host comes to a state; each question gives its event loop turns to do so.

        A thread of its own may have to do its part, and a GPU's driver takes its time.
        """
        return comes_true(lambda: not self.statistics() or condition())

    def stop(self) -> float:
        """Ask the supervisor to end; gives the seconds that it took."""
        begun = time.monotonic()
        self.process.terminate()
        self.process.wait(PATIENCE)
        return time.monotonic() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(self.log.read_text())  # noqa: T201 - pytest shows it with the failure
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes to hold; asking must itself give the host turns to get there."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


def open_descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def arenas_mapped(pid: int) -> int:
    """How many arenas a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text().count("carpool-arena")


def _limit(limits: Mapping[str, int]) -> None:
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def process_ends(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether a process that is no child of this one ends in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


class Gate:
    """The two pipes of a `Digest`: it announces that it runs, and goes on when told to."""

    def __init__(self, folder: Path) -> None:
        self._paths = {name: folder / name for name in ("announce", "gate")}
        self._files: dict[str, int] = {}
        for name, path in self._paths.items():
            os.mkfifo(path)
            # Both ends, so that neither opening blocks and no end of file comes in between.
            self._files[name] = os.open(path, os.O_RDWR)

    @property
    def parameters(self) -> dict[str, str]:
        return {name: str(path) for name, path in self._paths.items()}

    def wait(self) -> None:
        """Until a batch with a gated item runs."""
        announce = self._files["announce"]
        assert select.select([announce], [], [], PATIENCE)[0], "no gated batch runs"
        os.read(announce, 1)

    def open(self, times: int = 1) -> None:
        """Let so many gated batches pass."""
        os.write(self._files["gate"], b"g" * times)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)


@contextmanager
def gate() -> Iterator[Gate]:
    """A gate in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="cpg") as folder:
        made = Gate(Path(folder))
        try:
            yield made
        finally:
            made.close()
