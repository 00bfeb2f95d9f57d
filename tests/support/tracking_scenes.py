"""Seeded scenes of detections with ground truth, for the tracker's tests and benchmark.

Two kinds. `road`: vehicles in perspective, towards the camera and away from it, that hide each
other. `crowd`: boxes that cross each other in all directions on the image plane. Both have what
makes tracking hard: misses, scores that sink while an object is hidden, false boxes, noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WIDTH, HEIGHT = 960.0, 540.0
"""Pixels of the image."""

_FOCAL, _HORIZON, _CAMERA_HEIGHT = 700.0, 140.0, 6.0
_LANES = np.array([-6.0, -2.5, 2.5, 6.0])
_NEAR, _FAR = 9.0, 90.0


@dataclass(frozen=True)
class Scene:
    """What happened, and what a detector saw of it.

    Attributes:
        truth_ids: per frame int64 [n].
        truth_boxes: per frame float64 [n, 4].
        detections: per frame float32 [k, 6], in no particular order.
    """

    truth_ids: list[NDArray[np.int64]]
    truth_boxes: list[NDArray[np.float64]]
    detections: list[NDArray[np.float32]]


def road(seed: int, frames: int, objects: int) -> Scene:
    """Vehicles on four lanes; there are always `objects`, some of them still out of sight."""
    random = np.random.default_rng(seed)
    identity = np.arange(objects)
    lane = random.integers(len(_LANES), size=objects)
    depth = random.uniform(_NEAR, _FAR, objects)
    size = np.stack((random.uniform(1.7, 2.6, objects), random.uniform(1.4, 3.5, objects)), axis=1)
    speed = random.uniform(0.15, 0.6, objects)
    phase = random.uniform(0, 2 * np.pi, objects)
    kind = random.integers(3, size=objects)

    def step(frame: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        nonlocal identity
        # The two lanes on the left come towards the camera. Everyone slows down now and then.
        direction = np.where(lane < 2, -1.0, 1.0)
        depth[:] += direction * speed * (1 + 0.6 * np.sin(phase + frame / 25))
        gone = (depth < _NEAR) | (depth > _FAR)
        identity = np.where(gone, identity.max() + 1 + np.cumsum(gone), identity)
        depth[gone] = np.where(direction[gone] < 0, _FAR, _NEAR)
        speed[gone] = random.uniform(0.15, 0.6, int(gone.sum()))
        scale = _FOCAL / depth
        centre = WIDTH / 2 + _LANES[lane] * scale
        bottom = _HORIZON + _CAMERA_HEIGHT * scale
        half, tall = size[:, 0] * scale / 2, size[:, 1] * scale
        boxes = np.stack((centre - half, bottom - tall, centre + half, bottom), axis=1)
        return identity, boxes, kind

    return _observe(random, frames, step)


def crowd(seed: int, frames: int, objects: int) -> Scene:
    """Boxes that move across the image in all directions and turn back at its borders."""
    random = np.random.default_rng(seed)
    identity = np.arange(objects)
    centre = random.uniform((50, 50), (WIDTH - 50, HEIGHT - 50), (objects, 2))
    velocity = random.normal(0, 3, (objects, 2))
    half = random.uniform((12, 15), (30, 45), (objects, 2))
    kind = random.integers(3, size=objects)

    def step(frame: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        velocity[:] += random.normal(0, 0.25, velocity.shape)
        centre[:] += velocity
        outside = (centre < half) | (centre > (WIDTH, HEIGHT) - half)
        velocity[outside] *= -1
        centre[:] = np.clip(centre, half, (WIDTH, HEIGHT) - half)
        return identity, np.concatenate((centre - half, centre + half), axis=1), kind

    return _observe(random, frames, step)


def _observe(
    random: np.random.Generator,
    frames: int,
    step: Callable[[int], tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]],
) -> Scene:
    """Look at the moving objects with an imperfect detector."""
    scene = Scene([], [], [])
    for frame in range(frames):
        ids, boxes, kinds = step(frame)
        boxes = np.clip(boxes, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
        visible = _visible_part(boxes)
        inside = ((boxes[:, 2:] - boxes[:, :2]) > 8).all(axis=1)
        true = inside & (visible > 0.2)
        scene.truth_ids.append(ids[true].astype(np.int64))
        scene.truth_boxes.append(boxes[true])
        score = np.clip(0.35 + 0.55 * visible + random.normal(0, 0.08, len(ids)), 0.05, 0.99)
        found = inside & (visible > 0.3) & (random.random(len(ids)) > 0.04)
        noise = random.normal(0, 0.03, (len(ids), 4)) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        kind = np.where(random.random(len(ids)) < 0.05, (kinds + 1) % 3, kinds)
        seen = np.concatenate((boxes + noise, score[:, None], kind[:, None]), axis=1)[found]
        rows = np.concatenate((seen, _false_rows(random)))
        scene.detections.append(random.permutation(rows).astype(np.float32))
    return scene


def _visible_part(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of each box that no single nearer box hides; the lower bottom is the nearer."""
    left_top = np.maximum(boxes[:, None, :2], boxes[:, :2])
    right_bottom = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = np.maximum(right_bottom - left_top, 0).prod(axis=2)
    shared[boxes[:, None, 3] >= boxes[:, 3]] = 0
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-9)
    visible: NDArray[np.float64] = 1 - shared.max(axis=1) / area
    return visible


def _false_rows(random: np.random.Generator) -> NDArray[np.float64]:
    count = random.poisson(0.5)
    corner = random.uniform((0, 0), (WIDTH - 80, HEIGHT - 80), (count, 2))
    far_corner = corner + random.uniform(10, 80, (count, 2))
    score = random.uniform(0.1, 0.8, (count, 1))
    kind = random.integers(3, size=(count, 1))
    return np.concatenate((corner, far_corner, score, kind), axis=1)
