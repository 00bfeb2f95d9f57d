"""What kopf watches, and who is told: low-level events alone.

kopf's handlers of creations and changes would write annotations, its timers and daemons finalizers,
on every object, and a finalizer keeps objects from going when the operator is not there. An
`on.event` handler writes nothing. It is also never retried, so it only notes what came.
"""

from __future__ import annotations

from typing import Any

import kopf

from carpool_operator.cluster.connection import Connection
from carpool_operator.cluster.observed_session import observed_response
from carpool_operator.domain.names import GROUP, VERSION
from carpool_operator.reconcile.observations import (
    GPU_NODES_WATCH,
    JOBS_WATCH,
    NAMESPACES_WATCH,
    NODES_WATCH,
    Observations,
)


def build_registry(
    connection: Connection, observations: Observations, *, watch_namespaces: bool
) -> kopf.OperatorRegistry:
    """Handlers that tell `observations`, and the way to the API server."""
    registry = kopf.OperatorRegistry()
    response = observed_response(observations)

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=connection.server, aiohttp_session=connection.session(response)
        )

    def tell(plural: str) -> Any:
        async def note(event: Any, **_: Any) -> None:
            if event["type"] == "DELETED":
                observations.gone(plural, event["object"])
            else:
                observations.seen(plural, event["object"])

        note.__name__ = f"note_{plural}"
        return note

    kopf.on.event(GROUP, VERSION, JOBS_WATCH, registry=registry)(tell(JOBS_WATCH))
    kopf.on.event(GROUP, VERSION, GPU_NODES_WATCH, registry=registry)(tell(GPU_NODES_WATCH))
    kopf.on.event("", "v1", NODES_WATCH, registry=registry)(tell(NODES_WATCH))
    if watch_namespaces:
        kopf.on.event("", "v1", NAMESPACES_WATCH, registry=registry)(tell(NAMESPACES_WATCH))
    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """Settings for kopf without writes, and without endless waits."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # Resources are known, and namespaces chosen by ourselves: no lists of CRDs and namespaces.
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = 290
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    # Nothing is persisted; should it ever be, then under our own name.
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.process.ultimate_exiting_timeout = 10
    return settings
