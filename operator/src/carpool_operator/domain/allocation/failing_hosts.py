"""Model hosts that do not come up on the device that their executor was given.

A host that says its device is unusable, or that was restarted three times in five minutes, is given
up with its pod: the driver asks for another, which gets another place. That is done for as many
executors as the job has, in ten minutes; if then another fails, the fault is the job's, and it is
the job that should fail, with the host's own words.

How often it was done is memory of the allocator: after a restart of the operator a job may lose so
many executors once more before it fails. Restarts are counted by the pod, so they survive.
"""

from __future__ import annotations

from collections import deque

from carpool_operator.domain.allocation.interface import JobFailure
from carpool_operator.domain.cluster_state import Pod
from carpool_operator.domain.model_reasons import MODEL_REASONS

RESTARTS = 3
RESTARTS_SECONDS = 300.0
GIVEN_UP_SECONDS = 600.0
FATAL_REASONS = ("DeviceLost",)
"""Reasons in a host's termination message after which no restart on this device helps."""


class FailingHosts:
    """What is known of hosts that were restarted or ended."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._restarts: dict[str, deque[float]] = {}
        self._given_up: dict[str, deque[tuple[float, str]]] = {}
        self._counted: set[str] = set()

    def see(self, pod: Pod) -> None:
        """Take in an executor."""
        if not pod.host_restarts and pod.host_message is None:
            return
        known = self._pods.get(pod.uid)
        self._pods[pod.uid] = pod
        times = self._restarts.setdefault(pod.uid, deque(maxlen=RESTARTS))
        more = pod.host_restarts - (known.host_restarts if known else 0)
        if more > 0:
            # Of restarts that were not seen it is known only that they came after the pod.
            times.extend([pod.created] * min(more - 1, RESTARTS))
            times.append(pod.created if pod.host_ended is None else pod.host_ended)

    def forget(self, uid: str) -> None:
        """The executor is gone."""
        self._pods.pop(uid, None)
        self._restarts.pop(uid, None)
        self._counted.discard(uid)

    def forget_job(self, job_uid: str) -> None:
        """The job is gone."""
        self._given_up.pop(job_uid, None)

    def give_up(self, pod: Pod, executors: int, now: float) -> bool:
        """Whether the executor is to be deleted; counted once for each, up to `executors`."""
        if pod.uid in self._counted:
            return True
        recent = self._recent(pod.job_uid or "", now)
        if len(recent) >= executors:
            return False
        recent.append((now, f"{pod.name}: {self.why(pod)}"))
        self._counted.add(pod.uid)
        return True

    def failing(self, now: float) -> list[Pod]:
        """Executors whose host has failed, by name."""
        return sorted(
            (pod for pod in self._pods.values() if self._fails(pod, now)),
            key=lambda pod: (pod.namespace, pod.name, pod.uid),
        )

    def why(self, pod: Pod) -> str:
        """What the host said, with its restarts."""
        return f"{pod.host_message or 'no message'} (restarted {pod.host_restarts} times)"

    def failure(self, job_uid: str, executors: int, now: float) -> JobFailure | None:
        """Why the job should fail; None: it should not.

        A model that a host cannot load is one that no host can; for other failures, other devices
        are tried first.
        """
        for pod in sorted(self._pods.values(), key=lambda pod: pod.name):
            reason = (pod.host_message or "").partition(":")[0]
            if pod.job_uid == job_uid and reason in MODEL_REASONS:
                return JobFailure(reason, f"the model host of {pod.name} ended: {pod.host_message}")
        if len(self._recent(job_uid, now)) < executors:
            return None
        another = [
            pod
            for pod in self.failing(now)
            if pod.job_uid == job_uid and pod.uid not in self._counted and not pod.deleting
        ]
        if not another:
            return None
        return JobFailure(
            "HostFailed",
            f"the model hosts of {executors + 1} executors failed within "
            f"{GIVEN_UP_SECONDS / 60:.0f} minutes; {another[0].name}: {self.why(another[0])}",
        )

    def _fails(self, pod: Pod, now: float) -> bool:
        if (pod.host_message or "").partition(":")[0] in FATAL_REASONS:
            return True
        times = self._restarts[pod.uid]
        return len(times) == RESTARTS and now - times[0] <= RESTARTS_SECONDS

    def _recent(self, job_uid: str, now: float) -> deque[tuple[float, str]]:
        found = self._given_up.setdefault(job_uid, deque())
        while found and now - found[0][0] > GIVEN_UP_SECONDS:
            found.popleft()
        return found
