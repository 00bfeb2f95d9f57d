"""Who dies on the cluster, and how: the ways in which pods and what runs in them come to an end."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from typing import Any

from support.cluster import JobsNamespace, until

HOST = "model-host"

# The brackets keep the shell from finding itself.
_KILL_CHILD = """
for process in /proc/[0-9]*; do
    case "$(tr '\\0' ' ' <"$process/cmdline")" in
        *[c]arpool.host.child*) kill -9 "${process#/proc/}" && echo "${process#/proc/}" ;;
    esac
done
"""


def kill_host_child(namespace: JobsNamespace, pod: str) -> None:
    """SIGKILL the process that holds the model; its supervisor lives."""
    words = ("exec", pod, "--container", HOST, "--", "sh", "-c", _KILL_CHILD)
    killed = namespace.kubectl(*words).split()
    assert len(killed) == 1, killed


def kill_host_container(namespace: JobsNamespace, pod: str) -> None:
    """SIGKILL the supervisor, and with it all of its container, from the node."""
    kill_container(namespace, pod, HOST)


def delete_pod(namespace: JobsNamespace, pod: str) -> None:
    """Delete the pod as a user or a node's drain does."""
    namespace.kubectl("delete", "pod", pod, "--wait=false")


def kill_container(namespace: JobsNamespace, pod: str, container: str) -> None:
    """SIGKILL process 1 of a container from the node: no signal that it could handle, no grace."""
    # What runs in a container may tell of itself before kubelet does.
    until(
        lambda: "running" in _statuses(namespace, pod)[container]["state"],
        lambda: str(namespace.pod(pod)["status"]),
    )
    runtime, _, identity = _statuses(namespace, pod)[container]["containerID"].partition("://")
    assert runtime == "containerd"
    node = namespace.pod(pod)["spec"]["nodeName"]
    kill = ("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", identity)
    command = ["docker", "exec", node, *kill]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def restarts(namespace: JobsNamespace, pod: str) -> dict[str, int]:
    """How often kubelet has started each container of a pod again."""
    return {name: one["restartCount"] for name, one in _statuses(namespace, pod).items()}


def _statuses(namespace: JobsNamespace, pod: str) -> dict[str, Any]:
    """The status of each container of a pod, sidecars included; nothing is known of a new one."""
    found = namespace.pod(pod)["status"]
    statuses = [*found.get("initContainerStatuses", []), *found.get("containerStatuses", [])]
    return defaultdict(lambda: {"state": {}}, {status["name"]: status for status in statuses})
