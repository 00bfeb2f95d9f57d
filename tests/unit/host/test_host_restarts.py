from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import HostStartFailed
from carpool.host.config import HostConfig
from carpool.host.process import (
    check_socket_path,
    child_environment,
    describe_end,
    host_environment,
)
from carpool.host.restarts import HEALTHY_SECONDS, MOST_FAILED_STARTS, RestartPolicy
from carpool.host.termination import (
    MAX_BYTES,
    VARIABLE,
    Termination,
    failure_file,
    find_message,
    leave_message,
)


def test_restarts_come_at_once_then_ever_later() -> None:
    policy = RestartPolicy()
    delays = [policy.died(1.0) for _ in range(9)]
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_healthy_life_is_forgiven_everything() -> None:
    policy = RestartPolicy()
    for _ in range(5):
        policy.died(1.0)
    assert policy.died(HEALTHY_SECONDS) == 0
    assert policy.died(1.0) == 1


def test_a_host_that_never_becomes_ready_is_given_up() -> None:
    policy = RestartPolicy()
    delays = [policy.died(None) for _ in range(MOST_FAILED_STARTS)]
    assert None not in delays[:-1]
    assert delays[-1] is None


def test_one_start_that_became_ready_starts_the_count_anew() -> None:
    policy = RestartPolicy()
    for _ in range(MOST_FAILED_STARTS - 1):
        assert policy.died(None) is not None
    assert policy.died(0.1) is not None
    assert policy.died(None) is not None


@settings(max_examples=50)
@given(st.text(max_size=9000), st.text(max_size=9000))
def test_a_message_always_fits_a_termination_log(message: str, traceback: str) -> None:
    termination = Termination("ModelNotFound", message, traceback)
    raw = termination.encode()
    assert len(raw) <= MAX_BYTES
    found = Termination.decode(raw)
    assert found.reason == "ModelNotFound"
    assert message.startswith(found.message)
    assert traceback.endswith(found.traceback)
    if not found.traceback or len(found.message) == len(message):
        return
    pytest.fail("the message was cut before the traceback")


def test_a_message_is_left_beside_the_socket_and_where_kubernetes_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "termination-log"
    monkeypatch.setenv(VARIABLE, str(log))
    socket = tmp_path / "host.sock"
    assert find_message(socket) is None
    leave_message(socket, Termination("ModelNotFound", "no weights"))
    found = find_message(socket)
    assert found == Termination("ModelNotFound", "no weights")
    assert log.read_bytes() == failure_file(socket).read_bytes()
    assert isinstance(found.error(), HostStartFailed)
    assert "no weights" in str(found.error())


def test_a_message_of_unknown_form_is_shown_as_it_is(tmp_path: Path) -> None:
    socket = tmp_path / "host.sock"
    failure_file(socket).write_text("out of cheese")
    found = find_message(socket)
    assert found is not None
    assert "out of cheese" in str(found.error())


def test_a_host_inherits_nothing_that_is_a_spark_workers() -> None:
    inherited = {
        "PATH": "/bin",
        "AWS_PROFILE": "p",
        "OMP_NUM_THREADS": "1",
        "SPARK_HOME": "/spark",
        "PYTHON_WORKER_FACTORY_SECRET": "s",
    }
    assert host_environment(inherited) == {"PATH": "/bin", "AWS_PROFILE": "p"}


def test_the_child_computes_with_the_threads_of_the_configuration() -> None:
    config = HostConfig(handler="m:C", threads=3)
    assert child_environment({"OMP_NUM_THREADS": "1"}, config)["OMP_NUM_THREADS"] == "3"
    every = HostConfig(handler="m:C")
    assert child_environment({}, every)["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    steady = HostConfig(handler="m:C", deterministic=True)
    assert child_environment({}, steady)["OMP_NUM_THREADS"] == "1"


def test_the_allocators_tuning_is_a_default_only() -> None:
    config = HostConfig(handler="m:C")
    assert child_environment({}, config)["GOMP_SPINCOUNT"] == "5000"
    assert child_environment({"GOMP_SPINCOUNT": "7"}, config)["GOMP_SPINCOUNT"] == "7"


def test_a_path_too_long_for_a_socket_is_refused_with_the_limit() -> None:
    fits = Path("/" + "x" * 106)
    assert check_socket_path(fits) == fits
    with pytest.raises(HostStartFailed, match="108 bytes, Unix sockets allow 107"):
        check_socket_path(Path("/" + "x" * 107))


def test_an_end_is_described() -> None:
    assert describe_end(signal.SIGKILL) == "killed by signal 9 (SIGKILL)"
    assert describe_end(3 << 8) == "ended with code 3"
