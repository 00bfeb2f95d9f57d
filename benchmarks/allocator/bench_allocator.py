"""How fast the allocator decides, what it keeps in memory, and how soon it has everything again.

Pure: records go in, decisions come out, in this process; no API server, no parsing. Decisions are
asked one at a time, which is the dearest way, and timed each; what is decided is told back as the
API server would. Times are CPU time of the thread, so that other processes do not count; wall time
stands beside them. The garbage collector runs as it does in the operator.

Phases:
* reserve: each job's executors get their slots, all at once;
* assign: all executors, at the gate already, take what was held for them;
* single: the same executors in an empty cluster without reservations, jobs mixed;
* queue: so many further jobs ask for slots while all are taken, and are told what they lack;
* churn: a random executor ends and its job asks for another, in the full cluster;
* rebuild: a new allocator is told everything in random order, and is asked for a first decision.

Writes results/allocator.json.

Run from the repository's root: python -m benchmarks.allocator.bench_allocator
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.allocator.cluster import NOW, Shape, driver, executor, jobs, nodes, written
from benchmarks.host.record import Record
from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.allocation.interface import Lacking, Reservation
from carpool_operator.domain.cluster_state import JobDemand, Pod

GOALS = {"decision_p99_ms": 1.0, "rebuild_s": 15.0, "memory_mib": 512}
RESULTS = Path(__file__).resolve().parent / "results"


class Clock:
    """CPU and wall time of calls, in milliseconds."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def time(self, call: Callable[[], Any]) -> Any:
        """The answer of a call, which is timed."""
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        answer = call()
        self.cpu.append((time.thread_time_ns() - cpu) / 1e6)
        self.wall.append((time.perf_counter_ns() - wall) / 1e6)
        return answer

    def figures(self) -> dict[str, Any]:
        """What the record says of them."""
        return {
            "n": len(self.cpu),
            "cpu_ms": _quantiles(self.cpu),
            "wall_ms": _quantiles(self.wall),
            "cpu_s": round(sum(self.cpu) / 1e3, 3),
        }


def _quantiles(values: Iterable[float]) -> dict[str, float]:
    found = np.quantile(list(values), (0.5, 0.99, 1.0)).tolist()
    return {name: round(value, 4) for name, value in zip(("p50", "p99", "max"), found, strict=True)}


class Cluster:
    """An allocator, and what it was told."""

    def __init__(self, shape: Shape) -> None:
        self.allocator = ClusterAllocator()
        self.nodes = list(nodes(shape))
        self.jobs = jobs(shape)
        self.pods: dict[str, Pod] = {}
        for node, inventory in self.nodes:
            self.allocator.node_seen(node)
            self.allocator.gpus_seen(inventory)
        for job in self.jobs:
            self.allocator.job_seen(job)

    def see(self, pod: Pod) -> None:
        """The API server shows a pod."""
        self.pods[pod.uid] = pod
        self.allocator.pod_seen(pod)

    def reserve_all(self) -> Clock:
        """Every job gets its slots and a driver that carries them."""
        clock = Clock()
        for job in self.jobs:
            found = clock.time(lambda job=job: self.allocator.reserve(job.uid, NOW))
            assert isinstance(found, Reservation), found
            self.see(driver(job, found.slots))
        return clock

    def queue(self, order: random.Random) -> None:
        """All executors come to the gate, those of all jobs mixed."""
        owners = [job for job in self.jobs for _ in range(job.executors)]
        order.shuffle(owners)
        for job in owners:
            self.see(executor(job))

    def assign_all(self) -> Clock:
        """Every executor at the gate gets a slot, one call each."""
        clock = Clock()
        while found := clock.time(lambda: self.allocator.assign(NOW, limit=1)):
            self.see(written(found[0]))
        clock.cpu.pop()  # the last call found nobody
        clock.wall.pop()
        return clock

    def ask(self, number: int) -> Clock:
        """Further jobs ask in vain; the queue is as long as their number at the end."""
        clock = Clock()
        for index in range(number):
            job = replace(self.jobs[index % len(self.jobs)], uid=f"waiting-{index}", required=4)
            self.allocator.job_seen(job)
            found = clock.time(lambda uid=job.uid: self.allocator.reserve(uid, NOW + 60))
            assert isinstance(found, Lacking), found
        return clock

    def churn(self, rounds: int, order: random.Random) -> tuple[Clock, Clock]:
        """Executors end and are replaced; times of decisions and of the events around them."""
        decisions, events = Clock(), Clock()
        live = [pod for pod in self.pods.values() if pod.role == "executor"]
        owners: dict[str, JobDemand] = {job.uid: job for job in self.jobs}
        for _ in range(rounds):
            which = order.randrange(len(live))
            gone = live[which]
            fresh = executor(owners[gone.job_uid or ""])
            events.time(lambda pod=gone: self.allocator.pod_seen(replace(pod, ended=True)))
            events.time(lambda pod=gone: self.allocator.pod_gone(pod.uid))
            events.time(lambda pod=fresh: self.allocator.pod_seen(pod))
            del self.pods[gone.uid]
            (found,) = decisions.time(lambda: self.allocator.assign(NOW, limit=1))
            live[which] = written(found)
            self.see(live[which])
        return decisions, events

    def balance(self) -> dict[str, float]:
        """Executors by GPU, over all GPUs."""
        on_gpus: Counter[str] = Counter(
            {gpu.uuid: 0 for _, inventory in self.nodes for gpu in inventory.gpus}
        )
        on_gpus.update(pod.gpu for pod in self.pods.values() if pod.gpu)
        counts = np.array(list(on_gpus.values()), float)
        return {
            "executors": int(counts.sum()),
            "max_minus_min": int(np.ptp(counts)),
            "jain": round(float(counts.sum() ** 2 / (len(counts) * (counts**2).sum())), 5),
        }

    def rebuild(self, order: random.Random) -> dict[str, Any]:
        """A new allocator hears everything; it must want to change nothing."""
        told: list[tuple[str, Any]] = [
            *(("node_seen", node) for node, _ in self.nodes),
            *(("gpus_seen", inventory) for _, inventory in self.nodes),
            *(("job_seen", job) for job in self.jobs),
            *(("pod_seen", pod) for pod in self.pods.values()),
        ]
        order.shuffle(told)
        fresh = ClusterAllocator()
        cpu, wall = time.thread_time(), time.perf_counter()
        for call, record in told:
            getattr(fresh, call)(record)
        decided = fresh.assign(NOW)
        evicted = fresh.evictions(NOW)
        found = {
            "cpu_s": round(time.thread_time() - cpu, 3),
            "wall_s": round(time.perf_counter() - wall, 3),
            "records": len(told),
            "assignments_changed": len(decided) + len(evicted),
        }
        assert not decided
        assert not evicted
        return found


def memory_mib() -> float:
    """Resident memory of this process."""
    gc.collect()
    return float(psutil.Process().memory_info().rss) / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="of a node")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--executors", type=int, default=10_000, help="of all jobs")
    parser.add_argument("--churn", type=int, default=5000, help="executors that are replaced")
    parser.add_argument("--waiting", type=int, default=1000, help="jobs that ask in vain")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shape = Shape(
        nodes=given.nodes,
        gpus=given.gpus,
        jobs=given.jobs,
        executors=given.executors,
        namespaces=10,
        executors_per_gpu=2,
    )
    record = Record(
        "allocator",
        "CPU milliseconds of a decision, CPU seconds of a rebuild, MiB of resident memory",
        asdict(shape)
        | {"churn": given.churn, "waiting": given.waiting, "seed": given.seed, "goals": GOALS},
        RESULTS,
    )
    order = random.Random(given.seed)  # noqa: S311 - an order, no secret
    before = memory_mib()
    reserved = Cluster(shape)
    phases = {"reserve": reserved.reserve_all()}
    reserved.queue(order)
    phases["assign"] = reserved.assign_all()
    memory = memory_mib() - before
    balance = {"assign": reserved.balance()}
    single = Cluster(shape)
    single.queue(order)
    phases["single"] = single.assign_all()
    balance["single"] = single.balance()
    taken = Cluster(replace(shape, executors=shape.nodes * shape.gpus * shape.executors_per_gpu))
    taken.reserve_all()
    phases["queue"] = taken.ask(given.waiting)
    del taken
    phases["churn"], phases["events"] = single.churn(given.churn, order)
    balance["churn"] = single.balance()
    written_record = record.write(
        phases={name: clock.figures() for name, clock in phases.items()},
        balance=balance,
        rebuild=reserved.rebuild(order),
        memory_mib=round(memory, 1),
    )
    for name, figures in written_record["phases"].items():
        print(f"{name:8} {figures['n']:6}  CPU ms {figures['cpu_ms']}  all {figures['cpu_s']} s")
    print("rebuild ", written_record["rebuild"])
    print("balance ", balance)
    print(f"memory   {memory:.1f} MiB")


if __name__ == "__main__":
    main()
