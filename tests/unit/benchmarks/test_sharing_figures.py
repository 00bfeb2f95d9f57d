"""The pure parts of benchmarks/sharing: what is measured, counted, compared and said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sharing.arms.grpc_messages import (
    pack_floats,
    pack_rows,
    unpack_floats,
    unpack_rows,
)
from benchmarks.sharing.cells import (
    CONTEXT_BYTES,
    GIB,
    Cell,
    fewer_did_not_fit,
    grid,
    missing,
    order,
    share_bytes,
)
from benchmarks.sharing.comparison import TOLERANCES, compare
from benchmarks.sharing.figures import Answer, NothingAnswered, life_rate, steady
from benchmarks.sharing.frames import POOL
from benchmarks.sharing.ratios import cell_by_cell, of_roof, over_best
from benchmarks.sharing.record import SweepRecord, summaries
from benchmarks.sharing.tasks import chunks_of, chunks_until

BOXES = TOLERANCES["Float32", True]


def evenly(rate: float, items: int, begin: float, end: float) -> list[Answer]:
    """Answers of so many items each, at a rate."""
    moments = np.arange(begin, end, items / rate)
    return [Answer(float(moment), items, 0.1) for moment in moments]


@given(
    rate=st.floats(10, 1000),
    items=st.sampled_from([1, 8, 32]),
    begin=st.floats(0, 1e6),
    late=st.floats(0, 5),
)
def test_a_steady_rate_is_found_to_a_chunk_whatever_comes_at_begin_and_end(
    rate, items, begin, late
):
    answers = evenly(rate, items, begin, begin + 10 + late)
    slow_start = [answer for answer in answers if answer.done > begin + 0.9]
    found = steady(slow_start, begin, begin + 10)["items_per_s"]
    assert found == pytest.approx(rate, abs=items / 8 + 1e-6)


def test_nothing_in_the_window_is_no_rate_of_zero():
    with pytest.raises(NothingAnswered, match="measure for longer"):
        steady([Answer(0.5, 1, 0.1), Answer(9.5, 1, 0.1)], 0.0, 10.0)


def test_latencies_are_of_the_chunks_in_the_window():
    answers = [Answer(0.1, 1, 9.0), *(Answer(5.0, 1, each / 100) for each in range(101))]
    assert steady(answers, 0.0, 10.0)["chunk_ms"] == {"p50": 500.0, "p99": 990.0}


def test_the_rate_over_lives_is_the_sum_of_the_lanes():
    assert life_rate(100, [10.0, 20.0]) == 15.0


def test_a_process_with_a_copy_has_its_part_of_the_budget_less_its_context():
    assert share_bytes(Cell("n", "b", 4, 8, 8)) == 2 * GIB - CONTEXT_BYTES
    assert share_bytes(Cell("n", "d", 4, 8, 8)) == 8 * GIB - CONTEXT_BYTES
    assert share_bytes(Cell("n", "a", 16, 8, 8)) == 0
    assert share_bytes(Cell("n", "a", 16, 8, 0)) is None


def test_a_grid_has_every_combination_and_each_loop_once():
    cells = grid("n", arms=("b", "d", "e1"), tasks=(1, 4), chunks=(1, 8), budgets=(8, 16))
    assert len(set(cells)) == len(cells) == 2 * 2 * 2 * 2 + 1
    assert Cell("n", "e1") in cells


def test_each_cell_is_measured_once_before_any_twice_and_in_another_order():
    cells = grid("n", arms=("b", "d"), tasks=(1, 2, 4, 8), chunks=(1, 8), budgets=(8,))
    plan = order(cells, 3, seed=1)
    rounds = [[cell for cell, repeat in plan if repeat == number] for number in range(3)]
    assert [repeat for _, repeat in plan] == sorted(repeat for _, repeat in plan)
    assert all(set(each) == set(cells) for each in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    assert plan == order(cells, 3, seed=1)


def test_a_sweep_goes_on_with_what_is_missing():
    plan = order(grid("n", arms=("b",), tasks=(1, 2), chunks=(1,), budgets=(8,)), 2, seed=1)
    assert missing(plan, plan[:3]) == plan[3:]


def test_more_copies_than_did_not_fit_are_not_tried():
    unfit = {Cell("n", "b", 4, 8, 8)}
    assert fewer_did_not_fit(Cell("n", "b", 16, 8, 8), unfit)
    assert not fewer_did_not_fit(Cell("n", "b", 2, 8, 8), unfit)
    assert not fewer_did_not_fit(Cell("n", "b", 16, 1, 8), unfit)
    assert not fewer_did_not_fit(Cell("n", "b", 16, 8, 16), unfit)
    assert not fewer_did_not_fit(Cell("n", "a", 16, 8, 8), unfit)


def boxes(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = generator.uniform(0, 400, (count, 6)).astype(np.float32)
    rows[:, 4] = generator.uniform(0.3, 1, count)
    rows[:, 5] = generator.integers(0, 80, count)
    return rows


@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
def test_rows_in_another_order_and_off_by_a_rounding_are_the_same(seed, count):
    reference = boxes(count, seed)
    moved = reference.copy()
    moved[:, :4] += 0.01
    found = compare({3: np.random.default_rng(seed).permutation(moved)}, {3: reference}, BOXES)
    assert found.within(BOXES)
    assert found.largest == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize(("column", "by"), [(0, 1.0), (4, 0.05), (5, 1.0)])
def test_another_box_score_or_class_is_found(column, by):
    reference = boxes(10)
    moved = reference.copy()
    moved[2, column] += by
    assert not compare({0: moved}, {0: reference}, BOXES).within(BOXES)


def test_lost_rows_are_found_and_nothing_compared_is_not_the_same():
    assert not compare({0: boxes(9)}, {0: boxes(10)}, BOXES).within(BOXES)
    assert not compare({0: boxes(0)}, {0: boxes(10)}, BOXES).within(BOXES)
    assert not compare({}, {0: boxes(10)}, BOXES).within(BOXES)
    assert not compare({0: boxes(0)}, {0: boxes(0)}, BOXES).within(BOXES)


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_rows_survive_their_way_through_grpc(counts):
    rows = [boxes(count, number) for number, count in enumerate(counts)]
    found = unpack_rows(pack_rows(rows))
    assert all(np.array_equal(*pair) for pair in zip(found, rows, strict=True))


def test_pixels_survive_their_way_through_grpc_as_float32():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3)).astype(np.uint8)
    found = unpack_floats(pack_floats(frames), (8, 6, 3))
    assert found.dtype == np.float32
    assert np.array_equal(found.transpose(0, 2, 3, 1), frames)


def test_chunks_stay_within_the_pool_and_the_last_of_a_life_may_be_smaller():
    assert [chunk.items for chunk in chunks_of(20, 8)] == [8, 8, 4]
    endless = chunks_until(float("inf"), 8, number=15)
    firsts = [next(endless).first for _ in range(20)]
    assert set(firsts) == set(range(0, POOL, 8))
    assert not list(chunks_until(0.0, 8, number=0))


def run(rate: float, *, copies: int = 1, **cell: object) -> dict:
    fields = {"budget_gib": 8, "without": "", "tasks": 1, "chunk": 8, "network": "n"} | cell
    return fields | {
        "repeat": 0,
        "session": 0,
        "items_per_s": rate,
        "copies": copies,
        "chunk_ms": {"p50": 1.0, "p99": 2.0},
        "difference": {"largest": 0.0, "unpaired": 0.0, "frames": 64, "rows": 9},
        "same": True,
    }


def test_a_cell_is_the_median_of_its_runs_and_one_that_does_not_fit_says_why():
    runs = [run(rate, arm="b") for rate in (1.0, 9.0, 2.0)]
    unfit = {**run(0, arm="b", tasks=4), "unfit": "no room"}
    del unfit["items_per_s"]
    rows = list(summaries([*runs, unfit]))
    assert rows[0]["items_per_s"]["median"] == 2.0
    assert rows[0]["items_per_s"]["n"] == 3
    assert rows[1]["unfit"] == "no room"


def test_carpool_is_compared_with_the_best_of_a_and_cell_by_cell_with_b():
    runs = [
        *(run(rate, arm="a", tasks=tasks) for tasks, rate in ((1, 10.0), (2, 20.0), (4, 15.0))),
        *(run(rate, arm="b", tasks=tasks) for tasks, rate in ((1, 30.0), (4, 50.0))),
        *(run(rate, arm="d", tasks=tasks) for tasks, rate in ((1, 70.0), (4, 60.0))),
        run(80.0, arm="e1", tasks=1, chunk=0, budget_gib=0),
    ]
    record = {"cells": list(summaries(runs))}
    found = over_best(record, "n", "a", 8)
    assert found is not None
    assert found.ratio == 3.0
    assert [each.ratio for each in cell_by_cell(record, "n", "b")] == [1.2]
    roof = of_roof(record, "n")
    assert roof is not None
    assert roof.ratio == 0.75


def test_a_record_grows_and_is_gone_on_with(tmp_path):
    path = tmp_path / "gpu.json"
    cell = Cell("n", "b", 4, 8, 8)
    figures = {
        name: value
        for name, value in run(5.0, arm="b").items()
        if name not in ("repeat", "session", *cell.as_json())
    }
    SweepRecord(path, "a card", "?", {"seconds": 1}).add(cell, 0, figures)
    again = SweepRecord(path, "a card", "?", {"seconds": 2})
    assert again.done() == {(cell, 0)}
    again.add(cell, 1, figures)
    document = json.loads(path.read_text())
    assert [run["session"] for run in document["runs"]] == [0, 1]
    assert document["cells"][0]["items_per_s"]["n"] == 2
    with pytest.raises(ValueError, match="a card"):
        SweepRecord(path, "another card", "?", {})
