"""Where the commands of a control plane come from: KUBEBUILDER_ASSETS, or built once and cached."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BUILD = Path(__file__).resolve().parents[3] / "hack" / "kubernetes" / "build.py"
NEEDED = ("etcd", "kube-apiserver", "kubectl")
CONTROLLERS = "kube-controller-manager"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the commands."""

    etcd: Path
    apiserver: Path
    kubectl: Path
    controllers: Path | None
    """None where KUBEBUILDER_ASSETS has no kube-controller-manager; its archives hold none."""


def find_binaries() -> Binaries:
    """The commands of KUBEBUILDER_ASSETS where it is set, else of the cache, built if missing.

    Raises:
        FileNotFoundError: KUBEBUILDER_ASSETS lacks a command.
        subprocess.CalledProcessError: the build failed; it has said why on standard error.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets is None:
        command = [sys.executable, str(BUILD), *NEEDED, CONTROLLERS]
        built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        assets = built.stdout.strip()
    folder = Path(assets)
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"KUBEBUILDER_ASSETS={folder} has no {', '.join(missing)}; unset it to build them"
        )
    controllers = folder / CONTROLLERS
    return Binaries(
        *(folder / name for name in NEEDED), controllers if controllers.exists() else None
    )
