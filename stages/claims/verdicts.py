"""The verdict on one claim, with its reason."""

import operator
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from stages.claims.config import Bound, Claim
from stages.claims.intervals import joint_interval
from stages.lib.core.measurements import Measurement

MIN_SEEDS = 3
REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
NOT_TESTABLE, NO_DATA = "not testable at this scale", "data not available"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_TESTABLE, NO_DATA)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """interval is None for exact claims and for what was not measured."""

    verdict: str
    reason: str
    interval: tuple[float, float] | None = None


def judge(
    claim: Claim,
    measurement: Measurement | None,
    *,
    unavailable: AbstractSet[str],
    built: AbstractSet[str],
    confidence: float,
) -> Verdict:
    """Exact claims and paper values compare the value, trends the whole interval over seeds, with the bound.

    unavailable  data sets that no source has here
    built        papers whose stage is part of this pipeline
    """
    if measurement is None or claim.bound is None:
        return _not_measured(claim, unavailable, built)
    # the unit of shares and counts is 1, which a reader need not see
    unit = "" if measurement.unit == "1" else f" {measurement.unit}"
    if claim.kind != "trend":
        holds = holds_for(claim.bound, measurement.value)
        sentence = f"{measurement.value:g}{unit} over {measurement.n} cases, {_wanted(claim.bound)}"
        return Verdict(verdict=REPRODUCED if holds else NOT_REPRODUCED, reason=sentence)
    seeds = len({sample.seed for sample in measurement.samples})
    if seeds < MIN_SEEDS:
        had = "1 seed" if seeds == 1 else f"{seeds} seeds"
        return Verdict(verdict=NOT_TESTABLE, reason=f"{had}, a trend needs {MIN_SEEDS}")
    interval = joint_interval(measurement.samples, measurement.resamples, confidence=confidence)
    assert interval is not None  # there are three samples or more
    inside = [holds_for(claim.bound, end) for end in interval]
    images = " and resampled test images" if measurement.resamples else ""
    where = f"the interval [{interval[0]:.4g}, {interval[1]:.4g}]{unit} over {seeds} seeds{images}"
    if all(inside):
        return Verdict(
            verdict=REPRODUCED, interval=interval, reason=f"{where} lies within it: {_wanted(claim.bound)}"
        )
    if any(inside) or _straddles(claim.bound, interval):
        return Verdict(
            verdict=INCONCLUSIVE,
            interval=interval,
            reason=f"{where} crosses the bound: {_wanted(claim.bound)}",
        )
    return Verdict(
        verdict=NOT_REPRODUCED, interval=interval, reason=f"{where} lies outside: {_wanted(claim.bound)}"
    )


def holds_for(bound: Bound, value: float) -> bool:
    return _RELATIONS[bound.relation](value, bound.value)


def _not_measured(claim: Claim, unavailable: AbstractSet[str], built: AbstractSet[str]) -> Verdict:
    missing = sorted(set(claim.datasets) & unavailable)
    if missing:
        return Verdict(verdict=NO_DATA, reason=f"no source has {', '.join(missing)} here")
    if claim.paper not in built:
        return Verdict(verdict=NOT_TESTABLE, reason="stage not built")
    if claim.bound is None:
        return Verdict(verdict=NOT_TESTABLE, reason="there is no value to compare with")
    return Verdict(verdict=NOT_TESTABLE, reason="not measured at this scale")


def _straddles(bound: Bound, interval: tuple[float, float]) -> bool:
    return bound.relation == "==" and interval[0] <= bound.value <= interval[1]


def _wanted(bound: Bound) -> str:
    return f"wanted {bound.relation} {bound.value:g}"


_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def by_claim(measurements: Sequence[Measurement]) -> dict[str, Measurement]:
    """Measurements by the claim that they decide; the last wins, as collect_measurements refuses doubles."""
    return {measurement.claim: measurement for measurement in measurements}
