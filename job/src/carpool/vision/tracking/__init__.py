"""Multi-object tracking of one video: boxes of a frame in, track ids out."""

from __future__ import annotations

from carpool.vision.tracking.bytetrack import ByteTrack
from carpool.vision.tracking.parameters import ByteTrackParameters

__all__ = ["ByteTrack", "ByteTrackParameters"]
