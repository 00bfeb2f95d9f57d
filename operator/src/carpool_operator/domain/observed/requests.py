"""What a pod asks for, counted as the scheduler counts it.

Containers run together, so they are added; so are native sidecars (init containers with
`restartPolicy: Always`). Another init container runs before the containers but beside the sidecars
that were started before it; the pod needs the larger of the two, and its overhead.

https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from carpool_operator.domain.cluster_state import Resources
from carpool_operator.domain.observed.quantities import whole

_Amounts = dict[str, int]


def pod_requests(spec: Mapping[str, Any]) -> Resources:
    """Of a core/v1 PodSpec; one object for all pods that ask for the same."""
    containers: _Amounts = {}
    for container in spec.get("containers") or ():
        _add(containers, _of(container))
    sidecars: _Amounts = {}
    starting: _Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _of(container)
        if container.get("restartPolicy") == "Always":
            _add(containers, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _raise_to(starting, own)
    _raise_to(containers, starting)
    # Requests of the pod as a whole stand for those of its containers, where it has any.
    containers |= _of(spec)
    _add(containers, _scaled(spec.get("overhead") or {}))
    return _resources(tuple(sorted(containers.items())))


@lru_cache(maxsize=1024)
def _resources(amounts: tuple[tuple[str, int], ...]) -> Resources:
    found = dict(amounts)
    cpu, memory = found.pop("cpu", 0), found.pop("memory", 0)
    return Resources(cpu, memory, 1, tuple(item for item in sorted(found.items()) if item[1]))


def _of(holder: Mapping[str, Any]) -> _Amounts:
    return _scaled((holder.get("resources") or {}).get("requests") or {})


def _scaled(quantities: Mapping[str, str]) -> _Amounts:
    return {
        name: whole(quantity, 1000 if name == "cpu" else 1) for name, quantity in quantities.items()
    }


def _add(total: _Amounts, more: _Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise_to(total: _Amounts, other: _Amounts) -> None:
    for name, value in other.items():
        total[name] = max(total.get(name, 0), value)
