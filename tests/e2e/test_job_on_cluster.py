"""A job on a real cluster, with plain manifests: its rows are those of a run on one machine."""

import json
import shutil

import pytest

from support.cluster import MOUNT
from support.local_runs import oracle_job, run_carpool

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]

SMALL = {
    "driver": {"memory": "1Gi"},
    "executor": {"cores": 2, "memory": "1Gi"},
    "conf": {"spark.kubernetes.executor.request.cores": "200m"},
}
"""Three nodes of a test cluster share the cores of one machine."""


def spark(**more):
    return SMALL | more


def with_shared_folder():
    """A pod template that mounts the shared directory where the driver has it."""
    return {
        "spec": {
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
            "containers": [
                {
                    "name": "spark-executor",
                    "volumeMounts": [{"name": "shared", "mountPath": MOUNT}],
                }
            ],
        }
    }


@pytest.fixture(scope="module")
def shared_clips(clips, namespace):
    """The clips in the shared directory; the path as pods see it."""
    folder = namespace.folder / "clips"
    folder.mkdir()
    for clip in clips.glob("*.mp4"):
        shutil.copy2(clip, folder)
    return f"{MOUNT}/clips"


@pytest.fixture(scope="module")
def clips_on_s3(clips, namespace, facts, s3):
    """The clips in the bucket."""
    prefix = f"{facts['bucket']}/{namespace.name}/clips"
    for clip in clips.glob("*.mp4"):
        with s3.open_output_stream(f"{prefix}/{clip.name}") as stream:
            stream.write(clip.read_bytes())
    return f"s3://{prefix}"


def rows_hash(output, *options):
    ended = run_carpool("results", str(output), "--hash", "-o", "json", *options)
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)["hash"]


def on_shared_folder(shared_clips, name):
    return oracle_job(
        f"{shared_clips}/*.mp4",
        f"{MOUNT}/{name}",
        executors=2,
        spark=spark(executorTemplate=with_shared_folder()),
    )


def test_a_job_on_the_shared_folder_gives_the_rows_of_a_local_run(
    namespace, facts, shared_clips, reference_run
):
    job = on_shared_folder(shared_clips, "undisturbed")
    result = namespace.start(job, facts["images"]["jobWithoutTorch"]).wait()
    assert result["phase"] == "Succeeded"
    assert result["frames"] == reference_run.result["frames"]
    assert rows_hash(namespace.folder / "undisturbed") == reference_run.hash


def test_a_job_from_and_to_s3_gives_the_rows_of_a_local_run(
    namespace, facts, clips_on_s3, object_store, reference_run
):
    output = f"s3://{facts['bucket']}/{namespace.name}/out"
    job = oracle_job(
        f"{clips_on_s3}/*.mp4",
        output,
        executors=2,
        spark=SMALL,
        storage={"secretName": "s3", "endpoint": facts["s3InCluster"], "region": "us-east-1"},
    )
    result = namespace.start(job, facts["images"]["jobWithoutTorch"]).wait()
    assert result["phase"] == "Succeeded"
    where = ("--endpoint", object_store.endpoint, "--region", "us-east-1")
    assert rows_hash(output, *where) == reference_run.hash
