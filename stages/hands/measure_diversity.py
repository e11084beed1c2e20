"""Claims G4 and G5, from the tables of study_diversity and recognise_drawn.

python -m stages.hands.measure_diversity --table diversity.csv --gestures gestures.csv --measurements measure.json

One sample a seed: by how much the mean error on the held-out place falls from the fewest training places to the most, and
by how much the share of right gestures rises.
"""

import argparse

from stages.lib.core.errors import run
from stages.lib.core.measurements import Measurement, device_record, over_seeds, write_measurements
from stages.lib.core.tables import read_tables


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    table = read_tables([args.table], "places", "seed", "n", "held_out_mean_px", "train_px")
    by_places = table.pivot_table(index="seed", columns="places", values="held_out_mean_px")
    few, many = by_places.columns.min(), by_places.columns.max()
    gains = by_places[few] - by_places[many]
    steps = by_places.mean().diff().dropna()
    controls = {f"held-out error with {n} places": float(v) for n, v in by_places.mean().items()}
    controls |= {
        f"training error with {n} places": float(v)
        for n, v in table.groupby("places")["train_px"].mean().items()
    }
    controls["doublings that lower the mean error"] = float((steps < 0).sum())
    for column in ("light_mean_px", "middle_mean_px", "dark_mean_px"):
        if column in table:
            skin = column.partition("_")[0]
            controls[f"{skin} skin, {many} places"] = float(table[table["places"] == many][column].mean())
    measurement = over_seeds("G4", gains, unit="px", n=int(table["n"].iloc[0]), controls=controls)
    measurements = [measurement, of_gestures(args.gestures)]
    write_measurements(args.measurements, measurements, device=device_record(threads=1))


def of_gestures(path: str) -> Measurement:
    table = read_tables([path], "places", "seed", "accuracy", "ceiling", "n")
    by_places = table.pivot_table(index="seed", columns="places", values="accuracy")
    gains = by_places[by_places.columns.max()] - by_places[by_places.columns.min()]
    controls = {f"accuracy with {n} places": float(v) for n, v in by_places.mean().items()}
    controls["accuracy from true tips"] = float(table["ceiling"].mean())
    return over_seeds("G5", gains, unit="1", n=int(table["n"].iloc[0]), controls=controls)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="CSV of study_diversity")
    parser.add_argument("--gestures", required=True, help="CSV of recognise_drawn")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
