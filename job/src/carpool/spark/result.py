"""How a job ended, as the terminal, JSON and the operator tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended.

    Attributes:
        phase: Succeeded, PartiallySucceeded or Failed.
        frames: frames that are done (committed or quarantined), by whatever attempt.
        seconds: wall time of this attempt.
        fps: frames done in this attempt per second of its detection.
        model_copies: model hosts of this attempt, each with its copy: 1 on one machine, or one a
            task with `sharing: PerTask`.
        detections: rows of the detections table.
        tracks: rows of the track summary.
        quarantined: rows of the quarantine table.
        output: the output folder.
        reason: CamelCase reason where the job failed.
        message: one sentence where the job failed.
        retryable: where the job failed, whether another attempt may end otherwise.
    """

    phase: str
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    model_copies: int = 0
    detections: int = 0
    tracks: int = 0
    quarantined: int = 0
    output: str = ""
    reason: str = ""
    message: str = ""
    retryable: bool = False

    def as_json(self) -> dict[str, Any]:
        """The object that `carpool run -o json` prints."""
        document = {
            "phase": self.phase,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 1),
            "modelCopies": self.model_copies,
            "detections": self.detections,
            "tracks": self.tracks,
            "quarantined": self.quarantined,
            "output": self.output,
        }
        if self.reason:
            document |= {"reason": self.reason, "message": self.message}
        return document
