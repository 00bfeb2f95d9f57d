"""Jobs that cannot run, and what their users are told."""

import json
import time

import pytest

from support.cluster import until
from support.cluster_jobs import on_shared_directory

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]


@pytest.fixture
def small(namespace, shared_clips, request):
    """A job on the shared directory."""
    name = request.node.name.replace("_", "-")[:40]

    def make(**spec):
        return on_shared_directory(namespace, shared_clips, name).job(**spec)

    return make


def test_a_spec_that_makes_no_sense_is_refused_by_its_field_and_starts_nothing(operator, small):
    # What the API server's rules cannot express; the rest it refuses itself.
    template = small()
    template["spec"]["spark"]["executor"]["memory"] = "700Mi"
    job = operator.apply(template)
    until(lambda: job.condition("Accepted"), job.told)
    accepted = job.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert "spec.spark.executor.memory" in accepted["message"]
    assert not job.pods("driver")


def test_a_missing_image_is_told_and_ends_the_job_after_its_deadline(operator, small):
    template = small()
    template["spec"]["spark"]["image"] = "carpool/none:1"
    template["spec"]["startDeadlineSeconds"] = 20
    job = operator.apply(template)
    until(lambda: "carpool/none:1" in json.dumps(job.status), job.told)
    status = job.finish()
    assert status["phase"] == "Failed", job.told()
    assert "carpool/none:1" in job.condition("Finished")["message"], job.told()


def test_a_model_that_does_not_load_ends_the_job_with_the_hosts_reason(operator, small):
    model = {"format": "Python", "handler": "support.cluster_handlers:Unloadable", "parameters": {}}
    job = operator.apply(small(model=model))
    status = job.finish()
    assert status["phase"] == "Failed", job.told()
    assert status["attempt"] == 1, "it would fail in the same way again"
    assert "it was made not to load" in job.condition("Finished")["message"]


def test_a_finished_job_is_deleted_when_its_time_is_over(operator, small):
    job = operator.apply(small(ttlSecondsAfterFinished=5))
    until(lambda: job.name not in job.kubectl("get", "ij", "-o", "name"), operator.log)
    until(lambda: not job.pods("driver"), operator.log)


def test_many_jobs_with_room_for_two_never_run_more_and_all_end(operator, small):
    operator.install(operator__maxRunningJobsPerNamespace=2)
    jobs = [
        operator.apply(
            {
                **(found := small(executors=1)),
                "spec": found["spec"]
                | {"output": {"uri": f"{found['spec']['output']['uri']}-{n}"}},
            }
        )
        for n in range(10)
    ]
    most = 0
    deadline = time.monotonic() + 900
    left = set(range(10))
    while left:
        assert time.monotonic() < deadline, jobs[min(left)].told()
        drivers = json.loads(
            operator.jobs.kubectl("get", "pods", "-l", "carpool.dev/role=driver", "-o", "json")
        )["items"]
        running = [pod for pod in drivers if pod["status"]["phase"] in ("Pending", "Running")]
        most = max(most, len(running))
        left = {n for n in left if jobs[n].condition("Finished").get("status") != "True"}
    assert most == 2
    assert {job.phase for job in jobs} == {"Succeeded"}
