"""Why a host ended for good: a short JSON file that outlives it.

Kubernetes shows what a container leaves in its termination log, at most 4096 bytes; on one machine
the same file beside the socket tells tasks and driver. Writer and reader are here.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Self

from carpool.errors import HostStartFailed

MAX_BYTES = 4096
VARIABLE = "CARPOOL_TERMINATION_LOG"
"""Names a file that gets the message too, for example /dev/termination-log."""


class ExitCode(IntEnum):
    """How the host's child ends, as its supervisor understands it; any other code is a crash."""

    PERMANENT = 64
    """It cannot start, and would not the next time."""
    DEVICE_LOST = 65
    """The device is unusable for any process."""
    IDLE = 66
    """Nobody has asked anything of it for as long as it was told to wait."""
    HUNG = 70
    """The device did not come back; a new process may find it well."""
    CRASHED = 75
    """An error that nobody expected; a new process may do better."""


@dataclass(frozen=True, slots=True)
class Termination:
    """Why a host ended.

    Attributes:
        reason: CamelCase, an error's `reason`.
        message: one sentence for the user.
        traceback: its end, or the end of the log; may be empty.
        permanent: another start on another device would fail in the same way.
    """

    reason: str
    message: str
    traceback: str = ""
    permanent: bool = True

    def encode(self) -> bytes:
        """JSON of at most MAX_BYTES: first the traceback is cut, at its begin, then the message."""
        message, traceback = self.message[:MAX_BYTES], self.traceback[-MAX_BYTES:]
        while True:
            cut_down = replace(self, message=message, traceback=traceback)
            raw = json.dumps(asdict(cut_down)).encode()
            excess = len(raw) - MAX_BYTES
            if excess <= 0:
                return raw
            # A character takes up to twelve bytes in JSON, so cutting few enough may take turns.
            cut = -(-excess // 12)
            if traceback:
                traceback = traceback[cut:]
            else:
                message = message[:-cut]

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what `encode` wrote; anything else becomes a message as it is."""
        try:
            found = json.loads(raw)
            return cls(**found)
        except (ValueError, TypeError):
            return cls("HostEnded", raw.decode("utf-8", "replace"))

    def error(self) -> HostStartFailed:
        """The error of whoever needed the host."""
        return HostStartFailed(f"the model host cannot start: {self.reason}: {self.message}")


def failure_file(socket_path: Path) -> Path:
    """Where the host of this socket leaves its message."""
    return socket_path.with_name(f"{socket_path.name}.failed")


def leave_message(socket_path: Path, termination: Termination) -> None:
    """Write the message beside the socket, and where CARPOOL_TERMINATION_LOG says."""
    raw = termination.encode()
    target = failure_file(socket_path)
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.write_bytes(raw)
    draft.replace(target)
    if other := os.environ.get(VARIABLE):
        # Not renamed into place: Kubernetes mounts this very file.
        Path(other).write_bytes(raw)


def find_message(socket_path: Path) -> Termination | None:
    """Read the message that a host left, if it did."""
    try:
        return Termination.decode(failure_file(socket_path).read_bytes())
    except FileNotFoundError:
        return None
