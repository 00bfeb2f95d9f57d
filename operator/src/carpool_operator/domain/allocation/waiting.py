"""Executors at the gate, by job and by what they ask for.

Executors of a group are alike, so if the oldest finds no slot none does; a decision looks at
groups, of which there are as many as jobs, not at pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from carpool_operator.domain.cluster_state import Pod, Resources, Scheduling


class Group:
    """Executors of one job that ask for the same and may run in the same places."""

    def __init__(self, job_uid: str, requests: Resources, scheduling: Scheduling) -> None:
        self.job_uid = job_uid
        self.requests = requests
        self.scheduling = scheduling
        self._pods: dict[str, Pod] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._pods)

    def add(self, pod: Pod) -> None:
        """Take in an executor, new or changed."""
        if pod.uid not in self._pods:
            heappush(self._order, (pod.created, pod.uid))
        self._pods[pod.uid] = pod

    def remove(self, uid: str) -> None:
        """An executor no longer waits."""
        del self._pods[uid]

    def oldest(self) -> Pod:
        """The one whose turn it is."""
        while self._order[0][1] not in self._pods:
            heappop(self._order)
        return self._pods[self._order[0][1]]


class Waiting:
    """All executors at the gate that nothing but a slot is missing to."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[tuple[Resources, int], Group]] = {}
        self._of_pod: dict[str, Group] = {}

    def __len__(self) -> int:
        return len(self._of_pod)

    def groups(self) -> Iterator[Group]:
        """All that have executors."""
        for groups in self._groups.values():
            yield from groups.values()

    def of_job(self, job_uid: str) -> list[Group]:
        """Those of a job."""
        return list(self._groups.get(job_uid, {}).values())

    def add(self, pod: Pod, job_uid: str) -> None:
        """An executor waits; it may have before, and be another version of itself."""
        # Records share what thousands of pods say alike, and a group keeps its own alive.
        key = (pod.requests, id(pod.scheduling))
        groups = self._groups.setdefault(job_uid, {})
        group = groups.get(key)
        if group is None or self._of_pod.get(pod.uid, group) is not group:
            self.remove(pod.uid)
            groups = self._groups.setdefault(job_uid, {})
            group = groups.setdefault(key, Group(job_uid, pod.requests, pod.scheduling))
        group.add(pod)
        self._of_pod[pod.uid] = group

    def remove(self, uid: str) -> None:
        """An executor does not wait, or no longer."""
        group = self._of_pod.pop(uid, None)
        if group is None:
            return
        group.remove(uid)
        if not group:
            groups = self._groups[group.job_uid]
            del groups[group.requests, id(group.scheduling)]
            if not groups:
                del self._groups[group.job_uid]
