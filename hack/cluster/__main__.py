"""`python hack/cluster VERB`: a Kubernetes cluster on this machine, for the tests, and its images.

`up` may be run at any time: what is whole is left alone, what is half is made anew. One run at a
time; another waits. `down` leaves no container, network, mount, volume or process; images and what
was built from source stay, since making them takes the minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import kubectl
from diagnose import diagnose
from docker_daemon import check_privileged, docker, docker_answers, stop_docker
from go_tools import go_tool
from job_images import JOB, JOB_WITHOUT_TORCH, OPERATOR, build_images
from kind_cluster import empty_shared, ensure_nodes, load_image, remove_nodes, s3_address
from locks import alone
from node_image import ensure_node_image
from object_store import ACCESS_KEY, BUCKET, IN_CLUSTER, SECRET_KEY, ensure_object_store
from pod_network import connect_pods, simplify_dns
from progress import Unsupported, say, step
from settings import CACHE, HELM, KUBECONFIG, NAME, NODES, SHARED, STATE, WORKERS
from traces import traces

UNSUPPORTED = 3
"""Exit status of `supported` where this machine can have no cluster."""


def up() -> None:
    """Have the whole cluster."""
    STATE.mkdir(parents=True, exist_ok=True)
    image = ensure_node_image()
    ensure_nodes(image)
    with step("Waiting for the nodes"):
        if image.built:
            connect_pods()
            simplify_dns()
        kubectl.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=180s")
        for system in ("daemonset/kube-proxy", "deployment/coredns"):
            kubectl.kubectl("-n", "kube-system", "rollout", "status", system, "--timeout=180s")
    ensure_object_store()
    say(f"The cluster is up. export KUBECONFIG={KUBECONFIG}")
    say(f"Shared by all nodes as /shared: {SHARED}; S3 for this machine: http://{s3_address()}")


def facts() -> None:
    """Print what tests must know."""
    found = {
        "kubectl": [str(word) for word in kubectl.command()],
        "nodes": NODES,
        "shared": str(SHARED),
        "s3": f"http://{s3_address()}",
        "s3InCluster": IN_CLUSTER,
        "accessKey": ACCESS_KEY,
        "secretKey": SECRET_KEY,
        "bucket": BUCKET,
        "images": {"job": JOB, "jobWithoutTorch": JOB_WITHOUT_TORCH, "operator": OPERATOR},
    }
    print(json.dumps(found))  # noqa: T201 - the answer


def down() -> None:
    """Remove every trace of it."""
    if docker_answers():
        with step("Removing the cluster"):
            empty_shared()
            remove_nodes()
    stop_docker()
    if STATE.exists():
        shutil.rmtree(STATE)
    say("The cluster is gone; images and built commands stay")


def supported() -> int:
    """Find out whether this machine can have a cluster, and print why not; the exit status.

    Docker is started, and installed where we are root on Debian: nothing less can tell.
    """
    try:
        with docker():
            check_privileged()
    except Unsupported as reason:
        print(str(reason).removeprefix("cluster: "))  # noqa: T201 - the answer
        return UNSUPPORTED
    return 0


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="have the cluster")
    verbs.add_parser("down", help="remove it")
    verbs.add_parser("traces", help="print what a cluster may leave on this machine, a line each")
    verbs.add_parser("cache", help="print the folder of what is kept from one run to another")
    verbs.add_parser(
        "supported", help=f"exit status {UNSUPPORTED} where there can be none, and why"
    )
    building = verbs.add_parser("images", help="build the project's images")
    names = ("job", "job-without-torch", "operator")
    building.add_argument("--only", action="append", default=[], choices=names)
    verbs.add_parser("facts", help="print where everything is, as JSON")
    verbs.add_parser("helm", help="print where the command helm is; the first time builds it")
    loading = verbs.add_parser("load", help="give nodes an image that Docker has")
    loading.add_argument("image", nargs="?", default=JOB_WITHOUT_TORCH, help="default: %(default)s")
    loading.add_argument("--node", action="append", choices=WORKERS, help="default: all workers")
    diagnosing = verbs.add_parser("diagnose", help="gather logs, events and states in a folder")
    diagnosing.add_argument("folder", type=Path)
    options = parser.parse_args()
    match options.verb:
        case "facts":
            facts()
        case "helm":
            with alone("helm"):
                print(go_tool(HELM))  # noqa: T201 - the answer
        case "cache":
            print(CACHE)  # noqa: T201 - the answer
        case "helm":
            with alone(f"{NAME}-helm"):
                print(go_tool(HELM))  # noqa: T201 - the answer
        case "traces":
            print("\n".join(traces()))  # noqa: T201 - the answer
        case "supported":
            sys.exit(supported())
        case "images":
            with docker(), alone(f"{NAME}-images"):
                build_images(options.only)
        case "up":
            with docker(), alone(NAME):
                up()
        case "load":
            with docker(), alone(NAME):
                load_image(options.image, nodes=tuple(options.node or WORKERS))
        case "down":
            with alone(NAME):
                down()
        case _:
            diagnose(options.folder)


if __name__ == "__main__":
    main()
