"""What a job may say of its pods, and what is Carpool's to say."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.errors import SpecError
from carpool.spec import validate_job
from support.job_documents import job_document

TEMPLATES = ("driverTemplate", "executorTemplate")


def check(template: dict[str, Any], field: str = "executorTemplate") -> None:
    validate_job(job_document(**{f"spec__spark__{field}": template}), "job")


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "beside", **fields}]}}


@pytest.mark.parametrize("field", TEMPLATES)
def test_what_is_the_users_is_accepted(field):
    check(
        {
            "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "affinity": {"podAntiAffinity": {}},
                "priorityClassName": "batch",
                "schedulerName": "another",
                "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "m"}}],
                "initContainers": [{"name": "fetch", "image": "curl"}],
                "containers": [
                    {
                        "name": "proxy",
                        "image": "proxy",
                        "env": [{"name": "LEVEL", "value": "info"}],
                        "resources": {"requests": {"cpu": "100m"}},
                        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    }
                ],
            },
        },
        field,
    )


@pytest.mark.parametrize("field", TEMPLATES)
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"spec": {"schedulingGates": []}}, "spec.schedulingGates is set by Carpool"),
        ({"spec": {"nodeName": "a"}}, "spec.nodeName is set by Carpool"),
        ({"spec": {"runtimeClassName": "nvidia"}}, "spec.runtimeClassName is set by Carpool"),
        ({"spec": {"restartPolicy": "Always"}}, "spec.restartPolicy is set by Carpool"),
        ({"spec": {"ephemeralContainers": []}}, "spec.ephemeralContainers is set by Carpool"),
        (
            {"metadata": {"labels": {"carpool.dev/job": "other"}}},
            'metadata.labels["carpool.dev/job"] is set by Carpool',
        ),
        (
            {"metadata": {"annotations": {"carpool.dev/gpu-uuid": "GPU-1"}}},
            'metadata.annotations["carpool.dev/gpu-uuid"] is set by Carpool',
        ),
        (container(name="model-host"), 'spec.containers[0].name: "model-host" is Carpool\'s own'),
        (
            container(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]),
            'spec.containers[0].env: "NVIDIA_VISIBLE_DEVICES" is set by Carpool',
        ),
        (
            container(env=[{"name": "CARPOOL_ATTEMPT", "value": "7"}]),
            'spec.containers[0].env: "CARPOOL_ATTEMPT" is set by Carpool',
        ),
        (
            container(resources={"limits": {"nvidia.com/gpu": 1}}),
            'spec.containers[0].resources.limits["nvidia.com/gpu"]: the operator assigns GPUs',
        ),
        (
            {"spec": {"volumes": [{"name": "carpool-host"}]}},
            'spec.volumes: "carpool-host" begins as Carpool\'s own do',
        ),
        (
            container(volumeMounts=[{"name": "carpool-host", "mountPath": "/x"}]),
            'spec.containers[0].volumeMounts: "carpool-host" is Carpool\'s own',
        ),
        ({"spec": {"initContainers": [{}]}}, "spec.initContainers[0].name: missing"),
        (
            {"spec": {"initContainers": [{"name": "a"}], "containers": [{"name": "a"}]}},
            'spec.containers[0].name: "a" is there twice',
        ),
        ({"spec": {"serviceAccountName": "admin"}}, "spec.serviceAccountName"),
        ({"spec": []}, "spec: expected an object"),
        ({"metadata": "x"}, "metadata: expected an object"),
        ({"spec": {"containers": {}}}, "spec.containers: expected a list of objects"),
        ({"spec": {"affinity": []}}, "spec.affinity"),
        ({"spec": {"nodeSelector": {"a": 1}}}, "spec.nodeSelector: expected an object"),
        (container(env={}), "spec.containers[0].env: expected a list of objects"),
        (container(resources=4), "spec.containers[0].resources: expected an object"),
    ],
)
def test_what_is_carpools_is_refused_by_the_name_of_its_field(field, template, words):
    with pytest.raises(SpecError) as refused:
        check(template, field)
    assert str(refused.value).startswith(f"job: spec.spark.{field}: ")
    assert words in str(refused.value)


def test_all_that_is_wrong_with_a_template_is_said_at_once():
    with pytest.raises(SpecError) as refused:
        check({"spec": {"nodeName": "a", "restartPolicy": "Never"}})
    assert "spec.nodeName" in str(refused.value)
    assert "spec.restartPolicy" in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("ab-", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "metadata",
                    "labels",
                    "spec",
                    "containers",
                    "initContainers",
                    "name",
                    "env",
                    "volumes",
                    "resources",
                    "requests",
                    "limits",
                    "affinity",
                    "nodeSelector",
                    "volumeMounts",
                    "tolerations",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), JSON))
def test_no_template_is_too_odd_to_be_judged(template):
    with suppress(SpecError):
        check(template)
