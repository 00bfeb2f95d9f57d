"""Which backend runs a handler."""

from __future__ import annotations

import os
from typing import get_args

from carpool.errors import HandlerError, SpecError
from carpool.host.backends.base import Backend
from carpool.host.backends.handler_backend import HandlerBackend
from carpool.host.backends.numpy import NumpyBackend
from carpool.host.backends.records import RecordBackend
from carpool.host.backends.simulated import SimulatedBackend
from carpool.host.config import BackendName, HostConfig
from carpool.host.record_handler import record_handler_class
from carpool.vision.handler import Handler, handler_class

VARIABLE = "CARPOOL_HOST_BACKEND"


def build_backend(config: HostConfig, generation: int) -> Backend:
    """Make the handler that the configuration names, and its backend.

    Raises:
        SpecError, HandlerError: as `choose_backend`, or there is no such handler.
    """
    if config.backend == "records":
        return RecordBackend(
            record_handler_class(config.handler)(config.parameters), config, generation
        )
    handler = handler_class(config.handler)(config.parameters)
    return choose_backend(handler, config, generation)


def choose_backend(handler: Handler, config: HostConfig, generation: int) -> HandlerBackend:
    """Make the backend that the configuration, else the environment, else the handler names.

    Raises:
        SpecError: the environment names none that exists.
        HandlerError: the handler cannot run on the one named.
    """
    name = config.backend or os.environ.get(VARIABLE) or handler.framework
    known = [known for known in get_args(BackendName) if known != "records"]
    if name not in known:
        raise SpecError(f"{VARIABLE} is {name!r}, expected one of {', '.join(known)}")
    needs = "torch" if name == "torch" else "numpy"
    if handler.framework != needs:
        raise HandlerError(
            f"handler {config.handler} computes with {handler.framework}; backend {name} runs "
            f"handlers of framework {needs}"
        )
    if name == "torch":
        return _torch_backend(config)(handler, config, generation)
    made = SimulatedBackend if name == "simulated" else NumpyBackend
    return made(handler, config, generation)


def _torch_backend(config: HostConfig) -> type[HandlerBackend]:
    """Imported here: a host of numpy handlers does without torch."""
    if config.device.partition(":")[0] == "cuda":
        from carpool.host.backends.cuda import CudaBackend  # noqa: PLC0415 - see above

        return CudaBackend
    from carpool.host.backends.torch_cpu import TorchCpuBackend  # noqa: PLC0415 - the same

    return TorchCpuBackend
