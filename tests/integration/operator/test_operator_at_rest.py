"""An operator with nothing to do writes nothing, says that it is well, and ends when it is told."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support import played_kubelet as played
from support.operator_process import operator
from support.played_cluster import PlayedCluster, always
from support.watching import await_matching, await_object, condition

GPU_NODES = "/apis/carpool.dev/v1alpha1/gpunodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def finished(raw) -> bool:
    return condition(raw, "Finished")[0] == "True"


def phase_is(phase: str):
    return lambda raw: raw.get("status", {}).get("phase") == phase


class DriverEndpoint(BaseHTTPRequestHandler):
    """What drivers answer at /progress."""

    asked = threading.Semaphore(0)
    frames = 10

    def do_GET(self) -> None:
        body = (
            b'{"phase": "Detecting", "frames": {"total": 100, "done": %d, "failed": 0}, '
            b'"modelReady": true, "executors": {"registered": 2}, '
            b'"model": {"copies": 2, "memory": null, "savedMemory": null}, "failures": []}'
            % DriverEndpoint.frames
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
        DriverEndpoint.asked.release()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def driver_endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), DriverEndpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def writes(cluster, since: int) -> list[str]:
    """The operator's writes since so many events of the audit log, renewals left out."""
    events = list(cluster.audit_events())[since:]
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in events
        if event.get("userAgent", "").startswith("carpool-operator/")
        and event["verb"] not in ("get", "list", "watch")
        and "/leases/" not in event["requestURI"]
    ]


def await_renewals(api, name: str, count: int) -> None:
    """So many renewals of a Lease: the operator's own clock."""
    for _ in api.watch(LEASES, 30, fieldSelector=f"metadata.name={name}"):
        count -= 1
        if count < 0:
            return


def test_nothing_is_written_while_nothing_changes(
    api, cluster, jobs_namespace, tmp_path, driver_endpoint
):
    jobs = played.jobs_path(jobs_namespace)
    # Of tests before this one: that an agent is silent is written, once, when it has been for long.
    api.delete(GPU_NODES)
    large = {"executor": {"cores": 200, "memory": "1Gi"}}
    with (
        operator(
            cluster,
            tmp_path,
            namespaces=jobs_namespace,
            lease_name="at-rest",
            lease_duration_seconds="2",
            progress_interval_seconds="0.3",
            progress_port=str(driver_endpoint),
            job_recheck_seconds="0.3",
        ),
        PlayedCluster(
            cluster, jobs_namespace, lambda job, _: "succeeds" if job == "done" else "goes on"
        ),
    ):
        # One of each: finished, refused, suspended, waiting for room, running.
        api.post(jobs, played.cpu_job("done"))
        api.post(jobs, played.cpu_job("refused", spec__input__kind="Images"))
        api.post(jobs, played.cpu_job("suspended", spec__suspend=True))
        api.post(jobs, played.cpu_job("waiting", spec__spark=large))
        api.post(jobs, played.cpu_job("running"))
        await_object(api, jobs, "done", finished, "finished")
        for name in ("suspended", "waiting"):
            phase = {"suspended": "Suspended", "waiting": "Queued"}[name]
            await_object(api, jobs, name, phase_is(phase), phase)
        await_object(
            api,
            jobs,
            "running",
            lambda raw: raw.get("status", {}).get("progress", {}).get("done") == 10,
            "tells of its progress",
        )
        await_renewals(api, "at-rest", 2)
        since = len(list(cluster.audit_events()))
        while DriverEndpoint.asked.acquire(blocking=False):
            pass
        await_renewals(api, "at-rest", 6)
        assert DriverEndpoint.asked.acquire(timeout=0)  # it was asked meanwhile
        assert writes(cluster, since) == []

        DriverEndpoint.frames = 60
        await_object(
            api,
            jobs,
            "running",
            lambda raw: raw["status"]["progress"]["done"] == 60,
            "tells of new progress",
        )


def test_probes_and_metrics_tell_how_it_is(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    with (
        operator(cluster, tmp_path, namespaces=jobs_namespace) as running,
        PlayedCluster(cluster, jobs_namespace, always("succeeds")),
    ):
        api.post(jobs, played.cpu_job("measured"))
        await_object(api, jobs, "measured", finished, "finished")
        assert running.probe("/livez") == (200, "ok\n")
        assert running.probe("/readyz") == (200, "ok\n")
        assert running.metric("carpool_leader") == 1
        assert running.metric("carpool_assignments_total") == 2
        assert running.metric("carpool_api_requests_total") > 5
        assert running.metric("carpool_reconcile_seconds_count") > 0
        assert running.metric("carpool_assignment_seconds_count") == 2
        assert running.metric("carpool_event_loop_lag_seconds_count") > 0
        ages = running.metric("carpool_watch_age_seconds")
        assert 0 <= ages < 4 * 90  # four watches, each with a bookmark a minute
        started = time.monotonic()
        assert running.terminate(10) == 0
        assert time.monotonic() - started < 5


def test_the_age_of_a_watch_is_how_long_it_brought_nothing(
    api, cluster, jobs_namespace, nodes, tmp_path
):
    """Of a watch of kopf's, too, which tells nobody of bookmarks."""
    name = 'carpool_watch_age_seconds{resource="nodes"}'
    with operator(cluster, tmp_path, namespaces=jobs_namespace) as running:
        running.await_listed()
        deadline = time.monotonic() + 30
        while (age := running.metric(name)) < 0.5:
            assert time.monotonic() < deadline
        api.merge(f"/api/v1/nodes/{nodes[0]}", {"metadata": {"labels": {"looked": "at"}}})
        while running.metric(name) >= age:
            assert time.monotonic() < deadline


def test_namespaces_are_chosen_by_label_and_a_label_is_enough_to_begin(
    api, cluster, jobs_namespace, tmp_path
):
    jobs, pods = played.jobs_path(jobs_namespace), played.pods_path(jobs_namespace)
    with operator(cluster, tmp_path, namespace_selector=f"carpool={jobs_namespace}") as running:
        api.post(jobs, played.cpu_job("labelled"))
        running.await_listed()
        assert "status" not in api.get(f"{jobs}/labelled")
        api.merge(
            f"/api/v1/namespaces/{jobs_namespace}",
            {"metadata": {"labels": {"carpool": jobs_namespace}}},
        )
        await_matching(
            api, pods, lambda _: True, 1, "driver", labelSelector="carpool.dev/role=driver"
        )
