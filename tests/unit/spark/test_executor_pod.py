import json

import pytest

from carpool.errors import SpecError
from carpool.host.config import HostConfig
from carpool.spark.cluster_executors import ClusterExecutors, spark_settings
from carpool.spark.driver_pod import DriverPod
from carpool.spark.executor_pod import SCRATCH, Door, executor_pod
from carpool.spec import InferenceJob
from support.local_runs import oracle_job

HOST = HostConfig(handler="carpool.vision.oracle:ColourOracle", expected_clients=4)
POD = DriverPod("driver", "jobs", "10.1.2.3", "carpool/job", "10.96.0.1:443")


def job(**spec):
    return InferenceJob.model_validate(oracle_job("/data/*.mp4", "/data/out", **spec))


DOOR = Door(job="cam-12", job_uid="0b2f", attempt=2, runtime_class="nvidia")


def pod(door=None, **spec):
    return executor_pod(job(**spec).spec, HOST, image="carpool/job", door=door)


def visible_devices(found):
    """What each container is told of GPUs; the last of two values counts, so there is only one."""
    shown = {}
    for name, container in containers(found["spec"]).items():
        said = [each for each in container["env"] if each["name"] == "NVIDIA_VISIBLE_DEVICES"]
        assert len(said) <= 1
        for entry in said:
            shown[name] = entry.get("value") or entry["valueFrom"]["fieldRef"]["fieldPath"]
    return shown


def containers(found):
    return {each["name"]: each for key in ("initContainers", "containers") for each in found[key]}


def test_the_host_is_a_native_sidecar_that_the_executor_waits_for():
    [host] = pod()["spec"]["initContainers"]
    assert host["restartPolicy"] == "Always"
    assert host["startupProbe"]["exec"]["command"][:2] == ["test", "-S"]
    assert host["args"][0] == "host"


def test_the_configuration_that_the_sidecar_reads_is_the_one_given(tmp_path):
    found = pod()
    [file] = next(
        volume["downwardAPI"]["items"]
        for volume in found["spec"]["volumes"]
        if "downwardAPI" in volume
    )
    key = file["fieldRef"]["fieldPath"].split("'")[1]
    path = tmp_path / file["path"]
    path.write_text(found["metadata"]["annotations"][key])
    assert HostConfig.read(path) == HOST


def test_both_containers_share_the_folder_of_the_socket_and_each_has_its_own_tmp():
    by_name = containers(pod()["spec"])
    executor, host = by_name["spark-executor"], by_name["model-host"]
    mounts = [{m["mountPath"]: m["name"] for m in c["volumeMounts"]} for c in (executor, host)]
    assert mounts[0]["/run/carpool/host"] == mounts[1]["/run/carpool/host"]
    tmp = str(SCRATCH.parent)
    assert mounts[0][tmp] != mounts[1][tmp]


def test_the_pod_fits_pod_security_restricted_whatever_the_template_says():
    template = {
        "spec": {
            "securityContext": {"runAsUser": 0},
            "containers": [{"name": "spark-executor", "securityContext": {"privileged": True}}],
        }
    }
    found = pod(spark={"executorTemplate": template})["spec"]
    assert found["securityContext"]["runAsNonRoot"]
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(found).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_volumes_of_the_template_are_the_hosts_too_and_the_job_is_left_as_it_was():
    mount = {"name": "models", "mountPath": "/models"}
    template = {
        "metadata": {"labels": {"team": "street"}},
        "spec": {
            "volumes": [{"name": "models", "emptyDir": {}}],
            "containers": [{"name": "spark-executor", "volumeMounts": [mount]}],
            "tolerations": [{"operator": "Exists"}],
        },
    }
    spec = job(spark={"executorTemplate": template}).spec
    found = executor_pod(spec, HOST, image="carpool/job")
    for container in containers(found["spec"]).values():
        assert mount in container["volumeMounts"]
    assert found["metadata"]["labels"] == {"team": "street"}
    assert found["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert json.loads(json.dumps(spec.spark.executor_template)) == template


def test_credentials_come_from_the_secret_and_stand_nowhere():
    by_name = containers(pod(storage={"secretName": "keys"})["spec"])
    for container in by_name.values():
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_executors_find_the_driver_at_its_pods_address_and_must_know_the_secret(tmp_path):
    settings = spark_settings(job(), POD, image="carpool/job", template=tmp_path)
    assert settings["spark.driver.host"] == "10.1.2.3"
    assert settings["spark.driver.bindAddress"] == "10.1.2.3"
    assert settings["spark.authenticate"] == "true"
    assert settings["spark.kubernetes.driver.pod.name"] == "driver"


@pytest.mark.parametrize(
    ("memory", "heap", "rest"), [("1Gi", 512, 512), ("4Gi", 1024, 3072), ("16Gi", 2048, 14336)]
)
def test_heap_and_all_else_of_an_executor_are_what_the_job_grants(memory, heap, rest, tmp_path):
    granted = job(spark={"executor": {"memory": memory}})
    settings = spark_settings(granted, POD, image="carpool/job", template=tmp_path)
    assert settings["spark.executor.memory"] == f"{heap}m"
    assert settings["spark.executor.memoryOverhead"] == f"{rest}m"


def test_too_little_memory_is_refused_by_its_field(tmp_path):
    granted = job(spark={"executor": {"memory": "700Mi"}})
    with pytest.raises(SpecError, match=r"spec\.spark\.executor\.memory"):
        spark_settings(granted, POD, image="carpool/job", template=tmp_path)


def test_a_driver_outside_a_pod_is_told_what_is_missing():
    with pytest.raises(SpecError, match="CARPOOL_POD_IP"):
        DriverPod.from_environment({"CARPOOL_POD_NAME": "driver"})


def test_executors_of_an_operator_wait_at_its_gate_and_say_whose_they_are():
    found = pod(DOOR)
    assert found["spec"]["schedulingGates"] == [{"name": "carpool.dev/gpu"}]
    assert found["metadata"]["labels"] == {
        "carpool.dev/job": "cam-12",
        "carpool.dev/job-uid": "0b2f",
        "carpool.dev/attempt": "2",
        "carpool.dev/role": "executor",
    }


def test_without_an_operator_nobody_would_open_a_gate_so_there_is_none():
    found = pod()
    assert "schedulingGates" not in found["spec"]
    assert "labels" not in found["metadata"]


def test_the_host_alone_sees_the_gpu_that_the_operator_assigns():
    template = {
        "metadata": {"labels": {"carpool.dev/job-uid": "another"}},
        "spec": {
            "schedulingGates": [{"name": "carpool.dev/gpu"}, {"name": "queue"}],
            "initContainers": [
                {"name": "fetch", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}
            ],
            "containers": [
                {
                    "name": "spark-executor",
                    "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}],
                },
                {"name": "logs"},
            ],
        },
    }
    # The spec refuses such a template; the pod does not rely on that.
    spec = job(device="GPU").spec
    spark = spec.spark.model_copy(update={"executor_template": template})
    smuggled = spec.model_copy(update={"spark": spark})
    found = executor_pod(smuggled, HOST, image="carpool/job", door=DOOR)
    assert visible_devices(found) == {
        "fetch": "void",
        "model-host": "metadata.annotations['carpool.dev/gpu-uuid']",
        "spark-executor": "void",
        "logs": "void",
    }
    assert found["spec"]["runtimeClassName"] == "nvidia"
    assert found["metadata"]["labels"]["carpool.dev/job-uid"] == "0b2f"
    assert [gate["name"] for gate in found["spec"]["schedulingGates"]] == [
        "queue",
        "carpool.dev/gpu",
    ]


EXCLUSIVE = {"device": "GPU", "gpu": {"ownership": "Exclusive"}}
WHOLE = {"nvidia.com/gpu": "1"}


@pytest.mark.parametrize("door", [DOOR, None])
def test_a_host_with_a_gpu_of_the_kubelets_asks_for_it_and_says_nothing_of_its_own(door):
    template = {"spec": {"initContainers": [{"name": "fetch"}], "containers": [{"name": "logs"}]}}
    found = pod(door, spark={"executorTemplate": template}, **EXCLUSIVE)
    assert visible_devices(found) == {"fetch": "void", "spark-executor": "void", "logs": "void"}
    by_name = containers(found["spec"])
    assert by_name["model-host"]["resources"] == {"requests": WHOLE, "limits": WHOLE}
    for name in ("fetch", "spark-executor", "logs"):
        assert "nvidia.com/gpu" not in str(by_name[name])


def test_it_waits_at_the_gate_under_the_same_runtime_as_with_a_gpu_of_the_pool():
    ours, whole = (pod(DOOR, device="GPU")["spec"], pod(DOOR, **EXCLUSIVE)["spec"])
    assert whole["schedulingGates"] == [{"name": "carpool.dev/gpu"}]
    assert whole["runtimeClassName"] == ours["runtimeClassName"] == "nvidia"


def test_what_it_asks_for_besides_stays():
    host = {"cpu": "2", "memory": "4Gi"}
    resources = containers(pod(DOOR, host=host, **EXCLUSIVE)["spec"])["model-host"]["resources"]
    assert resources == {"requests": {**host, **WHOLE}, "limits": {"memory": "4Gi", **WHOLE}}


def test_a_secret_that_names_gpus_cannot_override_what_the_plugin_says():
    by_name = containers(pod(DOOR, storage={"secretName": "keys"}, **EXCLUSIVE)["spec"])
    host = by_name["model-host"]
    assert "envFrom" not in host
    keys = [each["valueFrom"]["secretKeyRef"]["key"] for each in host["env"] if "valueFrom" in each]
    assert keys == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    for each in host["env"][:3]:
        key = {"name": "keys", "key": each["name"], "optional": True}
        assert each["valueFrom"] == {"secretKeyRef": key}
    assert by_name["spark-executor"]["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_on_cpus_nobody_sees_a_gpu_and_the_runtime_is_the_usual_one():
    found = pod(DOOR)
    assert set(visible_devices(found).values()) == {"void"}
    assert "runtimeClassName" not in found["spec"]


def test_executors_on_gpus_run_where_the_job_wants_them():
    template = {"spec": {"nodeSelector": {"zone": "a"}}}
    gpu = {"nodeSelector": {"gpu": "l4"}}
    found = pod(DOOR, device="GPU", gpu=gpu, spark={"executorTemplate": template})
    assert found["spec"]["nodeSelector"] == {"zone": "a", "gpu": "l4"}


VARIABLES = {
    "CARPOOL_POD_NAME": "driver",
    "CARPOOL_POD_NAMESPACE": "jobs",
    "CARPOOL_POD_IP": "10.1.2.3",
    "CARPOOL_IMAGE": "carpool/job",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
}


def test_a_driver_learns_of_an_operator_from_its_variables():
    alone = DriverPod.from_environment(VARIABLES)
    assert (alone.attempt, alone.progress_port, alone.gpu_runtime_class) == (None, None, None)
    more = {"CARPOOL_ATTEMPT": "3", "CARPOOL_PROGRESS_PORT": "7080"}
    found = DriverPod.from_environment(VARIABLES | more)
    assert (found.attempt, found.progress_port) == (3, 7080)


@pytest.mark.parametrize("text", ["two", "-1", "1.5"])
def test_a_variable_that_is_no_number_is_named(text):
    with pytest.raises(SpecError, match=f'CARPOOL_ATTEMPT: "{text}" is no number'):
        DriverPod.from_environment(VARIABLES | {"CARPOOL_ATTEMPT": text})


def test_an_operator_that_does_not_say_which_job_it_drives_is_refused():
    pod = DriverPod.from_environment(VARIABLES | {"CARPOOL_ATTEMPT": "1"})
    with pytest.raises(SpecError, match="--job-uid"):
        ClusterExecutors(pod)


def test_executors_are_pulled_as_the_driver_was_with_the_installations_secrets_and_the_jobs(
    tmp_path,
):
    more = {"CARPOOL_IMAGE_PULL_POLICY": "Always", "CARPOOL_IMAGE_PULL_SECRETS": "ours,both"}
    pod = DriverPod.from_environment(VARIABLES | more)
    granted = job(spark={"imagePullSecrets": ["both", "theirs"]})
    settings = spark_settings(granted, pod, image="carpool/job", template=tmp_path)
    assert settings["spark.kubernetes.container.image.pullPolicy"] == "Always"
    assert settings["spark.kubernetes.container.image.pullSecrets"] == "ours,both,theirs"
    found = executor_pod(granted.spec, HOST, image="carpool/job", pull_policy="Always")
    assert containers(found["spec"])["model-host"]["imagePullPolicy"] == "Always"
