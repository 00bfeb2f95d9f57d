"""`metadata`: as much of Kubernetes' ObjectMeta as an object read back from a cluster carries.

All of its fields are known here, so that the output of `kubectl get -o yaml` is a valid job file
while a misspelt field is still an error.
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from carpool.spec.strict import INT64_MAX, StrictModel
from carpool.spec.text import FreeForm, JobName, NamespaceName, ShortText, StringMap, Timestamp

AnnotationMap = Annotated[
    dict[str, Annotated[str, Field(max_length=262_144)]], Field(max_length=256)
]


class ObjectMeta(StrictModel):
    """Name, place and marks of the job."""

    name: JobName = Field(
        description="Name of the job; pods, folders and messages carry it.",
        examples=["cam-12"],
    )
    namespace: NamespaceName | None = Field(
        default=None,
        description="Namespace of the job; means nothing in a local run.",
        examples=["traffic"],
    )
    labels: StringMap = Field(default={}, description="Labels, for selection.")
    annotations: AnnotationMap = Field(default={}, description="Annotations, for tools.")
    uid: ShortText | None = Field(default=None, description="Set by the API server.")
    generate_name: ShortText | None = Field(
        default=None, description="Prefix that the API server made the name from."
    )
    generation: int | None = Field(
        default=None, ge=0, le=INT64_MAX, description="Set by the API server."
    )
    resource_version: ShortText | None = Field(default=None, description="Set by the API server.")
    self_link: ShortText | None = Field(default=None, description="Set by old API servers.")
    creation_timestamp: Timestamp | None = Field(default=None, description="Set by the API server.")
    deletion_timestamp: Timestamp | None = Field(default=None, description="Set by the API server.")
    deletion_grace_period_seconds: int | None = Field(
        default=None, ge=0, le=INT64_MAX, description="Set by the API server."
    )
    finalizers: list[ShortText] | None = Field(
        default=None, max_length=64, description="Who must act before the object is deleted."
    )
    owner_references: list[FreeForm] | None = Field(
        default=None, max_length=64, description="Objects with which this one is deleted."
    )
    managed_fields: list[FreeForm] | None = Field(
        default=None, max_length=256, description="Set by the API server."
    )
