"""What a driver pod tells of its job: while it runs, and in its last word.

The operator polls the first over HTTP (`progress_endpoint`) and finds the second in the pod's
status, as the termination message of its container. Both are JSON of a few kilobytes whose fields
are always there. What must stay true: the driver works the same whether anyone asks or not.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from carpool.host.termination import MAX_BYTES
from carpool.spark.reporter import Reporter, Setback
from carpool.spark.result import JobResult

SETBACKS = 10
"""As many as the status of a job keeps."""
_PHASES = {"Planning": "Starting", "Finishing": "Tracking"}
"""The status of a job knows fewer phases."""
_LONGEST_MESSAGE = 1024


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
        self._hosts: dict[str, Mapping[str, Any]] = {}
        self._clients: dict[str, int] = {}
        self._setbacks: deque[dict[str, str]] = deque(maxlen=SETBACKS)

    def phase(self, name: str) -> None:
        """Note the phase."""
        self._phase = _PHASES.get(name, name)

    def planned(self, *, total: int, done: int, failed: int, videos: int, units: int) -> None:
        """Note the size of the job."""
        del videos, units
        with self._lock:
            self._total, self._done, self._failed = total, done - failed, failed

    def executors(self, registered: int) -> None:
        """Note who takes tasks."""
        self._executors = registered

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

    def served(self, host: Mapping[str, Any]) -> None:
        """Keep the last figures of a host, and the most tasks that it had at once."""
        key = str(host.get("host_id", ""))
        with self._lock:
            self._hosts[key] = host
            self._clients[key] = max(self._clients.get(key, 0), int(host.get("clients", 0)))

    def progress(self) -> dict[str, Any]:
        """What `GET /progress` answers.

        `frames` counts those with results (`done`) and those in quarantine (`failed`) of `total`;
        `memory` is bytes of the model's weights in one copy, `savedMemory` those that one copy a
        task would take beyond it. Both are null until a host has been heard of.
        """
        with self._lock:
            weights = [
                int(each.get("model", {}).get("weights_bytes", 0)) for each in self._hosts.values()
            ]
            saved = sum(
                (self._clients[key] - 1) * size
                for key, size in zip(self._hosts, weights, strict=True)
                if self._clients[key] > 1
            )
            return {
                "phase": self._phase,
                "frames": {"total": self._total, "done": self._done, "failed": self._failed},
                "modelReady": bool(self._hosts),
                "executors": {"registered": self._executors},
                "model": {
                    "copies": len(self._hosts),
                    "memory": max(weights) if weights else None,
                    "savedMemory": saved if weights else None,
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
