"""Leadership by a Lease (coordination.k8s.io/v1): of all replicas, one writes.

A Lease alone is no lock: a leader that was held up can wake after another has taken over and not
know it. So its right to write ends by its own monotonic clock, before the others may take over, and
is checked right before each write is sent (`Leadership.check`). The clock starts when a renewal is
sent, not when it is answered. A replica takes over when it has seen the Lease unchanged for its
whole duration, by its own clock too; times written in the Lease are for readers only.

What was sent just before the right ended may still be under way. Hence a replica that takes over
from one that did not give the Lease up waits for another whole duration before it writes.

`leaseTransitions` counts the leaders: the epoch that assignments carry.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from carpool_operator.cluster.client import Client, Json
from carpool_operator.cluster.resources import LEASES
from carpool_operator.errors import ApiError, Conflict, LeadershipLost, NotFound
from carpool_operator.jitter import jittered
from carpool_operator.observability.metrics import LEADER

log = logging.getLogger(__name__)

_RIGHT = 2 / 3
"""Share of the duration after a renewal for which its leader may write."""
_RENEWALS = 1 / 3
"""Share of the duration between renewals."""


class Leadership:
    """The right to write, until when, and as the how-manieth leader."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without the right."""
        self.epoch = 0
        self._clock = clock
        self._until = float("-inf")

    def check(self) -> None:
        """Raise unless this replica may write now.

        Raises:
            LeadershipLost: it may not.
        """
        late = self._clock() - self._until
        if late >= 0:
            raise LeadershipLost(
                "the Lease was not renewed in time; another replica may have taken over"
            )

    def remaining(self) -> float:
        """Seconds for which this replica may write, unless it renews."""
        return self._until - self._clock()

    def extend(self, until: float, epoch: int) -> None:
        """Have the right until that time of the clock."""
        self._until, self.epoch = until, epoch
        LEADER.set(1)

    def end(self) -> None:
        """Give up the right."""
        self._until = float("-inf")
        LEADER.set(0)


@dataclass(frozen=True, slots=True)
class _Sight:
    """A Lease as it was first seen in this state, and when by the own clock."""

    version: str
    since: float


class Election:
    """Takes part for one replica, over a client that no leadership guards."""

    def __init__(
        self,
        client: Client,
        leadership: Leadership,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take part in the election of this Lease; `duration` is in seconds."""
        self._client = client
        self._leadership = leadership
        self._namespace, self._name = namespace, name
        self._identity = identity
        self._duration = duration
        self._clock = clock
        self._sleep = sleep
        self._sight: _Sight | None = None
        self._lease: Json | None = None

    async def acquire(self) -> None:
        """Return as the leader, when nothing of an earlier one can be under way any more."""
        log.info("Joined the election", extra={"lease": self._shown, "identity": self._identity})
        while True:
            try:
                won, orderly = await self._try()
            except ApiError as error:
                log.warning("Could not read or take the Lease", extra={"error": str(error)})
                won = orderly = False
            if won:
                break
            await self._sleep(jittered(self._duration * _RENEWALS / 2))
        log.info("Became the leader", extra={"epoch": self._leadership.epoch})
        if not orderly:
            await self._renew_for(self._duration)

    async def keep(self) -> None:
        """Renew until the right is lost.

        Raises:
            LeadershipLost: it is.
        """
        await self._renew_for(float("inf"))

    async def release(self) -> None:
        """Give the Lease up, so that another replica need not wait for its end."""
        if self._lease is None or self._leadership.remaining() <= 0:
            return
        self._leadership.end()
        lease = self._lease | {"spec": self._lease["spec"] | {"holderIdentity": ""}}
        try:
            await self._client.replace(self._path, lease)
        except ApiError as error:
            log.warning("Could not give the Lease up", extra={"error": str(error)})
        else:
            log.info("Gave the Lease up", extra={"lease": self._shown})

    async def _renew_for(self, seconds: float) -> None:
        end = self._clock() + seconds
        while self._clock() < end:
            await self._sleep(min(self._duration * _RENEWALS, max(0.0, end - self._clock())))
            await self._renew()

    async def _renew(self) -> None:
        """Renew, again and again while the right lasts."""
        while True:
            self._leadership.check()
            assert self._lease is not None  # noqa: S101 - only leaders renew
            sent = self._clock()
            try:
                async with asyncio.timeout(self._duration / 5):
                    answer = await self._client.replace(self._path, self._renewed())
                self._took(answer, sent)
            except (Conflict, NotFound) as error:
                if not await self._still_holds():
                    self._leadership.end()
                    raise LeadershipLost("another replica holds the Lease") from error
            except (ApiError, TimeoutError) as error:
                # One connection that hangs must not use up all the time that there is.
                log.warning("Could not renew the Lease", extra={"error": str(error) or "timeout"})
            else:
                return
            await self._sleep(self._duration / 20)

    async def _still_holds(self) -> bool:
        """Whether it was no new leader, but somebody's edit that made a renewal conflict."""
        try:
            lease = await self._client.get(self._path)
        except NotFound:
            return False
        except ApiError:
            return True  # unknown; the right ends by itself
        self._lease = lease
        return bool(lease["spec"].get("holderIdentity") == self._identity)

    async def _try(self) -> tuple[bool, bool]:
        """Take the Lease if it is free: whether it was taken, and whether it had been given up."""
        sent = self._clock()
        try:
            lease = await self._client.get(self._path)
        except NotFound:
            # Somebody may have deleted the Lease of a leader that lives: not orderly.
            made = await self._client.create(LEASES.path(self._namespace), self._new())
            self._took(made, sent)
            return True, False
        version = lease["metadata"]["resourceVersion"]
        if self._sight is None or self._sight.version != version:
            self._sight = _Sight(version, self._clock())
        spec = lease.get("spec", {})
        given_up = not spec.get("holderIdentity")
        seconds = float(spec.get("leaseDurationSeconds") or self._duration)
        if not given_up and self._clock() - self._sight.since < seconds:
            return False, False
        self._lease = lease
        sent = self._clock()
        transitions = int(spec.get("leaseTransitions") or 0) + 1
        try:
            self._took(await self._client.replace(self._path, self._renewed(transitions)), sent)
        except (Conflict, NotFound):
            return False, False  # another was faster
        return True, given_up

    def _took(self, lease: Json, sent: float) -> None:
        self._lease = lease
        epoch = int(lease["spec"].get("leaseTransitions") or 0)
        self._leadership.extend(sent + self._duration * _RIGHT, epoch)

    def _new(self) -> Json:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec(1) | {"acquireTime": _now()},
        }

    def _renewed(self, transitions: int | None = None) -> Json:
        assert self._lease is not None  # noqa: S101 - read before
        spec: dict[str, Any] = dict(self._lease["spec"])
        if transitions is not None:
            spec |= {"leaseTransitions": transitions, "acquireTime": _now()}
        return self._lease | {"spec": spec | self._spec(spec.get("leaseTransitions", 1))}

    def _spec(self, transitions: int) -> Json:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "leaseTransitions": transitions,
            "renewTime": _now(),
        }

    @property
    def _path(self) -> str:
        return LEASES.path(self._namespace, self._name)

    @property
    def _shown(self) -> str:
        return f"{self._namespace}/{self._name}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
