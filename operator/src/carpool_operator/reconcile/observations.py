"""What is known of the cluster, from watches and from the answers to own writes.

Watches and answers say the same things in an order of their own, so each object is taken in by its
version and never turns back. What changed something is passed on: to the allocator, to the queue as
the job it belongs to, and to whoever waits for room. What changed nothing wakes nobody, which is
what makes an idle operator idle.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from carpool_operator.domain.allocation.interface import Allocator
from carpool_operator.domain.cluster_state import GpuInventory, Node, Pod
from carpool_operator.domain.job.driver_reading import driver_of
from carpool_operator.domain.observed.gpu_nodes import observed_gpus
from carpool_operator.domain.observed.nodes import observed_node
from carpool_operator.domain.observed.pods import observed_pod
from carpool_operator.observability.health import WatchHealth
from carpool_operator.observability.metrics import JOBS, UNREADABLE
from carpool_operator.reconcile.job_pods import JobPods
from carpool_operator.reconcile.namespaces import Namespaces
from carpool_operator.reconcile.sightings import Sightings

log = logging.getLogger(__name__)

Json = dict[str, Any]

JOBS_WATCH: Final = "inferencejobs"
PODS_WATCH: Final = "pods"
NODES_WATCH: Final = "nodes"
GPU_NODES_WATCH: Final = "gpunodes"
NAMESPACES_WATCH: Final = "namespaces"
_NO_PHASE: Final = "New"
_FRESH: Final = 30.0
"""Seconds between reports of a node's agent after which the GPUs may have counted as stale."""


class Observations:
    """Records of jobs, their pods, nodes and GPUs; for the event loop's thread.

    Attributes:
        jobs: as JSON, by UID.
        assigned: what GPUNodes say of what is assigned, by node; None: nothing yet.
        pods: of jobs.
    """

    def __init__(
        self,
        allocator: Allocator,
        namespaces: Namespaces,
        health: WatchHealth,
        *,
        job_changed: Callable[[str], None],
        executors_changed: Callable[[str], None],
        room_changed: Callable[[], None],
    ) -> None:
        """Know of nothing yet.

        Args:
            allocator: is told of nodes, GPUs and pods.
            namespaces: whose jobs are run.
            health: is told of signs of life of the watches.
            job_changed: is called with the UID of a job that is to be looked at.
            executors_changed: the same, where a moment's delay gathers what is to come.
            room_changed: is called when the allocator may decide something new.
        """
        self.jobs: dict[str, Json] = {}
        self.assigned: dict[str, Json | None] = {}
        self.pods = JobPods(namespaces.served)
        self._allocator = allocator
        self._namespaces = namespaces
        self._health = health
        self._job_changed = job_changed
        self._executors_changed = executors_changed
        self._room_changed = room_changed
        watched = [JOBS_WATCH, PODS_WATCH, NODES_WATCH, GPU_NODES_WATCH]
        if namespaces.by_labels:
            watched.append(NAMESPACES_WATCH)
        self._sightings = {name: Sightings() for name in watched}
        self._pods: dict[str, Pod] = {}
        self._nodes: dict[str, Node] = {}
        self._inventories: dict[str, GpuInventory] = {}
        self._names: dict[str, str] = {}
        self._phases: Counter[str] = Counter()

    # What is asked

    def served(self, job: Mapping[str, Any]) -> bool:
        """Whether the job's namespace is one of ours."""
        return self._namespaces.served(job["metadata"]["namespace"])

    def in_order_of_creation(self, job_uids: Iterable[str]) -> list[str]:
        """Those of the jobs that exist, the oldest first."""
        existing = [uid for uid in job_uids if uid in self.jobs]
        return sorted(existing, key=lambda uid: self.jobs[uid]["metadata"]["creationTimestamp"])

    # What watches and answers tell

    def seen(self, plural: str, raw: Json) -> None:
        """Take in an object of a resource, new or changed."""
        sightings = self._sightings.get(plural)
        if sightings is None:
            return
        metadata = raw["metadata"]
        if sightings.seen(metadata["uid"], metadata["resourceVersion"]):
            try:
                self._take(plural, raw)
            except Exception:
                # One object that nobody foresaw must not end the watch of all others.
                UNREADABLE.labels(plural).inc()
                log.exception("Could not read an object", extra=_named(plural, metadata))
        self._note_sync(plural)

    def gone(self, plural: str, raw: Json) -> None:
        """Take in that an object exists no more."""
        self._gone(plural, raw["metadata"]["uid"])
        self._note_sync(plural)

    def listed(self, plural: str, uids: frozenset[str], version: str) -> None:
        """Take in that these were all objects of a resource at a version; others are gone."""
        sightings = self._sightings.get(plural)
        if sightings is None:
            return
        for uid in sightings.listed(uids, version):
            log.info("Missed a deletion", extra={"resource": plural, "uid": uid})
            self._gone(plural, uid)
        self._note_sync(plural)

    def alive(self, plural: str) -> None:
        """Take in that a watch brought something, if only a bookmark."""
        self._health.alive(plural)

    def _note_sync(self, plural: str) -> None:
        if self._sightings[plural].synced:
            self._health.synced(plural)

    def _take(self, plural: str, raw: Json) -> None:
        if plural == JOBS_WATCH:
            self._job_seen(raw)
        elif plural == PODS_WATCH:
            self._pod_seen(raw)
        elif plural == NODES_WATCH:
            self._node_seen(raw)
        elif plural == GPU_NODES_WATCH:
            self._gpus_seen(raw)
        elif self._namespaces.seen(raw["metadata"]["name"], raw["metadata"].get("labels") or {}):
            self._names[raw["metadata"]["uid"]] = raw["metadata"]["name"]
            self._look_at_all_of(raw["metadata"]["name"])

    def _gone(self, plural: str, uid: str) -> None:
        if not self._sightings[plural].gone(uid):
            return
        if plural == JOBS_WATCH:
            self._job_gone(uid)
        elif plural == PODS_WATCH:
            self._pod_gone(uid)
        elif (name := self._names.pop(uid, None)) is None:
            return
        elif plural == NODES_WATCH:
            self._nodes.pop(name, None)
            self._allocator.node_gone(name)
            self._room_changed()
        elif plural == GPU_NODES_WATCH:
            self._inventories.pop(name, None)
            self.assigned.pop(name, None)
            self._allocator.gpus_gone(name)
            self._room_changed()
        else:
            self._namespaces.gone(name)

    # Jobs

    def _job_seen(self, raw: Json) -> None:
        # Half of the object, and of no use here.
        raw["metadata"].pop("managedFields", None)
        uid = raw["metadata"]["uid"]
        before = self.jobs.get(uid)
        self.jobs[uid] = raw
        if before is None:
            self._disown(uid)
        self._count(before, -1)
        self._count(raw, +1)
        self._job_changed(uid)

    def _job_gone(self, uid: str) -> None:
        self._count(self.jobs.pop(uid, None), -1)
        self._job_changed(uid)

    def _count(self, job: Json | None, one: int) -> None:
        if job is None:
            return
        phase = (job.get("status") or {}).get("phase") or _NO_PHASE
        self._phases[phase] += one
        JOBS.labels(phase).set(self._phases[phase])

    def _look_at_all_of(self, namespace: str) -> None:
        for uid, job in self.jobs.items():
            if job["metadata"]["namespace"] == namespace:
                self._job_changed(uid)

    # Pods, nodes, GPUs

    def _disown(self, job_uid: str) -> None:
        """Take pods from a job that has just become known and is of another namespace."""
        for pod in [self._pods[uid] for uid in self.pods.uids(job_uid)]:
            owned = self._owned(pod)
            if owned.job_uid is None:
                self.pods.drop(job_uid, pod.namespace, pod.uid)
                self._pods[pod.uid] = owned
                self._allocator.pod_seen(owned)

    def _owned(self, pod: Pod) -> Pod:
        """The pod, as nobody's where it claims a job of another namespace.

        Labels are for whoever may create pods in some namespace to write: they must not reach for
        what another namespace was given.
        """
        job = self.jobs.get(pod.job_uid) if pod.job_uid is not None else None
        if job is None or job["metadata"]["namespace"] == pod.namespace:
            return pod
        told = {"pod": f"{pod.namespace}/{pod.name}", "job_uid": pod.job_uid}
        log.warning("Pod claims a job of another namespace", extra=told)
        return replace(pod, job_uid=None, role=None, gpu=None, reserved=())

    def _pod_seen(self, raw: Json) -> None:
        pod = self._owned(observed_pod(raw))
        before = self._pods.get(pod.uid)
        self._pods[pod.uid] = pod
        if pod != before:
            self._allocator.pod_seen(pod)
            self._room_changed()
        if pod.job_uid is None:
            return
        if pod.role == "driver":
            news = self.pods.put_driver(pod.job_uid, pod.namespace, driver_of(raw))
            if news or pod != before:
                self._job_changed(pod.job_uid)
        elif pod != before:
            self.pods.put_executor(pod.job_uid, pod)
            self._executors_changed(pod.job_uid)

    def _pod_gone(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is None:
            return  # one that could not be read
        self._allocator.pod_gone(uid)
        self._room_changed()
        if pod.job_uid is None:
            return
        self.pods.drop(pod.job_uid, pod.namespace, uid)
        if pod.role == "driver":
            self._job_changed(pod.job_uid)
        else:
            self._executors_changed(pod.job_uid)

    def _node_seen(self, raw: Json) -> None:
        node = observed_node(raw)
        self._names[raw["metadata"]["uid"]] = node.name
        if self._nodes.get(node.name) == node:
            return  # a heartbeat
        self._nodes[node.name] = node
        self._allocator.node_seen(node)
        self._room_changed()

    def _gpus_seen(self, raw: Json) -> None:
        self._names[raw["metadata"]["uid"]] = raw["metadata"]["name"]
        inventory = observed_gpus(raw)
        if inventory is None:
            return
        before = self._inventories.get(inventory.node)
        self._inventories[inventory.node] = inventory
        self.assigned[inventory.node] = raw["status"].get("assigned")
        self._allocator.gpus_seen(inventory)
        if before is None or _says_more(before, inventory):
            self._room_changed()


def _says_more(before: GpuInventory, now: GpuInventory) -> bool:
    """Whether a report is more than another heartbeat in time."""
    return (
        now.heartbeat - before.heartbeat > _FRESH
        or replace(now, heartbeat=before.heartbeat) != before
    )


def _named(plural: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resource": plural,
        "namespace": metadata.get("namespace"),
        "object": metadata.get("name"),
    }
