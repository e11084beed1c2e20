"""Classifiers of fingertip trajectories, trained on drawn templates alone: one a seed.

python -m stages.hands.train_trajectory_classifier --config '{"seeds": [0, 1, 2]}' --weights weights.safetensors
    --info classifier.json

weights  tensors `SEED.NAME`; info: the net, its classes, and how well each seed knows templates it has not seen
"""

import argparse
from dataclasses import asdict

import numpy as np
import torch
from safetensors.torch import save_file

from stages.hands.config import TrajectoryConfig
from stages.hands.gestures import GESTURES
from stages.hands.trajectories import Tracker, templates
from stages.hands.trajectory_classifier import train_classifier
from stages.lib.core.artifacts import atomic_path, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed, generator

UNSEEN = 1000  # templates that each classifier is tried on


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    config = from_json(TrajectoryConfig, args.config, where="--config")
    progress = Progress(len(config.seeds), "classifiers")
    state, accuracies = {}, {}
    for seed in config.seeds:
        drawn, labels = templates(config.templates, generator(seed, "templates"), Tracker())
        model = train_classifier(
            config.net,
            torch.from_numpy(drawn),
            torch.from_numpy(labels),
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=derive_seed(seed, "classifier") % 2**31,
        )
        unseen, truth = templates(UNSEEN, generator(seed, "unseen templates"), Tracker())
        with torch.inference_mode():
            found = model(torch.from_numpy(unseen)).argmax(1).numpy()
        accuracies[str(seed)] = float(np.mean(found == truth))
        state |= {f"{seed}.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
        progress.advance(note=f"seed {seed}: {accuracies[str(seed)]:.3f} on unseen templates")
    with atomic_path(args.weights) as temporary:
        save_file(state, temporary)
    write_json(
        args.info, {"config": asdict(config), "classes": list(GESTURES), "unseen_templates": accuracies}
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="{}", help="TrajectoryConfig as JSON")
    parser.add_argument("--weights", required=True, help="safetensors to write")
    parser.add_argument("--info", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
