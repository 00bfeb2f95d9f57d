"""What a job asks of the cluster: how many executors, and what each of them will request.

The figures are those of the pod that the driver will make Spark ask for (`carpool.spark`), so that
what is reserved is what is used: Spark requests whole MiB of memory and `spark.executor.cores`,
unless `spark.kubernetes.executor.request.cores` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from carpool.errors import SpecError
from carpool.spec import InferenceJobSpec, quantity_bytes
from carpool.spec.gpu import KUBELET_GPUS
from carpool_operator.domain.cluster_state import JobDemand, Resources
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.observed.pods import scheduling_of
from carpool_operator.domain.observed.requests import pod_requests

EXECUTOR_CONTAINER: Final = "spark-executor"
REQUEST_CORES: Final = "spark.kubernetes.executor.request.cores"
_MIB: Final = 1 << 20
_LEAST_MEMORY: Final = 1 << 30
"""At most half of a container is for the JVM's heap, which needs 512 MiB."""
_QUANTITY: Final = re.compile(
    r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?"
)


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
        executor_scheduling=scheduling_of(
            {
                **template,
                "nodeSelector": {
                    **(template.get("nodeSelector") or {}),
                    **(gpu.node_selector if gpu is not None else {}),
                },
            }
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
    """Of the pod that the driver makes of the template: the host is its last init container."""
    path = "spec.spark.executorTemplate.spec"
    containers = [
        _with_requests(each, f"{path}.containers[{place}]")
        for place, each in enumerate(template.get("containers") or ())
    ]
    init_containers = [
        _with_requests(each, f"{path}.initContainers[{place}]")
        for place, each in enumerate(template.get("initContainers") or ())
    ]
    theirs = next((each for each in containers if each["name"] == EXECUTOR_CONTAINER), {})
    beside = [each for each in containers if each["name"] != EXECUTOR_CONTAINER]
    return pod_requests(
        {
            "containers": [_executor(spec, theirs), *beside],
            "initContainers": [*init_containers, _host(spec)],
        }
    )


def _with_requests(container: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A container as the API server will have it: what it limits and does not request, it requests.

    Raises:
        SpecError: an amount is no quantity.
    """
    resources = container.get("resources") or {}
    amounts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    for name, amount in amounts.items():
        _check_quantity(amount, f"{path}.resources.requests.{name}")
    return {
        "name": container["name"],
        "restartPolicy": container.get("restartPolicy"),
        "resources": {"requests": amounts},
    }


def _executor(spec: InferenceJobSpec, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Spark's container: what the template asks for, with Spark's own cpu and memory over it."""
    executor, conf = spec.spark.executor, spec.spark.conf
    memory = jvm_memory(executor.memory, "spec.spark.executor.memory")
    cpu = conf.get(REQUEST_CORES, str(executor.cores))
    _check_quantity(cpu, f'spec.spark.conf["{REQUEST_CORES}"]')
    requests = {**theirs.get("resources", {}).get("requests", {}), "cpu": cpu, "memory": memory}
    return {"resources": {"requests": requests}}


def _host(spec: InferenceJobSpec) -> dict[str, Any]:
    """The model host: it requests what the spec says and nothing else, as the driver writes it."""
    amounts = {"cpu": spec.host.cpu, "memory": spec.host.memory}
    requests = {name: amount for name, amount in amounts.items() if amount is not None}
    if spec.exclusive_gpus:
        requests[KUBELET_GPUS] = "1"
    return {"restartPolicy": "Always", "resources": {"requests": requests}}


def _check_quantity(value: Any, path: str) -> None:
    # No quantity has more digits than an amount of bytes; a longer number only costs time.
    if not isinstance(value, str | int) or not _QUANTITY.fullmatch(str(value)[:64]):
        raise SpecError(
            f'{path}: expected a Kubernetes quantity, such as "500m" or "2Gi", found "{value}"'
        )
