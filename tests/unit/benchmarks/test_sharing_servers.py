"""What arms of benchmarks/sharing stand on: the server's batches, the simulated time line."""

from __future__ import annotations

import threading
import time

import numpy as np

from benchmarks.sharing.arms.grpc_server import Batches, padded
from benchmarks.sharing.time_line import TimeLine


def asking(batches: Batches, *sizes: int) -> list[threading.Thread]:
    """Clients that wait for rows of so many frames each, in this order."""
    threads = []
    for size in sizes:
        thread = threading.Thread(target=batches.ask, args=(np.zeros((size, 2)),), daemon=True)
        waiting = batches._queue.qsize()
        thread.start()
        while batches._queue.qsize() == waiting:
            time.sleep(0)
        threads.append(thread)
    return threads


def answer(batch: list) -> None:
    for waiting in batch:
        waiting.rows.set_result([])


def test_a_batch_takes_what_is_there_and_never_cuts_a_request():
    batches = Batches(8, window=0.0)
    threads = asking(batches, 3, 4, 2, 8)
    sizes = []
    for _ in range(3):
        batch = batches.take()
        sizes.append([len(waiting.frames) for waiting in batch])
        answer(batch)
    assert sizes == [[3, 4], [2], [8]]
    assert (batches.count, batches.items) == (3, 17)
    for thread in threads:
        thread.join()


def test_a_window_lets_a_batch_grow():
    batches = Batches(8, window=60.0)
    threads = asking(batches, 3)
    threads += [threading.Thread(target=lambda: asking(batches, 5), daemon=True)]
    threads[-1].start()
    batch = batches.take()
    assert [len(waiting.frames) for waiting in batch] == [3, 5]
    answer(batch)


def test_every_worker_hears_of_the_end():
    batches = Batches(8, window=0.0)
    batches.end()
    assert batches.take() is None
    assert batches.take() is None


def test_batches_are_padded_to_few_sizes():
    assert [padded(items, 12) for items in (1, 2, 3, 5, 9, 12)] == [1, 2, 4, 8, 12, 12]


def test_a_device_runs_one_batch_at_a_time_whoever_asks(tmp_path):
    seconds, runs = 0.005, 4

    def use() -> None:
        line = TimeLine(tmp_path / "device")
        for _ in range(runs):
            line.run(seconds)
        line.close()

    users = [threading.Thread(target=use) for _ in range(3)]
    begun = time.monotonic()
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert time.monotonic() - begun >= len(users) * runs * seconds
