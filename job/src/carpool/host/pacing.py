"""Whether waiting for more items pays: an online model of the device, and of its clients. Pure.

A batch of n items takes t(n) = b + a·n. With n items queued on an idle device and arrivals of λ
items a second, waiting raises the throughput as long as n < λ·b: the items that come during the
wait then save more of the fixed cost than the wait costs. There is no timer for a user to tune.
Time only ever enters as an argument.
"""

from __future__ import annotations

from carpool.host.arrivals import Arrivals

_DECAY = 0.98
"""Weight of a measured batch after the next one: about the last fifty count."""
_SHORTEST_WAIT = 0.0005
"""Seconds; a shorter wait is not worth waking up for."""
_LONGEST_WAIT = 2.0
"""In units of b: past that the estimate of λ was wrong."""
_STAGE_AHEAD = 0.15
"""Share of a running batch's time that staging the next one may need."""


class CostModel:
    """Fit of t(n) = b + a·n by least squares, recent batches weighing most.

    Anchors (the warm-up's measurements) never fade, so that the fit stays defined where all
    batches have one size. The fit is made when it is asked for.
    """

    def __init__(self) -> None:
        self._base = 0.0
        self._per_item = 0.0
        self._fitted = True
        self._anchors = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._recent = (0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def base(self) -> float:
        """b, seconds."""
        self._fit()
        return self._base

    @property
    def per_item(self) -> float:
        """a, seconds."""
        self._fit()
        return self._per_item

    def anchor(self, items: int, seconds: float) -> None:
        """Take a measurement that stays."""
        self._anchors = _plus(self._anchors, items, seconds, decay=1.0)
        self._fitted = False

    def observe(self, items: int, seconds: float) -> None:
        """Take the measurement of a batch."""
        self._recent = _plus(self._recent, items, seconds, decay=_DECAY)
        self._fitted = False

    def predict(self, items: int) -> float:
        """Seconds that a batch will take; 0 while nothing was measured."""
        self._fit()
        return self._base + self._per_item * items

    def _fit(self) -> None:
        if self._fitted:
            return
        self._fitted = True
        count, n, nn, t, nt = (
            old + new for old, new in zip(self._anchors, self._recent, strict=True)
        )
        spread = count * nn - n * n
        if spread <= 1e-9 * nn:  # one batch size so far: all of it is cost per item
            self._base, self._per_item = 0.0, t / n
            return
        slope = (count * nt - n * t) / spread
        if slope < 0:
            self._base, self._per_item = t / count, 0.0
        elif (base := (t - slope * n) / count) < 0:
            self._base, self._per_item = 0.0, nt / nn
        else:
            self._base, self._per_item = base, slope


class Pacer:
    """Says how long a batch that could go now should still grow.

    Attributes:
        cost: the device.
        arrivals: the clients.
    """

    def __init__(self, cost: CostModel | None = None, arrivals: Arrivals | None = None) -> None:
        self.cost = cost or CostModel()
        self.arrivals = arrivals or Arrivals()
        self._waiting_since: float | None = None

    def hold_idle(self, queued: int, most: int, now: float) -> float:
        """Seconds to wait on an idle device; 0 to dispatch now.

        Args:
            queued: items that wait, at least 1.
            most: items of the largest batch that could come together.
            now: seconds, monotonic.
        """
        rate = self.arrivals.rate(now) if queued < most else 0.0
        if rate and queued < (enough := min(most, rate * self.cost.base)):
            if self._waiting_since is None:
                self._waiting_since = now
            left = self._waiting_since + _LONGEST_WAIT * self.cost.base - now
            if left >= _SHORTEST_WAIT:
                # What comes wakes the host anyway; this is for what does not come.
                return min(max((enough - queued) / rate, _SHORTEST_WAIT), left)
        self._waiting_since = None
        return 0.0

    def hold_busy(self, queued: int, most: int, free_at: float, now: float) -> float | None:
        """Seconds to wait while the device works on one batch and could stage another.

        A staged batch cannot grow any more, so it is cut only when full, or just before it is
        needed; and not at all where the clients that wait for the running batch would add so much
        to it, right after they are answered, that the device had better be idle for that moment.

        Args:
            queued: items that wait, at least 1.
            most: items of the largest batch that could come together.
            free_at: when the device is expected to have finished what it works on.
            now: seconds, monotonic.

        Returns:
            None to wait for the end of the running batch.
        """
        if queued >= most:
            return 0.0
        if most <= self.arrivals.rate_after_answers(now) * self.cost.base:
            return None
        wait = free_at - _STAGE_AHEAD * self.cost.predict(most) - now
        return wait if wait >= _SHORTEST_WAIT else 0.0


def _plus(
    sums: tuple[float, ...], items: int, seconds: float, *, decay: float
) -> tuple[float, float, float, float, float]:
    count, n, nn, t, nt = sums
    return (
        decay * count + 1,
        decay * n + items,
        decay * nn + items * items,
        decay * t + seconds,
        decay * nt + items * seconds,
    )
