"""What remains when the operator or a namespace goes."""

import pytest

from support.cluster import until
from support.cluster_jobs import EXECUTORS, Hold, on_shared_directory

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]


def test_helm_test_asks_the_operator(operator):
    assert "Succeeded" in operator.helm("test", operator.release, "--timeout=120s")


def test_nothing_waits_for_an_operator_that_is_down(namespace, shared_clips, operator):
    hold = Hold(namespace, "forsaken")
    place = on_shared_directory(namespace, shared_clips, "forsaken")
    job = operator.apply(place.job(model=hold.model))
    hold.wait_for(job.told, hosts=EXECUTORS)
    operator.scale(0)
    operator.helm("uninstall", operator.release, "--wait", "--timeout=60s")
    namespace.kubectl("delete", "namespace", namespace.name, "--wait=false")

    def namespaces():
        return namespace.kubectl("get", "namespaces", "-o", "name")

    until(
        lambda: f"namespace/{namespace.name}" not in namespaces().split(),
        lambda: (
            namespace.kubectl("get", "namespace", namespace.name, "-o", "yaml")
            + namespace.kubectl("get", "pods,ij", "-o", "yaml")
        ),
        seconds=60,
    )
