"""Jobs for the cluster: small ones, on the shared directory or on S3, that a test can hold."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.folder import OutputFolder
from carpool.outputs.manifest import Manifest, read_manifest
from support.cluster import HANDLERS, MOUNT, JobsNamespace, until
from support.local_runs import oracle_job, run_carpool

EXECUTORS = 2

_SPARK = {
    "driver": {"memory": "1Gi"},
    "executor": {"cores": 2, "memory": "1Gi"},
    "conf": {"spark.kubernetes.executor.request.cores": "200m"},
}
"""Three nodes of a test cluster share the cores of one machine."""


@dataclass(frozen=True)
class Place:
    """Where a job reads and writes.

    Attributes:
        clips: the input, as pods name it.
        output: the output, as pods name it.
        seen: the output, as this machine reaches it.
        options: the same for `carpool results`.
        spec: what a job needs in its spec to get there.
    """

    clips: str
    output: str
    seen: OutputFolder
    options: tuple[str, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)

    def job(self, **spec: Any) -> dict[str, Any]:
        """A job there, with the oracle or with what the spec says."""
        spark = deepcopy(_SPARK) | {"executorTemplate": executor_template()} | spec.pop("spark", {})
        whole = {"executors": EXECUTORS, "spark": spark, **self.spec, **spec}
        return oracle_job(self.clips, self.output, **whole)

    def committed(self) -> int:
        """Work units that are done."""
        return len(self.seen.list("detections"))

    def manifest(self) -> Manifest:
        """The manifest of the complete output."""
        found = read_manifest(self.seen)
        assert found is not None
        return found

    def hash(self) -> str:
        """What `carpool results --hash` says."""
        ended = run_carpool("results", self.seen.uri, "--hash", "-o", "json", *self.options)
        assert ended.code == 0, ended.stderr
        return str(json.loads(ended.stdout)["hash"])


def on_shared_directory(namespace: JobsNamespace, clips: str, name: str) -> Place:
    """A place in the shared directory."""
    seen = OutputFolder(str(namespace.folder / name), StorageOptions())
    return Place(clips=f"{clips}/*.mp4", output=f"{MOUNT}/{name}", seen=seen)


def on_s3(namespace: JobsNamespace, clips: str, name: str, *, endpoint: str = "") -> Place:
    """A place on the S3 server; `endpoint` is where pods reach it by another way than its own."""
    facts = namespace.facts
    uri = f"s3://{facts['bucket']}/{namespace.name}/{name}"
    endpoint = endpoint or facts["s3InCluster"]
    return Place(
        clips=f"{clips}/*.mp4",
        output=uri,
        seen=OutputFolder(uri, StorageOptions(endpoint=facts["s3"], region="us-east-1")),
        options=("--endpoint", facts["s3"], "--region", "us-east-1"),
        spec={"storage": {"secretName": "s3", "endpoint": endpoint, "region": "us-east-1"}},
    )


def executor_template(**spec: Any) -> dict[str, Any]:
    """A pod template that mounts the shared directory, and the handlers of tests, as drivers do."""
    mounts = [
        {"name": "shared", "mountPath": MOUNT},
        {"name": "shared", "mountPath": HANDLERS, "subPath": "support", "readOnly": True},
    ]
    return {
        "spec": {
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
            "containers": [{"name": "spark-executor", "volumeMounts": mounts}],
            **spec,
        }
    }


class Hold:
    """Hosts stop here in the middle of a batch; see `support.cluster_handlers.HeldOracle`."""

    def __init__(self, namespace: JobsNamespace, name: str) -> None:
        self.name = name
        self._folder: Path = namespace.folder / f"hold-{name}"
        self._folder.mkdir()
        self._folder.chmod(0o1777)
        self.model = {
            "format": "Python",
            "handler": "support.cluster_handlers:HeldOracle",
            "parameters": {"hold": f"{MOUNT}/hold-{name}"},
        }

    def held(self) -> set[str]:
        """Names of the pods whose hosts are held."""
        return {path.name for path in self._folder.iterdir()}

    def wait_for(self, told: Any, *, hosts: int) -> set[str]:
        """Wait until so many hosts are held."""
        until(lambda: len(self.held()) >= hosts, told)
        return self.held()

    def forget(self, pod: str) -> None:
        """Take a host's mark away, so that it shows when another one is held in its place."""
        (self._folder / pod).unlink()

    def let_go(self) -> None:
        """Let all hosts go on, for good."""
        (self._folder / "go").touch()
