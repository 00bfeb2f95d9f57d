"""A Kubernetes API for tests: etcd, kube-apiserver and kube-controller-manager, all real.

Each control plane has its own store, authority, users and audit log, listens on the loopback
address alone, and leaves nothing behind. There is no kubelet and no scheduler: objects are kept,
checked, defaulted, collected as garbage; nothing runs.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.control_plane.binaries import Binaries
from support.control_plane.certificates import Authority, Credentials
from support.control_plane.client import ApiClient
from support.control_plane.processes import LOOPBACK, Process, own_folder, reserved_port

PATIENCE = 60.0
"""Seconds after which what should happen will not; a warm start takes a tenth of it."""
_BETWEEN_ATTEMPTS = 0.05
_ADMIN = "carpool-tests"
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
"""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane."""

    folder: Path
    port: int
    authority: Authority
    binaries: Binaries
    processes: tuple[Process, ...]
    admin: ApiClient
    """A user who may do everything."""
    kubeconfig: Path
    """The same user, for kubectl and client libraries."""

    @property
    def has_controllers(self) -> bool:
        """Whether kube-controller-manager runs: garbage collection, namespaces, accounts."""
        return self.binaries.controllers is not None

    def user(self, name: str, *groups: str) -> ApiClient:
        """A client of another user, who may do what RBAC grants."""
        return ApiClient(self.port, self.authority.certificate, self.authority.client(name, groups))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess:
        """Run kubectl as the admin; the caller looks at its exit status."""
        return subprocess.run(
            [str(self.binaries.kubectl), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def audit_events(self) -> Iterator[dict[str, Any]]:
        """What was asked of the API server so far, oldest first (audit.k8s.io/v1 Event)."""
        with (self.folder / "audit.log").open(encoding="utf-8") as log:
            # A line that is being written has no end yet.
            yield from (json.loads(line) for line in log if line.endswith("\n"))


@contextmanager
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """Start a control plane, wait until it is ready, and end it with the context.

    Raises:
        ProcessEnded: a process of it did not start.
        TimeoutError: it did not become ready.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder())
        etcd_port, port = (stack.enter_context(reserved_port()) for _ in range(2))
        authority = Authority(folder)
        server = authority.server("kube-apiserver")

        def start(program: Path, arguments: dict[str, str]) -> Process:
            process = Process(program, arguments, folder)
            stack.callback(process.kill)
            return process

        etcd = start(binaries.etcd, _etcd(etcd_port, authority))
        apiserver = start(
            binaries.apiserver, _apiserver(folder, port, etcd_port, authority, server)
        )
        processes = [etcd, apiserver]
        admin_credentials = authority.client(_ADMIN, ["system:masters"])
        admin = ApiClient(port, authority.certificate, admin_credentials)
        stack.callback(admin.close)
        kubeconfig = write_kubeconfig(folder / "kubeconfig", port, authority, admin_credentials)
        _await(lambda: _ready(admin), processes, "kube-apiserver")
        if binaries.controllers is not None:
            processes.append(start(binaries.controllers, _controllers(kubeconfig, authority)))
            _await_controllers(admin)
        yield ControlPlane(folder, port, authority, binaries, tuple(processes), admin, kubeconfig)


def write_kubeconfig(path: Path, port: int, authority: Authority, credentials: Credentials) -> Path:
    """Write a kubeconfig of one user; JSON is YAML."""
    cluster = {
        "server": f"https://{LOOPBACK}:{port}",
        "certificate-authority": str(authority.certificate),
    }
    user = {
        "client-certificate": str(credentials.certificate),
        "client-key": str(credentials.key),
    }
    name = "carpool-tests"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return path


def _etcd(port: int, authority: Authority) -> dict[str, str]:
    server = authority.server("etcd")
    url = f"https://{LOOPBACK}:{port}"
    return {
        "data-dir": "etcd",
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": f"http://{LOOPBACK}:0",
        "socket-reuse-port": "true",
        "client-cert-auth": "true",
        "trusted-ca-file": str(authority.certificate),
        "cert-file": str(server.certificate),
        "key-file": str(server.key),
        # The store is thrown away; a disk that is slow today must not make tests slow.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }


def _apiserver(
    folder: Path, port: int, etcd_port: int, authority: Authority, server: Credentials
) -> dict[str, str]:
    policy = folder / "audit-policy.yaml"
    policy.write_text(_AUDIT_POLICY, encoding="utf-8")
    signing_key = str(authority.signing_key())
    return {
        "etcd-servers": f"https://{LOOPBACK}:{etcd_port}",
        "etcd-cafile": str(authority.certificate),
        "etcd-certfile": str(server.certificate),
        "etcd-keyfile": str(server.key),
        "bind-address": LOOPBACK,
        "advertise-address": LOOPBACK,
        "secure-port": str(port),
        "permit-port-sharing": "true",
        "tls-cert-file": str(server.certificate),
        "tls-private-key-file": str(server.key),
        "client-ca-file": str(authority.certificate),
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": signing_key,
        "service-account-signing-key-file": signing_key,
        "service-cluster-ip-range": "10.0.0.0/24",
        # No pod reaches this server, and a loopback address cannot be an endpoint.
        "endpoint-reconciler-type": "none",
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        "audit-policy-file": str(policy),
        "audit-log-path": str(folder / "audit.log"),
    }


def _controllers(kubeconfig: Path, authority: Authority) -> dict[str, str]:
    return {
        "kubeconfig": str(kubeconfig),
        "secure-port": "0",
        "leader-elect": "false",
        # Nodes are objects without a kubelet, whose silence means nothing.
        "controllers": "*,-node-lifecycle-controller",
        "root-ca-file": str(authority.certificate),
        "service-account-private-key-file": str(kubeconfig.parent / "service-accounts.key"),
    }


def _ready(client: ApiClient) -> bool:
    try:
        return client.raw("GET", "/readyz")[0] == 200
    except OSError:
        return False


def _await(done: Callable[[], bool], processes: list[Process], what: str) -> None:
    """Ask until it is done; a server that does not listen yet can give no signal."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready after {PATIENCE:.0f} s")
        time.sleep(_BETWEEN_ATTEMPTS)


def _await_controllers(admin: ApiClient) -> None:
    """Wait for the account that a controller gives every namespace: the controllers are at work."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    for _ in admin.watch(accounts, PATIENCE, fieldSelector="metadata.name=default"):
        return
    raise TimeoutError("kube-controller-manager made no service account")


def shown_command(plane: ControlPlane) -> str:
    """The command with which a shell talks to this control plane."""
    return f"export KUBECONFIG={shlex.quote(str(plane.kubeconfig))}"
