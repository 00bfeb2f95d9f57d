"""The driver and executor pods of each job, and how many jobs have a driver that lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carpool_operator.domain.cluster_state import Pod
from carpool_operator.domain.job.observed import Driver
from carpool_operator.reconcile.running_drivers import RunningDrivers


class JobPods:
    """Records by the job's UID and the pod's."""

    def __init__(self, served: Callable[[str], bool]) -> None:
        """Know of no pod; `served` says of a namespace whether its jobs are run."""
        self.running = RunningDrivers(served)
        self._drivers: dict[str, dict[str, Driver]] = {}
        self._executors: dict[str, dict[str, Pod]] = {}

    def drivers(self, job_uid: str) -> tuple[Driver, ...]:
        """The driver pods of a job."""
        return tuple(self._drivers.get(job_uid, {}).values())

    def executors(self, job_uid: str) -> tuple[Pod, ...]:
        """The executor pods of a job."""
        return tuple(self._executors.get(job_uid, {}).values())

    def uids(self, job_uid: str) -> list[str]:
        """UIDs of all pods of a job."""
        return [*self._drivers.get(job_uid, {}), *self._executors.get(job_uid, {})]

    def put_driver(self, job_uid: str, namespace: str, driver: Driver) -> bool:
        """Take in a driver pod; whether that is news."""
        known = self._drivers.setdefault(job_uid, {})
        if known.get(driver.uid) == driver:
            return False
        known[driver.uid] = driver
        self._note_running(job_uid, namespace)
        return True

    def put_executor(self, job_uid: str, pod: Pod) -> None:
        """Take in an executor pod."""
        self._executors.setdefault(job_uid, {})[pod.uid] = pod

    def drop(self, job_uid: str, namespace: str, uid: str) -> None:
        """Forget a pod."""
        _drop(self._drivers, job_uid, uid)
        _drop(self._executors, job_uid, uid)
        self._note_running(job_uid, namespace)

    def _note_running(self, job_uid: str, namespace: str) -> None:
        running = any(not driver.gone for driver in self.drivers(job_uid))
        self.running.note_running(job_uid, namespace, running)
        if running:
            # From here on the pod itself takes the place.
            self.running.note_starting(job_uid, namespace, starting=False)


def _drop(records: dict[str, Any], job_uid: str, uid: str) -> None:
    of_job = records.get(job_uid, {})
    of_job.pop(uid, None)
    if not of_job:
        records.pop(job_uid, None)
