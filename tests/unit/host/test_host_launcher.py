"""How batches reach the threads that launch them."""

from __future__ import annotations

import threading
from itertools import chain

from carpool.host.launcher import _Job, _Jobs
from carpool.host.work import Batch, Part, Request

THREADS = 3
BATCHES = 3000


def job(number: int) -> _Job:
    request = Request(1, number, slot=0, items=1, deaths=0, arrived=0.0)
    return _Job(Batch([Part(request, 0, 1)]), [])


def number(of: _Job) -> int:
    return of.batch.parts[0].request.number


def test_one_thread_gets_batches_in_their_order() -> None:
    jobs = _Jobs()
    for each in range(5):
        jobs.put(job(each))
    assert [number(jobs.get()) for _ in range(5)] == list(range(5))


def test_each_batch_goes_to_one_thread_and_none_is_left() -> None:
    jobs = _Jobs()
    got: list[list[int]] = [[] for _ in range(THREADS)]

    def work(mine: list[int]) -> None:
        while (found := number(jobs.get())) >= 0:
            mine.append(found)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for each in [*range(BATCHES), *[-1] * THREADS]:
        jobs.put(job(each))
    for thread in threads:
        thread.join()
    assert sorted(chain(*got)) == list(range(BATCHES))
