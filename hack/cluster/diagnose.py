"""What one wants to see after a failed test: logs, events and states, in one folder."""

from __future__ import annotations

from pathlib import Path

import kubectl
from progress import attempt, say
from settings import NODES


def diagnose(folder: Path) -> None:
    """Write logs of all pods, events, pods and nodes, and each node's journal below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "pods.txt", "get", "pods", "--all-namespaces", "-o", "wide")
    _write(folder / "pods.yaml", "get", "pods", "--all-namespaces", "-o", "yaml")
    _write(folder / "nodes.txt", "describe", "nodes")
    sorting = "--sort-by=.lastTimestamp"
    _write(folder / "events.txt", "get", "events", "--all-namespaces", sorting)
    form = "{range .items[*]}{.metadata.namespace} {.metadata.name}{'\\n'}{end}"
    listed = attempt(*kubectl.command(), "get", "pods", "-A", "-o", f"jsonpath={form}")
    for line in listed.stdout.decode().splitlines():
        namespace, name = line.split()
        log = folder / "logs" / namespace / f"{name}.log"
        words = ("logs", "-n", namespace, name, "--all-containers", "--prefix", "--timestamps")
        _write(log, *words)
        if attempt(*kubectl.command(), *words, "--previous").stdout:
            _write(log.with_suffix(".previous.log"), *words, "--previous")
    for node in NODES:
        journal = attempt("docker", "exec", node, "journalctl", "--no-pager", "--lines=2000")
        (folder / f"{node}.journal").write_bytes(journal.stdout + journal.stderr)
    say(f"What the cluster says is in {folder}")


def _write(path: Path, *words: str) -> None:
    done = attempt(*kubectl.command(), *words)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(done.stdout + done.stderr)
