"""The chart's admission policy on a real API server: who may decide about GPUs, and where."""

import time
from contextlib import contextmanager

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
    make_namespaces(cluster, "door-release", "door-jobs")
    with in_force(cluster, {"operator": {"namespaces": ["door-jobs"]}}, release="carpool"):
        yield "door-jobs"


@contextmanager
def in_force(cluster, values, *, release, probe="door-jobs"):
    """The policy of a release, as long as the block lasts; `probe`: a namespace that it guards."""
    values = {"agent": {"enabled": False}, **values}
    objects = rendered(values, release=release, namespace="door-release")
    made = [found for found in objects if found["kind"] in POLICY_KINDS]
    assert {found["kind"] for found in made} == set(POLICY_KINDS)
    manifest = yaml.safe_dump_all(made)
    done = cluster.kubectl("create", "--filename=-", stdin=manifest)
    assert done.returncode == 0, done.stderr
    try:
        await_verdict(cluster, probe, allows=False)
        yield
    finally:
        done = cluster.kubectl("delete", "--filename=-", stdin=manifest)
        assert done.returncode == 0, done.stderr
        await_verdict(cluster, probe, allows=True)


def await_verdict(cluster, namespace, *, allows):
    """Wait: the API server takes a policy in force a moment later, and tells nobody."""
    deadline = time.monotonic() + 30
    while allowed(cluster.admin, pod("probe", env=[]), namespace, dryRun="All") != allows:
        assert time.monotonic() < deadline, f"the policy is {'still' if allows else 'not'} enforced"
        time.sleep(0.05)


def make_namespaces(cluster, *names, **labels):
    for name in names:
        cluster.admin.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})


@pytest.fixture(scope="module")
def operator(cluster):
    """The operator's account."""
    return cluster.user(f"system:serviceaccount:door-release:{OPERATOR}", "system:masters")


@pytest.fixture(scope="module")
def driver(cluster):
    """Somebody who may write pods, as Spark's driver may."""
    return cluster.user("system:serviceaccount:door-jobs:carpool-driver", "system:masters")


PODS = "/api/v1/namespaces/door-jobs/pods"


def allowed(api, body, namespace="door-jobs", **query):
    code, answer = api.raw("POST", f"/api/v1/namespaces/{namespace}/pods", body, **query)
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


WHOLE = {"limits": {"nvidia.com/gpu": "1"}}


def asking(name="a", *, host=None, **changes):
    """An executor whose host asks the kubelet for a whole GPU, with the host's fields changed."""
    body = pod(name, env=[VOID], host_env=[], **changes)
    body["spec"]["initContainers"][0] |= {"resources": WHOLE} | (host or {})
    return body


def with_spec(body, **fields):
    return body | {"spec": body["spec"] | fields}


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
        asking(host={"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}),
        asking(host={"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": UUID}]}),
        asking(host={"env": [ASSIGNED]}),
        asking(host={"envFrom": [{"secretRef": {"name": "keys"}}]}),
        asking(host={"envFrom": [{"prefix": "NVIDIA_", "configMapRef": {"name": "devices"}}]}),
        asking(host={"resources": {"limits": {"nvidia.com/gpu": "0"}}}),
        asking(host={"resources": {"limits": {"nvidia.com/gpu": "2"}}}),
        asking(host={"resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}),
        asking(host={"resources": {"limits": {"cpu": "1"}}}),
        asking(gated=False),
        with_spec(asking(gated=False), nodeName="pool-1"),
        with_spec(asking(), schedulingGates=[{"name": "another"}]),
        asking(init=[container("fetch", []) | {"resources": WHOLE}]),
        with_spec(asking(), containers=[container("spark-executor", []) | {"resources": WHOLE}]),
        pod("a", env=[VOID], host_env=[], init=[container("b", [VOID]) | {"resources": WHOLE}]),
        with_spec(asking(), containers=[container("spark-executor", [ASSIGNED])]),
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
        "a GPU of the kubelet, and all",
        "a GPU of the kubelet, and a UUID",
        "a GPU of the kubelet, and the assigned one",
        "a GPU of the kubelet, and a Secret that may say more",
        "a GPU of the kubelet, and a ConfigMap that may say more",
        "none of the kubelet's GPUs",
        "two of the kubelet's GPUs",
        "another resource of the kubelet's",
        "no GPU of the kubelet",
        "a GPU of the kubelet, without a gate",
        "a GPU of the kubelet, of a node that it names",
        "a GPU of the kubelet, behind somebody else's gate",
        "a GPU of the kubelet, for an init container",
        "a GPU of the kubelet, for another container",
        "a GPU of the kubelet for another container than the one that says nothing",
        "a GPU of the kubelet, and the assigned one in another container",
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


def test_a_host_that_asks_the_kubelet_says_nothing_itself_and_waits_at_the_gate(
    jobs, driver, operator
):
    key = {"secretKeyRef": {"name": "keys", "key": "AWS_ACCESS_KEY_ID", "optional": True}}
    body = asking("whole", host={"env": [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": key}]})
    assert allowed(driver, body)
    path, patch = open_gate("whole", assignment_epoch="3")
    refused(driver.call, "PATCH", path, patch, JSON_PATCH)
    binding = {"metadata": {"name": "whole"}, "target": {"kind": "Node", "name": "pool-1"}}
    code, answer = driver.raw("POST", f"{path}/binding", binding)
    assert (code, b"schedulingGates" in answer) == (409, True), answer
    opened = operator.call("PATCH", path, patch, JSON_PATCH)
    assert "schedulingGates" not in opened["spec"]


def test_no_pod_has_both_a_gate_and_a_node_of_its_choice(jobs, driver):
    """On this the policy relies: such a pod would not meet the scheduler, which counts GPUs."""
    code, answer = driver.raw("POST", PODS, with_spec(asking("both"), nodeName="pool-1"))
    assert code == 422
    assert b"schedulingGates" in answer


def test_an_ephemeral_container_of_such_a_pod_gets_no_gpu_either(jobs, driver):
    assert allowed(driver, asking("whole-debugged"))
    one = {"name": "debug", "image": "none", "env": [], "targetContainerName": "model-host"}
    change = {"spec": {"ephemeralContainers": [one]}}
    path = f"{PODS}/whole-debugged/ephemeralcontainers"
    merge = "application/strategic-merge-patch+json"
    assert "ephemeral" in refused(driver.call, "PATCH", path, change, merge)


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


PLAIN = {
    "metadata": {"name": "plain"},
    "spec": {"containers": [{"name": "web", "image": "none"}]},
}
FORGED = PLAIN | {"metadata": {"name": "forged", "annotations": {"carpool.dev/gpu-uuid": UUID}}}
GREEDY = pod("greedy", env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}])


def test_each_namespace_in_the_list_is_guarded_and_each_with_the_account_of_drivers(cluster):
    make_namespaces(cluster, "list-served", "list-account", "list-beside")
    values = {
        "operator": {"namespaces": ["list-served"]},
        "jobs": {"namespaces": ["list-account"]},
    }
    with in_force(cluster, values, release="list", probe="list-served"):
        for namespace, free in (
            ("list-served", False),
            ("list-account", False),
            ("list-beside", True),
        ):
            for body in (PLAIN, FORGED, GREEDY):
                assert allowed(cluster.admin, body, namespace) is free


def test_a_namespace_is_guarded_from_when_its_labels_make_the_operator_serve_it(cluster):
    make_namespaces(cluster, "labels-served", "labels-carpool-agent", team="gpu")
    make_namespaces(cluster, "labels-account", "labels-beside", "labels-late")
    values = {
        "operator": {"namespaceSelector": {"team": "gpu"}},
        "jobs": {"namespaces": ["labels-account"]},
        "agent": {"enabled": True},
    }
    with in_force(cluster, values, release="labels", probe="labels-served"):
        await_verdict(cluster, "labels-account", allows=False)
        for namespace in ("labels-served", "labels-account"):
            for body in (PLAIN, FORGED, GREEDY):
                assert not allowed(cluster.admin, body, namespace, dryRun="All")
        assert allowed(cluster.admin, FORGED, "labels-beside", dryRun="All")
        # Agents see all GPUs of their node; jobs do not, even there.
        assert allowed(cluster.admin, PLAIN, "labels-carpool-agent", dryRun="All")
        assert not allowed(cluster.admin, FORGED, "labels-carpool-agent", dryRun="All")
        assert not allowed(cluster.admin, GREEDY, "labels-carpool-agent", dryRun="All")
        assert allowed(cluster.admin, PLAIN, "labels-late", dryRun="All")
        change = {"metadata": {"labels": {"team": "gpu"}}}
        cluster.admin.merge("/api/v1/namespaces/labels-late", change)
        await_verdict(cluster, "labels-late", allows=False)


@pytest.fixture(scope="module")
def everywhere(cluster):
    """The policy of an operator that serves all namespaces; this one is not listed anywhere."""
    make_namespaces(cluster, "all-account", "all-unlisted")
    values = {"jobs": {"namespaces": ["all-account"]}}
    with in_force(cluster, values, release="all", probe="all-unlisted"):
        yield "all-unlisted"


def test_where_all_namespaces_are_served_the_door_is_guarded_in_all(everywhere, cluster):
    for namespace in (everywhere, "all-account", "default"):
        for body in (
            FORGED,
            GREEDY,
            pod("void", env=[VOID], annotations={"carpool.dev/reservation": "[]"}),
        ):
            assert not allowed(cluster.admin, body, namespace, dryRun="All")
        labelled = {"name": "labelled", "labels": {"carpool.dev/job-uid": "0b2f"}}
        assert not allowed(cluster.admin, PLAIN | {"metadata": labelled}, namespace, dryRun="All")
        # Spark's driver, which runs code of users, makes no pod but executors.
        user = f"system:serviceaccount:{namespace}:carpool-driver"
        driver = cluster.user(user, "system:masters")
        assert not allowed(driver, PLAIN, namespace, dryRun="All")


def test_where_all_namespaces_are_served_only_the_operator_opens_a_gate(everywhere, cluster):
    assert allowed(cluster.admin, pod("shut", env=[VOID]), everywhere)
    path, patch = open_gate("shut", gpu_uuid=UUID, assignment_epoch="3")
    path = path.replace(PODS, f"/api/v1/namespaces/{everywhere}/pods")
    shut = [patch[0], patch[2]]
    assert "gate" in refused(cluster.admin.call, "PATCH", path, shut, JSON_PATCH)
    user = "system:serviceaccount:door-release:all-carpool-operator"
    operator = cluster.user(user, "system:masters")
    opened = operator.call("PATCH", path, patch, JSON_PATCH)
    assert "schedulingGates" not in opened["spec"]


def test_where_all_namespaces_are_served_pods_of_others_are_left_alone(everywhere, cluster):
    for namespace in (everywhere, "kube-system"):
        assert allowed(cluster.admin, PLAIN, namespace, dryRun="All")
    # Whoever has the account of drivers could make any pod: there, each is held to the rule.
    assert not allowed(cluster.admin, PLAIN, "all-account", dryRun="All")
