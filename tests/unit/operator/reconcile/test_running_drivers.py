"""Which jobs take a place of --max-running-jobs."""

from __future__ import annotations

from carpool_operator.reconcile.running_drivers import RunningDrivers


def running(*served: str) -> RunningDrivers:
    return RunningDrivers(lambda namespace: namespace in served)


def test_a_job_takes_a_place_from_the_decision_to_start_it_until_its_driver_is_gone():
    made = running("team")
    made.note_starting("first", "team", starting=True)
    assert made.others("second", "team") == (1, 1)
    made.note_running("first", "team", running=True)
    made.note_starting("first", "team", starting=False)
    assert made.others("second", "team") == (1, 1)
    made.note_running("first", "team", running=False)
    assert made.others("second", "team") == (0, 0)


def test_a_job_does_not_stand_in_its_own_way():
    made = running("team")
    made.note_running("first", "team", running=True)
    assert made.others("first", "team") == (0, 0)


def test_places_are_counted_by_namespace_and_in_all():
    made = running("team", "night")
    made.note_running("first", "team", running=True)
    made.note_running("second", "night", running=True)
    assert made.others("third", "night") == (1, 2)


def test_drivers_of_another_operators_namespaces_take_no_place():
    made = running("team")
    made.note_running("foreign", "elsewhere", running=True)
    made.note_running("first", "team", running=True)
    assert made.others("second", "team") == (1, 1)
