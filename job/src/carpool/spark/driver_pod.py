"""What a driver knows of the pod that it runs in, from variables that the pod's manifest sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from carpool.errors import SpecError

_FACTS = {
    "name": "CARPOOL_POD_NAME",
    "namespace": "CARPOOL_POD_NAMESPACE",
    "address": "CARPOOL_POD_IP",
    "image": "CARPOOL_IMAGE",
    "api_server": "KUBERNETES_SERVICE_HOST",
}


@dataclass(frozen=True, slots=True)
class DriverPod:
    """A driver's own pod.

    Attributes:
        name: of the pod; executors are owned by it.
        namespace: of the pod and of its executors.
        address: IP of the pod, where executors reach the driver.
        image: that the pod runs; executors run it too unless the job names another.
        api_server: host and port of the API server.
        attempt: of the job, where an operator started the driver: executors wait at its gate.
        progress_port: where to tell how far the job is; None for nowhere.
        gpu_runtime_class: RuntimeClass of executors on GPUs; None for the cluster's default.
        image_pull_policy: of executors' images, as of the driver's.
        image_pull_secrets: names of secrets, besides those of the job.
    """

    name: str
    namespace: str
    address: str
    image: str
    api_server: str
    attempt: int | None = None
    progress_port: int | None = None
    gpu_runtime_class: str | None = None
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables.

        Raises:
            SpecError: one is missing, or no number where it must be one; the message names it.
        """
        missing = [variable for variable in _FACTS.values() if not environment.get(variable)]
        if missing:
            raise SpecError(
                f"{', '.join(missing)}: not set; `carpool drive` runs in a driver pod whose "
                "manifest sets them from the pod's own fields"
            )
        found = {field: environment[variable] for field, variable in _FACTS.items()}
        port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        found["api_server"] = f"{found['api_server']}:{port}"
        return cls(
            **found,
            attempt=_number(environment, "CARPOOL_ATTEMPT"),
            progress_port=_number(environment, "CARPOOL_PROGRESS_PORT"),
            gpu_runtime_class=environment.get("CARPOOL_GPU_RUNTIME_CLASS") or None,
            image_pull_policy=environment.get("CARPOOL_IMAGE_PULL_POLICY") or "IfNotPresent",
            image_pull_secrets=tuple(
                filter(None, environment.get("CARPOOL_IMAGE_PULL_SECRETS", "").split(","))
            ),
        )


def _number(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable)
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise SpecError(f'{variable}: "{text}" is no number; it is set by the operator')
    return int(text)
