"""Fingertip error on a place that nothing was trained on, over the number of training places, at equal frame count.

python -m stages.hands.study_diversity --datasets a b c d e f g h --held-out held_out --config '{"seeds": [0, 1, 2]}'
    --table diversity.csv --weights diversity.safetensors

With n places, each of the first n data sets gives an n-th of the frames (whole clips first, from its first clip on), so
that the studies are nested. The table has a row for each number of places and seed: error on the held-out frames, also by
skin tone, and on those trained on. Weights are tensors `PLACES.SEED.NAME`.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.hands.clip_frames import ClipFrames, read_frames
from stages.hands.config import DiversityConfig
from stages.hands.fingertip_net import BatchSource, FingertipSchedule, find_fingertips, train_fingertips
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.training.device import CHOICES, choose_device


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(DiversityConfig, args.config, where="--config")
    device = choose_device(args.device)
    places = [read_frames(folder) for folder in args.datasets]
    held_out = read_frames(args.held_out)
    if max(config.places) > len(places):
        raise InputError(
            f"places asks for {max(config.places)} and there are {len(places)} data sets; give more, or ask for fewer"
        )
    schedule = FingertipSchedule(
        steps=config.steps, batch_size=config.batch_size, learning_rate=config.learning_rate
    )
    progress = Progress(len(config.places) * len(config.seeds), "networks")
    rows, state = [], {}
    for count in config.places:
        chosen = [rows_of(place, -(-config.frames // count)) for place in places[:count]]
        frames = torch.cat([p.frames[r] for p, r in zip(places, chosen, strict=False)])[: config.frames]
        tips = torch.cat([p.tips[r] for p, r in zip(places, chosen, strict=False)])[: config.frames]
        if len(frames) < config.frames:
            raise InputError(
                f"{count} places give {len(frames)} frames with a fingertip, wanted {config.frames}; render more clips"
            )
        for seed in config.seeds:
            model = train_fingertips(
                BatchSource(frames, tips),
                schedule=schedule,
                seed=derive_seed(seed, "diversity") % 2**31,
                device=device,
            ).cpu()
            state |= {f"{count}.{seed}.{name}": t.contiguous() for name, t in model.state_dict().items()}
            row = {"places": count, "seed": seed, "frames": len(frames), "n": int(held_out.visible.sum())}
            row |= errors(model, held_out, "held_out")
            row |= errors_by_tone(model, held_out)
            row["train_px"] = float(np.mean(distances_px(model, frames, tips, held_out.size_px)))
            rows.append(row)
            progress.advance(
                note=f"{count} places seed {seed}: {row['held_out_mean_px']:.1f} px on the held-out place"
            )
    with atomic_path(args.weights) as temporary:
        save_file(state, temporary)
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def rows_of(place: ClipFrames, wanted: int) -> np.ndarray:
    """The first frames of a place, clip by clip."""
    return np.argsort(place.clip, kind="stable")[:wanted]


def errors(model: nn.Module, held_out: ClipFrames, name: str) -> dict[str, float]:
    """Over visible fingertips: mean, median, and the share within a twentieth of the picture's width."""
    seen = held_out.visible
    found = distances_px(model, held_out.frames[seen], held_out.tips[seen], held_out.size_px)
    return {
        f"{name}_mean_px": float(found.mean()),
        f"{name}_median_px": float(np.median(found)),
        f"{name}_share_near": float((found < held_out.size_px[0] / 20).mean()),
    }


def errors_by_tone(model: nn.Module, held_out: ClipFrames) -> dict[str, float]:
    """Mean error by thirds of the scale of skin tones."""
    tones = np.array([held_out.videos[clip]["tone"] for clip in held_out.clip])
    found = {}
    for name, low, high in (("light", 0, 3), ("middle", 3, 6), ("dark", 6, 9)):
        rows = held_out.visible & (tones >= low) & (tones < high)
        if rows.any():
            distances = distances_px(model, held_out.frames[rows], held_out.tips[rows], held_out.size_px)
            found[f"{name}_mean_px"] = float(distances.mean())
    return found


def distances_px(model: nn.Module, frames: Tensor, tips: Tensor, size_px: tuple[int, int]) -> np.ndarray:
    """(n,) pixels of the rendered frames between found and true fingertips."""
    places, _ = find_fingertips(model, 2 * frames - 1)
    return ((places - tips) * torch.tensor(size_px)).norm(dim=1).numpy()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", required=True, help="folders of compose_clips, a place each")
    parser.add_argument("--held-out", required=True, help="folder of compose_clips that is tested on")
    parser.add_argument("--config", default="{}", help="DiversityConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--weights", required=True, help="safetensors to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
