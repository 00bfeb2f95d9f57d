"""A job's life on a real API server, with the operator as a process; tests play the kubelet."""

from __future__ import annotations

from support import played_kubelet as played
from support.operator_process import operator
from support.played_cluster import PlayedCluster, always
from support.watching import await_gone, await_matching, await_object, condition

DRIVERS = "carpool.dev/role=driver"
EXECUTORS = "carpool.dev/role=executor"


def finished(raw) -> bool:
    return condition(raw, "Finished")[0] == "True"


def anything(raw) -> bool:
    return True


def test_a_cpu_job_from_apply_to_succeeded(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    pods = played.pods_path(jobs_namespace)
    with operator(cluster, tmp_path, namespaces=jobs_namespace) as running:
        job = api.post(jobs, played.cpu_job("traffic"))
        (driver,) = await_matching(api, pods, anything, 1, "driver", labelSelector=DRIVERS)
        name = f"traffic-{job['metadata']['uid'][:5]}-1"
        assert driver["metadata"]["name"] == f"{name}-driver"
        held = api.get(f"/api/v1/namespaces/{jobs_namespace}/configmaps/{name}")
        assert held["immutable"]
        assert held["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]

        played.run_driver(api, driver)
        made = [played.add_executor(api, driver) for _ in range(2)]
        opened = await_matching(
            api,
            pods,
            lambda pod: not pod["spec"].get("schedulingGates"),
            2,
            "executors without a gate",
            labelSelector=EXECUTORS,
        )
        nodes = set()
        for pod in opened:
            affinity = pod["spec"]["affinity"]["nodeAffinity"]
            required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
            ((field,),) = [term["matchFields"] for term in required["nodeSelectorTerms"]]
            nodes.update(field["values"])
            assert pod["metadata"]["annotations"]["carpool.dev/assignment-epoch"]
        assert nodes == {"node-a", "node-b"}

        played.end_driver(api, driver, played.success())
        for pod in made:
            played.remove_pod(api, pod)
        ended = await_object(api, jobs, "traffic", finished, "finished")
        assert condition(ended, "Succeeded")[0] == "True"
        assert ended["status"]["phase"] == "Succeeded"
        assert ended["status"]["attempt"] == 1
        assert running.terminate(10) == 0, running.text


def test_events_tell_of_the_life(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    events = f"/apis/events.k8s.io/v1/namespaces/{jobs_namespace}/events"
    with (
        operator(cluster, tmp_path, namespaces=jobs_namespace),
        PlayedCluster(cluster, jobs_namespace, always("succeeds")),
    ):
        api.post(jobs, played.cpu_job("told"))
        told = await_matching(
            api, events, lambda raw: raw["reason"] in ("AttemptStarted", "Succeeded"), 2, "events"
        )
    assert {event["reportingController"] for event in told} == {"carpool.dev/operator"}
    assert {event["regarding"]["name"] for event in told} == {"told"}


def test_a_wrong_spec_is_refused_by_field_and_gets_no_children(
    api, cluster, jobs_namespace, tmp_path
):
    jobs = played.jobs_path(jobs_namespace)
    with operator(cluster, tmp_path, namespaces=jobs_namespace):
        api.post(jobs, played.cpu_job("wrong", spec__input__kind="Images"))
        refused = await_object(
            api, jobs, "wrong", lambda raw: condition(raw, "Accepted")[0] == "False", "refused"
        )
        assert condition(refused, "Accepted") == ("False", "InvalidSpec")
        messages = [each["message"] for each in refused["status"]["conditions"]]
        assert any("spec.input.kind" in message for message in messages)
        # The next job is through all of its life before we look: there was time for children.
        with PlayedCluster(cluster, jobs_namespace, always("succeeds")) as played_cluster:
            api.post(jobs, played.cpu_job("right"))
            await_object(api, jobs, "right", finished, "finished")
        assert all(name.startswith("right-") for name in played_cluster.created)


def test_suspending_gives_everything_back_and_resuming_starts_another_attempt(
    api, cluster, jobs_namespace, tmp_path
):
    jobs = played.jobs_path(jobs_namespace)
    pods = played.pods_path(jobs_namespace)
    with (
        operator(cluster, tmp_path, namespaces=jobs_namespace),
        PlayedCluster(
            cluster, jobs_namespace, lambda _, attempt: "goes on" if attempt == 1 else "succeeds"
        ) as played_cluster,
    ):
        api.post(jobs, played.cpu_job("paused"))
        running = await_matching(
            api,
            pods,
            lambda pod: pod["status"]["phase"] == "Running",
            3,
            "driver and executors run",
        )
        api.merge(f"{jobs}/paused", {"spec": {"suspend": True}})
        await_object(
            api,
            jobs,
            "paused",
            lambda raw: raw.get("status", {}).get("phase") == "Suspended",
            "suspended",
        )
        for pod in running:
            await_gone(api, pods, pod["metadata"]["name"])
        api.merge(f"{jobs}/paused", {"spec": {"suspend": False}})
        ended = await_object(api, jobs, "paused", finished, "finished")
    assert ended["status"]["phase"] == "Succeeded"
    assert ended["status"]["attempt"] == 2
    assert len(played_cluster.created) == 2


def test_a_killed_driver_is_followed_by_another_attempt(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    with (
        operator(cluster, tmp_path, namespaces=jobs_namespace),
        PlayedCluster(
            cluster, jobs_namespace, lambda _, attempt: "is killed" if attempt == 1 else "succeeds"
        ) as played_cluster,
    ):
        api.post(jobs, played.cpu_job("retried"))
        ended = await_object(api, jobs, "retried", finished, "finished")
    assert ended["status"]["phase"] == "Succeeded"
    assert ended["status"]["attempt"] == 2
    assert ended["status"]["failedAttempts"] == 1
    assert [name.rsplit("-", 2)[1] for name in played_cluster.created] == ["1", "2"]


def test_a_driver_that_says_it_is_hopeless_is_not_followed_by_another(
    api, cluster, jobs_namespace, tmp_path
):
    jobs = played.jobs_path(jobs_namespace)
    with (
        operator(cluster, tmp_path, namespaces=jobs_namespace),
        PlayedCluster(cluster, jobs_namespace, always("fails")) as played_cluster,
    ):
        api.post(jobs, played.cpu_job("hopeless"))
        ended = await_object(api, jobs, "hopeless", finished, "finished")
    assert ended["status"]["phase"] == "Failed"
    assert condition(ended, "Succeeded") == ("False", "ModelFormatError")
    assert len(played_cluster.created) == 1


def test_ten_jobs_with_room_for_two_never_have_more_than_two_drivers_and_all_end(
    api, cluster, jobs_namespace, tmp_path
):
    jobs = played.jobs_path(jobs_namespace)
    with (
        operator(cluster, tmp_path, namespaces=jobs_namespace, max_running_jobs="2"),
        PlayedCluster(cluster, jobs_namespace, always("succeeds")) as played_cluster,
    ):
        for number in range(10):
            api.post(jobs, played.cpu_job(f"many-{number}"))
        await_matching(api, jobs, finished, 10, "all finished")
    assert len(played_cluster.created) == 10
    assert played_cluster.most_drivers <= 2


def test_a_job_says_what_it_waits_for(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    with operator(cluster, tmp_path, namespaces=jobs_namespace):
        large = played.cpu_job("large", spec__spark={"executor": {"cores": 100, "memory": "1Gi"}})
        api.post(jobs, large)
        waits = await_object(
            api, jobs, "large", lambda raw: condition(raw, "Reserved")[0] == "False", "waits"
        )
    assert waits["status"]["phase"] == "Queued"
    (message,) = [
        each["message"] for each in waits["status"]["conditions"] if each["type"] == "Reserved"
    ]
    assert "too little CPU left" in message
    assert "node-a, node-b" in message


def test_a_name_that_another_object_has_is_named_and_not_touched(
    api, cluster, jobs_namespace, tmp_path
):
    jobs = played.jobs_path(jobs_namespace)
    # The job's UID is in the name, so it can only be taken between the job and its first attempt.
    job = api.post(jobs, played.cpu_job("taken", spec__suspend=True))
    name = f"taken-{job['metadata']['uid'][:5]}-1"
    maps = f"/api/v1/namespaces/{jobs_namespace}/configmaps"
    api.post(maps, {"metadata": {"name": name}, "data": {"mine": "yes"}})
    with operator(cluster, tmp_path, namespaces=jobs_namespace, job_recheck_seconds="0.2"):
        api.merge(f"{jobs}/taken", {"spec": {"suspend": False}})
        await_object(
            api,
            jobs,
            "taken",
            lambda raw: condition(raw, "Reserved") == ("False", "NameTaken"),
            "says whose name it is",
        )
        assert api.get(f"{maps}/{name}")["data"] == {"mine": "yes"}
        api.delete(f"{maps}/{name}")
        with PlayedCluster(cluster, jobs_namespace, always("succeeds")):
            await_object(api, jobs, "taken", finished, "goes on when the name is free")


def test_a_quota_that_leaves_no_pod_is_told_and_waited_for(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    quotas = f"/api/v1/namespaces/{jobs_namespace}/resourcequotas"
    api.post(quotas, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    await_object(api, quotas, "none", lambda raw: "hard" in raw.get("status", {}), "counted")
    with operator(cluster, tmp_path, namespaces=jobs_namespace, job_recheck_seconds="0.2"):
        api.post(jobs, played.cpu_job("held"))
        held = await_object(
            api,
            jobs,
            "held",
            lambda raw: condition(raw, "Reserved") == ("False", "Forbidden"),
            "says that the quota holds it up",
        )
        assert any("exceeded quota" in each["message"] for each in held["status"]["conditions"])
        api.delete(f"{quotas}/none")
        with PlayedCluster(cluster, jobs_namespace, always("succeeds")):
            await_object(api, jobs, "held", finished, "goes on without the quota")


def test_deleting_a_job_takes_its_children_along(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    pods = played.pods_path(jobs_namespace)
    with operator(cluster, tmp_path, namespaces=jobs_namespace):
        api.post(jobs, played.cpu_job("deleted"))
        (driver,) = await_matching(api, pods, anything, 1, "driver", labelSelector=DRIVERS)
        assert "finalizers" not in api.get(f"{jobs}/deleted")["metadata"]
        api.delete(f"{jobs}/deleted")
        await_gone(api, pods, driver["metadata"]["name"])
