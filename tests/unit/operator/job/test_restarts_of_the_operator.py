"""An operator that dies at any write, and its successor, bring a job to the same end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.job_world import Operator, World, message, world

DEATH = None
COULD_PASS = message("Failed", "OutputUnavailable", retryable=True, text="503")
HOPELESS = message("Failed", "ModelNotFound", text="model.cfg: no such file")


def suspended_while_it_runs(made: World, tick: int) -> None:
    if tick == 3:
        made.edit(suspend=True)
    if tick == 8:
        made.edit(suspend=False, executors=2)


def driver_is_deleted(made: World, tick: int) -> None:
    if tick == 3:
        for name in list(made.drivers):
            made.lose_driver(name)


def nothing(made: World, tick: int) -> None:
    pass


LIVES: dict[str, tuple[Callable[[], World], Callable[[World, int], None]]] = {
    "succeeds": (lambda: world([message()]), nothing),
    "ends partially": (lambda: world([message("PartiallySucceeded")]), nothing),
    "dies once": (lambda: world([DEATH, message()]), nothing),
    "fails twice, then succeeds": (lambda: world([COULD_PASS, DEATH, message()]), nothing),
    "has no retry left": (
        lambda: world([DEATH], spec__failurePolicy={"backoffLimit": 1}),
        nothing,
    ),
    "cannot be helped": (lambda: world([HOPELESS]), nothing),
    "is suspended and resumed": (lambda: world([message()]), suspended_while_it_runs),
    "loses its driver": (lambda: world([message()]), driver_is_deleted),
    "runs too long": (lambda: world([], spec__activeDeadlineSeconds=60), nothing),
    "is wrong": (lambda: world([], spec__input__kind="Images"), nothing),
    "is deleted after its time": (
        lambda: world([message()], spec__ttlSecondsAfterFinished=60),
        nothing,
    ),
}


def live(life: str, **deaths: Any) -> World:
    make, user = LIVES[life]
    return lived(make(), user, **deaths)


def lived(made: World, user: Callable[[World, int], None], **deaths: Any) -> World:
    operator = Operator(made, **deaths)
    for tick in range(80):
        user(made, tick)
        plan = operator.settle()
        if made.job is None or (tick > 10 and made.at_rest(plan)):
            break
        made.pass_time()
    return made


def end_of(made: World) -> Mapping[str, Any]:
    job = None if made.job is None else {"spec": made.job["spec"], "status": made.status}
    return {
        "job": job,
        "created": made.created,
        "drivers": made.drivers,
        "executors": made.executors,
    }


@pytest.mark.parametrize("life", LIVES)
def test_end_is_that_of_an_undisturbed_life_whichever_write_the_operator_dies_at(life):
    undisturbed = live(life)
    assert undisturbed.writes > 0
    for death in range(undisturbed.writes + 1):
        for moment in ("kills_before", "kills_after"):
            disturbed = live(life, **{moment: {death}})
            assert end_of(disturbed) == end_of(undisturbed), f"{moment} write {death}"


@pytest.mark.parametrize("life", LIVES)
def test_no_child_is_created_twice_and_each_attempt_has_its_own(life):
    created = live(life).created
    assert len(set(created)) == len(created)
    assert len([name for name in created if name.endswith("-driver")]) == len(created) / 2


@pytest.mark.parametrize("life", LIVES)
def test_end_is_the_same_for_an_operator_that_dies_at_every_write(life):
    assert end_of(live(life, kills_before=set(range(100)))) == end_of(live(life))
    assert end_of(live(life, kills_after=set(range(100)))) == end_of(live(life))


EVENTS = ("suspend", "resume", "lose driver", "crash", "wait", "wait", "more executors")


def play(events: list[str]) -> Callable[[World, int], None]:
    """A user and nodes that do these things, one each ten seconds."""

    def user(made: World, tick: int) -> None:
        if made.job is None or tick >= len(events):
            return
        running = [
            name for name, pod in made.drivers.items() if pod["status"]["phase"] == "Running"
        ]
        suspended = made.job["spec"].get("suspend", False)
        match events[tick]:
            case "suspend" if not suspended:
                made.edit(suspend=True)
            case "resume" if suspended:
                made.edit(suspend=False)
            case "more executors" if suspended:
                made.edit(executors=3)
            case "lose driver" if running:
                made.lose_driver(running[0])
            case "crash" if running:
                made.end_driver(running[0], None)

    return user


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(EVENTS), max_size=12),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40)),
    st.integers(1, 4),
)
def test_end_is_the_same_in_any_life_with_any_deaths(events, before, after, work):
    ends = []
    for deaths in ({}, {"kills_before": before, "kills_after": after}):
        made = world([message()], spec__failurePolicy={"backoffLimit": 2})
        made.work = work
        ends.append(end_of(lived(made, play(events), **deaths)))
    assert ends[0] == ends[1]


def lived_with_pauses(made: World, events: list[str], pause: int, deaths: set[int]) -> int:
    """A life in which nobody is there for some time after each death; the failures in it."""
    operator = Operator(made, kills_after=deaths)
    user, failures, away = play(events), 0, 0
    for tick in range(100):
        running = made.running_drivers
        user(made, tick)
        failures += running - made.running_drivers
        away = max(away - 1, 0)
        while away == 0 and made.job is not None:
            before = operator.deaths
            plan = operator.reconcile()
            if operator.deaths > before:
                away = pause
            elif not plan.actions and plan.status is None:
                break
        assert made.running_drivers <= 1
        made.pass_time()
    return failures


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(EVENTS), max_size=16),
    st.integers(1, 3),
    st.sets(st.integers(0, 20), max_size=6),
)
def test_only_what_failed_counts_though_nobody_was_there_when_it_happened(events, pause, deaths):
    made = world([message()], spec__failurePolicy={"backoffLimit": 100})
    failures = lived_with_pauses(made, [*events, "resume"], pause, deaths)
    assert made.status["phase"] == "Succeeded"
    assert made.status["failedAttempts"] <= failures


@pytest.mark.parametrize("death", range(14))
def test_suspension_is_no_failure_though_it_was_over_before_anybody_looked(death):
    made = world([message()])
    lived_with_pauses(made, ["wait", "wait", "wait", "suspend", "resume"], 2, {death})
    assert made.status["phase"] == "Succeeded"
    assert made.status["failedAttempts"] == 0
