"""A job on a real cluster, with plain manifests: its rows are those of a run on one machine."""

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]


def test_a_job_gives_the_rows_of_a_local_run(namespace, image, place, reference_run):
    result = namespace.start(place.job(), image).wait()
    assert result["phase"] == "Succeeded"
    assert result["frames"] == reference_run.result["frames"]
    assert place.hash() == reference_run.hash
