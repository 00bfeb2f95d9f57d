"""The project's images: a job's, with and without PyTorch, and the operator's.

Settings are variables of the environment, the names those of the Dockerfiles' arguments: BASE,
PYPI_INDEX, TORCH_INDEX. CA_BUNDLE names a file of certificates to trust while building; by default
it is the one that SSL_CERT_FILE names, which is how a machine behind an inspecting proxy is set up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debian_image import ensure_debian_image
from progress import Failed, run, say, step
from settings import NAME, ROOT

JOB = f"{NAME}/job:dev"
JOB_WITHOUT_TORCH = f"{NAME}/job:dev-without-torch"
OPERATOR = f"{NAME}/operator:dev"
_ARGUMENTS = ("PYPI_INDEX", "TORCH_INDEX")
_CA_BUNDLE = ROOT / "images" / "ca-bundle.crt"


def build_images(only: list[str]) -> None:
    """Build the images named, or all: without PyTorch first, since it takes a tenth of the time.

    Args:
        only: of "job", "job-without-torch", "operator".
    """
    base = os.environ.get("BASE") or ensure_debian_image()
    for name, tag, file, arguments in (
        ("job-without-torch", JOB_WITHOUT_TORCH, "images/job/Dockerfile", ["TORCH=no"]),
        ("operator", OPERATOR, "images/operator/Dockerfile", []),
        ("job", JOB, "images/job/Dockerfile", ["TORCH=yes"]),
    ):
        if only and name not in only:
            continue
        given = [f"{key}={os.environ[key]}" for key in _ARGUMENTS if os.environ.get(key)]
        if "operator" in file:
            given = [argument for argument in given if not argument.startswith("TORCH")]
        with step(f"Building {tag}"), _ca_bundle():
            words = (f"--build-arg={argument}" for argument in (f"BASE={base}", *arguments, *given))
            # A step that fails must leave no container either.
            command = ("docker", "build", "--quiet", "--force-rm", "--network=host", f"--tag={tag}")
            # The classic builder is on every machine that has Docker; BuildKit's is a plugin.
            environment = {"DOCKER_BUILDKIT": "0"}
            run(*command, f"--file={file}", *words, ".", cwd=ROOT, environment=environment)
        size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", tag))
        say(f"{tag}: {size / 1e6:,.0f} MB")


@contextmanager
def _ca_bundle() -> Iterator[None]:
    """Lay the bundle where the build looks for it, and take it away again."""
    named = os.environ.get("CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if not named:
        yield
        return
    if not Path(named).is_file():
        raise Failed(f"CA_BUNDLE={named}: there is no such file")
    shutil.copyfile(named, _CA_BUNDLE)
    # The builder's cache goes by content and mode, not by owner or time.
    _CA_BUNDLE.chmod(0o644)
    try:
        yield
    finally:
        _CA_BUNDLE.unlink(missing_ok=True)
