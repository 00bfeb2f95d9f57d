"""The three nodes: made by kind, recognised when they are whole, made anew when they are not.

A stamp, written last, names what the nodes were made from. With it, a cluster that was stopped (by
a restart of Docker or of the machine) is started again; without it, or with another, what is there
is a half of something and is removed first.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import kubectl
import yaml
from debian_image import has_image
from docker_daemon import runc_wrapper
from go_tools import go_tool
from machine import cgroup_v1, may_raise_limits
from node_image import NodeImage
from progress import Failed, attempt, run, say, step
from settings import HERE, KIND, KUBECONFIG, NAME, NODES, SHARED, STAMP, STATE, VOLUMES, WORKERS

S3_NODE_PORT = 30070
_PATCHES = HERE / "patches"
_CTR = ("ctr", "--namespace", "k8s.io")
_NETWORK = {"KIND_EXPERIMENTAL_DOCKER_NETWORK": NAME}
"""A network of our own: taking the cluster down cannot disturb other kind clusters."""


def ensure_nodes(image: NodeImage) -> None:
    """Have the nodes, with an API server that answers; they are Ready only with a pod network."""
    config = _config(image)
    wanted = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    if _stamp() == wanted and _resume():
        say("The nodes are there")
        return
    if _containers() or KUBECONFIG.exists():
        with step("Removing a cluster that is half built, broken or out of date"):
            remove_nodes()
    for folder in (SHARED / "files", SHARED / "s3"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)  # pods write with users of their own
    with (
        step(f"Creating the nodes from {image.tag.partition('@')[0]}"),
        tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=STATE) as file,
    ):
        yaml.safe_dump(config, file)
        file.flush()
        done = attempt(
            *(_kind(), "create", "cluster", "--name", NAME, "--retain"),
            *("--kubeconfig", KUBECONFIG, "--config", file.name),
            environment=_NETWORK,
        )
    _note_volumes()
    if done.returncode != 0:
        said = done.stderr[-6000:].decode(errors="replace")
        raise Failed(f"kind could not create the cluster; the nodes are kept to look at:\n{said}")
    STAMP.write_text(wanted)


def remove_nodes() -> None:
    """Remove the nodes, their volumes and network, and what is kept of them outside Docker."""
    STAMP.unlink(missing_ok=True)
    if _containers():
        run(_kind(), "delete", "cluster", "--name", NAME, "--kubeconfig", KUBECONFIG)
    if attempt("docker", "network", "inspect", NAME).returncode == 0:
        run("docker", "network", "rm", NAME)
    for volume in VOLUMES.read_text().split() if VOLUMES.exists() else ():
        attempt("docker", "volume", "rm", volume)  # most went with their nodes
    VOLUMES.unlink(missing_ok=True)
    KUBECONFIG.unlink(missing_ok=True)
    KUBECONFIG.with_name(f"{KUBECONFIG.name}.lock").unlink(missing_ok=True)


def empty_shared() -> None:
    """Remove what pods left in the shared directory, by a node's root: it is of users of theirs."""
    running = [name for name, state in _containers().items() if state == "running"]
    if running:
        attempt("docker", "exec", running[0], "find", "/shared", "-mindepth", "1", "-delete")


def load_image(tag: str, *, nodes: tuple[str, ...] = WORKERS) -> None:
    """Give nodes an image that Docker has; nodes that have it already are left alone.

    Raises:
        Failed: Docker has no such image, or a node cannot take it.
    """
    if not has_image(tag):
        raise Failed(f"Docker has no image {tag}; build it first")
    identity = run("docker", "image", "inspect", "--format", "{{.Id}}", tag)
    missing = [name for name in nodes if not _has(name, tag, identity)]
    if missing:
        with step(f"Loading {tag} into {', '.join(missing)}"), ThreadPoolExecutor() as pool:
            list(pool.map(partial(_import, tag), missing))


def _import(tag: str, node: str) -> None:
    """Give a node an image, in one stream: `kind load` lays it on the disk once more in between.

    By its tag alone: a name by digest besides would hold every image that the tag ever named.
    """
    with subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE) as saving:
        done = subprocess.run(
            ["docker", "exec", "--interactive", node, *_CTR, "images", "import", "-"],
            stdin=saving.stdout,
            capture_output=True,
            check=False,
        )
    if done.returncode != 0:  # as it does when `docker save` breaks off
        said = done.stderr[-2000:].decode(errors="replace")
        raise Failed(f"{node} did not take {tag} ({done.returncode}):\n{said}")
    _forget_untagged(node)


def _forget_untagged(node: str) -> None:
    """Free the disk of images that no tag names any more, but that have names by digest."""
    images = _images(node)
    tagged = {target for name, target in images.items() if "sha256:" not in name}
    if stale := [name for name, target in images.items() if target not in tagged]:
        attempt("docker", "exec", node, *_CTR, "images", "rm", "--sync", *stale)


def s3_address() -> str:
    """Where this machine reaches the cluster's S3 server: host:port."""
    return run("docker", "port", NODES[0], f"{S3_NODE_PORT}/tcp").splitlines()[0]


def _kind() -> Path:
    return go_tool(KIND)


def _stamp() -> str:
    return STAMP.read_text() if STAMP.exists() else ""


def _containers() -> dict[str, str]:
    """State of each of the cluster's containers."""
    listed = run(
        *("docker", "ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={NAME}"),
        *("--format", "{{.Names}} {{.State}}"),
    )
    return dict(line.split(" ", 1) for line in listed.splitlines())


def _note_volumes() -> None:
    form = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
    if containers := _containers():
        VOLUMES.write_bytes(attempt("docker", "inspect", "--format", form, *containers).stdout)


def _has(node: str, tag: str, identity: str) -> bool:
    """Whether a node has what Docker calls `identity` under this tag: it is a digest in both."""
    target = _images(node).get(f"docker.io/{tag}")
    if target is None:
        return False
    return (
        identity in attempt("docker", "exec", node, *_CTR, "content", "get", target).stdout.decode()
    )


def _images(node: str) -> dict[str, str]:
    """Digest of the manifest by name of each image that a node has."""
    lines = run("docker", "exec", node, *_CTR, "images", "ls").splitlines()[1:]
    return {name: target for name, _, target, *_ in map(str.split, lines)}


def _resume() -> bool:
    """Start what has stopped; whether the cluster is whole."""
    found = _containers()
    if set(found) != set(NODES):
        return False
    stopped = [name for name in NODES if found[name] != "running"]
    if stopped:
        with step(f"Starting {', '.join(stopped)}"):
            if attempt("docker", "start", *stopped).returncode != 0:
                return False
    deadline = time.monotonic() + 90
    while not kubectl.answers():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _config(image: NodeImage) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((HERE / "kind.yaml").read_text())
    kubelet = ["kubelet-cgroup-v1.yaml"] if cgroup_v1() else []
    mounts: list[dict[str, Any]] = [{"hostPath": str(SHARED), "containerPath": "/shared"}]
    if image.built:
        config["networking"]["disableDefaultCNI"] = True
        kubelet.append("kubelet-cgroupfs.yaml")
    if not may_raise_limits():
        kubelet.append("kubelet-without-sys-resource.yaml")
        config["containerdConfigPatches"] = [
            path.read_text() for path in sorted(_PATCHES.glob("containerd-*.toml"))
        ]
        runtime = {"hostPath": str(runc_wrapper().parent), "containerPath": "/carpool/runtime"}
        mounts.append({**runtime, "readOnly": True})
    config["kubeadmConfigPatches"] = [(_PATCHES / name).read_text() for name in kubelet]
    config["nodes"] = config["nodes"][: len(NODES)]
    for node in config["nodes"]:
        node |= {"image": image.tag, "extraMounts": mounts}
    config["nodes"][0]["extraPortMappings"] = [
        {"containerPort": S3_NODE_PORT, "hostPort": 0, "listenAddress": "127.0.0.1"}
    ]
    return config
