"""Fingertip networks for real video, trained on rendered hands over backgrounds of any kind: one a seed.

python -m stages.hands.train_fingertips --layers a.npz b.npz --panoramas panoramas.npz --config '{"steps": 500}'
    --weights weights.safetensors --info fingertips.json

weights  tensors `SEED.NAME`; info: settings and how many hands they were trained on
"""

import argparse
from dataclasses import asdict
from functools import partial

from safetensors.torch import save_file

from stages.hands.backgrounds import read_panoramas
from stages.hands.composites import CompositeSource, cut_out, draw_backgrounds, joined_hands
from stages.hands.config import FingertipConfig
from stages.hands.fingertip_net import FingertipSchedule, VideoFingertipNet, train_fingertips
from stages.hands.layers import read_layers
from stages.lib.core.artifacts import atomic_path, write_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import derive_seed, generator
from stages.lib.training.device import CHOICES, choose_device


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(FingertipConfig, args.config, where="--config")
    device = choose_device(args.device)
    hands = joined_hands([cut_out(read_layers(path)) for path in args.layers])
    panoramas = read_panoramas(args.panoramas)
    schedule = FingertipSchedule(
        steps=config.steps, batch_size=config.batch_size, learning_rate=config.learning_rate
    )
    progress = Progress(len(config.seeds) * config.steps, "steps")
    state = {}
    for seed in config.seeds:
        backgrounds = draw_backgrounds(panoramas, config.backgrounds, generator(seed, "backgrounds"))
        model = train_fingertips(
            CompositeSource(hands, backgrounds),
            schedule=schedule,
            seed=derive_seed(seed, "fingertips") % 2**31,
            device=device,
            build=partial(VideoFingertipNet, config.width),
            advance=lambda seed=seed: progress.advance(note=f"seed {seed}"),
        )
        state |= {f"{seed}.{name}": t.cpu().contiguous() for name, t in model.state_dict().items()}
    with atomic_path(args.weights) as temporary:
        save_file(state, temporary)
    write_json(args.info, {"config": asdict(config), "hands": len(hands.rgba)})


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", required=True, help="NPZ files of render_clips")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--config", default="{}", help="FingertipConfig as JSON")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--weights", required=True, help="safetensors to write")
    parser.add_argument("--info", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
