from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.synth.road import LANE_WIDTH, lay_out
from carpool.synth.settings import SceneSettings
from carpool.synth.traffic import simulate


def traffic(seed: int = 1, frames: int = 200, lanes: int = 4, rate: float = 80.0):
    chosen = SceneSettings(seed=seed, frames=frames, fps=10, lanes=lanes, vehicles_per_minute=rate)
    return simulate(chosen, lay_out(lanes))


@given(seed=st.integers(0, 10_000), rate=st.floats(0, 400))
@settings(max_examples=12, deadline=None)
def test_vehicles_never_drive_through_one_another(seed, rate):
    places = defaultdict(list)
    for vehicle in traffic(seed, frames=120, rate=rate):
        for frame, near_y in zip(vehicle.frames, vehicle.near_y, strict=True):
            places[frame, vehicle.lane_x].append((near_y, near_y + vehicle.look.kind.length))
    for spans in places.values():
        spans.sort()
        assert all(ahead[1] < behind[0] for ahead, behind in pairwise(spans))


def test_ids_count_up_in_the_order_of_appearance():
    vehicles = traffic()
    assert [vehicle.track_id for vehicle in vehicles] == list(range(1, len(vehicles) + 1))
    firsts = [vehicle.first_frame for vehicle in vehicles]
    assert firsts == sorted(firsts)


def test_each_lane_has_one_direction():
    for vehicle in traffic(frames=300):
        way = vehicle.near_y[-1] - vehicle.near_y[0]
        assert vehicle.oncoming == (vehicle.lane_x < 0)
        if len(vehicle.near_y) > 20:
            assert (way < 0) == vehicle.oncoming


def test_vehicles_stay_in_their_lane():
    for vehicle in traffic():
        room = LANE_WIDTH / 2 - vehicle.look.kind.width / 2
        assert np.abs(vehicle.x - vehicle.lane_x).max() < room


def test_traffic_flows_before_the_first_frame():
    assert sum(vehicle.first_frame == 0 for vehicle in traffic()) >= 3


def test_speed_varies_along_the_way():
    speeds = [np.diff(vehicle.near_y) for vehicle in traffic() if len(vehicle.near_y) > 30]
    assert speeds
    assert all(np.ptp(speed) > 0.02 for speed in speeds)


def test_all_four_classes_take_part():
    kinds = {vehicle.look.kind.name for vehicle in traffic(frames=900)}
    assert kinds == {"car", "van", "bus", "truck"}


@pytest.mark.parametrize("lanes", range(1, 9))
def test_the_left_half_of_the_lanes_is_oncoming(lanes):
    road = lay_out(lanes)
    assert [lane.oncoming for lane in road.lanes] == [n < lanes // 2 for n in range(lanes)]
    centres = [lane.centre for lane in road.lanes]
    assert all(right - left > LANE_WIDTH - 1e-9 for left, right in pairwise(centres))
    assert road.divided == (lanes > 1)


def test_no_vehicles_where_none_are_wanted():
    assert traffic(rate=0.0) == ()
