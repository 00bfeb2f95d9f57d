"""Kill -9 of the operator around each write of a job's life: it ends as if nothing had happened."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from support import played_kubelet as played
from support.operator_process import operator
from support.played_cluster import PlayedCluster
from support.watching import await_object, condition

KILLED = -9
MOST_WRITES = 30
"""More than a job's life has; a run that is not killed any more ends the count."""

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def finished(raw) -> bool:
    return condition(raw, "Finished")[0] == "True"


def first_attempt_is_killed(_job: str, attempt: int) -> str:
    """A life with as many kinds of writes as there are: two attempts, one of them failed."""
    return "is killed" if attempt == 1 else "succeeds"


def end_state(api, namespace: str, job: dict[str, Any], created: list[str]) -> dict[str, Any]:
    """What stands at the end, without times and what is named at random."""
    uid = job["metadata"]["uid"]

    def plain(name: str) -> str:
        return name.replace(uid[:5], "uid")

    status = job["status"]
    maps = api.get(
        f"/api/v1/namespaces/{namespace}/configmaps", labelSelector=f"carpool.dev/job-uid={uid}"
    )
    return {
        "phase": status["phase"],
        "attempt": status["attempt"],
        "failedAttempts": status["failedAttempts"],
        "progress": status["progress"],
        "output": status["output"],
        "conditions": {
            each["type"]: (each["status"], each["reason"]) for each in status["conditions"]
        },
        "failures": [failure["reason"] for failure in status["failures"]],
        "configMaps": sorted(plain(each["metadata"]["name"]) for each in maps["items"]),
        "drivers": sorted(Counter(plain(name) for name in created).items()),
    }


def live(api, cluster, namespace: str, folder, die_at: str | None) -> tuple[dict, bool]:
    """One job's life; whether the operator was killed in it, too."""
    jobs = played.jobs_path(namespace)
    with PlayedCluster(cluster, namespace, first_attempt_is_killed) as cluster_life:
        api.post(jobs, played.cpu_job("mortal"))
        killed = False
        if die_at is not None:
            with operator(
                cluster, folder, "support.dying_operator", die_at=die_at, namespaces=namespace
            ) as dying:
                job = await_end(api, jobs, dying)
                killed = dying.ended
                if killed:
                    assert dying.wait() == KILLED, dying.text
        if die_at is None or killed:
            with operator(cluster, folder, namespaces=namespace):
                job = await_object(api, jobs, "mortal", finished, "finished")
    return end_state(api, namespace, job, cluster_life.created), killed


def await_end(api, jobs: str, dying) -> dict:
    """The job at its end, or as it is when the operator has died."""
    job: dict = {}
    while True:
        try:
            for _, job in api.watch(jobs, 0.3):
                if finished(job):
                    # Of its last write it dies a moment after the test has seen it.
                    dying.exited(1)
                    return job
        except TimeoutError:
            if dying.ended:
                return job


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_any_write_a_job_ends_as_if_nothing_had_happened(
    api, cluster, jobs_namespace, when, tmp_path
):
    undisturbed, _ = live(api, cluster, jobs_namespace, tmp_path, None)
    assert undisturbed["phase"] == "Succeeded"
    assert undisturbed["drivers"] == [("mortal-uid-1-driver", 1), ("mortal-uid-2-driver", 1)]
    for number in itertools.count(1):
        assert number < MOST_WRITES
        namespace = f"{jobs_namespace}-{when}-{number}"
        api.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        api.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts",
            {"metadata": {"name": "carpool-driver"}},
        )
        state, killed = live(api, cluster, namespace, tmp_path, f"{number}:{when}")
        assert state == undisturbed, f"killed {when} write {number}"
        if not killed:
            break
    # BeginAttempt, ConfigMap, driver, two gates: twice; and what was written of the status.
    assert number > 10
