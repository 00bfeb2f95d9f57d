"""An S3 server in the cluster: versitygw over a folder that every node sees.

Pods reach it as http://s3.carpool-storage:7070, this machine at the address that `up` prints. Its
keys are no secret; they are the ones of manifests/s3.yaml.
"""

from __future__ import annotations

import time

from debian_image import has_image
from go_tools import go_tool
from kind_cluster import load_image, s3_address
from kubectl import kubectl
from node_image import import_command
from progress import Failed, step
from settings import HERE, PROJECT, VERSITYGW

_IMAGE = f"{PROJECT}/versitygw:{VERSITYGW.partition('@')[2]}"
ACCESS_KEY = "carpool"
SECRET_KEY = "carpool-secret"  # noqa: S105 - of a server that lives for a test
BUCKET = "carpool"
IN_CLUSTER = "http://s3.carpool-storage:7070"
"""Where pods reach it."""
_REACHABLE = 60.0
"""Seconds: the server is ready before kube-proxy has opened the way to it, which tells nobody."""


def ensure_object_store() -> None:
    """Have the server answer, with a bucket for the tests."""
    if not has_image(_IMAGE):
        import_command(go_tool(VERSITYGW), _IMAGE)
    load_image(_IMAGE)
    with step("Starting the S3 server"):
        manifest = (HERE / "manifests" / "s3.yaml").read_text()
        kubectl("apply", "-f", "-", given=manifest.replace("IMAGE", _IMAGE))
        kubectl("-n", "carpool-storage", "rollout", "status", "deployment/s3", "--timeout=120s")
        _ensure_bucket()


def _ensure_bucket() -> None:
    from pyarrow import fs  # noqa: PLC0415 - the only need for it, and half a second

    store = fs.S3FileSystem(
        endpoint_override=f"http://{s3_address()}",
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        region="us-east-1",
        allow_bucket_creation=True,
    )
    deadline = time.monotonic() + _REACHABLE
    while True:
        try:
            if store.get_file_info(BUCKET).type == fs.FileType.NotFound:
                store.create_dir(BUCKET)
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failed(f"the S3 server at {s3_address()} does not answer: {error}") from error
            time.sleep(0.5)
        else:
            return
