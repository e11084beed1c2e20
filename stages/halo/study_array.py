"""Modelled time and energy of language models on an array whose clock follows the weights, for every multiplier.

python -m stages.halo.study_array --profile results/laptop/hardware/weight_profile/nangate45.csv
    --config '{"tokens": 2048}' --table array.csv --shares shares.csv

Nothing but shapes of models and the delays and energies of multipliers is read: what a row stores, and which codes meet
in a tile, comes from a Gaussian matrix that the row quantises. The first table has a row for each multiplier, memory,
model, pass (prompt or token) and arm: FP16, W8A8, W4A8, W8A8 at a higher voltage and overclocked, and HALO by three
readings: the published levels, the clocks that this multiplier allows, raised by the paper's voltages, and the same at
one voltage; and, on the first array, prompts of the balanced one at the power that W8A8 takes. `parts` says into how
many along both sides the array was divided, with tiles as small. The second table has, for each multiplier, the clocks of
its classes and how the speed-up over W8A8 grows with the share of low tiles where nothing but arithmetic limits.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from stages.halo.array import (
    BASE_GHZ,
    Arm,
    Multiplier,
    Stored,
    at_equal_power,
    baselines,
    costs_of,
    counted,
    halo_arm,
    transitions,
)
from stages.halo.config import ArrayStudyConfig
from stages.halo.quantise import Quantised, quantise_matrix
from stages.halo.rows import ROWS, value_sets
from stages.halo.sensitivity import Sensitivity
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.costs.arrays import array_of
from stages.lib.costs.dvfs import HALO_ARRAY_LEVELS
from stages.lib.costs.model_shapes import decoder_layers, decoder_shape
from stages.lib.costs.systolic import ArrayEnergy, SystolicArray
from stages.lib.costs.weight_values import one_netlist, read_weight_profile

SIDE = 512  # of the Gaussian matrix
TILE = 128
HALO = ("halo-acc", "halo-bal", "halo-perf")
AT_EQUAL_POWER = "halo-bal"
DIVIDED = ("W8A8", "halo-bal published")
READINGS = ("published", "measured", "iso_voltage")
SHARES = np.linspace(0, 1, 1001)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(ArrayStudyConfig, args.config, where="--config")
    arrays = {name: array_of(array) for name, array in config.arrays.items()}
    profiles = read_weight_profile(args.profile)
    netlists = list(dict.fromkeys(profiles["netlist"]))
    passes = pd.concat(
        [
            counted(decoder_layers(decoder_shape(shape), tokens=tokens, context=config.tokens)).assign(
                pass_name=f"{shape} {kind}"
            )
            for shape in config.shapes
            for kind, tokens in (("prompt", config.tokens), ("token", 1))
        ],
        ignore_index=True,
    )
    progress = Progress(len(netlists), "multipliers")
    rows, shares = [], []
    for netlist in netlists:
        profile = one_netlist(profiles, netlist)
        multiplier = Multiplier.of(profile)
        sets = value_sets(profile)
        arms = arms_of(multiplier, sets)
        small = {parts: arms_of(multiplier, sets, tile=TILE // parts) for parts in config.divided}
        for memory, (array, energy) in arrays.items():
            about = {"netlist": netlist, "array": memory, "parts": 1}
            rows += [about | row for row in all_passes(arms, passes, array, energy, config)]
            if array is next(iter(arrays.values()))[0]:
                rows += [about | row for row in at_w8a8s_power(arms, passes, array, energy, config)]
            for parts, of_parts in small.items():
                chosen = [arm for arm in of_parts if arm.name in DIVIDED]
                rows += [
                    about | {"parts": parts} | row
                    for row in all_passes(chosen, passes, array, energy, config, parts=parts)
                ]
        shares += speed_by_share(multiplier, sets)
        progress.advance(note=netlist)
    for path, table in ((args.table, rows), (args.shares, shares)):
        with atomic_path(path) as temporary:
            pd.DataFrame(table).to_csv(temporary, index=False)


def at_w8a8s_power(
    arms: Sequence[Arm],
    passes: pd.DataFrame,
    array: SystolicArray,
    energy: ArrayEnergy,
    config: ArrayStudyConfig,
) -> Iterator[dict[str, object]]:
    """Prompts on AT_EQUAL_POWER with voltages and clocks moved until it takes the power that W8A8 takes."""
    by_pass = dict(list(passes.groupby("pass_name", sort=False)))
    watts = costs_of(next(arm for arm in arms if arm.name == "W8A8"), passes, array, energy)["power_w"]
    free = next(arm for arm in arms if arm.name == f"{AT_EQUAL_POWER} iso_voltage")
    prompts = passes[passes["pass_name"].str.endswith("prompt")]
    wanted = {name: float(watts[name]) for name in by_pass if name.endswith("prompt")}
    for pass_name, moved in at_equal_power(free, prompts, array, energy, watts=wanted).items():
        costs = costs_of(moved, by_pass[pass_name], array, energy).iloc[0]
        yield row_of(moved, f"{AT_EQUAL_POWER} iso_power", pass_name, by_pass, costs, config)


def all_passes(
    arms: Sequence[Arm],
    passes: pd.DataFrame,
    array: SystolicArray,
    energy: ArrayEnergy,
    config: ArrayStudyConfig,
    *,
    parts: int = 1,
) -> Iterator[dict[str, object]]:
    by_pass = dict(list(passes.groupby("pass_name", sort=False)))
    for arm in arms:
        for pass_name, costs in costs_of(arm, passes, array, energy, parts=parts).iterrows():
            yield row_of(arm, arm.name, str(pass_name), by_pass, costs, config)


def arms_of(multiplier: Multiplier, sets: dict[str, tuple[int, ...]], *, tile: int = TILE) -> list[Arm]:
    stored = {name: stored_of(name, sets, tile=tile) for name in ("rtn-w8", "rtn-w4-g64", *HALO)}
    arms = baselines(multiplier, stored)
    books = {"low": sets["fast9"], "high": sets["fast16"]}
    return arms + [
        halo_arm(
            f"{name} {reading}", multiplier, stored[name], books, reading=reading, plain_fj=arms[1].plain_fj
        )
        for name in HALO
        for reading in READINGS
    ]


def stored_of(name: str, sets: dict[str, tuple[int, ...]], *, tile: int) -> Stored:
    """What the row makes of a Gaussian matrix with as random a Fisher information."""
    row = replace(ROWS[name], tile=tile)
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(SIDE, SIDE, generator=chance)
    found = Sensitivity(
        fisher=torch.randn(SIDE, SIDE, generator=chance) ** 2, gram=torch.eye(1), input_range=torch.ones(SIDE)
    )
    tiles = SIDE // row.tile
    low = torch.rand(tiles, tiles, generator=chance).argsort().argsort() < round(row.low_share * tiles)
    books = {"low": sets[row.low], "high": sets[row.high]}
    matrix = quantise_matrix(weight, found, row, books, low if row.method == "code_book" else None)
    quantised = Quantised(model=None, matrices={"": matrix})
    return Stored.of(quantised, tile=row.tile)


def row_of(
    arm: Arm,
    name: str,
    pass_name: str,
    by_pass: Mapping[str, pd.DataFrame],
    costs: pd.Series,
    config: ArrayStudyConfig,
) -> dict[str, object]:
    model, _, kind = pass_name.rpartition(" ")
    low, high = arm.levels[0], arm.levels[-1]
    return {
        "model": model, "pass": kind, "arm": name, "weight_bits": arm.weight_bits, "low_share": arm.level_share[0],
        "low_v": low.voltage_v, "low_ghz": low.frequency_ghz, "high_v": high.voltage_v, "high_ghz": high.frequency_ghz,
        **costs.to_dict(),
        **transitions(arm, by_pass[pass_name], time_ns=config.transition_ns),
    }  # fmt: skip


def speed_by_share(multiplier: Multiplier, sets: dict[str, tuple[int, ...]]) -> list[dict[str, object]]:
    """Clocks of the classes, and speed over W8A8 by the share of low tiles: their times add up."""
    low, high = (multiplier.class_ghz(sets[name]) for name in ("fast9", "fast16"))
    w4 = multiplier.class_ghz(range(-8, 8))
    published = tuple(level.frequency_ghz for level in (HALO_ARRAY_LEVELS[2], HALO_ARRAY_LEVELS[1]))
    found = []
    for reading, (fast, slow) in (("published", published), ("iso_voltage", (low, high))):
        speed = 1 / (SHARES / fast + (1 - SHARES) / slow) / BASE_GHZ
        found += [
            {
                "netlist": multiplier.name, "reading": reading, "low_ghz": fast, "high_ghz": slow, "w4_ghz": w4,
                "low_share": share, "speed": s,
            }
            for share, s in zip(SHARES, speed, strict=True)
        ]  # fmt: skip
    return found


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", required=True, help="weight_profile.csv, one multiplier or more")
    parser.add_argument("--config", default="{}", help="ArrayStudyConfig as JSON")
    parser.add_argument("--table", required=True, help="CSV to write, a row an arm")
    parser.add_argument("--shares", required=True, help="CSV to write, speed by the share of low tiles")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
