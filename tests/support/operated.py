"""An operator on the test cluster, installed with Helm, and the jobs that are applied to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from support.cluster import HANDLERS, MOUNT, ROOT, JobsNamespace, until
from support.helm import CHART, helm_command

ACCOUNT = "carpool-operated"
"""The account of drivers; the namespace has one of its own for drivers without an operator."""


@dataclass(frozen=True)
class Operator:
    """A release of the chart that runs the jobs of one namespace."""

    jobs: JobsNamespace

    @property
    def release(self) -> str:
        """Its name: a cluster may have several, each with roles of its own."""
        return f"carpool-{self.jobs.name}"

    @property
    def namespace(self) -> str:
        """Where it is."""
        return f"{self.jobs.name}-operator"

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the release's namespace."""
        command = [*self.jobs.facts["kubectl"], "--namespace", self.namespace, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def helm(self, *words: str) -> str:
        """Run helm in the release's namespace."""
        connection = self.jobs.facts["kubectl"][1:]
        command = [helm_command(), *connection, f"--namespace={self.namespace}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"helm {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def install(self, **values: Any) -> None:
        """Install the chart, or upgrade it, and wait until the operator answers."""
        self.helm(
            *("upgrade", "--install", self.release, str(CHART), "--wait", "--timeout=180s"),
            *(f"--set-json={key}={json.dumps(value)}" for key, value in self._values(values)),
        )

    def _values(self, more: dict[str, Any]) -> list[tuple[str, Any]]:
        images = self.jobs.facts["images"]
        operator, tag = images["operator"].rsplit(":", 1)
        job, job_tag = images["jobWithoutTorch"].rsplit(":", 1)
        return [
            ("image", {"repository": operator, "tag": tag, "pullPolicy": "Never"}),
            ("jobs.image", {"repository": job, "tag": job_tag, "pullPolicy": "Never"}),
            ("jobs.serviceAccount.name", ACCOUNT),
            ("operator.namespaces", [self.jobs.name]),
            ("operator.progressIntervalSeconds", 2),
            ("operator.settings", {"CARPOOL_JOB_BACKOFF_SECONDS": 1}),
            *((key.replace("__", "."), value) for key, value in more.items()),
        ]

    def scale(self, replicas: int) -> None:
        """Have so many operators, and wait until it is so."""
        name = f"deployment/{self.release}-operator"
        self.kubectl("scale", name, f"--replicas={replicas}")
        self.kubectl("rollout", "status", name, "--timeout=120s")
        until(lambda: len(self._pods()) == replicas, lambda: str(self._pods()))

    def _pods(self) -> list[str]:
        selector = "app.kubernetes.io/name=carpool-operator"
        return self.kubectl("get", "pods", "-l", selector, "-o", "name").split()

    def log(self) -> str:
        """What the operator has logged."""
        return self.kubectl("logs", f"deployment/{self.release}-operator", "--tail=200")

    def apply(self, job: dict[str, Any]) -> AppliedJob:
        """Apply a job, under a name of its own, with drivers that find what the test brings."""
        job = json.loads(json.dumps(job))
        job["metadata"]["name"] = f"job-{uuid4().hex[:6]}"
        job["spec"]["spark"]["driverTemplate"] = _driver_template()
        self.jobs.kubectl("apply", "-f", "-", given=json.dumps(job))
        return AppliedJob(self, job["metadata"]["name"])


@dataclass(frozen=True)
class AppliedJob:
    """An InferenceJob of the cluster."""

    operator: Operator
    name: str

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the job's namespace."""
        return self.operator.jobs.kubectl(*words)

    def read(self) -> dict[str, Any]:
        """The object."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "ij", self.name, "-o", "json"))
        return found

    @property
    def status(self) -> dict[str, Any]:
        """Its status."""
        found: dict[str, Any] = self.read().get("status") or {}
        return found

    @property
    def phase(self) -> str:
        """For display, says the API; tests may look."""
        return str(self.status.get("phase"))

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition; empty while there is none."""
        conditions = self.status.get("conditions") or []
        return next((each for each in conditions if each["type"] == kind), {})

    def suspend(self, *, wanted: bool) -> None:
        """Suspend the job, or have it go on."""
        change = json.dumps({"spec": {"suspend": wanted}})
        self.kubectl("patch", "ij", self.name, "--type=merge", "-p", change)

    def finish(self, seconds: int = 300) -> dict[str, Any]:
        """Wait for its end as users do; its status."""
        wait = ("wait", f"ij/{self.name}", "--for=condition=Finished", f"--timeout={seconds}s")
        try:
            self.kubectl(*wait)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None
        return self.status

    def pods(self, role: str) -> list[dict[str, Any]]:
        """Its pods of a role, those on their way out included."""
        selector = f"carpool.dev/job={self.name},carpool.dev/role={role}"
        listed = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))
        found: list[dict[str, Any]] = listed["items"]
        return found

    def names(self, role: str) -> set[str]:
        """Names of its pods of a role."""
        return {pod["metadata"]["name"] for pod in self.pods(role)}

    def events(self) -> set[str]:
        """Reasons of the events about it."""
        listed = self.kubectl(
            *("get", "events", "--field-selector", f"involvedObject.name={self.name}"),
            *("-o", "jsonpath={.items[*].reason}"),
        )
        return set(listed.split())

    def told(self) -> str:
        """All there is to say when something went wrong."""
        described = self.kubectl("describe", "ij", self.name)
        pods = self.kubectl("get", "pods", "-o", "wide")
        return f"{described}\n{pods}\n{self.operator.log()}"


def _driver_template() -> dict[str, Any]:
    mounts = [
        {"name": "shared", "mountPath": MOUNT},
        {"name": "shared", "mountPath": HANDLERS, "subPath": "support", "readOnly": True},
    ]
    return {
        "spec": {
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
            "containers": [{"name": "driver", "volumeMounts": mounts}],
        }
    }


@contextmanager
def operator(jobs: JobsNamespace, **values: Any) -> Iterator[Operator]:
    """Install an operator for a namespace of jobs, and uninstall it."""
    found = Operator(jobs)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": found.namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    jobs.kubectl("apply", "-f", "-", given=json.dumps(namespace))
    jobs.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    try:
        found.install(**values)
        yield found
    finally:
        jobs.kubectl("delete", "ij", "--all", "--wait=false")
        found.helm("uninstall", found.release, "--ignore-not-found", "--wait", "--timeout=60s")
        jobs.kubectl("delete", f"namespace/{found.namespace}", "--wait=false")
