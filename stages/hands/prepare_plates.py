"""Photos and films that can stand behind hands: two photos of scikit-learn, and those of a folder of yours.

python -m stages.hands.prepare_plates --folder my_pictures --plates data/prepared/plates/plates.npz

NAME  (F, h, w, 3) uint8 sRGB, 640 wide at most; films: 12 frames a second, the first 8 seconds
"""

import argparse
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError
from sklearn.datasets import load_sample_image

from stages.hands.plates import BUNDLED, FPS
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run

WIDTH_PX = 640
FILM_FRAMES = 8 * FPS
PHOTOS, FILMS = (".jpg", ".jpeg", ".png"), (".mp4",)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    plates = {name: np.asarray(load_sample_image(f"{name}.jpg"))[None] for name in BUNDLED}
    if args.folder:
        plates |= own_plates(Path(args.folder))
    with atomic_path(args.plates) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **plates)


def own_plates(folder: Path) -> dict[str, np.ndarray]:
    """Every photo and film of a folder, named as its file. Raises InputError where there are none, or one is broken."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in PHOTOS + FILMS)
    if not files:
        raise InputError(
            f"{folder} holds no photo ({', '.join(PHOTOS)}) and no film ({', '.join(FILMS)}); name another in"
            " hands.plates.folder"
        )
    found: dict[str, np.ndarray] = {}
    for path in files:
        if path.stem in found:
            raise InputError(f"{folder} has two files named {path.stem!r}; rename one")
        found[path.stem] = film(path) if path.suffix.lower() in FILMS else photo(path)[None]
    return found


def photo(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return shrunk(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a photo ({error}); replace it or take it away") from None


def film(path: Path) -> np.ndarray:
    """(F, h, w, 3): the frame that is shown at every twelfth of a second."""
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path)) as video:
            stream = video.streams.video[0]
            stream.thread_type = "NONE"
            for frame in video.decode(stream):
                picture = shrunk(Image.fromarray(frame.to_ndarray(format="rgb24")))
                while len(frames) <= float(frame.time or 0) * FPS and len(frames) < FILM_FRAMES:
                    frames.append(picture)
                if len(frames) == FILM_FRAMES:
                    break
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a film ({error}); give an MP4 file") from None
    if not frames:
        raise InputError(f"{path} holds no frames; replace it or take it away")
    return np.stack(frames)


def shrunk(image: Image.Image) -> np.ndarray:
    if image.width > WIDTH_PX:
        height = round(image.height * WIDTH_PX / image.width)
        image = image.resize((WIDTH_PX, height), Image.Resampling.BOX)
    return np.asarray(image)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", help="your own photos and films")
    parser.add_argument("--plates", required=True, help="NPZ to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
