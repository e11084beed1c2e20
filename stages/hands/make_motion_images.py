"""Motion images of gestures as a prepared image set: of rendered hands, or of real videos.

python -m stages.hands.make_motion_images --layers a.npz b.npz --panoramas panoramas.npz --split train --count 4000
    --seed 0 --folder data/rendered/laptop/motion/train
python -m stages.hands.make_motion_images --videos data/prepared/egogestar/videos --split test --folder REAL

The folder is a split as stages.lib.core.prepared reads it: 64 x 64 x 3 uint8, ten classes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from stages.hands.backgrounds import read_panoramas
from stages.hands.composites import cut_out, draw_backgrounds, joined_hands
from stages.hands.gestures import GESTURES
from stages.hands.layers import read_layers
from stages.hands.motion_images import draw_motion_images, motion_image
from stages.hands.recognise_videos import read_index
from stages.hands.videos import read_video
from stages.lib.core.errors import InputError, run
from stages.lib.core.prepared import ImageSplit, SplitInfo, content_digest, image_digests, write_images
from stages.lib.core.seeds import generator

BACKGROUNDS = 400
# of images of rendered hands, 0..1, so that sets of any split are normalised alike
MEAN, STD = (0.075, 0.075, 0.075), (0.155, 0.155, 0.155)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    if args.videos:
        images, labels = of_videos(Path(args.videos))
        about = {"dataset": "egogestar-motion", "licence": "none stated, research use", "redistribute": False}
    elif args.layers and args.panoramas:
        images, labels = of_rendered_hands(args.layers, args.panoramas, args.count, args.seed, args.split)
        about = {"dataset": "rendered-motion", "licence": "CC0-1.0", "redistribute": True}
    else:
        raise InputError("give --layers and --panoramas for rendered hands, or --videos for real ones")
    digests = image_digests(images, labels)
    order = np.argsort(np.array(digests), kind="stable")
    info = SplitInfo(
        split=args.split, classes=GESTURES, mean=MEAN, std=STD, digest=content_digest(digests), n=len(images),
        height=images.shape[1], width=images.shape[2], channels=3, citation="", **about,
    )  # fmt: skip
    write_images(args.folder, ImageSplit(images=images[order], labels=labels[order], info=info))


def of_rendered_hands(
    layers: list[str], panoramas: str, count: int, seed: int, split: str
) -> tuple[np.ndarray, np.ndarray]:
    hands = joined_hands([cut_out(read_layers(path)) for path in layers])
    views = read_panoramas(panoramas)
    rng = generator(seed, "motion images", split)
    return draw_motion_images(hands, draw_backgrounds(views, BACKGROUNDS, rng), count, rng)


def of_videos(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All videos but those that development looked at."""
    index = read_index(folder)
    index = index[~index["development"]]
    images = [motion_image(read_video(folder / file)[0]) for file in index["file"]]
    return np.stack(images), np.array([GESTURES.index(gesture) for gesture in index["gesture"]])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="*", help="NPZ files of render_clips")
    parser.add_argument("--panoramas", help="NPZ of prepare_panoramas")
    parser.add_argument("--videos", help="folder of prepare_videos")
    parser.add_argument("--split", required=True, help="name of the split, part of the seed")
    parser.add_argument("--count", type=int, default=4000, help="images of rendered hands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", required=True, help="folder of the split to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
