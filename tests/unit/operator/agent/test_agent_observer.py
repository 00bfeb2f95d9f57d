"""Looking at all GPUs: one that hangs, a driver that goes and comes, sessions opened anew."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from itertools import pairwise

import pynvml
import pytest

from carpool_operator.agent.devices import Look
from carpool_operator.agent.observer import Observer
from carpool_operator.agent.probing import Probes, Unanswered


@asynccontextmanager
async def observing(heard=lambda _: None):
    observer = Observer(heard, timeout=0.3, reopen=0.01)
    try:
        yield observer
    finally:
        await observer.close()


async def look_until(observer: Observer, holds) -> Look:
    """Look as the agent does, until something holds."""
    deadline = time.monotonic() + 20
    while True:
        look = await observer.look()
        if holds(look):
            return look
        assert time.monotonic() < deadline, look
        await asyncio.sleep(0.02)


def run(test):
    return asyncio.run(test)


def test_all_gpus_answer_in_one_look(mock_node):
    async def test():
        async with observing() as observer:
            look = await observer.look()
        assert [answer.uuid for answer in look.answers] == mock_node.uuids
        assert look.silent == ()
        assert look.driver_version == "570.124.06"

    run(test())


def test_one_that_hangs_delays_a_look_once_and_its_siblings_never(mock_node):
    async def test():
        async with observing() as observer:
            await observer.look()
            mock_node.gpus[1].delay_ms = 3000
            mock_node.write()
            begun = time.monotonic()
            look = await observer.look()
            first = time.monotonic() - begun
            assert first < 2
            [silence] = look.silent
            assert (silence.uuid, silence.certain) == (mock_node.uuids[1], False)
            assert silence.why == "it has not answered for 0.3 s"
            assert len(look.answers) == 3
            begun = time.monotonic()
            again = await observer.look()
            # It is not asked again, so nothing is waited for.
            assert time.monotonic() - begun < first
            assert len(again.answers) == 3
            mock_node.gpus[1].delay_ms = 0
            mock_node.write()
            await look_until(observer, lambda look: len(look.answers) == 4)

    run(test())


def test_a_lost_gpu_is_found_again_since_sessions_are_opened_anew(mock_node):
    async def test():
        heard = []
        async with observing(heard.append) as observer:
            await look_until(observer, lambda _: observer.hears_errors)
            mock_node.gpus[2].lost = 1
            mock_node.write()
            look = await look_until(observer, lambda look: look.silent)
            assert look.silent[0].uuid == mock_node.uuids[2]
            assert look.silent[0].certain
            mock_node.gpus[2].lost = 0
            mock_node.write()
            await look_until(observer, lambda look: len(look.answers) == 4)
            # Once more, so that its errors are heard.
            await observer.look()
            await look_until(observer, lambda _: observer.hears_errors)
            mock_node.xid(2, 79)
            await look_until(observer, lambda _: heard)
            assert heard[0].uuid == mock_node.uuids[2]

    run(test())


def test_a_driver_that_goes_and_comes_is_a_state(mock_node):
    async def test():
        async with observing() as observer:
            await observer.look()
            mock_node.init = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
            mock_node.write()
            look = await look_until(observer, lambda look: look.driver_version is None)
            assert look.trouble == "NVIDIA's kernel module is not loaded"
            mock_node.init = 0
            mock_node.driver = "580.1"
            mock_node.write()
            look = await look_until(observer, lambda look: look.driver_version is not None)
            assert look.driver_version == "580.1"
            assert len(look.answers) == 4

    run(test())


def test_what_does_not_answer_is_tried_less_and_less_often(mock_node):
    async def test():
        mock_node.init = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        mock_node.write()
        now = 0.0
        observer = Observer(print, timeout=5, reopen=30, clock=lambda: now)
        attempts = []
        while now < 1200:
            before = observer._next_attempt
            look = await observer.look()
            assert look.driver_version is None
            assert "another version" in (look.trouble or "")
            if observer._next_attempt != before:
                attempts.append(now)
            now += 3
        gaps = [later - earlier for earlier, later in pairwise(attempts)]
        assert gaps[0] <= 39
        assert all(240 <= gap <= 363 for gap in gaps[4:])
        assert observer.other_version_since == 0.0

    run(test())


def test_what_an_answer_raises_is_raised_and_a_late_answer_is_nobodys():
    async def test():
        probes = Probes()

        def fail():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await probes.ask("a", fail, 5)
        assert await probes.ask("a", lambda: 7, 5) == 7
        hangs = threading.Event()
        with pytest.raises(Unanswered):
            await probes.ask("b", hangs.wait, 0.05)
        assert probes.under_way == 1
        with pytest.raises(Unanswered):
            await probes.ask("b", lambda: 1, 5)
        assert await probes.ask("c", lambda: 1, 5) == 1
        hangs.set()
        async with asyncio.timeout(10):
            while probes.under_way:  # noqa: ASYNC110 - nobody is told of a late answer
                await asyncio.sleep(0.01)
        assert await probes.ask("b", lambda: 1, 5) == 1

    run(test())
