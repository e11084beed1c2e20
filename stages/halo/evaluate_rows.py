"""Perplexity of one language model, quantised in every way that is compared.

python -m stages.halo.evaluate_rows --model data/prepared/language-models/smollm2-135m
    --calibration data/prepared/wikitext-2/valid/text.txt --test data/prepared/wikitext-2/test/text.txt
    --profile results/laptop/hardware/weight_profile/nangate45.csv --config '{"rows": ["float", "halo-acc"]}'
    --state scratch/halo --table perplexity.csv --losses perplexity.npz

A row for each way: perplexity on the same tokens, bits for each weight with everything that is stored, share of
exceptional weights and of tiles with the low book, and the CPU seconds that quantising took. The second file holds the
mean loss of every window by row, how often each int8 code stands in low tiles and in others, and the share of low tiles
in each layer. Gradients and Gram matrices are gathered once. Activations run in bfloat16, whose error the row `float`
has too; `float32` beside it says how large it is, and must agree with the loss that transformers computes itself. What is
done is kept in --state: a run that was ended goes on with the next row.
"""

import argparse
import dataclasses
import math
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stages.halo.config import PerplexityConfig
from stages.halo.quantise import Quantised, quantise_language_model, restore
from stages.halo.rows import rows_of, value_sets
from stages.halo.sensitivity import gather, linear_layers
from stages.lib.core.artifacts import atomic_path, file_digest, read_arrays, value_digest, write_arrays
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.costs.weight_values import one_netlist, read_weight_profile
from stages.lib.nets.language_folder import read_language_model, weights_digest
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.language import perplexity, resampled_windows, token_windows, window_losses

OWN_LOSS_TOLERANCE = 1e-3  # between our float32 loss and transformers'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(PerplexityConfig, args.config, where="--config")
    rows = rows_of(config.rows)
    sets = value_sets(one_netlist(read_weight_profile(args.profile), config.netlist))
    device = choose_device(args.device)
    model, tokenizer = read_language_model(args.model)
    model.to(device)
    test = token_windows(tokenizer, _text(args.test), length=config.window, n=config.windows).to(device)
    seed = derive_seed(config.seed, args.model.name)
    settings = dataclasses.asdict(dataclasses.replace(config, rows=()))
    inputs = [file_digest(path) for path in (args.calibration, args.test, args.profile)]
    inputs.append(weights_digest(args.model))
    state = args.state / value_digest([settings, inputs])[:16]
    files = {name: state / f"{name}.npz" for name in rows}
    missing = [name for name, file in files.items() if not is_whole(file)]
    progress = Progress(config.calibration_windows * bool(missing) + len(missing) + 1, "steps")
    if missing:
        calibration = token_windows(
            tokenizer, _text(args.calibration), length=config.window, n=config.calibration_windows
        )
        start_s = time.process_time()
        sensitivity = gather(model, calibration.to(device), advance=lambda: progress.advance(note="gather"))
        gather_s = time.process_time() - start_s
        layers = linear_layers(model)
        for name in missing:
            start_s = time.process_time()
            found = quantise_language_model(model, sensitivity, rows[name], sets, seed=seed)
            quantise_s = time.process_time() - start_s
            losses = window_losses(model, test, bf16=True)
            counts = {f"{kind} codes": n.numpy() for kind, n in found.code_counts(rows[name].tile).items()}
            write_arrays(files[name], record_of(found, losses, quantise_s, gather_s) | counts)
            restore(model, layers)
            del found  # as large as the model
            progress.advance(note=f"{name} {perplexity(losses):.2f}")
    exact = window_losses(model, test)
    check_own_loss(model, test[:1], exact[:1])
    progress.advance(note=f"float32 {perplexity(exact):.2f}")
    about = {
        "model": args.model.name,
        "text": config.dataset,
        "netlist": config.netlist,
        "tokens": test[:, 1:].numel(),
        "window": config.window,
    }
    table = [about | {"row": "float32", "bits": 32.0} | scores(exact, exact)]
    done = {name: read_arrays(file) for name, file in files.items()}
    for name, row in done.items():
        numbers = {key: float(value) for key, value in row.items() if value.ndim == 0}
        table.append(about | {"row": name} | numbers | scores(torch.from_numpy(row["losses"]), exact))
    arrays = {"float32 losses": exact.numpy()} | {
        f"{name} {key}": value for name, row in done.items() for key, value in row.items() if value.ndim
    }
    with atomic_path(args.table) as temporary:
        pd.DataFrame(table).to_csv(temporary, index=False)
    write_arrays(args.losses, arrays | {"layers": np.array(list(linear_layers(model)))})


def is_whole(file: Path) -> bool:
    """Whether a row came to its end in an earlier run, and its file is undamaged."""
    try:
        read_arrays(file)
    except (FileNotFoundError, InputError):
        return False
    return True


def record_of(found: Quantised, losses: Tensor, quantise_s: float, gather_s: float) -> dict[str, np.ndarray]:
    """What one row leaves: numbers as scalars, losses and shares of low tiles as arrays."""
    low = [0.0 if m.low is None else float(m.low.float().mean()) for m in found.matrices.values()]
    numbers = {
        "bits": found.bits_per_weight, "sparse_share": found.sparse_share, "low_share": found.low_share,
        "quantise_s": quantise_s, "gather_s": gather_s,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }  # fmt: skip
    return {name: np.float64(value) for name, value in numbers.items()} | {
        "losses": losses.double().numpy(),
        "low_by_layer": np.array(low),
    }


def check_own_loss(model: Any, window: Tensor, ours: Tensor) -> None:
    """Raise InputError where transformers' own loss of a window is another than ours."""
    with torch.inference_mode():
        theirs = float(model(window, labels=window, use_cache=False).loss)
    if abs(theirs - float(ours)) > OWN_LOSS_TOLERANCE:
        raise InputError(f"transformers gives a loss of {theirs:.5f} and we one of {float(ours):.5f}")


def scores(losses: Tensor, exact: Tensor) -> dict[str, float]:
    """Perplexity, alone and over that of the float32 model on the same windows; 95 % of draws of windows lie between low
    and high.
    """
    drawn = resampled_windows(len(losses))
    found = {"perplexity": perplexity(losses), "loss": float(losses.double().mean())}
    for name, values in (("perplexity", losses), ("over_float", losses - exact)):
        means = values.double()[drawn].mean(1).exp()
        found |= {f"{name}_low": float(means.quantile(0.025)), f"{name}_high": float(means.quantile(0.975))}
    return found | {"over_float": math.exp(float((losses - exact).double().mean()))}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a language model")
    parser.add_argument("--calibration", type=Path, required=True, help="text that calibrates")
    parser.add_argument("--test", type=Path, required=True, help="text that decides")
    parser.add_argument("--profile", required=True, help="weight_profile.csv")
    parser.add_argument("--config", default="{}", help="PerplexityConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--state", type=Path, required=True, help="folder of rows that are done")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--losses", required=True, help="NPZ to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
