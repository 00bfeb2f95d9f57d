"""What a pod asks of its node, by the scheduler's own rule for native sidecars.

A sidecar (an init container with restartPolicy Always) runs beside all that start after it, so it
adds to each later init container and to the containers together; the pod asks for the larger of the
two. https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from carpool.errors import SpecError
from carpool_operator.domain.cluster_state import Resources

_QUANTITY: Final = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?"
)
_FACTORS: Final = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}

Amounts = dict[str, int]
"""Millicores of `cpu`, whole units of all else, by the name of the resource."""


def pod_requests(
    containers: Iterable[Amounts], init_containers: Iterable[tuple[Amounts, bool]]
) -> Resources:
    """What a pod asks for.

    Args:
        containers: requests of each container.
        init_containers: requests of each init container in order, and whether it is a sidecar.
    """
    sidecars: Amounts = {}
    at_start: Amounts = {}
    for amounts, is_sidecar in init_containers:
        if is_sidecar:
            sidecars = _sum(sidecars, amounts)
            at_start = _larger(at_start, sidecars)
        else:
            at_start = _larger(at_start, _sum(sidecars, amounts))
    running = sidecars
    for amounts in containers:
        running = _sum(running, amounts)
    total = _larger(running, at_start)
    return Resources(
        cpu=total.pop("cpu", 0),
        memory=total.pop("memory", 0),
        pods=1,
        extended=tuple(sorted(total.items())),
    )


def container_requests(container: Mapping[str, Any], field: str) -> Amounts:
    """Requests of a container in a template; a limit without a request is one.

    Raises:
        SpecError: an amount is no Kubernetes quantity; the message begins with `field`.
    """
    resources = container.get("resources") or {}
    written = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {
        name: amount(text, name, f"{field}.resources.requests.{name}")
        for name, text in written.items()
    }


def amount(value: Any, resource: str, field: str) -> int:
    """Millicores of cpu, whole units of any other resource, rounded up as Kubernetes does.

    Raises:
        SpecError: it is no Kubernetes quantity of at least zero.
    """
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int) else None
    if match is None or match[1].startswith("-"):
        raise SpecError(f'{field}: expected a Kubernetes quantity, such as "500m" or "2Gi"')
    number = Decimal(match[1])
    if match[2] is not None:
        number *= _FACTORS[match[2]]
    elif match[3] is not None:
        number *= Decimal(10) ** int(match[3])
    if resource == "cpu":
        number *= 1000
    return int(number.to_integral_value(rounding=ROUND_CEILING))


def _sum(first: Amounts, second: Amounts) -> Amounts:
    return {name: first.get(name, 0) + second.get(name, 0) for name in first.keys() | second.keys()}


def _larger(first: Amounts, second: Amounts) -> Amounts:
    return {
        name: max(first.get(name, 0), second.get(name, 0)) for name in first.keys() | second.keys()
    }
