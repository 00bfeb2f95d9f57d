"""The one write that gives an executor its slot: a JSON patch (RFC 6902) of its pod.

The gate is tested first, so of two writers one wins and the other gets 422 and changes nothing;
all parts come or none does, so no pod has one's node and the other's GPU. The node is demanded by
`matchFields` in every term of the pod's own affinity, since terms are alternatives; the API server
takes no other change of a gated pod. After it nothing can be taken back: a pod that was given a
wrong slot is deleted.

https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/#mutable-pod-scheduling-directives
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from carpool_operator.domain import names
from carpool_operator.domain.allocation.interface import Assignment
from carpool_operator.domain.timestamps import rfc3339

Operation = dict[str, Any]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def assignment_patch(assignment: Assignment, epoch: int, now: float) -> list[Operation]:
    """The operations, in order, for a pod that our gate alone holds.

    Args:
        assignment: what was decided.
        epoch: lease transitions: which leader decided it.
        now: Unix time, written as the time of the assignment.
    """
    pod, slot = assignment.pod, assignment.slot
    notes = {names.EPOCH_ANNOTATION: str(epoch), names.ASSIGNED_ANNOTATION: rfc3339(now)}
    if slot.gpu is not None:
        notes[names.GPU_UUID_ANNOTATION] = slot.gpu
    return [
        # The same name may by now be another pod's.
        _operation("test", "/metadata/uid", pod.uid),
        _operation("test", "/spec/schedulingGates/0/name", names.GATE),
        *_annotate(notes, annotated=pod.annotated),
        *_pin(pod.scheduling.affinity, slot.node),
        {"op": "remove", "path": "/spec/schedulingGates/0"},
    ]


def _operation(kind: str, path: str, value: Any) -> Operation:
    return {"op": kind, "path": path, "value": value}


def _annotate(notes: Mapping[str, str], *, annotated: bool) -> Iterator[Operation]:
    if not annotated:
        yield _operation("add", "/metadata/annotations", dict(notes))
        return
    for name, value in notes.items():
        yield _operation("add", f"/metadata/annotations/{name.replace('/', '~1')}", value)


def _pin(affinity: Mapping[str, Any], node: str) -> Iterator[Operation]:
    pinned = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [pinned]}]}
    if not affinity:
        yield _operation("add", "/spec/affinity", {"nodeAffinity": {_REQUIRED: terms}})
        return
    of_nodes = affinity.get("nodeAffinity")
    if not of_nodes:
        yield _operation("add", "/spec/affinity/nodeAffinity", {_REQUIRED: terms})
        return
    path = f"/spec/affinity/nodeAffinity/{_REQUIRED}"
    required = of_nodes.get(_REQUIRED)
    if not required:
        yield _operation("add", path, terms)
        return
    for index, term in enumerate(required["nodeSelectorTerms"]):
        here = f"{path}/nodeSelectorTerms/{index}/matchFields"
        if term.get("matchFields"):
            yield _operation("add", f"{here}/-", pinned)
        elif term.get("matchExpressions"):
            yield _operation("add", here, [pinned])
        # A term without anything matches no node and must stay so.
