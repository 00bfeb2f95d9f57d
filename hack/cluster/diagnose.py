"""What one wants to see after a failed test: logs, events and states, in one folder.

It is asked for when something is broken, so it takes what is there and says why the rest is not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import kubectl
from progress import attempt, say
from settings import DAEMON, KUBECONFIG, NODES


def diagnose(folder: Path) -> None:
    """Write what machine, Docker, nodes and pods say below `folder`, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write(folder / "machine.txt", "sh", "-c", "uptime; free -m; df -h; ps -ef --forest")
    log = DAEMON / "dockerd.log"
    if log.exists():
        shutil.copyfile(log, folder / "dockerd.log")
    if shutil.which("docker") is not None:
        listings = "docker ps --all; docker images; docker volume ls"
        _write(folder / "docker.txt", "sh", "-c", listings)
        for node in NODES:
            _write(folder / f"{node}.log", "docker", "logs", "--timestamps", node)
            journal = ("journalctl", "--no-pager", "--lines=2000")
            _write(folder / f"{node}.journal", "docker", "exec", node, *journal)
    if KUBECONFIG.exists():
        _diagnose_pods(folder)
    say(f"What machine, nodes and pods say is in {folder}")


def _diagnose_pods(folder: Path) -> None:
    _kubectl(folder / "pods.txt", "get", "pods", "--all-namespaces", "-o", "wide")
    _kubectl(folder / "pods.yaml", "get", "pods", "--all-namespaces", "-o", "yaml")
    _kubectl(folder / "nodes.txt", "describe", "nodes")
    sorting = "--sort-by=.lastTimestamp"
    _kubectl(folder / "events.txt", "get", "events", "--all-namespaces", sorting)
    form = "{range .items[*]}{.metadata.namespace} {.metadata.name}{'\\n'}{end}"
    listed = attempt(*kubectl.command(), "get", "pods", "-A", "-o", f"jsonpath={form}")
    for line in listed.stdout.decode().splitlines():
        namespace, name = line.split()
        log = folder / "logs" / namespace / f"{name}.log"
        words = ("logs", "-n", namespace, name, "--all-containers", "--prefix", "--timestamps")
        _kubectl(log, *words)
        if attempt(*kubectl.command(), *words, "--previous").stdout:
            _kubectl(log.with_suffix(".previous.log"), *words, "--previous")


def _kubectl(path: Path, *words: str) -> None:
    _write(path, *kubectl.command(), "--request-timeout=20s", *words)


def _write(path: Path, *command: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = attempt(*command)
    except OSError as error:
        path.write_text(f"{error}\n")
    else:
        path.write_bytes(done.stdout + done.stderr)
