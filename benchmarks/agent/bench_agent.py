"""What a node agent costs its node, and what the heartbeats of a thousand cost the API server.

The agent is a process of its own with its production settings; the GPUs are the tests' mock of
NVIDIA's library, so the time that a real driver takes is not in it. It writes to a real
kube-apiserver and etcd. All of it shares this machine, so CPU time is measured, not time.

Phases:
* idle: nothing changes, so the agent looks and writes heartbeats;
* heartbeats: the report of an agent, written as often as a thousand nodes do in some time, by the
  agent's own client; CPU seconds of kube-apiserver and etcd.

Writes results/agent.json.

Run from the repository's root: PYTHONPATH=tests python -m benchmarks.agent.bench_agent
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from benchmarks.host.record import Record
from carpool_operator.agent.publisher import FIELD_MANAGER
from carpool_operator.agent.report import Cadence
from carpool_operator.cluster.client import Client
from carpool_operator.cluster.connection import Connection
from carpool_operator.cluster.rate_limit import RateLimit
from carpool_operator.cluster.resources import GPU_NODES
from carpool_operator.domain.timestamps import rfc3339
from support.agent_process import AgentNode, agent_node, install_agents
from support.control_plane.binaries import find_binaries
from support.control_plane.plane import ControlPlane, control_plane
from support.mock_nvml.library import build_library
from support.mock_nvml.node import MockNode

ROOT = Path(__file__).resolve().parents[2]
NODE = "gpu-1"
QUESTION = (
    "thousandths of a core and MiB of resident memory of an agent where nothing changes; CPU "
    "milliseconds of kube-apiserver and etcd per heartbeat"
)


def main() -> None:
    """Measure and write the record."""
    options = _options()
    record = Record("agent", QUESTION, vars(options), Path(__file__).parent / "results")
    with control_plane(find_binaries()) as plane, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        applied = plane.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
        assert applied.returncode == 0, applied.stderr
        plane.kubectl("wait", "--for=condition=Established", f"--filename={ROOT / 'crds'}")
        install_agents(plane)
        with agent_node(plane, folder, build_library(folder), NODE) as node:
            results = _idle(node, folder, options)
        results |= asyncio.run(_heartbeats(plane, options))
    record.write(**results)
    for key, value in results.items():
        print(f"{key}: {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the phase idle")
    parser.add_argument("--heartbeats", type=int, default=1000)
    return parser.parse_args()


def _idle(node: AgentNode, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    node.gpus = MockNode(folder, options.gpus, "measured")
    process = node.start(recovery_seconds="600", reopen_seconds="30")
    node.await_health(*["Healthy"] * options.gpus)
    watched = psutil.Process(process.pid)
    time.sleep(10)
    before = _told(watched)
    looks = process.metric("carpool_agent_look_seconds_count")
    look_time = process.metric("carpool_agent_look_seconds_sum")
    writes = process.metric("carpool_agent_reports_total")
    time.sleep(options.seconds)
    cpu = _told(watched) - before
    looks = process.metric("carpool_agent_look_seconds_count") - looks
    look_time = process.metric("carpool_agent_look_seconds_sum") - look_time
    memory = watched.memory_full_info()
    return {
        "looks": int(looks),
        "heartbeats_written": int(process.metric("carpool_agent_reports_total") - writes),
        "cpu_ms_per_look": round(1000 * cpu / looks, 2),
        "millicores": round(1000 * cpu / options.seconds, 2),
        "milliseconds_per_look": round(1000 * look_time / looks, 1),
        "resident_mib": round(memory.rss / 2**20, 1),
        "unique_mib": round(memory.uss / 2**20, 1),
    }


async def _heartbeats(plane: ControlPlane, options: argparse.Namespace) -> dict[str, Any]:
    path = GPU_NODES.path(name=NODE, subresource="status")
    configuration = Configuration()
    await load_kube_config(str(plane.kubeconfig), client_configuration=configuration)
    connection = Connection(configuration, "carpool-bench")
    async with Client(connection, RateLimit(10_000, 10_000), manager=FIELD_MANAGER) as client:
        found = await client.get(GPU_NODES.path(name=NODE))
        now = time.time()

        async def beat(number: int) -> None:
            # A second apart, so that each of them changes something.
            status = found["status"] | {"heartbeatTime": rfc3339(now + number)}
            await client.patch(path, [{"op": "add", "path": "/status", "value": status}])

        for number in range(20):
            await beat(number)
        servers = {process.name: psutil.Process(process.pid) for process in plane.processes[:2]}
        before = {name: _told(server) for name, server in servers.items()}
        for number in range(options.heartbeats):
            await beat(100 + number)
        spent = {name: _told(server) - before[name] for name, server in servers.items()}
        size = len(str(await client.get(GPU_NODES.path(name=NODE))))
    per_second = 1000 / Cadence().heartbeat
    each = {name: 1000 * cpu / options.heartbeats for name, cpu in spent.items()}
    return {
        "cpu_ms_per_heartbeat": {name: round(cost, 2) for name, cost in each.items()},
        "object_bytes": size,
        "thousand_nodes": {
            "heartbeats_per_second": round(per_second, 1),
            "millicores": {name: round(per_second * cost) for name, cost in each.items()},
        },
    }


def _told(process: psutil.Process) -> float:
    """CPU seconds so far."""
    return float(sum(process.cpu_times()[:2]))


if __name__ == "__main__":
    main()
