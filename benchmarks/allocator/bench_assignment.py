"""How long a cluster's executors wait for their GPUs: ten thousand at once, on a real API server.

The operator is a process of its own with its production settings, against a real kube-apiserver and
etcd; nodes, agents' reports, drivers and executors are played. All of it shares this machine, so
times are upper bounds and CPU seconds stand beside them.

Phases:
* assign: all executors exist, behind the gate; the clock runs from when the operator has listed
  everything until it has written the last assignment;
* restart: another operator, with all of them assigned, until it has listed everything and is ready;
* scheduler: as many pods that ask kube-scheduler for a GPU of the kubelet's, in a control plane of
  their own, from its start until the last is bound. GPUs are shared by two by time-slicing (the
  device plugin's replicas): it sees twice as many GPUs, and does not know which are one.

Writes results/assignment.json.

Run from the repository's root: PYTHONPATH=tests python -m benchmarks.allocator.bench_assignment
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.host.record import Record
from carpool_operator.domain import names
from support import played_kubelet as played
from support.control_plane.binaries import find_binaries
from support.control_plane.client import ApiClient, Body
from support.control_plane.plane import ControlPlane, control_plane
from support.control_plane.processes import Process
from support.job_documents import job_document
from support.many_requests import many_requests
from support.operator_process import OperatorProcess, operator
from support.played_gpus import gpu_nodes, selector

NAMESPACE = "measured"
GROUP = "scale"
ROOT = Path(__file__).resolve().parents[2]
GOALS = {"assigned_s_on_8_cores": 60, "restart_s": 15, "memory_mib": 512, "moved": 0}
QUESTION = (
    "seconds until all executors have a GPU and assignments/s, decision in ms, executors per GPU, "
    "MiB of resident memory, CPU seconds of operator and API server; the same by kube-scheduler"
)
_REQUEST = {"cpu": "100m", "memory": "256Mi"}


def main() -> None:
    """Measure and write the record."""
    options = _options()
    record = Record("assignment", QUESTION, vars(options), Path(__file__).parent / "results")
    results = {"goals": GOALS, **_carpool(options)}
    results["scheduler"] = _scheduler(options)
    record.write(**results)
    for name, value in results.items():
        print(f"{name}: {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--executors", type=int, default=200, help="of each job")
    return parser.parse_args()


def _carpool(options: argparse.Namespace) -> dict[str, Any]:
    total = options.jobs * options.executors
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(find_binaries()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _say("preparing nodes")
        _prepare(plane)
        stack.enter_context(gpu_nodes(plane, GROUP, options.nodes, options.gpus))
        requests = stack.enter_context(many_requests(plane))
        _say("starting drivers")
        drivers = _drivers(plane, folder, options)
        _say("creating executors")
        requests(played.add_executor, drivers * options.executors)
        _say("assigning")
        with operator(plane, folder, namespaces=NAMESPACE) as process:
            found = {"assign": _assign(plane, process, total)}
        before = _assignments(plane.admin)
        _say("restarting")
        with operator(plane, folder, namespaces=NAMESPACE) as process:
            found["restart"] = _restart(plane, process, before)
    per_gpu = Counter(gpu for gpu, _ in before.values())
    found["executors_per_gpu"] = {
        str(count): gpus for count, gpus in sorted(Counter(per_gpu.values()).items())
    } | {"0": options.nodes * options.gpus - len(per_gpu)}
    return found


def _prepare(plane: ControlPlane) -> None:
    applied = plane.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    assert applied.returncode == 0, applied.stderr
    plane.kubectl("wait", "--for=condition=Established", f"--filename={ROOT / 'crds'}")
    plane.admin.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for name in ("carpool-driver", "default"):
        accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        plane.admin.raw("POST", accounts, {"metadata": {"name": name}})


def _drivers(plane: ControlPlane, folder: Path, options: argparse.Namespace) -> list[Body]:
    """One running driver for each job, made by an operator that then ends."""
    api = plane.admin
    with operator(plane, folder, namespaces=NAMESPACE) as process:
        process.await_listed()
        for number in range(options.jobs):
            api.post(played.jobs_path(NAMESPACE), _job(f"job-{number:03}", options.executors))
        path = played.pods_path(NAMESPACE)
        drivers: dict[str, Body] = {}
        for _, pod in api.watch(path, 120):
            if pod["metadata"]["name"] not in drivers:
                drivers[pod["metadata"]["name"]] = pod
                played.run_driver(plane.admin, pod)
            if len(drivers) == options.jobs:
                break
        assert process.terminate() == 0
    return list(drivers.values())


def _job(name: str, executors: int) -> Body:
    return job_document(
        metadata__name=name,
        spec__device="GPU",
        spec__executors=executors,
        spec__minExecutors=1,
        spec__gpu={
            "executorsPerGPU": 2,
            "sharedWith": "Namespace",
            "nodeSelector": selector(GROUP),
        },
        spec__model__uri="/models/m.cfg",
        spec__input__uris=["/clips/*.mp4"],
        spec__output__uri=f"/results/{name}",
    )


def _assign(plane: ControlPlane, process: OperatorProcess, total: int) -> dict[str, Any]:
    begun = time.monotonic()
    process.await_listed()
    listed = time.monotonic()
    cpu = _cpu(plane, operator=process.pid)
    while process.metric('carpool_assignments_total{result="written"}') < total:
        assert not process.ended, process.text
        time.sleep(0.25)
    seconds = time.monotonic() - listed
    after = _cpu(plane, operator=process.pid)
    return {
        "listed_s": round(listed - begun, 1),
        "seconds": round(seconds, 1),
        "per_second": round(total / seconds, 1),
        "refused": process.metric("carpool_assignments_total") - total,
        "decision_ms_at_most": _quantiles(process.buckets("carpool_allocator_decision_seconds")),
        "resident_mib": _mib(process.pid),
        "cpu_s": _spent(cpu, after),
    }


def _restart(
    plane: ControlPlane, process: OperatorProcess, before: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    begun = time.monotonic()
    process.await_listed()
    listed = time.monotonic() - begun
    while process.probe("/readyz")[0] != 200:
        assert not process.ended, process.text
        time.sleep(0.1)
    ready = time.monotonic() - begun
    cpu = _cpu(plane, operator=process.pid)["operator"]
    # It decides by itself; a change would come with its first look at everything.
    time.sleep(10)
    after = _assignments(plane.admin)
    return {
        "listed_s": round(listed, 1),
        "ready_s": round(ready, 1),
        "cpu_s": round(cpu, 1),
        "moved": sum(after.get(uid) != assigned for uid, assigned in before.items()),
        "resident_mib": _mib(process.pid),
    }


def _assignments(api: ApiClient) -> dict[str, tuple[str, str]]:
    """GPU and version of each executor that has a GPU, by its UID."""
    found: dict[str, tuple[str, str]] = {}
    for pod in _pods(api, labelSelector=f"{names.ROLE_LABEL}=executor"):
        metadata = pod["metadata"]
        gpu = (metadata.get("annotations") or {}).get(names.GPU_UUID_ANNOTATION)
        if gpu is not None:
            found[metadata["uid"]] = gpu, metadata["resourceVersion"]
    return found


def _pods(api: ApiClient, **query: str) -> Iterator[Body]:
    """All of them, a page at a time."""
    more: dict[str, str] = {}
    while True:
        page = api.get(played.pods_path(NAMESPACE), limit="1000", **query, **more)
        yield from page["items"]
        if not page["metadata"].get("continue"):
            return
        more = {"continue": page["metadata"]["continue"]}


def _cpu(plane: ControlPlane, **others: int) -> dict[str, float]:
    """CPU seconds so far, of the control plane and of other processes by their ids."""
    pids = others | {process.name: process.pid for process in plane.processes}
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items()}


def _spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: round(seconds - before.get(name, 0.0), 1) for name, seconds in after.items()}


def _mib(pid: int) -> float:
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1)


def _quantiles(buckets: dict[str, float]) -> dict[str, float]:
    """Upper bounds of the median and the 99th percentile, by a histogram's buckets."""
    total = max(buckets.values())
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    return {
        name: round(1000 * next(bound for bound, count in bounds if count >= share * total), 3)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def _scheduler(options: argparse.Namespace) -> dict[str, Any]:
    """The same pods, each asking for a GPU of the kubelet's."""
    total = options.jobs * options.executors
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(find_binaries()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _say("preparing nodes for kube-scheduler")
        _prepare(plane)
        requests = stack.enter_context(many_requests(plane))
        amount = str(2 * options.gpus)
        requests(
            lambda api, number: _add_gpu_node(api, f"node-{number}", amount), range(options.nodes)
        )
        _say("creating pods for kube-scheduler")
        requests(
            lambda api, number: api.post(played.pods_path(NAMESPACE), _pod(f"pod-{number}")),
            range(total),
        )
        _say("scheduling")
        cpu = _cpu(plane)
        process = _start_scheduler(plane, folder)
        stack.callback(process.kill)
        begun = time.monotonic()
        while _bindings(plane.admin) < total:
            process.check()
            time.sleep(1)
        seconds = time.monotonic() - begun
        after = _cpu(plane, **{process.name: process.pid})
        per_node = _per_node(plane.admin)
    return {
        "seconds": round(seconds, 1),
        "per_second": round(total / seconds, 1),
        "cpu_s": _spent(cpu, after),
        "pods_per_node": {
            name: int(value)
            for name, value in zip(
                ("min", "median", "max"), np.quantile(per_node, (0, 0.5, 1)), strict=True
            )
        },
    }


def _add_gpu_node(api: ApiClient, name: str, gpus: str) -> None:
    played.add_node(api, name)
    amounts = {"nvidia.com/gpu": gpus}
    status = {"status": {"capacity": amounts, "allocatable": amounts}}
    api.merge(f"/api/v1/nodes/{name}/status", status)


def _pod(name: str) -> Body:
    gpu = {"nvidia.com/gpu": "1"}
    container = {
        "name": "executor",
        "image": "registry.example/carpool-job:test",
        "resources": {"requests": {**_REQUEST, **gpu}, "limits": gpu},
    }
    return {"metadata": {"name": name}, "spec": {"containers": [container]}}


def _start_scheduler(plane: ControlPlane, folder: Path) -> Process:
    """With no limit of its own on requests, as production clusters of this size have it."""
    config = folder / "scheduler.yaml"
    config.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\n"
        "kind: KubeSchedulerConfiguration\n"
        "leaderElection: {leaderElect: false}\n"
        f"clientConnection: {{kubeconfig: {plane.kubeconfig}, qps: 5000, burst: 5000}}\n"
    )
    program = plane.binaries.apiserver.with_name("kube-scheduler")
    return Process(program, {"config": str(config), "secure-port": "0"}, folder)


_BINDINGS = re.compile(
    rb'^apiserver_request_total\{[^}]*code="201"[^}]*resource="pods"[^}]*subresource="binding"'
    rb"[^}]*\} (\S+)$",
    re.MULTILINE,
)


def _bindings(api: ApiClient) -> int:
    _, text = api.raw("GET", "/metrics")
    return int(sum(float(count) for count in _BINDINGS.findall(text)))


def _per_node(api: ApiClient) -> Sequence[int]:
    return list(Counter(pod["spec"]["nodeName"] for pod in _pods(api)).values())


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()
