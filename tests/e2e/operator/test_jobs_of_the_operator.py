"""InferenceJobs that are applied to a cluster with the operator, as users do it."""

import pytest

from support.cluster import until
from support.cluster_jobs import EXECUTORS, Hold

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]


@pytest.fixture
def held(namespace, place, operator):
    """A job whose hosts are held in the middle of a batch, with some units done; and its hold."""
    hold = Hold(namespace, place.output.rpartition("/")[2])
    job = operator.apply(place.job(model=hold.model))
    hold.wait_for(job.told, hosts=EXECUTORS)
    until(place.committed, job.told)
    return hold, job


def test_a_job_gives_the_rows_of_a_local_run(operator, place, reference_run):
    job = operator.apply(place.job())
    status = job.finish()
    assert status["phase"] == "Succeeded", job.told()
    assert job.condition("Succeeded")["status"] == "True"
    assert status["attempt"] == 1
    assert status["progress"]["done"] == reference_run.result["frames"]
    assert status["model"]["copies"] == EXECUTORS
    assert place.hash() == reference_run.hash
    assert {"Succeeded"} <= job.events()


def test_executors_are_on_nodes_of_the_operators_choice_and_evenly(held):
    hold, job = held
    pods = job.pods("executor")
    assert {pod["spec"]["nodeName"] for pod in pods} == {"carpool-worker", "carpool-worker2"}
    for pod in pods:
        assert "schedulingGates" not in pod["spec"]
        assert "carpool.dev/assignment-epoch" in pod["metadata"]["annotations"]
    hold.let_go()
    job.finish()


def test_a_suspended_job_holds_nothing_and_goes_on_where_it_was(held, place, reference_run):
    hold, job = held
    done = place.committed()
    job.suspend(wanted=True)
    until(lambda: job.phase == "Suspended" and not job.pods("driver"), job.told)
    until(lambda: not job.pods("executor"), job.told)
    before = set(place.seen.list("detections"))
    assert len(before) >= done
    hold.let_go()
    job.suspend(wanted=False)
    status = job.finish()
    assert status["phase"] == "Succeeded", job.told()
    assert status["attempt"] == 2
    assert before <= set(place.seen.list("detections"))
    assert place.hash() == reference_run.hash


def test_a_driver_that_is_killed_is_followed_by_another(held, place, reference_run):
    hold, job = held
    [first] = job.names("driver")
    job.kubectl("delete", "pod", first, "--grace-period=0", "--force")
    until(lambda: job.names("driver") - {first}, job.told)
    hold.let_go()
    status = job.finish()
    assert (status["phase"], status["attempt"]) == ("Succeeded", 2), job.told()
    assert place.hash() == reference_run.hash


def test_an_upgrade_changes_nothing_of_a_job_that_runs(held, operator, place, reference_run):
    hold, job = held

    def children():
        pods = job.pods("driver") + job.pods("executor")
        return {
            pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["metadata"]["resourceVersion"])
            for pod in pods
        }

    before = children()
    assert len(before) == 1 + EXECUTORS
    operator.install(operator__podAnnotations={"upgraded": "yes"})
    assert children() == before
    hold.let_go()
    assert job.finish()["phase"] == "Succeeded", job.told()
    assert place.hash() == reference_run.hash
