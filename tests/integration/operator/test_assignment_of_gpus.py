"""Executors at the gate get GPUs, on a real API server with nodes whose agents are played."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from carpool_operator.domain import names
from support import played_kubelet as played
from support.job_documents import job_document
from support.many_requests import many_requests
from support.operator_process import operator
from support.played_gpus import GPU_NODES, gpu_nodes, node_of, selector
from support.watching import await_matching, await_object, condition

RUNS = 100
LOST_LEADERSHIP = 3
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def gpu_job(name: str, group: str, **spec):
    spec = {"gpu": {"executorsPerGPU": 2, "nodeSelector": selector(group)}} | spec
    return job_document(
        metadata__name=name,
        spec__device="GPU",
        spec__minExecutors=1,
        spec__model__uri="/models/m.cfg",
        spec__input__uris=["/clips/*.mp4"],
        spec__output__uri=f"/results/{name}",
        **{f"spec__{key}": value for key, value in spec.items()},
    )


def running_driver(api, namespace, job):
    """The driver pod of a job, whose container runs."""
    api.post(played.jobs_path(namespace), job)
    [driver] = await_matching(
        api,
        played.pods_path(namespace),
        lambda pod: pod["metadata"]["labels"].get(names.ROLE_LABEL) == "driver",
        1,
        "a driver",
        labelSelector=f"{names.JOB_LABEL}={job['metadata']['name']}",
    )
    played.run_driver(api, driver)
    return driver


def gpu_of(pod):
    return (pod["metadata"].get("annotations") or {}).get(names.GPU_UUID_ANNOTATION)


def epoch_of(pod):
    return pod["metadata"]["annotations"][names.EPOCH_ANNOTATION]


def pinned_node(pod):
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    [term] = pod["spec"]["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"]
    [node] = term["matchFields"][0]["values"]
    return node


def await_assigned(api, namespace, count):
    return await_matching(
        api,
        played.pods_path(namespace),
        lambda pod: gpu_of(pod) is not None,
        count,
        "assigned",
        labelSelector=f"{names.ROLE_LABEL}=executor",
    )


def await_pinned(api, namespace, job, count):
    return await_matching(
        api,
        played.pods_path(namespace),
        lambda pod: names.ASSIGNED_ANNOTATION in (pod["metadata"].get("annotations") or {}),
        count,
        "assigned",
        labelSelector=f"{names.ROLE_LABEL}=executor,{names.JOB_LABEL}={job}",
    )


def why_queued(api, namespace, job, reason):
    """What the job waits for, when it waits for this reason."""
    waits = await_object(
        api,
        played.jobs_path(namespace),
        job,
        lambda raw: condition(raw, "Reserved") == ("False", reason),
        f"waits: {reason}",
    )
    [found] = [each for each in waits["status"]["conditions"] if each["type"] == "Reserved"]
    return found["message"]


@pytest.fixture
def requests(cluster):
    with many_requests(cluster) as each:
        yield each


def test_sixteen_executors_at_once_are_two_on_each_of_eight_gpus_every_time(
    api, cluster, jobs_namespace, tmp_path, requests
):
    with (
        gpu_nodes(cluster, "even", nodes=2, gpus=4),
        operator(cluster, tmp_path, namespaces=jobs_namespace) as running,
    ):
        driver = running_driver(api, jobs_namespace, gpu_job("even", "even", executors=16))
        for run in range(RUNS):
            requests(lambda client, _: played.add_executor(client, driver), range(16))
            pods = await_assigned(api, jobs_namespace, 16)
            on = Counter(map(gpu_of, pods))
            assert sorted(on.values()) == [2] * 8, f"run {run}: {on}"
            assert all(pinned_node(pod) == node_of(gpu_of(pod)) for pod in pods)
            if run == 0:
                assert running.metric('carpool_healthy_gpus{executors="2"}') == 8
                assert running.metric("carpool_gpu_unevenness") == 0
            requests(played.remove_pod, pods)


def test_a_gpu_node_says_how_many_executors_it_has_and_what_memory_is_left(
    api, cluster, jobs_namespace, tmp_path, requests
):
    def says(executors, memory):
        found = await_object(
            api,
            GPU_NODES,
            node,
            lambda raw: raw["status"].get("assigned", {}).get("executors") == executors,
            f"says {executors} executors",
        )
        assert found["status"]["assigned"]["freeMemory"] == memory
        return found

    with (
        gpu_nodes(cluster, "told", nodes=1, gpus=2) as [node],
        operator(cluster, tmp_path, namespaces=jobs_namespace) as running,
    ):
        says(0, "44.9Gi")
        driver = running_driver(api, jobs_namespace, gpu_job("told", "told", executors=3))
        requests(lambda client, _: played.add_executor(client, driver), range(3))
        pods = await_assigned(api, jobs_namespace, 3)
        # Two of 23,034 MiB, of which three halves are promised.
        raw = says(3, "11.2Gi")
        header, row = cluster.kubectl("get", "gpunodes", node).stdout.splitlines()
        assert "EXECUTORS   FREE MEMORY" in header
        assert row.split()[1:7] == ["NVIDIA", "L4", "2", "2", "3", "11.2Gi"]
        # Another may not make it lie for long: what is assigned next puts it right.
        wrong = {"executors": 64, "freeMemory": "0Gi"}
        api.merge(f"{GPU_NODES}/{node}/status", {"status": {"assigned": wrong}})
        requests(played.remove_pod, pods[:2])
        raw = says(1, "33.7Gi")
        requests(played.remove_pod, pods[2:])
        assert running.terminate(10) == 0, running.text
        status = api.get(f"{GPU_NODES}/{node}")["status"]
        assert len(status["gpus"]) == len(raw["status"]["gpus"]) == 2


def test_two_leaders_one_after_another_with_views_of_the_past_fill_no_gpu_above_its_slots(
    api, cluster, jobs_namespace, tmp_path, requests
):
    settings = {
        "namespaces": jobs_namespace,
        "lease_name": "two-views",
        "lease_duration_seconds": "3",
        # Slowly: the first is to be stopped in the middle.
        "api_qps": "20",
        "api_burst": "10",
    }
    late = "support.late_operator"

    def led_by(name):
        def holds(lease):
            return lease["spec"].get("holderIdentity", "").startswith(name)

        await_object(api, LEASES, "two-views", holds, f"led by {name}")

    with (
        gpu_nodes(cluster, "views", nodes=13, gpus=4),
        operator(
            cluster, tmp_path, late, pod_name="first", late_seconds="0.5", **settings
        ) as first,
    ):
        driver = running_driver(api, jobs_namespace, gpu_job("views", "views", executors=100))
        requests(lambda client, _: played.add_executor(client, driver), range(100))
        await_assigned(api, jobs_namespace, 20)
        first.signal(signal.SIGSTOP)
        before = {
            pod["metadata"]["uid"]: gpu_of(pod) for pod in await_assigned(api, jobs_namespace, 20)
        }
        assert len(before) < 100
        with operator(
            cluster, tmp_path, late, pod_name="second", late_seconds="4", **settings
        ) as second:
            led_by("second_")
            first.signal(signal.SIGCONT)
            assert first.wait() == LOST_LEADERSHIP
            pods = await_assigned(api, jobs_namespace, 100)
            # What it decided by a view of the past it would undo when the view has caught up: when
            # it has seen what came last.
            requests(played.remove_pod, pods[:4])
            requests(lambda client, _: played.add_executor(client, driver), range(4))
            pods = await_assigned(api, jobs_namespace, 100)
            assert max(Counter(map(gpu_of, pods)).values()) == 2
            assert all(pinned_node(pod) == node_of(gpu_of(pod)) for pod in pods)
            after = {pod["metadata"]["uid"]: gpu_of(pod) for pod in pods}
            assert all(after.get(uid, gpu) == gpu for uid, gpu in before.items())
            assert {epoch_of(pod) for pod in pods} == {"1", "2"}
            assert second.metric("carpool_evictions_total") == 0


def test_whole_gpus_of_kubelets_are_taken_evenly_and_apart_from_those_of_the_pool(
    api, cluster, jobs_namespace, tmp_path, requests
):
    """All three nodes are the jobs' by their labels, and agents report the GPUs of all three."""
    ownership = {"ownership": "Exclusive", "nodeSelector": selector("owners")}
    with (
        gpu_nodes(cluster, "owners", nodes=3, gpus=4) as nodes,
        operator(cluster, tmp_path, namespaces=jobs_namespace),
    ):
        kubelets, pool = nodes[:2], nodes[2]
        for node in kubelets:
            played.offer_gpus(api, node, 4)
        jobs = played.jobs_path(jobs_namespace)
        whole = running_driver(
            api, jobs_namespace, gpu_job("whole", "owners", executors=10, gpu=ownership)
        )
        ours = running_driver(api, jobs_namespace, gpu_job("ours", "owners", executors=8))

        def ask(number):
            requests(
                lambda client, _: played.add_executor(client, whole, whole_gpu=True), range(number)
            )

        for more, together in ((4, 4), (6, 8)):
            ask(more)
            pods = await_pinned(api, jobs_namespace, "whole", together)
            even = dict.fromkeys(kubelets, together // 2)
            assert Counter(map(pinned_node, pods)) == even
            assert {gpu_of(pod) for pod in pods} == {None}
        requests(lambda client, _: played.add_executor(client, ours), range(8))
        pods = await_pinned(api, jobs_namespace, "ours", 8)
        assert sorted(Counter(map(gpu_of, pods)).values()) == [2] * 4
        assert {pinned_node(pod) for pod in pods} == {pool}

        api.post(jobs, gpu_job("more", "owners", gpu=ownership))
        assert why_queued(api, jobs_namespace, "more", "InsufficientGPUs") == (
            "needs a whole GPU, 0 are free: 8 GPUs of the kubelet on 2 nodes, "
            f"8 in use by {jobs_namespace}/whole"
        )
        api.delete(f"{jobs}/more")

        # A plugin comes to the node of the pool: nobody new goes there, by either way.
        played.offer_gpus(api, pool, 4)
        requests(played.remove_pod, pods[:2])
        api.post(jobs, gpu_job("late", "owners"))
        kubelet = why_queued(api, jobs_namespace, "late", "NoEligibleNode")
        assert "3 nodes have GPUs that the kubelet hands out" in kubelet
        assert "set spec.gpu.ownership: Exclusive" in kubelet
        api.post(jobs, gpu_job("last", "owners", gpu=ownership))
        assert "has executors on GPUs of the pool, which must end first" in (
            why_queued(api, jobs_namespace, "last", "InsufficientGPUs")
        )
        api.delete(f"{jobs}/last")
        left = [pod["metadata"]["uid"] for pod in pods[2:]]
        selected = f"{names.JOB_LABEL}=ours,{names.ROLE_LABEL}=executor"
        listed = api.get(played.pods_path(jobs_namespace), labelSelector=selected)["items"]
        assert sorted(pod["metadata"]["uid"] for pod in listed) == sorted(left)
        assert len(await_pinned(api, jobs_namespace, "whole", 8)) == 8

        # When its executors have ended it is the kubelet's like the others.
        requests(played.remove_pod, pods[2:])
        pods = await_pinned(api, jobs_namespace, "whole", 10)
        assert Counter(map(pinned_node, pods)) == {**dict.fromkeys(kubelets, 4), pool: 2}
