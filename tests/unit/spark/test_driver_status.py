"""What the operator learns from a driver: while it runs, and from its last word."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.host.termination import MAX_BYTES
from carpool.spark.driver_status import SETBACKS, DriverStatus
from carpool.spark.reporter import Setback
from carpool.spark.result import JobResult
from carpool.spec import InferenceJobStatus

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def status():
    made = DriverStatus(now=lambda: NOON)
    made.planned(total=1000, done=120, failed=20, videos=2, units=10)
    return made


def host(name, *, clients, weights=100, loaded=True):
    return {
        "host_id": name,
        "loaded": loaded,
        "clients": clients,
        "model": {"weights_bytes": weights},
    }


def test_frames_of_an_earlier_attempt_count_by_whether_they_have_results(status):
    assert status.progress()["frames"] == {"total": 1000, "done": 100, "failed": 20}
    status.advanced(50)
    status.quarantined(Setback("FramesMissing", "cut short", "file:///a.mp4", frames=30))
    assert status.progress()["frames"] == {"total": 1000, "done": 150, "failed": 50}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Planning", "Starting"),
        ("Starting", "Starting"),
        ("Detecting", "Detecting"),
        ("Tracking", "Tracking"),
        ("Finishing", "Tracking"),
    ],
)
def test_phases_are_those_of_the_status_of_a_job(status, told, shown):
    status.phase(told)
    assert status.progress()["phase"] == shown


def test_the_model_is_ready_once_a_host_has_been_heard_of_and_each_holds_a_copy(status):
    found = status.progress()
    assert not found["modelReady"]
    assert found["model"] == {"copies": 0, "memory": None, "savedMemory": None}
    status.served("1", host("one", clients=4))
    status.served("2", host("two", clients=1))
    status.served("1", host("one", clients=2))
    found = status.progress()
    assert found["modelReady"]
    # Three of the four tasks on the first needed no copy of their own.
    assert found["model"] == {"copies": 2, "memory": 100, "savedMemory": 300}


def test_copies_are_those_of_executors_that_are_there(status):
    status.executors({"1", "2"})
    assert status.progress()["executors"] == {"registered": 2}
    status.served("1", host("one", clients=4))
    status.served("2", host("two", clients=3))
    status.executors({"2"})
    found = status.progress()
    assert found["executors"] == {"registered": 1}
    assert found["model"] == {"copies": 1, "memory": 100, "savedMemory": 200}
    # What stands in for the lost one counts when its copy has served.
    status.executors({"2", "3"})
    assert status.progress()["model"]["copies"] == 1
    status.served("3", host("three", clients=1))
    assert status.progress()["model"]["copies"] == 2


def test_where_all_executors_are_gone_no_model_is_ready_and_what_a_copy_takes_is_still_known(
    status,
):
    status.served("1", host("one", clients=4))
    status.executors(set())
    found = status.progress()
    assert not found["modelReady"]
    assert found["model"] == {"copies": 0, "memory": 100, "savedMemory": 0}


def test_an_executor_has_one_copy_however_often_its_host_began_anew(status):
    status.served("1", host("one", clients=4))
    status.served("1", host("two", clients=2))
    assert status.progress()["model"] == {"copies": 1, "memory": 100, "savedMemory": 100}
    status.served("1", host("three", clients=0, loaded=False))
    assert status.progress()["model"]["copies"] == 0


def test_a_copy_counts_from_its_first_report_whether_its_executor_was_counted_yet(status):
    status.executors(set())
    status.served("1", host("one", clients=1))
    assert status.progress()["model"]["copies"] == 1
    assert json.loads(status.last_word(JobResult("Succeeded")))["model"]["copies"] == 1


def test_the_copy_of_a_local_run_is_there_as_long_as_the_driver(status):
    status.served("driver", host("one", clients=1))
    status.executors(set())
    assert status.progress()["model"]["copies"] == 1


def test_the_last_failures_are_kept_as_the_status_of_a_job_has_them(status):
    for number in range(SETBACKS + 5):
        status.quarantined(Setback("Undecodable", f"no frame {number}", "s3://b/a.mp4", frames=1))
    failures = status.progress()["failures"]
    assert [each["message"] for each in failures] == [
        f"no frame {number}" for number in range(5, SETBACKS + 5)
    ]
    read = InferenceJobStatus.model_validate({"failures": failures})
    assert read.failures[-1].reason == "Undecodable"


def test_the_last_word_says_how_the_job_ended_and_whether_another_attempt_may_end_otherwise(status):
    result = JobResult("Failed", reason="InputUnavailable", message="no route", retryable=True)
    found = json.loads(status.last_word(result))
    assert (found["phase"], found["reason"], found["retryable"]) == (
        "Failed",
        "InputUnavailable",
        True,
    )
    assert found["frames"] == {"total": 1000, "done": 100, "failed": 20}
    assert json.loads(status.last_word(JobResult("Succeeded")))["reason"] == "Succeeded"


@given(
    message=st.text(max_size=5000),
    output=st.text(max_size=2000),
    reasons=st.lists(st.text(max_size=2000), max_size=SETBACKS),
)
def test_the_last_word_fits_a_termination_message_and_keeps_the_newest_failures(
    message, output, reasons
):
    status = DriverStatus(now=lambda: NOON)
    for text in reasons:
        status.quarantined(Setback("Undecodable", text, "file:///a", frames=1))
    raw = status.last_word(JobResult("Failed", reason="X", message=message, output=output))
    assert len(raw) <= MAX_BYTES
    found = json.loads(raw)
    assert message.startswith(found["message"])
    kept = [each["message"] for each in found["failures"]]
    assert kept == [text[:1024] for text in reasons[len(reasons) - len(kept) :]]
