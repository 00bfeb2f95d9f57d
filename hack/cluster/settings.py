"""Names, versions and places of the test cluster. Nothing here does anything.

Everything a cluster keeps lies below one cache folder outside the checkout, and everything it makes
in Docker carries its name, so that taking it down can neither miss nor hit something else. There
may be several: `CARPOOL_CLUSTER` names the one that is meant.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "hack" / "kubernetes"))

from build import cache_folder, find_go, pinned  # noqa: E402 - a script beside this folder, no package

PROJECT = "carpool"
"""Prefix of the images that all clusters share."""

NAME = os.environ.get("CARPOOL_CLUSTER") or PROJECT
"""Of the kind cluster, of its Docker network, and the prefix of its containers and its images."""

if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", NAME) is None:
    sys.exit(
        f"cluster: CARPOOL_CLUSTER={NAME}: expected up to 32 lower-case letters, digits, dashes"
    )

_COUNT = os.environ.get("CARPOOL_WORKERS") or "2"
if _COUNT not in {"1", "2"}:
    sys.exit(f"cluster: CARPOOL_WORKERS={_COUNT}: expected 1 or 2")

NODES = (f"{NAME}-control-plane", f"{NAME}-worker", f"{NAME}-worker2")[: 1 + int(_COUNT)]
"""As kind names them; the roles are in kind.yaml. `CARPOOL_WORKERS=1` makes one less."""

WORKERS = NODES[1:]
"""Pods run on these; the control plane keeps its taint, so it needs no image of ours."""

CACHE = cache_folder()
STATE = CACHE / ("cluster" if NAME == PROJECT else f"cluster-{NAME}")
"""What belongs to the running cluster; `down` removes it."""

DAEMON = CACHE / "docker"
"""What belongs to a Docker daemon that we started, which all clusters share; goes with the last."""

KUBECONFIG = STATE / "kubeconfig"
SHARED = STATE / "shared"
"""Given to every node as /shared: `files` is the read-write-many volume, `s3` holds the buckets."""

STAMP = STATE / "created-from"
"""Written when the nodes are whole: a digest of all they were made from."""

VOLUMES = STATE / "volumes"
"""Names of the nodes' volumes: one whose node somebody has removed is found by nothing else."""

KUBERNETES_VERSION = pinned()[0]
PUBLISHED_NODE_IMAGE = (
    "kindest/node:v1.35.8@sha256:07b2536e30b803ed61d1677a79df6115f798ce64c80f9e22f6ed45afd09323c0"
)
"""The Kubernetes 1.35 that kind 0.33.0 was released with."""

KIND = "sigs.k8s.io/kind@v0.33.0"
COREDNS = "github.com/coredns/coredns@v1.13.1"
HELM = "helm.sh/helm/v4/cmd/helm@v4.3.1"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

DEBIAN = "bookworm"
DEBIAN_IMAGE = f"debian:{DEBIAN}-slim"

__all__ = ["find_go"]
