"""What is reserved for an executor is what its pod will ask for."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.host.config import HostConfig
from carpool.spark.cluster_executors import spark_settings
from carpool.spark.driver_pod import DriverPod
from carpool.spark.executor_pod import EXECUTOR_CONTAINER, executor_pod
from carpool.spec import validate_job
from carpool_operator.domain.cluster_state import JobDemand, Resources, Scheduling
from carpool_operator.domain.job.demand import demand_of
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.observed.requests import pod_requests
from support.job_world import START, world

HOST = HostConfig(handler="carpool.vision.oracle:ColourOracle", expected_clients=4)
DRIVER = DriverPod("driver", "traffic", "10.1.2.3", "image", "10.96.0.1:443")
GIB = 1 << 30


def job_of(**changes: Any):
    made = world(**changes)
    assert made.job is not None
    document = {key: made.job[key] for key in ("apiVersion", "kind", "spec")}
    checked = validate_job(document | {"metadata": {"name": "cam-12"}}, "job")
    return JobObject.of(made.job), checked


def demand(**changes: Any) -> JobDemand:
    job, checked = job_of(**changes)
    return demand_of(job, checked.spec)


def as_spark_makes_it(tmp_path, **changes: Any) -> Resources:
    """Requests of the pod that Spark fills in from the driver's template and settings.

    Spark's BasicExecutorFeatureStep sets cpu and memory of its container and leaves the rest.
    """
    _, checked = job_of(**changes)
    pod = executor_pod(checked.spec, HOST, image="image")
    settings = spark_settings(checked, DRIVER, image="image", template=tmp_path / "pod.json")
    settings |= checked.spec.spark.conf
    memory = sum(
        int(settings[key].removesuffix("m"))
        for key in ("spark.executor.memory", "spark.executor.memoryOverhead")
    )
    for container in pod["spec"]["containers"]:
        # As the API server fills in.
        resources = container.setdefault("resources", {})
        resources["requests"] = {**resources.get("limits", {}), **resources.get("requests", {})}
        if container["name"] == EXECUTOR_CONTAINER:
            cores = settings.get(
                "spark.kubernetes.executor.request.cores", settings["spark.executor.cores"]
            )
            resources["requests"] |= {"cpu": cores, "memory": f"{memory}Mi"}
    return pod_requests(pod["spec"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spec__spark": {"executor": {"cores": 16, "memory": "20Gi"}}},
        {"spec__spark": {"executor": {"memory": "5000000001"}}},
        {"spec__spark": {"conf": {"spark.kubernetes.executor.request.cores": "1500m"}}},
        {"spec__host": {"cpu": "2", "memory": "6Gi"}},
        {"spec__host": {"memory": "6G"}, "spec__device": "GPU"},
        {"spec__device": "GPU", "spec__gpu": {"ownership": "Exclusive"}},
        {
            "spec__device": "GPU",
            "spec__gpu": {"ownership": "Exclusive", "memory": "8Gi"},
            "spec__host": {"cpu": "2", "memory": "6Gi"},
        },
        {
            "spec__spark": {
                "executorTemplate": {
                    "spec": {
                        "containers": [
                            {
                                "name": "spark-executor",
                                "resources": {
                                    "requests": {"ephemeral-storage": "5Gi", "cpu": "1m"}
                                },
                            },
                            {"name": "proxy", "resources": {"limits": {"memory": "64Mi"}}},
                        ],
                        "initContainers": [
                            {"name": "fetch", "resources": {"requests": {"cpu": "12"}}},
                            {
                                "name": "logs",
                                "restartPolicy": "Always",
                                "resources": {"requests": {"cpu": "250m", "memory": "32Mi"}},
                            },
                        ],
                    }
                }
            },
            "spec__host": {"cpu": "500m", "memory": "1Gi"},
        },
    ],
)
def test_requests_are_those_of_the_pod_that_spark_will_make(tmp_path, changes):
    assert demand(**changes).executor_requests == as_spark_makes_it(tmp_path, **changes)


def test_requests_of_the_smallest_job_are_its_executors_alone():
    assert demand().executor_requests == Resources(cpu=4000, memory=4 * GIB, pods=1)


def test_demand_says_how_many_executors_and_how_many_at_once():
    found = demand(spec__executors=5, spec__minExecutors=2)
    assert (found.executors, found.required) == (5, 2)
    assert demand(spec__executors=5).required == 5


def test_demand_on_cpus_has_no_wishes_about_gpus():
    found = demand()
    assert (found.device, found.executors_per_gpu, found.gpu_memory) == ("CPU", 1, None)
    assert found.created == START
    assert (found.namespace, found.name) == ("traffic", "cam-12")


def test_wishes_about_gpus_are_told():
    found = demand(
        spec__device="GPU",
        spec__gpu={
            "executorsPerGPU": 2,
            "sharedWith": "Namespace",
            "memory": "8Gi",
            "placement": "Pack",
        },
    )
    assert found.device == "GPU"
    assert (found.executors_per_gpu, found.shared_with) == (2, "Namespace")
    assert (found.gpu_memory, found.placement) == (8 * GIB, "Pack")


def test_a_whole_gpu_is_a_resource_that_each_executor_asks_the_kubelet_for():
    found = demand(
        spec__device="GPU",
        spec__gpu={"ownership": "Exclusive", "memory": "8Gi", "placement": "Pack"},
    )
    assert found.executor_requests.extended == (("nvidia.com/gpu", 1),)
    assert (found.device, found.placement) == ("GPU", "Pack")
    assert (found.executors_per_gpu, found.shared_with) == (1, "Job")
    assert demand(spec__device="GPU").executor_requests.extended == ()


def test_nodes_are_those_of_the_template_and_of_the_gpu_wishes():
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    affinity = {"podAntiAffinity": {}}
    found = demand(
        spec__device="GPU",
        spec__gpu={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        spec__spark={
            "executorTemplate": {
                "spec": {
                    "nodeSelector": {"disk": "ssd", "nvidia.com/gpu.product": "any"},
                    "affinity": affinity,
                    "tolerations": tolerations,
                }
            }
        },
    )
    assert found.executor_scheduling == Scheduling(
        node_selector={"disk": "ssd", "nvidia.com/gpu.product": "NVIDIA-L4"},
        affinity=affinity,
        tolerations=tuple(tolerations),
    )
