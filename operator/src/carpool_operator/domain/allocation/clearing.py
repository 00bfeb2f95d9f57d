"""Which executors must go from a GPU, and why.

From a GPU that is lost or unhealthy all; from one with more than the jobs on it accept, through two
operators that each believed to be alone or terms that changed, the newest. Executors that are being
deleted already are on their way and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from carpool_operator.domain.allocation.interface import Eviction
from carpool_operator.domain.allocation.node_ledger import GpuLedger, NodeLedger
from carpool_operator.domain.allocation.sharing import may_share, memory_budget
from carpool_operator.domain.cluster_state import Gpu, JobDemand, Pod


def cleared(
    node: NodeLedger,
    gpu: GpuLedger,
    pods: Iterable[Pod],
    demands: Mapping[str, JobDemand],
) -> list[Eviction]:
    """The executors to delete.

    Args:
        node: of the GPU.
        gpu: that something is wrong with.
        pods: executors that the API server shows on it.
        demands: terms of the jobs that are known, by uid.
    """
    if node.inventory is None:
        return []  # nobody watches it, which is no proof of anything
    staying = sorted((pod for pod in pods if not pod.deleting), key=_age)
    if gpu.gpu is None:
        why = f"{gpu.uuid} is no longer among the GPUs of {node.name}"
        return [Eviction(pod, "GPULost", why) for pod in staying]
    if not gpu.healthy:
        reason = "GPULost" if gpu.gpu.health == "Lost" else "GPUUnhealthy"
        why = f"{gpu.uuid} of {node.name} is {gpu.gpu.health.lower()}"
        return [Eviction(pod, reason, why) for pod in staying]
    return _above(gpu.gpu, staying, demands, node.name)


def _above(
    gpu: Gpu, pods: Iterable[Pod], demands: Mapping[str, JobDemand], node: str
) -> list[Eviction]:
    """The newest of those that may not be together; jobs without known terms are not judged."""
    kept: list[JobDemand] = []
    found = []
    for pod in pods:
        demand = demands.get(pod.job_uid or "")
        if demand is None:
            continue
        together = [*kept, demand]
        limit = min(each.executors_per_gpu for each in together)
        memory = sum(memory_budget(each, gpu) for each in together)
        if (
            len(together) <= limit
            and memory <= gpu.memory
            and all(may_share(demand, each) for each in kept)
        ):
            kept = together
            continue
        why = (
            f"{gpu.uuid} of {node} has no place for it beside {len(kept)} older: "
            f"at most {limit}, {memory / (1 << 30):.1f} of {gpu.memory / (1 << 30):.1f} GiB"
        )
        found.append(Eviction(pod, "GPUOverfull", why))
    return found


def _age(pod: Pod) -> tuple[float, float, str]:
    """The executor that was assigned first is the oldest."""
    return (pod.created if pod.assigned is None else pod.assigned, pod.created, pod.uid)
