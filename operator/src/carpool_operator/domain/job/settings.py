"""What an installation decides about the lives of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What an installation decides about the lives of its jobs.

    Attributes:
        image: of drivers and executors whose job names none.
        image_pull_policy: of drivers.
        image_pull_secrets: names of secrets, besides those of the job.
        service_account: of drivers whose job names none.
        max_running_jobs: the most drivers at a time in all namespaces; None: no limit.
        max_running_jobs_per_namespace: the most drivers at a time in one namespace; None: no limit.
        backoff_seconds: wait after the first failed attempt; it doubles with each further one.
        backoff_cap_seconds: the longest such wait.
        driver_blocked_seconds: how long a driver that cannot start may hold its slots.
        status_interval_seconds: between writes of a status that differs in figures alone.
        recheck_seconds: between looks at a job that waits for what may change unseen.
        gpu_node_labels: labels of GPU nodes; drivers prefer nodes without them.
        driver_node_selector: labels that the nodes of drivers must have.
        driver_tolerations: taints that drivers bear, as in core/v1.
        progress_port: at which drivers tell how far they are.
        gpu_runtime_class: runtime class of executors with GPUs; None: the nodes' default.
    """

    image: str
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = "carpool-driver"
    max_running_jobs: int | None = None
    max_running_jobs_per_namespace: int | None = None
    backoff_seconds: float = 10.0
    backoff_cap_seconds: float = 300.0
    driver_blocked_seconds: float = 600.0
    status_interval_seconds: float = 30.0
    recheck_seconds: float = 30.0
    gpu_node_labels: Mapping[str, str] = field(
        default_factory=lambda: {"nvidia.com/gpu.present": "true"}
    )
    driver_node_selector: Mapping[str, str] = field(default_factory=dict)
    driver_tolerations: tuple[Mapping[str, Any], ...] = ()
    gpu_runtime_class: str | None = None
    progress_port: int = 7080
