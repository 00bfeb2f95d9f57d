"""Amounts of memory and CPU, written as Kubernetes quantities everywhere, Spark's memory included.

Spark's own suffixes mislead beside Kubernetes': Spark's "8g" is 8 GiB while Kubernetes' "8G" is
8 GB, and "500m" is 500 MiB to Spark but half a byte to Kubernetes. So the spec takes one style,
refuses what is ambiguous, and this module converts. A quantity is always a string, so a bare number
needs quotes in YAML; zero and, for memory, thousandths are refused, since they are only mistakes.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated

from carpool.errors import SpecError
from carpool.spec.text import form

_BELOW_ONE = r"0\.([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9])"
_BYTES_PATTERN = rf"^([1-9][0-9]{{0,14}}(\.[0-9]{{1,3}})?|{_BELOW_ONE})(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"
_CPU_PATTERN = rf"^([1-9][0-9]{{0,8}}m|[1-9][0-9]{{0,5}}(\.[0-9]{{1,3}})?|{_BELOW_ONE})$"
_BYTES_WORDS = 'a size as a Kubernetes quantity, such as "8Gi" or "512Mi" (not Spark\'s "8g")'
_CPU_WORDS = 'an amount of CPU as a Kubernetes quantity, such as "2" or "500m"'

ByteQuantity = Annotated[str, form(_BYTES_PATTERN, _BYTES_WORDS, 20)]
CpuQuantity = Annotated[str, form(_CPU_PATTERN, _CPU_WORDS, 12)]

_FACTORS = {
    "": 1,
    **{suffix: 1000**power for power, suffix in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}
_MIB = 1024**2


def quantity_bytes(quantity: str) -> int:
    """Bytes of a memory or disk quantity; parts of a byte count as one, as in Kubernetes.

    Raises:
        SpecError: the text is no such quantity.
    """
    match = re.fullmatch(_BYTES_PATTERN, quantity)
    if match is None:
        raise SpecError(f'expected {_BYTES_WORDS}, found "{quantity}"')
    suffix = quantity.lstrip("0123456789.")
    number = Decimal(quantity.removesuffix(suffix)) * _FACTORS[suffix]
    return int(number.to_integral_value(rounding=ROUND_CEILING))


def cpu_millis(quantity: str) -> int:
    """Thousandths of a CPU of a CPU quantity ("2" and "2000m" are both 2000).

    Raises:
        SpecError: the text is no such quantity.
    """
    if re.fullmatch(_CPU_PATTERN, quantity) is None:
        raise SpecError(f'expected {_CPU_WORDS}, found "{quantity}"')
    if quantity.endswith("m"):
        return int(quantity[:-1])
    return int(Decimal(quantity) * 1000)


def spark_memory(quantity: str) -> str:
    """A memory quantity in Spark's form, in whole MiB, rounded down ("8Gi" is "8192m").

    MiB because it is the unit Spark hands to the JVM and to Kubernetes; down so that the result
    never exceeds what was granted.

    Raises:
        SpecError: the text is no quantity, or less than 1 MiB.
    """
    mebibytes = quantity_bytes(quantity) // _MIB
    if mebibytes == 0:
        raise SpecError(f'expected at least "1Mi" of memory for Spark, found "{quantity}"')
    return f"{mebibytes}m"
