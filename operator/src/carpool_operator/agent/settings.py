"""The agent's settings: variables `CARPOOL_…` and flags, read and checked as the operator's are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field
from pydantic import model_validator as checked_together
from pydantic_settings import BaseSettings, NoDecode

from carpool_operator.agent.health import HealthPolicy
from carpool_operator.agent.report import Cadence
from carpool_operator.settings import Port, Seconds, read_settings, settings_source

_STALE: float = 90.0
"""Age at which the allocator no longer relies on a report (domain.allocation)."""


def _codes(value: object) -> object:
    """`13,31` as a set."""
    if isinstance(value, str):
        words = [word.strip() for word in value.split(",") if word.strip()]
        if not all(word.isdecimal() for word in words):
            raise ValueError("expected codes of errors as 13,31")
        return frozenset(int(word) for word in words)
    if isinstance(value, list | tuple):
        return _codes(",".join(str(part) for part in value))
    return value


Codes = Annotated[frozenset[int], NoDecode, BeforeValidator(_codes)]


class AgentSettings(BaseSettings):
    """The node agent of Carpool: reports a node's GPUs in its GPUNode."""

    model_config = settings_source("python -m carpool_operator.agent")

    node_name: str = Field(min_length=1, max_length=253, description="Name of the node.")
    poll_seconds: Seconds = Field(default=3.0, description="Time between two looks at all GPUs.")
    gpu_timeout_seconds: Seconds = Field(
        default=4.0, description="Time after which a GPU, or the driver, has not answered."
    )
    change_seconds: Seconds = Field(
        default=10.0,
        description="The least time between two writes of the GPUNode, changes of health excepted.",
    )
    heartbeat_seconds: Annotated[float, Field(gt=0, le=_STALE / 2)] = Field(
        default=30.0,
        description="Time after which it is written though nothing has changed; jittered.",
    )
    recovery_seconds: Seconds = Field(
        default=600.0, description="How long a GPU must be well after trouble to be used again."
    )
    reopen_seconds: Seconds = Field(
        default=30.0, description="Time between two attempts to reach a driver or GPU anew; grows."
    )
    ignored_xids: Codes = Field(
        default=frozenset(),
        description="Errors of the driver that are taken for an application's, as 13,31.",
    )
    map_processes: bool = Field(
        default=False,
        description="Whether processes on GPUs are reported with their pods; needs hostPID.",
    )
    proc_folder: Path = Field(default=Path("/proc"), description="Where the node's /proc is.")
    sys_folder: Path = Field(default=Path("/sys"), description="Where the node's /sys is.")

    probe_port: Port = Field(default=8080, description="Port of /livez and /readyz.")
    metrics_port: Port = Field(default=9090, description="Port of /metrics.")
    log_format: Literal["json", "text"] = Field(default="json", description="Form of the log.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least important records of the log."
    )

    @checked_together(mode="after")
    def _agree(self) -> Self:
        if self.change_seconds > self.heartbeat_seconds:
            raise ValueError(
                f"CARPOOL_CHANGE_SECONDS is {self.change_seconds:g}, more than "
                f"CARPOOL_HEARTBEAT_SECONDS, {self.heartbeat_seconds:g}; make it less"
            )
        return self

    @property
    def health_policy(self) -> HealthPolicy:
        """What of these decides about health."""
        return HealthPolicy(recovery=self.recovery_seconds, ignored_xids=self.ignored_xids)

    @property
    def cadence(self) -> Cadence:
        """What of these decides about writes."""
        return Cadence(change=self.change_seconds, heartbeat=self.heartbeat_seconds)


def load_agent_settings(arguments: Sequence[str] | None = None) -> AgentSettings:
    """Read the settings of flags and variables.

    Args:
        arguments: the command line without the program; None: of this process.

    Raises:
        SettingsError: some are wrong; the message has a line for each.
        SystemExit: --help was asked for, and answered.
    """
    return read_settings(AgentSettings, arguments)
