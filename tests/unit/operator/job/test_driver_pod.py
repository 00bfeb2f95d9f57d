"""The driver pod: what the template says stays, and what makes it Carpool's wins."""

from __future__ import annotations

import json
from typing import Any

from carpool.spec import InferenceJobSpec, parse_job, validate_job
from carpool_operator.domain.allocation.interface import Reservation
from carpool_operator.domain.cluster_state import Slot
from carpool_operator.domain.job.children import config_map_name, driver_name, names_of
from carpool_operator.domain.job.config_map import config_map
from carpool_operator.domain.job.driver_pod import driver_pod
from carpool_operator.domain.job.driver_reading import driver_of
from carpool_operator.domain.job.job_object import JobObject
from carpool_operator.domain.job.settings import JobSettings
from carpool_operator.domain.job.times import timestamp
from support.job_world import START, world

RESERVATION = Reservation("uid", (Slot("node-1", "GPU-1"), Slot("node-2", "GPU-7")))
SETTINGS = JobSettings(image="registry.example.org/job:1", service_account="carpool-driver")


def checked(**changes: Any) -> tuple[JobObject, InferenceJobSpec]:
    made = world(**changes)
    assert made.job is not None
    document = {
        "apiVersion": made.job["apiVersion"],
        "kind": made.job["kind"],
        "metadata": {"name": "cam-12"},
        "spec": made.job["spec"],
    }
    return JobObject.of(made.job), validate_job(document, "job").spec


def rendered(settings: JobSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    job, spec = checked(**changes)
    return driver_pod(job, spec, 2, RESERVATION, settings)


def with_template(inside: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return rendered(spec__spark={"driverTemplate": {"metadata": metadata, "spec": inside}})


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listed = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    return {each["name"]: each for each in listed}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    return {
        each["name"]: each.get("value") or each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in container["env"]
    }


def test_driver_is_told_what_it_needs():
    pod = rendered()
    driver = containers(pod)["driver"]
    uid = "0f5a1c3e-9d2b-4a77-8f3e-1c2d3e4f5a6b"
    assert driver["args"] == ["driver", "/etc/carpool/job.yaml", "--job-uid", uid]
    assert variables(driver) == {
        "CARPOOL_IMAGE": "registry.example.org/job:1",
        "CARPOOL_IMAGE_PULL_POLICY": "IfNotPresent",
        "CARPOOL_POD_NAME": "metadata.name",
        "CARPOOL_POD_NAMESPACE": "metadata.namespace",
        "CARPOOL_POD_IP": "status.podIP",
        "CARPOOL_ATTEMPT": "2",
        "CARPOOL_PROGRESS_PORT": "7080",
        "CARPOOL_TERMINATION_LOG": "/dev/termination-log",
        "NVIDIA_VISIBLE_DEVICES": "void",
    }
    assert driver["ports"] == [{"name": "progress", "containerPort": 7080, "protocol": "TCP"}]
    assert driver["terminationMessagePath"] == "/dev/termination-log"
    assert driver["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"memory": "2Gi"},
    }
    mounts = {each["name"]: each["mountPath"] for each in driver["volumeMounts"]}
    assert mounts == {"carpool-job": "/etc/carpool", "carpool-tmp": "/tmp"}  # noqa: S108 - in the pod
    assert pod["spec"]["volumes"][0]["configMap"] == {"name": "cam-12-0f5a1-2"}


def test_pod_is_the_jobs_and_says_so():
    metadata = rendered()["metadata"]
    assert metadata["name"] == "cam-12-0f5a1-2-driver"
    assert metadata["namespace"] == "traffic"
    assert metadata["labels"] == {
        "carpool.dev/job": "cam-12",
        "carpool.dev/job-uid": "0f5a1c3e-9d2b-4a77-8f3e-1c2d3e4f5a6b",
        "carpool.dev/attempt": "2",
        "carpool.dev/role": "driver",
    }
    [owner] = metadata["ownerReferences"]
    assert owner["kind"] == "InferenceJob"
    assert owner["controller"] is True
    assert owner["blockOwnerDeletion"] is False


def test_pod_carries_the_reservation_and_gives_it_back():
    pod = rendered()
    assert json.loads(pod["metadata"]["annotations"]["carpool.dev/reservation"]) == [
        {"node": "node-1", "gpu": "GPU-1"},
        {"node": "node-2", "gpu": "GPU-7"},
    ]
    pod["metadata"] |= {"uid": "u", "creationTimestamp": timestamp(START)}
    driver = driver_of(pod)
    assert (driver.attempt, driver.reserved) == (2, 2)


def test_pod_fits_pod_security_restricted():
    pod = with_template(
        {
            "securityContext": {"runAsUser": 0, "supplementalGroups": [4]},
            "containers": [
                {"name": "driver", "securityContext": {"privileged": True}},
                {"name": "proxy", "image": "proxy"},
            ],
        }
    )
    assert pod["spec"]["securityContext"] == {
        "supplementalGroups": [4],
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in containers(pod).values():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["privileged"] is False
    assert containers(pod)["driver"]["securityContext"]["readOnlyRootFilesystem"] is True


def test_no_container_sees_a_gpu_the_users_own_neither():
    pod = with_template(
        {
            "initContainers": [{"name": "fetch", "image": "curl"}],
            "containers": [{"name": "proxy", "image": "proxy", "env": []}],
        }
    )
    found = containers(pod)
    assert set(found) == {"driver", "proxy", "fetch"}
    for container in found.values():
        assert variables(container)["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_what_the_template_says_stays():
    pod = with_template(
        {
            "priorityClassName": "batch",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "batch", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "theirs"}],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "m"}}],
            "affinity": {"podAntiAffinity": {"a": []}},
            "terminationGracePeriodSeconds": 90,
            "containers": [
                {
                    "name": "driver",
                    "env": [{"name": "LEVEL", "value": "info"}],
                    "envFrom": [{"configMapRef": {"name": "settings"}}],
                    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    "resources": {"requests": {"ephemeral-storage": "1Gi", "cpu": "9"}},
                }
            ],
        },
        labels={"team": "a"},
        annotations={"note": "b"},
    )
    inside, driver = pod["spec"], containers(pod)["driver"]
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["annotations"]["note"] == "b"
    assert inside["priorityClassName"] == "batch"
    assert inside["nodeSelector"] == {"disk": "ssd"}
    assert inside["tolerations"] == [{"key": "batch", "operator": "Exists"}]
    assert inside["imagePullSecrets"] == [{"name": "theirs"}]
    assert inside["volumes"][0]["name"] == "models"
    assert inside["affinity"]["podAntiAffinity"] == {"a": []}
    assert inside["terminationGracePeriodSeconds"] == 90
    assert variables(driver)["LEVEL"] == "info"
    assert driver["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    assert driver["volumeMounts"][0] == {"name": "models", "mountPath": "/models"}
    assert driver["resources"]["requests"] == {
        "ephemeral-storage": "1Gi",
        "cpu": "1",
        "memory": "2Gi",
    }


def test_template_changes_nothing_of_what_is_carpools():
    pod = with_template(
        {
            "automountServiceAccountToken": False,
            "containers": [
                {"name": "driver", "image": "other", "command": ["sh"], "args": ["-c", "true"]}
            ],
        },
        name="other",
        namespace="kube-system",
        ownerReferences=[],
        finalizers=["theirs"],
    )
    driver = containers(pod)["driver"]
    assert pod["metadata"]["name"] == "cam-12-0f5a1-2-driver"
    assert pod["metadata"]["namespace"] == "traffic"
    assert len(pod["metadata"]["ownerReferences"]) == 1
    assert "finalizers" not in pod["metadata"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["serviceAccountName"] == "carpool-driver"
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert driver["image"] == "registry.example.org/job:1"
    assert "command" not in driver
    assert driver["args"][0] == "driver"


def test_job_may_name_image_account_and_secrets():
    pod = rendered(
        spec__spark={
            "image": "mine:2",
            "serviceAccountName": "mine",
            "imagePullSecrets": ["mine"],
            "driver": {"cores": 3, "memory": "5Gi"},
        },
        spec__storage={"secretName": "s3"},
    )
    driver = containers(pod)["driver"]
    assert driver["image"] == "mine:2"
    assert variables(driver)["CARPOOL_IMAGE"] == "mine:2"
    assert driver["resources"]["requests"] == {"cpu": "3", "memory": "5Gi"}
    assert driver["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert pod["spec"]["serviceAccountName"] == "mine"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "mine"}]


def test_driver_prefers_nodes_without_gpus():
    [term] = rendered()["spec"]["affinity"]["nodeAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    [expression] = term["preference"]["matchExpressions"]
    assert expression == {"key": "nvidia.com/gpu.present", "operator": "NotIn", "values": ["true"]}


def test_installation_may_place_drivers_and_name_a_runtime_class_for_executors():
    settings = JobSettings(
        image="i",
        image_pull_policy="Never",
        image_pull_secrets=("registry",),
        driver_node_selector={"pool": "cpu"},
        driver_tolerations=({"key": "cpu", "operator": "Exists"},),
        gpu_node_labels={},
        gpu_runtime_class="nvidia",
    )
    pod = rendered(settings)
    assert pod["spec"]["nodeSelector"] == {"pool": "cpu"}
    assert pod["spec"]["tolerations"] == [{"key": "cpu", "operator": "Exists"}]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert "affinity" not in pod["spec"]
    assert containers(pod)["driver"]["imagePullPolicy"] == "Never"
    assert variables(containers(pod)["driver"])["CARPOOL_GPU_RUNTIME_CLASS"] == "nvidia"


def test_config_map_holds_the_job_as_the_driver_reads_it():
    job, spec = checked(
        spec__input={"uris": ["s3://clips/2026-*.mp4", "yes", "\U0001f697", "1e3"]},
        spec__device="GPU",
    )
    manifest = config_map(job, 2)
    assert manifest["metadata"]["name"] == "cam-12-0f5a1-2"
    assert manifest["immutable"] is True
    read = parse_job(manifest["data"]["job.yaml"], "job.yaml")
    assert read.spec == spec
    assert (read.metadata.name, read.metadata.uid) == (job.name, job.uid)


def test_names_fit_whatever_the_job_is_called():
    made = world()
    assert made.job is not None
    for name in ("a", "a" * 40, "a" * 35 + "-----", "a" * 253):
        made.job["metadata"]["name"] = name
        job = JobObject.of(made.job)
        for attempt in (1, 2**31 - 1):
            for child in (config_map_name(job, attempt), driver_name(job, attempt)):
                assert len(child) <= 63
                assert f"-0f5a1-{attempt}" in child


def test_names_of_a_job_are_those_of_this_attempt_and_the_next():
    made = world()
    assert made.job is not None
    assert names_of(JobObject.of(made.job)) == ("cam-12-0f5a1-1", "cam-12-0f5a1-1-driver")
    made.job["status"] = {"attempt": 3}
    assert len(names_of(JobObject.of(made.job))) == 4
