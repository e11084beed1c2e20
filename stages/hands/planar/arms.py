"""Training sets of the arms that are compared: the same fingertips in pictures made in different ways."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.hands.backgrounds import panorama_view, read_panoramas
from stages.hands.camera_look import exposed_for_median
from stages.hands.planar.adversarial import generate
from stages.hands.planar.compositor import Z_SIZE, Compositor
from stages.hands.planar.pasting import colour_transferred, pasted
from stages.hands.planar.sprites import SIZE_PX, Sprites, View, draw_maps, moved
from stages.hands.validation import read_coco

FLAT_ARMS = ("paste", "colour_transfer", "gan", "gan_blended")


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Flat hands before backgrounds: pictures hands, masks, backgrounds (n, c, 64, 64), tips (n, 2), z (n, 128)."""

    hands: Tensor
    masks: Tensor
    backgrounds: Tensor
    tips: Tensor
    z: Tensor


def flat_clips(
    sprites: Sprites, wanted: Sprites, panoramas: dict[str, np.ndarray], rng: np.random.Generator
) -> Flat:
    """For every clip of `wanted` another clip's hand, its tip where the wanted one is, before the wanted background.

    Rendered and flat arms thus have equally many frames, the same fingertips and the same places behind them.
    """
    hands, masks, behind, z, places = [], [], [], [], []
    for number in dict.fromkeys(wanted.clip.tolist()):
        rows = np.flatnonzero(wanted.clip == number)
        tips = wanted.tips[torch.from_numpy(rows)]
        # a hand that was lit by another background
        others = np.flatnonzero(sprites.clip != number)
        sprite = int(rng.choice(others if len(others) else np.arange(len(sprites))))
        theta = draw_maps(tips, sprites.tips[sprite], rng)
        picture = torch.cat([sprites.frames[sprite], sprites.masks[sprite]])
        seen = moved(picture.expand(len(rows), -1, -1, -1), theta)
        places.append(tips)
        hands.append(seen[:, :3])
        masks.append(seen[:, 3:])
        gain = np.float32(np.exp(0.4 * rng.normal()))
        looks = [wanted.look[i] for i in rows]
        behind.append(torch.stack([background(panoramas[look.panorama], look, gain) for look in looks]))
        # as published a z a frame; what a z a clip changes is measured apart (claim G9)
        z.append(torch.from_numpy(rng.standard_normal((len(rows), Z_SIZE))).float())
    return Flat(
        hands=torch.cat(hands), masks=torch.cat(masks), backgrounds=torch.cat(behind), tips=torch.cat(places),
        z=torch.cat(z),
    )  # fmt: skip


def panoramas_of(path: str, folders: list[str]) -> dict[str, np.ndarray]:
    """name -> linear light (H, W, 3) of the panoramas that stand behind the clips of these data sets."""
    names = {video["panorama"] for folder in folders for video in read_coco(Path(folder))["videos"]}
    return read_panoramas(path, names)


def background(panorama: np.ndarray, look: View, gain: float) -> Tensor:
    """(3, 64, 64) in 0..1: what a camera saw of a panorama (H, W, 3), exposed for its median, times a gain."""
    turn = np.stack([look.world_from_camera] * 2)
    picture = exposed_for_median(panorama_view(panorama, look.camera, turn))
    shown = torch.from_numpy(picture * np.float32(gain)).permute(2, 0, 1).clamp(0, 1)
    # frames of 4:3 are squashed to a square
    return F.interpolate(shown[None], size=(SIZE_PX, SIZE_PX), mode="area")[0]


def pictures(arm: str, flat: Flat, model: Compositor) -> Tensor:
    """(n, 3, 64, 64) in 0..1 of one of the flat arms."""
    if arm == "paste":
        return pasted(flat.hands, flat.masks, flat.backgrounds)
    if arm == "colour_transfer":
        return colour_transferred(flat.hands, flat.masks, flat.backgrounds)
    found = generate(model, flat.z, flat.masks, flat.backgrounds)
    if arm == "gan":
        return found
    if arm == "gan_blended":  # ours: the background as it is, the hand as it was generated
        return pasted(found, flat.masks, flat.backgrounds)
    raise ValueError(f"there is no flat arm {arm!r}")
