"""A torch handler that has `predict_fixed`: what comes back can be checked against plain numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from carpool.vision.handler import UNKNOWN, FixedRows, Handler, Image, LoadContext, Rows
from support.host_handlers import OUTPUT_ROWS, ROW_WIDTH, SHAPE

if TYPE_CHECKING:
    import torch

HARD = 249
"""First byte of an item whose rows `predict_fixed` cannot tell."""
BAD = 251
"""First byte of an item for which `predict` raises."""


class Sums(Handler):
    """As many rows as the second byte says, at most three; each holds the item's sum and last byte.

    Attributes:
        exact: items of each batch that `predict` was asked for.
    """

    input_shape = SHAPE
    output_rows = OUTPUT_ROWS
    row_width = ROW_WIDTH

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self.exact: list[int] = []

    def preprocess(self, frame: Image, out: Image) -> None:
        out[:] = frame

    def load(self, context: LoadContext) -> None:
        import torch

        self._one = torch.ones(1, device=context.device)

    def predict(self, batch: torch.Tensor) -> Sequence[torch.Tensor]:
        self.exact.append(len(batch))
        if (batch[:, 0, 0, 0] == BAD).any():
            raise ValueError("a bad item")
        counts = self._counts(batch).tolist()
        return [
            rows[:count] for rows, count in zip(self._rows(batch).unbind(), counts, strict=True)
        ]

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        import torch

        counts = self._counts(batch)
        first = batch[:, 0, 0, 0]
        unknown = (first == HARD) | (first == BAD)
        return FixedRows(self._rows(batch), torch.where(unknown, UNKNOWN, counts))

    def postprocess(self, rows: Rows, info: Any) -> Rows:
        return rows

    def _counts(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.flatten(1)[:, 1].long() % 4

    def _rows(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        flat = batch.flatten(1).float() * self._one
        row = torch.stack([flat.sum(1), flat[:, -1]], dim=1)
        return row[:, None].repeat(1, 3, ROW_WIDTH // 2)


class Alone(Sums):
    """Has `predict` alone."""

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        return None


class Looks(Sums):
    """Looks at values where it must not, so that it cannot be recorded."""

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        int(batch.sum())
        return super().predict_fixed(batch)


class Synchronizes(Sums):
    """Waits for the device by a call that torch does not watch, so only the recording meets it."""

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        import torch

        torch.cuda.synchronize()
        return super().predict_fixed(batch)


class Miscounts(Sums):
    """Breaks the contract: it counts rows that it does not give. Parameters: `count`."""

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        found = super().predict_fixed(batch)
        assert found is not None
        return FixedRows(found.rows, found.counts * 0 + self._parameters["count"])


class Half(Sums):
    """Breaks the contract: its rows are of another type."""

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        found = super().predict_fixed(batch)
        assert found is not None
        return FixedRows(found.rows.bfloat16(), found.counts)


class Wide(Sums):
    """Breaks the contract: its rows are too wide."""

    def predict_fixed(self, batch: torch.Tensor) -> FixedRows | None:
        import torch

        rows = torch.zeros(len(batch), 1, ROW_WIDTH + 1)
        return FixedRows(rows, torch.zeros(len(batch), dtype=torch.int64))


def sums(item: np.ndarray) -> np.ndarray:
    """The rows of an item, by numpy."""
    flat = item.reshape(-1)
    row = np.array([flat.sum(dtype=np.int64), flat[-1]], np.float32)
    return np.tile(row, (int(flat[1]) % 4, ROW_WIDTH // 2))
