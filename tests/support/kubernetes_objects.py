"""Objects as the API server gives them, for tests of what reads them."""

from __future__ import annotations

from typing import Any


def container(name: str = "main", **requests: str) -> dict[str, Any]:
    return {"name": name, "image": "image", "resources": {"requests": requests}}


def pod(
    *containers: dict[str, Any],
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
    deleted: str | None = None,
    **spec: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "uid": "pod-uid",
        "namespace": "traffic",
        "name": "executor-1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    metadata |= {"annotations": annotations} if annotations else {}
    metadata |= {"labels": labels, "ownerReferences": owners(labels)} if labels else {}
    metadata |= {"deletionTimestamp": deleted} if deleted else {}
    return {
        "metadata": metadata,
        "spec": {"containers": list(containers or [container()]), **spec},
        "status": status or {"phase": "Pending"},
    }


EXECUTOR_LABELS = {
    "carpool.dev/job": "rush-hour",
    "carpool.dev/job-uid": "job-uid",
    "carpool.dev/attempt": "1",
    "carpool.dev/role": "executor",
}


def owners(labels: dict[str, str]) -> list[dict[str, Any]]:
    """The owner that a pod with these labels has: its job, or its driver."""
    job = labels.get("carpool.dev/job-uid")
    if labels.get("carpool.dev/role") == "driver":
        return [{"kind": "InferenceJob", "name": "job", "uid": job, "controller": True}]
    return [{"kind": "Pod", "name": "driver", "uid": "driver-uid", "controller": True}]
