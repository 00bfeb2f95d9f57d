"""What a job says of its pods makes a pod that is still Carpool's, or is refused by its field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.host.config import HostConfig
from carpool.spark.executor_pod import Door, executor_pod
from carpool_operator.domain.allocation.interface import Reservation
from carpool_operator.domain.allocation.node_match import mismatch
from carpool_operator.domain.cluster_state import Node, Resources, Slot, Taint
from carpool_operator.domain.job.acceptance import Accepted, acceptance
from carpool_operator.domain.job.driver_pod import driver_pod
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.settings import JobSettings
from support.job_world import world

HOST = HostConfig(handler="carpool.vision.oracle:ColourOracle", expected_clients=4)
DOOR = Door(job="cam-12", job_uid="0b2f", attempt=2, runtime_class="nvidia")
RESERVATION = Reservation("uid", (Slot("node-1", "GPU-1"),))
SETTINGS = JobSettings(image="registry.example.org/job:1")
NODE = Node(
    name="node-1",
    ready=True,
    unschedulable=False,
    labels={"a": "1"},
    taints=(Taint("a", "1", "NoSchedule"),),
    allocatable=Resources(cpu=8000, memory=1 << 34, pods=110),
)
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def accepted(template: dict[str, Any], *fields: str) -> Accepted | str:
    """A job with this template for its pods, or why the operator refuses it."""
    fields = fields or ("driverTemplate", "executorTemplate")
    made = world(spec__device="GPU", spec__spark=dict.fromkeys(fields, template))
    assert made.job is not None
    found = acceptance(JobObject.of(made.job))
    return found if isinstance(found, Accepted) else found.message


def pods(template: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Driver and executor made from a template."""
    found = accepted(template)
    assert isinstance(found, Accepted), found
    made = world()
    assert made.job is not None
    driver = driver_pod(JobObject.of(made.job), found.spec, 2, RESERVATION, SETTINGS)
    return driver, executor_pod(found.spec, HOST, image="carpool/job", door=DOOR)


@pytest.mark.parametrize(
    "template",
    [
        {"metadata": None},
        {"metadata": {"labels": None, "annotations": {"note": None}}},
        {"spec": None},
        {"spec": {"containers": None, "initContainers": None, "volumes": None}},
        {"spec": {"nodeSelector": None, "tolerations": None, "affinity": None}},
        {"spec": {"nodeSelector": {"disk": None}, "affinity": {"nodeAffinity": None}}},
        {"spec": {"securityContext": None, "imagePullSecrets": None}},
        {"spec": {"nodeName": None, "schedulingGates": None, "serviceAccountName": None}},
        {"spec": {"containers": [None], "volumes": [None], "tolerations": [None]}},
        {
            "spec": {
                "containers": [
                    {
                        "name": own,
                        "env": None,
                        "volumeMounts": [None],
                        "resources": None,
                        "securityContext": None,
                    }
                    for own in ("spark-executor", "driver")
                ]
            }
        },
        {"spec": {"terminationGracePeriodSeconds": None}},
    ],
)
def test_a_null_is_what_is_not_given(template):
    bare_driver, bare_executor = pods({})
    driver, executor = pods(template)
    # Each template may make the other's container one that runs beside.
    for found, bare in ((driver, bare_driver), (executor, bare_executor)):
        names = {each["name"] for each in bare["spec"]["containers"]}
        beside = [each for each in found["spec"]["containers"] if each["name"] not in names]
        found["spec"]["containers"] = [
            each for each in found["spec"]["containers"] if each not in beside
        ]
    assert without_empty(driver) == without_empty(bare_driver)
    assert without_empty(executor) == without_empty(bare_executor)


def test_a_null_beside_values_takes_nothing_of_them_away():
    given_env = [{"name": "LEVEL", "value": "info"}, None, {"name": "EMPTY", "value": None}]
    containers = [None, {"name": "logs", "image": "logs", "env": given_env, "args": None}]
    for found in pods({"spec": {"nodeSelector": {"a": "1", "b": None}, "containers": containers}}):
        assert found["spec"]["nodeSelector"] == {"a": "1"}
        [logs] = [each for each in found["spec"]["containers"] if each["name"] == "logs"]
        assert logs["env"][:2] == [{"name": "LEVEL", "value": "info"}, {"name": "EMPTY"}]
        assert "args" not in logs


def required(expression: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"spec": {"affinity": {"nodeAffinity": {REQUIRED: terms}}}}


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "beside", **fields}]}}


EXPRESSION = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0]"


@pytest.mark.parametrize("field", ["driverTemplate", "executorTemplate"])
@pytest.mark.parametrize(
    ("template", "path"),
    [
        (container(env=[{"value": "x"}]), "spec.containers[0].env[0].name"),
        (container(env=[{"name": 7}]), "spec.containers[0].env[0].name"),
        (container(securityContext=[]), "spec.containers[0].securityContext"),
        ({"spec": {"affinity": {"nodeAffinity": "a"}}}, "spec.affinity.nodeAffinity"),
        (
            {"spec": {"affinity": {"nodeAffinity": {PREFERRED: 1}}}},
            f"spec.affinity.nodeAffinity.{PREFERRED}",
        ),
        (
            {"spec": {"affinity": {"nodeAffinity": {REQUIRED: []}}}},
            f"spec.affinity.nodeAffinity.{REQUIRED}",
        ),
        (
            {"spec": {"affinity": {"nodeAffinity": {REQUIRED: {}}}}},
            f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms",
        ),
        (required(7), EXPRESSION.removesuffix("[0]")),
        (required({"operator": "Exists"}), f"{EXPRESSION}.key"),
        (required({"key": [], "operator": "Exists"}), f"{EXPRESSION}.key"),
        (required({"key": "a"}), f"{EXPRESSION}.operator"),
        (required({"key": "a", "operator": "In", "values": [1]}), f"{EXPRESSION}.values"),
        (required({"key": "a", "operator": "In", "values": "1"}), f"{EXPRESSION}.values"),
        (required({"key": "a", "operator": "Gt", "values": []}), f"{EXPRESSION}.values"),
    ],
)
def test_what_has_the_wrong_form_is_refused_by_its_field(field, template, path):
    found = accepted(template, field)
    assert isinstance(found, str)
    assert found.startswith(f"spec.spark.{field}: {path}:")


@pytest.mark.parametrize(
    ("field", "own"), [("driverTemplate", "driver"), ("executorTemplate", "spark-executor")]
)
def test_a_container_of_carpools_is_no_init_container(field, own):
    found = accepted({"spec": {"initContainers": [{"name": own}]}}, field)
    assert isinstance(found, str)
    assert "spec.initContainers[0].name" in found


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.floats(0, 9) | st.text("ab-", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "value", "key", "values", "operator", "env", "limits"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


def or_anything(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A field's usual form 39 times of 40: a template is right in all but a field or two."""
    return st.integers(0, 39).flatmap(lambda draw: usual if draw else ANYTHING)


def some_of(
    always: tuple[str, ...] = (), **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    drawn = {name: or_anything(usual) for name, usual in fields.items()}
    return st.fixed_dictionaries({name: drawn.pop(name) for name in always}, optional=drawn)


def list_of(each: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(or_anything(each), max_size=2)


TEXT = st.sampled_from(["a", "b", "c", "1", "driver", "spark-executor", "Always"])
TEXTS = st.dictionaries(TEXT, or_anything(TEXT), max_size=2)
AMOUNTS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "a"]),
    or_anything(st.sampled_from(["1", "500m", "2Gi", "1e3"])),
    max_size=2,
)
CONTAINER = some_of(
    ("name",),
    name=TEXT,
    restartPolicy=TEXT,
    env=list_of(some_of(("name",), name=TEXT, value=TEXT)),
    envFrom=list_of(some_of(prefix=TEXT)),
    ports=list_of(some_of(name=TEXT)),
    volumeMounts=list_of(some_of(name=TEXT, mountPath=TEXT)),
    resources=some_of(requests=AMOUNTS, limits=AMOUNTS),
    securityContext=some_of(privileged=st.just(True), runAsUser=st.just(0)) | ANYTHING,
)
REQUIREMENTS = list_of(
    some_of(
        ("key", "operator"),
        key=TEXT,
        operator=st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "New"]),
        values=list_of(TEXT),
    )
)
TERM = some_of(matchExpressions=REQUIREMENTS, matchFields=REQUIREMENTS)
NODE_AFFINITY = some_of(
    **{
        REQUIRED: some_of(("nodeSelectorTerms",), nodeSelectorTerms=list_of(TERM)),
        PREFERRED: list_of(some_of(weight=st.just(1), preference=TERM)),
    }
)
POD = some_of(
    nodeSelector=TEXTS,
    affinity=some_of(nodeAffinity=NODE_AFFINITY, podAffinity=ANYTHING),
    tolerations=list_of(some_of(key=TEXT, operator=TEXT, value=TEXT, effect=TEXT)),
    volumes=list_of(some_of(name=TEXT)),
    imagePullSecrets=list_of(some_of(name=TEXT)),
    securityContext=some_of(runAsUser=st.just(0)),
    terminationGracePeriodSeconds=st.just(3),
    hostUsers=st.just(True),
    containers=list_of(CONTAINER),
    initContainers=list_of(CONTAINER),
)
TEMPLATES = some_of(
    metadata=some_of(labels=TEXTS, annotations=TEXTS, name=TEXT, finalizers=ANYTHING),
    spec=POD,
    kind=TEXT,
)


@settings(max_examples=300, deadline=None)
@given(TEMPLATES)
def test_any_template_makes_a_pod_of_carpools_or_is_refused_by_its_field(template):
    for field in ("driverTemplate", "executorTemplate"):
        found = accepted(template, field)
        if isinstance(found, str):
            assert found.startswith(f"spec.spark.{field}")
            continue
        made = world()
        assert made.job is not None
        driver = driver_pod(JobObject.of(made.job), found.spec, 2, RESERVATION, SETTINGS)
        executor = executor_pod(found.spec, HOST, image="carpool/job", door=DOOR)
        assert_still_carpools(driver, {"driver"})
        assert_still_carpools(executor, {"spark-executor", "model-host"})
        assert {"name": "carpool.dev/gpu"} in executor["spec"]["schedulingGates"]
        assert executor["spec"]["initContainers"][-1]["name"] == "model-host"
        mismatch(NODE, found.demand.executor_scheduling)


def assert_still_carpools(pod: dict[str, Any], own: set[str]) -> None:
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    assert (
        pod["spec"]["securityContext"].items()
        >= {
            "runAsNonRoot": True,
            "runAsUser": 10001,
        }.items()
    )
    listed = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    names = [each["name"] for each in listed]
    assert own <= set(names)
    assert len(names) == len(set(names))
    for each in listed:
        context = each["securityContext"]
        assert context["privileged"] is context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context.get("readOnlyRootFilesystem", False) is (each["name"] in own)
        [shown] = [var for var in each["env"] if var["name"] == "NVIDIA_VISIBLE_DEVICES"]
        if each["name"] == "model-host":
            assert "carpool.dev/gpu-uuid" in shown["valueFrom"]["fieldRef"]["fieldPath"]
        else:
            assert shown == {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}


def without_empty(value: Any) -> Any:
    """What is empty says nothing."""
    if isinstance(value, dict):
        kept = {name: without_empty(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each not in ({}, [])}
    return [without_empty(each) for each in value] if isinstance(value, list) else value
