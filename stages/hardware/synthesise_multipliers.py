"""Gate-level netlists of multipliers on a standard-cell library.

python -m stages.hardware.synthesise_multipliers --netlists array array_mac24 booth --library nangate45 --folder out

Writes NAME.json (for timing), NAME.v (for other tools) and NAME.report.json (area, cells, versions) of each. NAME is a
microarchitecture of multipliers.py, with _mac24 where the addition to a 24-bit partial sum is in the same stage.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from stages.hardware.asic_synthesis import MacStage, mac_stage, synthesise
from stages.hardware.cell_library import Technology, find_technology, write_working_copy
from stages.hardware.liberty import Library, read_library
from stages.hardware.netlist import read_netlist
from stages.hardware.yosys import yosys_version
from stages.lib.core.artifacts import file_digest, read_json, write_json, write_text
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    stages = [mac_stage(name) for name in args.netlists]
    technology = find_technology(
        args.library,
        needs=("driving_cell", "output_load_ff"),
        driving_cell=args.driving_cell,
        output_load_ff=args.output_load_ff,
    )
    library = read_library(technology.library)
    library.cell(technology.driving_cell)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        copy = write_working_copy(technology, work)
        progress = Progress(len(stages), "synthesised")
        for stage in stages:
            synthesise(stage, technology, library=copy, folder=work)
            made, target = work / stage.name, Path(args.folder) / stage.name
            report = stage_report(stage, made.with_suffix(".json"), library, technology)
            write_json(target.with_suffix(".json"), read_json(made.with_suffix(".json")))
            write_text(target.with_suffix(".v"), plain_verilog(made.with_suffix(".v").read_text("utf-8")))
            write_json(target.with_suffix(".report.json"), report)
            progress.advance(note=stage.name)


def plain_verilog(text: str) -> str:
    """Without `signed`, which means nothing for single gates and which OpenSTA's reader does not know."""
    return text.replace(" signed ", " ")


def stage_report(stage: MacStage, path: Path, library: Library, technology: Technology) -> dict[str, Any]:
    """What a netlist is made of and what made it."""
    netlist = read_netlist(path, library, output_load_ff=technology.output_load_ff)
    kinds = Counter(cell["type"] for cell in read_json(path)["modules"][stage.name]["cells"].values())
    return {
        "netlist": stage.name,
        "microarchitecture": stage.microarchitecture,
        "accumulator_bits": stage.accumulator_bits,
        "area_um2": round(netlist.area_um2, 6),
        "cells": netlist.cells,
        "levels": netlist.levels,
        "cells_by_type": dict(sorted(kinds.items())),
        "library": technology.name,
        "library_digest": file_digest(technology.library),
        "driving_cell": technology.driving_cell,
        "output_load_ff": technology.output_load_ff,
        "tool_version": yosys_version(),
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--netlists", nargs="+", required=True, help="names such as array or array_mac24")
    parser.add_argument("--library", default="nangate45", help="nangate45, osu018 or a Liberty file")
    parser.add_argument("--driving-cell", help="cell that drives the inputs")
    parser.add_argument("--output-load-ff", type=float, help="capacitance at every output bit, in fF")
    parser.add_argument("--folder", required=True, help="folder to write NAME.json, .v and .report.json into")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
