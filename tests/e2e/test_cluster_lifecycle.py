"""A cluster comes with one command, mends what is half, and goes without a trace."""

import os
import subprocess
import sys

import pytest

from support.cluster import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def cluster(*words):
    """Run `hack/cluster` on a cluster of this test's own."""
    environment = {**os.environ, "CARPOOL_CLUSTER": "carpool-trial", "CARPOOL_WORKERS": "1"}
    command = [sys.executable, str(ROOT / "hack" / "cluster"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def traces():
    return set(cluster("traces").stdout.splitlines())


def test_a_cluster_that_is_half_is_mended_and_one_that_is_taken_down_leaves_no_trace():
    before = traces()
    try:
        cluster("up")
        made = traces() - before
        kinds = {trace.partition(" ")[0] for trace in made}
        assert kinds >= {"container", "volume", "network", "interface", "process", "folder"}

        subprocess.run(["docker", "rm", "--force", "carpool-trial-worker"], check=True)
        assert "half built" in cluster("up").stderr
        assert "The nodes are there" in cluster("up").stderr
    finally:
        cluster("down")
    assert traces() - before == set()
    cluster("down")  # there is nothing to take down, and that is fine
