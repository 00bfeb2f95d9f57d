"""The base of every model of the spec: strict, frozen, camelCase outside and snake_case inside.

A job file is read by people, by this package and by a Kubernetes API server, and all three must
agree. So nothing is converted silently ("3" is no integer, true is no integer, 3.0 is no integer),
unknown fields are errors, and a field set to null counts as absent, which is how an API server
reads it. A custom resource definition is generated from these models; what it cannot express
(unions, tuples, floats, unbounded strings and lists) must not appear in them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from carpool.spec.rules import Rule, enforce

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

# At the end of a name, and not at its start: executorsPerGPU, bootID, but gpus and uid.
_ABBREVIATION = re.compile(r"(?<=[a-z0-9])(?:Gpu|Id|Uid|Uuid)$")


@cache
def camel_case(name: str) -> str:
    """The name of a field in YAML; abbreviations are capitals, as Kubernetes writes them."""
    return _ABBREVIATION.sub(lambda found: found[0].upper(), to_camel(name))


class StrictModel(BaseModel):
    """Base of all models of the spec.

    Fields go by their camelCase name or their attribute name; files are read with the first alone.
    A reader that must tolerate fields of a newer version passes `extra="ignore"` to
    `model_validate`.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=camel_case,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
    )

    @classmethod
    def rules(cls) -> tuple[Rule[Self], ...]:
        """What must hold between the fields of this model."""
        return ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        return enforce(self, type(self).rules())

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Drop known fields that are null, so that their defaults apply.

        An unknown field stays, null or not: it is a mistake to be reported.
        """
        if not isinstance(data, dict):
            return data
        known = {*cls.model_fields, *(camel_case(name) for name in cls.model_fields)}
        return {key: value for key, value in data.items() if value is not None or key not in known}
