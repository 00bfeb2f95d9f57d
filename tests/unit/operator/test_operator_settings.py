"""Settings: from variables and flags, checked at the start, refused by name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from carpool_operator.errors import SettingsError
from carpool_operator.settings import load_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith("CARPOOL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CARPOOL_JOB_IMAGE", "registry.example/job:1")


def refused(*arguments: str) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings(arguments)
    return str(raised.value)


def test_variables_are_read(monkeypatch):
    monkeypatch.setenv("CARPOOL_NAMESPACES", "team-a, team-b")
    monkeypatch.setenv("CARPOOL_MAX_RUNNING_JOBS", "7")
    monkeypatch.setenv("CARPOOL_DRIVER_NODE_SELECTOR", "pool=cpu,disk=ssd")
    monkeypatch.setenv("CARPOOL_DRIVER_TOLERATIONS", '[{"key": "spot", "operator": "Exists"}]')
    settings = load_settings([])
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.max_running_jobs == 7
    job = settings.job_settings()
    assert job.max_running_jobs == 7
    assert job.image == "registry.example/job:1"
    assert job.driver_node_selector == {"pool": "cpu", "disk": "ssd"}
    assert job.driver_tolerations == ({"key": "spot", "operator": "Exists"},)


def test_flags_go_before_variables(monkeypatch):
    monkeypatch.setenv("CARPOOL_WORKERS", "3")
    assert load_settings([]).workers == 3
    assert load_settings(["--workers", "5"]).workers == 5
    assert load_settings(["--namespaces=a,b"]).namespaces == ("a", "b")


def test_namespaces_are_chosen_by_labels_too():
    settings = load_settings(["--namespace-selector", "carpool=on,stage=prod"])
    assert settings.selected_labels == {"carpool": "on", "stage": "prod"}
    assert load_settings([]).selected_labels is None


@pytest.mark.parametrize(
    ("argument", "name", "found", "expected"),
    [
        ("--workers=many", "CARPOOL_WORKERS", "'many'", "a whole number"),
        ("--workers=0", "CARPOOL_WORKERS", "'0'", "greater than or equal to 1"),
        ("--lease-duration-seconds=x", "CARPOOL_LEASE_DURATION_SECONDS", "'x'", "a number"),
        ("--log-format=xml", "CARPOOL_LOG_FORMAT", "'xml'", "'json' or 'text'"),
        ("--namespaces=Team_A", "CARPOOL_NAMESPACES", "'Team_A'", "lower-case letters"),
        ("--namespace-selector=on", "CARPOOL_NAMESPACE_SELECTOR", "'on'", "key=value"),
        ("--driver-tolerations={}", "CARPOOL_DRIVER_TOLERATIONS", "'{}'", "JSON list"),
        ("--probe-port=70000", "CARPOOL_PROBE_PORT", "'70000'", "65535"),
    ],
)
def test_a_wrong_value_is_refused_by_name_with_what_was_found_and_what_is_expected(
    argument, name, found, expected
):
    message = refused(argument)
    assert name in message
    assert found in message
    assert expected in message


def test_all_wrong_values_are_named_at_once():
    message = refused("--workers=x", "--log-format=y")
    assert "CARPOOL_WORKERS" in message
    assert "CARPOOL_LOG_FORMAT" in message


def test_two_ways_to_choose_namespaces_are_one_too_many():
    message = refused("--namespaces=a", "--namespace-selector=b=c")
    assert "CARPOOL_NAMESPACES and CARPOOL_NAMESPACE_SELECTOR are both set" in message


def test_a_missing_image_is_named(monkeypatch):
    monkeypatch.delenv("CARPOOL_JOB_IMAGE")
    assert "CARPOOL_JOB_IMAGE (--job-image): not set" in refused()


def test_an_unknown_flag_is_refused():
    assert "--bogus" in refused("--bogus")


def test_the_process_ends_with_2_and_the_message_on_standard_error():
    ended = subprocess.run(
        [sys.executable, "-m", "carpool_operator", "--workers=none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "CARPOOL_WORKERS (--workers): found 'none', expected a whole number" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_each_setting_has_a_help_text():
    ended = subprocess.run(
        [sys.executable, "-m", "carpool_operator", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert "--max-running-jobs" in ended.stdout
    assert "The most jobs with a driver at a time" in ended.stdout
