"""Executors as pods of the Kubernetes cluster that this driver is a pod of.

Spark runs in client mode: this process is the driver, asks the API server for executor pods and
owns them, so they go with its pod. Ports are fixed, for the sake of network policies, and whoever
connects must know the application's secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carpool.errors import JobFailed, SpecError
from carpool.spark.driver_pod import DriverPod
from carpool.spark.executor_pod import (
    EXECUTOR_CONTAINER,
    GRACE_SECONDS,
    HOST_DIRECTORY,
    SCRATCH,
    Door,
    executor_pod,
)
from carpool.spark.executors import RunningExecutors
from carpool.spark.local_host import host_config
from carpool.spark.session import TASK_ATTEMPTS, running_spark
from carpool.spec import InferenceJob, quantity_bytes
from carpool.vision.model import ResolvedModel

DRIVER_PORT = 7078
BLOCK_MANAGER_PORT = 7079
_MIB = 1 << 20
_LEAST_HEAP_MIB = 512
_MOST_HEAP_MIB = 2048


class ClusterExecutors:
    """Pods with a Spark executor and a model host each."""

    def __init__(self, pod: DriverPod, job_uid: str | None = None) -> None:
        """Take where this driver runs.

        Args:
            pod: of this driver.
            job_uid: of the InferenceJob; executors of an operator's driver carry it.

        Raises:
            SpecError: an operator started the driver, and did not say for which job.
        """
        if pod.attempt is not None and not job_uid:
            raise SpecError(
                "--job-uid: not given, though CARPOOL_ATTEMPT is set; both belong together"
            )
        self._pod = pod
        self._job_uid = job_uid

    def ignored(self, job: InferenceJob) -> list[str]:
        """Nothing: a cluster has all of it."""
        del job
        return []

    @contextmanager
    def started(
        self, job: InferenceJob, model: ResolvedModel, directory: Path
    ) -> Iterator[RunningExecutors]:
        """Write the pod template and start Spark; see `Executors.started`."""
        _check_reachable(model, directory)
        spec = job.spec
        if spec.sharing == "PerTask":
            raise SpecError(
                "spec.sharing: PerTask runs on one machine only (`carpool run`); an executor pod "
                "has one model host, which its tasks share"
            )
        image = spec.spark.image or self._pod.image
        device = "cuda:0" if spec.device == "GPU" else "cpu"
        host = host_config(spec, model, device=device)
        template = directory / "executor-pod.json"
        pod = executor_pod(
            spec,
            host,
            image=image,
            pull_policy=self._pod.image_pull_policy,
            door=self._door(job),
        )
        template.write_text(json.dumps(pod))
        settings = spark_settings(job, self._pod, image=image, template=template)
        with running_spark({**settings, **spec.spark.conf}, directory) as spark:
            yield RunningExecutors(
                spark=spark,
                model_key=host.model_key,
                host_directory=HOST_DIRECTORY,
                host_is_sidecar=True,
                scratch=SCRATCH,
            )

    def _door(self, job: InferenceJob) -> Door | None:
        if self._pod.attempt is None or self._job_uid is None:
            return None
        return Door(
            job=job.metadata.name,
            job_uid=self._job_uid,
            attempt=self._pod.attempt,
            runtime_class=self._pod.gpu_runtime_class,
        )


def spark_settings(
    job: InferenceJob, pod: DriverPod, *, image: str, template: Path
) -> dict[str, str]:
    """Spark's settings for a job on a cluster; the user's own come on top."""
    spark = job.spec.spark
    heap, rest = _split(spark.executor.memory, "spec.spark.executor.memory")
    driver_heap, _ = _split(spark.driver.memory, "spec.spark.driver.memory")
    settings = {
        "spark.app.name": job.metadata.name,
        "spark.master": f"k8s://https://{pod.api_server}",
        "spark.submit.deployMode": "client",
        "spark.driver.memory": f"{driver_heap}m",
        "spark.driver.host": pod.address,
        # Spark gives the executors this address: it must be the one they can reach.
        "spark.driver.bindAddress": pod.address,
        "spark.driver.port": str(DRIVER_PORT),
        "spark.driver.blockManager.port": str(BLOCK_MANAGER_PORT),
        "spark.blockManager.port": str(BLOCK_MANAGER_PORT),
        "spark.authenticate": "true",
        "spark.executor.instances": str(job.spec.executors),
        "spark.executor.cores": str(spark.executor.cores),
        "spark.executor.memory": f"{heap}m",
        "spark.executor.memoryOverhead": f"{rest}m",
        "spark.excludeOnFailure.enabled": "true",
        "spark.task.maxFailures": str(TASK_ATTEMPTS),
        "spark.kubernetes.namespace": pod.namespace,
        "spark.kubernetes.driver.pod.name": pod.name,
        "spark.kubernetes.container.image": image,
        "spark.kubernetes.container.image.pullPolicy": pod.image_pull_policy,
        "spark.kubernetes.executor.podTemplateFile": str(template),
        "spark.kubernetes.executor.podTemplateContainerName": EXECUTOR_CONTAINER,
        "spark.kubernetes.executor.terminationGracePeriodSeconds": f"{GRACE_SECONDS}s",
        # Executors read no configuration of Spark's; so the driver needs no right to ConfigMaps.
        "spark.kubernetes.executor.disableConfigMap": "true",
    }
    if secrets := dict.fromkeys((*pod.image_pull_secrets, *spark.image_pull_secrets)):
        settings["spark.kubernetes.container.image.pullSecrets"] = ",".join(secrets)
    return settings


def _split(memory: str, field: str) -> tuple[int, int]:
    """MiB of a container for the JVM's heap, and for all else: Python workers do the work here."""
    total = quantity_bytes(memory) // _MIB
    heap = min(max(total // 4, _LEAST_HEAP_MIB), _MOST_HEAP_MIB)
    if total < 2 * heap:
        raise SpecError(f'{field}: "{memory}" is too little; expected at least "1Gi"')
    return heap, total - heap


def _check_reachable(model: ResolvedModel, directory: Path) -> None:
    """Refuse a model that was brought to the driver alone.

    Raises:
        JobFailed: a file of the model is a copy on the driver.
    """
    for path in filter(None, (model.path, *model.files.values())):
        if path.is_relative_to(directory):
            raise JobFailed(
                "spec.model.uri: models from object storage are not built yet on a cluster; put "
                "the model on a volume that executorTemplate mounts, or into the image"
            )
