"""Writes docs/performance-on-clusters.md; each of its numbers comes from a record.

Run from the repository's root: python -m benchmarks.cluster_page [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from benchmarks.host.hosts import ROOT
from benchmarks.host.page import footnote, table, verdict, write_or_check

PAGE = ROOT / "docs" / "performance-on-clusters.md"

_HEAD = """\
# Performance of operator, allocator and agent

`make bench-cluster` measures and writes this page from the records in `benchmarks/*/results`; a
test fails where page and records differ. No cluster is needed: kube-apiserver and etcd are real,
nodes, drivers and executors are played, and all of it shares the cores of one machine.
"""

_ASSIGNMENT = """\
## Ten thousand executors at once

All executors stand at the gate before the operator starts. The clock runs from when it has listed
everything until it has written the last assignment: two executors may share a GPU. Then another
operator starts beside all of them. kube-scheduler binds as many pods in a control plane of its own,
each asking for a GPU of the kubelet's that is shared by time-slicing; it does not know which two of
a node's GPUs are one, so the even spread over GPUs is ours alone.
"""

_DECISIONS = """\
## Decisions alone

The allocator as a library, told and asked one thing at a time: CPU time of the thread.
"""

_JOBS = """\
## A thousand jobs at once

All are applied one after the other to an operator with its production settings; a thread plays
kubelet and Spark's driver.
"""

_AGENT = """\
## The agent of a node

Where nothing changes; the GPUs are a mock of NVIDIA's library, which answers at once.
"""


def render() -> str:
    """The page."""
    parts = [_HEAD, *_assignment(_read("allocator/results/assignment"))]
    parts += _decisions(_read("allocator/results/allocator"))
    parts += _jobs(_read("operator/results/jobs"))
    parts += _agent(_read("agent/results/agent"))
    return "\n".join(parts)


def _read(name: str) -> dict[str, Any]:
    path = ROOT / "benchmarks" / f"{name}.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _assignment(record: dict[str, Any]) -> Iterable[str]:
    parameters, goals = record["parameters"], record["goals"]
    assign, restart, scheduler = record["assign"], record["restart"], record["scheduler"]
    total = parameters["jobs"] * parameters["executors"]
    servers = ("kube-apiserver", "etcd")
    yield _ASSIGNMENT
    yield table(
        [f"{total:,} executors of {parameters['jobs']} jobs", "Carpool", "kube-scheduler"],
        [
            ["seconds until the last", f"{assign['seconds']:g}", f"{scheduler['seconds']:g}"],
            ["a second", f"{assign['per_second']:g}", f"{scheduler['per_second']:g}"],
            [
                "CPU seconds",
                f"{assign['cpu_s']['operator']:g}",
                f"{scheduler['cpu_s']['kube-scheduler']:g}",
            ],
            *(
                [
                    f"CPU seconds of {name}",
                    *(f"{each['cpu_s'][name]:g}" for each in (assign, scheduler)),
                ]
                for name in servers
            ),
        ],
    )
    shares = record["executors_per_gpu"]
    spread = ", ".join(f"{shares[count]:,} GPUs with {count}" for count in sorted(shares))
    nodes = scheduler["pods_per_node"]
    yield (
        f"{parameters['nodes']:,} nodes of {parameters['gpus']} GPUs: {spread}. kube-scheduler's "
        f"nodes have {nodes['min']} to {nodes['max']} pods. Memory of the operator: "
        f"{assign['resident_mib']:g} MiB (goal {goals['memory_mib']}: "
        f"{verdict(max(assign['resident_mib'], restart['resident_mib']) <= goals['memory_mib'])}). "
        f"Goal: {goals['assigned_s_on_8_cores']} s on 8 cores; on these "
        f"{record['machine']['cores']} it took {assign['seconds']:g}.\n"
    )
    yield (
        f"Restart: everything listed after {restart['listed_s']:g} s, ready after "
        f"{restart['ready_s']:g} (goal {goals['restart_s']}: "
        f"{verdict(restart['ready_s'] <= goals['restart_s'])}); {restart['moved']} assignments "
        f"changed "
        f"(goal {goals['moved']}: {verdict(restart['moved'] <= goals['moved'])}).\n"
    )
    yield footnote(record, "one run")


def _decisions(record: dict[str, Any]) -> Iterable[str]:
    parameters, goals = record["parameters"], record["parameters"]["goals"]
    yield _DECISIONS
    yield table(
        ["CPU-ms", "decisions", "p50", "p99"],
        [
            [
                name,
                f"{phase['n']:,}",
                f"{phase['cpu_ms']['p50']:.3f}",
                f"{phase['cpu_ms']['p99']:.3f}",
            ]
            for name, phase in record["phases"].items()
        ],
    )
    single = record["phases"]["single"]["cpu_ms"]["p99"]
    yield (
        f"{parameters['nodes'] * parameters['gpus']:,} GPUs. Goal: a decision takes at most "
        f"{goals['decision_p99_ms']:g} ms in 99 of 100; "
        f"{verdict(single <= goals['decision_p99_ms'])} "
        f"with {single:.3f}. A new allocator is told {record['rebuild']['records']:,} records in "
        f"{record['rebuild']['cpu_s']:g} CPU-s; {record['memory_mib']:g} MiB.\n"
    )
    yield footnote(record, "one run")


def _jobs(record: dict[str, Any]) -> Iterable[str]:
    writes = ", ".join(f"{count:g} {kind}" for kind, count in record["writes_per_job"].items())
    idle = record["idle"]
    late = record["event_loop_lag"]
    yield _JOBS
    yield (
        f"{record['parameters']['jobs']:,} jobs: applied in {record['applied_s']:g} s, the last "
        f"accepted "
        f"after {record['accepted_s']:g} (goal 60: {verdict(record['accepted_s'] <= 60)}), all "
        f"finished "
        f"after {record['finished_s']:g}, {record['parameters']['running']} running at a time. "
        f"{record['cpu_ms_per_job_until_finished']:g} CPU-ms a job, {record['resident_mib']:g} "
        f"MiB; the event loop was at most 0.1 s late in {100 * late['0.1']:.0f} of 100 looks. "
        f"Writes a job: {writes}. Then idle for {idle['seconds']:g} s: "
        f"{sum(idle['writes'].values())} writes, {idle['cpu_s']:g} CPU-s.\n"
    )
    yield footnote(record, "one run")


def _agent(record: dict[str, Any]) -> Iterable[str]:
    many = record["thousand_nodes"]
    yield _AGENT
    yield (
        f"{record['parameters']['gpus']} GPUs: {record['millicores']:g} thousandths of a core, "
        f"{record['cpu_ms_per_look']:g} CPU-ms a look; {record['resident_mib']:g} MiB (goal 64: "
        f"{verdict(record['resident_mib'] <= 64)}), of which {record['unique_mib']:g} are its "
        f"own. A heartbeat of {record['object_bytes']:,} bytes costs kube-apiserver "
        f"{record['cpu_ms_per_heartbeat']['kube-apiserver']:g} CPU-ms and etcd "
        f"{record['cpu_ms_per_heartbeat']['etcd']:g}: of a thousand nodes, "
        f"{many['millicores']['kube-apiserver']} and {many['millicores']['etcd']} thousandths of a "
        "core.\n"
    )
    yield footnote(record, "one run")


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "benchmarks.cluster_page", sys.argv[1:]))
