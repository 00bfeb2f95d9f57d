"""The operator's metrics, for Prometheus.

Labels are of few values: no name of a job, pod or node is one, so that the number of series does
not grow with the cluster.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_FAST = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_LATENCY = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

JOBS = Gauge("carpool_jobs", "InferenceJobs by phase.", ["phase"], registry=REGISTRY)
RECONCILE_SECONDS = Histogram(
    "carpool_reconcile_seconds",
    "Time to bring one job up to date, its API requests included.",
    buckets=_LATENCY,
    registry=REGISTRY,
)
RECONCILE_ERRORS = Counter(
    "carpool_reconcile_errors_total",
    "Attempts to bring a job up to date that failed, by reason of the error.",
    ["reason"],
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("carpool_queue_depth", "Jobs that wait to be looked at now.", registry=REGISTRY)
API_REQUESTS = Counter(
    "carpool_api_requests_total",
    "Requests to the API server by verb and HTTP status (0: no answer); watches are counted once.",
    ["verb", "code"],
    registry=REGISTRY,
)
API_SECONDS = Histogram(
    "carpool_api_request_seconds",
    "Time to an answer of the API server, waits of the client's own rate limit excluded.",
    ["verb"],
    buckets=_LATENCY,
    registry=REGISTRY,
)
LEADER = Gauge("carpool_leader", "1 while this replica may write.", registry=REGISTRY)
WATCH_AGE = Gauge(
    "carpool_watch_age_seconds",
    "Time since a watch last brought anything, bookmarks included.",
    ["resource"],
    registry=REGISTRY,
)
LOOP_LAG = Histogram(
    "carpool_event_loop_lag_seconds",
    "How much later than asked the event loop came back.",
    buckets=_LATENCY,
    registry=REGISTRY,
)
ASSIGNMENTS = Counter(
    "carpool_assignments_total",
    "Assignments of executors, by result: written, or the reason of the refusal.",
    ["result"],
    registry=REGISTRY,
)
ASSIGNMENT_SECONDS = Histogram(
    "carpool_assignment_seconds",
    "Time from an executor's creation to its assignment.",
    buckets=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0),
    registry=REGISTRY,
)
DECISION_SECONDS = Histogram(
    "carpool_allocator_decision_seconds",
    "Time that the allocator takes for one executor.",
    buckets=_FAST,
    registry=REGISTRY,
)
EVICTIONS = Counter(
    "carpool_evictions_total",
    "Executors deleted so that their driver asks for others, by reason.",
    ["reason"],
    registry=REGISTRY,
)
UNREADABLE = Counter(
    "carpool_unreadable_objects_total",
    "Objects that came from a watch and could not be understood, by resource.",
    ["resource"],
    registry=REGISTRY,
)
POLLS = Counter(
    "carpool_progress_polls_total",
    "Polls of drivers' progress, by result: answered, or why not.",
    ["result"],
    registry=REGISTRY,
)
