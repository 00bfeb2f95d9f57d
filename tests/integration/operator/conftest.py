"""A cluster for the operator's tests: nodes, and the accounts that jobs use."""

from __future__ import annotations

import pytest

from support.control_plane.client import ApiClient
from support.control_plane.plane import ControlPlane
from support.played_kubelet import add_node


@pytest.fixture(scope="session")
def nodes(cluster: ControlPlane) -> list[str]:
    """Two nodes with room for everything."""
    names = ["node-a", "node-b"]
    for name in names:
        add_node(cluster.admin, name)
    return names


@pytest.fixture
def jobs_namespace(api: ApiClient, namespace: str, nodes: list[str]) -> str:
    """A namespace in which jobs may run."""
    api.post(
        f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "carpool-driver"}}
    )
    return namespace
