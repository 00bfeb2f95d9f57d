"""What the queue promises: each key once, never twice at a time, and later after failures."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool_operator.errors import Invalid, LeadershipLost, TooManyRequests, Unreachable
from carpool_operator.reconcile.queue import WorkQueue
from support.fake_clock import FakeClock, settle


class Recorder:
    """Work that notes its keys, and ends when it is let."""

    def __init__(self, *, held: bool = False) -> None:
        self.begun: list[str] = []
        self.running: Counter[str] = Counter()
        self.most_at_once = 0
        self.errors: dict[str, list[BaseException]] = {}
        self._free = asyncio.Event()
        if not held:
            self._free.set()

    def let(self) -> None:
        self._free.set()

    async def __call__(self, key: str) -> None:
        self.begun.append(key)
        self.running[key] += 1
        self.most_at_once = max(self.most_at_once, self.running[key])
        try:
            await self._free.wait()
            if self.errors.get(key):
                raise self.errors[key].pop(0)
        finally:
            self.running[key] -= 1


async def with_workers(queue: WorkQueue, workers: int, during) -> None:
    """Run workers while `during` goes on."""
    running = asyncio.create_task(queue.run(workers))
    try:
        await during()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_key_that_waits_is_there_once():
    async def main():
        work = Recorder()
        queue = WorkQueue(work)
        for _ in range(3):
            queue.add("a")
        queue.add("b")
        assert queue.depth == 2
        await with_workers(queue, 2, settle)
        assert work.begun == ["a", "b"]

    asyncio.run(main())


def test_a_key_added_while_it_is_worked_on_waits_for_its_end_and_runs_once_more():
    async def main():
        work = Recorder(held=True)
        queue = WorkQueue(work)

        async def during():
            queue.add("a")
            await settle()
            queue.add("a")
            queue.add("a")
            await settle()
            assert work.begun == ["a"]
            work.let()
            await settle()
            assert work.begun == ["a", "a"]

        await with_workers(queue, 4, during)
        assert work.most_at_once == 1

    asyncio.run(main())


def test_other_keys_go_on_while_one_is_slow():
    async def main():
        work = Recorder(held=True)
        queue = WorkQueue(work)

        async def during():
            for key in "abc":
                queue.add(key)
            await settle()
            assert sorted(work.begun) == ["a", "b"]  # as many as there are workers

        await with_workers(queue, 2, during)

    asyncio.run(main())


def test_a_delayed_key_becomes_ready_at_its_time_and_the_earliest_time_counts():
    async def main():
        clock = FakeClock()
        queue = WorkQueue(Recorder(), clock=clock)
        queue.add_after("a", 10)
        queue.add_after("a", 5)
        queue.add_after("a", 20)
        clock.now += 4.9
        queue.promote()
        assert queue.depth == 0
        clock.now += 0.2
        queue.promote()
        assert queue.depth == 1
        assert queue.next_due() is None

    asyncio.run(main())


def test_a_key_that_is_delayed_again_and_again_takes_the_room_of_one():
    clock = FakeClock()
    queue = WorkQueue(Recorder(), clock=clock)
    for _ in range(10_000):
        queue.add_after("far", 1e6)
        queue.add_after("near", 30)
        queue.add_after("near", 20)
        clock.now += 20
        queue.promote()
        queue._ready.clear()
    assert len(queue._later) < 200


def test_a_delayed_key_that_is_added_meanwhile_does_not_come_again():
    async def main():
        clock = FakeClock()
        work = Recorder()
        queue = WorkQueue(work, clock=clock)
        queue.add_after("a", 5)
        queue.add("a")
        await with_workers(queue, 1, settle)
        clock.now += 10
        queue.promote()
        assert queue.depth == 0
        assert work.begun == ["a"]

    asyncio.run(main())


def test_delays_grow_with_failures_in_a_row_and_start_again_after_success():
    async def main():
        clock = FakeClock()
        work = Recorder()
        work.errors["a"] = [Unreachable("gone") for _ in range(12)]
        queue = WorkQueue(work, first_delay=1, longest_delay=60, clock=clock)
        queue.add("a")
        delays = []
        for _ in range(12):
            await queue.step()
            delays.append(queue.next_due() - clock())
            clock.now = queue.next_due()
            queue.promote()
        for failures, delay in enumerate(delays):
            cap = min(60, 2**failures)
            assert cap / 2 <= delay <= cap
        await queue.step()
        assert queue.next_due() is None
        work.errors["a"] = [Unreachable("again")]
        queue.add("a")
        await queue.step()
        assert queue.next_due() - clock() <= 1

    asyncio.run(main())


def test_a_server_that_names_a_time_is_given_it():
    async def main():
        clock = FakeClock()
        work = Recorder()
        work.errors["a"] = [TooManyRequests("later", 429, retry_after=17)]
        queue = WorkQueue(work, clock=clock)
        queue.add("a")
        await queue.step()
        assert queue.next_due() - clock() == 17

    asyncio.run(main())


def test_an_error_that_cannot_pass_is_not_retried_but_a_change_brings_the_key_back():
    async def main():
        work = Recorder()
        work.errors["a"] = [Invalid("no such field", 422)]
        queue = WorkQueue(work)
        queue.add("a")
        await queue.step()
        assert queue.next_due() is None
        queue.add("a")
        assert queue.depth == 1

    asyncio.run(main())


def test_an_unforeseen_error_of_one_key_keeps_no_other_waiting_and_is_retried():
    async def main():
        work = Recorder()
        work.errors["a"] = [ZeroDivisionError("a bug")]
        queue = WorkQueue(work)

        async def during():
            queue.add("a")
            queue.add("b")
            await settle()

        await with_workers(queue, 1, during)
        assert work.begun == ["a", "b"]
        assert queue.next_due() is not None

    asyncio.run(main())


def test_lost_leadership_ends_all_work():
    async def main():
        work = Recorder()
        work.errors["a"] = [LeadershipLost("late")]
        queue = WorkQueue(work)
        queue.add("a")
        with pytest.raises(ExceptionGroup) as raised:
            await queue.run(3)
        assert raised.value.subgroup(LeadershipLost) is not None

    asyncio.run(main())


def test_a_worker_that_does_not_come_back_is_seen():
    async def main():
        clock = FakeClock()
        queue = WorkQueue(Recorder(held=True), clock=clock)

        async def during():
            queue.add("a")
            await settle()
            clock.now += 400
            assert queue.longest_running() == 400

        await with_workers(queue, 1, during)
        assert queue.longest_running() == 0

    asyncio.run(main())


def test_work_that_waits_for_nothing_leaves_turns_to_others():
    async def main():
        queue: WorkQueue
        others: list[int] = []
        done = 0

        async def work(_: str) -> None:
            nonlocal done
            done += 1

        async def other() -> None:
            while done < 100:
                await asyncio.sleep(0)
                others.append(done)

        queue = WorkQueue(work)
        for number in range(100):
            queue.add(str(number))
        await with_workers(queue, 4, other)
        steps = [after - before for before, after in itertools.pairwise(others)]
        assert max(steps) <= 4  # one key a worker between two turns

    asyncio.run(main())


def test_draining_lets_work_under_way_end_and_begins_nothing_more():
    async def main():
        work = Recorder(held=True)
        queue = WorkQueue(work)

        async def during():
            for key in "abc":
                queue.add(key)
            await settle()
            draining = asyncio.create_task(queue.drain())
            await settle()
            assert not draining.done()
            work.let()
            await draining
            assert sorted(work.begun) == ["a", "b"]

        await with_workers(queue, 2, during)

    asyncio.run(main())


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["add", "later", "turn", "time"])),
        max_size=60,
    ),
    workers=st.integers(1, 4),
)
def test_every_key_is_looked_at_after_its_last_change_and_never_twice_at_once(steps, workers):
    async def main():
        clock = FakeClock()
        work = Recorder()
        queue = WorkQueue(work, clock=clock)
        last_change: dict[str, int] = {}
        looked: dict[str, int] = {}

        async def note(key: str) -> None:
            looked[key] = len(history)
            await work(key)

        history: list[str] = []
        queue._work = note

        async def during():
            for key, step in steps:
                history.append(key)
                if step == "add":
                    last_change[key] = len(history)
                    queue.add(key)
                elif step == "later":
                    last_change[key] = len(history)
                    queue.add_after(key, 3)
                elif step == "turn":
                    await settle()
                else:
                    clock.now += 1
                    queue.promote()
            clock.now += 10
            queue.promote()
            await settle()

        await with_workers(queue, workers, during)
        assert work.most_at_once <= 1
        assert all(looked[key] >= change for key, change in last_change.items())

    asyncio.run(main())
