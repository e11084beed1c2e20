"""Distil one student from a teacher without data, by one method with one seed.

python -m stages.replay.distil_student --teacher results/laptop/models/lenet5-mnist-s0 --test data/prepared/mnist/test
    --config '{"iterations": 100}' --method pre --seed 0 --state scratch/pre --folder OUT --curve OUT/curve.csv
    --times OUT/times.csv

The folder gets model folders of the student, of the generator and, where there is one, of the VAE, and samples.npz:
images of the generator and of what is rehearsed, uint8. The test set is read for the curve alone, which is the same from
run to run; seconds are not, and stand in a file of their own. --train is for the control `real`, whose images have no
labels.
"""

import argparse
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stages.lib.core.artifacts import atomic_path, value_digest, write_arrays
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import read_images
from stages.lib.inversion.networks import Networks
from stages.lib.inversion.students import new_student, student_accuracy
from stages.lib.nets.model_folder import ModelInfo, read_model, write_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import denormalise, normalise
from stages.replay.config import DistilConfig
from stages.replay.distillation import Distilled, distil
from stages.replay.memories import PseudoReplay
from stages.replay.methods import METHODS
from stages.replay.sources import Generated

SAMPLES = 100  # images of each kind in samples.npz


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(DistilConfig, args.config, where="--config")
    if args.method not in METHODS:
        raise InputError(f"--method {args.method}: choose from {', '.join(METHODS)}")
    try:
        method = replace(METHODS[args.method], **config.changes)
    except (TypeError, ValueError) as error:
        raise InputError(f"changes of --config do not fit {args.method}: {error}") from None
    if method.source == "real" and args.train is None:
        raise InputError("--method real sees real images: give --train")
    device = choose_device(args.device)
    teacher, info = read_model(args.teacher)
    test = read_images(args.test)
    test = test.first(config.test_images or test.info.n)
    networks, arguments = new_student(
        teacher, info, test, net=config.student, arguments=config.arguments, seed=args.seed, device=device
    )
    evaluate = student_accuracy(networks, info, test)
    real = None
    if method.source == "real":
        real = normalise(read_images(args.train).images, info.mean, info.std)
    settings = [
        asdict(replace(config, methods=(), seeds=(), teachers=())),
        args.method,
        args.seed,
        info.weights_digest,
    ]
    state = args.state / value_digest([*settings, device.type])[:16]
    done = distil(networks, method, config, seed=args.seed, evaluate=evaluate, real=real, state=state)
    student_info = replace(
        info,
        net=config.student,
        arguments=arguments,
        parent_digest=info.weights_digest,
        recipe={"method": args.method, "settings": asdict(method), **asdict(config), "seed": args.seed},
    )
    write_model(args.folder / "student", networks.student, student_info)
    write_makers(args.folder, done, networks, student_info)
    write_arrays(args.folder / "samples.npz", samples(done, networks, info))
    with atomic_path(args.curve) as temporary:
        points = pd.DataFrame([asdict(point) for point in done.curve])
        about = {
            "study": args.study,
            "teacher": args.teacher.name,
            "method": args.method,
            "seed": args.seed,
            "dataset_digest": test.info.digest,
        }
        points.drop(columns="cpu_s").assign(**about).to_csv(temporary, index=False)
    with atomic_path(args.times) as temporary:
        points[["iteration", "cpu_s"]].to_csv(temporary, index=False)
    shutil.rmtree(state, ignore_errors=True)


def write_makers(folder: Path, done: Distilled, networks: Networks, info: ModelInfo) -> None:
    """Model folders of the generator and of the VAE, where there are any."""
    size = {"channels": networks.channels, "size": networks.size}
    found: dict[str, tuple[str, nn.Module, dict[str, int | bool]]] = {}
    if isinstance(done.source, Generated):
        config = done.source.config
        arguments = {"noise": config.noise, "width": config.width, "spectral_norm": config.spectral_norm}
        found["generator"] = ("generator.Generator", done.source.generator, {**size, **arguments})
    if isinstance(done.memory, PseudoReplay):
        config = done.memory.config
        arguments = {"latent": config.noise, "width": config.memory_width}
        found["vae"] = ("generator.VAE", done.memory.vae, {**size, **arguments})
    for name, (net, network, arguments) in found.items():
        write_model(folder / name, network, replace(info, net=net, arguments=arguments))


def samples(done: Distilled, networks: Networks, info: ModelInfo) -> dict[str, np.ndarray]:
    """`new` and `rehearsed`: (n, height, width, channels) uint8, and what the teacher calls them."""
    found = {}
    kinds: dict[str, Tensor | None] = {"new": done.source.fresh()}
    rehearsed = done.memory.draw()
    kinds["rehearsed"] = rehearsed[0] if rehearsed is not None else None
    for kind, images in kinds.items():
        if images is None:
            continue
        images = images[:SAMPLES]
        with torch.no_grad():
            classes = networks.ask_teacher(images)[0].argmax(1).cpu()
        found[kind] = denormalise(images.cpu(), info.mean, info.std)
        found[f"{kind} classes"] = classes.numpy()
    return found


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True, help="model folder")
    parser.add_argument("--test", type=Path, required=True, help="prepared test split, for the curve")
    parser.add_argument("--train", type=Path, help="prepared training split, for --method real")
    parser.add_argument("--config", default="{}", help="DistilConfig as JSON")
    parser.add_argument("--method", required=True, help="see stages/replay/methods.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", default="", help="name that the curve carries")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--state", type=Path, required=True, help="folder of checkpoints, removed at the end")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write models and samples to")
    parser.add_argument("--curve", required=True, help="CSV to write, a row an evaluation")
    parser.add_argument("--times", required=True, help="CSV to write, CPU seconds up to each evaluation")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
