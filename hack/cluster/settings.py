"""Names, versions and places of the test cluster. Nothing here does anything.

Everything the cluster keeps lies below one cache folder outside the checkout, and everything it
makes in Docker carries its name, so that taking it down can neither miss nor hit something else.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "hack" / "kubernetes"))

from build import cache_folder, find_go, pinned  # noqa: E402 - a script beside this folder, no package

NAME = "carpool"
"""Of the kind cluster, of its Docker network, and the prefix of its containers and images."""

NODES = (f"{NAME}-control-plane", f"{NAME}-worker", f"{NAME}-worker2")
"""As kind names them; the roles are in kind.yaml."""

WORKERS = NODES[1:]
"""Pods run on these; the control plane keeps its taint, so it needs no image of ours."""

CACHE = cache_folder()
STATE = CACHE / "cluster"
"""What belongs to the running cluster; `down` removes it."""

KUBECONFIG = STATE / "kubeconfig"
SHARED = STATE / "shared"
"""Given to every node as /shared: `files` is the read-write-many volume, `s3` holds the buckets."""

STAMP = STATE / "created-from"
"""Written when the nodes are whole: a digest of all they were made from."""

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
