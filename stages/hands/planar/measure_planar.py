"""Claims G6 to G10 and G13, from the cross-tests of the arms and the studies of the generator.

python -m stages.hands.planar.measure_planar --arms 0.csv 1.csv 2.csv --compositor 0.csv 1.csv 2.csv
    --measurements measure.json

G6  mean fingertip error on held-out rendered frames: cut and paste less GAN, px of 64
G7  mean error on other poses: the better of cut and paste and GAN less rendered hands of several poses
G8  distance of the colours on both sides of a hand's outline: pasted less generated hands, sRGB 0..1
G9  flicker with a z a frame over flicker with a z a clip, the smaller ratio of inside and outside of the hand
G10 distance of the commanded fingertip from where a network trained on rendered and pasted frames finds it, median px
G13 mean error on held-out rendered frames: the better of cut and paste and GAN less rendered hands, px of 64
"""

import argparse

import pandas as pd

from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, over_seeds, write_measurements
from stages.lib.core.tables import read_tables


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    arms = read_tables(args.arms, "arm", "test", "seed", "mean_px", "median_px", "n")
    studies = read_tables(args.compositor, "arm", "measure", "value", "seed", "clips")
    write_measurements(
        args.measurements, [*of_arms(arms), *of_generator(studies)], device=device_record(threads=1)
    )


def of_arms(table: pd.DataFrame) -> list[Measurement]:
    mean = table.pivot_table(index="seed", columns=["arm", "test"], values="mean_px")
    median = table.pivot_table(index="seed", columns=["arm", "test"], values="median_px")
    names = [arm for arm in dict.fromkeys(table["arm"]) if arm != "reference"]
    n = {test: int(count) for test, count in table.groupby("test")["n"].first().items()}

    def controls(test: str) -> dict[str, float]:
        return {f"{arm} on {test}": float(mean[arm, test].mean()) for arm in names}

    flat = mean[[("paste", "poses"), ("gan", "poses")]].min(axis=1)
    better = mean[[("paste", "rendered"), ("gan", "rendered")]].min(axis=1)
    return [
        over_seeds("G6", mean["paste", "rendered"] - mean["gan", "rendered"], "px", n["rendered"], controls("rendered")),
        over_seeds("G7", flat - mean["rendered_articulated", "poses"], "px", n["poses"], controls("poses")),
        over_seeds("G13", better - mean["rendered", "rendered"], "px", n["rendered"], controls("rendered")),
        over_seeds(
            "G10",
            median["reference", "gan"],
            "px",
            n["gan"],
            {
                "the same on pasted hands": float(median["reference", "paste"].mean()),
                "the same on rendered hands": float(median["reference", "rendered"].mean()),
            },
        ),
    ]  # fmt: skip


def of_generator(table: pd.DataFrame) -> list[Measurement]:
    values = table.pivot_table(index="seed", columns=["arm", "measure"], values="value")
    clips = int(table["clips"].iloc[0])
    rims = {
        f"{arm}, {'own' if measure == 'rim_own' else 'another'} background": float(
            values[arm, measure].mean()
        )
        for arm, measure in values.columns
        if measure.startswith("rim")
    }
    inside, outside = (
        values["z_per_frame", f"flicker_{where}"] / values["z_per_clip", f"flicker_{where}"]
        for where in ("inside", "outside")
    )
    flickers = {
        f"{arm.replace('_', ' ')}, {measure.removeprefix('flicker_')}": float(values[arm, measure].mean())
        for arm, measure in values.columns
        if measure.startswith("flicker")
    }
    return [
        over_seeds("G8", values["paste", "rim_own"] - values["gan", "rim_own"], "1", clips, rims),
        over_seeds("G9", pd.concat([inside, outside], axis=1).min(axis=1), "1", clips, flickers),
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", required=True, help="CSVs of planar.compare_arms, one a seed")
    parser.add_argument("--compositor", nargs="+", required=True, help="CSVs of planar.study_compositor")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
