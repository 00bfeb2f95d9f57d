"""The pod of an executor: Spark's container, and the model host as a native sidecar before it.

Pure: from a job to the pod template that Spark's Kubernetes scheduler fills in for each executor.
The host's configuration travels in an annotation of the pod, which the downward API lays into the
sidecar as a file: the pod says itself what it serves, it cannot change, and the driver needs no
right to anything but pods. What must stay true: the pod fits Pod Security `restricted`, no root
file system is written, the socket lies in a folder of the pod's group, and no container but the
host sees a GPU (NVIDIA's runtime reads NVIDIA_VISIBLE_DEVICES of each container, and images may say
"all").

Of a GPU of the pool the operator writes the UUID on the pod, and the host's variable is that. A
whole GPU of the kubelet's (ownership Exclusive) is a resource that the host asks for, and NVIDIA's
device plugin says which it is. It may do so by that same variable, and the kubelet appends what a
pod says itself to what a plugin says (GenerateRunContainerOptions in pkg/kubelet/kubelet_pods.go).
So the host then says nothing: no variable of its manifest, and no Secret that is read as a whole.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carpool.host.config import HostConfig
from carpool.host.launch import CONFIG_NAME, SOCKET_NAME
from carpool.spec import InferenceJobSpec
from carpool.spec.gpu import KUBELET_GPUS

EXECUTOR_CONTAINER = "spark-executor"
HOST_CONTAINER = "model-host"
HOST_ANNOTATION = "carpool.dev/host"
HOST_DIRECTORY = Path("/run/carpool/host")
CONFIG_DIRECTORY = Path("/run/carpool/config")
SCRATCH = Path("/tmp/scratch")  # noqa: S108 - an emptyDir of the pod
USER = 10001
"""Of the image; nothing runs as root."""

GATE = "carpool.dev/gpu"
"""Scheduling gate that the operator opens when it has assigned the executor."""
GPU_UUID_ANNOTATION = "carpool.dev/gpu-uuid"
"""Where the operator says which GPU that is; nobody else may write it."""
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Keys of `storage.secretName`; the last is for temporary ones."""
GRACE_SECONDS = 10
"""Between SIGTERM and SIGKILL: neither loses anything, and whoever suspends a job waits for it."""

_UNPRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
}
_RESTRICTED = {**_UNPRIVILEGED, "readOnlyRootFilesystem": True}


@dataclass(frozen=True, slots=True)
class Door:
    """How an operator knows the executors of a job, and holds them until they are assigned.

    Attributes:
        job: name of the InferenceJob.
        job_uid: of the InferenceJob.
        attempt: of the driver.
        runtime_class: RuntimeClass of executors on GPUs; None for the cluster's default.
    """

    job: str
    job_uid: str
    attempt: int
    runtime_class: str | None = None

    def labels(self) -> dict[str, str]:
        """Labels of each executor."""
        return {
            "carpool.dev/job": self.job[:63],
            "carpool.dev/job-uid": self.job_uid,
            "carpool.dev/attempt": str(self.attempt),
            "carpool.dev/role": "executor",
        }


def executor_pod(
    spec: InferenceJobSpec,
    host: HostConfig,
    *,
    image: str,
    pull_policy: str = "IfNotPresent",
    door: Door | None = None,
) -> dict[str, Any]:
    """The pod template of a job's executors.

    Args:
        spec: the job's; `spark.executorTemplate` is what the template starts from. Volumes that it
            mounts into the container `spark-executor` are the host's too: models may lie there.
        host: what the sidecar is told.
        image: of both containers.
        pull_policy: of the image.
        door: of the operator that assigns the executors; None where there is none.
    """
    pod: dict[str, Any] = copy.deepcopy(dict(spec.spark.executor_template))
    metadata = pod.setdefault("metadata", {})
    metadata.setdefault("annotations", {})[HOST_ANNOTATION] = json.dumps(asdict(host))
    inside = pod.setdefault("spec", {})
    container = _executor_container(inside)
    theirs = [dict(mount) for mount in container.get("volumeMounts", [])]
    environment = _environment(spec)
    tmp: dict[str, Any] = {}
    if spec.spark.executor.scratch is not None:
        tmp["sizeLimit"] = spec.spark.executor.scratch
    inside.setdefault("volumes", []).extend(
        [
            {"name": "carpool-host", "emptyDir": {}},
            {"name": "carpool-tmp", "emptyDir": tmp},
            {"name": "carpool-host-tmp", "emptyDir": {}},
            {"name": "carpool-config", "downwardAPI": {"items": [_annotation_file()]}},
        ]
    )
    socket = {"name": "carpool-host", "mountPath": str(HOST_DIRECTORY)}
    container |= {
        "securityContext": _RESTRICTED,
        "volumeMounts": [*theirs, socket, {"name": "carpool-tmp", "mountPath": "/tmp"}],  # noqa: S108 - as above
        **environment,
    }
    sidecar = {
        "name": HOST_CONTAINER,
        "image": image,
        "imagePullPolicy": pull_policy,
        "restartPolicy": "Always",
        "args": [
            "host",
            *("--config", str(CONFIG_DIRECTORY / CONFIG_NAME)),
            *("--socket", str(HOST_DIRECTORY / SOCKET_NAME)),
        ],
        "startupProbe": {
            "exec": {"command": ["test", "-S", str(HOST_DIRECTORY / SOCKET_NAME)]},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "terminationMessagePath": "/dev/termination-log",
        "resources": _host_resources(spec),
        "securityContext": _RESTRICTED,
        "volumeMounts": [
            *theirs,
            socket,
            {"name": "carpool-host-tmp", "mountPath": "/tmp"},  # noqa: S108 - as above
            {"name": "carpool-config", "mountPath": str(CONFIG_DIRECTORY), "readOnly": True},
        ],
        **environment,
    }
    if spec.exclusive_gpus:
        sidecar["env"] = _each_credential(sidecar.pop("envFrom", []))
    sidecar["env"] = [
        *sidecar["env"],
        {"name": "CARPOOL_TERMINATION_LOG", "value": "/dev/termination-log"},
    ]
    inside["initContainers"] = [*inside.get("initContainers", []), sidecar]
    gpu = spec.device == "GPU"
    _restrict(inside, gpu=gpu, plugin=spec.exclusive_gpus or door is None)
    inside |= {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if spec.gpu is not None:
        inside["nodeSelector"] = {**inside.get("nodeSelector", {}), **spec.gpu.node_selector}
    if door is not None:
        metadata["labels"] = {**metadata.get("labels", {}), **door.labels()}
        _close_gate(inside)
        if gpu and door.runtime_class is not None:
            inside["runtimeClassName"] = door.runtime_class
    return {**pod, "apiVersion": "v1", "kind": "Pod"}


def _restrict(inside: dict[str, Any], *, gpu: bool, plugin: bool) -> None:
    """Let the host alone see a GPU, and nobody have privileges.

    Args:
        inside: the pod's spec, which is changed.
        gpu: whether the host has one.
        plugin: whether a device plugin says which; otherwise the operator does.
    """
    for container in (*inside["initContainers"], *inside["containers"]):
        if container["name"] not in (HOST_CONTAINER, EXECUTOR_CONTAINER):
            theirs = container.get("securityContext") or {}
            container["securityContext"] = {**theirs, **_UNPRIVILEGED}
        others = [each for each in container.get("env", []) if each["name"] != VISIBLE_DEVICES]
        shown: dict[str, Any] = {"name": VISIBLE_DEVICES, "value": "void"}
        if gpu and container["name"] == HOST_CONTAINER:
            if plugin:
                continue
            path = f"metadata.annotations['{GPU_UUID_ANNOTATION}']"
            shown = {"name": VISIBLE_DEVICES, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        container["env"] = [*others, shown]


def _close_gate(inside: dict[str, Any]) -> None:
    """Hold the pod until it is assigned."""
    theirs = [each for each in inside.get("schedulingGates", []) if each["name"] != GATE]
    inside["schedulingGates"] = [*theirs, {"name": GATE}]


def _executor_container(inside: dict[str, Any]) -> dict[str, Any]:
    containers: list[dict[str, Any]] = inside.setdefault("containers", [])
    for container in containers:
        if container.get("name") == EXECUTOR_CONTAINER:
            return container
    containers.insert(0, {"name": EXECUTOR_CONTAINER})
    return containers[0]


def _environment(spec: InferenceJobSpec) -> dict[str, Any]:
    """Credentials of the storage, by reference: they never stand in a pod."""
    found: dict[str, Any] = {"env": []}
    if spec.storage.secret_name is not None:
        found["envFrom"] = [{"secretRef": {"name": spec.storage.secret_name}}]
    return found


def _each_credential(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The storage's credentials as variables by name, and nothing else that a Secret holds."""
    return [
        {
            "name": key,
            "valueFrom": {"secretKeyRef": {**source["secretRef"], "key": key, "optional": True}},
        }
        for source in sources
        for key in CREDENTIALS
    ]


def _host_resources(spec: InferenceJobSpec) -> dict[str, Any]:
    amounts = {"cpu": spec.host.cpu, "memory": spec.host.memory}
    requests = {name: amount for name, amount in amounts.items() if amount is not None}
    limits = {name: amount for name, amount in requests.items() if name == "memory"}
    if spec.exclusive_gpus:
        requests[KUBELET_GPUS] = limits[KUBELET_GPUS] = "1"
    return {"requests": requests, "limits": limits}


def _annotation_file() -> dict[str, Any]:
    return {
        "path": CONFIG_NAME,
        "fieldRef": {"fieldPath": f"metadata.annotations['{HOST_ANNOTATION}']"},
    }
