"""When a device is healthy: errors, silence, recovery."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool_operator.agent.health import (
    APPLICATION_XIDS,
    CRITICAL_XIDS,
    NOTED_XIDS,
    DeviceHealth,
    HealthPolicy,
    LastXid,
    answered,
    quiet_time,
    reported,
    silent,
)

POLICY = HealthPolicy(recovery=600)
WELL = DeviceHealth()
DAY = 86_400


def bad(at: float = 0.0) -> DeviceHealth:
    return reported(WELL, 79, 1e9, at, POLICY)


@pytest.mark.parametrize("code", sorted(APPLICATION_XIDS | NOTED_XIDS))
def test_an_error_that_is_not_the_devices_is_noted_and_changes_nothing(code):
    after = reported(WELL, code, 1e9, 0, POLICY)
    assert after.health == "Healthy"
    assert after.last_xid == LastXid(code, 1e9)


@pytest.mark.parametrize("code", [*sorted(CRITICAL_XIDS), 99_999])
def test_any_other_error_makes_it_unhealthy_one_that_nobody_knows_too(code):
    after = reported(WELL, code, 1e9, 0, POLICY)
    assert after.health == "Unhealthy"
    assert after.message is not None
    assert after.message.startswith(f"The driver reported Xid {code}")
    assert after.message.endswith(".")


def test_a_setting_adds_to_the_errors_of_applications():
    policy = HealthPolicy(ignored_xids=frozenset({94}))
    assert reported(WELL, 94, 1e9, 0, policy).health == "Healthy"


def test_it_is_lost_at_once_where_the_driver_says_so_and_otherwise_at_the_second_silence():
    assert silent(WELL, "Gone.", 0, certain=True).health == "Lost"
    once = silent(WELL, "Slow.", 0, certain=False)
    assert once.health == "Healthy"
    twice = silent(once, "Slow.", 3, certain=False)
    assert (twice.health, twice.message) == ("Lost", "Slow.")
    between = answered(once, None, 3, POLICY)
    assert silent(between, "Slow.", 6, certain=False).health == "Healthy"


def test_why_it_was_lost_stays_as_long_as_it_is():
    lost = silent(WELL, "First.", 0, certain=True)
    assert silent(lost, "Second.", 3, certain=True).message == "First."


def test_after_an_error_it_is_healthy_again_when_it_was_quiet_for_long_enough():
    assert answered(bad(), None, 599, POLICY).health == "Unhealthy"
    well = answered(bad(), None, 600, POLICY)
    assert (well.health, well.message) == ("Healthy", None)
    assert well.last_xid == LastXid(79, 1e9)


def test_another_error_begins_the_time_anew():
    again = reported(bad(), 48, 1e9, 500, POLICY)
    assert answered(again, None, 700, POLICY).health == "Unhealthy"
    assert answered(again, None, 1100, POLICY).health == "Healthy"


def test_an_error_of_an_application_does_not():
    again = reported(bad(), 13, 1e9, 500, POLICY)
    assert answered(again, None, 600, POLICY).health == "Healthy"


def test_one_that_was_lost_is_watched_before_it_is_used():
    lost = silent(WELL, "Gone.", 0, certain=True)
    watched = answered(lost, None, 5000, POLICY)
    assert watched.health == "Unhealthy"
    assert answered(watched, None, 5599, POLICY).health == "Unhealthy"
    assert answered(watched, None, 5600, POLICY).health == "Healthy"


def test_as_long_as_it_complains_it_stays_unhealthy():
    troubled = answered(WELL, "It needs a reset.", 0, POLICY)
    assert troubled.message == "It needs a reset."
    later = answered(troubled, "It needs a reset.", 10_000, POLICY)
    assert answered(later, None, 10_001, POLICY).health == "Unhealthy"
    assert answered(later, None, 10_600, POLICY).health == "Healthy"


def test_each_relapse_doubles_the_time_and_a_quiet_spell_forgives():
    first = answered(bad(), None, 600, POLICY)
    second = reported(first, 79, 1e9, 700, POLICY)
    assert quiet_time(second, POLICY) == 1200
    assert answered(second, None, 1800, POLICY).health == "Unhealthy"
    recovered = answered(second, None, 1900, POLICY)
    assert recovered.health == "Healthy"
    late = reported(recovered, 79, 1e9, 700 + 3 * DAY, POLICY)
    assert quiet_time(late, POLICY) == 600


STEPS = st.lists(
    st.tuples(
        st.floats(0, 2 * DAY),
        st.one_of(
            st.just(("answers", None)),
            st.just(("answers", "Trouble.")),
            st.booleans().map(lambda certain: ("silent", certain)),
            st.sampled_from([13, 48, 63, 79, 12_345]).map(lambda code: ("xid", code)),
        ),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_whatever_happens_it_says_why_it_is_not_healthy_and_recovers_in_the_end(steps):
    state, now = WELL, 0.0
    for passed, (what, value) in steps:
        now += passed
        before = state
        if what == "answers":
            state = answered(state, value, now, POLICY)
        elif what == "silent":
            state = silent(state, "Gone.", now, certain=value)
        else:
            state = reported(state, value, 1e9, now, POLICY)
        assert (state.message is None) == (state.health == "Healthy")
        assert (state.health == "Healthy") or state.bad_at is not None
        # From Lost there is no way to Healthy that does not lead through a time of quiet.
        assert not (before.health == "Lost" and state.health == "Healthy")
    assert quiet_time(state, POLICY) <= DAY
    state = answered(state, None, now, POLICY)
    assert answered(state, None, now + DAY, POLICY).health == "Healthy"
