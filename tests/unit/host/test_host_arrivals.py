from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.host.arrivals import Arrivals


def client(window: int, *, items: int = 1, seconds: float = 0.010, requests: int = 2) -> Arrivals:
    """One client that has sent requests at its pace and was not answered yet."""
    arrivals = Arrivals()
    arrivals.admit(1, window, 0.0)
    for number in range(requests):
        arrivals.submitted(1, items, number * seconds)
    return arrivals


def test_the_rate_is_that_of_the_clients_that_are_preparing() -> None:
    arrivals = client(window=8, items=4)
    assert arrivals.rate(0.010) == 0, "its window is full"
    assert arrivals.rate_after_answers(0.010) == pytest.approx(400)
    arrivals.answered(1, 4, 0.050)
    assert arrivals.rate(0.050) == pytest.approx(400)
    assert arrivals.rate_after_answers(0.050) == pytest.approx(400), "counted once"


def test_the_first_request_tells_no_pace() -> None:
    arrivals = Arrivals()
    arrivals.admit(1, 8, 0.0)
    arrivals.submitted(1, 1, 5.0)
    assert arrivals.rate(5.0) == 0


def test_the_pace_is_counted_from_when_the_client_could_go_on() -> None:
    arrivals = client(window=2)
    arrivals.answered(1, 1, 1.000)
    arrivals.submitted(1, 1, 1.010)
    arrivals.answered(1, 1, 2.000)
    assert arrivals.rate(2.0) == pytest.approx(100)


def test_a_client_that_waits_for_each_answer_prepares_only_after_it() -> None:
    arrivals = Arrivals()
    arrivals.admit(1, 8, 0.0)
    for cycle in range(40):
        arrivals.submitted(1, 1, 0.1 * cycle)
        arrivals.answered(1, 1, 0.1 * cycle + 0.09)
    assert arrivals.reach == 1
    assert arrivals.rate(4.0) == pytest.approx(100, rel=0.01)
    arrivals.submitted(1, 1, 4.0)
    assert arrivals.rate(4.0) == 0, "it waits for the answer"
    assert arrivals.rate_after_answers(4.0) == pytest.approx(100, rel=0.01)


def test_a_client_that_begins_to_use_its_window_is_believed() -> None:
    arrivals = client(window=8)
    arrivals.answered(1, 1, 0.020)
    arrivals.answered(1, 1, 0.020)
    for number in range(3, 9):
        arrivals.submitted(1, 1, 0.010 * number)
    assert arrivals.reach == 6


def test_a_client_that_is_late_is_doing_something_else() -> None:
    arrivals = client(window=8)
    assert arrivals.rate(0.030) > 0
    assert arrivals.rate(0.050) == 0


def test_a_long_pause_does_not_hide_the_usual_pace() -> None:
    arrivals = client(window=100, requests=5)
    arrivals.submitted(1, 1, 60.0)
    assert arrivals.rate(60.0) == pytest.approx(100 / 1.4)


def test_with_nothing_outstanding_one_more_request_is_always_on_its_way() -> None:
    arrivals = client(window=1, items=4)
    arrivals.answered(1, 4, 0.050)
    arrivals.answered(1, 4, 0.050)
    arrivals.submitted(1, 4, 0.060)
    arrivals.answered(1, 4, 0.070)
    assert arrivals.rate(0.070) == pytest.approx(400)


def test_who_left_and_who_was_never_admitted_count_for_nothing() -> None:
    arrivals = client(window=8)
    arrivals.leave(1)
    arrivals.submitted(1, 1, 0.020)
    arrivals.answered(1, 1, 0.030)
    arrivals.leave(2)
    assert arrivals.rate(0.030) == arrivals.rate_after_answers(0.030) == 0
    assert arrivals.window == arrivals.reach == 0


def test_a_window_that_grows_lets_a_waiting_client_go_on() -> None:
    arrivals = client(window=2)
    assert arrivals.rate(0.010) == 0
    arrivals.admit(1, 4, 0.020)
    assert arrivals.window == 4
    assert arrivals.rate(0.020) == pytest.approx(100)


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 8), st.booleans(), st.floats(0, 0.1)),
        max_size=60,
    )
)
def test_whatever_happens_no_rate_is_negative(
    events: list[tuple[int, int, bool, float]],
) -> None:
    arrivals, now = Arrivals(), 0.0
    for number in (1, 2):
        arrivals.admit(number, 8, now)
    for number, items, submits, pause in events:
        now += pause
        (arrivals.submitted if submits else arrivals.answered)(number, items, now)
        assert 0 <= arrivals.rate(now) <= arrivals.rate_after_answers(now)
