"""`carpool gpus`, with a kubectl that replays what a real one says."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from carpool.cli.main import main

UUID = "GPU-5f9c0a4e-6d2b-4a53-9f0e-0f6b8c2d7a11"
FORBIDDEN = (
    'Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods"'
)
NO_SUCH_KIND = 'error: the server doesn\'t have a resource type "gpunodes"'
NO_SERVER = (
    "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host?"
)


def node(name, *gpus, age=5.0, **status):
    seen = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "apiVersion": "carpool.dev/v1alpha1",
        "kind": "GPUNode",
        "metadata": {"name": name, "uid": "6a1c0f5e-2f0b-4f37-8b6c-0d3f0f3a9b52"},
        "status": {
            "bootID": "boot",
            "driverVersion": "570.124.06",
            "heartbeatTime": seen.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "gpuCount": len(gpus),
            "healthyCount": len(gpus),
            "gpus": list(gpus),
            **status,
        },
    }


def gpu(uuid=UUID, **changes):
    return {
        "uuid": uuid,
        "product": "NVIDIA L4",
        "memory": "23034Mi",
        "health": "Healthy",
    } | changes


def plugin_node(name, count=4, resource="nvidia.com/gpu"):
    amounts = {"cpu": "8", resource: str(count)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def asking(name, node=None, phase="Running"):
    """An executor with a whole GPU of the kubelet's."""
    limits = {"nvidia.com/gpu": "1"}
    host = {"name": "model-host", "resources": {"requests": limits, "limits": limits}}
    pod = executor(name, None, phase)
    return pod | {"spec": {"initContainers": [host], **({"nodeName": node} if node else {})}}


def executor(name, uuid, phase="Running"):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": f"0b2f-{name[-1]}",
            "labels": {"carpool.dev/job": "street", "carpool.dev/role": "executor"},
            "annotations": {"carpool.dev/gpu-uuid": uuid} if uuid else {},
        },
        "status": {"phase": phase},
    }


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """Let kubectl answer; gives the file in which it notes how it was called."""

    def answer(nodes=(), pods=(), machines=(), *, nodes_error="", pods_error="", kubelets_error=""):
        replies = {
            "gpunodes.carpool.dev": (list(nodes), nodes_error),
            "pods": (list(pods), pods_error),
            "nodes": (list(machines), kubelets_error),
        }
        replay = tmp_path / "replies.json"
        replay.write_text(json.dumps(replies))
        calls = tmp_path / "calls"
        script = tmp_path / "kubectl"
        script.write_text(
            f"""#!{sys.executable}
import json, sys
with open({str(calls)!r}, "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
kind = sys.argv[sys.argv.index("get") + 1]
items, error = json.load(open({str(replay)!r}))[kind]
if error:
    sys.exit(error)
json.dump({{"apiVersion": "v1", "kind": "List", "items": items}}, sys.stdout)
"""
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return calls

    return answer


def test_there_is_a_row_for_each_gpu_with_the_executors_on_it(kubectl, capsys):
    kubectl(
        [node("gpu-b", gpu("GPU-3")), node("gpu-a", gpu(), gpu("GPU-2"))],
        [executor("x-1", UUID), executor("x-2", UUID), executor("x-3", "GPU-3")],
    )
    assert main(["gpus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NODE", "GPU", "PRODUCT", "MEMORY", "HEALTH", "EXECUTORS", "JOBS"]
    assert lines[1].split("   ")[0] == "gpu-a"
    assert [line.split() for line in lines[1:]] == [
        ["gpu-a", UUID, "NVIDIA", "L4", "22.5Gi", "Healthy", "2", "team/street", "(2)"],
        ["gpu-a", "GPU-2", "NVIDIA", "L4", "22.5Gi", "Healthy", "0", "-"],
        ["gpu-b", "GPU-3", "NVIDIA", "L4", "22.5Gi", "Healthy", "1", "team/street"],
    ]


def test_executors_that_have_ended_or_wait_hold_no_gpu(kubectl, capsys):
    kubectl(
        [node("gpu-a", gpu())],
        [executor("x-1", UUID, "Failed"), executor("x-2", UUID, "Succeeded"), executor("x", None)],
    )
    assert main(["gpus", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpus"][0]["executors"] == []


def test_what_is_wrong_is_said_below(kubectl, capsys):
    kubectl(
        [
            node(
                "gpu-a", gpu(health="Lost", healthMessage="The driver has lost the GPU."), age=500
            ),
            node("gpu-b", message="NVIDIA's kernel module is not loaded."),
            {"metadata": {"name": "gpu-c"}},
        ]
    )
    assert main(["gpus"]) == 0
    shown = capsys.readouterr().out
    assert "Lost (stale)" in shown
    assert f"gpu-a {UUID}: The driver has lost the GPU." in shown
    assert "gpu-b: NVIDIA's kernel module is not loaded." in shown
    assert "gpu-c: its agent has reported nothing yet" in shown
    assert "whose report is stale: gpu-a" in shown


def test_json_has_numbers_and_names_for_programs(kubectl, capsys):
    part = {"profile": "1g.10gb", "parentUUID": "GPU-1"}
    kubectl([node("gpu-a", gpu("MIG-1", mig=part, memory="9856Mi"))], [executor("x", "MIG-1")])
    assert main(["gpus", "--output=json"]) == 0
    document = json.loads(capsys.readouterr().out)
    [row] = document["gpus"]
    assert row["memory"] == 9856 * 1024**2
    assert row["mig"] == "1g.10gb"
    assert row["executors"] == [{"namespace": "team", "job": "street", "pod": "x"}]
    assert document["nodes"][0]["driver"] == "570.124.06"


def test_without_gpus_it_says_what_may_be_missing(kubectl, capsys):
    kubectl()
    assert main(["gpus"]) == 0
    assert "do the agents of Carpool run" in capsys.readouterr().out


def test_whoever_may_not_see_pods_still_sees_gpus(kubectl, capsys):
    kubectl([node("gpu-a", gpu())], pods_error=FORBIDDEN)
    assert main(["gpus"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[-2:] == ["?", "-"]
    assert "executors are not shown" in captured.err


def test_of_a_kubelets_gpus_it_says_how_many_executors_have_and_claims_no_more(kubectl, capsys):
    kubectl(
        [node("gpu-a", gpu()), node("gpu-b", gpu("GPU-2"), gpu("GPU-3"))],
        [
            executor("x-1", UUID),
            asking("x-2", "gpu-b"),
            asking("x-3", "gpu-c"),
            asking("x-4", "gpu-c"),
            asking("x-5", "gpu-c", "Failed"),
            asking("x-6"),
        ],
        [
            plugin_node("gpu-c", 7, "nvidia.com/mig-1g.10gb"),
            plugin_node("gpu-b", 2),
            plugin_node("gpu-a", 0),
        ],
    )
    assert main(["gpus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines[1:4]] == [
        ["1", "team/street"],
        ["the", "kubelet's"],
        ["the", "kubelet's"],
    ]
    assert lines[2].split()[-3] == "?"
    assert lines[4:] == [
        "gpu-b: its kubelet hands out 2 GPUs, none by UUID; 1 to executors: team/street (1)",
        "gpu-c: its kubelet hands out 7 GPUs, none by UUID; 2 to executors: team/street (2)",
    ]


def test_which_gpu_of_the_kubelets_an_executor_has_is_known_by_its_processes(kubectl, capsys):
    processes = [{"pid": 7, "podUID": "0b2f-2"}, {"pid": 8}]
    kubectl(
        [node("gpu-b", gpu("GPU-2", processes=processes), gpu("GPU-3"), gpu("GPU-4"))],
        [asking("x-2", "gpu-b"), asking("x-3", "gpu-b"), executor("x-1", "GPU-4")],
        [plugin_node("gpu-b", 3)],
    )
    assert main(["gpus", "--output=json"]) == 0
    document = json.loads(capsys.readouterr().out)
    on = {
        row["uuid"]: row["executors"] and [each["pod"] for each in row["executors"]]
        for row in document["gpus"]
    }
    # The last was there before the plugin came.
    assert on == {"GPU-2": ["x-2"], "GPU-3": None, "GPU-4": ["x-1"]}
    assert {row["owner"] for row in document["gpus"]} == {"Kubelet"}
    [kubelet] = document["kubelets"]
    assert (kubelet["node"], kubelet["gpus"]) == ("gpu-b", 3)
    assert [each["pod"] for each in kubelet["executors"]] == ["x-2", "x-3"]


def test_whoever_may_not_see_nodes_is_told_what_is_not_shown(kubectl, capsys):
    kubectl([node("gpu-a", gpu())], [executor("x-1", UUID)], kubelets_error=FORBIDDEN)
    assert main(["gpus"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[-2:] == ["1", "team/street"]
    assert "which kubelets hand out GPUs is not shown" in captured.err


@pytest.mark.parametrize(
    ("error", "reason"), [(NO_SUCH_KIND, "ClusterRefused"), (NO_SERVER, "ClusterUnavailable")]
)
def test_what_kubectl_says_is_said_and_it_fails(kubectl, capsys, error, reason):
    kubectl(nodes_error=error)
    assert main(["gpus"]) == 1
    told = capsys.readouterr().err
    assert reason in told
    assert error in told


def test_without_kubectl_it_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["gpus"]) == 1
    assert "there is no kubectl on PATH" in capsys.readouterr().err


def test_access_to_the_cluster_is_kubectls(kubectl, capsys):
    calls = kubectl([node("gpu-a"), node("gpu-b", gpu())])
    assert main(["gpus", "--context=prod", "--kubeconfig=/k", "-n", "team", "--node=gpu-b"]) == 0
    first, second, third = [json.loads(line) for line in calls.read_text().splitlines()]
    assert first[:2] == second[:2] == third[:2] == ["--context=prod", "--kubeconfig=/k"]
    assert "--namespace=team" in second
    assert "gpu-a" not in capsys.readouterr().out
