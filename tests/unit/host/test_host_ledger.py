from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import (
    CarpoolError,
    HandlerError,
    HostOutOfMemory,
    InferenceFailed,
    ProtocolError,
    RequestPoisoned,
)
from carpool.host.ledger import ItemFailure, Ledger
from carpool.host.messages import FailureCode


@settings(max_examples=50)
@given(st.permutations(range(6)))
def test_results_come_in_the_order_of_submission(answered: list[int]) -> None:
    ledger = Ledger()
    requests = [ledger.add(slot=n, items=1, tag=n) for n in range(6)]
    out: list[int] = []
    for number in answered:
        ledger.complete(requests[number], [], None)
        out += [done.tag for done in ledger.results()]
    assert out == list(range(6))
    assert ledger.empty
    assert ledger.outstanding == 0


def test_only_what_was_running_is_blamed_for_a_death() -> None:
    ledger = Ledger()
    suspect = ledger.add(0, 2, "suspect")
    bystander = ledger.add(1, 2, "bystander")
    for deaths in (1, 2):
        assert ledger.host_died(lambda request: request is suspect) == []
        assert (suspect.deaths, bystander.deaths) == (deaths, 0)
    assert ledger.host_died(lambda request: request is suspect) == [suspect]
    assert ledger.open == [bystander]
    (done,) = ledger.results()
    assert done.tag == "suspect"
    assert len(done.rows) == 2
    assert all(isinstance(row, ItemFailure) for row in done.rows)


def test_failures_of_a_dead_host_are_forgotten() -> None:
    ledger = Ledger()
    request = ledger.add(0, 2, None)
    request.failures[1] = ItemFailure(FailureCode.INFERENCE, "bad")
    ledger.host_died(lambda _: False)
    assert request.failures == {}


def test_an_answer_to_nothing_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError, match="request 7"):
        Ledger().find(7)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (FailureCode.INFERENCE, InferenceFailed),
        (FailureCode.MEMORY, HostOutOfMemory),
        (FailureCode.HANDLER, HandlerError),
        (FailureCode.POISONED, RequestPoisoned),
    ],
)
def test_a_failure_says_whose_error_it_is(code: FailureCode, error: type[CarpoolError]) -> None:
    made = ItemFailure(code, "why").error()
    assert type(made) is error
    assert str(made) == "why"
