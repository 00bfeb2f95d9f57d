"""Jobs on a real cluster that are disturbed: whatever dies, the rows are those of a local run.

Every executor's host is held in the middle of a batch when the victim dies, and until something new
has taken its place and has worked: nothing can be over before it is disturbed.
"""

import pytest

from support.cluster import until
from support.cluster_jobs import EXECUTORS, Hold
from support.cluster_kills import HOST, delete_pod, kill_host_child, kill_host_container, restarts

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]

UNITS = 17
"""Of the clips: 120 and 84 frames in groups of twelve."""


@pytest.fixture
def held_job(namespace, image, place):
    """A job whose hosts are all held, some units done and others not; its hold and its driver."""
    hold = Hold(namespace, place.output.rpartition("/")[2])
    driver = namespace.start(place.job(model=hold.model), image)
    hold.wait_for(driver.log, hosts=EXECUTORS)
    until(place.committed, driver.log)
    assert place.committed() < UNITS
    return hold, driver


def goes_on_and_ends(hold, driver, place, reference_run):
    """Let the job go on; its manifest."""
    assert 0 < place.committed() < UNITS, "it was over before it was disturbed"
    hold.let_go()
    result = driver.wait()
    assert result["phase"] == "Succeeded"
    assert result["frames"] == reference_run.result["frames"]
    assert place.hash() == reference_run.hash
    return place.manifest()


def generations(manifest):
    """Which child of its supervisor each host was that gave results."""
    return sorted(figures["generation"] for figures in manifest.host.values())


def test_a_host_child_that_is_killed_changes_nothing(namespace, place, held_job, reference_run):
    hold, driver = held_job
    victim = min(hold.held())
    hold.forget(victim)
    kill_host_child(namespace, victim)
    hold.wait_for(driver.log, hosts=EXECUTORS)
    assert set(restarts(namespace, victim).values()) == {0}, "the supervisor started it again"
    manifest = goes_on_and_ends(hold, driver, place, reference_run)
    assert generations(manifest) == [1, 2]


def test_a_host_container_that_is_killed_changes_nothing(namespace, place, held_job, reference_run):
    hold, driver = held_job
    victim = min(hold.held())
    hold.forget(victim)
    kill_host_container(namespace, victim)
    hold.wait_for(driver.log, hosts=EXECUTORS)
    until(lambda: any(restarts(namespace, victim).values()), driver.log)
    started_again = {name: count for name, count in restarts(namespace, victim).items() if count}
    assert started_again == {HOST: 1}, "its executor went on"
    manifest = goes_on_and_ends(hold, driver, place, reference_run)
    assert generations(manifest) == [1, 1, 1]


def test_an_executor_pod_that_is_deleted_changes_nothing(namespace, place, held_job, reference_run):
    hold, driver = held_job
    before = hold.held()
    victim = min(before)
    delete_pod(namespace, victim)
    after = hold.wait_for(driver.log, hosts=EXECUTORS + 1)
    names = {pod["metadata"]["name"] for pod in driver.executors()}
    assert names == after - {victim}, "another pod has come in its place"
    manifest = goes_on_and_ends(hold, driver, place, reference_run)
    assert generations(manifest) == [1, 1, 1]
