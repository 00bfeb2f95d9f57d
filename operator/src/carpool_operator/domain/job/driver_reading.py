"""From a driver pod as the API server has it to the record that decisions are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from carpool_operator.domain.allocation.reservation import reserved_slots
from carpool_operator.domain.job.driver_report import MESSAGE_CHARACTERS, cut, termination_of
from carpool_operator.domain.job.observed import Driver
from carpool_operator.domain.job.times import unix
from carpool_operator.domain.names import DRIVER_CONTAINER, RESERVATION_ANNOTATION
from carpool_operator.domain.observed.pods import attempt_of
from carpool_operator.domain.timestamps import unix_time

_ENDED: Final = ("Succeeded", "Failed")


def driver_of(raw: Mapping[str, Any]) -> Driver:
    """A driver pod from its JSON.

    Raises:
        KeyError: metadata that every stored pod has is missing.
    """
    metadata, status = raw["metadata"], raw.get("status") or {}
    annotations = metadata.get("annotations") or {}
    phase = status.get("phase") or "Pending"
    container = _container(status)
    state = container.get("state") or {}
    terminated = state.get("terminated")
    message = cut((terminated or {}).get("message"), 4096)
    termination = termination_of(message)
    return Driver(
        uid=metadata["uid"],
        name=metadata["name"],
        attempt=attempt_of(metadata.get("labels") or {}) or 0,
        phase=phase,
        deleting="deletionTimestamp" in metadata,
        created=unix(metadata["creationTimestamp"]),
        started=unix_time((state.get("running") or terminated or {}).get("startedAt")),
        ended=_ended(phase, terminated, status, metadata),
        ip=status.get("podIP"),
        termination=termination,
        exit_code=(terminated or {}).get("exitCode"),
        end_reason=status.get("reason") or (terminated or {}).get("reason"),
        last_words=""
        if termination is not None
        else cut(message or status.get("message"), MESSAGE_CHARACTERS),
        waiting=None if terminated or phase in _ENDED else _waiting(status, state),
        reserved=len(reserved_slots(annotations.get(RESERVATION_ANNOTATION))),
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Iterable[Mapping[str, Any]] = status.get("containerStatuses") or ()
    return next((each for each in found if each.get("name") == DRIVER_CONTAINER), {})


def _ended(
    phase: str,
    terminated: Mapping[str, Any] | None,
    status: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> float | None:
    """When the driver ended; an evicted pod may never have had a container that could say so."""
    if terminated is None and phase not in _ENDED:
        return None
    conditions = status.get("conditions") or ()
    times = [
        (terminated or {}).get("finishedAt"),
        *(each.get("lastTransitionTime") for each in conditions if each.get("type") == "Ready"),
        metadata["creationTimestamp"],
    ]
    return next(time for time in map(unix_time, times) if time is not None)


def _waiting(status: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str] | None:
    """What the pod waits for: a node, an init container, or its own container."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return (
                str(condition.get("reason") or "Unschedulable"),
                cut(condition.get("message"), MESSAGE_CHARACTERS),
            )
    inits = [each.get("state") or {} for each in status.get("initContainerStatuses") or ()]
    for each in (state, *inits):
        waiting = each.get("waiting")
        if waiting and waiting.get("reason") not in (None, "PodInitializing"):
            return str(waiting["reason"]), cut(waiting.get("message"), MESSAGE_CHARACTERS)
    return None
