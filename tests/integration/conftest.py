"""Fixtures of the tests on a real API server, of which each process of pytest has its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from support.control_plane.binaries import find_binaries
from support.control_plane.client import ApiClient
from support.control_plane.plane import ControlPlane, control_plane

CRDS = Path(__file__).resolve().parents[2] / "crds"
_NAMES = count()


def pytest_collection_modifyitems(items):
    """Everything here talks to the API server."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A control plane: etcd, kube-apiserver, kube-controller-manager."""
    with control_plane(find_binaries()) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(plane: ControlPlane) -> ControlPlane:
    """The control plane, with Carpool's resources."""
    applied = plane.kubectl("create", "--validate=strict", f"--filename={CRDS}")
    assert applied.returncode == 0, applied.stderr
    waited = plane.kubectl(
        "wait", "--for=condition=Established", "--timeout=30s", f"--filename={CRDS}"
    )
    assert waited.returncode == 0, waited.stderr
    return plane


@pytest.fixture
def api(cluster: ControlPlane) -> ApiClient:
    """A client who may do everything."""
    return cluster.admin


@pytest.fixture
def namespace(api: ApiClient) -> str:
    """A namespace for one test. It stays: the whole control plane is thrown away."""
    name = f"test-{next(_NAMES)}"
    api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    return name
