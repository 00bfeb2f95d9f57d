"""What this machine has, and what can be done about what it lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from progress import Unsupported, attempt, step

_CAP_SYS_RESOURCE = 1 << 24


def is_root() -> bool:
    """Whether system packages can be installed and daemons started."""
    return os.geteuid() == 0


def may_raise_limits() -> bool:
    """Whether privileged containers can be had as they are: all of them ask for this capability.

    A machine whose bounding set lacks it (a sandbox, a container) needs the wrapper of runc.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding.split()[1], 16) & _CAP_SYS_RESOURCE)


def cgroup_v1() -> bool:
    """Whether the kubelet must be told to accept control groups of version 1."""
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def need(commands: dict[str, str]) -> None:
    """Have commands on PATH, installing their Debian packages where we are root.

    Args:
        commands: Debian package by command.

    Raises:
        Unsupported: something is missing and cannot be installed here; the message names the
            command.
    """
    missing = sorted({package for name, package in commands.items() if shutil.which(name) is None})
    if not missing:
        return
    install = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if not is_root() or shutil.which("apt-get") is None:
        raise Unsupported(f"missing {', '.join(missing)}. Run: sudo {install}")
    with step(f"Installing {', '.join(missing)}"):
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        # Where this fails, what is there may still be new enough to install from.
        attempt("apt-get", "update", "-qq", environment=environment)
        done = attempt(*install.split(), environment=environment)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-1000:].decode(errors="replace").strip()
        raise Unsupported(f"`{install}` failed:\n{said}")
