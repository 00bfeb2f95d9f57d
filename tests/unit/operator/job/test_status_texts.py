"""The texts of the columns, the conditions, and when a status is worth a write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.spec import InferenceJobStatus, quantity_bytes
from carpool_operator.domain.job.conditions import set_condition
from carpool_operator.domain.job.driver_report import Frames, ReportedFailure, progress_of
from carpool_operator.domain.job.failures import with_failures
from carpool_operator.domain.job.job_object import condition_of
from carpool_operator.domain.job.progress import (
    display,
    duration,
    frames_per_second,
    progress_status,
    quantity,
    short,
)
from carpool_operator.domain.job.status import as_json, due_at
from carpool_operator.domain.job.times import timestamp, unix
from support.job_world import START, answer


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [
        (0, 0, "0/0"),
        (0, 900, "0/900 (0%)"),
        (412_345, 900_000, "412k/900k (45%)"),
        (899_999, 900_000, "899k/900k (99%)"),
        (900_000, 900_000, "900k/900k (100%)"),
        (1_234_567, 12_345_678, "1.2M/12M (9%)"),
        (9_999_999_999, 9_999_999_999, "9.9G/9.9G (100%)"),
    ],
)
def test_progress_is_shown_in_few_characters(done, total, expected):
    assert display(done, total) == expected


@given(st.integers(0, 2**63 - 1))
def test_count_takes_at_most_four_characters(count):
    assert len(short(count)) <= 4


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0s"),
        (59.9, "59s"),
        (60.0, "1m"),
        (229.0, "3m49s"),
        (3600.0, "1h"),
        (7500.0, "2h5m"),
        (86_400.0 * 4 + 3 * 3600, "4d3h"),
    ],
)
def test_time_left_is_shown_in_its_two_largest_units(seconds, expected):
    assert duration(seconds) == expected


@given(st.integers(1, 2**60))
def test_amount_of_memory_is_a_quantity_of_at_least_as_much(amount):
    text = quantity(amount)
    assert text is not None
    assert amount <= quantity_bytes(text) < amount + (1 << 20)


def test_amount_of_no_memory_is_not_shown():
    assert quantity(0) is None
    assert quantity(None) is None


def polled(seconds: float, done: int, phase: str = "Detecting"):
    found = progress_of(answer(phase, done=done), attempt=1, polled=START + seconds)
    assert found is not None
    return found


def test_rate_is_that_between_two_polls():
    first = polled(0, 1000)
    assert frames_per_second(first) is None
    assert frames_per_second(polled(30, 64_900).after(first)) == 2130.0
    assert frames_per_second(polled(30, 500).after(first)) == 0.0


def test_slow_rate_has_a_decimal_and_no_rate_has_no_end():
    first = polled(0, 0)
    slow = polled(30, 45).after(first)
    assert progress_status(slow.frames, slow, None).rate == "1.5/s"
    stuck = polled(30, 0).after(first)
    status = progress_status(stuck.frames, stuck, None)
    assert (status.rate, status.eta) == ("0.0/s", None)


def test_rate_and_end_are_of_detection_alone():
    tracking = polled(30, 900_000, "Tracking").after(polled(0, 1000))
    status = progress_status(tracking.frames, tracking, None)
    assert (status.rate, status.eta) == (None, None)


def test_quarantined_frames_are_behind_us():
    assert progress_status(Frames(100, 90, 10), None, None).display == "100/100 (100%)"
    assert progress_status(Frames(100, 90, 90), None, None).display == "100/100 (100%)"


# Conditions


def test_condition_keeps_its_time_until_its_status_changes():
    status = InferenceJobStatus()
    for seconds, value in ((0, "False"), (5, "False"), (9, "True"), (12, "True")):
        status = set_condition(
            status, "Reserved", value, f"At{seconds}", "", generation=seconds, now=START + seconds
        )
    found = condition_of(status, "Reserved")
    assert found is not None
    assert found.last_transition_time == timestamp(START + 9)
    assert (found.reason, found.observed_generation) == ("At12", 12)
    assert len(status.conditions) == 1


def test_conditions_of_others_stay_and_are_not_sent():
    status = InferenceJobStatus.model_validate(
        {
            "conditions": [
                {
                    "type": "example.org/Audited",
                    "status": "True",
                    "lastTransitionTime": timestamp(START),
                    "reason": "Seen",
                    "message": "",
                }
            ]
        },
        by_alias=True,
        by_name=False,
    )
    made = set_condition(status, "Accepted", "True", "Valid", "", generation=1, now=START)
    assert [each.type for each in made.conditions] == ["Accepted", "example.org/Audited"]
    assert [each["type"] for each in as_json(made)["conditions"]] == ["Accepted"]


# Writes


def test_status_is_written_at_once_where_programs_act_upon_it_and_later_for_figures():
    old = as_json(
        set_condition(
            InferenceJobStatus(phase="Detecting", attempt=1),
            "Reserved",
            "True",
            "SlotsHeld",
            "2 slots",
            generation=1,
            now=START,
        )
    )

    def due(new, last=START + 20, now=START + 25):
        return due_at(old, new, last_written=last, now=now, interval=30.0)

    assert due(old) is None
    assert due({**old, "phase": "Tracking"}) == START + 25
    figures = {**old, "model": {"copies": 3}}
    assert due(figures) == START + 50
    assert due(figures, last=None) == START + 25
    assert due(figures, last=START - 100) == START + 25
    [condition] = old["conditions"]
    assert due({**old, "conditions": [{**condition, "message": "3 slots"}]}) == START + 50
    assert due({**old, "conditions": [{**condition, "reason": "Other"}]}) == START + 25


def test_order_of_the_conditions_is_the_api_servers_affair():
    status = InferenceJobStatus()
    for kind in ("Accepted", "Finished"):
        status = set_condition(status, kind, "True", "A", "", generation=1, now=START)
    new = as_json(status)
    old = {**new, "conditions": list(reversed(new["conditions"]))}
    assert due_at(old, new, last_written=None, now=START, interval=30.0) is None


# Failures

TOLD = st.lists(
    st.builds(
        ReportedFailure,
        time=st.integers(0, 20).map(lambda seconds: timestamp(START + seconds)),
        reason=st.sampled_from(["A", "B"]),
        message=st.sampled_from(["", "m"]),
        location=st.sampled_from([None, "s3://a"]),
    ),
    max_size=15,
)


@given(TOLD, TOLD)
def test_last_ten_failures_are_kept_each_once_newest_last(first, second):
    once = with_failures(with_failures(InferenceJobStatus(), first), second)
    again = with_failures(once, second)
    assert again.failures == once.failures
    times = [unix(failure.time) for failure in once.failures]
    assert times == sorted(times)
    assert len(times) == min(len({*first, *second}), 10)
