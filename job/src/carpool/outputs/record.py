"""The base of everything Carpool writes as JSON into an output folder.

Names are camelCase, as in the job file. Unknown names are ignored, so that an older Carpool reads
what a newer one wrote.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Record(BaseModel):
    """An immutable record that becomes JSON and back."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore"
    )

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values under camelCase names."""
        return self.model_dump(mode="json", by_alias=True)

    def as_bytes(self) -> bytes:
        """The record as a readable JSON document."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
