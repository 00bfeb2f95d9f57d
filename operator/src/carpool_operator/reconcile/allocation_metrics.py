"""What the allocator has in its books, counted when Prometheus asks.

A replica that does not lead has empty books: it watches nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from carpool_operator.domain.allocation.census import KUBELETS, STALE, UNREPORTED, Census
from carpool_operator.domain.cluster_state import Health


class AllocationMetrics(Collector):
    """Makes metrics of a census."""

    def __init__(self, take: Callable[[], Census]) -> None:
        """`take` counts."""
        self._take = take

    def describe(self) -> Iterable[Metric]:
        """Nothing is counted before somebody asks."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """A metric at a time."""
        census = self._take()
        family = GaugeMetricFamily(
            "carpool_gpus", "GPUs by health; all but Healthy get nobody.", labels=["health"]
        )
        for health in (*get_args(Health), STALE, UNREPORTED, KUBELETS):
            family.add_metric([health], census.gpus.get(health, 0))
        yield family
        family = GaugeMetricFamily(
            "carpool_healthy_gpus", "Healthy GPUs by executors on them.", labels=["executors"]
        )
        for executors, gpus in sorted(census.by_executors.items()):
            family.add_metric([str(executors)], gpus)
        yield family
        yield GaugeMetricFamily(
            "carpool_gpu_unevenness",
            "Executors on the fullest healthy GPU less those on the emptiest.",
            value=census.unevenness,
        )
        family = GaugeMetricFamily(
            "carpool_executors_waiting",
            "Executors at the gate, by what for: a slot, or another try after a refusal.",
            labels=["for"],
        )
        family.add_metric(["slot"], census.waiting)
        family.add_metric(["retry"], census.refused)
        yield family
