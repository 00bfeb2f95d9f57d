"""A machine that can have no cluster is told from one where something failed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UNSUPPORTED = 3

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a daemon")


@pytest.fixture
def machine(tmp_path):
    """A machine that has the commands that the test puts there, and no others."""
    commands = tmp_path / "bin"
    commands.mkdir()

    def command(name, script):
        path = commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def supported(program=(sys.executable, str(ROOT / "hack" / "cluster"), "supported")):
        return subprocess.run(
            program,
            env={
                "PATH": str(commands),
                "CARPOOL_CACHE": str(tmp_path / "cache"),
                "CARPOOL_DIAGNOSIS": str(tmp_path / "diagnosis"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    command("jq", "exit 1")
    return command, supported


def test_without_docker_and_a_way_to_install_it_the_reason_names_the_command(machine):
    _, supported = machine
    done = supported()
    assert done.returncode == UNSUPPORTED
    assert done.stdout.startswith("missing docker.io. Run: sudo apt-get install")


@as_root
def test_a_package_that_cannot_be_installed_is_the_reason(machine):
    command, supported = machine
    command("apt-get", "echo 'E: Unable to locate package docker.io' >&2; exit 100")
    done = supported()
    assert done.returncode == UNSUPPORTED
    assert "E: Unable to locate package docker.io" in done.stdout


@as_root
def test_a_daemon_that_does_not_start_is_the_reason_with_its_last_words(machine):
    command, supported = machine
    words = "echo 'failed to create NAT chain: permission denied' >&2; exit 1"
    command("docker", "exit 1")
    for name in ("dockerd", "systemctl"):
        command(name, words)
    for name in ("runc", "iptables"):
        command(name, "exit 1")
    done = supported()
    assert done.returncode == UNSUPPORTED
    assert "failed to create NAT chain: permission denied" in done.stdout


def test_a_daemon_that_refuses_privileged_containers_is_the_reason(machine):
    command, supported = machine
    command(
        "docker",
        'case "$1" in\n'
        "info) echo runc-without-sys-resource ;;\n"
        "run) echo 'unable to apply caps: operation not permitted' >&2; exit 125 ;;\n"
        "esac",
    )
    done = supported()
    assert done.returncode == UNSUPPORTED
    assert "unable to apply caps: operation not permitted" in done.stdout


def test_a_machine_that_can_have_a_cluster_says_nothing(machine):
    command, supported = machine
    command("docker", "echo runc-without-sys-resource")
    done = supported()
    assert (done.returncode, done.stdout) == (0, "")


def test_a_fault_of_our_own_is_not_taken_for_a_reason(machine):
    command, supported = machine
    command("docker", 'case "$1" in info) echo runc-without-sys-resource ;; *) exit 1 ;; esac')
    command("mmdebstrap", "exit 1")
    done = supported()
    assert done.returncode not in {0, UNSUPPORTED}
    assert "mmdebstrap" in done.stderr


@pytest.fixture
def smoke(machine):
    """`.ci/smoke` on such a machine."""
    command, run = machine
    for name in ("bash", "cat", "dirname", "flock", "mkdir", "mktemp", "rm"):
        command(name, f'exec {shutil.which(name)} "$@"')
    return command, lambda: run(("/bin/bash", str(ROOT / ".ci" / "smoke")))


def test_the_smoke_test_says_plainly_that_it_was_not_run_and_why(smoke):
    _, run = smoke
    done = run()
    assert done.returncode == 0, done.stderr
    assert "The end-to-end smoke test was NOT RUN" in done.stderr
    assert "missing docker.io. Run: sudo apt-get install" in done.stderr


def test_the_smoke_test_fails_where_something_failed_and_leaves_a_diagnosis(smoke, tmp_path):
    command, run = smoke
    command("docker", 'case "$1" in info) echo runc-without-sys-resource ;; *) exit 1 ;; esac')
    command("mmdebstrap", "exit 1")
    done = run()
    assert done.returncode == 1
    assert f"What machine, nodes and pods say is in {tmp_path / 'diagnosis'}" in done.stderr
    assert (tmp_path / "diagnosis" / "docker.txt").exists()
