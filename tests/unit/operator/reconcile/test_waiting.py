"""Who waits is looked at when there may be room: the oldest soon, all of them not too often."""

from __future__ import annotations

import asyncio
import contextlib

from carpool_operator.reconcile import waiting as module
from carpool_operator.reconcile.waiting import WakeWaiting
from support.fake_clock import settle, until


def run(waiting, scenario, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.0)

    async def main():
        added: list[str] = []
        wake = WakeWaiting(lambda: waiting, added.append)
        task = asyncio.create_task(wake.run())
        try:
            await scenario(wake, added)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_nobody_is_looked_at_while_nothing_changes(monkeypatch):
    async def scenario(wake, added):
        await settle()
        assert added == []

    run(["a"], scenario, monkeypatch)


def test_many_changes_at_once_are_one_look_in_order(monkeypatch):
    async def scenario(wake, added):
        for _ in range(5):
            wake.wake()
        await until(lambda: bool(added))
        await settle()
        assert added == ["a", "b", "c"]

    run(["a", "b", "c"], scenario, monkeypatch)


def test_with_many_the_oldest_are_looked_at_at_each_change_and_all_in_the_end(monkeypatch):
    names = [f"job-{number:02}" for number in range(30)]
    monkeypatch.setattr(module, "_PER_JOB", 0.005)

    async def scenario(wake, added):
        wake.wake()
        await until(lambda: len(added) == 30)
        added.clear()
        wake.wake()
        await until(lambda: bool(added))
        assert added == names[: module._SOON]
        # No further change comes, and the others are looked at all the same.
        async with asyncio.timeout(10):
            while set(added) != set(names):  # noqa: ASYNC110 - a timer of the loop ends it
                await asyncio.sleep(0)

    run(names, scenario, monkeypatch)
