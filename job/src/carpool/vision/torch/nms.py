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

AHEAD_CANDIDATES = 256
"""Where nobody may wait to learn how many boxes pass, so many take part, and all pairs of them are
compared. Of YOLO-v3's ten thousand boxes of a frame some hundred pass a threshold of 0.25."""
AHEAD_ROUNDS = 8
"""Twice what is needed in practice; the last of them only proves that nothing changes any more."""

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
    rows = _best(boxes, scores, classes, passing, most)
    kept = torch.cat([_kept(part, iou_threshold) for part in _in_steps(rows)])
    return _to_front(rows, kept, max_rows), kept.sum(dim=1).clamp(max=max_rows)


def suppress_ahead(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_rows: int,
    candidates: int = AHEAD_CANDIDATES,
    rounds: int = AHEAD_ROUNDS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same without ever waiting for the device: all shapes follow from those of the arguments.

    What depends on the values is bounded instead, and an item that needs more says so.

    Args:
        boxes: as for `suppress`.
        scores: the same.
        classes: the same.
        score_threshold: the same.
        iou_threshold: the same.
        max_rows: the same.
        candidates: boxes of an item that take part, best first.
        rounds: of the rule in this module's docstring.

    Returns:
        rows float32 [n, r, 6] with r = min(b, candidates, max_rows), and counts int64 [n], as
        `suppress` gives them; the count is -1 where more boxes pass the threshold or more rounds
        are needed.
    """
    passing = scores > score_threshold
    rows = _best(boxes, scores, classes, passing, min(scores.shape[1], candidates))
    states = [_kept_ahead(part, iou_threshold, rounds) for part in _in_steps(rows)]
    kept, settled = (torch.cat(each) for each in zip(*states, strict=True))
    known = settled & (passing.sum(dim=1) <= candidates)
    counts = kept.sum(dim=1).clamp(max=max_rows)
    return _to_front(rows, kept, max_rows), counts.masked_fill(~known, -1)


def _best(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    passing: torch.Tensor,
    most: int,
) -> torch.Tensor:
    """The best boxes of each item in order of score, [n, most, 6]; padding scores -inf."""
    ranked = scores.masked_fill(~passing, -torch.inf).sort(dim=1, descending=True, stable=True)
    order = ranked.indices[:, :most]
    return torch.cat(
        [
            boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4)),
            ranked.values[:, :most].unsqueeze(2),
            classes.gather(1, order).unsqueeze(2).to(boxes.dtype),
        ],
        dim=2,
    )


def _in_steps(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The items in groups that are compared in one step."""
    return torch.split(rows, max(1, _PAIRS_AT_ONCE // max(1, rows.shape[1] ** 2)))


def _to_front(rows: torch.Tensor, kept: torch.Tensor, max_rows: int) -> torch.Tensor:
    """The rows that are kept, in their order, before the others."""
    # Sorting "dropped" stably moves the kept rows to the front without changing their order.
    front = kept.logical_not().to(torch.uint8).sort(dim=1, stable=True).indices[:, :max_rows]
    return rows.gather(1, front.unsqueeze(2).expand(-1, -1, 6))


def _kept(rows: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Which rows survive, bool [n, k]; rows are in order of score, padding scores -inf."""
    valid, suppresses = _rules(rows, iou_threshold)
    kept = valid
    while True:
        now = _round(valid, suppresses, kept)
        if torch.equal(now, kept):
            return kept
        kept = now


def _kept_ahead(
    rows: torch.Tensor, iou_threshold: float, rounds: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_kept`, after so many rounds; and of which items that is final, bool [n]."""
    valid, suppresses = _rules(rows, iou_threshold)
    kept = valid
    for _ in range(rounds):
        before, kept = kept, _round(valid, suppresses, kept)
    return kept, (kept == before).all(dim=1)


def _rules(rows: torch.Tensor, iou_threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows are no padding, bool [n, k], and which would suppress which, bool [n, k, k]."""
    return rows[..., 4] > -torch.inf, _overlaps(rows, iou_threshold).triu_(diagonal=1)


def _round(valid: torch.Tensor, suppresses: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What is kept where `kept` was."""
    return valid & ~(suppresses & kept.unsqueeze(2)).any(dim=1)


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
