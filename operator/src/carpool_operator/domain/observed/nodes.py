"""A node, from the API server's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

from carpool.spec.gpu import is_kubelets
from carpool_operator.domain.cluster_state import Node, Taint
from carpool_operator.domain.observed.quantities import resources, whole


def observed_node(raw: Mapping[str, Any]) -> Node:
    """The record of a core/v1 Node."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    return Node(
        name=intern(metadata["name"]),
        ready=any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status.get("conditions") or ()
        ),
        unschedulable=bool(spec.get("unschedulable", False)),
        labels={
            intern(key): intern(value) for key, value in (metadata.get("labels") or {}).items()
        },
        taints=tuple(
            Taint(taint["key"], taint.get("value") or "", taint["effect"])
            for taint in spec.get("taints") or ()
        ),
        allocatable=resources(status.get("allocatable") or {}),
        kubelet_gpus=sum(
            whole(quantity)
            for name, quantity in (status.get("capacity") or {}).items()
            if is_kubelets(name)
        ),
    )
