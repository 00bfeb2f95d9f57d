"""The image of a node: the published one where it can be pulled, else one that is built here.

The built one needs the Go module proxy and Debian's packages, nothing else. Its tag names a digest
of what goes in, so a change builds another and an image that is there is never built twice.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from debian_image import ensure_debian_image, has_image, pull
from go_tools import go_command, go_tool, kubernetes, module_folder
from progress import Failed, run, say, step
from settings import CACHE, COREDNS, HERE, KIND, KUBERNETES_VERSION, PROJECT, PUBLISHED_NODE_IMAGE

_FILES = HERE / "node"
_STAGE = "dev.carpool.stage"
"""Labels the stage of the build that holds the archives of all images: two gigabytes to let go."""
_COMMANDS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kube-proxy", "kubeadm", "kubectl", "kubelet"),
)


@dataclass(frozen=True, slots=True)
class NodeImage:
    """A node image that Docker has.

    Attributes:
        tag: its name.
        built: whether it was built here; such a node has no network plugin of kind's.
    """

    tag: str
    built: bool


def ensure_node_image() -> NodeImage:
    """Have a node image; `CARPOOL_NODE_IMAGE` names another, or "build" to pull none."""
    asked = os.environ.get("CARPOOL_NODE_IMAGE", "")
    built = NodeImage(_tag(), built=True)
    if asked != "build":
        published = asked or PUBLISHED_NODE_IMAGE
        if has_image(published):
            return NodeImage(published, built=False)
        if not asked and has_image(built.tag):
            return built
        with step(f"Pulling {published.partition('@')[0]}"):
            if pull(published):
                return NodeImage(published, built=False)
        if asked:
            raise Failed(f"CARPOOL_NODE_IMAGE={asked} cannot be pulled")
        say("It cannot be pulled: building a node image from Go modules and Debian packages")
    if not has_image(built.tag):
        _build(built.tag)
    return built


def _tag() -> str:
    digest = hashlib.sha256(f"{KIND} {COREDNS} {KUBERNETES_VERSION}".encode())
    for path in sorted(_FILES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{PROJECT}/node:{KUBERNETES_VERSION}-{digest.hexdigest()[:12]}"


def _build(tag: str) -> None:
    base = ensure_debian_image()
    commands = kubernetes(*_COMMANDS)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".node-") as folder:
        context = Path(folder)
        (context / "images").mkdir()
        with step("Making the images of the control plane"):
            for image in _control_plane(base, commands):
                name = image.split("/")[-1].partition(":")[0]
                run("docker", "save", "--output", context / "images" / f"{name}.tar", image)
        _link(_FILES.iterdir(), context)
        _link((commands / name for name in ("kubeadm", "kubelet", "kubectl")), context)
        kind_files = module_folder(KIND.replace("/cmd", "")) / "images" / "base" / "files"
        shutil.copytree(kind_files, context / "kind-files", copy_function=shutil.copyfile)
        with step(f"Building {tag}"):
            version = f"KUBERNETES_VERSION={KUBERNETES_VERSION}"
            _docker_build(context, "Dockerfile", tag, f"BASE={base}", version)
            run("docker", "image", "prune", "--force", "--filter", f"label={_STAGE}")


def _control_plane(base: str, commands: Path) -> Iterable[str]:
    """Make the images that kubeadm will run, under the names it will look for."""
    listed = run(
        *(commands / "kubeadm", "config", "images", "list"),
        *("--kubernetes-version", KUBERNETES_VERSION),
    )
    for image in listed.split():
        name = image.split("/")[-1].partition(":")[0]
        if name == "kube-proxy":
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=".kube-proxy-") as folder:
                _link([commands / name, _FILES / "kube-proxy.Dockerfile"], Path(folder))
                _docker_build(Path(folder), "kube-proxy.Dockerfile", image, f"BASE={base}")
        elif name == "pause":
            import_command(go_command(_FILES / "pause.go"), image)
        elif name == "coredns":
            import_command(go_tool(COREDNS), image)
        else:
            import_command(commands / name, image)
        yield image


def import_command(command: Path, tag: str) -> None:
    """Make an image that holds one static command and nothing else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tar.gettarinfo(command, arcname=f"usr/local/bin/{command.name}")
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755
        with command.open("rb") as content:
            tar.addfile(entry, content)
    # kubeadm's manifests name a command of their own, all but CoreDNS's and the pause container.
    entry_point = f'ENTRYPOINT ["/usr/local/bin/{command.name}"]'
    changes = ("--change", entry_point, "--change", "ENV PATH=/usr/local/bin")
    run("docker", "import", *changes, "-", tag, given=archive.getvalue())


def _docker_build(context: Path, file: str, tag: str, *arguments: str) -> None:
    run(
        *("docker", "build", "--quiet", "--network", "host", "--tag", tag),
        *("--file", context / file),
        *(word for argument in arguments for word in ("--build-arg", argument)),
        context,
    )


def _link(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        try:
            (folder / path.name).hardlink_to(path)
        except OSError:  # another file system
            shutil.copy2(path, folder)
