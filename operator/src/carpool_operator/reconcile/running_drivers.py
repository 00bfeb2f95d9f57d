"""How many jobs have a driver, or are about to, by namespace.

A driver counts from the decision to create it: between that and the pod's first event other jobs
are decided upon, and each would see the same free place. One in a namespace whose jobs another
operator runs takes no place of ours, though its pod is seen: pods are followed in all namespaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class RunningDrivers:
    """Jobs that take a place of `--max-running-jobs`."""

    def __init__(self, served: Callable[[str], bool]) -> None:
        """Count nothing yet, and only in namespaces that are `served`."""
        self._served = served
        self._running: set[str] = set()
        self._starting: set[str] = set()
        self._counted: dict[str, str] = {}
        self._by_namespace: Counter[str] = Counter()

    def note_running(self, job_uid: str, namespace: str, running: bool) -> None:
        """Note whether a driver pod of the job lives."""
        (self._running.add if running else self._running.discard)(job_uid)
        self._count(job_uid, namespace)

    def note_starting(self, job_uid: str, namespace: str, starting: bool) -> None:
        """Note whether a driver of the job is being created."""
        (self._starting.add if starting else self._starting.discard)(job_uid)
        self._count(job_uid, namespace)

    def others(self, job_uid: str, namespace: str) -> tuple[int, int]:
        """Places taken by other jobs: in the namespace, and in all."""
        own = job_uid in self._counted
        counts = self._by_namespace
        in_all = sum(counts[one] for one in counts if self._served(one) or one == namespace)
        return counts[namespace] - own, in_all - own

    def _count(self, job_uid: str, namespace: str) -> None:
        takes = job_uid in self._running or job_uid in self._starting
        if takes and job_uid not in self._counted:
            self._counted[job_uid] = namespace
            self._by_namespace[namespace] += 1
        elif not takes and job_uid in self._counted:
            self._by_namespace[self._counted.pop(job_uid)] -= 1
            self._by_namespace += Counter()  # drops those at nought
