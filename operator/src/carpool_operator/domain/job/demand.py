"""What a job asks of the cluster: how many executors, and what each of them will request.

The figures are those of the pod that the driver will make Spark ask for (`carpool.spark`), so that
what is reserved is what is used: Spark requests whole MiB of memory and `spark.executor.cores`,
unless `spark.kubernetes.executor.request.cores` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from carpool.errors import SpecError
from carpool.spec import InferenceJobSpec, cpu_millis, quantity_bytes
from carpool_operator.domain.cluster_state import JobDemand, Resources, Scheduling
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.pod_requests import (
    Amounts,
    amount,
    container_requests,
    pod_requests,
)

EXECUTOR_CONTAINER: Final = "spark-executor"
REQUEST_CORES: Final = "spark.kubernetes.executor.request.cores"
_MIB: Final = 1 << 20
_LEAST_MEMORY: Final = 1 << 30
"""At most half of a container is for the JVM's heap, which needs 512 MiB."""
_TEMPLATE: Final = "spec.spark.executorTemplate.spec"


def demand_of(job: JobObject, spec: InferenceJobSpec) -> JobDemand:
    """What a job asks of the cluster.

    Raises:
        SpecError: an amount cannot be used; the message names its field.
    """
    template: Mapping[str, Any] = spec.spark.executor_template.get("spec") or {}  # type: ignore[assignment]  # its form is checked by the spec
    gpu = spec.gpu
    return JobDemand(
        uid=job.uid,
        namespace=job.namespace,
        name=job.name,
        created=job.created,
        executors=spec.executors,
        required=spec.required_executors,
        executor_requests=_requests(spec, template),
        executor_scheduling=Scheduling(
            node_selector={
                **(template.get("nodeSelector") or {}),
                **(gpu.node_selector if gpu is not None else {}),
            },
            affinity=template.get("affinity") or {},
            tolerations=tuple(template.get("tolerations") or ()),
        ),
        device=spec.device,
        executors_per_gpu=1 if gpu is None else gpu.executors_per_gpu,
        shared_with="Job" if gpu is None else gpu.shared_with,
        gpu_memory=None if gpu is None or gpu.memory is None else quantity_bytes(gpu.memory),
        placement="Spread" if gpu is None else gpu.placement,
    )


def jvm_memory(quantity: str, field: str) -> int:
    """Bytes of a container with a JVM, in the whole MiB that Spark knows.

    Raises:
        SpecError: a JVM cannot run in it.
    """
    memory = quantity_bytes(quantity) // _MIB * _MIB
    if memory < _LEAST_MEMORY:
        raise SpecError(f'{field}: "{quantity}" is too little; expected at least "1Gi"')
    return memory


def _requests(spec: InferenceJobSpec, template: Mapping[str, Any]) -> Resources:
    listed = template.get("containers") or ()
    containers = [_executor(spec, listed)]
    containers += [
        container_requests(each, f"{_TEMPLATE}.containers[{place}]")
        for place, each in enumerate(listed)
        if each.get("name") != EXECUTOR_CONTAINER
    ]
    init_containers = [
        (
            container_requests(each, f"{_TEMPLATE}.initContainers[{place}]"),
            each.get("restartPolicy") == "Always",
        )
        for place, each in enumerate(template.get("initContainers") or ())
    ]
    return pod_requests(containers, [*init_containers, (_host(spec), True)])


def _executor(spec: InferenceJobSpec, containers: Any) -> Amounts:
    """Of Spark's container: the template's, with Spark's own cpu and memory over them."""
    executor = spec.spark.executor
    found: Amounts = {}
    for place, each in enumerate(containers):
        if each.get("name") == EXECUTOR_CONTAINER:
            found = container_requests(each, f"{_TEMPLATE}.containers[{place}]")
    memory = jvm_memory(executor.memory, "spec.spark.executor.memory")
    cores = spec.spark.conf.get(REQUEST_CORES)
    field = f'spec.spark.conf["{REQUEST_CORES}"]'
    cpu = executor.cores * 1000 if cores is None else amount(cores, "cpu", field)
    return {**found, "cpu": cpu, "memory": memory}


def _host(spec: InferenceJobSpec) -> Amounts:
    """Of the model host: what the spec says and nothing else, as the driver writes it."""
    found: Amounts = {}
    if spec.host.cpu is not None:
        found["cpu"] = cpu_millis(spec.host.cpu)
    if spec.host.memory is not None:
        found["memory"] = quantity_bytes(spec.host.memory)
    return found
