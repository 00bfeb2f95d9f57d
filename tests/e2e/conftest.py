"""Fixtures of tests on the cluster of `make cluster`, with the images of `make images`."""

import os
import shutil
from uuid import uuid4

import pytest
from pyarrow import fs

from support.cluster import MOUNT, cluster_facts, jobs_namespace
from support.cluster_jobs import on_s3, on_shared_directory
from support.local_fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    clips,
    real_clip,
    real_job,
    reference_run,
)
from support.spark_sessions import spark  # noqa: F401 - as above

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="session")
def facts():
    """What the cluster says of itself; its S3 server's keys are put into the environment."""
    found = cluster_facts()
    if found is None:
        pytest.fail("no cluster; run `make cluster images`, or `make e2e`")
    with pytest.MonkeyPatch.context() as environment:
        for name, key in zip(KEYS, (found["accessKey"], found["secretKey"]), strict=True):
            environment.setenv(name, key)
        yield found


@pytest.fixture(scope="module")
def namespace(facts):
    """A namespace for the jobs of a module."""
    with jobs_namespace(facts) as made:
        yield made


@pytest.fixture(scope="session")
def image(facts):
    """The image of jobs, without PyTorch."""
    return facts["images"]["jobWithoutTorch"]


@pytest.fixture(scope="session")
def s3(facts):
    """The cluster's S3 server, as this machine reaches it."""
    return fs.S3FileSystem(
        endpoint_override=facts["s3"],
        access_key=os.environ[KEYS[0]],
        secret_key=os.environ[KEYS[1]],
        region="us-east-1",
        allow_bucket_creation=True,
    )


@pytest.fixture(scope="module")
def shared_clips(clips, namespace):  # noqa: F811 - the fixture
    """The clips in the shared directory; the path as pods see it."""
    folder = namespace.folder / "clips"
    folder.mkdir()
    for clip in clips.glob("*.mp4"):
        shutil.copy2(clip, folder)
    return f"{MOUNT}/clips"


@pytest.fixture(scope="module")
def clips_on_s3(clips, namespace, facts, s3):  # noqa: F811 - the fixture
    """The clips in the bucket."""
    prefix = f"{facts['bucket']}/{namespace.name}/clips"
    for clip in clips.glob("*.mp4"):
        with s3.open_output_stream(f"{prefix}/{clip.name}") as stream:
            stream.write(clip.read_bytes())
    return f"s3://{prefix}"


@pytest.fixture(params=["shared directory", "S3"])
def place(request, namespace):
    """A place for a job: the clips, and an output of its own."""
    name = f"out-{uuid4().hex[:6]}"
    if request.param == "S3":
        return on_s3(namespace, request.getfixturevalue("clips_on_s3"), name)
    return on_shared_directory(namespace, request.getfixturevalue("shared_clips"), name)
