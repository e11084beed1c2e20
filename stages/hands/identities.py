"""Whose hand it is: shape, skin tone, sleeve, left or right."""

from dataclasses import dataclass

import numpy as np

from stages.hands.skin import DARKEST

ANCESTRIES = ("african", "asian", "caucasian")


@dataclass(frozen=True, kw_only=True)
class Sleeve:
    """cover: share of the forearm from the elbow, 0..1; colour: linear RGB; thickness_m: gap to the skin at the cuff."""

    cover: float
    colour: tuple[float, float, float]
    thickness_m: float


@dataclass(frozen=True, kw_only=True)
class Identity:
    """shape: weights of shape targets by name; tone: 0 (lightest) to 8; maps_seed: of the painted skin."""

    shape: dict[str, float]
    tone: float
    left: bool
    sleeve: Sleeve | None
    maps_seed: int


def draw_identity(rng: np.random.Generator, *, tone: float, left: bool, sleeve: bool) -> Identity:
    """A person drawn at random; what a study balances (tone, side, sleeve) is given."""
    if not 0 <= tone <= DARKEST:
        raise ValueError(f"tone is {tone}: choose 0 to {DARKEST}")
    return Identity(
        shape=draw_shape(rng),
        tone=tone,
        left=left,
        sleeve=draw_sleeve(rng) if sleeve else None,
        maps_seed=int(rng.integers(2**31)),
    )


def draw_shape(rng: np.random.Generator) -> dict[str, float]:
    """Weights of MakeHuman's targets: a mixture of ancestry, sex and age, of muscle and weight, and local ones."""
    male, age = rng.random(), rng.uniform(0, 0.55)
    sexes, ages = {"male": male, "female": 1 - male}, {"young": 1 - age, "old": age}
    muscle, weight = _three(rng.uniform(-0.6, 0.9)), _three(rng.uniform(-0.6, 0.6))
    shape: dict[str, float] = {}
    for ancestry, share in zip(ANCESTRIES, rng.dirichlet([1, 1, 1]), strict=True):
        for sex, s in sexes.items():
            for years, a in ages.items():
                shape[f"{ancestry}-{sex}-{years}"] = float(share * s * a)
    for sex, s in sexes.items():
        for years, a in ages.items():
            for m, m_share in muscle.items():
                for w, w_share in weight.items():
                    name = f"universal-{sex}-{years}-{m}muscle-{w}weight"
                    shape[name] = float(s * a * m_share * w_share)
    for name, low, high in (
        ("r-hand-fingers-diameter", -0.5, 0.5),
        ("r-hand-fingers-length", -0.4, 0.5),
        ("r-hand-scale", -0.2, 0.4),
        ("r-lowerarm-fat", -0.5, 0.5),
        ("r-lowerarm-muscle", -0.5, 0.5),
    ):
        value = rng.uniform(low, high)
        shape[f"{name}-{'incr' if value > 0 else 'decr'}"] = float(abs(value))
    # the middle of both scales is the base mesh itself, which needs no target
    return {n: v for n, v in shape.items() if v > 0 and not n.endswith("averagemuscle-averageweight")}


def draw_sleeve(rng: np.random.Generator) -> Sleeve:
    """Cloth of any hue, mostly dull, from half of the forearm up to just behind the wrist."""
    value, saturation, hue = rng.uniform(0.02, 0.6), rng.uniform(0.05, 0.7), rng.random()
    weights = np.clip(np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
    colour = value * (1 - saturation + saturation * weights)
    return Sleeve(
        cover=float(rng.uniform(0.45, 0.85)),
        colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        thickness_m=float(rng.uniform(0.004, 0.008)),
    )


def _three(value: float) -> dict[str, float]:
    """Shares of min, average and max for a value of -1..1."""
    return {"average": 1 - abs(value), "max": max(value, 0.0), "min": max(-value, 0.0)}
