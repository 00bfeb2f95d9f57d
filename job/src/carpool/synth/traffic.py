"""Motion: who drives where in which frame. Pure: no image, no file.

Vehicles of a lane follow each other by the intelligent driver model (Treiber, Hennecke and Helbing,
"Congested traffic states in empirical observations and microscopic simulations", Phys. Rev. E 62,
2000), so they brake, close up and never drive through one another. Everything is computed once for
the whole clip; a frame can then be asked for in any order and is always the same.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from carpool.synth.road import NEAR_Y, OVERPASS_Y
from carpool.synth.vehicles import KINDS, Look, VehicleKind, choose_look

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carpool.synth.road import Lane, Road
    from carpool.synth.settings import SceneSettings

WARM_UP_S = 14.0
"""Time simulated before frame 0: long enough for the slowest vehicle to cross the picture."""

_ACCELERATION = 1.6  # m/s², comfortable
_BRAKING = 2.2  # m/s², comfortable
_STANDSTILL_GAP = 4.0  # m
_TIME_GAP_S = 1.7
_PAST_CAMERA_Y = 9.0  # a vehicle whose far end is nearer lies below the picture


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One vehicle and where it is in each frame of its presence.

    Attributes:
        track_id: from 1, in the order in which vehicles come into the picture.
        look: its kind and colours.
        oncoming: whether it shows its front to the camera.
        lane_x: metres, centre of its lane.
        first_frame: the first frame of the arrays below.
        x: metres, centre of the vehicle, one entry a frame.
        near_y: metres, distance of the end nearest to the camera; may be below zero.
    """

    track_id: int
    look: Look
    oncoming: bool
    lane_x: float
    first_frame: int
    x: NDArray[np.float64]
    near_y: NDArray[np.float64]

    @property
    def frames(self) -> range:
        """The frames in which the vehicle is between camera and overpass."""
        return range(self.first_frame, self.first_frame + len(self.x))


@dataclass(slots=True)
class _Driver:
    """A vehicle while its lane is simulated; `position` is the way its front has gone."""

    kind: VehicleKind
    lane: Lane
    position: float
    speed: float
    wished_speed: float
    mood_period_s: float
    mood_phase: float
    offset: float
    first_frame: int | None = None
    x: list[float] = field(default_factory=list)
    near_y: list[float] = field(default_factory=list)

    def wish(self, time_s: float) -> float:
        """The speed it would like now: no one keeps a speed exactly."""
        swing = math.sin(2 * math.pi * time_s / self.mood_period_s + self.mood_phase)
        return self.wished_speed * (1.0 + 0.15 * swing)


def simulate(settings: SceneSettings, road: Road) -> tuple[Trajectory, ...]:
    """All vehicles that are in the picture in some frame of the clip."""
    rng = np.random.default_rng((settings.seed, 6))
    seen = [
        (driver.first_frame, driver)
        for number, lane in enumerate(road.lanes)
        for driver in _simulate_lane(settings, lane, number, len(road.lanes))
        if driver.first_frame is not None
    ]
    # A stable sort: vehicles that appear in the same frame are numbered from left to right.
    seen.sort(key=lambda entry: entry[0])
    counts: Counter[tuple[str, bool]] = Counter()
    trajectories = []
    for track_id, (first_frame, driver) in enumerate(seen, start=1):
        kind, lane = driver.kind, driver.lane
        trajectories.append(
            Trajectory(
                track_id=track_id,
                look=choose_look(kind, counts[kind.name, lane.oncoming], rng),
                oncoming=lane.oncoming,
                lane_x=lane.centre,
                first_frame=first_frame,
                x=np.array(driver.x),
                near_y=np.array(driver.near_y),
            )
        )
        counts[kind.name, lane.oncoming] += 1
    return tuple(trajectories)


def _simulate_lane(settings: SceneSettings, lane: Lane, number: int, lanes: int) -> list[_Driver]:
    """Run one lane from before the clip to its end; gives everyone who ever drove in it."""
    rng = np.random.default_rng((settings.seed, 2, number))
    step_s = 1.0 / settings.fps
    mean_gap_s = 60.0 * lanes / max(settings.vehicles_per_minute, 1e-9)
    everyone: list[_Driver] = []
    queue: list[_Driver] = []  # in the lane now, first one ahead
    next_arrival_s = -WARM_UP_S + rng.exponential(mean_gap_s)
    waiting: _Driver | None = None
    for frame in range(-math.ceil(WARM_UP_S * settings.fps), settings.frames):
        time_s = frame * step_s
        if waiting is None and time_s >= next_arrival_s:
            waiting = _new_driver(rng, lane)
            next_arrival_s += rng.exponential(mean_gap_s)
        if waiting is not None and _has_room(waiting, queue):
            everyone.append(waiting)
            queue.append(waiting)
            waiting = None
        _advance(queue, time_s, step_s)
        for driver in queue:
            near_y = _near_y(driver)
            if frame >= 0 and near_y < OVERPASS_Y and near_y + driver.kind.length > _PAST_CAMERA_Y:
                driver.first_frame = frame if driver.first_frame is None else driver.first_frame
                sway = 0.14 * math.sin(0.9 * time_s + driver.mood_phase)
                driver.x.append(lane.centre + driver.offset + sway)
                driver.near_y.append(near_y)
        if queue and _has_left(queue[0]):
            del queue[0]
    return everyone


def _new_driver(rng: np.random.Generator, lane: Lane) -> _Driver:
    kind = KINDS[int(rng.choice(len(KINDS), p=[kind.share for kind in KINDS]))]
    speed = float(rng.uniform(*kind.speed))
    return _Driver(
        kind=kind,
        lane=lane,
        position=0.0,
        speed=speed,
        wished_speed=speed,
        mood_period_s=float(rng.uniform(5.0, 14.0)),
        mood_phase=float(rng.uniform(0.0, 2 * math.pi)),
        offset=float(rng.uniform(-0.22, 0.22)),
    )


def _has_room(driver: _Driver, queue: list[_Driver]) -> bool:
    if not queue:
        return True
    ahead = queue[-1]
    gap = ahead.position - ahead.kind.length - driver.position
    driver.speed = min(driver.wished_speed, ahead.speed)
    return gap > _STANDSTILL_GAP + _TIME_GAP_S * driver.speed


def _advance(queue: list[_Driver], time_s: float, step_s: float) -> None:
    """Move everyone by one step of the intelligent driver model."""
    ahead: _Driver | None = None
    for driver in queue:
        acceleration = 1.0 - (driver.speed / driver.wish(time_s)) ** 4
        if ahead is not None:
            gap = max(ahead.position - ahead.kind.length - driver.position, 0.1)
            closing = driver.speed * (driver.speed - ahead.speed)
            wished_gap = _STANDSTILL_GAP + max(
                0.0,
                driver.speed * _TIME_GAP_S + closing / (2 * math.sqrt(_ACCELERATION * _BRAKING)),
            )
            acceleration -= (wished_gap / gap) ** 2
        driver.speed = max(0.0, driver.speed + _ACCELERATION * max(acceleration, -4.0) * step_s)
        driver.position += driver.speed * step_s
        ahead = driver


def _near_y(driver: _Driver) -> float:
    """Distance of the vehicle's near end: its front where oncoming, else its rear."""
    if driver.lane.oncoming:
        return OVERPASS_Y + 1.0 - driver.position
    return NEAR_Y + driver.position - driver.kind.length


def _has_left(driver: _Driver) -> bool:
    near_y = _near_y(driver)
    return near_y + driver.kind.length < 0.0 if driver.lane.oncoming else near_y > OVERPASS_Y + 1.0
