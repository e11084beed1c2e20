"""One measurements.json of a paper from the parts that its stages wrote.

python -m stages.claims.collect_measurements --parts a.json b.json --measurements measurements.json
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from stages.lib.core.artifacts import write_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, read_measurements


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    found: dict[str, tuple[Path, Measurement]] = {}
    for part in args.parts:
        for measurement in read_measurements(part):
            if measurement.claim in found:
                raise InputError(
                    f"{measurement.claim} is measured by {found[measurement.claim][0]} and by {part}"
                )
            found[measurement.claim] = (part, measurement)
    write_json(args.measurements, [asdict(measurement) for _, measurement in found.values()])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="collect_measurements", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="JSON lists of measurements")
    parser.add_argument("--measurements", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
