"""From linear light to a picture as a small head-worn camera takes it: exposure, lens, noise, tone curve, JPEG."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Linear = NDArray[np.float32]
Picture = NDArray[np.uint8]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
MIDDLE_GREY = 0.16  # linear, what the frame's median is exposed for
SKIN_REFERENCE = 0.30  # luminance of a middle skin's albedo


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one camera does in one clip.

    exposure       factor on linear light
    white_balance  (3,) factors
    blur_px        standard deviation of the lens' blur
    shot, read     noise: variance = shot * light + read^2
    quality        of JPEG, 1 to 95
    """

    exposure: float
    white_balance: tuple[float, float, float]
    blur_px: float
    shot: float
    read: float
    quality: int


def draw_look(rng: np.random.Generator, exposure: float) -> Look:
    balance = np.exp(rng.normal(0, 0.03, 3))
    return Look(
        exposure=exposure * float(2 ** rng.normal(0, 0.25)),
        white_balance=(float(balance[0]), float(balance[1]), float(balance[2])),
        blur_px=float(rng.uniform(0.1, 0.6)),
        shot=float(10 ** rng.uniform(-4, -2.7)),
        read=float(10 ** rng.uniform(-3.2, -2.2)),
        quality=int(rng.integers(60, 96)),
    )


def auto_exposure(light: Linear, hand: NDArray[np.bool_], *, albedo: float) -> float:
    """The factor that a camera would choose for these frames (n, h, w, 3): nine tenths by the hand, one by the frame.

    hand    (n, h, w) pixels of bare hand
    albedo  luminance of the skin: dark skin is exposed a little darker than light skin, by far less than it is darker
    No more than a twentieth of the hand may near white, which keeps light skin under a lamp.
    """
    luminance = light @ LUMINANCE
    frame = max(float(np.median(luminance)), 1e-4)
    if not hand.any():
        return MIDDLE_GREY / frame
    skin = luminance[hand]
    wanted = 0.2 * (albedo / SKIN_REFERENCE) ** 0.2
    by_hand = wanted / max(float(np.median(skin)), 1e-4)
    exposure = by_hand**0.9 * (MIDDLE_GREY / frame) ** 0.1
    ceiling = 0.7 / max(float(np.quantile(skin, 0.95)), 1e-4)
    # the hand must stay between a third of what it should be and white
    return float(min(max(exposure, by_hand / 3), ceiling))


def picture(light: Linear, look: Look, rng: np.random.Generator) -> Picture:
    """(h, w, 3) uint8, sRGB, of linear light (h, w, 3)."""
    seen = np.maximum(light * look.exposure * np.array(look.white_balance, np.float32), 0)
    noise = np.sqrt(look.shot * seen + look.read**2)
    seen = np.maximum(seen + noise * rng.standard_normal(seen.shape).astype(np.float32), 0)
    image = Image.fromarray(np.rint(255 * tone_curve(seen)).astype(np.uint8))
    if look.blur_px > 0:
        image = image.filter(ImageFilter.GaussianBlur(look.blur_px))
    return compressed(np.asarray(image), look.quality)


def exposed_for_median(light: Linear) -> Linear:
    """0..1 sRGB of linear light (h, w, 3) whose median becomes 0.18."""
    return tone_curve(light * np.float32(0.18 / max(float(np.median(light @ LUMINANCE)), 1e-3)))


def tone_curve(light: Linear) -> Linear:
    """0..1 sRGB: linear in the middle, with a shoulder that keeps lights from clipping at once.

    0.18 stays near 0.18; the shoulder is x / (1 + x^p)^(1/p) with p = 2.5, then sRGB's own curve.
    """
    shoulder = light / (1 + light**2.5) ** 0.4
    return np.where(
        shoulder <= 0.0031308, 12.92 * shoulder, 1.055 * np.maximum(shoulder, 1e-9) ** (1 / 2.4) - 0.055
    ).astype(np.float32)


def compressed(image: Picture, quality: int) -> Picture:
    """What JPEG leaves of a picture (h, w, 3)."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))
