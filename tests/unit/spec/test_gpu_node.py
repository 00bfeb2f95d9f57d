from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from carpool.spec import GpuNode

GPU: dict[str, Any] = {
    "uuid": "GPU-5f9c0a4e-6d2b-4a53-9f0e-0f6b8c2d7a11",
    "product": "NVIDIA L4",
    "memory": "23034Mi",
    "numaNode": 0,
    "health": "Healthy",
    "lastXid": {"code": 13, "time": "2026-05-04T10:20:30Z"},
    "processes": [{"pid": 4711, "podUID": "6a1c0f5e-2f0b-4f37-8b6c-0d3f0f3a9b52"}, {"pid": 1}],
}
PART: dict[str, Any] = {
    "uuid": "MIG-0f6b8c2d",
    "product": "NVIDIA H100",
    "memory": "9856Mi",
    "mig": {"profile": "1g.10gb", "parentUUID": "GPU-0f6b"},
    "health": "Lost",
    "healthMessage": "fell off the bus",
}


def node(*gpus: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "carpool.dev/v1alpha1",
        "kind": "GPUNode",
        "metadata": {"name": "gpu-7.example.org"},
        "status": {
            "bootID": "6a1c0f5e-2f0b-4f37-8b6c-0d3f0f3a9b52",
            "driverVersion": "570.124.06",
            "heartbeatTime": "2026-05-04T10:20:30Z",
            "gpuCount": len(gpus),
            "healthyCount": sum(gpu["health"] == "Healthy" for gpu in gpus),
            "gpus": list(gpus),
        }
        | changes,
    }


def read(document: dict[str, Any]) -> GpuNode:
    return GpuNode.model_validate(document, by_alias=True, by_name=False)


def test_names_are_those_of_kubernetes():
    document = node(GPU, PART)
    written = read(document).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert written == document


def test_a_node_that_was_not_observed_yet_has_no_status():
    document = node()
    del document["status"]
    assert read(document).status is None


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        (node(GPU, GPU), ("status", "gpus"), "two devices of one UUID"),
        (node(GPU, gpuCount=2), ("status", "gpuCount"), "is not the number of gpus; count"),
        (node(PART, healthyCount=1), ("status", "healthyCount"), "that are Healthy"),
        (
            node({**GPU, "processes": [{"pid": 1}, {"pid": 1}]}),
            ("status", "gpus", 0, "processes"),
            "two processes of one pid",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(document, field, message):
    with pytest.raises(ValidationError) as caught:
        read(document)
    (error,) = caught.value.errors()
    assert error["loc"] == field
    assert message in error["msg"]
