"""Claim H17 (ours): no weight of an exported model is outside its book or slower than its tile's clock.

python -m stages.halo.verify_export --exports results/laptop/halo/exports/smollm2 --models smollm2-135m
    --profile results/laptop/hardware/weight_profile/nangate45.csv --tests test.txt --losses perplexity.npz
    --measurements h17.json

Codes are unpacked from the files; a delay is looked up for each in the weight profile and compared with the period of the
class's clock at the base voltage in schedule.json. The model is put together from the files and must give the losses that
the table of perplexities has for the first windows of the test text.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.halo.config import PerplexityConfig
from stages.halo.exported import read_exported
from stages.halo.quantise import Matrix, QuantisedLinear
from stages.halo.sensitivity import linear_layers
from stages.lib.core.artifacts import read_arrays, read_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.costs.weight_values import one_netlist, read_weight_profile
from stages.lib.nets.graph import set_module_
from stages.lib.nets.language_folder import read_language_model, weights_digest
from stages.lib.numerics.tiles import spread
from stages.lib.training.language import token_windows, window_losses

WINDOWS = 2  # whose losses are compared
SLACK = 1e-9  # of a period, for rounding


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    profiles = read_weight_profile(args.profile)
    weights = wrong = 0
    controls: dict[str, float] = {}
    for folder, model, test, losses, config in zip(
        args.exports, args.models, args.tests, args.losses, args.configs, strict=True
    ):
        matrices, record = read_exported(folder)
        schedule = read_json(folder / "schedule.json")
        profile = one_netlist(profiles, record["multiplier"])
        delay_ns = profile.sort_values("weight")["delay_ns"].to_numpy()
        weights += sum(m.values.numel() for m in matrices.values())
        wrong += sum(slow_or_foreign(m, record, schedule, delay_ns) for m in matrices.values())
        table = read_arrays(losses)[f"{record['row']} losses"][:WINDOWS]
        settings = from_json(PerplexityConfig, config, where="--configs")
        found = losses_of(model, matrices, record, test.read_text(encoding="utf-8"), settings)
        name = folder.name
        controls |= {
            f"{name}: largest difference of losses from the table's": float(np.abs(found - table).max()),
            f"{name}: bits a weight, counted": record["bits_per_weight"],
            f"{name}: bits a weight, of the file": 8
            * record["payload_bytes"]
            / sum(m.values.numel() for m in matrices.values()),
            f"{name}: changes of level a pass": float(schedule["transitions"]["of_one_pass"]),
        }
    write_measurements(
        args.measurements,
        [Measurement(claim="H17", value=float(wrong), unit="1", n=weights, controls=controls)],
        device=device_record(threads=1, versions={"torch": torch.__version__}),
    )


def slow_or_foreign(
    matrix: Matrix, record: dict[str, Any], schedule: dict[str, Any], delay_ns: np.ndarray
) -> int:
    """Weights whose code is not in the book of its tile's class, or takes longer than that class's period.

    delay_ns  (256,) of the values from -128 on. A weight that is kept apart is 0 in its tile.
    """
    assert matrix.codes is not None
    assert matrix.low is not None
    assert matrix.sparse is not None
    codes, apart = matrix.codes.numpy().astype(int), matrix.sparse.numpy()
    is_low = spread(matrix.low, record["tile"], matrix.codes.shape).numpy()
    base = schedule["base"]
    found = 0
    for kind, chosen in (("low", is_low), ("high", ~is_low)):
        period_ns = base["delay_ns"] * base["frequency_ghz"] / schedule["classes"][kind]["base_voltage_ghz"]
        slow = delay_ns[codes + 128] > period_ns * (1 + SLACK)
        foreign = ~np.isin(codes, record["books"][kind]) & ~apart
        found += int((chosen & (slow | foreign)).sum())
    return found


def losses_of(
    folder: Path, matrices: dict[str, Matrix], record: dict[str, Any], text: str, config: PerplexityConfig
) -> np.ndarray:
    """Mean losses of the first test windows of the float model with these matrices in the place of its linear layers."""
    if weights_digest(folder) != record["parent_digest"]:
        raise InputError(f"{folder} is not the model that {record['model']} was exported from; export again")
    model, tokenizer = read_language_model(folder)
    for name, layer in linear_layers(model).items():
        set_module_(model, name, QuantisedLinear(layer, matrices[name], record["settings"]["activations"]))
    test = token_windows(tokenizer, text, length=config.window, n=config.windows)[:WINDOWS]
    return window_losses(model, test, bf16=True).double().numpy()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    many = {"nargs": "+", "required": True}
    parser.add_argument("--exports", type=Path, help="folders of export_row", **many)
    parser.add_argument("--models", type=Path, help="folder of the float model of each", **many)
    parser.add_argument("--tests", type=Path, help="test text of each", **many)
    parser.add_argument("--losses", type=Path, help="NPZ of evaluate_rows for each", **many)
    parser.add_argument("--configs", help="PerplexityConfig of each, as JSON", **many)
    parser.add_argument("--profile", required=True, help="weight_profile.csv")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
