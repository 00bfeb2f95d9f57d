"""A running Docker: the machine's own where it runs, else one that we start and later end.

Where privileged containers need the wrapper of runc, the daemon we start has it as its default. A
daemon that somebody else started is taken as it is, and refused where it lacks what is needed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from machine import is_root, may_raise_limits, need
from progress import Failed, attempt, run, step, until
from settings import HERE, STATE

_RUNTIME = "runc-without-sys-resource"
_PID_FILE = STATE / "dockerd.pid"
_LOG = STATE / "dockerd.log"
_SECONDS = 60.0


def ensure_docker() -> None:
    """Have a Docker daemon that can run kind's nodes.

    Raises:
        Failed: there is none and it cannot be started here, or it cannot run privileged containers.
    """
    need({"docker": "docker.io"})
    if not may_raise_limits():
        need({"jq": "jq"})
    if not docker_answers():
        _start()
    if not may_raise_limits():
        runtime = run("docker", "info", "--format", "{{.DefaultRuntime}}")
        if runtime != _RUNTIME:
            raise Failed(
                "this machine's bounding set lacks CAP_SYS_RESOURCE, so runc refuses privileged "
                f"containers. Stop dockerd and run this again, or start it with --add-runtime "
                f"{_RUNTIME}={runc_wrapper()} --default-runtime {_RUNTIME} (now: {runtime})"
            )


def runc_wrapper() -> Path:
    """The wrapper of runc, in the cluster's own folder: Docker outlives a checkout."""
    target = STATE / "runtime" / _RUNTIME
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(HERE / "runtime" / _RUNTIME, draft)
    draft.replace(target)
    return target


def docker_answers() -> bool:
    """Whether a daemon runs."""
    return attempt("docker", "info", "--format", "{{.ServerVersion}}").returncode == 0


def _start() -> None:
    if not is_root():
        raise Failed("the Docker daemon does not run. Start it: sudo systemctl start docker")
    need({"dockerd": "docker.io", "runc": "runc", "iptables": "iptables"})
    STATE.mkdir(parents=True, exist_ok=True)
    options: list[str] = []
    if not may_raise_limits():
        options = [f"--add-runtime={_RUNTIME}={runc_wrapper()}", f"--default-runtime={_RUNTIME}"]
    with step("Starting dockerd"):
        if not options and Path("/run/systemd/system").exists():
            run("systemctl", "start", "docker")
        else:
            with _LOG.open("ab") as log:
                subprocess.Popen(
                    ["dockerd", f"--pidfile={_PID_FILE}", *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        try:
            until("dockerd answers", ["docker", "info"], seconds=_SECONDS)
        except Failed as failure:
            tail = _LOG.read_text(errors="replace")[-2000:] if _LOG.exists() else ""
            raise Failed(f"{failure}\n{tail}") from None


def stop_docker() -> None:
    """End the daemon where we started it, and remove the bridge and the mount it leaves behind."""
    try:
        pid = int(_PID_FILE.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != "dockerd":
            return
    except (OSError, ValueError):
        return
    with step("Stopping dockerd"):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _SECONDS
        while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
            if time.monotonic() > deadline:
                raise Failed(f"dockerd (pid {pid}) does not end; see {_LOG}")
            time.sleep(0.2)
        attempt("umount", "/run/docker/netns/default")
        if shutil.which("ip") is not None:
            attempt("ip", "link", "delete", "docker0")
    with suppress(FileNotFoundError):
        _PID_FILE.unlink()


def _is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
