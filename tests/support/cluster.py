"""The test cluster as tests use it: a namespace for jobs, drivers to start and to wait for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from uuid import uuid4

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFESTS = ROOT / "tests" / "e2e" / "manifests"
DEADLINE = 300.0
MOUNT = "/data"
"""Where drivers and executors see the shared directory."""
HANDLERS = "/opt/carpool/lib/python3.11/site-packages/support"
"""Where they see its folder `support`: the modules of SHIPPED, so that tests can bring handlers."""
SHIPPED = ("cluster_handlers.py", "stalling_proxy.py")


@dataclass(frozen=True)
class JobsNamespace:
    """A namespace under Pod Security `restricted`, and what of the cluster its tests need."""

    name: str
    facts: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The shared directory as this machine sees it; pods see it as MOUNT."""
        return Path(self.facts["shared"]) / "files" / self.name

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """Run kubectl in the namespace."""
        command = [*self.facts["kubectl"], "--namespace", self.name, *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def start(self, job: dict[str, Any], image: str) -> Driver:
        """Start the driver of a job; a second one of a job of the same name is its next attempt."""
        name = f"job-{uuid4().hex[:6]}"
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"job.yaml": yaml.safe_dump(job)},
        }
        self.kubectl("apply", "-f", "-", given=json.dumps(config))
        self._apply("driver.yaml", name=name, image=image)
        return Driver(self, name)

    def run(self, *program: str) -> str:
        """Start a program in a pod of its own, with the image of jobs; gives the pod's name."""
        name = f"program-{uuid4().hex[:6]}"
        image = self.facts["images"]["jobWithoutTorch"]
        self._apply("program.yaml", name=name, image=image, program=json.dumps(program))
        return name

    def pod(self, name: str) -> dict[str, Any]:
        """A pod, as the API server has it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "pod", name, "-o", "json"))
        return found

    def _apply(self, manifest: str, **names: str) -> None:
        template = Template((MANIFESTS / manifest).read_text())
        facts = {
            "access_key": self.facts["accessKey"],
            "secret_key": self.facts["secretKey"],
            "handlers": HANDLERS,
        }
        text = template.substitute(namespace=self.name, **facts, **names)
        self.kubectl("apply", "-f", "-", given=text)


@dataclass(frozen=True)
class Driver:
    """A job's driver pod."""

    namespace: JobsNamespace
    name: str

    def phase(self) -> str:
        """Phase of the pod."""
        return self.namespace.kubectl("get", "pod", self.name, "-o", "jsonpath={.status.phase}")

    def log(self) -> str:
        """What it has printed."""
        return self.namespace.kubectl("logs", self.name)

    def wait(self) -> dict[str, Any]:
        """Wait for its end; the result as it printed it."""
        until(lambda: self.phase() in {"Succeeded", "Failed"}, self.log)
        lines = self.log().splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def executors(self) -> list[dict[str, Any]]:
        """Its executor pods, as the API server has them; a pod on its way out is none."""
        listed = self.namespace.kubectl("get", "pods", "-l", "spark-role=executor", "-o", "json")
        return [
            pod
            for pod in json.loads(listed)["items"]
            if any(owner["name"] == self.name for owner in pod["metadata"]["ownerReferences"])
            and "deletionTimestamp" not in pod["metadata"]
        ]


def until(holds: Callable[[], object], told: Callable[[], str], seconds: float = DEADLINE) -> None:
    """Wait for something that the API server tells only when asked."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


def cluster_facts() -> dict[str, Any] | None:
    """What `hack/cluster facts` says; None where there is no cluster."""
    command = [sys.executable, str(ROOT / "hack" / "cluster"), "facts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found


@contextmanager
def jobs_namespace(facts: dict[str, Any]) -> Iterator[JobsNamespace]:
    """Make a namespace for jobs and remove it with all that is in it."""
    namespace = JobsNamespace(f"e2e-{uuid4().hex[:6]}", facts)
    namespace.folder.mkdir()
    namespace.folder.chmod(0o1777)
    (namespace.folder / "support").mkdir()
    for module in SHIPPED:
        shutil.copy2(ROOT / "tests" / "support" / module, namespace.folder / "support")
    try:
        namespace._apply("namespace.yaml")
        yield namespace
    finally:
        deletion = ("--ignore-not-found", "--wait=false")
        namespace.kubectl("delete", f"namespace/{namespace.name}", *deletion)
        namespace.kubectl("delete", f"persistentvolume/{namespace.name}", *deletion)
