"""What the driver tries again, and for how long."""

from __future__ import annotations

import pytest

from carpool.errors import InputUnavailable, NoInput
from carpool.spark.retrying import ATTEMPTS, retrying


class Step:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_storage_that_fails_twice_is_asked_a_third_time():
    step = Step(InputUnavailable("away"), InputUnavailable("still away"))
    assert retrying(step, pause=0) == "done"
    assert step.calls == 3


def test_what_cannot_pass_is_not_tried_again():
    step = Step(NoInput("nothing there"))
    with pytest.raises(NoInput):
        retrying(step, pause=0)
    assert step.calls == 1


def test_the_last_error_is_told_when_it_does_not_pass():
    step = Step(*(InputUnavailable(str(number)) for number in range(10)))
    with pytest.raises(InputUnavailable, match=str(ATTEMPTS - 1)):
        retrying(step, pause=0)
    assert step.calls == ATTEMPTS
