"""Lanes are warmed up in the threads, and with the sizes, that are measured."""

from __future__ import annotations

import threading
from collections import defaultdict
from functools import partial
from multiprocessing import Pipe
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sharing import frames
from benchmarks.sharing.arms.grpc_clients import IN_FLIGHT, grpc_client
from benchmarks.sharing.arms.grpc_server import padded, serve, sizes_to_come
from benchmarks.sharing.arms.lane_threads import LaneThreads
from benchmarks.sharing.arms.lanes import Manner
from benchmarks.sharing.arms.loops import Trials, loop
from benchmarks.sharing.arms.own_model import own_model
from benchmarks.sharing.clip import render_clip
from benchmarks.sharing.simulated_engine import SimulatedEngine
from benchmarks.sharing.tasks import Chunk
from benchmarks.sharing.time_line import TimeLine
from benchmarks.sharing.workloads import simulated
from carpool.host.config import SimulatedDevice

SHAPE = (32, 32, 3)
LARGEST = 8


class Watched(SimulatedEngine):
    """Remembers who computed batches of which size on each lane, in order."""

    def __init__(self, folder: Any) -> None:
        workload = simulated(SHAPE[0], SimulatedDevice(), 0.0)
        super().__init__(workload, TimeLine(folder / "device"), None, LARGEST)
        self.computed: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.cores: dict[int, int] = {}
        self.before_peak: list[int] = []

    def lane(self) -> Any:
        lane, number = super().lane(), len(self.computed)
        seen, compute = self.computed[number], lane.compute

        def watched(staged: Any) -> Any:
            seen.append((threading.get_ident(), len(staged)))
            return compute(staged)

        lane.compute = watched
        return lane

    def begin_peak(self) -> None:
        self.before_peak.append(sum(map(len, self.computed.values())))

    def use_threads(self, count: int) -> None:
        self.cores[threading.get_ident()] = count


class Control:
    """The parent of a loop's process."""

    def send(self, said: Any) -> None:
        self.said = said


@pytest.mark.parametrize("kind", ["e0", "e1", "e2"])
def test_a_loop_warms_up_tries_and_measures_a_lane_in_one_thread(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4))
    engine = Watched(tmp_path)
    manners = [Manner(4), Manner(4, 2), Manner(8, 2)]
    clip = render_clip(tmp_path) if kind == "e2" else None
    loop(Control(), lambda: engine, frames.pool(SHAPE), kind, Trials(manners, 0.05, 0.2), clip=clip)
    threads = [{thread for thread, _ in engine.computed[lane]} for lane in range(2)]
    assert [len(each) for each in threads] == [1, 1]
    assert threads[0] != threads[1]
    assert {size for _, size in engine.computed[0]} == {4, 8}
    assert set(engine.cores) == threads[0] | threads[1], "CPU threads are set where they are used"


@pytest.mark.parametrize("floats", [True, False])
def test_a_server_warms_up_what_will_be_asked_in_the_threads_that_compute_it(floats, tmp_path):
    engine, (ours, theirs), address = Watched(tmp_path), Pipe(), tmp_path / "s"
    workers = 1 if floats else 2
    serving = threading.Thread(
        target=partial(serve, shape=SHAPE, largest=LARGEST, clients=2, chunk=3),
        args=(theirs, address, lambda: engine),
        kwargs={"floats": floats, "workers": workers},
    )
    serving.start()
    assert ours.poll(30)
    ours.recv()
    warm = {lane: list(seen) for lane, seen in engine.computed.items()}
    pool = frames.pool(SHAPE)
    with grpc_client(address, pool, 3, floats=floats) as way:
        list(way.answers(iter([Chunk(3 * number, 3, 0.0) for number in range(6)])))
    ours.send("end")
    ours.recv()
    serving.join()
    assert len(warm) == workers
    batches = sum(map(len, warm.values()))
    assert engine.before_peak == [batches // 2], "memory counts from the second batch of each size"
    for lane, seen in engine.computed.items():
        assert {size for _, size in seen} == {size for _, size in warm[lane]}
        assert len({thread for thread, _ in seen}) == 1
    assert sum(map(len, engine.computed.values())) > sum(map(len, warm.values()))


@pytest.mark.parametrize("warm_up", [0, 2])
def test_memory_of_a_task_counts_after_the_first_chunk_of_its_warm_up(warm_up, tmp_path):
    engine = Watched(tmp_path)
    with own_model(lambda: engine, frames.pool(SHAPE), 4, warm_up=warm_up):
        assert engine.before_peak == [1] * bool(warm_up)
        assert len(engine.computed[0]) == warm_up


@given(chunk=st.integers(1, 32), clients=st.integers(1, 16), floats=st.booleans())
def test_every_batch_that_requests_can_make_has_been_warmed_up(chunk, clients, floats):
    largest = max(64, chunk)
    warm = sizes_to_come(chunk, clients, largest, floats=floats)
    for requests in range(1, clients * (1 if floats else IN_FLIGHT) + 1):
        items = requests * chunk
        if items <= largest:
            assert (items if floats else padded(items, largest)) in warm
    assert warm == sorted(warm, reverse=True)


def test_an_error_in_a_lane_is_told_when_all_lanes_are_done():
    done = threading.Event()

    def fails() -> None:
        raise RuntimeError("no luck")

    with LaneThreads() as threads, pytest.raises(RuntimeError, match="no luck"):
        threads.all([fails, done.set])
    assert done.is_set()
