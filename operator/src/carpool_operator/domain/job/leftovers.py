"""Pods of attempts that are over: they are deleted, and nothing new begins beside them.

A driver pod that has ended is kept: its log is where people look first, and it takes no resources.
It goes with the job.
"""

from __future__ import annotations

from carpool_operator.domain.cluster_state import Pod
from carpool_operator.domain.job.actions import DeletePods, PodRef
from carpool_operator.domain.job.observed import Driver
from carpool_operator.domain.job.turn import Turn
from carpool_operator.domain.job.wording import named


def leftover_pods(turn: Turn, attempt: int | None) -> list[Driver | Pod]:
    """Pods that belong to no attempt but `attempt`'s end, and still take resources or could."""
    drivers = [
        each
        for each in turn.observed.drivers
        if not each.gone and (attempt is None or each.attempt != attempt)
    ]
    executors = [
        each
        for each in turn.observed.executors
        if attempt is None or (each.attempt is not None and each.attempt != attempt)
    ]
    return [*drivers, *executors]


def blocking(pods: list[Driver | Pod]) -> list[Driver | Pod]:
    """Those beside which nothing may begin; an executor that has ended is only to be deleted."""
    return [each for each in pods if isinstance(each, Driver) or not each.ended]


def deletion(pods: list[Driver | Pod]) -> tuple[DeletePods, ...]:
    """The deletion of pods; those that are being deleted are waited for."""
    refs = tuple(
        PodRef(name=each.name, uid=each.uid)
        for each in sorted(pods, key=lambda pod: pod.name)
        if not each.deleting
    )
    return (DeletePods(refs),) if refs else ()


def names(pods: list[Driver | Pod]) -> str:
    """Their names, for a sentence."""
    return named(each.name for each in pods)
