"""The host's figures as Prometheus metrics, asked for at each scrape.

The supervisor serves them, so that they can be had while the child is dead, which is when one looks
at them. It imports this module only where a port is asked for: a host without metrics needs no
`prometheus-client`. Names and units: https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from carpool.errors import ProtocolError
from carpool.host.inquiry import ask_figures

_TIMEOUT_SECONDS = 2.0
"""Well under a scrape's own ten seconds; a host whose child is being restarted lets askers wait."""
_COUNTERS = {
    "requests": "Requests answered.",
    "items": "Items answered, failed ones included.",
    "failed_items": "Items that have no result.",
    "batches": "Batches that gave results.",
    "splits": "Batches that were halved to find a bad item, or for want of memory.",
    "out_of_memory": "Batches that did not fit the device's memory.",
    "clients_served": "Tasks that ever connected.",
}
_SECONDS = {
    "queued_ms": ("queue_seconds", "Time that requests waited for the device."),
    "execute_ms": ("execute_seconds", "Time that the device worked on batches."),
    "cpu_ms": ("cpu_seconds", "CPU time of the process that holds the model."),
}
_GAUGES = {
    "clients": "Tasks that are connected.",
    "queued": "Items that wait for a batch.",
    "running": "Items on the device.",
    "credits": "Items that the connected tasks may have outstanding together.",
    "max_batch": "Most items of a batch, at this time.",
    "largest_batch": "Most items of a batch while memory does not run out.",
}


class HostCollector(Collector):
    """Turns the figures of one host into metrics when it is scraped."""

    def __init__(self, ask: Callable[[], Mapping[str, Any] | None]) -> None:
        """Take how to ask.

        Args:
            ask: gives the figures, or None where the host does not answer.
        """
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Ask and give all metrics; only `carpool_host_up` where there is no answer."""
        figures = self._ask()
        yield GaugeMetricFamily(
            "carpool_host_up", "Whether the host answers.", float(figures is not None)
        )
        if figures is not None:
            yield from _metrics(figures)


def serve_metrics(port: int, socket_path: Path) -> None:
    """Serve /metrics in the background, on all addresses.

    Args:
        port: TCP port.
        socket_path: where the host listens.

    Raises:
        OSError: the port cannot be used.
    """
    start_http_server(port, registry=_registry(socket_path))


def _registry(socket_path: Path) -> CollectorRegistry:
    # Asked for at each scrape, and not at the start, when nobody can answer yet.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(HostCollector(lambda: _ask(socket_path)))
    return registry


def _ask(socket_path: Path) -> dict[str, Any] | None:
    """The figures; None where there is no answer, or none that can be understood."""
    with suppress(ProtocolError):
        return ask_figures(socket_path, _TIMEOUT_SECONDS)
    return None


def _metrics(figures: Mapping[str, Any]) -> Iterator[Metric]:
    for name, text in _COUNTERS.items():
        yield CounterMetricFamily(f"carpool_host_{name}", text, figures[name])
    for name, (metric, text) in _SECONDS.items():
        yield CounterMetricFamily(f"carpool_host_{metric}", text, figures[name] / 1e3)
    for name, text in _GAUGES.items():
        yield GaugeMetricFamily(f"carpool_host_{name}", text, figures[name])
    yield CounterMetricFamily(
        "carpool_host_loads",
        "Times that this process loaded the model: 1, or 0 while it loads.",
        figures["loaded"],
    )
    yield CounterMetricFamily(
        "carpool_host_restarts",
        "Times that the process that holds the model was started again.",
        figures["restarts"],
    )
    phases = CounterMetricFamily(
        "carpool_host_phase_seconds", "Time of batches by phase.", labels=["phase"]
    )
    for phase, milliseconds in figures["phases_ms"].items():
        phases.add_metric([phase], milliseconds / 1e3)
    yield phases
    yield _batch_sizes(figures)
    yield _memory(figures)


def _batch_sizes(figures: Mapping[str, Any]) -> Metric:
    found = HistogramMetricFamily("carpool_host_batch_items", "Items of a batch.")
    total, buckets = 0, list[tuple[str, float]]()
    for size, count in figures["batch_sizes"].items():
        total += count
        buckets.append((f"{int(size)}.0", total))
    found.add_metric([], [*buckets, ("+Inf", total)], sum_value=figures["batch_items"])
    return found


def _memory(figures: Mapping[str, Any]) -> Metric:
    found = GaugeMetricFamily("carpool_host_memory_bytes", "Memory by use.", labels=["use"])
    device = figures["device_memory"]
    uses = {
        "weights": device["weights"],
        "item": device["per_item"],
        "budget": device["budget"],
        "arenas": figures["arena_bytes"],
        "resident": figures["memory_bytes"],
    }
    for use, value in uses.items():
        if value is not None:
            found.add_metric([use], value)
    return found


def main(arguments: list[str]) -> int:
    """Print a host's metrics once; 1 if it does not answer."""
    parser = argparse.ArgumentParser(
        "python -m carpool.host.metrics", description="Print a host's figures as Prometheus text."
    )
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket of the host")
    text = generate_latest(_registry(parser.parse_args(arguments).socket))
    sys.stdout.write(text.decode())
    return 0 if b"carpool_host_up 1.0" in text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
