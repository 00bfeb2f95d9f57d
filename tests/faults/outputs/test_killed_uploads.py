"""A writer is killed while its upload to S3 is on the way: there is no object."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from threading import Event

import pytest

from carpool.outputs.folder import OutputFolder
from support.watched_s3 import watched_s3

PROGRAM = """
import sys
from carpool.inputs.filesystem import StorageOptions
from carpool.outputs.folder import OutputFolder
uri, endpoint, size = sys.argv[1:]
folder = OutputFolder(uri, StorageOptions(endpoint, "us-east-1"))
folder.commit("detections/unit.parquet", b"x" * int(size))
"""


@pytest.mark.parametrize(
    ("size", "fatal_request"),
    [
        pytest.param(8_000_000, "", id="one PUT"),
        pytest.param(25_000_000, "partNumber=1", id="first part"),
        pytest.param(25_000_000, "partNumber=2", id="second part"),
    ],
)
def test_a_kill_during_the_upload_leaves_no_object(monkeypatch, size, fatal_request):
    started, killed = Event(), Event()
    with watched_s3(monkeypatch) as s3:

        def kill_in_the_middle(request, body):
            if request.method != "PUT" or fatal_request not in request.query or killed.is_set():
                return False
            assert body.read(65536)
            assert started.wait(timeout=60)
            os.kill(writer.pid, signal.SIGKILL)
            killed.set()
            return True  # a server refuses a body that is shorter than announced

        s3.interrupt = kill_in_the_middle
        uri = f"s3://{s3.bucket}/out"
        writer = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, uri, str(s3.storage.endpoint), str(size)]
        )
        started.set()

        assert writer.wait(timeout=60) == -signal.SIGKILL
        assert killed.is_set()
        folder = OutputFolder(uri, s3.storage)
        assert not folder.exists("detections/unit.parquet")
        assert folder.list("detections") == ()
