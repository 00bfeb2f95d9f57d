"""The agent's settings: read and refused as the operator's are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from carpool_operator.agent.settings import load_agent_settings
from carpool_operator.errors import SettingsError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith("CARPOOL_"):
            monkeypatch.delenv(name)


def test_variables_and_flags_are_read(monkeypatch):
    monkeypatch.setenv("CARPOOL_NODE_NAME", "gpu-7")
    monkeypatch.setenv("CARPOOL_IGNORED_XIDS", "94, 13")
    settings = load_agent_settings(["--recovery-seconds=60"])
    assert settings.node_name == "gpu-7"
    assert settings.health_policy.ignored_xids == {13, 94}
    assert settings.health_policy.recovery == 60
    assert settings.cadence.heartbeat == 30
    assert settings.map_processes is False


def test_one_heartbeat_may_be_lost_before_the_allocator_distrusts_an_agent():
    settings = load_agent_settings(["--node-name=a"])
    # Jittered by a fifth.
    assert 2 * 1.2 * settings.heartbeat_seconds < 90


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["CARPOOL_NODE_NAME", "--node-name", "not set"]),
        (["--node-name=a", "--poll-seconds=soon"], ["CARPOOL_POLL_SECONDS", "a number"]),
        (["--node-name=a", "--ignored-xids=x"], ["CARPOOL_IGNORED_XIDS", "codes of errors"]),
        (["--node-name=a", "--heartbeat-seconds=80"], ["CARPOOL_HEARTBEAT_SECONDS", "45"]),
        (["--node-name=a", "--change-seconds=40"], ["CARPOOL_CHANGE_SECONDS", "make it less"]),
    ],
)
def test_a_wrong_setting_is_refused_by_name(arguments, words):
    with pytest.raises(SettingsError) as refused:
        load_agent_settings(arguments)
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_the_process_ends_with_two_when_it_was_started_wrongly():
    done = subprocess.run(
        [sys.executable, "-m", "carpool_operator.agent"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "CARPOOL_NODE_NAME" in done.stderr
    assert "Traceback" not in done.stderr
