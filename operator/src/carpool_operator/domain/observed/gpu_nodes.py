"""What a node's agent reports of its GPUs, from the JSON of its GPUNode."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

from carpool_operator.domain.cluster_state import Gpu, GpuInventory
from carpool_operator.domain.observed.quantities import whole
from carpool_operator.domain.timestamps import unix_time


def observed_gpus(raw: Mapping[str, Any]) -> GpuInventory | None:
    """The record of a GPUNode; None as long as its agent has reported nothing."""
    status = raw.get("status")
    if not status:
        return None
    return GpuInventory(
        node=intern(raw["metadata"]["name"]),
        boot_id=status["bootID"],
        heartbeat=unix_time(status["heartbeatTime"]) or 0.0,
        gpus=tuple(
            Gpu(
                uuid=intern(gpu["uuid"]),
                product=intern(gpu["product"]),
                memory=whole(gpu["memory"]),
                health=gpu["health"],
                numa_node=gpu.get("numaNode"),
            )
            for gpu in status.get("gpus") or ()
        ),
    )
