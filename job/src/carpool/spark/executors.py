"""Where a job's tasks run, and who serves them the model: this machine, or pods of a cluster.

The program asks for executors and gets a Spark to run tasks on, with the key of the model that
their hosts serve. All that differs between a laptop and a cluster is behind this one call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyspark import SparkContext

from carpool.spark.local_device import local_device
from carpool.spark.local_host import host_directories, local_hosts
from carpool.spark.session import local_spark
from carpool.spec import InferenceJob, spark_memory
from carpool.vision.model import ResolvedModel


@dataclass(frozen=True, slots=True)
class RunningExecutors:
    """Executors that take tasks.

    Attributes:
        spark: to run tasks with.
        model_key: that clients of the hosts must name.
        host_directory: where the tasks of one executor find their host.
        host_is_sidecar: whether the host is run for the tasks; else the first task starts it.
        scratch: folder on an executor for copies of input.
        local_hosts: folders of the hosts, where they are on this machine.
    """

    spark: SparkContext
    model_key: str
    host_directory: Path
    host_is_sidecar: bool
    scratch: Path
    local_hosts: tuple[Path, ...] = ()

    @property
    def own_hosts(self) -> tuple[Path, ...]:
        """Folders of hosts of which each task claims one (`sharing: PerTask`)."""
        return self.local_hosts if len(self.local_hosts) > 1 else ()


def registered_executors(spark: SparkContext) -> frozenset[str]:
    """Ids of the executors that are registered with the driver now; none in a local run.

    One that was lost is gone from here as soon as Spark knows: from its connection or heartbeat,
    or, on Kubernetes, from its pod.
    """
    context = spark._jsc.sc()  # noqa: SLF001 - PySpark wraps no such call
    if context.isLocal():
        return frozenset()  # a driver that is its own executor cannot list itself
    return frozenset(filter(None, context.getExecutorIds().mkString(",").split(",")))


class Executors(Protocol):
    """Can start the executors of a job."""

    def ignored(self, job: InferenceJob) -> list[str]:
        """What of the job means nothing here, a sentence each."""

    def started(
        self, job: InferenceJob, model: ResolvedModel, directory: Path
    ) -> AbstractContextManager[RunningExecutors]:
        """Start executors and hosts; at the end of the block none is left.

        Args:
            job: a valid job.
            model: what the hosts load.
            directory: the driver's own, for logs and scratch files.

        Raises:
            SparkFailed: they do not start; the message says why.
        """


class LocalExecutors:
    """One executor in a JVM of this machine, and one host beside it."""

    def ignored(self, job: InferenceJob) -> list[str]:
        """A GPU where there is none, and more than one executor."""
        found = []
        if job.spec.device == "GPU" and local_device(job.spec) == "cpu":
            found.append("spec.device: GPU: this machine shows none, so the CPU computes")
        if job.spec.executors != 1:
            found.append(f"spec.executors: {job.spec.executors}: a local run has one executor")
        return found

    @contextmanager
    def started(
        self, job: InferenceJob, model: ResolvedModel, directory: Path
    ) -> Iterator[RunningExecutors]:
        """Start host and JVM; see `Executors.started`."""
        spec = job.spec
        hosts = host_directories(spec, directory)
        with (
            local_hosts(spec, model, hosts, device=local_device(spec)) as model_key,
            local_spark(
                job.metadata.name,
                cores=spec.spark.executor.cores,
                memory=spark_memory(spec.spark.driver.memory),
                run_directory=directory,
                conf=spec.spark.conf,
            ) as spark,
        ):
            yield RunningExecutors(
                spark=spark,
                model_key=model_key,
                host_directory=hosts[0],
                host_is_sidecar=False,
                scratch=directory / "scratch",
                local_hosts=hosts,
            )
