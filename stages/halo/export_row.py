"""Quantise a language model as one row says and write it: packed indices, books, and the schedule of voltage and clock.

python -m stages.halo.export_row --model data/prepared/language-models/smollm2-135m
    --calibration data/prepared/wikitext-2/valid/text.txt --profile results/laptop/hardware/weight_profile/nangate45.csv
    --row halo-bal-compensated --folder results/laptop/halo/exports/smollm2

The row is a name in stages/halo/rows.py, one on code books. It is quantised as evaluate_rows does with the same --config.
What was written is read back and must be the same in every bit. The folder is described in stages/halo/exported.py.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from stages.halo.array import Multiplier, Stored, halo_arm
from stages.halo.config import PerplexityConfig
from stages.halo.exported import read_exported, same_matrix, write_exported
from stages.halo.quantise import on_cpu, quantise_language_model
from stages.halo.rows import rows_of, value_sets
from stages.halo.schedule import schedule_of
from stages.halo.sensitivity import gather
from stages.lib.core.artifacts import file_digest, value_digest, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.costs.weight_values import one_netlist, read_weight_profile
from stages.lib.nets.language_folder import read_language_model, weights_digest
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.language import token_windows


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(PerplexityConfig, args.config, where="--config")
    row = rows_of([args.row])[args.row]
    if row.method != "code_book":
        raise InputError(f"--row {args.row} has no code book; choose one of halo-acc, halo-bal, halo-perf")
    profile = one_netlist(read_weight_profile(args.profile), config.netlist)
    device = choose_device(args.device)
    model, tokenizer = read_language_model(args.model)
    model.to(device)
    calibration = token_windows(
        tokenizer,
        args.calibration.read_text(encoding="utf-8"),
        length=config.window,
        n=config.calibration_windows,
    )
    progress = Progress(config.calibration_windows + 1, "steps")
    sensitivity = gather(model, calibration.to(device), advance=lambda: progress.advance(note="gather"))
    quantised = quantise_language_model(
        model, sensitivity, row, value_sets(profile), seed=derive_seed(config.seed, args.model.name)
    )
    quantised.matrices = {name: on_cpu(matrix) for name, matrix in quantised.matrices.items()}
    multiplier = Multiplier.of(profile)
    stored = Stored.of(quantised, tile=row.tile)
    arm = halo_arm(args.row, multiplier, stored, quantised.books, reading="measured", plain_fj=0.0)
    record = {
        "model": args.model.name,
        "parent_digest": weights_digest(args.model),
        "row": args.row,
        "settings": asdict(row),
        "multiplier": config.netlist,
        "profile_digest": file_digest(args.profile),
        "calibration_digest": file_digest(args.calibration),
        "recipe_digest": value_digest(asdict(config)),
    }
    write_json(
        args.folder / "schedule.json",
        schedule_of(quantised.matrices, arm, multiplier, quantised.books, transition_ns=args.transition_ns),
    )
    write_exported(args.folder, quantised, tile=row.tile, record=record)
    written, _ = read_exported(args.folder)
    if wrong := [name for name, m in quantised.matrices.items() if not same_matrix(m, written[name])]:
        raise AssertionError(f"{wrong[0]} is not what was written")
    progress.advance(note=f"{quantised.bits_per_weight:.2f} bits a weight")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a language model")
    parser.add_argument("--calibration", type=Path, required=True, help="text that calibrates")
    parser.add_argument("--profile", required=True, help="weight_profile.csv")
    parser.add_argument("--config", default="{}", help="PerplexityConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--row", required=True, help="how to quantise, see stages/halo/rows.py")
    parser.add_argument("--transition-ns", type=float, default=1000.0, help="that a change of level takes")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
