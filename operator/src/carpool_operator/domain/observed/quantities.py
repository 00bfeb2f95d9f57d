"""Amounts as the API server writes them, which is freer than what a job's spec may say.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from carpool_operator.domain.cluster_state import Resources

_FACTORS = {
    **{suffix: Decimal(10) ** power for suffix, power in zip("num", (-9, -6, -3), strict=True)},
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


@lru_cache(maxsize=4096)
def amount(quantity: str | float) -> Decimal:
    """The number that a quantity says: "1500m" is 1.5, "12Ki" and "12288" are 12288, "1e3" 1000."""
    text = str(quantity).strip()
    suffix = text.lstrip("+-0123456789.")
    if suffix[:1] in ("e", "E") and suffix[1:].lstrip("+-").isdigit():
        return Decimal(text)
    return Decimal(text.removesuffix(suffix)) * _FACTORS[suffix]


def whole(quantity: str | float, scale: int = 1) -> int:
    """The number times `scale`, parts counted as one, as Kubernetes rounds."""
    return int((amount(quantity) * scale).to_integral_value(rounding=ROUND_CEILING))


def resources(amounts: Mapping[str, str]) -> Resources:
    """Resources by their names in Kubernetes, such as a node's `status.allocatable`."""
    extended = {
        name: whole(quantity)
        for name, quantity in amounts.items()
        if name not in ("cpu", "memory", "pods")
    }
    return Resources(
        cpu=whole(amounts.get("cpu", "0"), 1000),
        memory=whole(amounts.get("memory", "0")),
        pods=whole(amounts.get("pods", "0")),
        extended=tuple(sorted(extended.items())),
    )
