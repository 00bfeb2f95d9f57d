"""Whose executors may be on one GPU together, and how much of its memory each may use."""

from __future__ import annotations

from carpool_operator.domain.cluster_state import Gpu, JobDemand


def may_share(one: JobDemand, another: JobDemand) -> bool:
    """Whether both jobs accept the other beside them; a job always accepts itself."""
    if one.uid == another.uid:
        return True
    scopes = (one.shared_with, another.shared_with)
    if "Job" in scopes:
        return False
    return "Namespace" not in scopes or one.namespace == another.namespace


def memory_budget(demand: JobDemand, gpu: Gpu) -> int:
    """Bytes of the GPU that an executor of the job may use, its CUDA context included."""
    if demand.gpu_memory is not None:
        return demand.gpu_memory
    return gpu.memory // demand.executors_per_gpu
