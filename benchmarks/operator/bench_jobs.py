"""What a thousand InferenceJobs cost the operator and the API server, all applied at once.

The operator is a process of its own with its production settings, against a real kube-apiserver and
etcd; a thread plays kubelet and Spark's driver. All of it shares this machine, so times are upper
bounds; CPU seconds are the operator's own.

Phases:
* accept: from the first POST until the last job has the condition Accepted, nothing running yet
  but as many as may run at a time;
* finish: until all are finished;
* idle: some time after that, with nothing to do.

Writes are counted from the API server's audit log. Writes results/jobs.json.

Run from the repository's root: PYTHONPATH=tests python -m benchmarks.operator.bench_jobs
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from benchmarks.host.record import Record
from carpool_operator.cluster.resources import JOBS
from support import played_kubelet as played
from support.control_plane.binaries import find_binaries
from support.control_plane.plane import ControlPlane, control_plane
from support.operator_process import OperatorProcess, operator
from support.played_cluster import PlayedCluster, always
from support.watching import condition

NAMESPACE = "measured"
ROOT = Path(__file__).resolve().parents[2]
QUESTION = (
    "seconds until all jobs are accepted and finished, writes to the API server per job, CPU "
    "seconds per job, MiB of resident memory, event-loop lag, writes while idle"
)


def main() -> None:
    """Measure and write the record."""
    options = _options()
    parameters = vars(options)
    record = Record("jobs", QUESTION, parameters, Path(__file__).parent / "results")
    with (
        control_plane(find_binaries()) as plane,
        tempfile.TemporaryDirectory() as folder,
    ):
        _prepare(plane)
        with (
            operator(
                plane,
                Path(folder),
                namespaces=NAMESPACE,
                max_running_jobs=str(options.running),
                job_backoff_seconds="10",
            ) as process,
            PlayedCluster(plane, NAMESPACE, always("succeeds"), options.executors),
        ):
            results = _measure(plane, process, options)
    record.write(**results)
    for name, value in results.items():
        print(f"{name}: {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--running", type=int, default=50, help="jobs that may run at a time")
    parser.add_argument("--executors", type=int, default=2, help="of each job")
    parser.add_argument("--idle", type=float, default=600.0, help="seconds of the last phase")
    return parser.parse_args()


def _prepare(plane: ControlPlane) -> None:
    applied = plane.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    plane.kubectl("wait", "--for=condition=Established", f"--filename={ROOT / 'crds'}")
    assert applied.returncode == 0, applied.stderr
    for name in ("node-a", "node-b", "node-c", "node-d"):
        played.add_node(plane.admin, name, cpu="1000", memory="8Ti")
    plane.admin.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    plane.admin.post(
        f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "carpool-driver"}}
    )


def _measure(
    plane: ControlPlane, process: OperatorProcess, options: argparse.Namespace
) -> dict[str, Any]:
    watched = psutil.Process(process.pid)
    process.await_listed()
    progress = _Progress(plane, options.jobs)
    start_cpu = sum(watched.cpu_times()[:2])
    begun = time.monotonic()
    api = plane.user("carpool-bench", "system:masters")
    for number in range(options.jobs):
        job = played.cpu_job(f"job-{number:04}")
        job["spec"]["executors"] = options.executors
        api.post(JOBS.path(NAMESPACE), job)
    applied = time.monotonic() - begun
    accepted = progress.accepted.result(begun)
    accepted_cpu = sum(watched.cpu_times()[:2]) - start_cpu
    finished = progress.finished.result(begun)
    finished_cpu = sum(watched.cpu_times()[:2]) - start_cpu
    memory = watched.memory_info().rss
    writes = _writes(plane, 0)
    lag = _lag(process)
    time.sleep(5)  # what follows from the last end
    seen = sum(1 for _ in plane.audit_events())
    idle_cpu = sum(watched.cpu_times()[:2])
    time.sleep(options.idle)
    return {
        "applied_s": round(applied, 1),
        "accepted_s": round(accepted, 1),
        "finished_s": round(finished, 1),
        "cpu_ms_per_job_until_accepted": round(1000 * accepted_cpu / options.jobs, 1),
        "cpu_ms_per_job_until_finished": round(1000 * finished_cpu / options.jobs, 1),
        "resident_mib": round(memory / 2**20, 1),
        "writes_per_job": {
            kind: round(count / options.jobs, 2) for kind, count in sorted(writes.items())
        },
        "event_loop_lag": lag,
        "idle": {
            "seconds": options.idle,
            "writes": dict(_writes(plane, seen)),
            "cpu_s": round(sum(watched.cpu_times()[:2]) - idle_cpu, 2),
        },
    }


class _Moment:
    """A time that another thread notes."""

    def __init__(self) -> None:
        self._at = 0.0
        self._came = threading.Event()

    def note(self) -> None:
        self._at = time.monotonic()
        self._came.set()

    def result(self, begun: float) -> float:
        """Seconds from `begun` to it."""
        self._came.wait()
        return self._at - begun


class _Progress:
    """Watches jobs, and notes when the last one was accepted and when it was finished."""

    def __init__(self, plane: ControlPlane, jobs: int) -> None:
        self.accepted, self.finished = _Moment(), _Moment()
        self._api = plane.user("carpool-bench-watch", "system:masters")
        self._jobs = jobs
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        accepted: set[str] = set()
        finished: set[str] = set()
        for _, job in self._api.watch(JOBS.path(NAMESPACE), timeout=600):
            name = job["metadata"]["name"]
            if condition(job, "Accepted")[0] == "True" and name not in accepted:
                accepted.add(name)
                if len(accepted) == self._jobs:
                    self.accepted.note()
            if condition(job, "Finished")[0] == "True" and name not in finished:
                finished.add(name)
                if len(finished) == self._jobs:
                    self.finished.note()
                    return


def _writes(plane: ControlPlane, since: int) -> Counter[str]:
    """The operator's writes by verb and resource, renewals of the Lease left out."""
    found: Counter[str] = Counter()
    for number, event in enumerate(plane.audit_events()):
        if (
            number >= since
            and event["verb"] not in ("get", "list", "watch")
            and event.get("userAgent", "").startswith("carpool-operator/")
            and event["objectRef"]["resource"] != "leases"
        ):
            place = event["objectRef"]
            part = f"/{place['subresource']}" if "subresource" in place else ""
            code = event["responseStatus"]["code"]
            refused = f" ({code})" if code >= 400 else ""
            found[f"{event['verb']} {place['resource']}{part}{refused}"] += 1
    return found


def _lag(process: OperatorProcess) -> dict[str, float]:
    """Share of looks at which the event loop was late by no more than so many seconds."""
    buckets = process.buckets("carpool_event_loop_lag_seconds")
    total = buckets["+Inf"]
    return {bound: round(count / total, 4) for bound, count in buckets.items() if total}


if __name__ == "__main__":
    sys.exit(main())
