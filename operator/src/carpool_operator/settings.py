"""The operator's settings: variables `CARPOOL_…`, and flags of the same names that go before them.

All are read and checked once, at the start; a wrong one ends the process with status 2 and a
message that names the variable, what was found and what is expected.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic import model_validator as checked_together
from pydantic_settings import (
    BaseSettings,
    CliSuppress,
    NoDecode,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.errors import SettingsError

PREFIX = "CARPOOL_"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FORMS = {
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "missing": "a value",
}


def _words(value: object) -> object:
    """`a,b` as a list."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, list | tuple):
        return [word for part in value for word in str(part).split(",") if word]
    return value


def _labels(value: object) -> object:
    """`a=b,c=d` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in value.split(",") if word.strip()]
    for key, sign, _ in pairs:
        if not sign or not key.strip():
            raise ValueError("expected labels as key=value,key=value")
    return {key.strip(): text.strip() for key, _, text in pairs}


def _json_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value or "[]")
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(item, dict) for item in parsed):
        raise ValueError("expected a JSON list of objects")
    return parsed


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Labels = Annotated[dict[str, str], NoDecode, BeforeValidator(_labels)]
Objects = Annotated[tuple[dict[str, Any], ...], NoDecode, BeforeValidator(_json_list)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=0, le=65_535)]
AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def _own_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "default"


def settings_source(program: str) -> SettingsConfigDict:
    """How the settings of a program are read; for the `model_config` of its class."""
    return SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        cli_prog_name=program,
        cli_kebab_case=True,
        cli_exit_on_error=False,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )


class Settings(BaseSettings):
    """The operator of Carpool: runs InferenceJobs and hands GPUs to their executors."""

    model_config = settings_source("python -m carpool_operator")

    namespaces: Words = Field(
        default=(), description="Namespaces whose jobs are run, as a,b; none: all."
    )
    namespace_selector: str | None = Field(
        default=None,
        description="Labels of the namespaces whose jobs are run, as key=value,key=value.",
    )
    max_running_jobs: int | None = Field(
        default=None, ge=1, description="The most jobs with a driver at a time; none: no limit."
    )
    max_running_jobs_per_namespace: int | None = Field(
        default=None, ge=1, description="The same, in one namespace."
    )

    job_image: str = Field(
        min_length=1, description="Image of drivers and executors whose job names none."
    )
    job_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When the image of drivers is pulled."
    )
    job_image_pull_secrets: Words = Field(
        default=(), description="Secrets of the jobs' namespaces for pulling images, as a,b."
    )
    job_service_account: str = Field(
        default="carpool-driver", description="Service account of drivers whose job names none."
    )
    job_backoff_seconds: Seconds = Field(
        default=10.0, description="Wait after a job's first failed attempt; doubles with each."
    )
    job_backoff_cap_seconds: Seconds = Field(default=300.0, description="The longest such wait.")
    job_recheck_seconds: Seconds = Field(
        default=30.0, description="Time between looks at a job that waits for what tells nobody."
    )
    driver_blocked_seconds: Seconds = Field(
        default=600.0, description="How long a driver that cannot start may hold its slots."
    )
    driver_node_selector: Labels = Field(
        default={}, description="Labels that nodes of drivers must have, as key=value."
    )
    driver_tolerations: Objects = Field(
        default=(), description="Taints that drivers bear: a JSON list of core/v1 tolerations."
    )
    gpu_node_labels: Labels = Field(
        default={"nvidia.com/gpu.present": "true"},
        description="Labels of GPU nodes, as key=value; drivers prefer other nodes.",
    )
    gpu_runtime_class: str | None = Field(
        default=None, description="Runtime class of executors with GPUs; none: the nodes' default."
    )

    progress_interval_seconds: Seconds = Field(
        default=30.0, description="Time between two questions to a driver how far it is."
    )

    progress_port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        default=7080, description="Port at which drivers answer it."
    )

    probe_port: Port = Field(default=8080, description="Port of /livez and /readyz.")
    metrics_port: Port = Field(default=9090, description="Port of /metrics.")
    log_format: Literal["json", "text"] = Field(default="json", description="Form of the log.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least important records of the log."
    )

    lease_name: str = Field(
        default="carpool-operator", description="Lease by which one replica leads."
    )
    lease_namespace: str = Field(
        default_factory=_own_namespace, description="Its namespace; the pod's own by default."
    )
    lease_duration_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        default=15.0, description="Time without renewal after which another replica takes over."
    )
    pod_name: CliSuppress[str] = Field(
        default_factory=socket.gethostname, description="Name of this replica."
    )

    workers: int = Field(default=8, ge=1, le=256, description="Jobs looked at at once.")
    assignments_in_flight: int = Field(
        default=32, ge=1, le=1024, description="Writes of assignments at once."
    )
    api_qps: float = Field(
        default=500.0, gt=0, description="Requests a second to the API server, in the long run."
    )
    api_burst: int = Field(default=1000, ge=1, description="Requests beyond that, at once.")

    @field_validator("namespaces", "lease_namespace", "lease_name", "job_service_account")
    @classmethod
    def _are_names(cls, value: str | tuple[str, ...], _: ValidationInfo) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    "expected a name of Kubernetes: at most 63 lower-case letters, digits and "
                    "inner hyphens"
                )
        return value

    @field_validator("namespace_selector", mode="before")
    @classmethod
    def _is_selector(cls, value: object) -> object:
        if isinstance(value, str):
            _labels(value)
        return value or None

    @checked_together(mode="after")
    def _agree(self) -> Self:
        if self.namespaces and self.namespace_selector:
            raise ValueError(
                f"{PREFIX}NAMESPACES and {PREFIX}NAMESPACE_SELECTOR are both set; keep one"
            )
        return self

    @property
    def selected_labels(self) -> dict[str, str] | None:
        """The labels of `namespace_selector`; None where there is none."""
        if self.namespace_selector is None:
            return None
        labels = _labels(self.namespace_selector)
        assert isinstance(labels, dict)  # noqa: S101 - of a string, checked
        return labels

    def job_settings(self) -> JobSettings:
        """What of these decides about the lives of jobs."""
        return JobSettings(
            image=self.job_image,
            image_pull_policy=self.job_image_pull_policy,
            image_pull_secrets=self.job_image_pull_secrets,
            service_account=self.job_service_account,
            max_running_jobs=self.max_running_jobs,
            max_running_jobs_per_namespace=self.max_running_jobs_per_namespace,
            backoff_seconds=self.job_backoff_seconds,
            backoff_cap_seconds=self.job_backoff_cap_seconds,
            recheck_seconds=self.job_recheck_seconds,
            driver_blocked_seconds=self.driver_blocked_seconds,
            status_interval_seconds=self.progress_interval_seconds,
            gpu_node_labels=self.gpu_node_labels,
            driver_node_selector=self.driver_node_selector,
            driver_tolerations=self.driver_tolerations,
            gpu_runtime_class=self.gpu_runtime_class,
            progress_port=self.progress_port,
        )


def load_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the settings of flags and variables.

    Args:
        arguments: the command line without the program; None: of this process.

    Raises:
        SettingsError: some are wrong; the message has a line for each.
        SystemExit: --help was asked for, and answered.
    """
    return read_settings(Settings, arguments)


def read_settings(kind: type[AnySettings], arguments: Sequence[str] | None) -> AnySettings:
    """The settings of any program of this distribution, read and refused alike."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return kind(_cli_parse_args=given)
    except SourceError as error:
        raise SettingsError(f"wrong command line: {error}; --help lists the flags") from error
    except ValidationError as error:
        lines = [_explained(dict(entry)) for entry in error.errors(include_url=False)]
        raise SettingsError(
            "wrong settings:\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def _explained(error: dict[str, Any]) -> str:
    """One mistake: the variable, what was found, what is expected."""
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    field = str(error["loc"][0]).lower().removeprefix(PREFIX.lower())
    name = f"{PREFIX}{field.upper()} (--{field.replace('_', '-')})"
    expected = _FORMS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    expected = expected.removeprefix("expected ").removeprefix("Input should be ")
    if error["type"] == "missing":
        return f"{name}: not set, expected {expected}"
    return f"{name}: found {error['input']!r}, expected {expected}"
