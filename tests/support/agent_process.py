"""Node agents as processes of their own, each with its node, its mock GPUs and a real token.

The token is what kubelet would ask for: of the chart's account, bound to a pod that is bound to the
node, so the API server knows the agent by its node.
"""

from __future__ import annotations

import itertools
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import yaml

from support.control_plane.client import ApiClient, Body
from support.control_plane.plane import ControlPlane
from support.helm import rendered
from support.mock_nvml.node import MockNode
from support.operator_process import OperatorProcess
from support.played_kubelet import add_node
from support.watching import NeverHappened, await_object

RELEASE = "agents"
NAMESPACE = ACCOUNT = f"{RELEASE}-carpool-agent"
GPU_NODES = "/apis/carpool.dev/v1alpha1/gpunodes"
_SERIAL = itertools.count()


def install_agents(plane: ControlPlane) -> None:
    """What the chart installs for agents, but for the pods; waits until the policy is in force."""
    objects = [
        found
        for found in rendered(release=RELEASE, namespace="agents-release")
        if found["metadata"]["labels"]["app.kubernetes.io/name"] == "carpool-agent"
        and found["kind"] != "DaemonSet"
    ]
    done = plane.kubectl("create", "--filename=-", stdin=yaml.safe_dump_all(objects))
    assert done.returncode == 0, done.stderr
    somebody = plane.user(f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}")
    deadline = time.monotonic() + 30
    while True:
        # The API server takes a policy in force a moment later, and tells nobody.
        code, answer = somebody.raw("POST", GPU_NODES, gpu_node("probe"), dryRun="All")
        if code == 403 and b"own-gpu-node" in answer:
            return
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def gpu_node(name: str) -> Body:
    return {
        "apiVersion": "carpool.dev/v1alpha1",
        "kind": "GPUNode",
        "metadata": {"name": name},
    }


def bound_token(api: ApiClient, node: str) -> str:
    """A token of the agents' account, for a pod on this node."""
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    pod = api.post(
        pods,
        {
            "metadata": {"name": f"agent-{next(_SERIAL)}"},
            "spec": {
                "nodeName": node,
                "serviceAccountName": ACCOUNT,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "agent",
                        "image": "none",
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        },
    )
    bound = {"apiVersion": "v1", "kind": "Pod"} | {
        key: pod["metadata"][key] for key in ("name", "uid")
    }
    answer = api.post(
        f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token",
        {"spec": {"boundObjectRef": bound, "expirationSeconds": 3600}},
    )
    token: str = answer["status"]["token"]
    return token


def as_bearer(
    plane: ControlPlane, token: str, method: str, path: str, body: Body | None = None
) -> tuple[int, str]:
    """Status and text of the answer to a request of the user whose token it is."""
    tls = ssl.create_default_context(cafile=str(plane.authority.certificate))
    connection = HTTPSConnection("127.0.0.1", plane.port, context=tls, timeout=30)
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def token_kubeconfig(plane: ControlPlane, path: Path, token: str) -> Path:
    """A kubeconfig of the user whose token it is."""
    config = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token}
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


class AgentNode:
    """A node with mock GPUs, and the agent on it."""

    def __init__(self, plane: ControlPlane, folder: Path, library: Path, name: str) -> None:
        """Make the node; the agent is started by `start`.

        Args:
            plane: where agents are installed.
            folder: for files.
            library: folder of the mock of NVIDIA's library.
            name: of the node.
        """
        self.name = name
        self.path = f"{GPU_NODES}/{name}"
        self.gpus = MockNode(folder, name=name)
        self.kubeconfig = folder / f"{name}.kubeconfig"
        self._plane, self._folder, self._library = plane, folder, library
        self._processes: list[OperatorProcess] = []
        add_node(plane.admin, name)
        self.token = bound_token(plane.admin, name)
        token_kubeconfig(plane, self.kubeconfig, self.token)

    def start(self, **settings: str) -> OperatorProcess:
        """Start the agent; settings by the names of their variables."""
        process = OperatorProcess(
            self._plane,
            self._folder,
            "carpool_operator.agent",
            {
                "KUBECONFIG": str(self.kubeconfig),
                "CARPOOL_NODE_NAME": self.name,
                "CARPOOL_RECOVERY_SECONDS": "2",
                "CARPOOL_REOPEN_SECONDS": "1",
                **self.gpus.environment(self._library),
                **{f"CARPOOL_{key.upper()}": text for key, text in settings.items()},
            },
        )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in self._processes:
            process.kill()

    @property
    def log(self) -> str:
        return "\n".join(process.text for process in self._processes)

    def await_status(self, holds: Callable[[Body], bool], what: str) -> Body:
        """The status of the GPUNode as soon as something holds of it."""
        try:
            found = await_object(
                self._plane.admin,
                GPU_NODES,
                self.name,
                lambda raw: "status" in raw and holds(raw["status"]),
                what,
            )
        except NeverHappened as never:
            raise NeverHappened(f"{never}; its agent says:\n{self.log}") from None
        status: Body = found["status"]
        return status

    def await_health(self, *expected: str) -> Body:
        """The status as soon as the GPUs have these states, in the order of their places."""
        return self.await_status(lambda status: health(status) == list(expected), f"not {expected}")


def health(status: Body) -> list[str]:
    """Of each GPU."""
    return [gpu["health"] for gpu in status.get("gpus", ())]


@contextmanager
def agent_node(plane: ControlPlane, folder: Path, library: Path, name: str) -> Iterator[AgentNode]:
    """A node, which goes with its agents at the end of the context."""
    node = AgentNode(plane, folder, library, name)
    try:
        yield node
    finally:
        node.stop()
        for path in (f"{GPU_NODES}/{name}", f"/api/v1/nodes/{name}"):
            code, answer = plane.admin.raw("DELETE", path)
            assert code in (200, 404), answer
