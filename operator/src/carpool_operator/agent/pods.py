"""Which pod a process belongs to, from its control groups.

kubelet names a pod's control group after its UID, by either of its drivers and on both versions of
control groups; the container runtime makes one for each container below it:

    /kubepods/burstable/pod6a1c0f5e-2f0b-…/<container>                                   cgroupfs
    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6a1c0f5e_2f0b_….slice/
        cri-containerd-<container>.scope                                                 systemd
    …/kubelet-kubepods-pod6a1c0f5e_2f0b_….slice/…          systemd, in the cgroup of a nested node

A static pod's UID is a hash of 32 digits. Pids are those of the node, so the agent must share its
namespace of processes (hostPID); only world-readable files are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_POD: Final = re.compile(
    r"(?:^|[/-])kubepods(?:[./-][^\n]*?)?[/-]pod"
    r"([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[./]|$)"
)


def pod_uid(cgroup: str) -> str | None:
    """The UID of the pod that a process is in.

    Args:
        cgroup: text of its file /proc/PID/cgroup.

    Returns:
        None for a process of no pod.
    """
    for line in cgroup.splitlines():
        # hierarchy:controllers:path; the path may hold colons.
        path = line.split(":", 2)[-1]
        found = _POD.search(path)
        if found is not None:
            return found[1].replace("_", "-")
    return None


def pods_of(pids: Iterable[int], proc_folder: Path) -> dict[int, str]:
    """UIDs of pods by pid; a process that has ended, or is of no pod, is left out."""
    found = {}
    for pid in pids:
        try:
            text = (proc_folder / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        uid = pod_uid(text)
        if uid is not None:
            found[pid] = uid
    return found
