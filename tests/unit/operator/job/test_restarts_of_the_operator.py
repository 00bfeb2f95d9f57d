"""An operator that dies at any write, and its successor, bring a job to the same end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from support.job_world import SETTINGS, Operator, World, message, world

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


def live(life: str, **deaths: int) -> tuple[World, Operator]:
    make, user = LIVES[life]
    made = make()
    operator = Operator(made, **deaths)
    for tick in range(60):
        if made.job is None:
            break
        user(made, tick)
        operator.live(ticks=1)
    return made, operator


def end_of(made: World) -> Mapping[str, Any]:
    return {
        "job": made.job,
        "created": made.created,
        "drivers": made.drivers,
        "executors": made.executors,
    }


def without_versions(end: Mapping[str, Any]) -> Any:
    if end["job"] is not None:
        metadata = {**end["job"]["metadata"], "resourceVersion": ""}
        return {**end, "job": {**end["job"], "metadata": metadata}}
    return end


@pytest.mark.parametrize("life", LIVES)
def test_end_is_that_of_an_undisturbed_life_whichever_write_the_operator_dies_at(life):
    undisturbed, _ = live(life)
    assert len(set(undisturbed.created)) == len(undisturbed.created)
    assert undisturbed.writes > 0
    for death in range(undisturbed.writes + 1):
        for moment in ("kill_before", "kill_after"):
            disturbed, _ = live(life, **{moment: death})
            found, expected = (
                without_versions(end_of(disturbed)),
                without_versions(end_of(undisturbed)),
            )
            assert found == expected, f"{moment} write {death}"


def test_settings_of_the_world_are_those_of_an_installation():
    assert SETTINGS.backoff_seconds == 10.0
