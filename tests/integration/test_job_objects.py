"""What a decision renders, on a real API server.

Pods and ConfigMaps are admitted as they are meant, and a status that was written is found again, so
that no second write follows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carpool_operator.domain.allocation.interface import Reservation
from carpool_operator.domain.cluster_state import Slot
from carpool_operator.domain.job.actions import BeginAttempt, CreateConfigMap, CreateDriver
from carpool_operator.domain.job.driver_reading import driver_of
from carpool_operator.domain.job.driver_report import progress_of
from carpool_operator.domain.job.observed import Observed
from carpool_operator.domain.job.plan import Plan, decide
from carpool_operator.domain.job.settings import JobSettings
from support.control_plane.client import ApiClient
from support.custom_resources import jobs
from support.job_documents import job_document
from support.job_world import answer

SETTINGS = JobSettings(
    image="registry.example.org/carpool-job:1",
    driver_node_selector={"pool": "cpu"},
    driver_tolerations=({"key": "cpu", "operator": "Exists"},),
    gpu_runtime_class="nvidia",
)
TEMPLATE = {
    "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
    "spec": {
        "priorityClassName": "system-node-critical",
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "m"}}],
        "initContainers": [{"name": "fetch", "image": "curl"}],
        "containers": [
            {
                "name": "driver",
                "env": [{"name": "LEVEL", "value": "info"}],
                "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                "ports": [{"name": "ui", "containerPort": 4040}],
            },
            {"name": "proxy", "image": "proxy"},
        ],
    },
}


@pytest.fixture
def restricted(api: ApiClient, namespace: str) -> str:
    """A namespace that enforces Pod Security `restricted`, with the drivers' account."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    path = f"/api/v1/namespaces/{namespace}"
    api.merge(path, {"metadata": {"labels": labels}})
    api.post(f"{path}/serviceaccounts", {"metadata": {"name": "carpool-driver"}})
    return namespace


class Job:
    """A job on the API server, and the operator's writes of it."""

    def __init__(self, api: ApiClient, namespace: str, **changes: Any) -> None:
        self.api = api
        self.path = f"{jobs(namespace)}/smallest"
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.raw = api.post(jobs(namespace), job_document(**changes))
        self.now = 1_800_000_000.0
        self.driver: dict[str, Any] | None = None

    def observed(self) -> Observed:
        drivers = () if self.driver is None else (driver_of(self.driver),)
        return Observed(self.api.get(self.path), drivers=drivers)

    def decide(self, **changes: Any) -> Plan:
        return decide(replace(self.observed(), **changes), SETTINGS, self.now)

    def apply(self, status: Any, version: str | None = None) -> None:
        body = {
            "apiVersion": self.raw["apiVersion"],
            "kind": "InferenceJob",
            "metadata": {"name": "smallest"},
            "status": status,
        }
        if version is not None:
            body["metadata"]["resourceVersion"] = version
        self.api.apply(f"{self.path}/status", body)

    def begin(self) -> None:
        slots = (Slot("node-1", "GPU-1"),)
        reservation = Reservation(self.raw["metadata"]["uid"], slots)
        for action in self.decide(reservation=reservation).actions:
            match action:
                case BeginAttempt(_, version, status):
                    self.apply(status, version)
                case CreateConfigMap(manifest):
                    path = self.pods.replace("/pods", "/configmaps")
                    self.api.post(path, dict(manifest), fieldValidation="Strict")
                case CreateDriver(manifest):
                    self.driver = self.api.post(self.pods, dict(manifest), fieldValidation="Strict")

    def write(self, **changes: Any) -> None:
        """Write a status, and see that nothing is left to write."""
        plan = self.decide(**changes)
        assert plan.status is not None
        self.apply(plan.status)
        again = self.decide(**changes)
        assert again.status is None
        assert again.actions == ()


def test_driver_pod_is_admitted_where_pod_security_is_restricted(api, restricted):
    job = Job(api, restricted, spec__spark={"driverTemplate": TEMPLATE})
    job.begin()
    assert job.driver is not None
    inside = job.driver["spec"]
    names = [each["name"] for each in (*inside["initContainers"], *inside["containers"])]
    assert names == ["fetch", "driver", "proxy"]
    assert inside["serviceAccountName"] == "carpool-driver"
    [owner] = job.driver["metadata"]["ownerReferences"]
    assert owner["uid"] == job.raw["metadata"]["uid"]


def test_statuses_of_a_life_are_stored_as_they_were_sent(api, restricted):
    job = Job(api, restricted)
    job.begin()
    assert job.driver is not None
    job.write()
    job.driver["status"] = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "containerStatuses": [
            {"name": "driver", "state": {"running": {"startedAt": "2027-01-15T08:00:00Z"}}}
        ],
    }
    said = answer("Detecting", done=400_000) | {
        "failures": [
            {
                "time": "2027-01-15T08:00:00Z",
                "reason": "FramesMissing",
                "message": "12 of 30",
                "location": "s3://clips/a.mp4",
            }
        ]
    }
    first = progress_of(said, attempt=1, polled=job.now)
    second = progress_of(answer("Detecting", done=500_000), attempt=1, polled=job.now + 30)
    assert first is not None
    assert second is not None
    job.write(progress=second.after(first))
    job.write(progress=first)
    end = {"exitCode": 1, "finishedAt": "2027-01-15T08:10:00Z", "message": "OutOfMemoryError"}
    job.driver["status"] = {
        "phase": "Failed",
        "containerStatuses": [{"name": "driver", "state": {"terminated": end}}],
    }
    job.write()
    status = job.api.get(job.path)["status"]
    assert status["phase"] == "Queued"
    assert status["lastEnded"]["outcome"] == "Retryable"
    assert "gpus" not in status


def test_refused_job_is_found_refused(api, namespace):
    job = Job(api, namespace, spec__input__kind="Images")
    job.write()
    status = job.api.get(job.path)["status"]
    assert status["conditions"][0]["type"] == "Accepted"
    assert status["phase"] == "Failed"


def test_table_of_kubectl_shows_a_job_in_its_columns(api, restricted, cluster):
    job = Job(api, restricted)
    job.begin()
    job.write()
    listed = cluster.kubectl("get", "ij", "--namespace", restricted).stdout.split()
    assert listed[:6] == ["NAME", "PHASE", "PROGRESS", "RATE", "ETA", "GPUS"]
    assert "Starting" in listed
    assert "0/1" in listed
