"""The driver pod of an attempt: the user's template, with what makes it Carpool's over it.

What the template says stays (labels, volumes, sidecars, variables, tolerations …) wherever it does
not contradict: name, owner, image, arguments, resources, service account, security context and the
device variable are Carpool's. What must stay true: the pod fits Pod Security `restricted`, and no
container of it, the user's included, sees a GPU.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from carpool.spec import InferenceJobSpec
from carpool_operator.domain.allocation.interface import Reservation
from carpool_operator.domain.allocation.reservation import reservation_annotation
from carpool_operator.domain.job import children
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.domain.names import (
    DRIVER_CONTAINER,
    RESERVATION_ANNOTATION,
    ROLE_LABEL,
)

_JOB_DIRECTORY: Final = "/etc/carpool"
_TERMINATION_LOG: Final = "/dev/termination-log"
_USER: Final = 10001
"""Of the image; nothing runs as root."""
_NO_GPU: Final = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
_UNPRIVILEGED: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
}
_POD_SECURITY: Final[Mapping[str, Any]] = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def driver_pod(
    job: JobObject,
    spec: InferenceJobSpec,
    attempt: int,
    reservation: Reservation,
    settings: JobSettings,
) -> dict[str, Any]:
    """The pod's manifest.

    Args:
        job: whose driver it is.
        spec: of the job, checked.
        attempt: that the driver carries out.
        reservation: slots for its executors; the pod carries them.
        settings: of the installation.
    """
    template = copy.deepcopy(dict(spec.spark.driver_template))
    theirs: dict[str, Any] = template.get("metadata") or {}  # type: ignore[assignment]  # its form is checked by the spec
    pod: dict[str, Any] = template.get("spec") or {}  # type: ignore[assignment]  # as above
    metadata = children.metadata(job, attempt, children.driver_name(job, attempt))
    metadata["labels"] = {
        **(theirs.get("labels") or {}),
        **metadata["labels"],
        ROLE_LABEL: "driver",
    }
    metadata["annotations"] = {
        **(theirs.get("annotations") or {}),
        RESERVATION_ANNOTATION: reservation_annotation(reservation.slots),
    }
    containers = [dict(each) for each in pod.get("containers") or ()]
    beside = [_shielded(each) for each in containers if each.get("name") != DRIVER_CONTAINER]
    own = next((each for each in containers if each.get("name") == DRIVER_CONTAINER), {})
    pod |= {
        "restartPolicy": "Never",
        # Nothing is lost by SIGKILL, and whoever suspends a job waits for its driver's end.
        "terminationGracePeriodSeconds": pod.get("terminationGracePeriodSeconds", 10),
        "serviceAccountName": spec.spark.service_account_name or settings.service_account,
        "automountServiceAccountToken": True,
        # A variable for each service of the namespace would slow the start where there are many.
        "enableServiceLinks": False,
        "securityContext": {**(pod.get("securityContext") or {}), **_POD_SECURITY},
        "containers": [_driver(own, spec, attempt, job, settings), *beside],
        "initContainers": [_shielded(each) for each in pod.get("initContainers") or ()],
        "volumes": [
            *(pod.get("volumes") or ()),
            {
                "name": "carpool-job",
                "configMap": {"name": children.config_map_name(job, attempt)},
            },
            {"name": "carpool-tmp", "emptyDir": {}},
        ],
        "nodeSelector": {**settings.driver_node_selector, **(pod.get("nodeSelector") or {})},
        "tolerations": [*(pod.get("tolerations") or ()), *map(dict, settings.driver_tolerations)],
        "affinity": _off_gpu_nodes(pod.get("affinity") or {}, settings.gpu_node_labels),
        "imagePullSecrets": _pull_secrets(
            pod.get("imagePullSecrets") or (), settings.image_pull_secrets, spec
        ),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _without_empty(pod)}


def _driver(
    theirs: Mapping[str, Any],
    spec: InferenceJobSpec,
    attempt: int,
    job: JobObject,
    settings: JobSettings,
) -> dict[str, Any]:
    image = spec.spark.image or settings.image
    variables: list[dict[str, Any]] = [
        {"name": "CARPOOL_IMAGE", "value": image},
        _field("CARPOOL_POD_NAME", "metadata.name"),
        _field("CARPOOL_POD_NAMESPACE", "metadata.namespace"),
        _field("CARPOOL_POD_IP", "status.podIP"),
        {"name": "CARPOOL_IMAGE_PULL_POLICY", "value": settings.image_pull_policy},
        {"name": "CARPOOL_ATTEMPT", "value": str(attempt)},
        {"name": "CARPOOL_PROGRESS_PORT", "value": str(settings.progress_port)},
        {"name": "CARPOOL_TERMINATION_LOG", "value": _TERMINATION_LOG},
        _NO_GPU,
    ]
    if settings.image_pull_secrets:
        secrets = ",".join(settings.image_pull_secrets)
        variables.append({"name": "CARPOOL_IMAGE_PULL_SECRETS", "value": secrets})
    if settings.gpu_runtime_class is not None:
        variables.append({"name": "CARPOOL_GPU_RUNTIME_CLASS", "value": settings.gpu_runtime_class})
    storage = spec.storage.secret_name
    credentials = [] if storage is None else [{"secretRef": {"name": storage}}]
    driver = spec.spark.driver
    given = theirs.get("resources") or {}
    kept = {name: each for name, each in theirs.items() if name not in ("command", "workingDir")}
    return _without_empty(
        {
            **kept,
            "name": DRIVER_CONTAINER,
            "image": image,
            "imagePullPolicy": settings.image_pull_policy,
            "args": ["driver", f"{_JOB_DIRECTORY}/job.yaml", "--job-uid", job.uid],
            "env": _over(theirs.get("env") or (), variables, "name"),
            "envFrom": [*(theirs.get("envFrom") or ()), *credentials],
            "ports": _over(
                theirs.get("ports") or (),
                [{"name": "progress", "containerPort": settings.progress_port, "protocol": "TCP"}],
                "name",
            ),
            "resources": {
                **given,
                "requests": {
                    **(given.get("requests") or {}),
                    "cpu": str(driver.cores),
                    "memory": driver.memory,
                },
                "limits": {**(given.get("limits") or {}), "memory": driver.memory},
            },
            "securityContext": {**_UNPRIVILEGED, "readOnlyRootFilesystem": True},
            "terminationMessagePath": _TERMINATION_LOG,
            # What a driver says last before it dies without a word is the best reason there is.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": _over(
                theirs.get("volumeMounts") or (),
                [
                    {"name": "carpool-job", "mountPath": _JOB_DIRECTORY, "readOnly": True},
                    {"name": "carpool-tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
                ],
                "mountPath",
            ),
        }
    )


def _shielded(container: Mapping[str, Any]) -> dict[str, Any]:
    """A container of the user's: without a GPU, and no more privileged than it must be."""
    return {
        **container,
        "env": _over(container.get("env") or (), [_NO_GPU], "name"),
        "securityContext": {**(container.get("securityContext") or {}), **_UNPRIVILEGED},
    }


def _off_gpu_nodes(affinity: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The affinity, with a preference for nodes that have none of the labels of GPU nodes."""
    node = dict(affinity.get("nodeAffinity") or {})
    expressions = [
        {"key": key, "operator": "NotIn", "values": [value]}
        for key, value in sorted(labels.items())
    ]
    if not expressions:
        return dict(affinity)
    node["preferredDuringSchedulingIgnoredDuringExecution"] = [
        *(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()),
        {"weight": 100, "preference": {"matchExpressions": expressions}},
    ]
    return {**affinity, "nodeAffinity": node}


def _pull_secrets(
    theirs: Iterable[Mapping[str, Any]], settings: Iterable[str], spec: InferenceJobSpec
) -> list[dict[str, Any]]:
    ours = [{"name": name} for name in (*settings, *spec.spark.image_pull_secrets)]
    return _over(theirs, ours, "name")


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _over(
    theirs: Iterable[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]], key: str
) -> list[dict[str, Any]]:
    """A list of the user's, with ours in the place of what has the same key."""
    taken = [each[key] for each in ours]  # theirs may be of any type
    kept = [dict(each) for each in theirs if each.get(key) not in taken]
    return [*kept, *({each[key]: dict(each) for each in ours}.values())]


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ({}, [], None)}
