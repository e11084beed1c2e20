"""Fingertip networks trained on flat and on rendered hands, each tested on the frames of all: a cross-test.

python -m stages.hands.planar.compare_arms --datasets a/dataset b/dataset --articulated poses/dataset
    --held-out held_out/dataset --held-out-poses held_out_poses/dataset --panoramas panoramas.npz
    --compositor 0.safetensors --steps 300 --seed 0 --table arms.csv

All arms have equally many frames with the same fingertips before the same places; tests are before the held-out sets'
places. The table has a row for each arm and test.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.hands.config import CycleConfig
from stages.hands.fingertip_net import BatchSource, FingertipSchedule, find_fingertips, train_fingertips
from stages.hands.planar.arms import FLAT_ARMS, flat_clips, panoramas_of, pictures
from stages.hands.planar.cycle import train_cycle, translate
from stages.hands.planar.sprites import SIZE_PX, Sprites, read_sprites
from stages.hands.planar.train_compositor import read_compositor
from stages.lib.core.artifacts import atomic_path, file_digest, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed, generator
from stages.lib.training.device import CHOICES, choose_device


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(CycleConfig, args.cycle, where="--cycle")
    device = choose_device(args.device)
    model = read_compositor(args.compositor)
    training, tests = {}, {}
    pointing, held_out = read_sprites(args.datasets), read_sprites([args.held_out])
    rng = generator(args.seed, "arms")
    flat = flat_clips(pointing, pointing, panoramas_of(args.panoramas, args.datasets), rng)
    flat_test = flat_clips(held_out, held_out, panoramas_of(args.panoramas, [args.held_out]), rng)
    for arm in FLAT_ARMS:
        training[arm] = (pictures(arm, flat, model), flat.tips)
        tests[arm] = (pictures(arm, flat_test, model), flat_test.tips)
    training["rendered"] = (small(pointing), pointing.tips)
    if config.steps:
        progress = Progress(config.steps, "CycleGAN's steps")
        # other settings or frames must not go on from these checkpoints
        sources = [file_digest(Path(d) / "annotations.json") for d in args.datasets]
        key = value_digest([asdict(config), args.seed, sources, file_digest(args.compositor)])
        translator = train_cycle(
            training["paste"][0],
            training["rendered"][0],
            config,
            seed=args.seed,
            device=device,
            state=Path(args.state) / f"cycle-{key[:16]}" if args.state else None,
            advance=lambda note: progress.advance(note=note),
        )
        training["cyclegan"], tests["cyclegan"] = (
            (translate(translator, frames), tips) for frames, tips in (training["paste"], tests["paste"])
        )
    training["rendered_articulated"] = articulated(pointing, read_sprites([args.articulated]), rng)
    poses = read_sprites([args.held_out_poses])
    tests["rendered"] = (small(held_out), held_out.tips)
    tests["poses"] = (small(poses[poses.visible]), poses[poses.visible].tips)
    if not poses.visible.all():
        tests["poses, tip covered"] = (small(poses[~poses.visible]), poses[~poses.visible].tips)
    # what looks for fingertips in the generator's pictures (claim G10): no arm, since it has seen more
    known = [training[arm] for arm in ("paste", "rendered_articulated")]
    training["reference"] = (
        torch.cat([frames for frames, _ in known]),
        torch.cat([tips for _, tips in known]),
    )
    progress = Progress(len(training), "arms")
    rows = []
    for arm, (frames, tips) in training.items():
        network = train_fingertips(
            BatchSource(frames, (tips + 1) / 2),
            schedule=FingertipSchedule(
                steps=args.steps * (2 if arm == "reference" else 1), batch_size=32, learning_rate=3e-3
            ),
            seed=derive_seed(args.seed, "arms") % 2**31,
            device=device,
        ).cpu()
        for test, (seen, wanted) in tests.items():
            found, _ = find_fingertips(network, 2 * seen - 1)
            error = (found - (wanted + 1) / 2).norm(dim=1) * SIZE_PX
            rows.append(
                {
                    "arm": arm,
                    "test": test,
                    "seed": args.seed,
                    "frames": len(frames),
                    "n": len(seen),
                    "mean_px": float(error.mean()),
                    "median_px": float(error.median()),
                    "within_2_px": float((error <= 2).float().mean()),
                }
            )
        progress.advance(note=arm)
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def small(sprites: Sprites) -> Tensor:
    """(n, 3, 64, 64) frames as they were rendered."""
    return F.avg_pool2d(sprites.frames, 2)


def articulated(pointing: Sprites, poses: Sprites, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """As many frames as `pointing`, a quarter of them of other poses: frames and tips."""
    wanted = min(len(pointing) // 4, len(poses))
    chosen = rng.permutation(len(poses))[:wanted]
    kept = np.sort(rng.permutation(len(pointing))[: len(pointing) - wanted])
    frames = torch.cat([small(pointing[kept]), small(poses[chosen])])
    return frames, torch.cat([pointing[kept].tips, poses[chosen].tips])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--datasets", nargs="+", required=True, help="folders of compose_clips, pointing hands"
    )
    parser.add_argument("--articulated", required=True, help="folder of compose_clips, other poses")
    parser.add_argument(
        "--held-out", required=True, help="folder of compose_clips, pointing hands, tested on"
    )
    parser.add_argument(
        "--held-out-poses", required=True, help="folder of compose_clips, other poses, tested on"
    )
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--compositor", required=True, help="safetensors of train_compositor")
    parser.add_argument("--cycle", default="{}", help="CycleConfig as JSON")
    parser.add_argument("--state", help="folder for checkpoints of CycleGAN")
    parser.add_argument("--steps", type=int, default=300, help="of training of each network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
