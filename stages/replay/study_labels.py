"""Labels of real and of made images: under noise, and rebuilt by VAEs with and without the teacher's response.

python -m stages.replay.study_labels --teacher results/laptop/models/lenet5-mnist-s0 --test data/prepared/mnist/test
    --run results/laptop/pre_dfkd/runs/mnist/pre/0 --config '{"vae_steps": 100}' --seed 0 --table labels.csv

Made images are those of the run's generator. The table has rows of `noise` (deviation, kind, share of labels kept), of
`rebuilt` (kind of VAE, share of labels kept) and of `codes` (plain or balanced, entropy of the teacher's classes of
batches that the second VAE makes, over that of even classes). VAEs learn from some made images, and are asked about
others.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.prepared import read_images
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed
from stages.lib.inversion.networks import Networks
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import normalise
from stages.replay.config import LabelStudyConfig
from stages.replay.labels import batch_entropy, kept_by_rebuilding, kept_under_noise, trained_vae


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(LabelStudyConfig, args.config, where="--config")
    device = choose_device(args.device)
    teacher, info = read_model(args.teacher)
    student, _ = read_model(args.run / "student")
    generator, _ = read_model(args.run / "generator")
    test = read_images(args.test).first(config.images)
    networks = Networks(
        teacher=teacher,
        student=student,
        channels=test.info.channels,
        size=test.info.height,
        device=device,
    )
    real = normalise(test.images, info.mean, info.std).to(device)
    chance = torch.Generator().manual_seed(derive_seed(args.seed, "labels") % 2**63)
    generator.to(device).train()  # it was only ever used with the statistics of its batch
    with torch.no_grad():
        made = torch.cat(
            [
                networks.images(generator, torch.randn(256, generator.noise, generator=chance).to(device))
                for _ in range(-(-(config.images + config.vae_images) // 256))
            ]
        )
    asked, learned = made[: config.images], made[config.images :]
    rows = []
    for kind, images in (("real", real), ("made", asked)):
        kept = kept_under_noise(images, networks, config.deviations, chance=chance)
        rows += [
            {"part": "noise", "kind": kind, "deviation": d, "kept": k}
            for d, k in zip(config.deviations, kept, strict=True)
        ]
    progress = Progress(2, "VAEs")
    for kind, response in (("pixels", False), ("teacher's response", True)):
        vae = trained_vae(
            learned,
            networks,
            steps=config.vae_steps,
            latent=config.latent,
            width=config.width,
            rate=config.rate,
            teacher_response=response,
            seed=derive_seed(args.seed, "vae") % 2**63,
        )
        vae.eval()
        vae.decoder.train()
        rows.append({"part": "rebuilt", "kind": kind, "kept": kept_by_rebuilding(asked, vae, networks)})
        progress.advance(note=f"{kind} {rows[-1]['kept']:.3f}")
    for kind, balanced in (("plain", False), ("balanced", True)):
        entropy = batch_entropy(
            vae, networks, balanced=balanced, rate=config.code_rate, batch_size=config.replayed, chance=chance
        )
        rows.append({"part": "codes", "kind": kind, "entropy": entropy})
    table = pd.DataFrame(rows).assign(teacher=args.teacher.name, seed=args.seed, images=len(asked))
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True, help="model folder")
    parser.add_argument("--test", type=Path, required=True, help="prepared test split")
    parser.add_argument("--run", type=Path, required=True, help="folder of distil_student, with a generator")
    parser.add_argument("--config", default="{}", help="LabelStudyConfig as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
