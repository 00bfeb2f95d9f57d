"""The pods' network on nodes that bring none: a bridge per node and a route to each other node.

Everything here can be done again at any time, and is: routes go with a restart of a node.
"""

from __future__ import annotations

import json
from typing import Any

from kubectl import kubectl
from progress import Failed, run
from settings import HERE, NODES

_FOLDER = HERE / "network"
_POD_NETWORK = "10.244.0.0/16"


def connect_pods() -> None:
    """Write each node's plugin configuration, masquerade what leaves, and route between nodes."""
    template = (_FOLDER / "pods.conflist").read_text()
    nodes = {item["metadata"]["name"]: item for item in _nodes()}
    ranges = {name: item["spec"]["podCIDR"] for name, item in nodes.items()}
    addresses = {name: _address(item) for name, item in nodes.items()}
    for name in NODES:
        routes = "\n".join(
            f"ip route replace {ranges[other]} via {addresses[other]}"
            for other in NODES
            if other != name
        )
        rule = f"POSTROUTING -s {ranges[name]} ! -d {_POD_NETWORK} -j MASQUERADE"
        script = f"""set -e
            sysctl -q -w net.ipv4.ip_forward=1
            cat >/etc/cni/net.d/.draft
            mv /etc/cni/net.d/.draft /etc/cni/net.d/10-pods.conflist
            iptables -t nat -C {rule} 2>/dev/null || iptables -t nat -A {rule}
            {routes}"""
        conflist = template.replace("POD_CIDR", ranges[name])
        run("docker", "exec", "--interactive", name, "sh", "-c", script, given=conflist)


def simplify_dns() -> None:
    """Give CoreDNS a configuration that does not ask the node's resolver."""
    corefile = (_FOLDER / "Corefile").read_text()
    kubectl(
        *("-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "--patch"),
        json.dumps({"data": {"Corefile": corefile}}),
    )


def _nodes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    return found


def _address(node: dict[str, Any]) -> str:
    addresses = node["status"]["addresses"]
    for address in addresses:
        if address["type"] == "InternalIP":
            return str(address["address"])
    raise Failed(f"a node has no address: {addresses}")
