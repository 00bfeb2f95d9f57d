"""The chart: what it renders, and that a real API server takes it."""

import json

import pytest
import yaml

from support.helm import CHART, helm, of_kind, rendered

pytestmark = pytest.mark.apiserver

EVERYTHING = {
    "imagePullSecrets": ["registry"],
    "operator": {
        "replicas": 2,
        "namespaces": ["jobs-a", "jobs-b"],
        "maxRunningJobs": 10,
        "maxRunningJobsPerNamespace": 2,
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "podAnnotations": {"team": "street"},
        "serviceAccount": {"name": "someone", "annotations": {"cloud": "role"}},
        "settings": {"CARPOOL_API_BURST": 50},
    },
    "jobs": {
        "imagePullSecrets": ["registry"],
        "serviceAccount": {"name": "spark", "annotations": {"cloud": "role"}},
        "driver": {"nodeSelector": {"pool": "cpu"}, "tolerations": [{"key": "spot"}]},
    },
    "agent": {
        "namespace": "gpu-agents",
        "hostPID": True,
        "ignoredXids": [13, 94],
        "nodeSelector": {"pool": "gpu"},
        "priorityClassName": "system-node-critical",
        "podAnnotations": {"team": "street"},
        "serviceAccount": {"name": "watcher", "annotations": {"cloud": "role"}},
        "settings": {"CARPOOL_REOPEN_SECONDS": 60},
        "env": [{"name": "LD_LIBRARY_PATH", "value": "/driver"}],
        "volumes": [{"name": "driver", "hostPath": {"path": "/opt/driver"}}],
        "volumeMounts": [{"name": "driver", "mountPath": "/driver", "readOnly": True}],
    },
    "networkPolicy": {"enabled": True},
}
NAME_IN = {"key": "kubernetes.io/metadata.name", "operator": "In"}


def as_flags(values):
    return [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_helm_finds_nothing_to_complain_about(values):
    done = helm("lint", "--strict", str(CHART), *as_flags(values))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_api_server_takes_every_object(cluster, namespace, values):
    names = values.get("operator", {}).get("namespaces", [])
    for name in names:
        made = cluster.admin.raw("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert made[0] in (201, 409)
    objects = rendered(values, namespace=namespace)
    for made in of_kind(objects, "Namespace"):
        # What is only tried out is not there for what comes after it.
        assert cluster.admin.raw("POST", "/api/v1/namespaces", made)[0] in (201, 409)
        objects.remove(made)
    done = cluster.kubectl(
        "create",
        "--dry-run=server",
        "--validate=strict",
        "--filename=-",
        stdin=yaml.safe_dump_all(objects),
    )
    assert done.returncode == 0, done.stderr
    # A policy that the API server cannot make sense of is taken all the same, with a warning.
    assert "Warning" not in done.stderr


def test_values_that_make_no_sense_are_refused_by_name():
    for values, field in (
        ({"operator": {"replica": 2}}, "replica"),
        ({"operator": {"log": {"level": "LOUD"}}}, "level"),
        ({"operator": {"namespaces": ["Upper"]}}, "namespaces"),
        ({"operator": {"namespaces": ["a"], "namespaceSelector": {"b": "c"}}}, "namespaceSelector"),
        ({"jobs": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
        ({"operator": {"settings": {"PATH": "/"}}}, "PATH"),
        ({"operator": {"settings": {"CARPOOL_NAMESPACES": "a"}}}, "operator.namespaces"),
        (
            {"operator": {"settings": {"CARPOOL_NAMESPACE_SELECTOR": "a=b"}}},
            "operator.namespaceSelector",
        ),
        ({"agent": {"ignoredXids": ["13"]}}, "ignoredXids"),
        ({"agent": {"namespace": "a"}, "jobs": {"namespaces": ["a"]}}, "agent.namespace"),
        (
            {
                "agent": {"namespace": "a"},
                "operator": {"namespaces": ["a"]},
                "jobs": {"namespaces": ["b"]},
            },
            "agent.namespace",
        ),
    ):
        done = helm("template", str(CHART), *as_flags(values))
        assert done.returncode != 0, values
        assert field in done.stderr, done.stderr


def test_every_value_is_known_to_the_schema_and_has_a_default():
    def paths(node, schema):
        schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for name, inner in schema.get("properties", {}).items():
            assert name in node, f"{name} has no default"
            if isinstance(node[name], dict):
                paths(node[name], inner)

    schema = json.loads((CHART / "values.schema.json").read_text())
    definitions = schema["$defs"]
    del schema["properties"]["global"]  # Helm's own
    paths(yaml.safe_load((CHART / "values.yaml").read_text()), schema)


def test_where_namespaces_are_listed_the_operator_writes_in_them_alone():
    objects = rendered(EVERYTHING)
    [cluster_wide] = [
        role
        for role in of_kind(objects, "ClusterRole")
        if role["metadata"]["name"] == "carpool-operator"
    ]
    writes = [
        (rule["resources"], rule["verbs"])
        for rule in cluster_wide["rules"]
        if not {"list", "watch"}.issuperset(rule["verbs"])
    ]
    # GPUNodes are of no namespace.
    assert writes == [(["gpunodes/status"], ["patch"])]
    writers = [
        role["metadata"]["namespace"]
        for role in of_kind(objects, "Role")
        if any("configmaps" in rule["resources"] for rule in role["rules"])
    ]
    assert writers == ["jobs-a", "jobs-b"]


@pytest.mark.parametrize(
    ("served", "variables", "selectors"),
    [
        (
            {"namespaces": ["a", "b"]},
            {"CARPOOL_NAMESPACES": "a,b"},
            [{"matchExpressions": [NAME_IN | {"values": ["a", "b", "c"]}]}],
        ),
        (
            {"namespaceSelector": {"team": "x", "gpu": "y"}},
            {"CARPOOL_NAMESPACE_SELECTOR": "gpu=y,team=x"},
            [
                {"matchExpressions": [NAME_IN | {"values": ["c"]}]},
                {"matchLabels": {"team": "x", "gpu": "y"}},
            ],
        ),
        ({}, {}, [None]),
    ],
    ids=["a list", "labels", "all"],
)
def test_the_door_is_guarded_where_the_operator_serves(served, variables, selectors):
    objects = rendered({"operator": served, "jobs": {"namespaces": ["c"]}})
    [deployment] = of_kind(objects, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert {name: told[name] for name in told if name.startswith("CARPOOL_NAMESPACE")} == variables
    bindings = [
        found["spec"]
        for found in of_kind(objects, "ValidatingAdmissionPolicyBinding")
        if found["spec"]["policyName"] == "carpool-gpu-door"
    ]
    assert all(binding["validationActions"] == ["Deny"] for binding in bindings)
    bound = [binding.get("matchResources", {}).get("namespaceSelector") for binding in bindings]
    assert bound == selectors


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_nobody_may_read_secrets_or_everything(values):
    for role in (*of_kind(rendered(values), "ClusterRole"), *of_kind(rendered(values), "Role")):
        for rule in role["rules"]:
            assert "secrets" not in rule["resources"]
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]


def test_network_policies_let_in_who_has_business_there():
    assert not of_kind(rendered(), "NetworkPolicy")
    policies = {
        (found["metadata"]["namespace"], found["metadata"]["name"]): found["spec"]
        for found in of_kind(rendered(EVERYTHING), "NetworkPolicy")
    }
    assert set(policies) == {
        ("carpool", "carpool-operator"),
        ("gpu-agents", "carpool-agent"),
        ("jobs-a", "carpool-drivers"),
        ("jobs-a", "carpool-executors"),
        ("jobs-b", "carpool-drivers"),
        ("jobs-b", "carpool-executors"),
    }
    drivers = policies["jobs-a", "carpool-drivers"]
    ports = [[port["port"] for port in rule["ports"]] for rule in drivers["ingress"]]
    assert ports == [[7078, 7079], ["progress"]]


def test_a_pod_monitor_is_made_where_it_is_asked_for():
    assert not of_kind(rendered(), "PodMonitor")
    values = {"metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}
    objects = rendered(values)
    monitors = {found["metadata"]["name"]: found for found in of_kind(objects, "PodMonitor")}
    [deployment] = of_kind(objects, "Deployment")
    [agents] = of_kind(objects, "DaemonSet")
    for name, watched in (("carpool-operator", deployment), ("carpool-agent", agents)):
        assert monitors[name]["metadata"]["labels"]["release"] == "prometheus"
        labels = watched["spec"]["template"]["metadata"]["labels"]
        selector = monitors[name]["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
        assert monitors[name]["metadata"]["namespace"] == watched["metadata"]["namespace"]


def test_a_disruption_budget_is_made_for_several_replicas():
    assert not of_kind(rendered(), "PodDisruptionBudget")
    assert of_kind(rendered({"operator": {"replicas": 2}}), "PodDisruptionBudget")


def test_the_agent_runs_on_gpu_nodes_in_a_namespace_of_its_own_and_sees_no_more_than_it_must():
    objects = rendered({"gpu": {"nodeLabels": {"pool": "gpu"}, "runtimeClass": "cdi"}})
    gpu_nodes = {"nvidia.com/gpu.present": "true", "pool": "gpu"}
    [agents] = of_kind(objects, "DaemonSet")
    [namespace] = of_kind(objects, "Namespace")
    assert agents["metadata"]["namespace"] == namespace["metadata"]["name"] == "carpool-agent"
    level = "pod-security.kubernetes.io/enforce"
    assert namespace["metadata"]["labels"][level] == "restricted"
    spec = agents["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == gpu_nodes
    assert spec["runtimeClassName"] == "cdi"
    assert spec["hostPID"] is False
    assert "volumes" not in spec
    [container] = spec["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert variables["NVIDIA_DRIVER_CAPABILITIES"] == "utility"
    assert variables["CARPOOL_MAP_PROCESSES"] == "false"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    # As kubelet would let it in, or not.
    [mapping] = of_kind(rendered({"agent": {"hostPID": True}}), "Namespace")
    assert mapping["metadata"]["labels"][level] == "privileged"


def test_without_agents_nothing_of_them_is_installed():
    objects = rendered({"agent": {"enabled": False}})
    assert not [found for found in objects if "carpool-agent" in json.dumps(found)]


@pytest.mark.parametrize("host_pid", [False, True])
def test_a_pod_of_the_agent_is_let_into_its_namespace(cluster, namespace, host_pid):
    values = {"agent": {"namespace": namespace, "hostPID": host_pid}, "gpu": {"runtimeClass": ""}}
    objects = rendered(values, namespace="elsewhere")
    [agents] = of_kind(objects, "DaemonSet")
    [labelled] = of_kind(objects, "Namespace")
    api = cluster.admin
    api.merge(f"/api/v1/namespaces/{namespace}", {"metadata": labelled["metadata"]})
    [account] = [
        found
        for found in of_kind(objects, "ServiceAccount")
        if found["metadata"]["namespace"] == namespace
    ]
    api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    pod = {"metadata": {"name": "agent"}, "spec": agents["spec"]["template"]["spec"]}
    assert api.post(f"/api/v1/namespaces/{namespace}/pods", pod)["status"]["phase"] == "Pending"
