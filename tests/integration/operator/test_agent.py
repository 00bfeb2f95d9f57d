"""Node agents against a real API server: two nodes with four mock GPUs each."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from carpool.spec import GpuNode
from support.agent_process import (
    ACCOUNT,
    GPU_NODES,
    NAMESPACE,
    agent_node,
    as_bearer,
    gpu_node,
    install_agents,
)
from support.mock_nvml.library import build_library
from support.watching import await_gone

pytestmark = pytest.mark.apiserver

WELL = ["Healthy"] * 4
_NAMES = itertools.count(1)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def installed(cluster):
    install_agents(cluster)
    return cluster


@pytest.fixture
def node(installed, tmp_path, library):
    with agent_node(installed, tmp_path, library, f"with-agent-{next(_NAMES)}") as made:
        yield made


@pytest.fixture
def other(installed, tmp_path, library):
    with agent_node(installed, tmp_path, library, f"with-agent-{next(_NAMES)}") as made:
        yield made


def await_metric(process, name, least=1):
    """Wait for what only /metrics tells."""
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline, process.text
        with suppress(OSError):
            if process.metric(name) >= least:
                return
        time.sleep(0.1)


def await_hearing(process):
    await_metric(process, "carpool_agent_hears_xids")


def stripped(status):
    return {key: value for key, value in status.items() if key != "heartbeatTime"}


def test_each_node_reports_its_own_gpus(api, node, other):
    for each in (node, other):
        each.gpus.gpus[2].name = "NVIDIA H100 80GB HBM3"
        each.gpus.write()
        each.start()
    for each in (node, other):
        status = each.await_health(*WELL)
        raw = api.get(f"{GPU_NODES}/{each.name}")
        # What the API server took is what the models describe.
        parsed = GpuNode.model_validate(
            {key: raw[key] for key in ("apiVersion", "kind", "status")}
            | {"metadata": {"name": raw["metadata"]["name"]}},
            by_alias=True,
            by_name=False,
        )
        assert parsed.status is not None
        assert [gpu.uuid for gpu in parsed.status.gpus] == each.gpus.uuids
        assert status["gpuCount"] == status["healthyCount"] == 4
        assert status["driverVersion"] == "570.124.06"
        assert status["gpus"][1] == {
            "uuid": each.gpus.uuids[1],
            "product": "NVIDIA L4",
            "memory": "23034Mi",
            "pciAddress": "0000:3c:00.0",
            "minor": 1,
            "health": "Healthy",
        }
        assert status["gpus"][2]["product"] == "NVIDIA H100 80GB HBM3"
        [owner] = raw["metadata"]["ownerReferences"]
        assert owner["uid"] == api.get(f"/api/v1/nodes/{each.name}")["metadata"]["uid"]
        managers = {entry["manager"] for entry in raw["metadata"]["managedFields"]}
        assert managers == {"carpool-agent"}


def test_a_lost_gpu_is_reported_within_ten_seconds_and_comes_back(node):
    node.start()
    node.await_health(*WELL)
    node.gpus.gpus[1].lost = 1
    node.gpus.write()
    begun = time.monotonic()
    status = node.await_health("Healthy", "Lost", "Healthy", "Healthy")
    assert time.monotonic() - begun < 10
    assert status["healthyCount"] == 3
    assert status["gpus"][1]["healthMessage"] == "The driver has lost the GPU."
    node.gpus.gpus[1].lost = 0
    node.gpus.write()
    watched = node.await_health("Healthy", "Unhealthy", "Healthy", "Healthy")
    assert "answers again" in watched["gpus"][1]["healthMessage"]
    assert "healthMessage" not in node.await_health(*WELL)["gpus"][1]
    # Its errors are heard again, too.
    node.gpus.xid(1, 48)
    node.await_health("Healthy", "Unhealthy", "Healthy", "Healthy")


def test_a_gpu_that_hangs_is_reported_within_ten_seconds(node):
    process = node.start()
    node.await_health(*WELL)
    node.gpus.gpus[3].delay_ms = 60_000
    node.gpus.write()
    begun = time.monotonic()
    status = node.await_health("Healthy", "Healthy", "Healthy", "Lost")
    assert time.monotonic() - begun < 10
    assert status["gpus"][3]["healthMessage"] == "It has not answered for 4 s."
    # Nor does the call that hangs keep the agent from ending.
    process.signal(signal.SIGTERM)
    assert process.wait(15) == 0


def test_an_error_of_the_device_is_reported_at_once_and_one_of_an_application_only_noted(node):
    # Nothing is looked at for a minute: what comes, comes from the driver's events.
    process = node.start(poll_seconds="60", change_seconds="1", heartbeat_seconds="45")
    node.await_health(*WELL)
    await_hearing(process)
    node.gpus.xid(0, 79)
    begun = time.monotonic()
    status = node.await_health("Unhealthy", "Healthy", "Healthy", "Healthy")
    assert time.monotonic() - begun < 5
    assert status["gpus"][0]["lastXid"]["code"] == 79
    message = "The driver reported Xid 79: it has fallen off the bus."
    assert status["gpus"][0]["healthMessage"] == message
    node.gpus.xid(2, 31)
    noted = node.await_status(lambda found: "lastXid" in found["gpus"][2], "no Xid")
    assert noted["gpus"][2]["health"] == "Healthy"
    assert process.metric("carpool_gpu_xids_total") == 2


def test_what_somebody_else_has_put_into_its_gpu_node_is_gone_with_its_first_report(api, node):
    api.post(GPU_NODES, gpu_node(node.name))
    gpu = {"uuid": "GPU-0", "product": "?", "memory": "1Gi", "health": "Healthy"}
    status = {
        "bootID": "b",
        "message": "mine",
        "heartbeatTime": "2026-05-04T10:20:30Z",
        "gpuCount": 1,
        "healthyCount": 1,
        "gpus": [gpu],
    }
    api.apply(f"{node.path}/status", gpu_node(node.name) | {"status": status})
    node.start()
    assert "message" not in node.await_health(*WELL)


def test_what_the_operator_has_written_beside_its_report_stays(api, node):
    node.start(heartbeat_seconds="1.5", change_seconds="1")
    node.await_health(*WELL)
    assigned = {"executors": 3, "freeMemory": "11.2Gi"}
    api.merge(f"{node.path}/status", {"status": {"assigned": assigned}})
    node.gpus.gpus[1].lost = 1
    node.gpus.write()
    status = node.await_health("Healthy", "Lost", "Healthy", "Healthy")
    assert status["assigned"] == assigned


def test_where_nothing_changes_only_heartbeats_are_written(api, node):
    node.start(heartbeat_seconds="1.5", change_seconds="1", poll_seconds="0.5")
    node.await_health(*WELL)
    seen = []
    for _, raw in api.watch(GPU_NODES, 30, fieldSelector=f"metadata.name={node.name}"):
        seen.append(raw)
        if len(seen) == 4:
            break
    assert len({json.dumps(stripped(raw["status"]), sort_keys=True) for raw in seen}) == 1
    beats = [raw["status"]["heartbeatTime"] for raw in seen]
    assert beats == sorted(set(beats))
    assert {raw["metadata"]["generation"] for raw in seen} == {1}


def test_its_requests_are_few_and_none_of_them_a_list_or_a_watch(cluster, node):
    process = node.start(heartbeat_seconds="1", change_seconds="1")
    node.await_health(*WELL)
    await_metric(process, "carpool_agent_reports_total", 3)
    asked = [
        (event["verb"], event["requestURI"].partition("?")[0])
        for event in cluster.audit_events()
        if node.name in event.get("userAgent", "")
    ]
    path = f"{GPU_NODES}/{node.name}"
    assert asked[:5] == [
        ("get", path),
        ("patch", f"{path}/status"),
        ("get", f"/api/v1/nodes/{node.name}"),
        ("create", GPU_NODES),
        ("patch", f"{path}/status"),
    ]
    assert set(asked[5:]) <= {("patch", f"{path}/status")}


def test_a_new_agent_changes_nothing_that_is_still_so(node):
    process = node.start(recovery_seconds="600")
    node.await_health(*WELL)
    await_hearing(process)
    node.gpus.xid(0, 95)
    node.gpus.gpus[2].lost = 1
    node.gpus.write()
    before = node.await_health("Unhealthy", "Healthy", "Lost", "Healthy")
    process.kill()
    # The driver does not even list the lost GPU any more.
    del node.gpus.gpus[2]
    node.gpus.write()
    again = node.start(recovery_seconds="600", heartbeat_seconds="2", change_seconds="1")
    await_metric(again, "carpool_agent_reports_total", 3)
    after = node.await_status(lambda _: True, "no status")
    assert stripped(after) == stripped(before)


def test_after_another_boot_nothing_that_was_known_holds(node, tmp_path):
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("first\n")
    process = node.start(proc_folder=str(tmp_path / "proc"))
    node.await_health(*WELL)
    node.gpus.gpus[2].lost = 1
    node.gpus.write()
    node.await_health("Healthy", "Healthy", "Lost", "Healthy")
    process.kill()
    del node.gpus.gpus[2]
    node.gpus.write()
    boot.write_text("second\n")
    node.start(proc_folder=str(tmp_path / "proc"))
    status = node.await_health("Healthy", "Healthy", "Healthy")
    assert status["bootID"] == "second"


def test_processes_are_reported_with_their_pods_where_the_agent_may_see_them(node, tmp_path):
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text("boot\n")
    uid = "6a1c0f5e-2f0b-4f37-8b6c-0d3f0f3a9b52"
    for pid, cgroup in ((4711, f"0::/kubepods/burstable/pod{uid}/abc\n"), (12, "0::/init.scope\n")):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "cgroup").write_text(cgroup)
    node.gpus.gpus[0].pids = [4711, 12]
    node.gpus.write()
    node.start(proc_folder=str(proc), map_processes="true")
    status = node.await_health(*WELL)
    assert status["gpus"][0]["processes"] == [{"pid": 12}, {"pid": 4711, "podUID": uid}]


def test_no_driver_is_a_state_and_a_driver_that_comes_is_found(node):
    node.gpus.init = 9
    node.gpus.write()
    process = node.start()
    status = node.await_status(lambda _: True, "no status")
    assert status["gpuCount"] == 0
    assert "driverVersion" not in status
    assert status["message"] == "NVIDIA's kernel module is not loaded."
    assert process.metric("carpool_agent_driver_usable") == 0
    node.gpus.init = 0
    node.gpus.write()
    assert "message" not in node.await_health(*WELL)
    # The module is unloaded under executors: their GPUs are lost, not forgotten.
    node.gpus.init = 9
    node.gpus.write()
    gone = node.await_health(*["Lost"] * 4)
    assert gone["gpus"][0]["healthMessage"] == "NVIDIA's kernel module is not loaded."


def test_a_gpu_node_that_somebody_removes_is_made_anew_without_what_is_lost(api, node):
    node.start(heartbeat_seconds="1", change_seconds="1")
    node.await_health(*WELL)
    del node.gpus.gpus[0]
    node.gpus.write()
    first = node.await_health("Lost", "Healthy", "Healthy", "Healthy")
    assert first["gpus"][0]["healthMessage"] == "The driver no longer lists it."
    api.delete(f"{GPU_NODES}/{node.name}")
    node.await_health("Healthy", "Healthy", "Healthy")


def test_the_gpu_node_goes_with_its_node_and_the_agent_waits_for_another(api, node):
    process = node.start(heartbeat_seconds="1", change_seconds="1")
    node.await_health(*WELL)
    api.delete(f"/api/v1/nodes/{node.name}")
    await_gone(api, GPU_NODES, node.name)
    assert not process.ended


def test_an_agent_may_write_the_gpu_node_of_its_own_node_alone(api, cluster, node, other):
    for each in (node, other):
        each.start()
        each.await_health(*WELL)

    def asked(method, path, body=None):
        return as_bearer(cluster, node.token, method, path, body)

    change = {"status": {"driverVersion": "0"}}
    assert asked("PATCH", f"{node.path}/status", change)[0] == 200
    code, text = asked("PATCH", f"{other.path}/status", change)
    assert code == 403
    assert f"{other.name} is of another node than the agent" in text
    assert f"bound to {node.name}" in text
    code, text = asked("POST", GPU_NODES, gpu_node("gpu-elsewhere"))
    assert code == 403
    assert "gpu-elsewhere is of another node" in text
    # Not its business at all.
    for method, path in (
        ("DELETE", node.path),
        ("PATCH", node.path),
        ("GET", GPU_NODES),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods"),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
        ("GET", "/api/v1/nodes"),
    ):
        code, text = asked(method, path, change if method == "PATCH" else None)
        assert code == 403, (method, path)
        assert "cannot" in text


def test_a_token_without_a_node_writes_no_gpu_node(cluster, node):
    unbound = cluster.admin.post(
        f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token", {"spec": {}}
    )
    code, text = as_bearer(
        cluster, unbound["status"]["token"], "POST", GPU_NODES, gpu_node(node.name)
    )
    assert code == 403
    assert "bound to no node" in text


def test_kubectl_shows_a_line_for_each_node(cluster, node):
    node.start()
    node.await_health(*WELL)
    lines = cluster.kubectl("get", "gpunodes", node.name).stdout.splitlines()
    assert lines[0].split()[:5] == ["NAME", "PRODUCT", "GPUS", "HEALTHY", "EXECUTORS"]
    assert lines[1].split()[:5] == [node.name, "NVIDIA", "L4", "4", "4"]


def test_carpool_shows_a_row_for_each_gpu_and_who_is_on_it(api, cluster, namespace, node):
    node.start()
    node.await_health(*WELL)
    container = {"name": "spark-executor", "image": "none"}
    for name, assigned in (("x-1", {"carpool.dev/gpu-uuid": node.gpus.uuids[2]}), ("x-2", {})):
        labels = {"carpool.dev/role": "executor", "carpool.dev/job": "street"}
        metadata = {"name": name, "labels": labels, "annotations": assigned}
        body = {"metadata": metadata, "spec": {"containers": [container]}}
        api.post(f"/api/v1/namespaces/{namespace}/pods", body)
    path = f"{cluster.binaries.kubectl.parent}:{os.environ['PATH']}"
    code = "import sys; from carpool.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "gpus", f"--kubeconfig={cluster.kubeconfig}"]
    done = subprocess.run(
        [*command, f"--node={node.name}", "-o", "json"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["gpus"]
    assert [row["uuid"] for row in rows] == node.gpus.uuids
    assert [len(row["executors"]) for row in rows] == [0, 0, 1, 0]
    assert rows[2]["executors"] == [{"namespace": namespace, "job": "street", "pod": "x-1"}]
    assert not any(row["stale"] for row in rows)


def test_it_is_ready_when_a_report_was_taken_and_ends_in_order(node):
    process = node.start()
    node.await_health(*WELL)
    deadline = time.monotonic() + 10
    while process.probe("/readyz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.probe("/livez") == (200, "ok\n")
    assert process.metric("carpool_gpu_memory_bytes") == 4 * 23034 * 1024**2
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert "Traceback" not in process.text
