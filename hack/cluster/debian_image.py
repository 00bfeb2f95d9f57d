"""The Debian image that everything else is built on: the published one, or one made of packages."""

from __future__ import annotations

import os
import shutil

from machine import need
from progress import attempt, run, step
from settings import CACHE, DEBIAN, DEBIAN_IMAGE, PROJECT

_STAND_IN = f"{PROJECT}/{DEBIAN_IMAGE}"


def ensure_debian_image() -> str:
    """The tag of a small Debian image that is here: the published one where it can be pulled."""
    for tag in (DEBIAN_IMAGE, _STAND_IN):
        if has_image(tag):
            return tag
    with step(f"Pulling {DEBIAN_IMAGE}"):
        if pull(DEBIAN_IMAGE):
            return DEBIAN_IMAGE
    need({"mmdebstrap": "mmdebstrap"})
    folder = CACHE / "debian"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{DEBIAN}.tar"
    with step(f"It cannot be pulled: making {_STAND_IN} from Debian packages"):
        draft = archive.with_suffix(f".{os.getpid()}.tar")
        options = ("--quiet", "--variant=minbase", "--include=ca-certificates")
        run("mmdebstrap", *options, DEBIAN, draft)
        draft.replace(archive)
        run("docker", "import", "--change", 'CMD ["bash"]', archive, _STAND_IN)
        shutil.rmtree(folder)
    return _STAND_IN


def has_image(tag: str) -> bool:
    """Whether Docker has an image here."""
    return attempt("docker", "image", "inspect", tag).returncode == 0


def pull(tag: str) -> bool:
    """Pull an image; False where that cannot be done."""
    return attempt("docker", "pull", "--quiet", tag).returncode == 0
