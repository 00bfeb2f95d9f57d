"""Greedy class-wise suppression of duplicates, for a whole batch at once, on the device.

Greedy suppression looks sequential: a box is dropped if a *kept* box of its class with a higher
score overlaps it. With the boxes in order of score, repeating the rule for all boxes together,

    kept[j] = not any(kept[i] and overlaps[i, j] for i < j),

reaches the one state that satisfies it: after t rounds the first t boxes are final, and in practice
three or four rounds are enough, since suppression rarely chains. What must stay true: an item's
rows depend on its own boxes alone, whatever the batch holds besides and wherever the item stands.
So every sum here is over one item, and sorting is stable (equal scores keep the network's order).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CANDIDATES = 2048
"""Boxes of an item, best first, that take part. Only thresholds near 0 give more, and what is cut
off scores below all of these. It bounds memory, which grows with the square."""

_PAIRS_AT_ONCE = 1 << 22
"""Pairs of boxes compared in one step: 16 MiB for each temporary of float32."""


def suppress(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_rows: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep the best box of each object.

    Args:
        boxes: float32 [n, b, 4], x1, y1, x2, y2.
        scores: float32 [n, b]; a box with NaN is never kept.
        classes: int64 [n, b]; boxes of different classes do not suppress each other.
        score_threshold: boxes must score more than this.
        iou_threshold: a box is dropped if a kept one overlaps it by more than this.
        max_rows: the most boxes kept for an item, best first.

    Returns:
        rows float32 [n, r, 6] with r ≤ max_rows: x1, y1, x2, y2, score, class, best first;
        and counts int64 [n]: how many of an item's rows count; the others are meaningless.
    """
    passing = scores > score_threshold
    most = min(int(passing.sum(dim=1).max()) if scores.numel() else 0, MAX_CANDIDATES)
    if most == 0:
        empty = scores.new_zeros(len(scores), 0, 6)
        return empty, torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    ranked = torch.where(passing, scores, -torch.inf).sort(dim=1, descending=True, stable=True)
    order = ranked.indices[:, :most]
    rows = torch.cat(
        [
            boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4)),
            ranked.values[:, :most].unsqueeze(2),
            classes.gather(1, order).unsqueeze(2).to(boxes.dtype),
        ],
        dim=2,
    )
    at_once = max(1, _PAIRS_AT_ONCE // (most * most))
    kept = torch.cat([_kept(part, iou_threshold) for part in torch.split(rows, at_once)])
    # Sorting "dropped" stably moves the kept rows to the front without changing their order.
    front = kept.logical_not().to(torch.uint8).sort(dim=1, stable=True).indices[:, :max_rows]
    return rows.gather(1, front.unsqueeze(2).expand(-1, -1, 6)), kept.sum(dim=1).clamp(max=max_rows)


def _kept(rows: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Which rows survive, bool [n, k]; rows are in order of score, padding scores -inf."""
    valid = rows[..., 4] > -torch.inf
    suppresses = _overlaps(rows, iou_threshold).triu_(diagonal=1)
    kept = valid
    while True:
        beaten = (suppresses & kept.unsqueeze(2)).any(dim=1)
        now = valid & ~beaten
        if torch.equal(now, kept):
            return kept
        kept = now


def _overlaps(rows: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Whether two boxes are of one class and overlap more than the threshold, bool [n, k, k].

    The test is intersection > threshold · union: no division, so boxes without area are no special
    case.
    """
    x1, y1, x2, y2, _, label = rows.unbind(dim=2)
    area = (x2 - x1) * (y2 - y1)
    width = _pairs(torch.minimum, x2) - _pairs(torch.maximum, x1)
    height = _pairs(torch.minimum, y2) - _pairs(torch.maximum, y1)
    intersection = width.clamp_(min=0.0).mul_(height.clamp_(min=0.0))
    union = _pairs(torch.add, area).sub_(intersection)
    return (intersection > union.mul_(iou_threshold)).logical_and_(_pairs(torch.eq, label))


def _pairs(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], values: torch.Tensor
) -> torch.Tensor:
    """A function of every pair of an item's values: [n, k] to [n, k, k]."""
    return function(values.unsqueeze(2), values.unsqueeze(1))
