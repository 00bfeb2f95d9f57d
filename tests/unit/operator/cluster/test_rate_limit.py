"""The client's own limit: so many at once, then so many a second."""

from __future__ import annotations

import asyncio

from carpool_operator.cluster.rate_limit import RateLimit
from support.fake_clock import FakeClock, settle


async def takers(limit: RateLimit, count: int, clock: FakeClock) -> list[float]:
    """Times at which so many turns are had."""
    times: list[float] = []

    async def take() -> None:
        await limit.take()
        times.append(clock.now)

    for _ in range(count):
        asyncio.get_running_loop().create_task(take())
        await settle()
    await clock.advance(1000)
    return times


def test_a_burst_goes_at_once_and_the_rest_at_the_rate():
    async def main():
        clock = FakeClock(0.0)
        limit = RateLimit(rate=10, burst=3, clock=clock, sleep=clock.sleep)
        times = await takers(limit, 6, clock)
        assert [round(time, 6) for time in times] == [0, 0, 0, 0.1, 0.2, 0.3]

    asyncio.run(main())


def test_a_pause_holds_all_back_and_then_the_rate_holds():
    async def main():
        clock = FakeClock(0.0)
        limit = RateLimit(rate=10, burst=3, clock=clock, sleep=clock.sleep)
        limit.pause(5)
        times = await takers(limit, 3, clock)
        assert [round(time, 6) for time in times] == [5.1, 5.2, 5.3]

    asyncio.run(main())


def test_a_full_bucket_is_never_more_than_full():
    async def main():
        clock = FakeClock(0.0)
        limit = RateLimit(rate=10, burst=3, clock=clock, sleep=clock.sleep)
        await clock.advance(3600)
        times = await takers(limit, 4, clock)
        assert [round(time - 3600, 6) for time in times] == [0, 0, 0, 0.1]

    asyncio.run(main())
