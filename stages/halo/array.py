"""Quantised language models on a systolic array whose clock follows the weights: arms, levels, time and energy.

All of it is modelled. An arm says how many bits weights and activations have, at which voltages and clocks its classes of
tiles run, and what a MAC costs there; the array is that of stages.lib.costs.systolic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stages.halo.quantise import Quantised
from stages.lib.core.errors import InputError
from stages.lib.costs.dvfs import (
    HALO_ARRAY_LEVELS,
    DvfsLevel,
    transferred_relative_frequency,
    transition_cost,
)
from stages.lib.costs.systolic import (
    OPERANDS,
    ArrayEnergy,
    SystolicArray,
    order_by_layer,
    order_by_pass,
    systolic_costs,
)

BASE_V, BASE_GHZ = 1.0, 1.9  # where the array runs with all int8 values (HALO, second-hand)
LOW_V, HIGH_V = 1.2, 1.1  # of low and of high tiles
# an FP16 multiply and add over an INT8 multiply and 32-bit add, (1.1 + 0.4) / (0.2 + 0.1) pJ at 45 nm (Horowitz 2014)
FP16_MAC = 5.0
POWER_POINTS = 24
SPMV_LANES = 128  # exceptional weights that an engine beside the array takes a cycle


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """One netlist: delay_ns and energy_fj (256,) of each weight value from -128 on."""

    name: str
    delay_ns: np.ndarray
    energy_fj: np.ndarray

    @classmethod
    def of(cls, profile: pd.DataFrame) -> "Multiplier":
        """profile: one netlist of a weight profile."""
        by_weight = profile.sort_values("weight")
        return cls(
            name=str(profile["netlist"].iloc[0]),
            delay_ns=by_weight["delay_ns"].to_numpy(),
            energy_fj=by_weight["energy_fj"].to_numpy(),
        )

    def class_ghz(self, values: Sequence[int]) -> float:
        """Clock at BASE_V of tiles that hold these values, where all of them together run at BASE_GHZ."""
        return BASE_GHZ * float(self.delay_ns.max() / self.delay_ns[np.asarray(values) + 128].max())

    def mean_fj(self, counts: np.ndarray) -> float:
        """Mean energy of a MAC over codes counted (256,); over all values where none was counted."""
        if not counts.sum():
            return float(self.energy_fj.mean())
        return float((counts * self.energy_fj).sum() / counts.sum())


@dataclass(frozen=True, kw_only=True)
class Arm:
    """How a model's linear layers run.

    levels, level_share, mac_fj  of each class of tiles, the shares alike in every layer, energies of a MAC at BASE_V
    sparse_share                 of the weights is multiplied apart, at BASE_V and BASE_GHZ
    plain_fj                     of a MAC apart and in attention, where any values meet
    """

    name: str
    weight_bits: float
    levels: tuple[DvfsLevel, ...]
    mac_fj: tuple[float, ...]
    plain_fj: float
    level_share: tuple[float, ...] = (1.0,)
    activation_bits: int = 8
    sparse_share: float = 0.0


BASE = DvfsLevel(voltage_v=BASE_V, frequency_ghz=BASE_GHZ)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a quantised model stores: bits a weight, codes counted by class, share of low tiles and of weights apart."""

    bits: float
    low_counts: np.ndarray
    high_counts: np.ndarray
    low_share: float = 0.0
    sparse_share: float = 0.0

    @classmethod
    def of(cls, quantised: Quantised, *, tile: int) -> "Stored":
        counts = {kind: n.numpy() for kind, n in quantised.code_counts(tile).items()}
        return cls(
            bits=quantised.bits_per_weight,
            low_counts=counts["low"],
            high_counts=counts["high"],
            low_share=quantised.low_share,
            sparse_share=quantised.sparse_share,
        )


def raised(ghz: float, voltage_v: float) -> DvfsLevel:
    """The level of a circuit that runs at `ghz` on BASE_V (sky130's curve, carried over: a model)."""
    faster = transferred_relative_frequency(voltage_v, nominal_v=BASE_V)
    return DvfsLevel(voltage_v=voltage_v, frequency_ghz=ghz * faster)


def baselines(multiplier: Multiplier, stored: Mapping[str, Stored]) -> list[Arm]:
    """FP16, W8A8 and W4A8, W8A8 at a higher voltage, and W8A8 at HALO's clock without its weights (no timing holds)."""
    int8 = multiplier.mean_fj(stored["rtn-w8"].high_counts)
    w4 = stored["rtn-w4-g64"]
    fast = HALO_ARRAY_LEVELS[-1].frequency_ghz
    fp16 = FP16_MAC * int8
    w8 = Arm(name="W8A8", weight_bits=stored["rtn-w8"].bits, levels=(BASE,), mac_fj=(int8,), plain_fj=int8)
    return [
        replace(w8, name="FP16", weight_bits=16, activation_bits=16, mac_fj=(fp16,), plain_fj=fp16),
        w8,
        replace(w8, name="W4A8", weight_bits=w4.bits, mac_fj=(multiplier.mean_fj(w4.high_counts),)),
        replace(w8, name=f"W8A8 at {LOW_V} V", levels=(raised(BASE_GHZ, LOW_V),)),
        replace(w8, name="W8A8 overclocked", levels=(DvfsLevel(voltage_v=BASE_V, frequency_ghz=fast),)),
    ]


def halo_arm(
    name: str,
    multiplier: Multiplier,
    stored: Stored,
    books: Mapping[str, Sequence[int]],
    *,
    reading: str,
    plain_fj: float,
) -> Arm:
    """HALO's low and high tiles.

    reading  published: the paper's levels, whatever the multiplier; measured: the clock that this multiplier's delays
             allow, raised by the paper's voltages; iso_voltage: the same at BASE_V
    """
    low_ghz, high_ghz = (multiplier.class_ghz(books[key]) for key in ("low", "high"))
    if reading == "published":
        levels = (HALO_ARRAY_LEVELS[2], HALO_ARRAY_LEVELS[1])
    elif reading == "measured":
        levels = (raised(low_ghz, LOW_V), raised(high_ghz, HIGH_V))
    elif reading == "iso_voltage":
        levels = tuple(DvfsLevel(voltage_v=BASE_V, frequency_ghz=ghz) for ghz in (low_ghz, high_ghz))
    else:
        raise InputError(f"reading {reading!r}: choose published, measured or iso_voltage")
    return Arm(
        name=name,
        weight_bits=stored.bits,
        levels=levels,
        mac_fj=(multiplier.mean_fj(stored.low_counts), multiplier.mean_fj(stored.high_counts)),
        plain_fj=plain_fj,
        level_share=(stored.low_share, 1 - stored.low_share),
        sparse_share=stored.sparse_share,
    )


def counted(layers: pd.DataFrame) -> pd.DataFrame:
    """Layers of equal size once, with a column `times`: the blocks of a model are alike."""
    sizes = layers.assign(weight_name=np.where(layers["weight_name"] == "", "", "weight"))
    keys = ["m", "k", "n", "groups", "weight_name"]
    return sizes.groupby(keys, sort=False).size().rename("times").reset_index()


def divided(array: SystolicArray, parts: int) -> SystolicArray:
    """One of parts x parts arrays of as many MACs in all, which work side by side on a layer from the same SRAMs."""
    return replace(
        array,
        rows=array.rows // parts,
        columns=array.columns // parts,
        dram_gb_s=array.dram_gb_s / parts**2,
        **{f"{name}_bytes_per_cycle": getattr(array, f"{name}_bytes_per_cycle") / parts for name in OPERANDS},
    )


def costs_of(
    arm: Arm, layers: pd.DataFrame, array: SystolicArray, energy: ArrayEnergy, *, parts: int = 1
) -> pd.DataFrame:
    """Time, energy and their product of each pass, by its name; attention runs as W8A8 does.

    layers  tables of `counted` with a column `pass_name`
    parts   along both sides, into which the array is divided
    """
    sized = replace(divided(array, parts), weight_bits=arm.weight_bits, activation_bits=arm.activation_bits)
    attention = layers["weight_name"] == ""
    plain = arm.levels if len(arm.levels) == 1 else (BASE,)
    sums = []
    for rows, levels, share, mac_fj, apart in (
        (layers[~attention], arm.levels, arm.level_share, arm.mac_fj, arm.sparse_share),
        (layers[attention], plain, (1.0,), (arm.plain_fj,), 0.0),
    ):
        found = systolic_costs(
            rows, sized, replace(energy, mac_fj=np.tile(mac_fj, (len(rows), 1)), nominal_v=BASE_V),
            dataflow="weight_stationary", levels=levels, level_share=np.tile(share, (len(rows), 1)),
        )  # fmt: skip
        columns = found[["time_ns", "energy_fj", "compute_ns"]].assign(apart=apart * found["macs"])
        columns[["time_ns", "compute_ns"]] /= parts**2
        sums.append(columns.mul(rows["times"], axis=0).groupby(rows["pass_name"], sort=False).sum())
    total = sums[0].add(sums[1], fill_value=0.0)
    # the sparse engine works beside the array
    time_ns = np.maximum(total["time_ns"], total["apart"] / SPMV_LANES / BASE_GHZ)
    energy_fj = total["energy_fj"] + total["apart"] * arm.plain_fj
    return pd.DataFrame(
        {
            "time_ms": time_ns / 1e6,
            "energy_mj": energy_fj / 1e12,
            "power_w": energy_fj / time_ns * 1e-6,
            "edp_uj_s": time_ns * energy_fj * 1e-18,
            "compute_share": total["compute_ns"] / time_ns,
        }
    )


def at_equal_power(
    arm: Arm, layers: pd.DataFrame, array: SystolicArray, energy: ArrayEnergy, *, watts: Mapping[str, float]
) -> dict[str, Arm]:
    """By pass, the arm with all its voltages and clocks moved together until the pass takes that power.

    Without those that the model of the voltage, fitted from 2/3 to 1.22 of the nominal one, does not reach.
    """

    def moved(factor: float) -> Arm:
        levels = []
        for level in arm.levels:
            v = level.voltage_v * factor
            before, now = (transferred_relative_frequency(x, nominal_v=BASE_V) for x in (level.voltage_v, v))
            levels.append(DvfsLevel(voltage_v=v, frequency_ghz=level.frequency_ghz * now / before))
        return replace(arm, levels=tuple(levels))

    voltages = [level.voltage_v for level in arm.levels]
    factors = np.linspace(0.6701 / min(voltages), 1.2199 / max(voltages), POWER_POINTS)
    # power grows with the voltage, smoothly: between points a line is good to a thousandth
    powers = [costs_of(moved(factor), layers, array, energy)["power_w"] for factor in factors]
    found = {}
    for name, watt in watts.items():
        power = np.array([p[name] for p in powers])
        if power[0] <= watt <= power[-1]:
            found[name] = moved(float(np.interp(watt, power, factors)))
    return found


def transitions(arm: Arm, layers: pd.DataFrame, *, time_ns: float) -> dict[str, float]:
    """Changes of level in one pass and the time that they take: tiles grouped over all layers, or layer by layer.

    Grouping over all layers is a count that no order of a network's layers can reach: each needs the one before it.
    """
    share = np.tile(arm.level_share, (int(layers.loc[layers["weight_name"] != "", "times"].sum()), 1))
    found = {}
    for name, order in (("pass", order_by_pass), ("layer", order_by_layer)):
        cost = transition_cost(order(share, arm.levels), time_ns=time_ns)
        found |= {f"transitions_by_{name}": float(cost.count), f"transition_ms_by_{name}": cost.time_ns / 1e6}
    return found
