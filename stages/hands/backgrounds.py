"""What stands behind a hand, as linear light: a panorama seen by a turning head, or a photo or film that it looks at."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.hands.arm import Array
from stages.hands.scenes import Camera
from stages.lib.core.errors import InputError

Linear = NDArray[np.float32]

BLUR_STEPS = 3  # moments of the shutter that a moving view is averaged over


def read_panoramas(path: str, names: Iterable[str] | None = None) -> dict[str, Linear]:
    """name -> linear light (H, W, 3) of these panoramas, or of all, of a file of prepare_panoramas."""
    with np.load(path, allow_pickle=False) as file:
        wanted = sorted(file.files if names is None else names)
        if missing := [name for name in wanted if name not in file.files]:
            raise InputError(
                f"{path} has no panorama {missing[0]!r} (it has {', '.join(file.files)}); make it again"
            )
        return {name: file[name].astype(np.float32) for name in wanted}


def panorama_view(panorama: Linear, camera: Camera, world_from_camera: Array) -> Linear:
    """(h, w, 3) of an equirectangular panorama (H, W, 3), averaged over the shutter.

    world_from_camera  (2, 3, 3) as the shutter opens and closes; directions map as in Blender, so that the view goes
    with the light that the renderer took from the same panorama
    """
    rays = _rays(camera)
    total = np.zeros((camera.height_px, camera.width_px, 3), np.float32)
    for share in np.linspace(0, 1, BLUR_STEPS):
        turn = (1 - share) * world_from_camera[0] + share * world_from_camera[1]
        directions = rays @ turn.T
        u = 0.5 - np.arctan2(directions[..., 1], directions[..., 0]) / (2 * np.pi)
        v = 0.5 - np.arcsin(directions[..., 2] / np.linalg.norm(directions, axis=-1)) / np.pi
        total += bilinear(panorama, u * panorama.shape[1] - 0.5, v * panorama.shape[0] - 0.5, wrap=True)
    return total / BLUR_STEPS


def plate_view(
    plate: Linear, camera: Camera, world_from_camera: Array, *, home: Array, zoom: float, shift: Array
) -> Linear:
    """(h, w, 3) of a flat picture (H, W, 3) that stands far away, averaged over the shutter.

    home   (3, 3) world_from_camera of a head that looks at the picture's middle
    zoom   1: the picture just covers a view from home, more: a part of it does
    shift  (2,) of the picture, in shares of the view, for a scene that moves by itself
    """
    height, width = plate.shape[:2]
    step = min(width / camera.width_px, height / camera.height_px) / zoom
    rays, total = _rays(camera), np.zeros((camera.height_px, camera.width_px, 3), np.float32)
    for moment in world_from_camera:
        at = camera.project(rays @ (home.T @ moment).T)
        x = (at[..., 0] - camera.width_px * (0.5 + shift[0])) * step + width / 2
        y = (at[..., 1] - camera.height_px * (0.5 + shift[1])) * step + height / 2
        total += bilinear(plate, np.clip(x, 0, width - 1), np.clip(y, 0, height - 1), wrap=False)
    return total / len(world_from_camera)


def bilinear(image: Linear, x: Array, y: Array, *, wrap: bool) -> Linear:
    """(..., 3) values of an image (H, W, 3) at pixel centres x, y; wrap: the left edge follows the right one."""
    height, width = image.shape[:2]
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None].astype(np.float32), (y - y0)[..., None].astype(np.float32)
    top, bottom = np.clip(y0, 0, height - 1), np.clip(y0 + 1, 0, height - 1)
    left, right = (x0 % width, (x0 + 1) % width) if wrap else (
        np.clip(x0, 0, width - 1), np.clip(x0 + 1, 0, width - 1)
    )  # fmt: skip
    upper = image[top, left] * (1 - fx) + image[top, right] * fx
    lower = image[bottom, left] * (1 - fx) + image[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def _rays(camera: Camera) -> Array:
    """(h, w, 3) directions through the middles of the pixels, camera coordinates."""
    y, x = np.mgrid[: camera.height_px, : camera.width_px] + 0.5
    return camera.unproject(x, y, np.ones_like(x))
