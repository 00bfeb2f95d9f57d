"""A job's life as its user sees it: what happens, and what the status says meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool_operator.domain.allocation.interface import JobFailure, Lacking
from carpool_operator.domain.job.actions import DeletePods
from carpool_operator.domain.job.observed import Refusal
from carpool_operator.domain.job.times import timestamp
from support.job_world import SETTINGS, START, Operator, answer, message, world


def reasons(operator: Operator) -> list[str]:
    return [event.reason for event in operator.events]


def settled(made, **settings):
    operator = Operator(made, replace(SETTINGS, **settings))
    return operator, operator.settle()


# Queued


def test_job_gets_a_driver_once_its_executors_have_slots():
    made = world([message()])
    operator, plan = settled(made)
    assert made.created == ["cam-12-0f5a1-1", "cam-12-0f5a1-1-driver"]
    assert made.status["phase"] == "Starting"
    assert made.condition("Accepted")["status"] == "True"
    assert made.condition("Reserved")["status"] == "True"
    assert made.condition("Succeeded")["status"] == "Unknown"
    assert made.status["attempt"] == 1
    assert made.status["driverPod"] == "cam-12-0f5a1-1-driver"
    assert plan.demand is not None
    assert plan.demand.queued_since is None
    assert reasons(operator) == ["AttemptStarted"]


def test_job_without_slots_is_queued_says_what_it_lacks_and_holds_nothing():
    made = world([message()], spec__executors=3)
    made.slots = 2
    operator, plan = settled(made)
    assert made.created == []
    assert made.status["phase"] == "Queued"
    reserved = made.condition("Reserved")
    assert (reserved["status"], reserved["reason"]) == ("False", "InsufficientCPU")
    assert reserved["message"] == "3 wanted, 2 free"
    assert plan.demand is not None
    assert plan.demand.queued_since == START
    assert reasons(operator) == ["InsufficientCPU"]
    made.slots = 3
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_job_over_the_limit_of_its_namespace_waits_and_asks_for_no_slots():
    made = world([message()])
    operator = Operator(made, replace(SETTINGS, max_running_jobs_per_namespace=2))
    operator.running_elsewhere = 2
    plan = operator.settle()
    assert made.created == []
    assert made.condition("Reserved")["reason"] == "RunningJobsLimit"
    assert made.condition("Reserved")["message"] == "2 jobs may run at a time in namespace traffic"
    assert plan.demand is None
    assert plan.wakeup == made.now + SETTINGS.recheck_seconds
    operator.running_elsewhere = 1
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_limit_of_the_cluster_holds_too():
    made = world()
    operator = Operator(made, replace(SETTINGS, max_running_jobs=1))
    operator.running_elsewhere = 1
    operator.settle()
    assert made.condition("Reserved")["message"] == "1 jobs may run at a time in the cluster"


def test_name_that_another_owner_has_is_an_error_and_nothing_is_touched():
    made = world([message()])
    made.foreign = ("cam-12-0f5a1-1-driver",)
    operator, plan = settled(made)
    assert made.created == []
    reserved = made.condition("Reserved")
    assert reserved["reason"] == "NameTaken"
    assert "cam-12-0f5a1-1-driver belongs to another owner; delete it" in reserved["message"]
    assert plan.wakeup is not None
    made.foreign = ()
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_quota_is_what_a_job_waits_for_until_there_is_room():
    made = world([message()])
    made.refused = Refusal(START, "Forbidden", "exceeded quota: pods=10", retryable=True)
    operator, plan = settled(made)
    reserved = made.condition("Reserved")
    assert reserved["reason"] == "Forbidden"
    assert "exceeded quota: pods=10" in reserved["message"]
    assert made.status["phase"] == "Queued"
    assert plan.demand is None  # its slots are others' meanwhile
    made.refused = None
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert made.status["attempt"] == 1


def test_template_that_the_api_server_refuses_ends_the_job_with_its_words():
    made = world([message()])
    made.refused = Refusal(START, "Invalid", "spec.containers[1].image: Required", retryable=False)
    Operator(made).live()
    assert made.status["phase"] == "Failed"
    assert made.condition("Finished")["reason"] == "Invalid"
    assert "spec.containers[1].image" in made.condition("Finished")["message"]


# Accepted


def test_wrong_spec_is_refused_by_the_name_of_the_field_and_not_tried_again():
    made = world([message()], spec__input__kind="Images")
    operator = Operator(made)
    operator.live()
    accepted = made.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert accepted["message"] == "spec.input.kind: Images is not built yet; use Video"
    assert made.status["phase"] == "Failed"
    assert made.condition("Finished")["status"] == "True"
    assert made.condition("Succeeded")["status"] == "False"
    assert made.writes == 1
    assert reasons(operator) == ["Failed"]


def test_every_mistake_of_a_spec_is_named():
    made = world([], spec__executors=0, spec__sharing="Both")
    Operator(made).settle()
    words = made.condition("Accepted")["message"]
    assert "spec.executors: expected an integer from 1 to 10000" in words
    assert "spec.sharing: expected one of Shared, PerTask" in words


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"executor": {"memory": "512Mi"}},
            'spec.spark.executor.memory: "512Mi" is too little; expected at least "1Gi"',
        ),
        (
            {"driver": {"memory": "512Mi"}},
            'spec.spark.driver.memory: "512Mi" is too little; expected at least "1Gi"',
        ),
        (
            {"conf": {"spark.kubernetes.executor.request.cores": "four"}},
            (
                'spec.spark.conf["spark.kubernetes.executor.request.cores"]: expected a Kubernetes '
                'quantity, such as "500m" or "2Gi", found "four"'
            ),
        ),
        (
            {
                "executorTemplate": {
                    "spec": {
                        "containers": [{"name": "a", "resources": {"requests": {"memory": "much"}}}]
                    }
                }
            },
            (
                "spec.spark.executorTemplate.spec.containers[0].resources.requests.memory: "
                'expected a Kubernetes quantity, such as "500m" or "2Gi", found "much"'
            ),
        ),
    ],
)
def test_amounts_that_cannot_be_used_are_refused_before_anything_is_reserved(spec, words):
    made = world([message()], spec__spark=spec)
    Operator(made).settle()
    assert made.condition("Accepted")["message"] == words
    assert made.created == []


def test_refused_job_begins_when_its_spec_is_mended():
    made = world([message()], spec__input__kind="Images")
    operator = Operator(made)
    operator.live()
    assert made.job is not None
    made.edit(input={**made.job["spec"]["input"], "kind": "Video"})
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert made.condition("Accepted")["status"] == "True"
    assert made.condition("Finished")["reason"] == "Succeeded"


def test_change_that_does_not_mend_a_refused_job_is_refused_again():
    made = world([], spec__input__kind="Images")
    operator = Operator(made)
    operator.live()
    made.edit(executors=2)
    operator.live()
    assert made.status["phase"] == "Failed"
    assert made.status["observedGeneration"] == 2


def test_stricter_operator_lets_run_what_another_has_begun():
    made = world([message()])
    Operator(made).settle()
    made.pass_time()
    assert made.job is not None
    made.job["spec"]["input"]["kind"] = "Parquet"  # as if it had been right before
    operator, plan = settled(made)
    assert made.condition("Accepted")["status"] == "False"
    assert plan.actions == ()
    assert made.running_drivers == 1
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_output_that_is_shown_is_that_of_the_spec_until_a_driver_says_another():
    made = world([message()])
    made.slots = 0
    operator, _ = settled(made)
    assert made.status["output"] == "results"
    made.edit(output={"uri": "s3://other"})
    operator.settle()
    assert made.status["output"] == "s3://other"
    made.slots = 1
    operator.live()
    assert made.status["output"] == "s3://results/cam-12"


# Running


def test_status_follows_the_driver_through_its_phases():
    made = world([message()])
    made.work = 9
    operator = Operator(made)
    phases = []
    operator.answers = iter(
        [
            answer("Starting", ready=False),
            answer("Detecting", done=90_000),
            answer("Detecting", done=153_900),
            answer("Tracking", done=900_000),
        ]
    )
    for _ in range(8):
        plan = operator.settle()
        phases.append(made.status["phase"])
        made.pass_time(30.0)
        if plan.poll:
            operator.poll()
    assert phases == [
        *("Starting", "Starting", "Starting"),
        *("Detecting", "Detecting", "Tracking", "Tracking", "Tracking"),
    ]
    assert made.condition("ModelReady")["status"] == "True"
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_progress_has_the_texts_of_the_columns():
    made = world()
    operator = Operator(made)
    operator.live(ticks=2)
    operator.answers = iter([answer(done=90_000), answer(done=153_900)])
    for _ in range(2):
        operator.poll()
        operator.settle()
        made.pass_time(30.0)
    progress = made.status["progress"]
    assert progress["display"] == "153k/900k (17%)"
    assert progress["rate"] == "2130/s"
    assert progress["eta"] == "5m50s"
    assert made.status["model"] == {"copies": 1, "memory": "250Mi", "savedMemory": "750Mi"}


def test_gpus_are_counted_ready_of_reserved():
    made = world(spec__device="GPU", spec__executors=2)
    operator = Operator(made)
    operator.answers = iter([answer()])
    operator.settle()
    assert made.status["gpus"] == {"reserved": 2, "ready": 0, "display": "0/2"}
    operator.live(ticks=2)
    operator.poll()
    operator.settle()
    assert made.status["gpus"] == {"reserved": 2, "ready": 1, "display": "1/2"}


def test_copies_that_are_lost_are_not_shown_and_the_model_is_not_ready_without_any():
    made = world(spec__device="GPU", spec__executors=2)
    operator = Operator(made)
    lost = answer(done=90_000, ready=False)
    lost["model"] = {"copies": 0, "memory": 250 << 20, "savedMemory": 0}
    operator.live(ticks=2)
    operator.answers = iter([answer(done=90_000), lost])
    operator.poll()
    operator.settle()
    assert made.condition("ModelReady")["status"] == "True"
    made.pass_time(30.0)
    operator.poll()
    operator.settle()
    ready = made.condition("ModelReady")
    assert (ready["status"], ready["message"]) == ("False", "no executor has the model loaded")
    assert made.status["model"] == {"copies": 0, "memory": "250Mi"}
    assert made.status["gpus"]["display"] == "0/2"


def test_job_on_cpus_shows_no_gpus():
    made = world()
    Operator(made).live(ticks=3)
    assert "gpus" not in made.status


def test_executors_that_wait_at_the_gate_say_for_what():
    made = world(spec__executors=2)
    operator = Operator(made)
    operator.live(ticks=2)
    made.now += 30.0
    lacking = Lacking("InsufficientCPU", "node-1 has 1 CPU left")
    plan = operator.plan(replace(made.observed(), waiting=lacking))
    assert plan.status is not None
    [reserved] = [each for each in plan.status["conditions"] if each["type"] == "Reserved"]
    assert reserved["status"] == "True"
    assert reserved["message"].endswith("more wait: InsufficientCPU: node-1 has 1 CPU left")


@pytest.mark.parametrize(
    ("trouble", "reason", "words"),
    [
        (
            {"host_message": "HostStartFailed: no kernel image for sm_35"},
            "ModelHostEnded",
            "the model host of exec-1-1 ended: HostStartFailed: no kernel image for sm_35",
        ),
        (
            {"unschedulable_since": START},
            "Unschedulable",
            "no node takes executor exec-1-1",
        ),
    ],
)
def test_executors_that_cannot_load_the_model_say_why(trouble, reason, words):
    made = world()
    operator = Operator(made)
    operator.live(ticks=4)
    made.executors["exec-1-1"] = replace(made.executors["exec-1-1"], **trouble)
    operator.settle()
    ready = made.condition("ModelReady")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", reason, words)
    assert reasons(operator)[-1] == reason
    operator.answers = iter([answer()])
    operator.poll()
    operator.settle()
    assert made.condition("ModelReady")["status"] == "True"


def test_restarted_operator_keeps_what_the_driver_said_until_it_says_more():
    made = world()
    operator = Operator(made)
    operator.live(ticks=2)
    operator.answers = iter([answer(done=90_000), answer(done=153_900)])
    for _ in range(2):
        operator.poll()
        operator.settle()
        made.pass_time(30.0)
    before = made.status
    plan = Operator(made).settle()
    assert made.status == before
    assert plan.poll


def test_figures_alone_are_written_every_thirty_seconds_and_a_phase_at_once():
    made = world()
    made.work = 100
    operator = Operator(made)
    operator.live(ticks=2)
    operator.answers = iter(
        [answer(done=frames) for frames in range(1000, 13_000, 1000)] + [answer("Tracking")]
    )
    writes = made.writes
    for _ in range(12):
        operator.poll()
        operator.settle()
        made.pass_time(5.0)
    # The first is of phase and model, the other of figures.
    assert made.writes - writes == 2
    operator.poll()
    operator.settle()
    assert made.writes - writes == 3
    assert made.status["phase"] == "Tracking"


def test_happy_life_takes_few_writes():
    made = world([message()])
    operator = Operator(made)
    operator.answers = iter([answer(), answer("Tracking", done=900)])
    operator.live()
    # BeginAttempt, ConfigMap, driver, and the status: driver seen, running, executors have slots,
    # Detecting, Tracking, Succeeded.
    assert made.writes <= 9


# The end


def test_end_tells_what_the_driver_said():
    made = world([message("PartiallySucceeded", text="899 frames, 1 in quarantine")])
    operator = Operator(made)
    operator.live()
    assert made.status["phase"] == "PartiallySucceeded"
    assert made.condition("Finished")["status"] == "True"
    assert made.condition("Finished")["reason"] == "PartiallySucceeded"
    assert made.condition("Finished")["message"] == "899 frames, 1 in quarantine"
    assert made.condition("Succeeded")["status"] == "True"
    assert made.condition("Reserved")["status"] == "False"
    assert made.status["output"] == "s3://results/cam-12"
    assert made.status["progress"]["display"] == "900/900 (100%)"
    assert "completionTime" in made.status
    assert reasons(operator)[-1] == "PartiallySucceeded"


def test_error_that_cannot_pass_ends_the_job_at_once_with_its_reason():
    made = world([message("Failed", "ModelNotFound", text="model.cfg: no such file")])
    Operator(made).live()
    assert made.status["attempt"] == 1
    assert made.status["phase"] == "Failed"
    assert made.condition("Finished")["reason"] == "ModelNotFound"
    assert made.condition("ModelReady")["reason"] == "ModelNotFound"
    assert made.condition("ModelReady")["message"] == "model.cfg: no such file"
    [failure] = made.status["failures"]
    assert failure["location"] == "cam-12-0f5a1-1-driver"


def test_finished_job_is_left_alone():
    made = world([message()])
    operator = Operator(made)
    operator.live()
    writes = made.writes
    made.pass_time(100_000)
    plan = operator.settle()
    assert (made.writes, plan.wakeup, plan.demand) == (writes, None, None)
    made.edit(suspend=True)
    operator.settle()
    assert made.status["phase"] == "Succeeded"


def test_log_of_a_driver_that_has_ended_stays_until_the_job_goes():
    made = world([None, message()])
    Operator(made).live()
    assert sorted(made.drivers) == ["cam-12-0f5a1-1-driver", "cam-12-0f5a1-2-driver"]


def test_job_is_deleted_when_its_time_to_live_is_over_and_not_before():
    made = world([message()], spec__ttlSecondsAfterFinished=60)
    operator = Operator(made)
    while made.status.get("phase") != "Succeeded":
        operator.live(ticks=1)
    plan = operator.settle()
    due = plan.wakeup
    assert due is not None
    assert timestamp(due - 60) == made.status["completionTime"]
    made.now = due - 1
    operator.settle()
    assert made.job is not None
    made.now = due
    operator.settle()
    assert made.job is None


def test_nothing_is_done_for_a_job_that_is_being_deleted():
    made = world([message()])
    assert made.job is not None
    made.job["metadata"]["deletionTimestamp"] = timestamp(START)
    plan = Operator(made).plan()
    assert plan.actions == ()
    assert plan.status is None
    assert plan.demand is None


# Failure and retry


def test_driver_that_dies_without_a_word_is_tried_again():
    made = world([None, message()])
    operator = Operator(made)
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert (made.status["attempt"], made.status["failedAttempts"]) == (2, 1)
    [failure] = made.status["failures"]
    assert failure["reason"] == "DriverOOMKilled"
    assert "exit code 137" in failure["message"]
    assert "AttemptFailed" in reasons(operator)


def test_driver_that_is_gone_without_a_trace_is_a_failed_attempt():
    made = world([message()])
    operator = Operator(made)
    operator.live(ticks=2)
    made.lose_driver("cam-12-0f5a1-1-driver")
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert (made.status["attempt"], made.status["failedAttempts"]) == (2, 1)
    assert made.status["failures"][0]["reason"] == "DriverGone"


def test_next_attempt_waits_until_pods_of_the_last_have_ended():
    made = world([None, message()])
    operator = Operator(made)
    while made.status.get("failedAttempts") != 1:
        operator.live(ticks=1)
    [executor] = made.executors.values()
    made.now += 1000.0  # back-off is over; the executor takes its time
    operator.settle()
    assert made.executors[executor.name].deleting
    assert made.status["attempt"] == 1
    assert made.condition("Reserved")["reason"] == "PodsNotEnded"
    assert executor.name in made.condition("Reserved")["message"]
    made.executors.clear()
    operator.settle()
    assert made.status["attempt"] == 2


def test_pause_before_an_attempt_doubles_up_to_its_cap():
    made = world([None], spec__failurePolicy={"backoffLimit": 7})
    operator = Operator(made)
    pauses = []
    begun: set[int] = set()
    while made.status.get("phase") != "Failed":
        plan = operator.settle()
        if made.condition("Reserved").get("reason") == "BackingOff" and plan.wakeup:
            ended = made.status["lastEnded"]
            if ended["attempt"] not in begun:
                begun.add(ended["attempt"])
                pauses.append(timestamp(plan.wakeup - 10.0 * 2 ** len(pauses)) == ended["time"])
                if len(pauses) > 5:
                    assert timestamp(plan.wakeup - 300.0) == ended["time"]
        made.pass_time(1.0 if made.running_drivers else 5.0)
    assert pauses[:5] == [True] * 5
    assert pauses[5:] == [False] * len(pauses[5:])


def test_job_fails_with_the_last_reason_when_no_retry_is_left():
    made = world([None], spec__failurePolicy={"backoffLimit": 1})
    Operator(made).live()
    assert made.status["attempt"] == 2
    finished = made.condition("Finished")
    assert finished["reason"] == "BackoffLimitExceeded"
    assert "DriverOOMKilled" in finished["message"]
    assert "spec.failurePolicy.backoffLimit is 1" in finished["message"]


def test_only_the_last_ten_failures_are_kept_newest_last():
    made = world([None], spec__failurePolicy={"backoffLimit": 11})
    operator = Operator(made, replace(SETTINGS, backoff_cap_seconds=10.0))
    operator.live(ticks=200)
    assert made.status["failedAttempts"] == 12
    failures = made.status["failures"]
    assert len(failures) == 10
    assert failures[-1]["location"] == "cam-12-0f5a1-12-driver"
    assert [each["time"] for each in failures] == sorted(each["time"] for each in failures)


# A driver that cannot start


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ImagePullBackOff", "Back-off pulling image"),
        ("ErrImagePull", "no such host"),
        ("CreateContainerConfigError", 'secret "s3" not found'),
        ("Unschedulable", "0/3 nodes are available"),
    ],
)
def test_driver_that_cannot_start_says_why(reason, words):
    made = world()
    made.blocked = (reason, words)
    operator = Operator(made)
    operator.live(ticks=2)
    ready = made.condition("ModelReady")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert words in ready["message"]
    assert reasons(operator)[-1] == reason
    assert operator.events[-1].type == "Warning"


def test_driver_that_cannot_start_gives_its_slots_back_and_is_tried_again():
    made = world([message()])
    made.blocked = ("ImagePullBackOff", "Back-off pulling image")
    operator = Operator(made)
    operator.live(ticks=62)
    assert made.status["failedAttempts"] == 1
    assert made.status["lastEnded"]["reason"] == "ImagePullBackOff"
    made.blocked = None
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_driver_that_no_node_has_room_for_gives_its_slots_back_and_fails_nothing():
    made = world([message()], spec__failurePolicy={"backoffLimit": 0})
    made.blocked = ("Unschedulable", "0/3 nodes are available: insufficient memory")
    operator = Operator(made)
    operator.live(ticks=130)
    assert made.status["attempt"] == 3
    assert made.status["failedAttempts"] == 0
    assert made.status["lastEnded"]["reason"] == "Unschedulable"
    assert len(made.drivers) == 1
    made.blocked = None
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_driver_that_pulls_a_large_image_is_waited_for():
    made = world([message()])
    made.blocked = ("ContainerCreating", "")
    operator = Operator(made)
    operator.live(ticks=100)
    assert made.status["failedAttempts"] == 0
    assert made.status["phase"] == "Starting"


def test_image_that_cannot_be_pulled_fails_the_job_at_its_start_deadline():
    made = world(spec__startDeadlineSeconds=120)
    made.blocked = ("ImagePullBackOff", "Back-off pulling image")
    Operator(made).live()
    assert made.status["phase"] == "Failed"
    finished = made.condition("Finished")
    assert finished["reason"] == "StartDeadlineExceeded"
    assert "ImagePullBackOff" in finished["message"]
    assert made.drivers == {}


# Deadlines


def test_job_that_gets_no_slots_in_time_fails_and_says_what_it_lacked():
    made = world(spec__startDeadlineSeconds=60)
    made.slots = 0
    operator, plan = settled(made)
    assert plan.wakeup == min(START + 60, made.now + SETTINGS.recheck_seconds)
    operator.live()
    assert made.status["phase"] == "Failed"
    finished = made.condition("Finished")
    assert finished["reason"] == "StartDeadlineExceeded"
    assert "InsufficientCPU: 1 wanted, 0 free" in finished["message"]
    assert made.status["completionTime"] == timestamp(START + 60)


def test_start_deadline_is_over_once_the_executors_have_their_slots():
    made = world([message()], spec__startDeadlineSeconds=60)
    made.work = 50
    operator = Operator(made)
    operator.live(ticks=4)
    assert made.condition("Reserved")["reason"] == "ExecutorsAssigned"
    made.executors.clear()  # replaced ones wait at the gate
    made.add_executors(1, gated=True)
    operator.live()
    assert made.status["phase"] == "Succeeded"


def test_start_deadline_counts_from_the_end_of_a_suspension():
    made = world([message()], spec__startDeadlineSeconds=60, spec__suspend=True)
    made.slots = 0
    operator = Operator(made)
    operator.settle()
    made.now += 1000.0
    operator.settle()
    assert made.status["phase"] == "Suspended"
    made.edit(suspend=False)
    plan = operator.settle()
    assert made.status["phase"] == "Queued"
    made.now += 59.0
    operator.settle()
    assert made.status["phase"] == "Queued"
    made.now += 1.0
    operator.settle()
    assert made.status["phase"] == "Failed"
    assert plan.wakeup is not None


def test_job_that_runs_too_long_is_ended_and_finished_once_its_driver_is_gone():
    made = world(spec__activeDeadlineSeconds=60)
    operator = Operator(made)
    operator.live(ticks=5)
    made.now = START + 60
    operator.settle()
    assert made.condition("Finished")["status"] == "False"
    assert made.condition("Finished")["reason"] == "DriverNotEnded"
    assert all("deletionTimestamp" in pod["metadata"] for pod in made.drivers.values())
    made.pass_time()
    operator.settle()
    assert made.condition("Finished")["reason"] == "DeadlineExceeded"
    assert made.status["phase"] == "Failed"


def test_job_whose_hosts_fail_wherever_they_are_put_ends_with_their_words():
    made = world()
    operator = Operator(made)
    operator.live(ticks=5)
    operator.failure = JobFailure("HostFailed", "the model hosts of 3 executors failed: no device")
    operator.settle()
    assert made.condition("Finished")["reason"] == "DriverNotEnded"
    made.pass_time()
    operator.settle()
    finished = made.condition("Finished")
    assert (finished["status"], finished["reason"]) == ("True", "HostFailed")
    assert "no device" in finished["message"]
    assert (made.status["phase"], made.status["attempt"]) == ("Failed", 1)


def test_active_deadline_stands_still_while_the_job_is_suspended():
    made = world([message()], spec__activeDeadlineSeconds=60)
    made.work = 4
    operator = Operator(made)
    operator.live(ticks=3)
    made.edit(suspend=True)
    operator.live(ticks=2)
    assert "startTime" not in made.status
    made.now += 1000.0
    operator.settle()
    assert made.status["phase"] == "Suspended"
    made.edit(suspend=False, activeDeadlineSeconds=600)
    operator.live()
    assert made.status["phase"] == "Succeeded"


# Suspend


def test_suspended_job_gives_everything_back_and_the_attempt_counts_for_nothing():
    made = world([message()])
    made.work = 50
    operator = Operator(made)
    operator.live(ticks=4)
    made.edit(suspend=True)
    plan = operator.settle()
    assert made.status["phase"] == "Suspended"
    assert made.condition("Suspended")["status"] == "True"
    assert "cam-12-0f5a1-1-driver" in made.condition("Suspended")["message"]
    assert plan.demand is None
    made.pass_time()
    operator.settle()
    assert not made.drivers
    assert not made.executors
    assert (made.status["attempt"], made.status["failedAttempts"]) == (1, 0)
    assert reasons(operator)[-1] == "Suspended"


def test_end_of_an_attempt_is_written_before_its_pods_are_deleted():
    made = world()
    operator = Operator(made)
    operator.live(ticks=4)
    made.edit(suspend=True)
    first = operator.reconcile()
    assert first.actions == ()
    assert made.status["lastEnded"]["outcome"] == "Stopped"
    assert first.wakeup == made.now
    second = operator.reconcile()
    [deletion] = second.actions
    assert isinstance(deletion, DeletePods)
    assert [pod.name for pod in deletion.pods] == ["cam-12-0f5a1-1-driver", "exec-1-1"]


def test_resumed_job_goes_on_with_the_next_attempt_and_the_new_spec():
    made = world([message()])
    made.work = 5
    operator = Operator(made)
    operator.live(ticks=4)
    made.edit(suspend=True)
    operator.live(ticks=3)
    made.edit(suspend=False, executors=2)
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert made.status["attempt"] == 2
    assert made.condition("Suspended")["reason"] == "Resumed"
    assert "executors: 2" in made.config_maps["cam-12-0f5a1-2"]["data"]["job.yaml"]


def test_job_that_is_created_suspended_does_nothing():
    made = world([message()], spec__suspend=True)
    operator = Operator(made)
    operator.live()
    assert made.created == []
    assert made.status["phase"] == "Suspended"
    assert made.writes == 1


def test_change_that_was_made_while_the_operator_was_down_begins_a_new_attempt():
    made = world([message()])
    made.work = 20
    Operator(made).live(ticks=4)
    made.edit(suspend=True)
    made.edit(suspend=False, executors=2)  # nobody saw it suspended
    operator = Operator(made)
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert made.status["attempt"] == 2
    assert made.status["failedAttempts"] == 0


def test_change_of_what_only_the_operator_reads_disturbs_no_driver():
    made = world([message()])
    made.work = 5
    operator = Operator(made)
    operator.live(ticks=4)
    made.edit(activeDeadlineSeconds=10_000, failurePolicy={"backoffLimit": 5})
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert made.status["attempt"] == 1
    assert made.status["observedGeneration"] == 2


def test_version_that_sees_a_spec_in_other_terms_disturbs_no_driver():
    made = world([message()])
    made.work = 6
    Operator(made).live(ticks=4)
    assert made.job is not None
    made.job["status"]["attemptSpec"] = "as an earlier version wrote it"
    operator = Operator(made)
    operator.settle()
    made.edit(failurePolicy={"backoffLimit": 5})
    operator.live()
    assert made.status["phase"] == "Succeeded"
    assert made.status["attempt"] == 1


# Races


def test_job_that_was_changed_since_it_was_read_is_not_begun():
    made = world([message()])
    operator = Operator(made)
    assert made.job is not None
    plan = operator.plan()
    version = made.job["metadata"]["resourceVersion"]
    made.edit(suspend=True)
    operator.carry_out(plan, version)
    assert made.created == []
    assert "attempt" not in made.status
    operator.settle()
    assert made.status["phase"] == "Suspended"


def test_driver_that_was_created_but_not_seen_yet_is_neither_lost_nor_made_twice():
    made = world([message()])
    operator = Operator(made)
    operator.reconcile()
    assert len(made.drivers) == 1
    late = replace(made.observed(), drivers=())
    plan = operator.plan(late)
    assert made.job is not None
    operator.carry_out(plan, made.job["metadata"]["resourceVersion"])
    assert len(made.drivers) == 1
    operator.live()
    assert (made.status["attempt"], made.status["failedAttempts"]) == (1, 0)


def test_executors_of_an_earlier_attempt_that_appear_late_are_deleted():
    made = world([None, message()])
    operator = Operator(made)
    while made.status.get("attempt") != 2:
        operator.live(ticks=1)
    operator.live(ticks=2)
    made.add_executors(1)
    operator.settle()
    assert made.executors["exec-1-1"].deleting
    assert not made.executors["exec-2-1"].deleting


def test_pod_of_another_name_is_no_driver_whatever_its_labels_say():
    made = world([message()])
    operator = Operator(made)
    operator.live(ticks=2)
    forged = replace(made.observed().drivers[0], name="forged", uid="forged", ended=made.now)
    seen = replace(made.observed(), drivers=(forged, *made.observed().drivers))
    plan = operator.plan(seen)
    assert plan.status is None or plan.status["phase"] not in ("Succeeded", "Failed")
    assert plan.status is None or "lastEnded" not in plan.status
