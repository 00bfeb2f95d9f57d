"""Plays the parts of a cluster that test control planes lack: nodes, kubelet, Spark's driver.

It writes what they would write, through the API, and nothing else.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

from carpool_operator.domain import names
from support.control_plane.client import ApiClient, ApiError, Body
from support.job_documents import job_document

_SERIAL = itertools.count()
FRAMES = {"total": 100, "done": 100, "failed": 0}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def jobs_path(namespace: str) -> str:
    return f"/apis/carpool.dev/v1alpha1/namespaces/{namespace}/inferencejobs"


def pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def add_node(api: ApiClient, name: str, cpu: str = "64", memory: str = "256Gi") -> None:
    """A node that is ready and empty."""
    api.post("/api/v1/nodes", {"metadata": {"name": name}})
    amounts = {"cpu": cpu, "memory": memory, "pods": "500", "ephemeral-storage": "500Gi"}
    api.call(
        "PATCH",
        f"/api/v1/nodes/{name}/status",
        {
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "reason": "KubeletReady",
                        "message": "",
                        "lastHeartbeatTime": now(),
                        "lastTransitionTime": now(),
                    }
                ],
            }
        },
        "application/merge-patch+json",
    )
    # As the controller does that looks after nodes' health, which would miss a kubelet here.
    api.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})


def cpu_job(name: str, **changes: Any) -> Body:
    """A job of two executors on CPUs."""
    return job_document(
        metadata__name=name,
        spec__device="CPU",
        spec__executors=2,
        spec__model__uri="/models/m.cfg",
        spec__input__uris=["/clips/*.mp4"],
        spec__output__uri=f"/results/{name}",
        **changes,
    )


def run_driver(api: ApiClient, pod: Body, ip: str = "127.0.0.1") -> None:
    """The driver's container runs."""
    _status(
        api,
        pod,
        {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": now(),
            "containerStatuses": [
                _container(names.DRIVER_CONTAINER, {"running": {"startedAt": now()}}, ready=True)
            ],
        },
    )


def end_driver(api: ApiClient, pod: Body, message: Body | None, code: int = 0) -> None:
    """The driver's container ends, with a termination message or none."""
    ended = {
        "exitCode": code,
        "reason": "Completed" if code == 0 else "Error",
        "startedAt": now(),
        "finishedAt": now(),
        "message": "" if message is None else json.dumps(message),
    }
    _status(
        api,
        pod,
        {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [_container(names.DRIVER_CONTAINER, {"terminated": ended})],
        },
    )


def success(output: str = "/results") -> Body:
    """A driver's last words at success."""
    return {
        "phase": "Succeeded",
        "reason": "Succeeded",
        "message": "all frames have results",
        "retryable": False,
        "frames": FRAMES,
        "model": {"copies": 2, "memory": 1048576, "savedMemory": None},
        "output": output,
        "failures": [],
    }


def offer_gpus(api: ApiClient, node: str, count: int) -> None:
    """The kubelet hands out so many GPUs from here on, as a device plugin has told it."""
    offered = {"nvidia.com/gpu": str(count)}
    _merge(api, f"/api/v1/nodes/{node}", {"capacity": offered, "allocatable": offered})


def add_executor(api: ApiClient, driver: Body, *, whole_gpu: bool = False) -> Body:
    """An executor pod as the driver makes it by Spark's template: behind the gate.

    With a whole GPU its host asks the kubelet for it (ownership Exclusive).
    """
    labels = driver["metadata"]["labels"]
    namespace = driver["metadata"]["namespace"]
    requests = {"cpu": "1", "memory": "2Gi"}
    pod = {
        "metadata": {
            "name": f"{driver['metadata']['name']}-exec-{next(_SERIAL)}",
            "labels": {
                name: labels[name]
                for name in (names.JOB_LABEL, names.JOB_UID_LABEL, names.ATTEMPT_LABEL)
            }
            | {names.ROLE_LABEL: "executor"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": driver["metadata"]["name"],
                    "uid": driver["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "schedulingGates": [{"name": names.GATE}],
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "executor",
                    "image": "registry.example/carpool-job:test",
                    "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
                    "resources": {"requests": requests},
                }
            ],
        },
    }
    if whole_gpu:
        asked = {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
        host = {"name": names.HOST_CONTAINER, "image": "none", "resources": asked}
        pod["spec"]["initContainers"] = [host | {"restartPolicy": "Always"}]
    return api.post(pods_path(namespace), pod)


def run_executor(api: ApiClient, pod: Body) -> None:
    """The executor's container runs."""
    running = _container("executor", {"running": {"startedAt": now()}}, ready=True)
    _status(api, pod, {"phase": "Running", "containerStatuses": [running]})


def remove_pod(api: ApiClient, pod: Body) -> None:
    """The pod's containers have ended and the pod is gone, as a kubelet would have it."""
    path = f"{pods_path(pod['metadata']['namespace'])}/{pod['metadata']['name']}"
    try:
        api.delete(path, gracePeriodSeconds="0")
    except ApiError as error:
        if error.code != 404:
            raise


def _container(name: str, state: Body, *, ready: bool = False) -> Body:
    return {
        "name": name,
        "image": "registry.example/carpool-job:test",
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }


def _status(api: ApiClient, pod: Body, status: Body) -> None:
    _merge(api, f"{pods_path(pod['metadata']['namespace'])}/{pod['metadata']['name']}", status)


def _merge(api: ApiClient, path: str, status: Body) -> None:
    api.call("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")
