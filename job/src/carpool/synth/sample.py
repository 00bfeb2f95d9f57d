"""A small set of clips to try the program on: rendered in seconds, nothing to download."""

from __future__ import annotations

from pathlib import Path

from carpool.synth.render import RenderedVideo, render_video
from carpool.synth.settings import SceneSettings

SAMPLE_SEED = 7

_CLIPS = (
    # Name, frames, lanes, vehicles a minute. Of unequal length, as real recordings are.
    ("north-bridge", 750, 4, 80.0),
    ("harbour-road", 500, 3, 55.0),
    ("ring-east", 350, 6, 110.0),
)


def render_sample(directory: Path, seed: int = SAMPLE_SEED) -> tuple[RenderedVideo, ...]:
    """Render the sample's clips; those that exist already are left as they are.

    Args:
        directory: where to write; made if missing.
        seed: of the first clip; the others follow from it.

    Raises:
        OutputUnavailable: a clip cannot be written.
    """
    rendered = []
    for number, (name, frames, lanes, vehicles_per_minute) in enumerate(_CLIPS):
        clip = RenderedVideo.at(directory, name, frames)
        if not clip.video.exists():
            settings = SceneSettings(
                seed=seed + number,
                frames=frames,
                lanes=lanes,
                vehicles_per_minute=vehicles_per_minute,
            )
            clip = render_video(settings, directory, name)
        rendered.append(clip)
    return tuple(rendered)
