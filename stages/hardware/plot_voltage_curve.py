"""Figure: frequency and energy of logic over supply voltage: SPICE, the fitted laws, and HALO's published levels.

python -m stages.hardware.plot_voltage_curve --figure voltage_curve.svg --drawn voltage_curve.csv

Everything is relative to the nominal voltage: 1.8 V for sky130, 1.0 V for HALO's tables.
"""

import argparse

import matplotlib as mpl

mpl.use("Agg")  # no display on the machines that run this

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import run
from stages.lib.core.plots import PALETTE, PUBLISHED, STYLE, save_figure
from stages.lib.costs import dvfs

HALO = {"HALO, array": dvfs.HALO_ARRAY_LEVELS, "HALO, GPU": dvfs.HALO_GPU_LEVELS}
HALO_NOMINAL_V = 1.0  # the level that both of HALO's tables hold
HALO_MARKERS = {"HALO, array": "s", "HALO, GPU": "^"}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    drawn = drawn_table()
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.2))
        plot_frequency(drawn, axes[0])
        plot_energy(drawn, axes[1])
        save_figure(figure, args.figure)
        plt.close(figure)
    with atomic_path(args.drawn) as temporary:
        drawn.to_csv(temporary, index=False, float_format="%.6g")


def drawn_table() -> pd.DataFrame:
    """series, voltage_v, and voltage, frequency and energy relative to the series' nominal voltage.

    series: "SPICE", "fit" (sky130) and HALO's; published levels have no energy.
    """
    fit = dvfs.voltage_fit()
    voltage_v = np.linspace(fit.lowest_v, fit.highest_v, 61)
    parts = [
        _relative(dvfs.voltage_curve(), "SPICE"),
        pd.DataFrame(
            {
                "series": "fit",
                "voltage_v": voltage_v,
                "relative_voltage": voltage_v / dvfs.NOMINAL_V,
                "relative_frequency": [dvfs.relative_frequency(v) for v in voltage_v],
                "relative_energy": [dvfs.relative_energy(v) for v in voltage_v],
            }
        ),
    ]
    for series, levels in HALO.items():
        nominal_ghz = next(level.frequency_ghz for level in levels if level.voltage_v == HALO_NOMINAL_V)
        rows = [
            (
                series,
                level.voltage_v,
                level.voltage_v / HALO_NOMINAL_V,
                level.frequency_ghz / nominal_ghz,
                np.nan,
            )
            for level in levels
        ]
        parts.append(pd.DataFrame(rows, columns=parts[0].columns))
    return pd.concat(parts, ignore_index=True)


def plot_frequency(table: pd.DataFrame, ax: Axes) -> None:
    """Clock over voltage; published levels in grey."""
    _draw_ours(table, "relative_frequency", ax)
    for series, marker in HALO_MARKERS.items():
        rows = table[table.series == series]
        ax.plot(
            rows.relative_voltage,
            rows.relative_frequency,
            marker,
            color=PUBLISHED,
            label=f"{series}: published ({dvfs.HALO_EVIDENCE})",
        )
    ax.set_ylabel("frequency / frequency at nominal voltage")
    ax.set_ylim(0, 2.5)  # room for the legend above the published levels
    ax.legend(fontsize=8, loc="upper left")


def plot_energy(table: pd.DataFrame, ax: Axes) -> None:
    """Energy of one operation over voltage, beside the square law of switching alone."""
    _draw_ours(table, "relative_energy", ax)
    x = np.linspace(table.relative_voltage.min(), table.relative_voltage.max(), 50)
    ax.plot(x, x**2, color="black", linestyle="--", linewidth=1, label="V²")
    ax.set_ylabel("energy / energy at nominal voltage")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8, loc="upper left")


def _draw_ours(table: pd.DataFrame, column: str, ax: Axes) -> None:
    fit, spice = table[table.series == "fit"], table[table.series == "SPICE"]
    ax.plot(
        fit.relative_voltage,
        fit[column],
        color=PALETTE[1],
        label=f"fitted law, {dvfs.voltage_fit().lowest_v} to {dvfs.voltage_fit().highest_v} V",
    )
    ax.plot(
        spice.relative_voltage,
        spice[column],
        "o",
        markersize=4,
        color=PALETTE[0],
        label="SPICE, sky130 NAND2",
    )
    ax.set_xlabel("supply voltage / nominal voltage")


def _relative(curve: pd.DataFrame, series: str) -> pd.DataFrame:
    nominal = curve[curve.voltage_v == dvfs.NOMINAL_V].iloc[0]
    return pd.DataFrame(
        {
            "series": series,
            "voltage_v": curve.voltage_v,
            "relative_voltage": curve.voltage_v / dvfs.NOMINAL_V,
            "relative_frequency": nominal.gate_delay_ps / curve.gate_delay_ps,
            "relative_energy": curve.energy_fj_per_cycle / nominal.energy_fj_per_cycle,
        }
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", required=True, help="SVG to write")
    parser.add_argument("--drawn", required=True, help="CSV to write: exactly what the figure shows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
