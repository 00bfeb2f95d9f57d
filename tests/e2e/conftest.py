"""Fixtures of tests on the cluster of `make cluster`, with the images of `make images`."""

import os

import pytest
from pyarrow import fs

from carpool.inputs.filesystem import StorageOptions
from support.cluster import cluster_facts, jobs_namespace
from support.local_fixtures import clips, reference_run  # noqa: F401 - found by their names here


@pytest.fixture(scope="session")
def facts():
    """What the cluster says of itself."""
    found = cluster_facts()
    if found is None:
        pytest.fail("no cluster; run `make cluster images`, or `make e2e`")
    return found


@pytest.fixture(scope="module")
def namespace(facts):
    """A namespace for the jobs of a module."""
    with jobs_namespace(facts) as made:
        yield made


@pytest.fixture(scope="session")
def object_store(facts):
    """The cluster's S3 server, as this machine reaches it."""
    os.environ["AWS_ACCESS_KEY_ID"] = facts["accessKey"]
    os.environ["AWS_SECRET_ACCESS_KEY"] = facts["secretKey"]
    return StorageOptions(endpoint=facts["s3"], region="us-east-1")


@pytest.fixture(scope="session")
def s3(facts):
    """The same as a file system."""
    return fs.S3FileSystem(
        endpoint_override=facts["s3"],
        access_key=facts["accessKey"],
        secret_key=facts["secretKey"],
        region="us-east-1",
        allow_bucket_creation=True,
    )
