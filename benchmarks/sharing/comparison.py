"""Whether two arms found the same. Pure.

Rows are not bit for bit the same: the size of a batch decides which kernels run. A value off by a
rounding moves a box that is barely above the threshold below it, and so may change what suppression
keeps. So rows are paired, paired rows may differ by a little, and few may be without a partner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from carpool.vision.handler import Rows


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is taken for the same.

    Attributes:
        values: most difference of paired rows, by column.
        unpaired: most share of rows without a partner.
    """

    values: tuple[float, ...]
    unpaired: float


def _boxes(pixels: float, score: float, unpaired: float) -> Tolerance:
    """For rows of detectors; a class is the same or it is not."""
    return Tolerance((*[pixels] * 4, score, 0.5), unpaired)


def _plain(value: float) -> Tolerance:
    """For rows that are always there, all columns alike."""
    return Tolerance((value,) * 6, 0.0)


TOLERANCES: Mapping[tuple[str, bool], Tolerance] = {
    ("Float32", True): _boxes(0.05, 1e-3, 0.005),
    # 11 bits: a width is exponential in its value, and errors add up over a hundred layers.
    ("Float16", True): _boxes(4.0, 0.05, 0.1),
    ("Float32", False): _plain(1e-3),
    ("Float16", False): _plain(0.1),
    ("exact", False): _plain(0.0),
}
"""By precision, and by whether rows are boxes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far rows are from the reference's.

    Attributes:
        frames: compared.
        rows: of the reference that these frames have.
        largest: difference of a value of paired rows.
        unpaired: share of rows, of both sides, without a partner.
    """

    frames: int
    rows: int
    largest: float
    unpaired: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether it is the same, and something was compared at all."""
        return self.rows > 0 and self.unpaired <= tolerance.unpaired


def compare(
    found: Mapping[int, Rows], reference: Mapping[int, Rows], tolerance: Tolerance
) -> Difference:
    """Compare the rows of frames, by number; frames that were not found do not count."""
    largest, unpaired, total, expected = 0.0, 0, 0, 0
    for number, rows in found.items():
        differences = paired(rows, reference[number], tolerance)
        largest = max([largest, *differences])
        unpaired += len(rows) + len(reference[number]) - 2 * len(differences)
        total += len(rows) + len(reference[number])
        expected += len(reference[number])
    return Difference(len(found), expected, largest, unpaired / total if total else 0.0)


def paired(rows: Rows, reference: Rows, tolerance: Tolerance) -> list[float]:
    """Pair each row of the reference with the nearest that is left, if it is the same.

    Args:
        rows: [k, w].
        reference: [r, w].
        tolerance: what is the same, for w columns.

    Returns:
        Of each pair the largest difference of a value.
    """
    if not len(rows) or not len(reference):
        return []
    apart = np.abs(reference[:, None, :] - rows[None, :, :])
    same = (apart <= np.array(tolerance.values)).all(axis=2)
    distance = np.where(same, apart.max(axis=2), np.inf)
    found = []
    for line in distance:
        nearest = int(np.argmin(line))
        if np.isfinite(line[nearest]):
            found.append(float(line[nearest]))
            distance[:, nearest] = np.inf
    return found
