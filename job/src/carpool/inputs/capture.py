"""One open video: the few calls of `cv2.VideoCapture` that Carpool relies on, with types.

FFmpeg through OpenCV, one decoder thread, no hardware: a Spark task owns one core, and a frame must
not depend on the machine. Times are the stream's own timestamps, relative to its start, as whole
nanoseconds; packets and decoded frames get them by the same arithmetic on the same integers inside
OpenCV, so both can be compared for equality.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from carpool.errors import Undecodable


class Capture:
    """A video file opened either for decoded frames or for its undecoded packets.

    See the OpenCV documentation of `cv::VideoCaptureProperties`.

    Args:
        path: a local file.
        packets: grab packets as they are stored, undecoded, in storage order.
        name: how messages call the file; its path by default.

    Raises:
        Undecodable: FFmpeg finds no video stream that it has a decoder for.
    """

    def __init__(self, path: Path, *, packets: bool = False, name: str | None = None) -> None:
        # An absolute path: "a:b.mp4" alone would be taken for a URL of protocol "a".
        self._capture = cv2.VideoCapture(
            str(path.absolute()),
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_N_THREADS,
                1,
                cv2.CAP_PROP_HW_ACCELERATION,
                cv2.VIDEO_ACCELERATION_NONE,
            ],
        )
        if not self._capture.isOpened() or (
            packets and not self._capture.set(cv2.CAP_PROP_FORMAT, -1)
        ):
            self.close()
            raise Undecodable(f"{name or path}: holds no video stream that can be decoded")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder and close the file."""
        self._capture.release()

    def grab(self) -> bool:
        """Go to the next frame or packet.

        Returns:
            False at the end of the file, and also for a packet that is damaged: another call goes
            on behind it.
        """
        return bool(self._capture.grab())

    def image(self) -> NDArray[np.uint8] | None:
        """The grabbed frame as BGR, uint8 [H, W, 3], a new array; None where it has no picture."""
        given, image = self._capture.retrieve()
        return cast("NDArray[np.uint8]", image) if given else None

    def pts_ns(self) -> int:
        """Presentation time of what was grabbed, ns from the stream's start; 0 where unknown."""
        return round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)

    def is_keyframe(self) -> bool:
        """Whether the grabbed packet is one at which decoding can start."""
        return bool(self._capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))

    def seek(self, pts_ns: int) -> None:
        """Ask for a position; where the next grab lands must be read from `pts_ns`."""
        self._capture.set(cv2.CAP_PROP_POS_MSEC, pts_ns / 1e6)

    @property
    def fps(self) -> float:
        """Average frames per second that the container declares; 25 where it makes no sense."""
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return fps if 0.01 <= fps <= 10_000 else 25.0

    @property
    def declared_frames(self) -> int:
        """Frames by the header, or duration times rate; 0 where neither is known."""
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(count) if 0 < count < 1e9 else 0

    @property
    def codec(self) -> str:
        """The four-character code of the codec, for messages."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        letters = code.to_bytes(4, "little", signed=code < 0)
        return letters.decode("ascii", "replace").strip("\0 ") or "unknown"
