"""Put rendered hands before their backgrounds: a labelled data set of clips.

python -m stages.hands.compose_clips --layers part-0.npz part-1.npz --panoramas panoramas.npz --seed 0 --fps 8
    --dataset data/rendered/laptop/train/dataset

    frames/CLIP_FRAME.png  sRGB, 8 bits      masks/CLIP_FRAME.png  0 background, 1 hand, 2 forearm, 3 sleeve
    videos/CLIP.mp4        H.264             depth/CLIP_FRAME.png  16 bits, tenths of a millimetre, 0 where no arm is
    annotations.json       COCO: boxes, 21 keypoints, fingertips; README.md says what is in it
"""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from stages.hands.annotations import MASK_NAMES, annotation, class_mask, depth_map
from stages.hands.arm import KEYPOINT_NAMES
from stages.hands.backgrounds import panorama_view
from stages.hands.camera_look import LUMINANCE, Picture, auto_exposure, draw_look, picture
from stages.hands.layers import Layers, joined, read_layers
from stages.hands.plates import Plate, draw_plate, plate_credits, read_plates
from stages.hands.scenes import Camera
from stages.hands.skin import tone_albedo
from stages.lib.core.artifacts import file_digest, temporary_folder, value_digest, write_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator

TENTHS_OF_MM = 1e4  # per metre
# finger bones of MediaPipe's order, for viewers of COCO
SKELETON = [[base, base + 1] for finger in range(5) for base in range(4 * finger + 1, 4 * finger + 4)]
SKELETON += [[0, 4 * finger + 1] for finger in range(5)]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    layers = joined([read_layers(path) for path in args.layers])
    if args.flat:
        layers = flattened(layers)
    panoramas = np.load(args.panoramas, allow_pickle=False)
    plates = read_plates(args.plates) if args.plates else {}
    target = Path(args.dataset)
    with temporary_folder(target) as folder:
        for name in ("frames", "masks", "depth", "videos"):
            (folder / name).mkdir()
        coco = compose(
            layers, panoramas, plates, folder, seed=args.seed, fps=args.fps, plate_share=args.plate_share
        )
        # labels alone would be the same for other pictures of the same hands
        coco["info"]["content"] = folder_digest(folder)
        write_json(folder / "annotations.json", coco)
        (folder / "README.md").write_text(card(coco), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)


def folder_digest(folder: Path) -> str:
    """sha256 over the names and digests of all files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return value_digest([(str(path.relative_to(folder)), file_digest(path)) for path in files])


def flattened(layers: Layers) -> Layers:
    """The same arms in one colour each, without light and shade: a control of how much realism is worth."""
    alpha = layers.rgba[..., 3:].astype(np.float32)
    total = np.maximum(alpha.sum((1, 2), keepdims=True), 1)
    colour = layers.rgba[..., :3].astype(np.float32).sum((1, 2), keepdims=True) / total
    return replace(layers, rgba=np.concatenate([colour * alpha, alpha], axis=-1).astype(np.float16))


def compose(
    layers: Layers,
    panoramas: Any,
    plates: Mapping[str, Plate],
    folder: Path,
    *,
    seed: int,
    fps: float,
    plate_share: float,
) -> dict[str, Any]:
    """Write frames, masks, depth and videos; returns the COCO record."""
    progress = Progress(len(layers.clip), "frames composed")
    coco: dict[str, Any] = {
        "info": {"description": "Rendered egocentric hand gestures", "licence": "CC0-1.0", "fps": fps},
        "licenses": [{"id": 1, "name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "categories": [
            {"id": 1, "name": "hand", "keypoints": list(KEYPOINT_NAMES), "skeleton": SKELETON}
        ],
        "mask_classes": list(MASK_NAMES),
        "videos": [],
        "images": [],
        "annotations": [],
    }  # fmt: skip
    for number, record in sorted(layers.clips.items()):
        rows = np.flatnonzero(layers.clip == number)
        if record["panorama"] not in panoramas.files:
            raise InputError(
                f"there is no panorama {record['panorama']!r}; there are {', '.join(panoramas.files)}"
            )
        camera = Camera(**record["camera"])
        scene = draw_plate(plates, plate_share, generator(seed, record["set"], "plate", number))
        if scene is None:
            panorama = panoramas[record["panorama"]].astype(np.float32)
            views = [panorama_view(panorama, camera, layers.world_from_camera[row]) for row in rows]
            behind = np.stack(views)
        else:
            behind = scene.views(camera, layers.world_from_camera[rows], np.array(record["times_s"]))
            # a photo was exposed when it was taken: what the hand needs must not change it
            behind = behind / clip_exposure(
                layers, rows, record, light_of(layers, rows, np.zeros_like(behind))
            )
        look = generator(seed, record["set"], "look", number)
        pictures = clip_pictures(layers, rows, record, behind, look)
        name = f"{number:04d}"
        write_video(folder / "videos" / f"{name}.mp4", pictures, fps=fps)
        about = {"background": record["panorama"] if scene is None else scene.name}
        coco["videos"].append({"id": number, "file_name": f"videos/{name}.mp4", **about, **record})
        for row, image in zip(rows, pictures, strict=True):
            file = f"{name}_{layers.frame[row]:03d}.png"
            mask = class_mask(layers, row)
            depth_m = depth_map(layers, row, mask)
            tenths = np.rint(np.where(np.isfinite(depth_m), depth_m, 0) * TENTHS_OF_MM)
            Image.fromarray(image).save(folder / "frames" / file)
            Image.fromarray(mask).save(folder / "masks" / file)
            Image.fromarray(tenths.astype(np.uint16)).save(folder / "depth" / file)
            identity = len(coco["images"]) + 1
            coco["images"].append(
                {
                    "id": identity,
                    "file_name": f"frames/{file}",
                    "mask_file": f"masks/{file}",
                    "depth_file": f"depth/{file}",
                    "width": camera.width_px,
                    "height": camera.height_px,
                    "license": 1,
                    "video_id": number,
                    "frame_index": int(layers.frame[row]),
                    "focal_px": camera.focal_px,
                    "world_from_camera": layers.world_from_camera[row].mean(0).tolist(),
                }
            )
            coco["annotations"].append(
                {"id": identity, "image_id": identity, **annotation(layers, row, camera, mask, depth_m)}
            )
            progress.advance(note=f"clip {name}")
    return coco


def clip_pictures(
    layers: Layers, rows: np.ndarray, record: dict[str, Any], behind: np.ndarray, rng: np.random.Generator
) -> list[Picture]:
    """The frames of one clip before linear light (F, h, w, 3), taken by one camera."""
    light = light_of(layers, rows, behind)
    look = draw_look(rng, clip_exposure(layers, rows, record, light))
    return [picture(frame, look, rng) for frame in light]


def clip_exposure(layers: Layers, rows: np.ndarray, record: dict[str, Any], light: np.ndarray) -> float:
    """One exposure for all frames of a clip, from their light (F, h, w, 3)."""
    albedo = float(tone_albedo(record["tone"]) @ LUMINANCE)
    return auto_exposure(light, layers.hand[rows] > 230, albedo=albedo)


def light_of(layers: Layers, rows: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """(F, h, w, 3) linear light of the arm before backgrounds (F, h, w, 3)."""
    rgba = layers.rgba[rows].astype(np.float32)
    return rgba[..., :3] + (1 - np.clip(rgba[..., 3:], 0, 1)) * behind


def write_video(path: Path, pictures: list[Picture], *, fps: float) -> None:
    """H.264 in MP4, in one thread, without a time stamp and without x264's macroblock tree, which does not give the same
    every time: equal frames give equal files.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "20", "threads": "1", "preset": "medium", "mbtree": "0"}
        for image in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def card(coco: dict[str, Any]) -> str:
    """A data set card: what is in it, how it was made, under what licence."""
    videos = coco["videos"]
    gestures = sorted({video["gesture"] for video in videos})
    tones = sorted({video["tone"] for video in videos})
    lights = sorted({video["panorama"] for video in videos})
    backgrounds = sorted({video["background"] for video in videos})
    return f"""# Rendered egocentric hand gestures

{len(videos)} clips, {len(coco["images"])} frames with exact labels, rendered by Sevenfold's stage `hands` with Blender.

- Gestures: {", ".join(gestures)}.
- Skin tones (0 lightest to 8 darkest): {", ".join(f"{tone:g}" for tone in tones)}; left hands in
  {sum(video["left"] for video in videos)} clips, sleeves in
  {sum(video["identity"]["sleeve"] is not None for video in videos)}.
- Light: {", ".join(lights)}. Backgrounds: {", ".join(backgrounds)}.
- Hand: MakeHuman's body mesh (CC0); panoramas: Blender's studio lights (CC0). No picture of a person is part of it.
{plate_credits(backgrounds)}\
- Labels: box (tight around the mask's class `hand`), 21 keypoints in MediaPipe's order in pixels and in metres, index
  fingertip with depth and visibility, masks, depth, camera; at the middle of the shutter's time. Joints lie inside the
  flesh, fingertips on the skin. A keypoint outside the frame has flag 0, one that something covers has flag 1.
- Check it with `python -m stages.hands.validate_clips --dataset FOLDER`.
"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", required=True, help="NPZ files of render_clips")
    parser.add_argument("--panoramas", required=True, help="NPZ of prepare_panoramas")
    parser.add_argument("--plates", help="NPZ of prepare_plates: photos and films")
    parser.add_argument("--plate-share", type=float, default=0.0, help="of clips before one of them, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of exposure, noise and compression")
    parser.add_argument("--fps", type=float, default=8, help="of the videos")
    parser.add_argument("--flat", action="store_true", help="arms in one flat colour, as a control")
    parser.add_argument("--dataset", required=True, help="folder to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
