"""Executors whose assignment the API server refused, each for a while after its refusal.

Whatever refuses one (an admission webhook, a policy, a pod that is about to be seen gone) may do so
again. An executor that rests holds nothing and waits in no group, so it cannot take the turn of
others again and again. The first refusal costs a second, each further one twice as much, up to a
minute. It is memory of the allocator: after a restart of the operator all are tried at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool_operator.domain.cluster_state import Pod

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0


@dataclass(slots=True)
class _Refused:
    pod: Pod
    times: int
    until: float
    over: bool = False


class Resting:
    """All that were refused and have not been assigned since."""

    def __init__(self) -> None:
        self._refused: dict[str, _Refused] = {}

    def refuse(self, pod: Pod, now: float) -> None:
        """The executor's assignment was refused."""
        known = self._refused.get(pod.uid)
        times = known.times + 1 if known else 1
        delay = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(times - 1, 10))
        self._refused[pod.uid] = _Refused(pod, times, now + delay)

    def keeps(self, pod: Pod) -> bool:
        """Whether the executor rests; the newest record of it is kept."""
        known = self._refused.get(pod.uid)
        if known is None:
            return False
        known.pod = pod
        return not known.over

    def forget(self, uid: str) -> None:
        """It is assigned, or gone."""
        self._refused.pop(uid, None)

    def rested(self, now: float) -> list[Pod]:
        """Those whose rest is over by now, each once."""
        found = [one for one in self._refused.values() if not one.over and one.until <= now]
        for one in found:
            one.over = True
        return [one.pod for one in found]

    def next_end(self) -> float | None:
        """Unix time at which the next rest is over; None: none rests."""
        return min((one.until for one in self._refused.values() if not one.over), default=None)

    def count(self, job_uid: str | None = None) -> int:
        """How many rest, of a job or of all."""
        return sum(
            not one.over and job_uid in {None, one.pod.job_uid} for one in self._refused.values()
        )
