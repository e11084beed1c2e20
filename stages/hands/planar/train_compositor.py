"""Train the paper arm's generator on frames of pointing hands.

python -m stages.hands.planar.train_compositor --datasets a/dataset b/dataset --config '{"steps": 1000}' --seed 0
    --state scratch/compositor --weights 0.safetensors

Resumes from its checkpoints. The weights carry the settings in their metadata.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from stages.hands.config import CompositorConfig
from stages.hands.planar.adversarial import train_compositor
from stages.hands.planar.compositor import Compositor
from stages.hands.planar.sprites import read_sprites
from stages.lib.core.artifacts import atomic_path, file_digest, value_digest
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.training.device import CHOICES, channels_last_, choose_device


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(CompositorConfig, args.config, where="--config")
    device = choose_device(args.device)
    sprites = read_sprites(args.datasets)
    progress = Progress(config.steps, "steps")
    # other settings or frames must not go on from these checkpoints
    key = value_digest(
        [asdict(config), args.seed, [file_digest(Path(d) / "annotations.json") for d in args.datasets]]
    )
    state = Path(args.state) / f"compositor-{key[:16]}" if args.state else None
    model = train_compositor(
        sprites,
        config,
        seed=args.seed,
        device=device,
        state=state,
        advance=lambda note: progress.advance(note=note),
    )
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(args.weights) as temporary:
        save_file(tensors, temporary, metadata={"config": json.dumps(asdict(config))})
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)


def read_compositor(path: str) -> Compositor:
    """The generator in a file of this verb, in evaluation mode. Raises InputError where it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            config = from_json(CompositorConfig, (file.metadata() or {})["config"], where=path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
        model = channels_last_(Compositor(config.width))
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"{path} holds no generator ({reason}); make it with planar.train_compositor"
        ) from error
    return model.eval()


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", required=True, help="folders of compose_clips")
    parser.add_argument("--config", default="{}", help="CompositorConfig as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--state", help="folder for checkpoints")
    parser.add_argument("--weights", required=True, help="safetensors to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
