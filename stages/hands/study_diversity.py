"""Fingertip error before a panorama that nothing was trained on, over the number of training places, all else equal.

python -m stages.hands.study_diversity --layers a.npz b.npz --held-out held_out.npz --panoramas panoramas.npz
    --config '{"panoramas": ["interior", "city"], "places": [1, 2]}' --table diversity.csv --weights diversity.safetensors

A place is a panorama and a direction. Each seed draws its hands, an order of places, and a direction in each; its
networks see the same hands, frame by frame, before the first 1, 2, 4, ... of its places in turn. So neither who was
rendered where, nor which place came first, decides. The table has a row for each number of places and seed: error on
held-out hands before the held-out panorama, also by skin tone, and on the frames trained on. Weights are tensors
`PLACES.SEED.NAME`.
"""

import argparse
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.hands.arm import INDEX_TIP
from stages.hands.backgrounds import panorama_view, read_panoramas
from stages.hands.clip_frames import network_input
from stages.hands.compose_clips import clip_pictures
from stages.hands.config import DiversityConfig
from stages.hands.fingertip_net import BatchSource, FingertipSchedule, find_fingertips, train_fingertips
from stages.hands.layers import Layers, read_layers
from stages.hands.scenes import Camera, about_vertical
from stages.hands.skin import skin_thirds
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed, generator
from stages.lib.training.device import CHOICES, choose_device

SIZE_PX = (320, 240)  # in which errors are told
WITHIN_DEG = 12  # of a place's direction, either way
HELD_OUT_TURNS = 4  # directions in which each held-out clip is seen


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(DiversityConfig, args.config, where="--config")
    device = choose_device(args.device)
    panoramas = read_panoramas(args.panoramas, config.panoramas)
    if max(config.places) > len(panoramas):
        raise InputError(
            f"places asks for {max(config.places)} and there are {len(panoramas)} panoramas; name more, or ask for fewer"
        )
    hands = [clip for path in args.layers for clip in clips_of(path)]
    others = [clip for path in args.held_out for clip in clips_of(path)]
    held_out = held_out_views(others, args.panoramas)
    schedule = FingertipSchedule(
        steps=config.steps, batch_size=config.batch_size, learning_rate=config.learning_rate
    )
    progress = Progress(len(config.places) * len(config.seeds), "networks")
    rows, state = [], {}
    for seed in config.seeds:
        rng = generator(seed, "diversity")
        own = [hands[i] for i in rng.permutation(len(hands))]
        names = [sorted(panoramas)[i] for i in rng.permutation(len(panoramas))]
        directions = rng.uniform(-np.pi, np.pi, len(names))
        before: dict[tuple[int, int], Views] = {}  # clip and place: the same for several counts
        for count in config.places:
            standing = [(i, i % count) for i in range(min(config.clips_trained, len(own)))]
            for i, place in standing:
                if (i, place) not in before:
                    chance = generator(seed, "diversity", i)
                    before[i, place] = seen_before(own[i], panoramas[names[place]], directions[place], chance)
            views = [before[at] for at in standing]
            frames, tips = torch.cat([v.frames for v in views]), torch.cat([v.tips for v in views])
            model = train_fingertips(
                BatchSource(frames, tips),
                schedule=schedule,
                seed=derive_seed(seed, "diversity") % 2**31,
                device=device,
            ).cpu()
            state |= {f"{count}.{seed}.{name}": t.contiguous() for name, t in model.state_dict().items()}
            row = {"places": count, "seed": seed, "frames": len(frames), "n": len(held_out.tips)}
            row |= errors(model, held_out)
            row["train_px"] = float(distances_px(model, frames, tips).mean())
            rows.append(row)
            progress.advance(
                note=f"seed {seed}, {count} places: {row['held_out_mean_px']:.1f} px on the held-out place"
            )
    with atomic_path(args.weights) as temporary:
        save_file(state, temporary)
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


class Clip(NamedTuple):
    """Rendered layers, the rows of one clip, and what was drawn for it."""

    layers: Layers
    rows: np.ndarray
    record: dict[str, Any]


class Views(NamedTuple):
    """frames (n, 3, 48, 64) in 0..1; tips (n, 2) in shares of the picture; tones (n,)."""

    frames: Tensor
    tips: Tensor
    tones: np.ndarray


def clips_of(path: str) -> list[Clip]:
    layers = read_layers(path)
    return [
        Clip(layers, np.flatnonzero(layers.clip == number), record)
        for number, record in sorted(layers.clips.items())
    ]


def held_out_views(clips: list[Clip], panoramas: str) -> Views:
    """Every clip before the panorama that lit it, in several directions."""
    found, behind = [], read_panoramas(panoramas, {clip.record["panorama"] for clip in clips})
    for number, clip in enumerate(clips):
        panorama = behind[clip.record["panorama"]]
        for turn in range(HELD_OUT_TURNS):
            rng = generator(0, "held-out view", number, turn)
            found.append(seen_before(clip, panorama, rng.uniform(-np.pi, np.pi), rng))
    return Views(
        torch.cat([v.frames for v in found]),
        torch.cat([v.tips for v in found]),
        np.concatenate([v.tones for v in found]),
    )


def seen_before(clip: Clip, panorama: np.ndarray, direction_rad: float, rng: np.random.Generator) -> Views:
    """The frames of a clip with a fingertip in them, looking about that way in a panorama, taken by one camera.

    Half as large as they were rendered: the network sees less still.
    """
    layers, rows, record = clip
    camera = Camera(**record["camera"])
    small = Camera(
        width_px=camera.width_px // 2,
        height_px=camera.height_px // 2,
        field_of_view_rad=camera.field_of_view_rad,
    )
    ahead = layers.world_from_camera[rows[0], 0] @ np.array([0, 0, -1.0])
    jitter = np.radians(rng.uniform(-WITHIN_DEG, WITHIN_DEG))
    turn = about_vertical(direction_rad + jitter - np.arctan2(ahead[1], ahead[0]))
    half = replace(
        layers,
        rgba=_halved(layers.rgba[rows]),
        hand=_halved(layers.hand[rows]),
    )
    behind = np.stack([panorama_view(panorama, small, turn @ layers.world_from_camera[row]) for row in rows])
    pictures = clip_pictures(half, np.arange(len(rows)), record, behind, rng)
    frames, tips = [], []
    for row, picture in zip(rows, pictures, strict=True):
        x, y, _ = camera.project(layers.keypoints[row, INDEX_TIP])
        if 0 <= x < camera.width_px and 0 <= y < camera.height_px:
            frames.append(F.avg_pool2d(network_input(picture), 2))
            tips.append((x / camera.width_px, y / camera.height_px))
    if not frames:
        return Views(torch.zeros(0, 3, 48, 64), torch.zeros(0, 2), np.zeros(0))
    return Views(
        torch.stack(frames), torch.tensor(tips, dtype=torch.float32), np.full(len(tips), record["tone"])
    )


def _halved(values: np.ndarray) -> np.ndarray:
    """(n, h / 2, w / 2, ...) means of two by two."""
    n, height, width = values.shape[:3]
    cut = values.reshape(n, height // 2, 2, width // 2, 2, *values.shape[3:])
    return cut.mean(axis=(2, 4), dtype=np.float32).astype(values.dtype)


def errors(model: nn.Module, held_out: Views) -> dict[str, float]:
    """Mean, median, the share within a twentieth of the picture's width, and the means by thirds of the skin tones."""
    found = distances_px(model, held_out.frames, held_out.tips)
    row = {
        "held_out_mean_px": float(found.mean()),
        "held_out_median_px": float(np.median(found)),
        "held_out_share_near": float((found < SIZE_PX[0] / 20).mean()),
    }
    for name, mean_px in pd.Series(found).groupby(skin_thirds(held_out.tones)).mean().items():
        row[f"{name}_mean_px"] = float(mean_px)
    return row


def distances_px(model: nn.Module, frames: Tensor, tips: Tensor) -> np.ndarray:
    """(n,) pixels of a picture of 320 x 240 between found and true fingertips."""
    places, _ = find_fingertips(model, 2 * frames - 1)
    return ((places - tips) * torch.tensor(SIZE_PX)).norm(dim=1).numpy()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", required=True, help="NPZ files of render_clips, trained on")
    parser.add_argument("--held-out", nargs="+", required=True, help="NPZ files of render_clips, tested on")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--config", default="{}", help="DiversityConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    parser.add_argument("--weights", required=True, help="safetensors to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
