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
    "networkPolicy": {"enabled": True},
}


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
    [cluster_wide] = of_kind(objects, "ClusterRole")
    verbs = {verb for rule in cluster_wide["rules"] for verb in rule["verbs"]}
    assert verbs == {"list", "watch"}
    writers = [
        role["metadata"]["namespace"]
        for role in of_kind(objects, "Role")
        if any("configmaps" in rule["resources"] for rule in role["rules"])
    ]
    assert writers == ["jobs-a", "jobs-b"]


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
    [monitor] = of_kind(rendered(values), "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    [deployment] = of_kind(rendered(values), "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_disruption_budget_is_made_for_several_replicas():
    assert not of_kind(rendered(), "PodDisruptionBudget")
    assert of_kind(rendered({"operator": {"replicas": 2}}), "PodDisruptionBudget")
