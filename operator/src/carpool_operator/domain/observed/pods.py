"""A pod, from the API server's JSON.

Most pods of a cluster are not ours and only take room; of ours, those at the gate need more than
the others. A record therefore keeps where a pod may run only while that is to be decided, and
shares what thousands of pods have in common.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from sys import intern
from typing import Any, cast

from carpool_operator.domain import names
from carpool_operator.domain.allocation.reservation import reserved_slots
from carpool_operator.domain.cluster_state import Pod, Role, Scheduling
from carpool_operator.domain.observed.requests import pod_requests
from carpool_operator.domain.timestamps import unix_time

_MESSAGE_CHARACTERS = 256
_ANYWHERE = Scheduling()


def observed_pod(raw: Mapping[str, Any]) -> Pod:
    """The record of a core/v1 Pod."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    job_uid, role = labels.get(names.JOB_UID_LABEL), labels.get(names.ROLE_LABEL)
    ours = job_uid is not None and _is_owned(metadata, job_uid, role)
    gates = [gate["name"] for gate in spec.get("schedulingGates") or ()]
    gated = names.GATE in gates
    bound = spec.get("nodeName")
    node = bound or (None if gates else _pinned_to(spec.get("affinity") or {}))
    assigned = unix_time(annotations.get(names.ASSIGNED_ANNOTATION)) if ours and not gated else None
    host = _host_status(status) if role == "executor" else {}
    host_ended, host_message = _last_end(host)
    gpu = annotations.get(names.GPU_UUID_ANNOTATION) if ours and not gated else None
    return Pod(
        uid=metadata["uid"],
        namespace=intern(metadata["namespace"]),
        name=metadata["name"],
        requests=pod_requests(spec),
        scheduling=scheduling_of(spec) if ours and gated else _ANYWHERE,
        created=unix_time(metadata.get("creationTimestamp")) or 0.0,
        phase=intern(status.get("phase") or "Pending"),
        node=intern(node) if node else None,
        job_uid=intern(cast("str", job_uid)) if ours else None,
        role=cast("Role", role) if ours else None,
        attempt=attempt_of(labels) if ours else None,
        gpu=intern(gpu) if gpu else None,
        gated=gated,
        held_by_others=any(gate != names.GATE for gate in gates),
        deleting=metadata.get("deletionTimestamp") is not None,
        ended=_ended(metadata, spec, status),
        assigned=assigned,
        annotated=bool(annotations),
        unschedulable_since=_unschedulable_since(status, assigned),
        host_restarts=host.get("restartCount", 0),
        host_ended=host_ended,
        host_message=host_message,
        reserved=(
            reserved_slots(annotations.get(names.RESERVATION_ANNOTATION))
            if ours and role == "driver"
            else ()
        ),
    )


def _is_owned(metadata: Mapping[str, Any], job_uid: str, role: str | None) -> bool:
    """Whether a pod's owner is what its labels say: the job of a driver, a pod of an executor.

    Labels are for whoever may create pods to write. Owners are too, but what names one that does
    not exist is garbage, and the cluster collects it.
    """
    owners: Iterable[Mapping[str, Any]] = metadata.get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), {})
    if role == "driver":
        return bool(owner.get("uid") == job_uid)
    return role == "executor" and owner.get("kind") == "Pod"


def attempt_of(labels: Mapping[str, str]) -> int | None:
    """The attempt of a job that a pod belongs to; None where no label says so."""
    text = labels.get(names.ATTEMPT_LABEL, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def scheduling_of(spec: Mapping[str, Any]) -> Scheduling:
    """Where a pod with this core/v1 PodSpec may run; one object for all that say the same."""
    return _scheduling(
        json.dumps(
            [
                spec.get("nodeSelector") or {},
                spec.get("affinity") or {},
                spec.get("tolerations") or [],
            ],
            sort_keys=True,
        )
    )


@lru_cache(maxsize=1024)
def _scheduling(text: str) -> Scheduling:
    selector, affinity, tolerations = json.loads(text)
    return Scheduling(selector, affinity, tuple(tolerations))


def _pinned_to(affinity: Mapping[str, Any]) -> str | None:
    """The node that every term of the required affinity names, as ours and a DaemonSet's do."""
    required = (affinity.get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    pins = [
        {
            field["values"][0]
            for field in term.get("matchFields") or ()
            if field["key"] == "metadata.name" and field["operator"] == "In"
        }
        for term in required.get("nodeSelectorTerms") or ()
        if term.get("matchFields") or term.get("matchExpressions")
    ]
    nodes = set[str]().union(*pins)
    return nodes.pop() if all(pins) and len(nodes) == 1 else None


def _ended(metadata: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether no container of the pod runs or will.

    A phase alone is no proof: the control plane also writes Failed for a pod on a node that it no
    longer hears of, whose containers may run on.
    """
    states = list(_states(status))
    if status.get("phase") in ("Succeeded", "Failed"):
        return not any(state.get("running") for state in states)
    if metadata.get("deletionTimestamp") is None:
        return False
    if not spec.get("nodeName"):
        return True  # a pod that is being deleted is never bound
    containers = len(spec.get("containers") or ()) + len(spec.get("initContainers") or ())
    return len(states) == containers and all(state.get("terminated") for state in states)


def _states(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or ():
            yield container.get("state") or {}


def _unschedulable_since(status: Mapping[str, Any], assigned: float | None) -> float | None:
    for condition in status.get("conditions") or ():
        if (
            condition["type"] == "PodScheduled"
            and condition["status"] == "False"
            and condition.get("reason") == "Unschedulable"
        ):
            # It turned False when the pod was created; the scheduler looked after the gate opened.
            return max(unix_time(condition.get("lastTransitionTime")) or 0.0, assigned or 0.0)
    return None


def _host_status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("initContainerStatuses") or ():
        if container.get("name") == names.HOST_CONTAINER:
            return cast("Mapping[str, Any]", container)
    return {}


def _last_end(host: Mapping[str, Any]) -> tuple[float | None, str | None]:
    for state in ("state", "lastState"):
        ended = (host.get(state) or {}).get("terminated")
        if ended:
            return unix_time(ended.get("finishedAt")), _why(ended)
    return None, None


def _why(ended: Mapping[str, Any]) -> str:
    """What the host left as JSON; where it left nothing, what the kubelet says."""
    text = ended.get("message") or f"exit code {ended.get('exitCode')}"
    try:
        said = json.loads(text)
        text = f"{said['reason']}: {said['message']}"
    except (ValueError, TypeError, KeyError):
        text = f"{ended.get('reason') or 'Error'}: {text}"
    return text[:_MESSAGE_CHARACTERS]
