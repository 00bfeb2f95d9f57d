"""The loop of assignments: what was decided is written once, or taken back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from carpool_operator.cluster.client import Client
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.domain.allocation.interface import Assignment, Eviction
from carpool_operator.domain.cluster_state import Pod, Resources, Scheduling, Slot
from carpool_operator.errors import LeadershipLost
from carpool_operator.observability.health import WatchHealth
from carpool_operator.reconcile.assignments import Assignments
from carpool_operator.reconcile.namespaces import Namespaces
from carpool_operator.reconcile.observations import Observations
from support.api_stub import refuses, stub_server
from support.fake_clock import settle
from support.fake_clock import until as until_holds


def waiting_pod(name: str) -> Pod:
    return Pod(
        uid=f"uid-{name}",
        namespace="team",
        name=name,
        requests=Resources(cpu=1000),
        scheduling=Scheduling(),
        created=0.0,
        phase="Pending",
        job_uid="j1",
        role="executor",
        gated=True,
    )


class Decider:
    """An allocator that hands out what it holds: the loop is what is tested."""

    def __init__(self, *pods: str, evict: tuple[str, ...] = ()) -> None:
        self.waiting = [waiting_pod(name) for name in pods]
        self.to_evict = [Eviction(waiting_pod(name), "GPULost", "it fell off") for name in evict]
        self.taken_back: list[str] = []
        self.seen: list[str] = []
        self.asked = 0
        self.back = asyncio.Event()

    def assign(self, now: float, limit: int) -> list[Assignment]:
        self.asked += 1
        decided, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return [Assignment(pod, Slot("node-a")) for pod in decided]

    def refused(self, assignment: Assignment, now: float) -> None:
        self.taken_back.append(assignment.pod.name)
        self.back.set()

    def evictions(self, now: float) -> list[Eviction]:
        return list(self.to_evict)

    def next_wakeup(self, now: float) -> float | None:
        return None

    def pod_seen(self, pod: Pod) -> None:
        self.seen.append(pod.name)


async def grants(request: web.Request) -> web.StreamResponse:
    """The pod as it is after the patch."""
    name = request.path.rsplit("/", 1)[1]
    return web.json_response(
        {
            "metadata": {
                "uid": f"uid-{name}",
                "name": name,
                "namespace": "team",
                "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"containers": []},
            "status": {"phase": "Pending"},
        }
    )


class Loop:
    """The loop over a stub of the API server."""

    def __init__(self, decider: Decider, client: Client, in_flight: int) -> None:
        health = WatchHealth(["pods"])
        observations = Observations(
            decider,
            Namespaces(),
            health,
            job_changed=lambda _: None,
            executors_changed=lambda _: None,
            room_changed=lambda: None,
        )
        self.assignments = Assignments(
            client, observations, decider, epoch=lambda: 4, in_flight=in_flight
        )


def run(decider_of, answer, until, *, in_flight: int = 4, guard: Any = None):
    async def main():
        decider = decider_of()
        async with (
            stub_server(answer) as server,
            Client(server.connection(), RateLimit(1e6, 1000), guard=guard) as client,
        ):
            loop = Loop(decider, client, in_flight)
            running = asyncio.create_task(loop.assignments.run())
            loop.assignments.wake()
            try:
                await until(decider, server, running)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return decider, server

    return asyncio.run(main())


async def answered(server, count: int) -> None:
    """Wait until so many requests have come."""
    await until_holds(lambda: len(server.asked) >= count)


def test_each_executor_is_patched_once_with_gate_epoch_and_node():
    async def until(decider, server, _):
        await until_holds(lambda: len(decider.seen) >= 9)

    names = [f"e{number}" for number in range(9)]
    decider, server = run(lambda: Decider(*names), grants, until, in_flight=2)
    assert sorted(path.split("?")[0].rsplit("/", 1)[1] for _, path, _ in server.asked) == names
    operations = json.loads(server.asked[0][2])
    assert operations[0]["op"] == "test"
    assert operations[-1] == {"op": "remove", "path": "/spec/schedulingGates/0"}
    assert any("4" in json.dumps(each) for each in operations)
    assert sorted(decider.seen) == names  # by the answers, before any watch tells


def test_no_more_writes_are_under_way_than_allowed():
    most = now = 0
    full = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal most, now
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        now -= 1
        return await grants(request)

    async def until(decider, server, _):
        await until_holds(lambda: len(decider.seen) >= 20)

    run(lambda: Decider(*[f"e{n}" for n in range(20)]), slow, until, in_flight=3)
    assert most == 3


@pytest.mark.parametrize(
    "answer",
    [refuses(422, "Invalid", "test failed"), refuses(404, "NotFound"), refuses(409, "Conflict")],
    ids=["gate is open", "pod is gone", "conflict"],
)
def test_a_refused_write_is_taken_back_at_once(answer):

    async def until(decider, server, _):
        async with asyncio.timeout(10):
            await decider.back.wait()

    decider, _ = run(lambda: Decider("e1"), answer, until)
    assert decider.taken_back == ["e1"]


def test_without_leadership_nothing_is_sent_and_the_loop_ends():
    def lost() -> None:
        raise LeadershipLost("late")

    async def until(decider, server, running):
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.timeout(10):
                await running
        assert raised.value.subgroup(LeadershipLost) is not None

    decider, server = run(lambda: Decider("e1"), grants, until, guard=lost)
    assert server.asked == []
    assert decider.taken_back == ["e1"]


def test_an_eviction_is_one_deletion_of_that_very_pod_however_often_it_is_decided():
    async def until(decider, server, _):
        await answered(server, 1)
        await until_holds(lambda: decider.asked >= 1)

    async def gone(request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    _, server = run(lambda: Decider(evict=("e1",)), gone, until)
    assert [verb for verb, *_ in server.asked] == ["DELETE"]
    assert json.loads(server.asked[0][2])["preconditions"] == {"uid": "uid-e1"}


def test_the_loop_sleeps_until_something_changes():
    async def until(decider, server, running):
        await until_holds(lambda: bool(decider.seen))
        await settle()
        asked = decider.asked
        await settle()
        assert decider.asked == asked

    run(lambda: Decider("e1"), grants, until)
