"""The custom resource definitions, generated from the models of `carpool.spec`."""

from __future__ import annotations

from carpool.spec.crd.definition import custom_resource_definition
from carpool.spec.crd.resources import CATEGORY, GPU_NODES, GROUP, INFERENCE_JOBS, VERSION, Resource
from carpool.spec.crd.structural import SchemaError, structural_schema

__all__ = [
    "CATEGORY",
    "GPU_NODES",
    "GROUP",
    "INFERENCE_JOBS",
    "VERSION",
    "Resource",
    "SchemaError",
    "custom_resource_definition",
    "structural_schema",
]
