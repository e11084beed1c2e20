"""Before a run: check the settings, and say which data set comes from where.

python -m workflow.lib.preflight --scale laptop

Writes data/preflight.json, from which the workflow leaves out what no source has here.
"""

import argparse
import sys
from dataclasses import asdict

from stages.datasets.sources import answers_of, sentence_of
from stages.lib.core.artifacts import write_json
from stages.lib.core.errors import run
from workflow.lib.catalogue import PREFLIGHT, Catalogue
from workflow.lib.settings import ROOT, load_claims


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    load_claims()
    # what an earlier run did not find may be there now: ask again for all
    catalogue = Catalogue.load({"scale": args.scale}, preflight=None)
    answers = answers_of(
        {name: catalogue.entry(name) for name in sorted(catalogue.wanted())}, raw=ROOT / "data" / "raw"
    )
    for name, answer in answers.items():
        print(sentence_of(name, answer), file=sys.stderr)
    if left_out := set(catalogue.settings.hardware.timing.technologies) - set(catalogue.technologies()):
        print(
            f"{', '.join(left_out)}: not available, left out; install the Debian package qflow-tech-osu018",
            file=sys.stderr,
        )
    write_json(PREFLIGHT, {name: asdict(answer) for name, answer in answers.items()})


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="preflight", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
