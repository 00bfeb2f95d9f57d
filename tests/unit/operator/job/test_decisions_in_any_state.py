"""What holds for a decision in whatever state a job is found, also in one that no life leads to."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool.spec import CONDITION_TYPES, InferenceJobStatus
from carpool_operator.domain.allocation.interface import Lacking
from carpool_operator.domain.cluster_state import Pod, Resources, Scheduling
from carpool_operator.domain.job.acceptance import Accepted, acceptance
from carpool_operator.domain.job.children import driver_name
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.observed import Observed
from carpool_operator.domain.job.plan import decide
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.domain.job.times import timestamp
from support.job_world import START, Operator, World, message, world
from support.object_strategies import JOBS

TIMES = st.sampled_from([START - 10_000, START, START + 55, START + 60]).map(timestamp)
REASONS = st.sampled_from(
    ["Suspended", "ExecutorsAssigned", "SlotsHeld", "InvalidSpec", "Retry", "BackingOff"]
)
ENDINGS = (
    None,
    message(),
    message("PartiallySucceeded"),
    message("Failed", "ModelNotFound"),
    message("Failed", "OutputUnavailable", retryable=True),
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "suspend": st.booleans(),
        "device": st.sampled_from(["CPU", "GPU"]),
        "executors": st.integers(1, 3),
        "startDeadlineSeconds": st.sampled_from([30, 600]),
        "activeDeadlineSeconds": st.sampled_from([30, 600]),
        "ttlSecondsAfterFinished": st.sampled_from([0, 60]),
        "failurePolicy": st.fixed_dictionaries({"backoffLimit": st.integers(0, 2)}),
        "sharing": st.sampled_from(["Shared", "Wrong"]),
    },
)


@st.composite
def conditions(draw: Any) -> list[dict[str, Any]]:
    kinds = draw(st.lists(st.sampled_from(CONDITION_TYPES), unique=True))
    return [
        {
            "type": kind,
            "status": draw(st.sampled_from(["True", "False", "Unknown"])),
            "lastTransitionTime": draw(TIMES),
            "reason": draw(REASONS),
            "message": "",
        }
        for kind in kinds
    ]


@st.composite
def worlds(draw: Any) -> World:
    """A job with any spec, any status and any pods."""
    made = world([draw(st.sampled_from(ENDINGS))] * 2 + [message()])
    assert made.job is not None
    made.now = START + draw(st.sampled_from([0, 60]))
    made.job["spec"].update(draw(SPECS))
    made.job["metadata"]["generation"] = draw(st.integers(1, 2))
    job = JobObject.of(made.job)
    accepted = acceptance(job)
    fingerprint = accepted.fingerprint if isinstance(accepted, Accepted) else ""
    attempt = draw(st.integers(0, 3))
    status: dict[str, Any] = {
        "attempt": attempt,
        "attemptSpec": draw(st.sampled_from([fingerprint, "other"])),
        "conditions": draw(conditions()),
    }
    if attempt > 0 and draw(st.booleans()):
        status["lastEnded"] = {
            "attempt": draw(st.integers(max(1, attempt - 1), attempt)),
            "time": draw(TIMES),
            "outcome": draw(
                st.sampled_from(
                    ["Succeeded", "PartiallySucceeded", "Failed", "Retryable", "Stopped"]
                )
            ),
            "reason": draw(REASONS),
            "message": "",
        }
    status |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "observedGeneration": st.integers(1, 2),
                "phase": st.sampled_from(["Queued", "Starting", "Detecting", "Failed"]),
                "failedAttempts": st.integers(0, 3),
                "startTime": TIMES,
                "completionTime": TIMES,
                "driverPod": st.just(driver_name(job, max(attempt, 1))),
            },
        )
    )
    if any(
        each["type"] == "Finished" and each["status"] == "True" for each in status["conditions"]
    ):
        status |= {"phase": "Failed", "completionTime": timestamp(START)}
    if draw(st.booleans()):
        made.job["status"] = status
    for number in draw(st.lists(st.integers(1, 4), unique=True, max_size=3)):
        add_driver(made, job, number, draw)
    for number in draw(st.lists(st.integers(1, 4), unique=True, max_size=2)):
        made.executors[f"exec-{number}"] = Pod(
            uid=f"e{number}",
            namespace="traffic",
            name=f"exec-{number}",
            requests=Resources(),
            scheduling=Scheduling(),
            created=START,
            phase="Running",
            role="executor",
            attempt=draw(st.sampled_from([None, number])),
            gated=draw(st.booleans()),
            ended=draw(st.booleans()),
            deleting=draw(st.booleans()),
        )
    return made


def add_driver(made: World, job: JobObject, attempt: int, draw: Any) -> None:
    name = driver_name(job, attempt)
    made.drivers[name] = {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"d{attempt}",
            "creationTimestamp": draw(TIMES),
            "labels": {"carpool.dev/attempt": str(attempt)},
        },
        "status": {"phase": "Pending"},
    }
    match draw(st.sampled_from(["pending", "running", "ended", "evicted", "deleting"])):
        case "running":
            made.run_driver(name)
        case "ended":
            made.end_driver(name, draw(st.sampled_from(ENDINGS)))
        case "evicted":
            made.drivers[name]["status"] = {"phase": "Failed", "reason": "Evicted"}
        case "deleting":
            made.drivers[name]["metadata"]["deletionTimestamp"] = timestamp(START)


MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(worlds())
def test_plan_that_was_carried_out_leaves_nothing_to_do_but_to_wait(made):
    operator = Operator(made)
    plan = operator.settle()
    if made.job is None:
        return
    InferenceJobStatus.model_validate(made.status, by_alias=True, by_name=False)
    assert plan.wakeup is None or plan.wakeup > made.now
    waits_for_user = made.status["phase"] == "Suspended"
    finished = made.condition("Finished").get("status") == "True"
    assert finished or waits_for_user or made.moving or plan.wakeup is not None


@MANY
@given(worlds())
def test_job_comes_to_an_end_from_wherever_it_is(made):
    operator = Operator(made)
    operator.live(ticks=200)
    if made.job is None:
        return
    if made.job["spec"].get("suspend") and made.condition("Finished")["status"] == "False":
        made.edit(suspend=False)
        operator.live(ticks=200)
    if made.job is None:
        return
    assert made.condition("Finished")["status"] == "True"
    assert made.status["phase"] in ("Succeeded", "PartiallySucceeded", "Failed")
    assert made.running_drivers == 0
    assert not made.executors
    assert len(made.created) == len(set(made.created))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JOBS, st.integers(0, 5))
def test_no_job_that_the_api_server_admits_is_too_odd_to_decide_upon(document, running):
    metadata = document["metadata"]
    metadata |= {
        "namespace": "traffic",
        "uid": "0f5a1c3e",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": timestamp(START),
    }
    metadata.pop("deletionTimestamp", None)
    limited = JobSettings(image="image", max_running_jobs=3)
    for answer in (None, Lacking("NoEligibleNode", "none")):
        observed = Observed(document, reservation=answer, running_drivers_total=running)
        plan = decide(observed, limited, START)
        if plan.status is not None:
            InferenceJobStatus.model_validate(plan.status, by_alias=True, by_name=False)
