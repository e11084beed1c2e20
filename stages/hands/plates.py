"""Photos and films as backgrounds: flat pictures far away, some of which move by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.hands.arm import Array
from stages.hands.backgrounds import Linear, plate_view
from stages.hands.scenes import Camera, smooth_walk
from stages.lib.core.errors import InputError

# photos that scikit-learn brings along, under CC BY 2.0, and whom to name
BUNDLED: Mapping[str, str] = {"china": "danielbuechele (Flickr)", "flower": "vultilion (Flickr)"}
MOVING_SHARE = 0.5  # of clips before a photo: the scene drifts by itself, as before a walking wearer
FPS = 12  # of stored films


@dataclass(frozen=True, kw_only=True)
class Plate:
    """frames (F, h, w, 3) uint8 sRGB: one for a photo, several, 12 a second, for a film."""

    frames: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One plate behind one clip; a scene that moves by itself drifts about that far, in shares of the view."""

    name: str
    plate: Plate
    zoom: float
    drift: float
    seed: int

    def views(self, camera: Camera, world_from_camera: Array, times_s: Array) -> Linear:
        """(F, h, w, 3) linear light of every frame, 1 where the picture is white; world_from_camera (F, 2, 3, 3)."""
        home = world_from_camera[0, 0]
        shifts = smooth_walk(len(times_s), 2, self.drift, np.random.default_rng(self.seed))
        found = []
        for turn, shift, time_s in zip(world_from_camera, shifts, times_s, strict=True):
            # a film goes on to its end, then backwards
            count = len(self.plate.frames)
            at = int(time_s * FPS) % max(2 * count - 2, 1)
            picture = linear(self.plate.frames[min(at, 2 * count - 2 - at) if count > 1 else 0])
            found.append(plate_view(picture, camera, turn, home=home, zoom=self.zoom, shift=shift))
        return np.stack(found)


def draw_plate(plates: Mapping[str, Plate], share: float, rng: np.random.Generator) -> Scene | None:
    """What stands behind a clip; None: the panorama that lights it."""
    if not plates or rng.random() >= share:
        return None
    name = sorted(plates)[int(rng.integers(len(plates)))]
    moving = len(plates[name].frames) == 1 and rng.random() < MOVING_SHARE
    return Scene(
        name=name,
        plate=plates[name],
        zoom=float(rng.uniform(1.3, 1.8)),
        drift=0.05 if moving else 0.0,
        seed=int(rng.integers(2**31)),
    )


def plate_credits(backgrounds: list[str]) -> str:
    """Lines of a data set's card that name the authors of bundled photos."""
    named = [f"{name}.jpg by {BUNDLED[name]}" for name in backgrounds if name in BUNDLED]
    return f"- Photos under CC BY 2.0: {', '.join(named)}.\n" if named else ""


def linear(picture: NDArray[np.uint8]) -> Linear:
    """Linear light 0..1 of sRGB."""
    value = picture.astype(np.float32) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def read_plates(path: str) -> dict[str, Plate]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: Plate(frames=file[name]) for name in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no plates ({error}); make it with prepare_plates") from None
