"""A driver pod's JSON, read for what a decision needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carpool_operator.domain.job.driver_reading import driver_of
from carpool_operator.domain.job.times import unix
from support.job_world import message

CREATED, STARTED, FINISHED = (f"2026-05-04T10:2{minute}:30Z" for minute in (0, 1, 2))


def pod(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "cam-12-0f5a1-2-driver",
            "uid": "u",
            "creationTimestamp": CREATED,
            "labels": {"carpool.dev/attempt": "2"},
            **metadata,
        },
        "status": status or {},
    }


def container(**state: Any) -> dict[str, Any]:
    return {"name": "driver", "state": state}


def terminated(text: str | None = None, **more: Any) -> dict[str, Any]:
    end = {"exitCode": 1, "reason": "Error", "startedAt": STARTED, "finishedAt": FINISHED, **more}
    return {"terminated": {**end, **({} if text is None else {"message": text})}}


def test_pod_without_a_status_is_pending():
    found = driver_of(pod())
    assert (found.phase, found.attempt, found.deleting) == ("Pending", 2, False)
    assert found.created == unix(CREATED)
    assert (found.started, found.ended, found.waiting, found.reserved) == (None, None, None, 0)


def test_running_pod_has_an_address_and_a_start():
    status = {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "containerStatuses": [container(running={"startedAt": STARTED})],
    }
    found = driver_of(pod(status, deletionTimestamp=FINISHED))
    assert (found.ip, found.started, found.deleting) == ("10.1.2.3", unix(STARTED), True)
    assert not found.gone


def test_end_is_that_of_the_container_whatever_runs_beside_it():
    status = {
        "phase": "Running",
        "containerStatuses": [
            {"name": "proxy", "state": {"running": {"startedAt": STARTED}}},
            container(**terminated(json.dumps(message()))),
        ],
    }
    found = driver_of(pod(status))
    assert found.ended == unix(FINISHED)
    assert found.termination is not None
    assert found.termination.phase == "Succeeded"
    assert not found.gone


def test_driver_without_a_termination_message_leaves_its_last_lines():
    status = {"phase": "Failed", "containerStatuses": [container(**terminated("Traceback: x"))]}
    found = driver_of(pod(status))
    assert found.termination is None
    assert found.last_words == "Traceback: x"
    assert (found.exit_code, found.end_reason) == (1, "Error")


@pytest.mark.parametrize(
    ("conditions", "ended"),
    [
        ([{"type": "Ready", "status": "False", "lastTransitionTime": FINISHED}], FINISHED),
        ([], CREATED),
    ],
)
def test_evicted_pod_has_ended_though_no_container_says_so(conditions, ended):
    status = {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "The node was low on resource: memory.",
        "conditions": conditions,
    }
    found = driver_of(pod(status))
    assert found.ended == unix(ended)
    assert found.end_reason == "Evicted"
    assert found.last_words == "The node was low on resource: memory."
    assert found.gone


@pytest.mark.parametrize(
    ("status", "waiting"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes",
                    }
                ]
            },
            ("Unschedulable", "0/3 nodes"),
        ),
        (
            {"containerStatuses": [container(waiting={"reason": "ErrImagePull", "message": "m"})]},
            ("ErrImagePull", "m"),
        ),
        (
            {
                "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
                "initContainerStatuses": [
                    {"name": "fetch", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
                ],
            },
            ("ImagePullBackOff", ""),
        ),
        (
            {"containerStatuses": [container(waiting={"reason": "PodInitializing"})]},
            None,
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, None),
    ],
)
def test_pod_that_waits_says_for_what(status, waiting):
    assert driver_of(pod({"phase": "Pending", **status})).waiting == waiting


def test_odd_labels_and_annotations_are_read_as_nothing():
    found = driver_of(
        pod(
            labels={"carpool.dev/attempt": "two"},
            annotations={"carpool.dev/reservation": "{"},
        )
    )
    assert (found.attempt, found.reserved) == (0, 0)
