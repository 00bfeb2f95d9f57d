"""What is known of the cluster never turns back, and what changes nothing wakes nobody."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool_operator.domain import names
from carpool_operator.domain.allocation.allocator import ClusterAllocator
from carpool_operator.domain.cluster_state import Pod
from carpool_operator.observability.health import WatchHealth
from carpool_operator.observability.metrics import UNREADABLE
from carpool_operator.reconcile.namespaces import Namespaces
from carpool_operator.reconcile.observations import (
    GPU_NODES_WATCH,
    JOBS_WATCH,
    NAMESPACES_WATCH,
    NODES_WATCH,
    PODS_WATCH,
    Observations,
)
from carpool_operator.reconcile.running_drivers import RunningDrivers
from carpool_operator.reconcile.sightings import Sightings
from support.fake_clock import FakeClock
from support.kubernetes_objects import owners

NEWEST = str(10**9)
"""A version that no object of these tests has reached."""


class Told(ClusterAllocator):
    """The allocator, which also notes what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.last: dict[str, Pod] = {}

    def pod_seen(self, pod) -> None:
        self.last[pod.uid] = pod
        self.notes.append(f"pod {pod.name}")
        super().pod_seen(pod)

    def pod_gone(self, uid: str) -> None:
        self.notes.append(f"gone {uid}")
        super().pod_gone(uid)

    def node_gone(self, name: str) -> None:
        self.notes.append(f"node gone {name}")
        super().node_gone(name)


class World:
    """Observations and what they have told."""

    def __init__(self, namespaces: Namespaces | None = None) -> None:
        self.allocator = Told()
        self.changed: list[str] = []
        self.rooms = 0
        self.namespaces = namespaces or Namespaces()
        watched = [JOBS_WATCH, PODS_WATCH, NODES_WATCH, GPU_NODES_WATCH]
        if self.namespaces.by_labels:
            watched.append(NAMESPACES_WATCH)
        self.clock = FakeClock()
        self.health = WatchHealth(watched, self.clock)
        self.health.begin()
        self.observations = Observations(
            self.allocator,
            self.namespaces,
            self.health,
            job_changed=self.changed.append,
            executors_changed=self.changed.append,
            room_changed=self._room,
        )

    def _room(self) -> None:
        self.rooms += 1


def job(uid: str = "j1", version: int = 1, phase: str | None = None) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"job-{uid}",
            "namespace": "team",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {},
        "status": {"phase": phase} if phase else {},
    }


def pod(
    uid: str = "p1", version: int = 1, role: str | None = "executor", **spec: Any
) -> dict[str, Any]:
    labels = {names.JOB_UID_LABEL: "j1", names.ROLE_LABEL: role, names.ATTEMPT_LABEL: "1"}
    return {
        "metadata": {
            "name": uid,
            "namespace": "team",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels if role else {},
            "ownerReferences": owners(labels) if role else [],
        },
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], **spec},
        "status": {"phase": "Pending"},
    }


def phase(raw: dict[str, Any], version: int, now: str) -> dict[str, Any]:
    changed = deepcopy(raw)
    changed["metadata"]["resourceVersion"] = str(version)
    changed["status"]["phase"] = now
    return changed


def test_an_older_version_of_an_object_changes_nothing():
    world = World()
    world.observations.seen(JOBS_WATCH, job(version=5, phase="Starting"))
    world.observations.seen(JOBS_WATCH, job(version=4))
    assert world.observations.jobs["j1"]["status"] == {"phase": "Starting"}
    assert world.changed == ["j1"]


def test_an_object_that_is_gone_does_not_come_back_by_an_event_that_was_late():
    world = World()
    world.observations.seen(JOBS_WATCH, job(version=5))
    world.observations.gone(JOBS_WATCH, job(version=6))
    world.observations.seen(JOBS_WATCH, job(version=5))
    world.observations.seen(JOBS_WATCH, job(version=7))
    assert world.observations.jobs == {}


def test_the_answer_to_an_own_write_and_the_event_of_it_are_one_change():
    world = World()
    answer = job(version=9, phase="Queued")
    world.observations.seen(JOBS_WATCH, answer)
    world.observations.seen(JOBS_WATCH, deepcopy(answer))
    assert world.changed == ["j1"]


def test_a_deletion_that_no_watch_told_of_is_found_by_the_next_list():
    world = World()
    for uid in ("p1", "p2"):
        world.observations.seen(PODS_WATCH, pod(uid))
    world.observations.listed(PODS_WATCH, frozenset({"p2"}), NEWEST)
    assert "gone p1" in world.allocator.notes
    assert [each.uid for each in world.observations.pods.executors("j1")] == ["p2"]


def test_a_pod_event_that_changes_nothing_that_counts_wakes_nobody():
    world = World()
    raw = pod()
    world.observations.seen(PODS_WATCH, raw)
    told, rooms = list(world.allocator.notes), world.rooms
    world.changed.clear()
    again = phase(raw, 2, "Pending")
    again["metadata"]["annotations"] = None
    again["status"]["conditions"] = []
    world.observations.seen(PODS_WATCH, again)
    assert world.changed == []
    assert (world.allocator.notes, world.rooms) == (told, rooms)


def test_a_pod_that_is_not_ours_makes_or_takes_room_and_belongs_to_no_job():
    world = World()
    world.observations.seen(PODS_WATCH, pod("other", role=None, nodeName="n1"))
    assert world.allocator.notes == ["pod other"]
    assert world.rooms == 1
    assert world.changed == []


def test_a_driver_takes_a_place_from_its_creation_to_its_end():
    world = World()
    running = world.observations.pods.running
    running.note_starting("j1", "team", True)
    assert running.others("j2", "team") == (1, 1)
    driver = pod("d1", role="driver")
    world.observations.seen(PODS_WATCH, driver)
    assert running.others("j2", "team") == (1, 1)
    assert running.others("j1", "team") == (0, 0)
    world.observations.seen(PODS_WATCH, phase(driver, 2, "Failed"))
    assert running.others("j2", "team") == (0, 0)


def test_everything_is_listed_when_each_object_of_each_list_was_seen():
    world = World()
    for plural in (PODS_WATCH, NODES_WATCH, GPU_NODES_WATCH):
        world.observations.listed(plural, frozenset(), NEWEST)
    world.observations.listed(JOBS_WATCH, frozenset({"j1", "j2"}), NEWEST)
    world.observations.seen(JOBS_WATCH, job("j1"))
    assert world.health.unready() == ["inferencejobs: not listed yet"]
    # One that is deleted between the list and its event counts as seen.
    world.observations.gone(JOBS_WATCH, job("j2"))
    assert world.health.unready() == []


def test_a_heartbeat_of_a_node_wakes_nobody():
    world = World()
    node = {
        "metadata": {"name": "n1", "uid": "u1", "resourceVersion": "1"},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "a"}]},
    }
    world.observations.seen(NODES_WATCH, node)
    assert world.rooms == 1
    beat = deepcopy(node)
    beat["metadata"]["resourceVersion"] = "2"
    beat["status"]["conditions"][0]["lastHeartbeatTime"] = "b"
    world.observations.seen(NODES_WATCH, beat)
    assert world.rooms == 1
    cordoned = deepcopy(beat)
    cordoned["metadata"]["resourceVersion"] = "3"
    cordoned["spec"] = {"unschedulable": True}
    world.observations.seen(NODES_WATCH, cordoned)
    assert world.rooms == 2


def test_a_report_of_gpus_that_is_in_time_and_says_nothing_new_wakes_nobody():
    def report(version: int, seconds: int, health: str = "Healthy") -> dict[str, Any]:
        gpu = {"uuid": "GPU-1", "product": "H100", "memory": "80Gi", "health": health}
        return {
            "metadata": {"name": "n1", "uid": "u1", "resourceVersion": str(version)},
            "status": {
                "bootID": "b",
                "heartbeatTime": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z",
                "gpus": [gpu],
            },
        }

    world = World()
    rooms = []
    for version, (seconds, health) in enumerate(
        [(0, "Healthy"), (10, "Healthy"), (20, "Lost"), (30, "Lost"), (90, "Lost")]
    ):
        world.observations.seen(GPU_NODES_WATCH, report(version + 1, seconds, health))
        rooms.append(world.rooms)
    assert rooms == [1, 1, 2, 2, 3]  # the last one comes so late that the GPUs were stale


@pytest.mark.parametrize("job_first", [True, False])
@pytest.mark.parametrize("role", ["driver", "executor"])
def test_a_pod_of_another_namespace_cannot_claim_a_job(job_first, role):
    world = World()
    stranger = pod("stranger", role=role)
    stranger["metadata"]["namespace"] = "elsewhere"
    for step in (1, 2) if job_first else (2, 1):
        if step == 1:
            world.observations.seen(JOBS_WATCH, job("j1"))
        else:
            world.observations.seen(PODS_WATCH, stranger)
    assert world.observations.pods.drivers("j1") == ()
    assert world.observations.pods.executors("j1") == ()
    assert world.observations.pods.running.others("j2", "team") == (0, 0)
    assert world.observations.pods.running.others("j2", "elsewhere") == (0, 0)
    assert world.allocator.last["stranger"].job_uid is None
    world.observations.gone(PODS_WATCH, stranger)


def test_an_object_that_cannot_be_read_is_counted_and_ends_nothing():
    world = World()
    before = UNREADABLE.labels(PODS_WATCH)._value.get()
    broken = pod("broken")
    broken["spec"]["containers"] = "none"
    world.observations.seen(PODS_WATCH, broken)
    assert UNREADABLE.labels(PODS_WATCH)._value.get() == before + 1
    world.observations.seen(PODS_WATCH, pod("whole"))
    assert [each.uid for each in world.observations.pods.executors("j1")] == ["whole"]
    world.observations.gone(PODS_WATCH, broken)


def test_a_job_of_half_its_size_is_kept():
    world = World()
    world.observations.seen(JOBS_WATCH, job())
    assert "managedFields" not in world.observations.jobs["j1"]["metadata"]


def test_a_namespace_that_gets_the_label_brings_its_jobs():
    world = World(Namespaces(selector={"carpool": "on"}))
    world.observations.seen(JOBS_WATCH, job())
    assert not world.observations.served(world.observations.jobs["j1"])
    world.changed.clear()
    team = {
        "metadata": {
            "name": "team",
            "uid": "n1",
            "resourceVersion": "3",
            "labels": {"carpool": "on", "more": "labels"},
        }
    }
    world.observations.seen(NAMESPACES_WATCH, team)
    assert world.observations.served(world.observations.jobs["j1"])
    assert world.changed == ["j1"]
    world.observations.gone(NAMESPACES_WATCH, team)
    assert not world.observations.served(world.observations.jobs["j1"])


def test_a_namespace_that_loses_the_label_is_served_no_more():
    world = World(Namespaces(selector={"carpool": "on"}))
    team = {"metadata": {"name": "team", "uid": "n1", "resourceVersion": "3"}}
    labelled = deepcopy(team)
    labelled["metadata"]["labels"] = {"carpool": "on"}
    world.observations.seen(NAMESPACES_WATCH, labelled)
    team["metadata"]["resourceVersion"] = "4"
    world.observations.seen(NAMESPACES_WATCH, team)
    assert not world.namespaces.served("team")


@pytest.mark.parametrize(
    ("names_", "namespace", "served"),
    [((), "any", True), (("a", "b"), "b", True), (("a", "b"), "c", False)],
)
def test_namespaces_by_name(names_, namespace, served):
    assert Namespaces(names_).served(namespace) is served


def test_a_node_that_is_gone_is_forgotten_by_name():
    world = World()
    node = {"metadata": {"name": "n1", "uid": "u1", "resourceVersion": "1"}, "status": {}}
    world.observations.seen(NODES_WATCH, node)
    world.observations.gone(NODES_WATCH, node)
    assert world.allocator.notes == ["node gone n1"]


def test_a_stalled_watch_makes_the_operator_unready_and_then_dead():
    world = World()
    for plural in (JOBS_WATCH, PODS_WATCH, NODES_WATCH, GPU_NODES_WATCH):
        world.observations.listed(plural, frozenset(), NEWEST)
    world.clock.now += 100
    for plural in (JOBS_WATCH, NODES_WATCH, GPU_NODES_WATCH):
        world.observations.alive(plural)
    world.clock.now += 100
    assert world.health.unready() == ["pods: nothing for 200 s"]
    assert world.health.dead() == []
    world.clock.now += 500
    assert "pods: nothing for 700 s" in world.health.dead()
    for plural in (JOBS_WATCH, PODS_WATCH, NODES_WATCH, GPU_NODES_WATCH):
        world.observations.alive(plural)
    assert world.health.dead() == []
    assert world.health.unready() == []


def test_a_replica_that_stands_by_is_ready_and_alive():
    health = WatchHealth(["pods"], FakeClock())
    assert health.unready() == []
    assert health.dead() == []


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from(["seen", "gone"])),
        max_size=40,
    )
)
def test_versions_only_grow_and_nothing_comes_back(steps):
    sightings = Sightings()
    newest: dict[str, int] = {}
    gone: set[str] = set()
    for uid, version, kind in steps:
        if kind == "gone":
            assert sightings.gone(uid) is (uid in newest)
            gone.add(uid)
            newest.pop(uid, None)
        else:
            news = uid not in gone and version > newest.get(uid, 0)
            assert sightings.seen(uid, str(version)) is news
            if news:
                newest[uid] = version
    assert len(sightings) == len(newest)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["j1", "j2", "j3"]), st.sampled_from(["run", "start"]), st.booleans()
        ),
        max_size=40,
    )
)
def test_places_are_counted_once_a_job(steps):
    running = RunningDrivers(lambda _: True)
    of = {"j1": "team-a", "j2": "team-a", "j3": "team-b"}
    held: dict[str, set[str]] = {uid: set() for uid in of}
    for uid, kind, value in steps:
        (running.note_running if kind == "run" else running.note_starting)(uid, of[uid], value)
        (held[uid].add if value else held[uid].discard)(kind)
    taken = {uid for uid, kinds in held.items() if kinds}
    assert running.others("none", "team-a") == (len(taken & {"j1", "j2"}), len(taken))
    assert running.others("j1", "team-a") == (len(taken & {"j2"}), len(taken - {"j1"}))


def test_a_pod_that_was_created_while_a_list_was_read_is_not_taken_for_gone():
    world = World()
    world.observations.seen(PODS_WATCH, pod("made", version=60))
    world.observations.listed(PODS_WATCH, frozenset(), "50")
    assert "made" in world.allocator.last
    world.observations.seen(PODS_WATCH, phase(pod("made"), 61, "Running"))
    assert world.allocator.last["made"].phase == "Running"
