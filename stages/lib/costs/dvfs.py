"""Voltage and frequency scaling: how fast and how dear logic is at another supply voltage, and what switching costs.

The shape of both laws comes from SPICE of gates in the open SkyWater 130 nm process (`sky130_voltage.csv` beside this
file, made by stages.hardware.measure_voltage_curve):

    frequency  f(V) ~ (V - Vth)^alpha / V     alpha-power law (Sakurai and Newton 1990)
    energy     E(V) ~ V^p                     p is 2 for switching alone

Within that process these are fits with known residuals (`fit_residuals`). For any other process they are a **model**:
the functions named `transferred_...` assume that the curve keeps its shape over voltage / nominal voltage, though
thresholds and slopes differ between nodes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.core.errors import InputError

CURVE = Path(__file__).with_name("sky130_voltage.csv")
FIT = Path(__file__).with_name("sky130_voltage_fit.json")
NOMINAL_V = 1.8  # of sky130's logic


@dataclass(frozen=True, kw_only=True)
class DvfsLevel:
    """A supply voltage and the clock that runs on it."""

    voltage_v: float
    frequency_ghz: float

    def __post_init__(self) -> None:
        for name in ("voltage_v", "frequency_ghz"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} of a DVFS level is {getattr(self, name)}; choose more than 0")


# HALO, section 2.2 of its notes. Evidence: second-hand summary; both tables are assumed values of the paper.
HALO_ARRAY_LEVELS = (
    DvfsLevel(voltage_v=1.0, frequency_ghz=1.9),
    DvfsLevel(voltage_v=1.1, frequency_ghz=2.4),
    DvfsLevel(voltage_v=1.2, frequency_ghz=3.7),
)
HALO_GPU_LEVELS = (
    DvfsLevel(voltage_v=0.9, frequency_ghz=1.5),
    DvfsLevel(voltage_v=1.0, frequency_ghz=2.0),
    DvfsLevel(voltage_v=1.1, frequency_ghz=2.8),
)
HALO_EVIDENCE = "second-hand summary"


@dataclass(frozen=True, kw_only=True)
class VoltageFit:
    """gate delay = delay_scale_ps * V / (V - threshold_v)^alpha, energy = energy_scale_fj * V^energy_exponent.

    lowest_v, highest_v     the voltages between which it was fitted, and outside of which it is not used
    """

    threshold_v: float
    alpha: float
    delay_scale_ps: float
    energy_scale_fj: float
    energy_exponent: float
    lowest_v: float
    highest_v: float

    def gate_delay_ps(self, voltage_v: np.ndarray) -> np.ndarray:
        return self.delay_scale_ps * voltage_v / (voltage_v - self.threshold_v) ** self.alpha

    def energy_fj(self, voltage_v: np.ndarray) -> np.ndarray:
        return self.energy_scale_fj * voltage_v**self.energy_exponent


@dataclass(frozen=True, kw_only=True)
class TransitionCost:
    """What changes of level cost in all."""

    count: int
    time_ns: float
    energy_fj: float


def relative_frequency(voltage_v: float, *, nominal_v: float = NOMINAL_V) -> float:
    """Frequency of sky130 logic at voltage_v over that at nominal_v, by the fitted law."""
    _check(voltage_v), _check(nominal_v)
    return float(voltage_fit().gate_delay_ps(nominal_v) / voltage_fit().gate_delay_ps(voltage_v))


def relative_energy(voltage_v: float, *, nominal_v: float = NOMINAL_V) -> float:
    """Energy of one operation of sky130 logic at voltage_v over that at nominal_v, by the fitted law."""
    _check(voltage_v), _check(nominal_v)
    return float(voltage_fit().energy_fj(voltage_v) / voltage_fit().energy_fj(nominal_v))


def transferred_relative_frequency(voltage_v: float, *, nominal_v: float) -> float:
    """Modelled: frequency in another process at voltage_v over that at its nominal_v.

    Assumes sky130's curve over V / nominal voltage. Raises InputError where that lies outside of the fitted voltages.
    """
    return relative_frequency(_transferred_v(voltage_v, nominal_v))


def transferred_relative_energy(voltage_v: float, *, nominal_v: float) -> float:
    """Modelled: energy of one operation in another process at voltage_v over that at its nominal_v (see above)."""
    return relative_energy(_transferred_v(voltage_v, nominal_v))


def transferred_levels(
    voltages_v: Sequence[float], *, nominal_v: float, nominal_ghz: float
) -> tuple[DvfsLevel, ...]:
    """Modelled: the clocks of one circuit, which runs at nominal_ghz on nominal_v, at each voltage."""
    return tuple(
        DvfsLevel(
            voltage_v=v, frequency_ghz=nominal_ghz * transferred_relative_frequency(v, nominal_v=nominal_v)
        )
        for v in voltages_v
    )


def transition_cost(levels: Sequence[DvfsLevel], *, time_ns: float, energy_fj: float = 0.0) -> TransitionCost:
    """Cost of running the levels in this order: a change costs time_ns and energy_fj, staying costs nothing."""
    if not (time_ns >= 0 and energy_fj >= 0):
        raise InputError(f"a DVFS transition of {time_ns} ns and {energy_fj} fJ: choose 0 or more for both")
    count = sum(before != after for before, after in pairwise(levels))
    return TransitionCost(count=count, time_ns=count * time_ns, energy_fj=count * energy_fj)


def fit_residuals() -> pd.DataFrame:
    """SPICE beside the fit, rising voltages: measured and fitted delay and energy, and relative errors (fit / SPICE - 1).

    `fitted` is False for voltages that the fit has not seen: there the errors show where the laws end.
    """
    curve, fit = voltage_curve(), voltage_fit()
    voltage_v = curve.voltage_v.to_numpy()
    # below its threshold the law has no value
    delay = fit.gate_delay_ps(np.where(voltage_v > fit.threshold_v, voltage_v, np.nan))
    return curve.assign(
        fitted=(voltage_v >= fit.lowest_v) & (voltage_v <= fit.highest_v),
        fitted_gate_delay_ps=delay,
        fitted_energy_fj_per_cycle=fit.energy_fj(voltage_v),
        delay_error=delay / curve.gate_delay_ps - 1,
        energy_error=fit.energy_fj(voltage_v) / curve.energy_fj_per_cycle - 1,
    )


@cache
def voltage_curve() -> pd.DataFrame:
    """voltage_v (rising), gate_delay_ps, energy_fj_per_cycle as SPICE gave them."""
    return pd.read_csv(CURVE, comment="#").sort_values("voltage_v", ignore_index=True)


@cache
def voltage_fit() -> VoltageFit:
    return VoltageFit(**json.loads(FIT.read_text(encoding="utf-8")))


def _transferred_v(voltage_v: float, nominal_v: float) -> float:
    if not nominal_v > 0:
        raise InputError(f"the nominal voltage is {nominal_v} V; choose that of the process, more than 0")
    low_v, high_v = (v / NOMINAL_V * nominal_v for v in (voltage_fit().lowest_v, voltage_fit().highest_v))
    if not low_v <= voltage_v <= high_v:
        raise InputError(
            f"{voltage_v} V at a nominal voltage of {nominal_v} V is outside of the model;"
            f" choose {low_v:.3g} to {high_v:.3g} V"
        )
    return voltage_v / nominal_v * NOMINAL_V


def _check(voltage_v: float) -> None:
    fit = voltage_fit()
    # a transferred voltage may miss the end of the range by a rounding
    if not fit.lowest_v - 1e-9 <= voltage_v <= fit.highest_v + 1e-9:
        raise InputError(
            f"{voltage_v} V is outside of the fitted {fit.lowest_v} to {fit.highest_v} V; choose a voltage in between"
        )
