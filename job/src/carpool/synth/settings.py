"""What defines a rendered scene, and nothing else.

Two scenes of equal settings are equal in every pixel and every box, so a test may name its data by
the settings alone. Whatever changes the picture must therefore be a field here or follow from one.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_WIDTH, MIN_HEIGHT = 256, 144
"""The barcode needs 240 columns, and vehicles of fewer pixels could not be told apart."""


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """One clip of traffic seen from a bridge.

    Attributes:
        seed: any integer from 0; chooses traffic, colours, camera position and texture.
        frames: length of the clip, 1 to 2**20 (what the barcode can number).
        fps: frames a second.
        width: image width in pixels.
        height: image height in pixels.
        lanes: traffic lanes; the left half comes towards the camera, the others go away.
        vehicles_per_minute: vehicles that want to enter, over all lanes. A lane takes one in about
            two seconds; what exceeds that waits outside the picture.
        noise: standard deviation of the sensor noise, in grey levels of 255.
        brightness_drift: slow change of exposure, as a fraction of brightness.
        occluders: whether a lamp post and a footbridge stand before the road.
    """

    seed: int
    frames: int
    fps: int = 25
    width: int = 640
    height: int = 360
    lanes: int = 4
    vehicles_per_minute: float = 70.0
    noise: float = 2.0
    brightness_drift: float = 0.06
    occluders: bool = True

    def __post_init__(self) -> None:
        checks = {
            "seed": self.seed >= 0,
            "frames": 1 <= self.frames <= 1 << 20,
            "fps": 1 <= self.fps <= 240,
            "width": self.width >= MIN_WIDTH and self.width % 2 == 0,
            "height": self.height >= MIN_HEIGHT and self.height % 2 == 0,
            "lanes": 1 <= self.lanes <= 8,
            "vehicles_per_minute": 0 <= self.vehicles_per_minute <= 1000,
            "noise": 0 <= self.noise <= 30,
            "brightness_drift": 0 <= self.brightness_drift <= 0.3,
        }
        for name, holds in checks.items():
            if not holds:
                raise ValueError(f"{name}: {getattr(self, name)} is out of range")

    def pts_ns(self, frame_index: int) -> int:
        """Presentation time of a frame in nanoseconds, rounded to the nearest."""
        return (frame_index * 1_000_000_000 + self.fps // 2) // self.fps
