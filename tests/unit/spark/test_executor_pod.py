import json

import pytest

from carpool.errors import SpecError
from carpool.host.config import HostConfig
from carpool.spark.cluster_executors import DriverPod, spark_settings
from carpool.spark.executor_pod import SCRATCH, executor_pod
from carpool.spec import InferenceJob
from support.local_runs import oracle_job

HOST = HostConfig(handler="carpool.vision.oracle:ColourOracle", expected_clients=4)
POD = DriverPod("driver", "jobs", "10.1.2.3", "carpool/job", "10.96.0.1:443")


def job(**spec):
    return InferenceJob.model_validate(oracle_job("/data/*.mp4", "/data/out", **spec))


def pod(**spec):
    return executor_pod(job(**spec).spec, HOST, image="carpool/job")


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
