"""A model host of its own for a benchmark, started and ended as a local run does it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carpool.host.client import HostClient
from carpool.host.config import HostConfig
from carpool.host.launch import CONFIG_NAME, Leash, ensure_host, wait_for_end

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Serving:
    """A host that listens.

    Attributes:
        socket: where.
        config: what it was told.
        shape: of an item.
    """

    socket: Path
    config: HostConfig
    shape: tuple[int, int, int]

    def client(self) -> HostClient:
        """A client that is not connected yet."""
        return HostClient(
            self.socket,
            model_key=self.config.model_key,
            item_shape=self.shape,
            output_rows=300,
            row_width=6,
        )


@contextmanager
def serving(
    handler: str,
    shape: tuple[int, int, int],
    parameters: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Serving]:
    """Run a host as long as the block lasts.

    Args:
        handler: `module:Class`, found from the repository's root.
        shape: of an item.
        parameters: of the handler; where there are none it has one, `shape`.
        settings: further fields of the host's configuration.
    """
    config = HostConfig(
        handler=handler,
        parameters={"shape": list(shape)} if parameters is None else parameters,
        python_path=(str(ROOT),),
        **settings,
    )
    # Sockets' paths are short, so not below the repository.
    with tempfile.TemporaryDirectory(prefix="cpb") as folder:
        directory = Path(folder)
        config.write(directory / CONFIG_NAME)
        try:
            with Leash(directory):
                yield Serving(ensure_host(directory), config, shape)
        finally:
            wait_for_end(directory, 10.0)
