"""A real network on a real cluster: the image with PyTorch, on the one worker that has it."""

import shutil
import subprocess
import sys

import pytest
import yaml

from support.cluster import MOUNT, ROOT
from support.cluster_jobs import EXECUTORS, executor_template, on_shared_directory
from support.local_fixtures import REAL_SECONDS
from support.local_runs import result_hash, run_job_file
from support.real_clip import real_file

pytestmark = [
    *(pytest.mark.e2e, pytest.mark.spark, pytest.mark.torch, pytest.mark.data),
    pytest.mark.slow,
]

NETWORK = ("yolo-fastest-1.1-xl.cfg", "yolo-fastest-1.1-xl.weights", "coco.names")


@pytest.fixture
def network(namespace):
    """The network's files in the shared directory; the path as pods see it."""
    folder = namespace.folder / "network"
    folder.mkdir()
    for name in NETWORK:
        shutil.copy2(real_file(name), folder)
    return f"{MOUNT}/network"


@pytest.fixture
def image_with_torch(network, facts):
    """The image with PyTorch, on the last worker: it is too large to be everywhere."""
    tag, node = facts["images"]["job"], facts["nodes"][-1]
    cluster = [sys.executable, str(ROOT / "hack" / "cluster")]
    for words in (("images", "--only", "job"), ("load", tag, "--node", node)):
        subprocess.run([*cluster, *words], check=True)
    return tag, node


@pytest.fixture
def local_run(real_job, tmp_path):
    """The job as it runs here, and the hash of its rows."""
    job = real_job(cores=2, chunk_seconds=0)
    ended = run_job_file(job)
    assert ended.code == 0, ended.stderr
    return yaml.safe_load(job.read_text())["spec"], result_hash(tmp_path / "out")


def test_a_network_on_one_worker_gives_the_rows_of_a_local_run(
    namespace, network, image_with_torch, real_clip, local_run
):
    spec, expected = local_run
    tag, node = image_with_torch
    shutil.copy2(real_clip, namespace.folder)
    place = on_shared_directory(namespace, MOUNT, "network-out")
    job = place.job(
        model=spec["model"] | {"uri": f"{network}/{NETWORK[0]}"},
        batching=spec["batching"],
        tracking=spec["tracking"],
        spark={
            "image": tag,
            "executorTemplate": executor_template(nodeSelector={"kubernetes.io/hostname": node}),
        },
    )
    # The driver loads no network: it needs no PyTorch.
    driver = namespace.start(job, namespace.facts["images"]["jobWithoutTorch"])
    result = driver.wait()
    assert result["phase"] == "Succeeded", driver.log()
    assert result["frames"] == REAL_SECONDS * 24
    assert result["modelCopies"] == EXECUTORS
    assert place.hash() == expected
