"""Fingertip trajectories as a classifier sees them: of one length, one size, and as imperfect as a tracker gives them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.hands.gestures import GESTURES, draw_gesture
from stages.lib.core.errors import InputError

Array = NDArray[np.float64]

POINTS = 64  # of a resampled trajectory
# a step of that share of the whole's larger side, and that many times the median step, is a tracker that starts anew
JUMP_SIZE, JUMP_STEPS = 0.4, 10.0


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """What a fingertip tracker does to a path. Lengths are shares of the path's larger side.

    frames_per_s   drawn between these two
    noise          standard deviation of a point, drawn from 0 up to
    missing        share of frames without a fingertip, drawn from 0 up to
    outliers       share of points that lie anywhere, drawn from 0 up to
    stray          chance of a movement to the start or from the end that is no part of the gesture, and its length up to
    """

    frames_per_s: tuple[float, float] = (8, 60)
    noise: float = 0.025
    missing: float = 0.3
    outliers: float = 0.03
    stray: float = 0.3
    stray_length: float = 0.35


def tracked(name: str, rng: np.random.Generator, tracker: Tracker) -> Array:
    """(n, 2) a drawing of the gesture as the tracker gives it, x to the right and y down."""
    path = draw_gesture(name, rng)
    points = path.at(np.arange(0, path.duration_s, 1 / rng.uniform(*tracker.frames_per_s)))
    size = np.ptp(points, axis=0).max()
    for at_start in (True, False):
        if rng.random() < tracker.stray:
            points = _with_stray(points, rng, tracker.stray_length * size, at_start=at_start)
    points = points + rng.normal(0, rng.uniform(0, tracker.noise) * size, points.shape)
    wrong = rng.random(len(points)) < rng.uniform(0, tracker.outliers)
    points[wrong] += rng.normal(0, 0.3 * size, (int(wrong.sum()), 2))
    kept = rng.random(len(points)) >= rng.uniform(0, tracker.missing)
    kept[[0, -1]] = True
    return np.asarray(points[kept])


def longest_run(points: Array) -> Array:
    """The longest piece (by points, the last of equals) between jumps that no finger makes.

    Where a tracker loses the finger and starts anew, or a record holds a gesture twice, as a quarter of EgoGestAR's
    training records of the caret do, one piece is one drawing.
    """
    if len(points) < 2:
        return points
    steps = np.hypot(*np.diff(points, axis=0).T)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    far = max(JUMP_SIZE * float(np.ptp(points, axis=0).max()), JUMP_STEPS * usual)
    pieces = np.split(points, np.flatnonzero(steps > far) + 1)
    longest = max(len(piece) for piece in pieces)
    return [piece for piece in pieces if len(piece) == longest][-1]


def resampled(points: Array) -> Array:
    """(POINTS, 2) at even arc length, centred on the middle of the box, its larger side 1.

    Raises InputError where there are fewer than two points, or where they do not move.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise InputError(
            f"a trajectory is {np.shape(points)}: it needs two points (x, y) or more, all of them finite"
        )
    low, high = points.min(0), points.max(0)
    size = (high - low).max()
    if size == 0:
        raise InputError("a trajectory stays on one point: it shows no gesture")
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, along[-1], POINTS)
    even = np.stack([np.interp(at, along, points[:, i]) for i in (0, 1)], axis=1)
    return np.asarray((even - (low + high) / 2) / size)


def features(trajectories: list[Array]) -> NDArray[np.float32]:
    """(n, 4, POINTS): place and direction of the resampled trajectories."""
    even = np.stack([resampled(longest_run(np.asarray(points, dtype=float))) for points in trajectories])
    step = np.diff(even, axis=1, prepend=even[:, :1])
    direction = step / np.maximum(np.linalg.norm(step, axis=2, keepdims=True), 1e-6)
    return np.concatenate([even, direction], axis=2).transpose(0, 2, 1).astype(np.float32)


def templates(
    n: int, rng: np.random.Generator, tracker: Tracker
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (n, 4, POINTS) and labels (n,), indices into GESTURES, of n drawings; all gestures alike often."""
    labels = np.arange(n) % len(GESTURES)
    return features([tracked(GESTURES[label], rng, tracker) for label in labels]), labels


def _with_stray(points: Array, rng: np.random.Generator, length: float, *, at_start: bool) -> Array:
    """A movement from somewhere to the first point, or from the last one away: a hand mostly comes from below."""
    angle = rng.normal(np.pi / 2, 1.2)
    far = rng.uniform(0.2, 1) * length * np.array([np.cos(angle), np.sin(angle)])
    share = np.linspace(1, 0, rng.integers(3, 9), endpoint=False)[:, None] ** 2
    if at_start:
        return np.concatenate([points[0] + share * far, points])
    return np.concatenate([points, points[-1] + share[::-1] * far])
