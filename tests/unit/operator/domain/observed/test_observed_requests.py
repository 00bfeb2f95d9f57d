"""A pod's requests are counted as the scheduler counts them."""

from __future__ import annotations

import pytest

from carpool_operator.domain.cluster_state import Resources
from carpool_operator.domain.observed.quantities import whole
from carpool_operator.domain.observed.requests import pod_requests
from support.kubernetes_objects import container


def sidecar(name, **requests):
    return container(name, **requests) | {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("quantity", "found"),
    [
        ("1", 1),
        ("1500m", 2),
        ("0.1", 1),
        ("12Ki", 12288),
        ("1e3", 1000),
        ("1E", 10**18),
        ("2E3", 2000),
        ("5G", 5 * 10**9),
        ("1Pi", 1 << 50),
        ("100n", 1),
        (8, 8),
    ],
)
def test_quantities_are_read_as_the_api_server_writes_them(quantity, found):
    assert whole(quantity) == found


def test_containers_run_together():
    spec = {"containers": [container(cpu="500m", memory="1Gi"), container(cpu="1")]}
    assert pod_requests(spec) == Resources(cpu=1500, memory=1 << 30, pods=1)


def test_sidecars_are_added():
    spec = {
        "containers": [container(cpu="2")],
        "initContainers": [sidecar("model-host", cpu="1", memory="4Gi")],
    }
    assert pod_requests(spec) == Resources(cpu=3000, memory=4 << 30, pods=1)


def test_an_init_container_counts_where_it_asks_for_more_than_all_that_runs_after_it():
    spec = {
        "containers": [container(cpu="1", memory="1Gi")],
        "initContainers": [container("download", cpu="4", memory="512Mi")],
    }
    assert pod_requests(spec) == Resources(cpu=4000, memory=1 << 30, pods=1)


def test_an_init_container_runs_beside_the_sidecars_before_it_only():
    before, after = sidecar("before", cpu="1"), sidecar("after", cpu="1")
    download = container("download", cpu="4")
    spec = {
        "containers": [container(cpu="1")],
        "initContainers": [before, download, after],
    }
    assert pod_requests(spec).cpu == 5000


def test_overhead_comes_on_top_and_requests_of_the_pod_stand_for_those_of_containers():
    spec = {
        "containers": [container(cpu="1", memory="1Gi")],
        "resources": {"requests": {"cpu": "3"}},
        "overhead": {"cpu": "250m"},
    }
    assert pod_requests(spec) == Resources(cpu=3250, memory=1 << 30, pods=1)


def test_extended_resources_are_kept_by_name():
    spec = {"containers": [container(**{"nvidia.com/gpu": "1", "cpu": "1"})]}
    assert pod_requests(spec) == Resources(1000, 0, 1, (("nvidia.com/gpu", 1),))


def test_pods_that_ask_for_the_same_share_one_record():
    spec = {"containers": [container(cpu="123m")]}
    assert pod_requests(spec) is pod_requests({"containers": [container(cpu="0.123")]})
