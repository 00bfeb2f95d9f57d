"""Whether a pod may run on a node at all, by the rules of the Kubernetes scheduler.

Of the scheduler's filters those that depend on pod and node alone: cordon, taints and tolerations,
nodeSelector, required node affinity. What depends on other pods (resources) is the ledger's.
Affinity between pods, spread constraints and volumes are left to the scheduler: a pod that it then
cannot place is replaced, and its node is left alone for a while.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from carpool_operator.domain.cluster_state import Node, Scheduling, Taint

_CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
_REPELLING = ("NoSchedule", "NoExecute")


def mismatch(node: Node, scheduling: Scheduling) -> str | None:
    """Why such a pod may not run on the node, as the end of "the node …"; None: it may."""
    if not node.ready:
        return "is not ready"
    if node.unschedulable and not _tolerated(_CORDON, scheduling.tolerations):
        return "is cordoned"
    for taint in node.taints:
        if taint.effect in _REPELLING and not _tolerated(taint, scheduling.tolerations):
            return f"has the taint {taint.key}, which is not tolerated"
    for key, value in scheduling.node_selector.items():
        if node.labels.get(key) != value:
            return f"has not the label {key}={value}"
    required = (scheduling.affinity.get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required and not any(
        _term_matches(term, node) for term in required.get("nodeSelectorTerms") or ()
    ):
        return "does not match the required node affinity"
    return None


def _tolerated(taint: Taint, tolerations: Iterable[Mapping[str, Any]]) -> bool:
    return any(_tolerates(toleration, taint) for toleration in tolerations)


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    effect, key = toleration.get("effect"), toleration.get("key")
    if effect and effect != taint.effect:
        return False
    if key and key != taint.key:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == taint.value


def _term_matches(term: Mapping[str, Any], node: Node) -> bool:
    """All expressions and fields of a term; a term without any matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    names = {"metadata.name": node.name}
    return all(_holds(each, node.labels) for each in expressions) and all(
        _holds(each, names) for each in fields
    )


def _holds(requirement: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """A core/v1 NodeSelectorRequirement."""
    found = values.get(requirement["key"])
    wanted = list(requirement.get("values") or ())
    match requirement["operator"]:
        case "In":
            holds = found in wanted
        case "NotIn":
            holds = found not in wanted
        case "Exists":
            holds = found is not None
        case "DoesNotExist":
            holds = found is None
        case "Gt":
            holds = _greater(found, wanted[0])
        case "Lt":
            holds = _greater(wanted[0], found)
        case _:  # an operator of a later Kubernetes
            holds = False
    return holds


def _greater(left: str | None, right: str | None) -> bool:
    """As integers; what is none compares to nothing."""
    try:
        return int(left or "") > int(right or "")
    except ValueError:
        return False
