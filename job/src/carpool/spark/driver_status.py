"""What a driver pod tells of its job: while it runs, and in its last word.

The operator polls the first over HTTP (`progress_endpoint`) and finds the second in the pod's
status, as the termination message of its container. Both are JSON of a few kilobytes whose fields
are always there. What must stay true: the driver works the same whether anyone asks or not.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from carpool.host.termination import MAX_BYTES
from carpool.spark.reporter import Reporter, Setback
from carpool.spark.reports import DRIVER
from carpool.spark.result import JobResult

SETBACKS = 10
"""As many as the status of a job keeps."""
_PHASES = {"Planning": "Starting", "Finishing": "Tracking"}
"""The status of a job knows fewer phases."""
_LONGEST_MESSAGE = 1024


@dataclass(slots=True)
class _Copy:
    """A copy of the model, in the host of one executor.

    Attributes:
        host_id: of the host; another after its container began anew.
        clients: the most tasks that the host had at once.
        weights: bytes that the model takes.
    """

    host_id: str
    clients: int
    weights: int


class DriverStatus(Reporter):
    """Gathers what is reported, for whichever thread asks."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._phase = "Starting"
        self._total = 0
        self._done = 0
        self._failed = 0
        self._executors = 0
        self._copies: dict[str, _Copy] = {}
        self._memory: int | None = None
        self._setbacks: deque[dict[str, str]] = deque(maxlen=SETBACKS)

    def phase(self, name: str) -> None:
        """Note the phase."""
        self._phase = _PHASES.get(name, name)

    def planned(self, *, total: int, done: int, failed: int, videos: int, units: int) -> None:
        """Note the size of the job."""
        del videos, units
        with self._lock:
            self._total, self._done, self._failed = total, done - failed, failed

    def executors(self, registered: Collection[str]) -> None:
        """Note who takes tasks; with an executor that is lost goes its copy of the model."""
        with self._lock:
            self._executors = len(registered)
            for executor in self._copies.keys() - {DRIVER, *registered}:
                del self._copies[executor]

    def advanced(self, frames: int) -> None:
        """Count frames with results."""
        with self._lock:
            self._done += frames

    def quarantined(self, setback: Setback) -> None:
        """Count frames without, and keep why."""
        entry = {
            "time": self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "reason": setback.reason,
            "message": setback.message[:_LONGEST_MESSAGE],
            "location": setback.location,
        }
        with self._lock:
            self._failed += setback.frames
            self._setbacks.append(entry)

    def served(self, executor: str, host: Mapping[str, Any]) -> None:
        """Keep what an executor's host said last: its tasks share one host, and one copy.

        A report that comes late may be of an executor that is lost; the next look at those that
        are registered tells.
        """
        host_id, clients = str(host.get("host_id", "")), int(host.get("clients", 0))
        weights = int(host.get("model", {}).get("weights_bytes", 0))
        with self._lock:
            before = self._copies.pop(executor, None)
            if not host.get("loaded", True):
                return
            if before is not None and before.host_id == host_id:
                clients = max(before.clients, clients)
            self._copies[executor] = _Copy(host_id, clients, weights)
            self._memory = max(self._memory or 0, weights)

    def progress(self) -> dict[str, Any]:
        """What `GET /progress` answers.

        `frames` counts those with results (`done`) and those in quarantine (`failed`) of `total`;
        `copies` are those of executors that are registered and have served, `memory` is bytes of
        the model's weights in one, `savedMemory` those that one copy a task would take beyond
        them. `memory` and `savedMemory` are null until a host has been heard of.
        """
        with self._lock:
            saved = sum(max(0, each.clients - 1) * each.weights for each in self._copies.values())
            return {
                "phase": self._phase,
                "frames": {"total": self._total, "done": self._done, "failed": self._failed},
                "modelReady": bool(self._copies),
                "executors": {"registered": self._executors},
                "model": {
                    "copies": len(self._copies),
                    "memory": self._memory,
                    "savedMemory": None if self._memory is None else saved,
                },
                "failures": list(self._setbacks),
            }

    def last_word(self, result: JobResult) -> bytes:
        """The termination message: JSON of at most 4096 bytes, with the newest failures that fit.

        Where it is too long, the oldest failures go first, then the end of the message.
        """
        found = self.progress()
        document = {
            "phase": result.phase,
            "reason": result.reason or result.phase,
            "message": result.message[:_LONGEST_MESSAGE],
            "retryable": result.retryable,
            "frames": found["frames"],
            "model": found["model"],
            "output": result.output,
            "failures": found["failures"],
        }
        while len(raw := json.dumps(document).encode()) > MAX_BYTES:
            if document["failures"]:
                document["failures"] = document["failures"][1:]
            elif document["message"]:
                # A character takes up to twelve bytes in JSON.
                excess = -(-(len(raw) - MAX_BYTES) // 12)
                document["message"] = document["message"][:-excess]
            else:
                document["output"] = ""
        return raw
