"""Where Carpool's resources are found in the API, and their schema as committed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parents[2] / "crds"
_GROUP = "/apis/carpool.dev/v1alpha1"
GPU_NODES = f"{_GROUP}/gpunodes"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def jobs(namespace: str) -> str:
    """The path of the jobs of a namespace."""
    return f"{_GROUP}/namespaces/{namespace}/inferencejobs"


@cache
def definition(plural: str) -> dict[str, Any]:
    """A definition, read as kubectl reads it."""
    read: dict[str, Any] = yaml.safe_load((CRDS / f"{plural}.carpool.dev.yaml").read_text())
    return read


def schema(plural: str) -> dict[str, Any]:
    """The schema of a resource."""
    (version,) = definition(plural)["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found
