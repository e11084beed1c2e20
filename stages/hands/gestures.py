"""The ten gestures of EgoGestAR as parametric templates with a human speed profile (notes 2.3 and 3).

A template is a polyline or an ellipse in a unit box, x to the right and y down as in pictures, drawn in the direction
that the names and the real training trajectories have. People differ: corners move, strokes bow, the whole is scaled,
turned and sheared, ends stay open or overlap. Along each stroke the finger moves with minimum jerk (Flash and Hogan
1985), blended with even speed; round a curve its speed follows the two-thirds power law (Lacquaniti et al. 1983). No
point of the real data is used; the spreads below were set by looking at the statistics of its training split.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.core.errors import InputError

Array = NDArray[np.float64]

# corners in order; the circle is a curve of its own
CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "carret": ((0.20, 0.90), (0.45, 0.10), (0.80, 0.90)),
    "del": ((0.25, 0.15), (0.72, 0.82), (0.20, 0.85), (0.78, 0.12)),
    "down": ((0.5, 0.1), (0.5, 0.9)),
    "left": ((0.9, 0.5), (0.1, 0.5)),
    "right": ((0.1, 0.5), (0.9, 0.5)),
    "square": ((0.12, 0.15), (0.88, 0.15), (0.88, 0.85), (0.12, 0.85), (0.12, 0.12)),
    "star": ((0.20, 0.95), (0.45, 0.05), (0.72, 0.90), (0.05, 0.40), (0.90, 0.32), (0.25, 0.95)),
    "tick": ((0.10, 0.40), (0.30, 0.78), (0.92, 0.25)),
    "up": ((0.5, 0.9), (0.5, 0.1)),
}
GESTURES = tuple(sorted((*CORNERS, "circlecc")))
STRAIGHT = ("down", "left", "right", "up")
STEP_S = 1 / 240  # of the dense path


@dataclass(frozen=True, kw_only=True)
class HandStyle:
    """How far people differ. Lengths are shares of the unit box, angles rad, times s; spreads are standard deviations.

    corner, bow    of each corner's place; of a stroke's middle off its chord, as a share of its length
    aspect         of the logarithm of height over width
    tilt, shear    of the whole
    overlap        of a circle's end beyond its start, in rad
    rounding       of corners, as a share of the box, up to
    speed          mean in boxes per second, and its spread (logarithmic)
    evenness       share of even speed in the profile, from and to
    pause_s        at a corner, up to
    rest_s         before the start and after the end, up to
    tremor         physiological, 8 to 12 Hz
    """

    corner: float = 0.045
    bow: float = 0.045
    aspect: float = 0.36
    tilt: float = 0.08
    shear: float = 0.10
    overlap: float = 0.35
    rounding: float = 0.03
    speed: float = 1.0
    speed_spread: float = 0.35
    evenness: tuple[float, float] = (0.2, 0.8)
    pause_s: float = 0.12
    rest_s: float = 0.25
    tremor: float = 0.0025


@dataclass(frozen=True, kw_only=True)
class GesturePath:
    """A dense path: times_s (n,) from 0, points (n, 2) in the unit box (mostly)."""

    times_s: Array
    points: Array

    @property
    def duration_s(self) -> float:
        return float(self.times_s[-1])

    def at(self, times_s: Array) -> Array:
        """(..., 2) positions at these times; before and after, the ends."""
        return np.stack([np.interp(times_s, self.times_s, self.points[:, i]) for i in (0, 1)], axis=-1)


def draw_gesture(name: str, rng: np.random.Generator, style: HandStyle | None = None) -> GesturePath:
    """One person's drawing of a gesture. Raises InputError where there is no such gesture."""
    if name not in GESTURES:
        raise InputError(f"there is no gesture {name!r}; choose from {', '.join(GESTURES)}")
    style = style or HandStyle()
    strokes = _circle(rng, style) if name == "circlecc" else _strokes(name, rng, style)
    points = _timed(strokes, rng, style)
    points = (_transform(name, rng, style) @ (points - 0.5).T).T + 0.5
    points = points + _tremor(len(points), rng, style)
    return GesturePath(times_s=np.arange(len(points)) * STEP_S, points=points)


def _strokes(name: str, rng: np.random.Generator, style: HandStyle) -> list[Array]:
    """(200, 2) evenly spaced points of each stroke from corner to corner."""
    corners = np.array(CORNERS[name])
    corners = corners + rng.normal(0, style.corner, corners.shape)
    t = np.linspace(0, 1, 200)[:, None]
    strokes = []
    for start, end in itertools.pairwise(corners):
        across = np.array([[0.0, -1.0], [1.0, 0.0]]) @ (end - start)
        bow, lean = rng.normal(0, style.bow), rng.uniform(0.6, 1.6)
        strokes.append(start + t * (end - start) + 4 * bow * (t**lean * (1 - t**lean)) * across)
    return strokes


def _circle(rng: np.random.Generator, style: HandStyle) -> list[Array]:
    """Counter-clockwise on the screen from somewhere at the top right, with an overlap or a gap, slightly spiral."""
    start = rng.normal(-0.9, 0.5)
    turn = 2 * np.pi + rng.normal(0.1, style.overlap)
    angle = start - np.linspace(0, turn, 400)
    radius = 0.42 + np.linspace(0, rng.normal(0, 0.05), 400)
    for harmonic in (2, 3):
        radius = radius * (1 + rng.normal(0, 0.03) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi)))
    return [0.5 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)]


def _timed(strokes: list[Array], rng: np.random.Generator, style: HandStyle) -> Array:
    """The strokes at even time steps, with pauses, rests and rounded corners."""
    speed = style.speed * np.exp(rng.normal(0, style.speed_spread))
    evenness = rng.uniform(*style.evenness)
    pieces = [np.repeat(strokes[0][:1], _steps(rng.uniform(0, style.rest_s)), axis=0)]
    for stroke in strokes:
        lengths = np.linalg.norm(np.diff(stroke, axis=0), axis=1)
        # long strokes are drawn faster: time grows with the root of the length (isochrony)
        seconds = np.sqrt(lengths.sum() * 0.7) / speed * np.exp(rng.normal(0, 0.15))
        clock = np.linspace(0, 1, max(_steps(seconds), 8))
        # even evenness of exactly 0 at the ends would leave doubled points: minimum jerk is 0 there
        share = evenness * clock + (1 - evenness) * (10 * clock**3 - 15 * clock**4 + 6 * clock**5)
        along = np.concatenate([[0], np.cumsum(lengths * _slowness(stroke))])
        along /= along[-1]
        pieces.append(np.stack([np.interp(share, along, stroke[:, i]) for i in (0, 1)], axis=1))
        pieces.append(np.repeat(stroke[-1:], _steps(rng.uniform(0, style.pause_s)), axis=0))
    pieces.append(np.repeat(strokes[-1][-1:], _steps(rng.uniform(0, style.rest_s)), axis=0))
    points = np.concatenate(pieces)
    # a finger cannot stop at once: low-pass over a few hundredths of a second, which rounds the corners too
    width = _steps(rng.uniform(0.02, 0.10)) + round(style.rounding * rng.random() / STEP_S)
    kernel = np.hanning(2 * width + 3)
    padded = np.pad(points, ((width + 1, width + 1), (0, 0)), mode="edge")
    kernel /= kernel.sum()
    return np.stack([np.convolve(padded[:, i], kernel, mode="valid") for i in (0, 1)], axis=1)


def _slowness(stroke: Array) -> Array:
    """(n - 1,) time per length by the two-thirds power law: speed is proportional to the radius to the power 1/3."""
    first, second = np.gradient(stroke, axis=0), np.gradient(np.gradient(stroke, axis=0), axis=0)
    cross = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    curvature = cross / np.maximum(np.linalg.norm(first, axis=1) ** 3, 1e-12)
    return np.asarray((0.3 + curvature[1:]) ** (1 / 3))


def _transform(name: str, rng: np.random.Generator, style: HandStyle) -> Array:
    """(2, 2) aspect, shear and tilt; straight gestures tilt more and have no aspect."""
    stretch = np.exp(rng.normal(0, 0 if name in STRAIGHT else style.aspect) / 2)
    tilt, shear = rng.normal(0, style.tilt), rng.normal(0, style.shear)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    return turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([1 / stretch, stretch])


def _tremor(n: int, rng: np.random.Generator, style: HandStyle) -> Array:
    """(n, 2) a few sinusoids of 8 to 12 Hz, and a slow drift of the hand."""
    t = np.arange(n)[:, None] * STEP_S
    total = np.zeros((n, 2))
    for low, high, amplitude in ((8, 12, style.tremor), (8, 12, style.tremor), (0.3, 1.2, 3 * style.tremor)):
        frequency, phase = rng.uniform(low, high, 2), rng.uniform(0, 2 * np.pi, 2)
        total += amplitude * np.sin(2 * np.pi * frequency * t + phase)
    return total


def _steps(seconds: float) -> int:
    return max(round(seconds / STEP_S), 1)
