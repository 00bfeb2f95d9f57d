"""How well batches are made: a device that exists only in time, client processes that are real.

A batch of n items takes b + a·n on the simulated device, exactly. Its best rate, that of full
batches, is the same for every ratio b/a, so figures can be read side by side. Two kinds of demand:

* greedy: each client has outstanding whatever the host allows (its credits), as a task that decodes
  faster than the device infers. The ideal is the device's best rate, max_batch / t(max_batch).
* lockstep: each client has one item outstanding. Of N clients at most N items can be in a batch,
  so the ideal is N / t(N), with N no more than max_batch: what a device does that is never idle
  and always runs all there is.

Writes results/scheduling.json.

Run from the repository's root: python -m benchmarks.host.bench_scheduling
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.host.closed_loop import answers, within
from benchmarks.host.hosts import serving
from benchmarks.host.idle_handler import REFERENCE
from benchmarks.host.record import Record, spread
from carpool.host.config import SimulatedDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.host.closed_loop import Answer

CLIENTS = (1, 2, 4, 8, 16)
RATIOS = (0, 1, 5, 20, 100)
MAX_BATCH = 16
FULL_BATCH_MS = 40.0
DEPTH = 2
SHAPE = (32, 32, 3)
WINDOWS = 5
GOAL = {
    "clients": 8,
    "ratio": 20,
    "mean_batch": 6.0,
    "wait_difference_batches": 2.0,
    "fraction_of_ideal": 0.95,
}


def device(ratio: float) -> SimulatedDevice:
    """The device with b = ratio · a that takes FULL_BATCH_MS for a full batch."""
    item_ms = FULL_BATCH_MS / (ratio + MAX_BATCH)
    return SimulatedDevice(base_ms=ratio * item_ms, item_ms=item_ms, depth=DEPTH)


def batch_seconds(ratio: float, items: float) -> float:
    """t(n) of that device."""
    made = device(ratio)
    return (made.base_ms + made.item_ms * items) / 1e3


def ideal(ratio: float, clients: int, *, greedy: bool) -> float:
    """Items per second; see the module."""
    items = MAX_BATCH if greedy else min(clients, MAX_BATCH)
    return items / batch_seconds(ratio, items)


def quality(
    found: Sequence[Sequence[Answer]], begin: float, end: float, ratio: float, *, greedy: bool
) -> dict[str, Any]:
    """The figures of a cell, from what its clients saw in [begin, end)."""
    each = [within(answers, begin, end) for answers in found]
    everything = [answer for answers in each for answer in answers]
    counts = np.array([len(answers) for answers in each], float)
    times = np.sort([answer.done for answer in everything])
    rates = [_rate(part) for part in np.array_split(times, WINDOWS)]
    best = ideal(ratio, len(found), greedy=greedy)
    latency = 1e3 * np.array([answer.latency for answer in everything])
    # A batch of n items was seen n times: the mean over batches is harmonic.
    batch = len(everything) / sum(1 / answer.batch_items for answer in everything)
    waits = [np.array([answer.queued for answer in answers]) for answers in each]
    return {
        "items_per_s": spread(rates, 1),
        "ideal_items_per_s": round(best, 1),
        "fraction_of_ideal": round(_rate(times) / best, 4),
        "mean_batch": round(batch, 2),
        "latency_ms": {
            "p50": round(float(np.quantile(latency, 0.5)), 2),
            "p99": round(float(np.quantile(latency, 0.99)), 2),
        },
        "items_by_client": {"max_minus_min": int(np.ptp(counts)), "jain": round(jain(counts), 5)},
        "wait_difference_batches": {
            name: round(_difference(waits, q) / batch_seconds(ratio, batch), 2)
            for name, q in (("median", 0.5), ("p99", 0.99), ("max", 1.0))
        },
    }


def _rate(times: np.ndarray[Any, Any]) -> float:
    """Items per second: the slope of their count over time.

    Items come in batches, so a count between two moments would be off by up to a batch.
    """
    return float(np.polyfit(times, np.arange(len(times)), 1)[0])


def jain(counts: np.ndarray[Any, Any]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all (Jain et al. 1984)."""
    return float(counts.sum() ** 2 / (len(counts) * (counts**2).sum()))


def _difference(waits: Sequence[np.ndarray[Any, Any]], quantile: float) -> float:
    """Seconds that the client which waits longest waits more than the one which waits least."""
    return float(np.ptp([np.quantile(each, quantile) for each in waits]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.8, help="measured in each cell")
    parser.add_argument("--settle", type=float, default=0.4, help="seconds before that")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    options = parser.parse_args()
    record = Record(
        "scheduling",
        "Throughput, batches, latency and fairness on a device whose batch of n takes b + a·n",
        {
            "max_batch": MAX_BATCH,
            "full_batch_ms": FULL_BATCH_MS,
            "depth": DEPTH,
            "items_per_request": 1,
            "seconds": options.seconds,
            "windows": WINDOWS,
            "clients": list(options.clients),
            "ratios": list(options.ratios),
        },
    )
    rows = []
    for ratio in options.ratios:
        for clients in options.clients:
            with serving(
                REFERENCE,
                SHAPE,
                backend="simulated",
                simulated=device(ratio),
                max_batch=MAX_BATCH,
                request_items=1,
                expected_clients=clients,
            ) as host:
                for greedy in (True, False):
                    total = options.settle + options.seconds
                    end, found = answers(host, clients, total, greedy=greedy)
                    rows.append(
                        {
                            "demand": "greedy" if greedy else "lockstep",
                            "clients": clients,
                            "ratio": ratio,
                        }
                        | quality(found, end - options.seconds, end, ratio, greedy=greedy)
                    )
                    print(_line(rows[-1]), flush=True)
    record.write(rows=rows, goal=GOAL)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['demand']:8} b/a {row['ratio']:5g}  {row['clients']:2} clients  "
        f"{row['fraction_of_ideal']:.3f} of ideal  batch {row['mean_batch']:5.2f}  "
        f"p50 {row['latency_ms']['p50']:7.1f} ms  p99 {row['latency_ms']['p99']:7.1f} ms  "
        f"Jain {row['items_by_client']['jain']:.4f}  waits {row['wait_difference_batches']}"
    )


if __name__ == "__main__":
    main()
