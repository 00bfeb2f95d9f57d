"""Writers on a real cluster are killed in the middle of an upload: no reader sees part of it.

Uploads pass a proxy in the cluster that gives the S3 server half of a body and no more; what it
holds then is as unfinished as can be, when the writer is killed from its node.
"""

import json
from collections import Counter

import boto3
import pyarrow.dataset
import pytest
from pyarrow import fs

from support.cluster import MOUNT, until
from support.cluster_jobs import on_s3
from support.cluster_kills import kill_container

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]

PORT = 7070
ROWS = ("frame_index", "pts_ns", "class_id", "score", "x1", "y1", "x2", "y2")

LARGE_COMMIT = """
import sys
from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.folder import OutputFolder
uri, endpoint = sys.argv[1:]
folder = OutputFolder(uri, StorageOptions(endpoint, "us-east-1"))
folder.commit("detections/unit.parquet", b"x" * 25_000_000)
"""


class StallingProxy:
    """The proxy in a pod, and what it has told."""

    def __init__(self, namespace, name, *, match, free):
        self._folder = namespace.folder / f"stalls-{name}"
        self._folder.mkdir()
        self._folder.chmod(0o1777)
        server = namespace.facts["s3InCluster"].removeprefix("http://")
        where = f"{MOUNT}/{self._folder.name}"
        module = ("python", "-m", "support.stalling_proxy")
        pod = namespace.run(*module, str(PORT), server, match, str(free), where)
        until((self._folder / "listening").exists, lambda: namespace.kubectl("logs", pod))
        until(lambda: "podIP" in namespace.pod(pod)["status"], lambda: str(namespace.pod(pod)))
        self.endpoint = f"http://{namespace.pod(pod)['status']['podIP']}:{PORT}"

    def stalled(self):
        """Targets of the uploads that stall, or did until their writers were killed."""
        return [path.read_text() for path in self._folder.glob("stalled-*")]


@pytest.fixture
def client(facts):
    """The S3 server by Amazon's own client, which can ask it for unfinished uploads."""
    return boto3.client("s3", endpoint_url=facts["s3"], region_name="us-east-1")


@pytest.fixture
def seen_by_spark(s3, spark, tmp_path):
    """Reads a table with Spark: all that a listing of it shows, brought to where Spark can read."""

    def read(table):
        fs.copy_files(table.removeprefix("s3://"), str(tmp_path), source_filesystem=s3)
        return rows(spark.read.parquet(str(tmp_path)).toArrow())

    return read


def rows(table):
    """Rows without what names place and cut, and how often each is there."""
    names = [uri.rpartition("/")[2] for uri in table["video_uri"].to_pylist()]
    columns = [table[name].to_pylist() for name in ROWS]
    return Counter(zip(names, *columns, strict=True))


def kill_everything(namespace, driver):
    """SIGKILL executors and driver, each from its node, and see them all ended."""
    executors = [pod["metadata"]["name"] for pod in driver.executors()]
    for pod in executors:  # first, for they end by themselves when the driver has
        kill_container(namespace, pod, "spark-executor")
    kill_container(namespace, driver.name, "driver")
    # A driver that saw an executor end before it was killed has deleted its pod.
    until(lambda: not living(namespace).intersection({driver.name, *executors}), driver.log)


def living(namespace):
    """Names of the pods whose containers have not all ended."""
    pods = json.loads(namespace.kubectl("get", "pods", "--output=json"))["items"]
    ended = {"Succeeded", "Failed"}
    return {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] not in ended}


def test_killed_writers_leave_whole_units_alone_and_the_next_attempt_completes_them(
    namespace, image, clips_on_s3, seen_by_spark, reference_run
):
    whole_units = 3
    proxy = StallingProxy(namespace, "units", match="/detections/", free=whole_units)
    place = on_s3(namespace, clips_on_s3, "killed-units", endpoint=proxy.endpoint)
    driver = namespace.start(place.job(), image)
    until(lambda: len(proxy.stalled()) >= 2, driver.log)
    kill_everything(namespace, driver)

    stalled = {target.rpartition("/")[2] for target in proxy.stalled()}
    left = {entry.name for entry in place.seen.list("detections")}
    assert len(left) == whole_units
    assert not left & stalled
    seen = seen_by_spark(f"{place.output}/detections")
    expected = rows(pyarrow.dataset.dataset(reference_run.output / "detections").to_table())
    assert seen
    assert seen < expected

    direct = on_s3(namespace, clips_on_s3, "killed-units")
    again = namespace.start(direct.job(), image)
    assert again.wait()["phase"] == "Succeeded"
    assert "frames done before" in again.log()
    assert direct.hash() == reference_run.hash


def test_a_writer_killed_between_the_parts_of_an_upload_leaves_no_object(namespace, facts, client):
    proxy = StallingProxy(namespace, "parts", match="partNumber=2", free=0)
    place = on_s3(namespace, "", "killed-parts")
    writer = namespace.run("python", "-c", LARGE_COMMIT, place.output, proxy.endpoint)
    until(proxy.stalled, lambda: namespace.kubectl("logs", writer))
    kill_container(namespace, writer, "program")
    until(
        lambda: namespace.pod(writer)["status"]["phase"] == "Failed",
        lambda: str(namespace.pod(writer)),
    )

    prefix = place.output.removeprefix(f"s3://{facts['bucket']}/")
    unfinished = client.list_multipart_uploads(Bucket=facts["bucket"])["Uploads"]
    assert f"{prefix}/detections/unit.parquet" in {upload["Key"] for upload in unfinished}
    assert not place.seen.exists("detections/unit.parquet")
    assert place.seen.list(recursive=True) == ()
