"""A running Docker: the machine's own where it runs, else one that we start and later end.

Where privileged containers need the wrapper of runc, the daemon we start has it as its default. A
daemon that somebody else started is taken as it is, and refused where it lacks what is needed. One
that we started serves all clusters of this machine, and ends with the last of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from debian_image import ensure_debian_image
from locks import alone, unused, used
from machine import is_root, may_raise_limits, need
from progress import Failed, Unsupported, attempt, run, say, step
from settings import DAEMON, HERE

_RUNTIME = "runc-without-sys-resource"
_PID_FILE = DAEMON / "dockerd.pid"
_LOG = DAEMON / "dockerd.log"
_SECONDS = 60.0


@contextmanager
def docker() -> Iterator[None]:
    """Have a Docker daemon that can run kind's nodes; while the block runs, nobody of us ends it.

    Raises:
        Unsupported: there is none and it cannot be had here, or it lacks what nodes need.
    """
    with used("docker"):
        _ensure()
        yield


def check_privileged() -> None:
    """Prove that the daemon runs privileged containers, as kind's nodes are.

    Raises:
        Unsupported: it does not; the message holds what it says.
    """
    base = ensure_debian_image()
    done = attempt("docker", "run", "--rm", "--privileged", "--network=none", base, "true")
    if done.returncode != 0:
        said = done.stderr[-1000:].decode(errors="replace").strip()
        raise Unsupported(f"Docker does not run privileged containers here: {said}")


def _ensure() -> None:
    if sys.platform != "linux":
        raise Unsupported(f"the nodes need Linux; this is {sys.platform}")
    need({"docker": "docker.io"})
    if not may_raise_limits():
        need({"jq": "jq"})
    with alone("docker-start"):
        if not docker_answers():
            _start()
    if may_raise_limits():
        return
    runtime = run("docker", "info", "--format", "{{.DefaultRuntime}}")
    if runtime != _RUNTIME:
        raise Unsupported(
            "this machine's bounding set lacks CAP_SYS_RESOURCE, so runc refuses privileged "
            "containers, and the Docker daemon that runs has no wrapper for it. Stop dockerd, so "
            f"that it is started as it must be, or start it with --add-runtime "
            f"{_RUNTIME}={runc_wrapper()} --default-runtime {_RUNTIME} (now: {runtime})"
        )


def runc_wrapper() -> Path:
    """The wrapper of runc, outside the checkout, which Docker outlives."""
    source = HERE / "runtime" / _RUNTIME
    target = DAEMON / "runtime" / _RUNTIME
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy2(source, draft)
        draft.replace(target)
    return target


def docker_answers() -> bool:
    """Whether a daemon runs."""
    if shutil.which("docker") is None:
        return False
    return attempt("docker", "info", "--format", "{{.ServerVersion}}").returncode == 0


def _start() -> None:
    if not is_root():
        raise Unsupported("the Docker daemon does not run. Start it: sudo systemctl start docker")
    need({"dockerd": "docker.io", "runc": "runc", "iptables": "iptables"})
    with step("Starting dockerd"):
        if may_raise_limits() and Path("/run/systemd/system").exists():
            done = attempt("systemctl", "start", "docker")
            if done.returncode != 0:
                said = done.stderr[-1000:].decode(errors="replace").strip()
                raise Unsupported(f"the Docker daemon does not start: {said}")
        else:
            _start_our_own()


def _start_our_own() -> None:
    options: list[str] = []
    if not may_raise_limits():
        options = [f"--add-runtime={_RUNTIME}={runc_wrapper()}", f"--default-runtime={_RUNTIME}"]
    DAEMON.mkdir(parents=True, exist_ok=True)
    with _LOG.open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", f"--pidfile={_PID_FILE}", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _SECONDS
    while not docker_answers():
        if (code := daemon.poll()) is not None or time.monotonic() > deadline:
            daemon.kill()
            ended = f"ended with {code}" if code is not None else "does not answer"
            tail = _LOG.read_text(errors="replace")[-1000:].strip()
            raise Unsupported(f"dockerd {ended}; its log, {_LOG}, ends:\n{tail}")
        time.sleep(0.2)


def stop_docker() -> None:
    """End the daemon where we started it and nobody needs it; remove its bridge and its mount."""
    try:
        pid = int(_PID_FILE.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != "dockerd":
            return
    except (OSError, ValueError):
        return
    with unused("docker") as nobody:
        if not nobody or attempt("docker", "ps", "--quiet").stdout:
            say("dockerd goes on: others use it")
            return
        with step("Stopping dockerd"):
            _end(pid)
        shutil.rmtree(DAEMON)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS
    while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
        if time.monotonic() > deadline:
            raise Failed(f"dockerd (pid {pid}) does not end; see {_LOG}")
        time.sleep(0.2)
    attempt("umount", "/run/docker/netns/default")
    if shutil.which("ip") is not None:
        attempt("ip", "link", "delete", "docker0")


def _is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
