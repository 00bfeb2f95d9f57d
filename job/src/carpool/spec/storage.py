"""`spec.storage`: how object storage is reached; credentials themselves never stand in a job."""

from __future__ import annotations

from pydantic import Field

from carpool.spec.strict import StrictModel
from carpool.spec.text import HttpUrl, ObjectName, Region


class StorageSpec(StrictModel):
    """How object storage is reached, for models, input and output alike."""

    secret_name: ObjectName | None = Field(
        default=None,
        description=(
            "Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where "
            "they are temporary, in the job's namespace. "
            "A local run takes credentials from the environment instead."
        ),
        examples=["traffic-s3"],
    )
    endpoint: HttpUrl | None = Field(
        default=None,
        description="Address of an S3-compatible service; absent: AWS.",
        examples=["https://minio.example.org:9000"],
    )
    region: Region | None = Field(
        default=None,
        description="Region of the buckets; absent: as the environment says.",
        examples=["eu-central-1"],
    )
