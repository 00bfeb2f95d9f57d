"""From a process to its pod: every way in which kubelet and runtimes name control groups."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool_operator.agent.pods import pod_uid, pods_of

UID = "6a1c0f5e-2f0b-4f37-8b6c-0d3f0f3a9b52"
LOW = UID.replace("-", "_")
ID = "f2c6b8d0" * 8

PATHS = {
    "cgroupfs, Guaranteed": f"/kubepods/pod{UID}/{ID}",
    "cgroupfs, Burstable": f"/kubepods/burstable/pod{UID}/{ID}",
    "cgroupfs, BestEffort": f"/kubepods/besteffort/pod{UID}/{ID}",
    "systemd, Guaranteed, containerd": (
        f"/kubepods.slice/kubepods-pod{LOW}.slice/cri-containerd-{ID}.scope"
    ),
    "systemd, Burstable, containerd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{LOW}.slice/"
        f"cri-containerd-{ID}.scope"
    ),
    "systemd, BestEffort, CRI-O": (
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{LOW}.slice/"
        f"crio-{ID}.scope/container"
    ),
    "systemd, Burstable, dockerd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{LOW}.slice/"
        f"docker-{ID}.scope"
    ),
    "a nested node of kind": (
        f"/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        f"kubelet-kubepods-burstable-pod{LOW}.slice/cri-containerd-{ID}.scope"
    ),
    "a nested node of kind, cgroupfs": f"/docker/{ID}/kubelet/kubepods/burstable/pod{UID}/{ID}",
    "seen from another namespace of control groups": (
        f"/../../kubepods-burstable-pod{LOW}.slice/cri-containerd-{ID}.scope"
    ),
    "containerd with systemd's names below cgroupfs": (
        f"/system.slice/containerd.service/kubepods-burstable-pod{LOW}.slice:cri-containerd:{ID}"
    ),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("version", [1, 2])
def test_the_pod_is_found_in_every_form(path, version):
    lines = [f"0::{path}"]
    if version == 1:
        lines = [f"12:devices:{path}", f"5:cpu,cpuacct:{path}", f"1:name=systemd:{path}", "0::/"]
    assert pod_uid("\n".join(lines) + "\n") == UID


def test_a_static_pod_has_a_uid_of_another_form():
    static = "0f3a9b526a1c0f5e2f0b4f378b6c0d3f"
    assert pod_uid(f"0::/kubepods/burstable/pod{static}/{ID}\n") == static


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/\n",
        "0::/user.slice/user-1000.slice/session-3.scope\n",
        f"0::/system.slice/docker-{ID}.scope\n",
        f"0::/machine.slice/libpod-{ID}.scope\n",
        f"0::/podcasts/pod{UID}/{ID}\n",
        "0::/kubepods/burstable\n",
        "0::/kubepods/podsomething-else/x\n",
    ],
)
def test_a_process_of_no_pod_is_none(text):
    assert pod_uid(text) is None


@settings(deadline=None)
@given(st.uuids(), st.sampled_from(sorted(PATHS)))
def test_every_uid_is_read_as_it_is(uid: uuid.UUID, name: str):
    path = PATHS[name].replace(UID, str(uid)).replace(LOW, str(uid).replace("-", "_"))
    assert pod_uid(f"0::{path}\n") == str(uid)


@settings(deadline=None)
@given(st.text())
def test_no_text_whatsoever_is_an_error(text):
    pod_uid(text)


def test_processes_that_have_ended_are_left_out(tmp_path):
    for pid, text in ((1, "0::/\n"), (7, f"0::/kubepods/pod{UID}/{ID}\n")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(text)
    assert pods_of([1, 7, 9], tmp_path) == {7: UID}
