"""What a driver says is read as it was agreed upon, and nothing that it says does harm."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from carpool.spark.driver_status import DriverStatus
from carpool.spark.reporter import Setback
from carpool.spark.result import JobResult
from carpool.spec import InferenceJobStatus
from carpool_operator.domain.job.driver_report import (
    DriverProgress,
    Frames,
    ModelFacts,
    ReportedFailure,
    progress_of,
    termination_of,
)
from carpool_operator.domain.job.failures import with_failures
from carpool_operator.domain.job.progress import model_status, progress_status
from support.job_world import answer, message


def driver() -> DriverStatus:
    """A driver in the middle of its work."""
    found = DriverStatus(now=lambda: datetime(2026, 5, 4, 10, 20, 30, tzinfo=UTC))
    found.phase("Detecting")
    found.planned(total=900, done=90, failed=0, videos=2, units=4)
    found.executors({"1", "2"})
    found.advanced(100)
    found.quarantined(Setback("FramesMissing", "12 of 30", "s3://clips/a.mp4", 30))
    found.served("1", {"host_id": "h", "clients": 4, "model": {"weights_bytes": 250 << 20}})
    return found


FAILURE = ReportedFailure("2026-05-04T10:20:30Z", "FramesMissing", "12 of 30", "s3://clips/a.mp4")


def test_progress_of_carpools_own_driver_is_understood():
    found = progress_of(json.loads(json.dumps(driver().progress())), attempt=2, polled=5.0)
    assert found == DriverProgress(
        attempt=2,
        polled=5.0,
        phase="Detecting",
        frames=Frames(total=900, done=190, failed=30),
        model_ready=True,
        executors=2,
        model=ModelFacts(copies=1, memory=250 << 20, saved_memory=750 << 20),
        failures=(FAILURE,),
    )


def test_last_word_of_carpools_own_driver_is_understood():
    failed = JobResult(phase="Failed", reason="OutputUnavailable", message="503", retryable=True)
    found = termination_of(driver().last_word(failed).decode())
    assert found is not None
    assert (found.phase, found.reason, found.message) == ("Failed", "OutputUnavailable", "503")
    assert found.retryable
    assert found.frames == Frames(total=900, done=190, failed=30)
    assert found.failures == (FAILURE,)
    ended = JobResult(phase="PartiallySucceeded", output="s3://results")
    found = termination_of(driver().last_word(ended).decode())
    assert found is not None
    assert (found.reason, found.output) == ("PartiallySucceeded", "s3://results")


def test_no_message_and_what_is_none_are_no_last_word():
    for text in (None, "", "Killed", "[]", "{}", '{"phase": "Done"}', "[" * 100_000):
        assert termination_of(text) is None


def test_failure_that_is_not_called_hopeless_is_tried_again():
    said = message("Failed", "Odd")
    del said["retryable"]
    found = termination_of(json.dumps(said))
    assert found is not None
    assert found.retryable


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["2026-05-04T10:20:30Z", "9999-12-31T23:59:59Z", "\ud800", " ", "a b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def replaced(said: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """What a driver says, with anything in the place of some of it."""
    failure = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("time", "reason", "message", "location"), JSON)
    )
    values = {name: st.just(value) | JSON for name, value in said.items()}
    values["phase"] = st.just(said["phase"])
    values["failures"] = st.lists(failure | JSON, max_size=12) | JSON
    for name in ("frames", "model"):
        inner = {key: st.just(value) | JSON for key, value in said[name].items()}
        values[name] = st.fixed_dictionaries(inner) | JSON
    return st.fixed_dictionaries(values)


@given(replaced(answer()), st.integers(0, 3))
def test_whatever_a_driver_answers_the_status_stays_valid(said, attempt):
    found = progress_of(said, attempt=attempt, polled=5.0)
    if found is None:
        return
    status = InferenceJobStatus(
        progress=progress_status(found.frames, found, None), model=model_status(found.model)
    )
    status = with_failures(status, found.failures)
    InferenceJobStatus.model_validate(
        json.loads(json.dumps(status.model_dump(mode="json", by_alias=True, exclude_none=True))),
        by_alias=True,
        by_name=False,
    )


@given(replaced(message("Failed", "Odd")))
def test_whatever_a_driver_says_last_the_status_stays_valid(said):
    found = termination_of(json.dumps(said))
    if found is None:
        return
    status = with_failures(InferenceJobStatus(output=found.output), found.failures)
    InferenceJobStatus.model_validate(
        status.model_dump(mode="json", by_alias=True, exclude_none=True),
        by_alias=True,
        by_name=False,
    )


def polled(time: float, done: int, attempt: int = 1) -> DriverProgress:
    found = progress_of(answer(done=done), attempt=attempt, polled=time)
    assert found is not None
    return found


def test_poll_remembers_an_earlier_one_of_the_last_two_minutes():
    found = polled(0.0, 0)
    assert found.after(None).earlier is None
    for time in range(30, 600, 30):
        found = polled(float(time), time).after(found)
        assert found.earlier is not None
        assert 0.0 < time - found.earlier[0] <= 120.0


def test_poll_of_another_attempt_or_of_no_later_time_remembers_nothing():
    assert polled(60.0, 5, attempt=2).after(polled(30.0, 900)).earlier is None
    assert polled(30.0, 5).after(polled(30.0, 900)).earlier is None
