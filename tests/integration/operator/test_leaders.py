"""Two replicas on a real API server: one writes, and a leader that was stopped does not go on."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

from support import played_kubelet as played
from support.operator_process import operator
from support.played_cluster import PlayedCluster, always
from support.watching import await_matching, await_object, condition

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
LOST_LEADERSHIP = 3


def finished(raw) -> bool:
    return condition(raw, "Finished")[0] == "True"


def holder(lease) -> str:
    return lease["spec"].get("holderIdentity", "")


def writes_since(cluster, identity: str, since: str) -> list[tuple[str, str, int]]:
    """A replica's writes that came to the API server after a time: verb, path, answer's code."""
    return [
        (event["verb"], event["requestURI"], event["responseStatus"]["code"])
        for event in cluster.audit_events()
        if identity in event.get("userAgent", "")
        and event["requestReceivedTimestamp"] > since
        and event["verb"] not in ("get", "list", "watch")
        and event["stage"] == "ResponseComplete"
    ]


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    api, cluster, jobs_namespace, tmp_path
):
    jobs = played.jobs_path(jobs_namespace)
    settings = {
        "namespaces": jobs_namespace,
        "lease_name": "two-replicas",
        "lease_duration_seconds": "3",
    }
    with (
        operator(cluster, tmp_path, pod_name="first", **settings) as first,
        PlayedCluster(cluster, jobs_namespace, always("succeeds")) as played_cluster,
    ):
        api.post(jobs, played.cpu_job("of-first"))
        await_object(api, jobs, "of-first", finished, "finished by the first")
        with operator(cluster, tmp_path, pod_name="second", **settings) as second:
            # Work is under way when the leader is stopped.
            for number in range(5):
                api.post(jobs, played.cpu_job(f"of-both-{number}"))
            await_matching(api, jobs, lambda raw: bool(raw.get("status")), 2, "begun")
            first.signal(signal.SIGSTOP)
            await_object(
                api,
                LEASES,
                "two-replicas",
                lambda lease: holder(lease).startswith("second_"),
                "taken over",
            )
            # What the first had sent before it was stopped has come by now.
            taken_over = datetime.now(UTC).isoformat()
            api.post(jobs, played.cpu_job("of-second"))
            await_matching(api, jobs, finished, 7, "all finished by the second")

            first.signal(signal.SIGCONT)
            assert first.wait() == LOST_LEADERSHIP
            assert "Lost leadership" in first.text
            # It may have tried to renew its Lease, and was refused; it wrote nothing else.
            writes = writes_since(cluster, "(first_", taken_over)
            assert [write for write in writes if "/leases/" not in write[1]] == []
            assert all(code == 409 for _, _, code in writes)
            assert not second.ended
    lease = api.get(f"{LEASES}/two-replicas")
    assert lease["spec"]["leaseTransitions"] == 2
    assert sorted(set(played_cluster.created)) == sorted(played_cluster.created)
    assert len(played_cluster.created) == 7  # no attempt was begun twice


def test_a_replica_that_ends_in_order_hands_over_at_once(api, cluster, jobs_namespace, tmp_path):
    jobs = played.jobs_path(jobs_namespace)
    settings = {
        "namespaces": jobs_namespace,
        "lease_name": "handed-over",
        "lease_duration_seconds": "6",
    }
    api.post(LEASES, {"metadata": {"name": "handed-over"}, "spec": {"holderIdentity": ""}})
    with (
        operator(cluster, tmp_path, pod_name="first", **settings) as first,
        PlayedCluster(cluster, jobs_namespace, always("succeeds")),
    ):
        await_object(
            api, LEASES, "handed-over", lambda lease: holder(lease).startswith("first_"), "leads"
        )
        with operator(cluster, tmp_path, pod_name="second", **settings) as second:
            assert first.terminate(10) == 0
            await_object(
                api,
                LEASES,
                "handed-over",
                lambda lease: holder(lease).startswith("second_"),
                "taken over",
            )
            api.post(jobs, played.cpu_job("after-all"))
            await_object(api, jobs, "after-all", finished, "finished by the second")
            assert not second.ended


def test_a_replica_that_ends_with_requests_unanswered_keeps_its_lease(
    api, cluster, jobs_namespace, tmp_path
):
    # What it sent may still arrive; whoever follows must wait as after a kill.
    settings = {"namespaces": jobs_namespace, "lease_name": "cut-off"}
    api.post(LEASES, {"metadata": {"name": "cut-off"}, "spec": {"holderIdentity": ""}})
    jobs = played.jobs_path(jobs_namespace)
    with operator(
        cluster, tmp_path, "support.unanswered_operator", pod_name="first", **settings
    ) as first:
        api.post(jobs, played.cpu_job("unanswered"))
        await_object(api, jobs, "unanswered", lambda raw: bool(raw.get("status")), "written")
        assert first.terminate(20) == 0
        assert "Requests were cut off" in first.text
    assert holder(api.get(f"{LEASES}/cut-off")).startswith("first_")
