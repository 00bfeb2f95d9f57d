"""Jobs on GPUs, as far as a cluster without any shows it.

The agents look at GPUs through a mock of NVIDIA's library; everything else is what runs anywhere:
the allocator, the admission policy, Spark, model hosts, whose handlers compute on the CPU.
"""

import json
import time
from collections import Counter
from dataclasses import replace

import pytest

from support import operated
from support.cluster import until
from support.cluster_gpus import GPUS, await_health, mock_gpus, plugin_gpus, values
from support.cluster_jobs import Hold, on_shared_directory

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]

NODES = ["carpool-worker", "carpool-worker2"]
SMALL = {
    "driver": {"memory": "1Gi"},
    "executor": {"cores": 1, "memory": "1Gi"},
    "conf": {"spark.kubernetes.executor.request.cores": "50m"},
}
"""Sixteen of them share the cores and the memory of one machine."""
GPU_UUID = "carpool.dev/gpu-uuid"
SIMULATED = "simulated-devices"


@pytest.fixture(scope="module")
def gpus(namespace):
    """The GPUs of both workers."""
    with mock_gpus(namespace, NODES) as made:
        yield made


@pytest.fixture(scope="module")
def operator(namespace, gpus):
    """The chart with agents that see the mock; returns when they have reported."""
    with operated.operator(namespace, **values(namespace)) as installed:
        for node, mock in gpus.items():
            for uuid in mock.uuids:
                await_health(namespace, node, uuid, "Healthy")
        yield installed


@pytest.fixture
def gpu_place(namespace, shared_clips, request):
    name = request.node.name.replace("_", "-")[:40]
    return on_shared_directory(namespace, shared_clips, name)


@pytest.fixture
def hold(namespace, gpu_place):
    return Hold(namespace, gpu_place.output.rpartition("/")[2])


@pytest.fixture
def simulated_devices(namespace):
    """A Secret that tells hosts to compute on simulated devices, as the storage's of a job."""
    backend = "--from-literal=CARPOOL_HOST_BACKEND=simulated"
    namespace.kubectl("create", "secret", "generic", SIMULATED, backend)
    yield
    namespace.kubectl("delete", "secret", SIMULATED)


def beside(place):
    """A place for a second job."""
    return replace(place, output=f"{place.output}-2")


def gpu_job(place, **spec):
    executors = place.job()["spec"]["spark"]["executorTemplate"]
    spark = SMALL | {"executorTemplate": executors}
    return place.job(**({"device": "GPU", "spark": spark} | spec))


def assigned(job):
    """Node and GPU of each executor that has one, by the pod's name."""
    return {
        pod["metadata"]["name"]: (
            pod["spec"].get("nodeName"),
            pod["metadata"]["annotations"][GPU_UUID],
        )
        for pod in job.pods("executor")
        if GPU_UUID in pod["metadata"].get("annotations", {})
        and "deletionTimestamp" not in pod["metadata"]
    }


def told_of_nodes(job):
    """Executors and free memory of each node, as `kubectl get gpunodes` has them."""
    found = json.loads(job.kubectl("get", "gpunodes", "--output=json"))["items"]
    told = {node["metadata"]["name"]: node["status"].get("assigned") or {} for node in found}
    return {node: (told.get("executors"), told.get("freeMemory")) for node, told in told.items()}


@pytest.mark.usefixtures("simulated_devices")
def test_sixteen_executors_are_two_on_each_of_eight_gpus_and_give_a_local_runs_rows(
    operator, gpu_place, hold, gpus, reference_run
):
    job = operator.apply(
        gpu_job(
            gpu_place,
            executors=16,
            gpu={"executorsPerGPU": 2},
            model=hold.model,
            storage={"secretName": SIMULATED},
        )
    )
    until(lambda: len(assigned(job)) == 16, job.told)
    on = Counter(uuid for _, uuid in assigned(job).values())
    assert on == {uuid: 2 for mock in gpus.values() for uuid in mock.uuids}
    until(lambda: told_of_nodes(job) == dict.fromkeys(NODES, (8, "0Gi")), job.told)
    hold.let_go()
    assert job.finish(600)["phase"] == "Succeeded", job.told()
    assert gpu_place.hash() == reference_run.hash
    hosts = gpu_place.manifest().host.values()
    assert {host["model"]["device"] for host in hosts} == {"simulated"}


def test_the_host_alone_sees_the_gpu(operator, gpu_place, hold, gpus):
    job = operator.apply(gpu_job(gpu_place, executors=1, model=hold.model))
    [name] = hold.wait_for(job.told, hosts=1)
    [(node, uuid)] = assigned(job).values()
    assert uuid in gpus[node].uuids

    def seen(container):
        words = ("python", "-c", "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])")
        return job.kubectl("exec", name, "-c", container, "--", *words).strip()

    assert seen("model-host") == uuid
    assert seen("spark-executor") == "void"
    hold.let_go()
    job.finish()


def placed(job):
    """Node of each executor that has one, by the pod's name."""
    return {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in job.pods("executor")
        if "nodeName" in pod["spec"] and "deletionTimestamp" not in pod["metadata"]
    }


def test_whole_gpus_are_the_kubelets_and_those_of_the_pool_are_on_other_nodes(
    operator, gpu_place, hold, gpus, reference_run
):
    pool, kubelets = NODES
    exclusive = {"ownership": "Exclusive"}
    with plugin_gpus(operator.jobs, kubelets, GPUS):
        job = operator.apply(
            gpu_job(gpu_place, executors=GPUS + 1, minExecutors=1, gpu=exclusive, model=hold.model)
        )
        hosts = hold.wait_for(job.told, hosts=GPUS)
        until(lambda: len(job.pods("executor")) == GPUS + 1, job.told)
        assert placed(job) == dict.fromkeys(hosts, kubelets)
        assert assigned(job) == {}

        def seen(container):
            words = ("python", "-c", "import os; print(os.environ.get('NVIDIA_VISIBLE_DEVICES'))")
            return job.kubectl("exec", min(hosts), "-c", container, "--", *words).strip()

        # A device plugin would say which one: none does here, and we say nothing in its place.
        assert seen("model-host") == "None"
        assert seen("spark-executor") == "void"

        place, other = beside(gpu_place), Hold(operator.jobs, f"{hold.name}-2")
        shared = operator.apply(gpu_job(place, executors=1, model=other.model))
        other.wait_for(shared.told, hosts=1)
        [(node, uuid)] = assigned(shared).values()
        assert node == pool
        assert uuid in gpus[pool].uuids
        for each in (hold, other):
            each.let_go()
        for each in (job, shared):
            assert each.finish(600)["phase"] == "Succeeded", each.told()
        assert gpu_place.hash() == place.hash() == reference_run.hash


def test_no_restart_of_the_operator_changes_an_assignment(operator, gpu_place, hold):
    job = operator.apply(gpu_job(gpu_place, executors=2, model=hold.model))
    hold.wait_for(job.told, hosts=2)
    before = assigned(job)
    operator.scale(0)
    operator.scale(1)
    later = operator.apply(gpu_job(beside(gpu_place), executors=1, model=hold.model))
    until(lambda: assigned(later), later.told)
    assert assigned(job) == before
    hold.let_go()
    for each in (job, later):
        assert each.finish()["phase"] == "Succeeded", each.told()


def test_a_lost_gpu_is_left_within_seconds_and_used_again_when_it_is_well(
    operator, gpu_place, hold, gpus, reference_run
):
    job = operator.apply(gpu_job(gpu_place, executors=2, model=hold.model))
    hold.wait_for(job.told, hosts=2)
    before = assigned(job)
    name, (node, uuid) = min(before.items())
    mock = gpus[node]
    [gpu] = [each for each in mock.gpus if each.uuid == uuid]
    gpu.lost = 1
    began = time.monotonic()
    mock.write()
    await_health(operator.jobs, node, uuid, "Lost")
    assert time.monotonic() - began < 10
    until(lambda: len(assigned(job)) == 2 and name not in assigned(job), job.told)
    assert uuid not in {each for _, each in assigned(job).values()}
    hold.let_go()
    assert job.finish()["phase"] == "Succeeded", job.told()
    assert gpu_place.hash() == reference_run.hash
    gpu.lost = 0
    mock.write()
    await_health(operator.jobs, node, uuid, "Healthy")
    # All of the node's GPUs, this one among them.
    place, again = beside(gpu_place), Hold(operator.jobs, f"{hold.name}-2")
    whole = {"nodeSelector": {"kubernetes.io/hostname": node}}
    after = operator.apply(gpu_job(place, executors=GPUS, gpu=whole, model=again.model))
    again.wait_for(after.told, hosts=GPUS)
    assert {each for _, each in assigned(after).values()} == set(mock.uuids)
    again.let_go()
    assert after.finish()["phase"] == "Succeeded", after.told()


def test_where_one_host_can_never_start_the_other_does_the_work(
    operator, gpu_place, gpus, reference_run
):
    bad = gpus[NODES[0]].uuids
    model = {
        "format": "Python",
        "handler": "support.cluster_handlers:DiesOnGpus",
        "parameters": {"bad": bad},
    }
    job = operator.apply(gpu_job(gpu_place, executors=2, minExecutors=1, model=model))
    status = job.finish()
    assert status["phase"] == "Succeeded", job.told()
    assert gpu_place.hash() == reference_run.hash
    assert status.get("failures", []) == [], json.dumps(status["failures"])
    assert status["attempt"] == 1
