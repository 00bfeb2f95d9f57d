"""What a cluster can leave behind on a machine, to be compared before and after it.

Docker is asked where it runs; where it does not, its folders say what it would have, for the end of
a cluster may be the end of the daemon too.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from docker_daemon import docker_answers
from progress import attempt
from settings import CACHE

_DAEMON_FILES = Path("/var/lib/docker")
_DAEMONS = re.compile(r"dockerd|docker-proxy|containerd|containerd-shim|runc")
_CONTAINER = re.compile(r"/docker[/-]|/kubepods|/kubelet")
_OUR_OWN = {"bridge", "host", "none"}
"""Networks that every Docker has."""


def traces() -> list[str]:
    """A line for each container, volume, network, interface, mount, process and folder, sorted."""
    found = [
        *(("container", name) for name in _of_docker("containers", "ps", "--all", "--no-trunc")),
        *(("volume", name) for name in _of_docker("volumes", "volume", "ls")),
        *(("network", name) for name in _networks()),
        *(("interface", path.name) for path in Path("/sys/class/net").iterdir()),
        *(("mount", line.split()[1]) for line in _read(Path("/proc/self/mounts")).splitlines()),
        *(("process", text) for text in _processes()),
        *(("folder", str(path)) for path in CACHE.glob("*") if path.is_dir()),
    ]
    return sorted({f"{kind} {name}" for kind, name in found})


def _of_docker(folder: str, *listing: str) -> list[str]:
    if docker_answers():
        return attempt("docker", *listing, "--quiet").stdout.decode().split()
    try:
        return [path.name for path in (_DAEMON_FILES / folder).iterdir() if path.is_dir()]
    except OSError:
        return []


def _networks() -> set[str]:
    if shutil.which("docker") is None:
        return set()
    listed = attempt("docker", "network", "ls", "--format", "{{.Name}}").stdout.decode()
    return set(listed.split()) - _OUR_OWN


def _processes() -> Iterator[str]:
    """Processes that are daemons of Docker, or run in a container; the dead ones are none."""
    for folder in Path("/proc").glob("[0-9]*"):
        name, cgroup = _read(folder / "comm").strip(), _read(folder / "cgroup")
        dead = ") Z " in _read(folder / "stat")
        if not dead and (_DAEMONS.match(name) or _CONTAINER.search(cgroup)):
            yield f"{folder.name} {name}"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
