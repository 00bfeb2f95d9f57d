"""Leadership: at any time at most one replica may write, whatever is slow, dead or stopped.

The Lease lies in a store that answers as the API server does to gets, creates and replaces, and
each replica has a clock of its own, which a stopped process does not hear.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool_operator.cluster.lease import Election, Leadership
from carpool_operator.errors import (
    AlreadyExists,
    Conflict,
    LeadershipLost,
    NotFound,
    Unreachable,
)
from support.fake_clock import FakeClock, settle

DURATION = 15.0


class Store:
    """One Lease, with optimistic concurrency."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.reachable = True

    def _answer(self) -> dict[str, Any]:
        return copy.deepcopy(self.lease or {})

    def _write(self, body: Any) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(dict(body))
        self.lease["metadata"] = self.lease["metadata"] | {"resourceVersion": str(self.version)}
        return self._answer()

    def _reach(self) -> None:
        if not self.reachable:
            raise Unreachable("no answer")

    async def get(self, path: str) -> dict[str, Any]:
        self._reach()
        if self.lease is None:
            raise NotFound(path, 404)
        return self._answer()

    async def create(self, path: str, body: Any) -> dict[str, Any]:
        self._reach()
        if self.lease is not None:
            raise AlreadyExists(path, 409)
        return self._write(body)

    async def replace(self, path: str, body: Any) -> dict[str, Any]:
        self._reach()
        if self.lease is None:
            raise NotFound(path, 404)
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict(path, 409)
        return self._write(body)


class Replica:
    """One process: its clock, its election, and whether it may write."""

    def __init__(self, store: Store, name: str, clock: FakeClock) -> None:
        self.clock = clock
        self.leadership = Leadership(clock)
        self.acts = False
        self.lost = False
        self.election = Election(
            store,
            self.leadership,
            namespace="carpool-system",
            name="carpool-operator",
            identity=name,
            duration=DURATION,
            clock=clock,
            sleep=clock.sleep,
        )
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        try:
            await self.election.acquire()
            self.acts = True
            await self.election.keep()
        except LeadershipLost:
            self.lost = True

    @property
    def may_write(self) -> bool:
        if not self.acts:
            return False
        try:
            self.leadership.check()
        except LeadershipLost:
            return False
        return True

    def end(self) -> None:
        self.task.cancel()


def run(scenario) -> None:
    async def main():
        replicas: list[Replica] = []
        store = Store()

        def start(name: str, clock: FakeClock) -> Replica:
            replicas.append(Replica(store, name, clock))
            return replicas[-1]

        try:
            await scenario(store, start)
        finally:
            for replica in replicas:
                replica.end()
            await settle()

    asyncio.run(main())


def test_the_first_leader_waits_a_whole_duration_since_the_lease_may_have_been_deleted():
    async def scenario(store, start):
        clock = FakeClock()
        replica = start("a", clock)
        await clock.advance(DURATION - 0.1)
        assert not replica.may_write
        await clock.advance(0.2)
        assert replica.may_write
        assert replica.leadership.epoch == 1

    run(scenario)


def test_a_leader_renews_and_stays():
    async def scenario(store, start):
        clock = FakeClock()
        first, second = start("a", clock), start("b", clock)
        await clock.advance(600)
        assert first.may_write
        assert not second.acts

    run(scenario)


def test_a_lease_that_was_given_up_is_taken_without_waiting_for_its_end():
    async def scenario(store, start):
        clock = FakeClock()
        first, second = start("a", clock), start("b", clock)
        await clock.advance(60)
        first.end()
        await first.election.release()
        assert not first.may_write
        await clock.advance(DURATION / 3)
        assert second.may_write
        assert second.leadership.epoch == 2

    run(scenario)


def test_a_dead_leader_is_followed_after_its_duration_and_another():
    async def scenario(store, start):
        clock = FakeClock()
        first, second = start("a", clock), start("b", clock)
        await clock.advance(60)
        first.end()
        await clock.advance(2 * DURATION - DURATION / 3)
        assert not second.may_write
        await clock.advance(DURATION)
        assert second.may_write

    run(scenario)


def test_a_stopped_leader_may_not_write_when_it_goes_on_and_learns_that_it_lost():
    async def scenario(store, start):
        clock = FakeClock()
        stopped = FakeClock()
        first = start("a", stopped)
        await stopped.advance(DURATION + 1)
        second = start("b", clock)
        await clock.advance(3 * DURATION)
        assert second.may_write
        # SIGCONT: the clock has moved on, and not a single task has run since.
        stopped.now += 3 * DURATION
        assert not first.may_write
        await stopped.advance(0)
        assert first.lost

    run(scenario)


def test_a_leader_that_reaches_no_api_server_stops_writing_before_another_may():
    async def scenario(store, start):
        clock = FakeClock()
        leader = start("a", clock)
        await clock.advance(60)
        store.reachable = False
        await clock.advance(DURATION * 2 / 3 + 0.1)
        assert not leader.may_write
        await clock.advance(DURATION / 10)
        assert leader.lost

    run(scenario)


def test_a_leader_survives_an_outage_that_is_shorter_than_its_right():
    async def scenario(store, start):
        clock = FakeClock()
        leader = start("a", clock)
        await clock.advance(60)
        store.reachable = False
        await clock.advance(4)
        store.reachable = True
        await clock.advance(60)
        assert leader.may_write

    run(scenario)


def test_an_edit_of_the_lease_by_somebody_else_costs_no_leadership():
    async def scenario(store, start):
        clock = FakeClock()
        leader = start("a", clock)
        await clock.advance(60)
        store._write(store._answer() | {"metadata": {"annotations": {"looked": "at"}}})
        await clock.advance(60)
        assert leader.may_write

    run(scenario)


def test_a_deleted_lease_ends_leadership():
    async def scenario(store, start):
        clock = FakeClock()
        leader = start("a", clock)
        await clock.advance(60)
        store.lease = None
        await clock.advance(DURATION)
        assert leader.lost
        assert not leader.may_write

    run(scenario)


def test_without_leadership_nothing_may_be_written():
    with pytest.raises(LeadershipLost):
        Leadership(FakeClock()).check()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["run a", "run b", "stop a", "stop b", "cut", "heal", "delete"]),
            st.floats(0.1, 20.0),
        ),
        max_size=25,
    )
)
def test_never_do_two_replicas_write_at_once(steps):
    """Clocks run equally fast, but a stopped replica hears nothing until it goes on."""

    async def scenario(store, start):
        clocks = {"a": FakeClock(), "b": FakeClock()}
        replicas = {name: start(name, clock) for name, clock in clocks.items()}
        stopped: dict[str, bool] = {"a": False, "b": False}

        async def pass_time(seconds: float) -> None:
            for _ in range(max(1, round(seconds / 0.5))):
                for name, clock in clocks.items():
                    if stopped[name]:
                        clock.now += 0.5
                    else:
                        await clock.advance(0.5)
                # A stopped replica counts: its next instruction may be a write.
                assert sum(replica.may_write for replica in replicas.values()) <= 1

        for step, seconds in steps:
            match step.split():
                case ["run", name]:
                    stopped[name] = False
                case ["stop", name]:
                    stopped[name] = True
                case ["cut"]:
                    store.reachable = False
                case ["heal"]:
                    store.reachable = True
                case ["delete"]:
                    store.lease = None
            await pass_time(seconds)

    run(scenario)
