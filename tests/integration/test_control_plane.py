"""The control plane that all other tests here stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.control_plane.client import ApiClient, ApiError
from support.control_plane.plane import PATIENCE, ControlPlane

TESTS = Path(__file__).resolve().parents[1]
OWNER = """
import sys
from support.control_plane.binaries import find_binaries
from support.control_plane.plane import control_plane
with control_plane(find_binaries()) as plane:
    print(plane.folder, *(process.pid for process in plane.processes), flush=True)
    sys.stdin.read()
"""


def start_owner() -> tuple[subprocess.Popen[str], Path, list[psutil.Process]]:
    """A process with a control plane of its own; the plane's folder and processes."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    folder, *pids = owner.stdout.readline().split()
    return owner, Path(folder), [psutil.Process(int(pid)) for pid in pids]


def close(owner: subprocess.Popen[str]) -> None:
    assert owner.stdin is not None
    assert owner.stdout is not None
    owner.stdin.close()
    owner.stdout.close()
    owner.wait(PATIENCE)


def test_killed_owner_leaves_no_process_and_the_next_start_removes_its_folder():
    owner, folder, processes = start_owner()
    assert len(processes) >= 2
    owner.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, PATIENCE)
    assert alive == []
    close(owner)
    assert folder.exists()
    other, others_folder, others = start_owner()
    assert not folder.exists()
    close(other)
    _, alive = psutil.wait_procs(others, PATIENCE)
    assert alive == []
    assert not others_folder.exists()


def test_it_listens_on_the_loopback_address_alone(plane: ControlPlane):
    addresses = {
        connection.laddr.ip
        for process in plane.processes
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_user_may_do_what_rbac_grants(plane: ControlPlane):
    reader = plane.user("reader", "readers")
    with pytest.raises(ApiError, match="cannot list resource") as caught:
        reader.get("/api/v1/nodes")
    assert caught.value.reason == "Forbidden"
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
    plane.admin.post(f"{rbac}/clusterroles", {"metadata": {"name": "read"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "read"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "read"},
        "subjects": [{"kind": "Group", "name": "readers"}],
    }
    plane.admin.post(f"{rbac}/clusterrolebindings", binding)
    # The authorizer learns of the binding by a watch; the answer that it has is the signal.
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "reader",
            "groups": ["readers"],
            "resourceAttributes": {"verb": "list", "resource": "nodes"},
        },
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert any(plane.admin.post(path, review)["status"]["allowed"] for _ in range(1000))
    assert reader.get("/api/v1/nodes")["kind"] == "NodeList"
    reader.close()


def test_a_stranger_is_let_in_nowhere(plane: ControlPlane, tmp_path):
    from support.control_plane.certificates import Authority

    stranger = ApiClient(
        plane.port, plane.authority.certificate, Authority(tmp_path).client("x", ["system:masters"])
    )
    with pytest.raises(ApiError) as caught:
        stranger.get("/api/v1/nodes")
    assert caught.value.reason == "Unauthorized"
    stranger.close()


def test_audit_log_says_who_asked_for_what(plane: ControlPlane):
    name = "asked-for"
    plane.admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    events = [
        event for event in plane.audit_events() if event.get("objectRef", {}).get("name") == name
    ]
    assert ("create", "carpool-tests", "namespaces") in {
        (event["verb"], event["user"]["username"], event["objectRef"]["resource"])
        for event in events
    }


def test_garbage_is_collected(plane: ControlPlane, namespace: str):
    if not plane.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS has no kube-controller-manager")
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = plane.admin.post(maps, {"metadata": {"name": "owner"}})
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    owned = {"metadata": {"name": "owned", "ownerReferences": [reference]}}
    made = plane.admin.post(maps, owned)["metadata"]["resourceVersion"]
    plane.admin.delete(f"{maps}/owner")
    # From the moment it was made: it may be gone before the watch begins.
    events = plane.admin.watch(
        maps, PATIENCE, resourceVersion=made, fieldSelector="metadata.name=owned"
    )
    assert next(kind for kind, _ in events) == "DELETED"


def test_each_start_has_a_fresh_store(plane: ControlPlane):
    marker = plane.admin.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    owner, folder, _ = start_owner()
    shown = subprocess.run(
        [
            *(str(plane.binaries.kubectl), f"--kubeconfig={folder}/kubeconfig"),
            *("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    close(owner)
    assert shown.stdout
    assert shown.stdout != marker
