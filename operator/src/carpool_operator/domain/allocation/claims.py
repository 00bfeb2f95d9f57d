"""Slots that are left to jobs whose patience is over, by everybody who can do without.

Such a job claims as many slots as it requires, the nearest ones within its reach that no job before
it has claimed; or none, if all that is left to it would not do. A few at the head of the queue do.
Nobody else who can do without is put on a GPU that is claimed, nor on a node beyond what the claims
there leave: what is on them ends, nothing comes after it, and the job gets its slots. The rest of
the cluster is used as before.

Nothing of it is memory. Claims follow from the ledger and stay where they are because nothing but
the end of an executor makes a slot nearer, and nobody new makes a claimed one farther. This is what
backfilling schedulers do for the jobs at the head of their queue (D. Lifka, "The ANL/IBM SP
scheduling system", 1995), without knowing when an executor will end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from carpool_operator.domain.allocation.eligibility import Eligibility
from carpool_operator.domain.allocation.ledger import Ledger
from carpool_operator.domain.allocation.node_ledger import NodeLedger
from carpool_operator.domain.allocation.reach import Near, Reach
from carpool_operator.domain.allocation.room import room_without_executors
from carpool_operator.domain.cluster_state import Resources

DEPTH = 16
"""Jobs that claim slots at a time. Whoever comes next claims when one of them has its slots."""
_FRESH_SECONDS = 1.0
"""What follows from time alone may be so old."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """A job whose patience is over.

    Attributes:
        job_uid: its uid.
        eligibility: of its executors, as of any job in the same terms.
        required: executors that must fit at once.
    """

    job_uid: str
    eligibility: Eligibility
    required: int


@dataclass(slots=True)
class _Claim:
    """What one job claims.

    Attributes:
        requests: of one of its executors.
        usable: whether nothing is in the way of any.
        executors: by node.
        gpus: UUIDs by node.
    """

    requests: Resources
    usable: bool = True
    executors: Counter[str] = field(default_factory=Counter)
    gpus: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Left:
    """What is claimed of one node: resources, and GPUs by UUID."""

    asked: Resources
    gpus: frozenset[str]


_NOTHING = _Left(Resources(), frozenset())


@dataclass(slots=True)
class _Cursor:
    """How far jobs in the same terms have claimed what is within their reach.

    Attributes:
        index: of the slots that come next.
        used: executors of those that are claimed already.
        claimed: executors in all.
        farthest: the last slots that were claimed.
        failed: whether what is left was too little for one of the jobs.
    """

    index: int = 0
    used: int = 0
    claimed: int = 0
    farthest: Near | None = None
    failed: bool = False


class Claims:
    """All claims, as heaps of slots respect them; a node where they change is touched."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reaches: dict[Eligibility, Reach] = {}
        self._claims: dict[str, _Claim] = {}
        self._left: dict[str, _Left] = {}
        # Of a node whose claims are all in the same terms, those; None: they differ.
        self._terms: dict[str, Eligibility | None] = {}
        # Slots up to which a change matters; None: any does.
        self._farthest: dict[Eligibility, Near | None] = {}
        self._settled: tuple[Sequence[Keeper], float] = ((), 0.0)

    def __bool__(self) -> bool:
        return bool(self._left)

    def settle(self, keepers: Sequence[Keeper], now: float) -> None:
        """Claim slots for these jobs, in this order, and for no others."""
        known, at = self._settled
        fresh = not keepers or at <= now < at + _FRESH_SECONDS
        if known == keepers and fresh and not self._is_outdated():
            return
        before, self._left, self._claims, self._terms = self._left, {}, {}, {}
        self._reaches = {each.eligibility: self._reach(each.eligibility) for each in keepers}
        for reach in self._reaches.values():
            reach.nearest()
            reach.changed = None
        self._farthest = {}
        cursors: dict[Eligibility, _Cursor] = {}
        for keeper in keepers:
            if len(self._claims) == DEPTH:
                break
            claim = self._choose(keeper, cursors.setdefault(keeper.eligibility, _Cursor()), now)
            if claim is not None:
                self._claims[keeper.job_uid] = claim
                self._put(claim)
                for name in claim.executors:
                    terms = self._terms.setdefault(name, keeper.eligibility)
                    if terms is not keeper.eligibility:
                        self._terms[name] = None
        self._touch(
            name
            for name in before.keys() | self._left.keys()
            if before.get(name) != self._left.get(name)
        )
        for eligibility, cursor in cursors.items():
            self._farthest[eligibility] = None if cursor.failed else cursor.farthest
        self._settled = (keepers, now)

    def is_within_reach(self, keeper: Keeper, now: float) -> bool:
        """Whether the job would fit if all executors ended."""
        return self._reach(keeper.eligibility).holds(keeper.required, now)

    def is_usable(self, job_uid: str) -> bool | None:
        """Whether all that the job claims can be used now; None: it claims nothing."""
        claim = self._claims.get(job_uid)
        return None if claim is None else claim.usable

    def lift(self, job_uid: str) -> None:
        """Leave what the job claims to whoever chooses next, until it is put back."""
        claim = self._claims.get(job_uid)
        if claim is None:
            return
        for name, count in claim.executors.items():
            left = self._left[name]
            self._left[name] = _Left(
                left.asked.plus(claim.requests, -count),
                left.gpus - claim.gpus.get(name, set()),
            )
        self._touch(claim.executors)

    def put_back(self, job_uid: str) -> None:
        """Undo `lift`."""
        claim = self._claims.get(job_uid)
        if claim is not None:
            self._put(claim)
            self._touch(claim.executors)

    def leave_room(self, node: NodeLedger, requests: Resources) -> bool:
        """Whether the node has room for such a pod beside all that is claimed of it.

        Where that has no room itself yet, nobody else comes.
        """
        left = self._left.get(node.name)
        return left is None or node.fits(left.asked.plus(requests))

    def has_gpu(self, node: str, uuid: str) -> bool:
        """Whether the GPU is claimed."""
        left = self._left.get(node)
        return left is not None and uuid in left.gpus

    def _is_outdated(self) -> bool:
        """Whether something has changed as near as what is claimed."""
        for eligibility, farthest in self._farthest.items():
            reach = self._reaches[eligibility]
            reach.nearest()
            changed = reach.changed
            if changed is not None and (farthest is None or changed <= farthest):
                return True
        return False

    def _reach(self, eligibility: Eligibility) -> Reach:
        found = self._reaches.get(eligibility)
        if found is None:
            found = self._reaches[eligibility] = Reach(eligibility, self._ledger)
        return found

    def _choose(self, keeper: Keeper, cursor: _Cursor, now: float) -> _Claim | None:
        reach = self._reaches[keeper.eligibility]
        slots = reach.nearest()
        claim = _Claim(keeper.eligibility.wants.requests)
        lacking, index, used = keeper.required, cursor.index, cursor.used
        if reach.count - cursor.claimed < lacking:
            cursor.failed = True
            return None
        while lacking and index < len(slots):
            near = slots[index]
            count = 0
            if reach.is_usable(near.node, now) and not self.has_gpu(near.node, near.gpu):
                count = min(near.executors - used, lacking, self._allowed(near.node, keeper, claim))
            if count > 0:
                claim.executors[near.node] += count
                claim.usable = claim.usable and not near.in_the_way
                lacking -= count
                used += count
            if near.gpu and count > 0:
                claim.gpus.setdefault(near.node, set()).add(near.gpu)
            if lacking:
                index, used = index + 1, 0
        if lacking:
            cursor.failed = True
            return None
        cursor.index, cursor.used = index, used
        cursor.farthest = slots[index] if index < len(slots) else None
        cursor.claimed += keeper.required
        return claim

    def _allowed(self, name: str, keeper: Keeper, claim: _Claim) -> int:
        """How many more executors a node takes, if all on it end, beside claims in other terms."""
        left = self._left.get(name)
        if left is None or self._terms[name] is keeper.eligibility:
            return keeper.required
        node = self._ledger.nodes[name]
        most = room_without_executors(node, claim.requests, left.asked)
        return most - claim.executors[name]

    def _put(self, claim: _Claim) -> None:
        for name, count in claim.executors.items():
            left = self._left.get(name, _NOTHING)
            self._left[name] = _Left(
                left.asked.plus(claim.requests, count),
                left.gpus | claim.gpus.get(name, set()),
            )

    def _touch(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._ledger.nodes:
                self._ledger.touch(name, eased=True)
