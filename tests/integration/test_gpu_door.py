"""The chart's admission policy on a real API server: who may decide about GPUs."""

import time

import pytest
import yaml

from support.control_plane.client import ApiError
from support.helm import rendered

pytestmark = pytest.mark.apiserver

OPERATOR = "carpool-operator"
UUID = "GPU-5f9c0a4e-6d2b-4a53-9f0e-0f6b8c2d7a11"
VOID = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
ASSIGNED = {
    "name": "NVIDIA_VISIBLE_DEVICES",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['carpool.dev/gpu-uuid']"}},
}
JSON_PATCH = "application/json-patch+json"
POLICY_KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ServiceAccount")


@pytest.fixture(scope="module")
def jobs(cluster):
    """A namespace of jobs with the policy in force; the release is in a namespace beside it."""
    api = cluster.admin
    for name in ("door-release", "door-jobs"):
        api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    objects = rendered({"jobs": {"namespaces": ["door-jobs"]}}, namespace="door-release")
    made = [found for found in objects if found["kind"] in POLICY_KINDS]
    assert {found["kind"] for found in made} == set(POLICY_KINDS)
    done = cluster.kubectl("create", "--filename=-", stdin=yaml.safe_dump_all(made))
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 30
    # The API server takes a policy in force a moment later, and tells nobody.
    while allowed(api, pod("probe", env=[]), dryRun="All"):
        assert time.monotonic() < deadline, "the policy is not enforced"
        time.sleep(0.05)
    return "door-jobs"


@pytest.fixture(scope="module")
def operator(cluster):
    """The operator's account."""
    return cluster.user(f"system:serviceaccount:door-release:{OPERATOR}", "system:masters")


@pytest.fixture(scope="module")
def driver(cluster):
    """Somebody who may write pods, as Spark's driver may."""
    return cluster.user("system:serviceaccount:door-jobs:carpool-driver", "system:masters")


PODS = "/api/v1/namespaces/door-jobs/pods"


def allowed(api, body, **query):
    code, answer = api.raw("POST", PODS, body, **query)
    if code == 201:
        return True
    assert code == 403, answer
    assert b"carpool-gpu-door" in answer
    return False


def container(name, env):
    return {"name": name, "image": "none", "env": env}


def pod(name, *, env, host_env=None, annotations=None, gated=True, init=()):
    """An executor."""
    host = container("model-host", [ASSIGNED] if host_env is None else host_env)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "schedulingGates": [{"name": "carpool.dev/gpu"}] if gated else [],
            "initContainers": [host | {"restartPolicy": "Always"}, *init],
            "containers": [container("spark-executor", env)],
        },
    }


def open_gate(name, **annotations):
    return (
        f"{PODS}/{name}",
        [
            {"op": "test", "path": "/spec/schedulingGates/0/name", "value": "carpool.dev/gpu"},
            {
                "op": "add",
                "path": "/metadata/annotations",
                "value": {
                    f"carpool.dev/{key.replace('_', '-')}": v for key, v in annotations.items()
                },
            },
            {"op": "remove", "path": "/spec/schedulingGates/0"},
        ],
    )


def refused(call, *arguments, **options):
    with pytest.raises(ApiError) as error:
        call(*arguments, **options)
    assert error.value.code == 403
    assert "carpool-gpu-door" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        pod("a", env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]),
        pod("a", env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": UUID}]),
        pod("a", env=[VOID, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]),
        pod("a", env=[]),
        pod("a", env=[ASSIGNED]),
        pod("a", env=[VOID], host_env=[]),
        pod("a", env=[VOID], host_env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": UUID}]),
        pod("a", env=[VOID], init=[container("fetch", [])]),
        pod("a", env=[VOID], annotations={"carpool.dev/gpu-uuid": UUID}),
        pod("a", env=[VOID], annotations={"carpool.dev/reservation": "[]"}),
        pod("a", env=[VOID], annotations={"carpool.dev/assigned-at": "2026-03-01T12:00:00Z"}),
    ],
    ids=[
        "all",
        "a UUID",
        "a second value",
        "nothing",
        "the assigned GPU, in another container",
        "a host that says nothing",
        "a host with a UUID",
        "an init container that says nothing",
        "an annotation of its own",
        "a reservation of its own",
        "a time of its own",
    ],
)
def test_a_driver_cannot_make_a_pod_that_takes_a_gpu(jobs, driver, body):
    assert not allowed(driver, body)


def test_an_executor_as_spark_makes_it_passes_and_the_operator_opens_its_gate(
    jobs, driver, operator
):
    assert allowed(driver, pod("passes", env=[VOID]))
    path, patch = open_gate("passes", gpu_uuid=UUID, assignment_epoch="3")
    refused(driver.call, "PATCH", path, patch, JSON_PATCH)
    opened = operator.call("PATCH", path, patch, JSON_PATCH)
    assert "schedulingGates" not in opened["spec"]
    # Spark's driver marks executors; what the operator wrote stays as it is.
    driver.merge(path, {"metadata": {"labels": {"spark-exec-inactive": "true"}}})
    driver.merge(path, {"metadata": {"annotations": {"other": "text"}}})
    for value in ("GPU-another", None):
        change = {"metadata": {"annotations": {"carpool.dev/gpu-uuid": value}}}
        assert "annotations" in refused(driver.merge, path, change)


def test_a_gate_is_opened_by_the_operator_alone_even_without_an_assignment(jobs, driver):
    assert allowed(driver, pod("shut", env=[VOID]))
    patch = [{"op": "remove", "path": "/spec/schedulingGates/0"}]
    assert "gate" in refused(driver.call, "PATCH", f"{PODS}/shut", patch, JSON_PATCH)
    driver.delete(f"{PODS}/shut")


def test_an_ephemeral_container_gets_no_gpu_either(jobs, driver, operator):
    assert allowed(driver, pod("debugged", env=[VOID], gated=False))

    def debug(api, env):
        one = {"name": "debug", "image": "none", "env": env, "targetContainerName": "model-host"}
        return api.call(
            "PATCH",
            f"{PODS}/debugged/ephemeralcontainers",
            {"spec": {"ephemeralContainers": [one]}},
            "application/strategic-merge-patch+json",
        )

    for env in ([], [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}], [ASSIGNED]):
        assert "ephemeral" in refused(debug, driver, env)
    assert debug(driver, [VOID])["spec"]["ephemeralContainers"]


def test_other_namespaces_are_left_alone(jobs, driver, namespace):
    body = pod("free", env=[], annotations={"carpool.dev/gpu-uuid": UUID})
    driver.post(f"/api/v1/namespaces/{namespace}/pods", body)
