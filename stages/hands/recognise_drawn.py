"""Gestures drawn by held-out hands before held-out backgrounds, recognised with the networks of the study of places.

python -m stages.hands.recognise_drawn --layers held_out/layers-0.npz --panoramas panoramas.npz
    --diversity diversity.safetensors --classifier weights.safetensors --classifier-info classifier.json --clips 100
    --table gestures.csv

Cut-out hands follow drawn gestures. The table has a row for each number of places and seed: the share of gestures that
the classifier of trajectories knows from the tips that the network finds, and from the true ones.
"""

import argparse

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.hands.clip_frames import INPUT_PX
from stages.hands.composites import cut_out, drawn_view, joined_hands
from stages.hands.fingertip_net import FingertipNet, find_fingertips
from stages.hands.gestures import GESTURES
from stages.hands.layers import read_layers
from stages.hands.motion_images import moving_hand
from stages.hands.study_diversity import read_panoramas
from stages.hands.trajectory_classifier import read_classifiers
from stages.hands.videos import classify, smoothed
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.lib.training.device import channels_last_

BACKGROUNDS = 50


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    layers = [read_layers(path) for path in args.layers]
    names = {record["panorama"] for part in layers for record in part.clips.values()}
    rng = generator(args.seed, "drawn gestures")
    backgrounds = held_out_views(args.panoramas, names, rng)
    hands = joined_hands([cut_out(part) for part in layers])
    truth = np.array([GESTURES[i % len(GESTURES)] for i in range(args.clips)])
    clips = [moving_hand(hands, backgrounds, gesture, rng) for gesture in truth]
    classifiers = read_classifiers(args.classifier, args.classifier_info)
    networks = read_networks(args.diversity)
    progress = Progress(len(networks), "networks")
    rows = []
    for (places, seed), network in networks.items():
        classifier = classifiers.get(seed, classifiers[min(classifiers)])
        found = [answer(classifier, tips_found(network, frames)) for frames, _ in clips]
        true = [answer(classifier, in_pixels(tips)) for _, tips in clips]
        rows.append(
            {
                "places": places,
                "seed": seed,
                "n": len(truth),
                "accuracy": float((np.array(found) == truth).mean()),
                "ceiling": float((np.array(true) == truth).mean()),
            }
        )
        progress.advance(note=f"{places} places: {rows[-1]['accuracy']:.0%}")
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def held_out_views(path: str, names: set[str], rng: np.random.Generator) -> Tensor:
    """(50, 3, 96, 128) views of these panoramas in 0..1."""
    panoramas = list(read_panoramas(path, sorted(names)).values())
    views = [drawn_view(panoramas[i % len(panoramas)], rng, *INPUT_PX) for i in range(BACKGROUNDS)]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()


def tips_found(network: nn.Module, frames: Tensor) -> np.ndarray:
    # every frame counts here, however unsure: networks are compared
    places, _ = find_fingertips(network, 2 * F.avg_pool2d(frames, 2) - 1)
    return smoothed(in_pixels(places))


def in_pixels(tips: Tensor) -> np.ndarray:
    return tips.numpy().astype(float) * np.array(INPUT_PX)


def answer(classifier: nn.Module, points: np.ndarray) -> str:
    return GESTURES[int(classify(classifier, points).argmax())]


def read_networks(path: str) -> dict[tuple[int, int], nn.Module]:
    """(places, seed) -> network, in evaluation mode."""
    try:
        state = load_file(path)
        found = {}
        for places, seed in sorted({tuple(map(int, name.split(".")[:2])) for name in state}):
            model = channels_last_(FingertipNet())
            prefix = f"{places}.{seed}."
            model.load_state_dict(
                {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
            )
            found[places, seed] = model.eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"{path} does not hold the networks of study_diversity ({reason}); train them again"
        ) from error
    return found


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--layers", nargs="+", required=True, help="NPZ files of render_clips, held-out hands"
    )
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--diversity", required=True, help="safetensors of study_diversity")
    parser.add_argument("--classifier", required=True, help="safetensors of train_trajectory_classifier")
    parser.add_argument("--classifier-info", required=True, help="JSON of train_trajectory_classifier")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
