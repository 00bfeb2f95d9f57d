"""The arithmetic of the benchmarks: what they call ideal, fair and steady."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.host.bench_scheduling import MAX_BATCH, ideal, jain, quality
from benchmarks.host.bench_whole_job import steady_rate
from benchmarks.host.closed_loop import Answer


def test_the_ideal_of_greedy_clients_is_the_same_device_for_every_ratio():
    rates = {round(ideal(ratio, 8, greedy=True), 6) for ratio in (0, 1, 5, 20, 100)}
    assert rates == {400.0}


def test_the_ideal_of_lockstep_clients_is_one_batch_of_all_of_them():
    assert ideal(20, 8, greedy=False) / ideal(20, 8, greedy=True) == pytest.approx(
        (8 / 28) / (16 / 36)
    )
    assert ideal(20, 64, greedy=False) == ideal(20, MAX_BATCH, greedy=True)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=16))
def test_jain_lies_between_one_nth_and_one(counts):
    found = jain(np.array(counts, float))
    assert 1 / len(counts) - 1e-9 <= found <= 1 + 1e-9


def test_a_device_that_is_never_idle_and_always_full_is_ideal():
    answers: list[list[Answer]] = [[] for _ in range(8)]
    for batch in range(50):
        for item in range(MAX_BATCH):
            answers[item % 8].append(Answer(0.04 * batch, 0.12, 0.04, MAX_BATCH))
    found = quality(answers, 0.0, 2.0, 20, greedy=True)
    assert found["fraction_of_ideal"] == pytest.approx(1.0, abs=0.002)
    assert found["mean_batch"] == MAX_BATCH
    assert found["items_by_client"] == {"max_minus_min": 0, "jain": 1.0}
    assert found["wait_difference_batches"]["max"] == 0


def test_the_mean_batch_is_over_batches_and_not_over_items():
    one = [Answer(float(batch), 1.0, 0.0, 1) for batch in range(10)]
    many = [Answer(float(batch), 1.0, 0.0, 9) for batch in range(10) for _ in range(9)]
    assert quality([one, many], 0.0, 20.0, 0, greedy=True)["mean_batch"] == 5.0


def test_a_job_is_steady_from_the_first_commits_to_the_first_idle_task():
    # Two tasks, units of 50 frames, each 1 s and half a second apart; the start takes 30 s, and the
    # last unit, which runs alone, another 10 s.
    commits = [(30 + 0.5 * number, 50) for number in range(20)] + [(50.0, 50)]
    assert steady_rate(commits, 2)["frames_per_s"] == pytest.approx(100.0)
