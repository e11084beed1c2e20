"""Claims H9 to H14, H16, H18 and H19 of HALO, from tables of perplexities; one sample a seed of a model trained here.

python -m stages.halo.measure_perplexity --tables llama-s0.csv llama-s1.csv smollm2-135m.csv
    --losses llama-s0.npz llama-s1.npz smollm2-135m.npz --array array.csv --netlist array --measurements measure.json

Differences are in nats a token: a difference of 0.01 is 1 % of perplexity. A model whose name ends in -sN counts as seed
N of the models that were never rounded; all others (SmolLM2, whose weights had four bits before) are controls. Resamples
draw windows of the test text anew. H16 asks for the paper's models, the others for seeds: what is not there is left out.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from stages.halo.rows import PAPER_MODELS
from stages.lib.core.artifacts import read_arrays
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, device_record, over_seeds, write_measurements
from stages.lib.core.tables import read_tables
from stages.lib.training.language import resampled_windows

DRAWS = 400
Drawn = np.ndarray | None


class Losses:
    """Losses of each row on the same windows of one model, and its bits a weight."""

    def __init__(self, table: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> None:
        self.bits = dict(zip(table["row"], table["bits"], strict=True))
        self.windows = {row: arrays[f"{row} losses"] for row in self.bits}

    def of(self, row: str, drawn: Drawn) -> float:
        """nan where the model has no such row."""
        if row not in self.windows:
            return math.nan
        losses = self.windows[row]
        return float((losses if drawn is None else losses[drawn]).mean())

    def at_bits_of(self, row: str, rows: tuple[str, str], drawn: Drawn) -> float:
        """Loss of a method at as many bits as `row` has, on the line through two rows of the method."""
        if not {row, *rows} <= self.bits.keys():
            return math.nan
        (x0, x1), (y0, y1) = ([self.bits[r] for r in rows], [self.of(r, drawn) for r in rows])
        return y0 + (self.bits[row] - x0) / (x1 - x0) * (y1 - y0)


Statistic = Callable[[Losses, Drawn], float]


def lower(one: str, other: str) -> Statistic:
    """How much lower the first row's loss is."""
    return lambda m, drawn: m.of(other, drawn) - m.of(one, drawn)


def below_at_equal_bits(one: str, others: tuple[str, str]) -> Statistic:
    return lambda m, drawn: m.at_bits_of(one, others, drawn) - m.of(one, drawn)


def ratio(one: str, other: str) -> Statistic:
    """Of perplexities."""
    return lambda m, drawn: math.exp(m.of(one, drawn) - m.of(other, drawn))


def least(*parts: Statistic) -> Statistic:
    return lambda m, drawn: min(part(m, drawn) for part in parts)


def most(*parts: Statistic) -> Statistic:
    return lambda m, drawn: max(part(m, drawn) for part in parts)


RTN, GPTQ, KMEANS = ("rtn-w3-g64", "rtn-w4-g64"), ("gptq-w3-g64", "gptq-w4-g64"), ("kmeans-3", "kmeans-4")
SIGNED, TURNED = (lower(f"halo-perf-{row}", "halo-perf-popcount") for row in ("signed", "popcount-signs"))
# claim: what decides it, and what stands beside it
CLAIMS: dict[str, tuple[Statistic, dict[str, Statistic]]] = {
    "H9": (lower("halo-bal", "halo-bal-random"), {"inverse ranking": lower("halo-bal", "halo-bal-inverse")}),
    "H10": (lower("halo-bal", "halo-bal-no-sparse"), {
        "without outliers": lower("halo-bal", "halo-bal-salient"),
        "without salient": lower("halo-bal", "halo-bal-outliers"),
        "more bits than without": lambda m, _: m.bits["halo-bal"] - m.bits.get("halo-bal-no-sparse", math.nan),
    }),
    "H11": (
        least(lower("halo-bal", "halo-perf"), lower("halo-acc", "halo-bal"), below_at_equal_bits("halo-bal", RTN)),
        {
            "mixed below all low": lower("halo-bal", "halo-perf"), "all high below mixed": lower("halo-acc", "halo-bal"),
            "mixed below RTN at equal bits": below_at_equal_bits("halo-bal", RTN),
            "mixed below GPTQ at equal bits": below_at_equal_bits("halo-bal", GPTQ),
            "mixed below k-means at equal bits": below_at_equal_bits("halo-bal", KMEANS),
            "compensated mix below GPTQ at equal bits": below_at_equal_bits("halo-bal-compensated", GPTQ),
        },
    ),
    "H12": (most(SIGNED, TURNED), {"0 and four powers": SIGNED, "signs of tiles turned": TURNED}),
    "H13": (lower("halo-bal-compensated", "halo-bal"), {
        "all high": lower("halo-acc-compensated", "halo-acc"), "all low": lower("halo-perf-compensated", "halo-perf"),
    }),
    "H18": (ratio("halo-acc-compensated", "gptq-w4-g64"), {
        "tiles of 32": ratio("halo-acc-compensated-t32", "gptq-w4-g64"),
        "mixed": ratio("halo-bal-compensated", "gptq-w4-g64"),
        "not compensated": ratio("halo-acc", "gptq-w4-g64"),
    }),
    "H19": (least(lower("gptq-w4-g64", "rtn-w4-g64"), lower("gptq-w3-g64", "rtn-w3-g64")), {
        "4 bits": lower("gptq-w4-g64", "rtn-w4-g64"), "3 bits": lower("gptq-w3-g64", "rtn-w3-g64"),
    }),
}  # fmt: skip
SMALL_TILES = {f"tiles of {side}": lower(f"halo-bal-t{side}", "halo-bal") for side in (32, 64)}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    models = {}
    for path, losses in zip(args.tables, args.losses, strict=True):
        table = read_tables([path], "model", "row", "bits", "loss")
        models[str(table["model"].iloc[0])] = Losses(table, read_arrays(losses))
    seeds = {int(m[1]): models[name] for name in models if (m := re.fullmatch(r".*-s(\d+)", name))}
    others = {name: found for name, found in models.items() if found not in seeds.values()}
    if not seeds and not others.keys() & PAPER_MODELS:
        raise InputError("--tables has neither a model with a seed (NAME-sN) nor one of the paper's")
    speed = speed_of_small_tiles(
        read_tables([args.array], "netlist", "parts", "arm", "time_ms"), args.netlist
    )
    small: tuple[Statistic, dict[str, Statistic]] = (
        lambda m, drawn: min(SMALL_TILES["tiles of 32"](m, drawn), speed["halo-bal published"]), SMALL_TILES
    )  # fmt: skip
    beside = {f"faster with arrays of 32, {arm}": gain for arm, gain in speed.items()}
    measurements = [of_papers_models(others)] if others.keys() & PAPER_MODELS else []
    if seeds:
        measurements += [measured(claim, *how, seeds, others) for claim, how in CLAIMS.items()]
        measurements.append(measured("H14", *small, seeds, others, beside=beside))
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def of_papers_models(others: Mapping[str, Losses]) -> Measurement:
    """H16: the most perplexity that HALO's accurate and balanced rows lose on the paper's models."""
    lost = {
        f"{row}, {name}": math.exp(m.of(row, None)) - math.exp(m.of("float", None))
        for name, m in others.items()
        if name in PAPER_MODELS
        for row in ("halo-acc", "halo-bal")
    }
    return Measurement(claim="H16", value=max(lost.values()), unit="1", n=len(lost), controls=lost)


def measured(
    claim: str,
    value: Statistic,
    controls: Mapping[str, Statistic],
    seeds: Mapping[int, Losses],
    others: Mapping[str, Losses],
    *,
    beside: Mapping[str, float] | None = None,
) -> Measurement:
    """The statistic by seed, and over windows drawn anew; what stands beside it, means over seeds and of other models."""
    found = {
        name: float(np.mean([control(m, None) for m in seeds.values()])) for name, control in controls.items()
    }
    for model, losses in others.items():
        found |= {f"{name}, {model}": control(losses, None) for name, control in controls.items()}
        found[f"the same, {model}"] = value(losses, None)
    n = len(next(iter(next(iter(seeds.values())).windows.values())))
    draws = resampled_windows(n, draws=DRAWS).numpy()
    resamples = [float(np.mean([value(m, drawn) for m in seeds.values()])) for drawn in draws]
    return over_seeds(
        claim, {seed: value(m, None) for seed, m in seeds.items()}, unit="1", n=n * len(seeds),
        controls=found | dict(beside or {}), resamples=[r for r in resamples if math.isfinite(r)],
    )  # fmt: skip


def speed_of_small_tiles(table: pd.DataFrame, netlist: str) -> dict[str, float]:
    """By arm: how much faster prompts are, less 1, with the array and its tiles divided into the most parts; modelled."""
    own = table[(table["netlist"] == netlist) & (table["pass"] == "prompt")]
    case = ["array", "model", "arm"]
    small = own[own["parts"] == own["parts"].max()].set_index(case)["time_ms"]
    whole = own[own["parts"] == 1].set_index(case)["time_ms"]
    gain = (whole / small - 1).dropna()
    return {str(arm): float(value) for arm, value in gain.groupby(level="arm").mean().items()}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", required=True, help="CSVs of evaluate_rows, one a model")
    parser.add_argument("--losses", nargs="+", required=True, help="NPZs of evaluate_rows, as many")
    parser.add_argument("--array", required=True, help="CSV of study_array")
    parser.add_argument("--netlist", required=True, help="the multiplier of the perplexities")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
