"""Composed clips: labels of a hand whose place is known, and a validator that names the frame that is broken."""

import base64
import io
import json

import av
import numpy as np
import pytest
from PIL import Image

from stages.hands import compose_clips, measure_labels, plot_contact_sheet, plot_preview, validate_clips
from stages.hands.annotations import COVERED, HIDDEN, VISIBLE, class_mask, depth_map, tight_box, visibility
from stages.hands.arm import INDEX_TIP
from stages.hands.backgrounds import bilinear, panorama_view
from stages.hands.camera_look import auto_exposure, tone_curve
from stages.hands.layers import Layers, read_layers, write_layers
from stages.hands.scenes import Camera, head_rotation
from stages.lib.core.errors import InputError

WIDTH, HEIGHT = 80, 60
CAMERA = Camera(width_px=WIDTH, height_px=HEIGHT, field_of_view_rad=1.0)
DEPTH = 0.5


def flat_hand(frames=2, clips=(3, 8)):
    """A finger 20 px wide and 30 high that points up, a forearm below it; its tip moves to the right."""
    n = frames * len(clips)
    rgba = np.zeros((n, HEIGHT, WIDTH, 4), np.float16)
    hand, sleeve = np.zeros((2, n, HEIGHT, WIDTH), np.uint8)
    depth = np.full((n, HEIGHT, WIDTH), np.inf, np.float16)
    keypoints = np.zeros((n, 21, 3))
    for i in range(n):
        left = 20 + 5 * i
        rgba[i, 10:60, left : left + 20] = (0.3, 0.2, 0.15, 1)
        hand[i, 10:40, left : left + 20] = 255
        sleeve[i, 50:60, left : left + 20] = 255
        depth[i, 10:60, left : left + 20] = DEPTH
        tip_x = left + 10.0
        x, y = np.full(21, tip_x), np.linspace(39, 11, 21)
        y[INDEX_TIP - 2 : INDEX_TIP + 1] = (30, 20, 10.2)
        keypoints[i] = CAMERA.unproject(x, y, np.full(21, DEPTH + 0.005))
    record = {
        "set": "t", "gesture": "right", "pose": "point", "panorama": "grey", "tone": 3.0, "left": False,
        "identity": {"sleeve": None, "shape": {}, "maps_seed": 1}, "lamp": None,
        "camera": {"width_px": WIDTH, "height_px": HEIGHT, "field_of_view_rad": 1.0},
        "shutter_s": 0.01, "times_s": [0.0, 0.1], "seed": 1,
    }  # fmt: skip
    turn = head_rotation(*np.zeros(3))
    return Layers(
        rgba=rgba, depth_m=depth, hand=hand, sleeve=sleeve, keypoints=keypoints,
        world_from_camera=np.broadcast_to(turn, (n, 2, 3, 3)).copy(),
        clip=np.repeat(clips, frames), frame=np.tile(np.arange(frames), len(clips)),
        clips=dict.fromkeys(clips, record),
    )  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    write_layers(tmp_path / "layers.npz", flat_hand())
    np.savez(tmp_path / "p.npz", grey=np.full((16, 32, 3), 0.4, np.float16))
    arguments = ["--layers", str(tmp_path / "layers.npz"), "--panoramas", str(tmp_path / "p.npz")]
    compose_clips.main([*arguments, "--dataset", str(tmp_path / "d")])
    return tmp_path / "d"


def test_labels_of_a_known_hand(dataset):
    coco = json.loads((dataset / "annotations.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [
        "frames/0003_000.png", "frames/0003_001.png", "frames/0008_000.png", "frames/0008_001.png"
    ]  # fmt: skip
    for i, label in enumerate(coco["annotations"]):
        assert (label["bbox"], label["area"]) == ([20 + 5 * i, 10, 20, 30], 600)
        assert label["fingertip"]["visible"]
        assert label["fingertip"]["x_px"] == pytest.approx(30 + 5 * i, abs=1e-3)
        assert label["fingertip"]["depth_m"] == pytest.approx(DEPTH + 0.005)
    mask = np.asarray(Image.open(dataset / "masks/0003_000.png"))
    assert [int(mask[row, 25]) for row in (5, 20, 45, 55)] == [0, 1, 2, 3]
    assert np.asarray(Image.open(dataset / "depth/0003_000.png"))[20, 25] == 5000
    with av.open(str(dataset / "videos/0003.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 2
    picture = np.asarray(Image.open(dataset / "frames/0003_000.png")).astype(float)
    assert np.abs(frames[0] - picture).mean() < 4  # H.264 loses little
    assert validate_clips.main(["--dataset", str(dataset)]) is None


def test_the_same_seed_composes_the_same_bytes(dataset, tmp_path):
    arguments = ["--layers", str(tmp_path / "layers.npz"), "--panoramas", str(tmp_path / "p.npz")]
    compose_clips.main([*arguments, "--dataset", str(tmp_path / "again")])
    compose_clips.main([*arguments, "--seed", "1", "--dataset", str(tmp_path / "other")])
    files = [path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file()]
    assert len(files) == 4 * 3 + 2 + 2
    assert all((dataset / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)
    assert (dataset / files[0]).exists()
    assert any(
        (dataset / f).read_bytes() != (tmp_path / "other" / f).read_bytes()
        for f in files
        if f.parts[0] == "frames"
    )


def _edit(dataset, change):
    coco = json.loads((dataset / "annotations.json").read_text())
    change(coco)
    (dataset / "annotations.json").write_text(json.dumps(coco))


def _move_tip(coco):
    coco["annotations"][1]["fingertip"]["y_px"] -= 9


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: _edit(d, lambda c: c["annotations"][2].update(bbox=[29, 10, 20, 30])), r"0008_000.*its box is \[29"),
        (lambda d: _edit(d, _move_tip), "0003_001.*fingertip is 8.8 px from the hand"),
        (lambda d: _edit(d, lambda c: c["annotations"].pop()), "0008_001.* has no annotation"),
        (lambda d: _edit(d, lambda c: c["annotations"][0]["keypoints"].__setitem__(3, 77.0)), "0003_000.*thumb_cmc is"),
        (lambda d: _edit(d, lambda c: c["annotations"][0]["keypoints"].__setitem__(5, 0)), "thumb_cmc has flag 0"),
        (lambda d: _edit(d, lambda c: c.pop("videos")), "lacks videos"),
        (lambda d: (d / "masks/0008_001.png").unlink(), "0008_001.*its mask_file cannot be read"),
        (lambda d: Image.new("RGB", (9, 9)).save(d / "frames/0003_000.png"), "0003_000.*its file_name is 9 x 9"),
        (lambda d: Image.new("I;16", (WIDTH, HEIGHT)).save(d / "depth/0003_001.png"), "0003_001.*its depth is 0"),
        (lambda d: (d / "videos/0008.mp4").unlink(), "videos/0008.mp4 is missing"),
    ],
)  # fmt: skip
def test_a_broken_data_set_is_rejected_with_its_frame(dataset, damage, message):
    damage(dataset)
    with pytest.raises(InputError, match=message):
        validate_clips.main(["--dataset", str(dataset)])


def test_claims_and_contact_sheet_from_the_files(dataset, tmp_path):
    measure_labels.main(["--datasets", str(dataset), "--measurements", str(tmp_path / "m.json")])
    tips, boxes = json.loads((tmp_path / "m.json").read_text())
    assert (tips["claim"], tips["value"], tips["n"]) == ("G1", 0, 4)
    assert (
        tips["controls"]["share that a camera shifted by 6 px breaks"] == 0
    )  # along the flat top of this finger
    assert (boxes["claim"], boxes["value"], boxes["n"]) == ("G2", 0, 4)
    figure = ["--figure", str(tmp_path / "f.svg"), "--drawn", str(tmp_path / "f.csv")]
    plot_contact_sheet.main(["--datasets", str(dataset), *figure])
    assert (tmp_path / "f.svg").read_text().count("<image") == 4


def test_the_preview_is_a_picture_that_loops_through_the_clips(dataset, tmp_path):
    figure = ["--figure", str(tmp_path / "p.svg"), "--drawn", str(tmp_path / "p.csv")]
    plot_preview.main(["--datasets", str(dataset), *figure])
    text = (tmp_path / "p.svg").read_text()
    with Image.open(io.BytesIO(base64.b64decode(text.partition("base64,")[2].partition('"')[0]))) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (2, 0)
        assert picture.size == (320, 120)  # two clips side by side


def test_visibility_tells_covered_from_seen_and_outside():
    layers = flat_hand()
    mask = class_mask(layers, 0)
    depth = depth_map(layers, 0, mask)
    points = np.tile([30.0, 25.0, DEPTH + 0.005], (21, 1))
    points[1] = (30, 25, DEPTH + 0.2)  # far behind the hand
    points[2] = (-1, 25, DEPTH)
    points[3] = (75, 25, DEPTH)  # beside the hand
    assert visibility(points, depth, mask)[:4] == [VISIBLE, COVERED, HIDDEN, COVERED]


def test_outline_pixels_take_a_neighbours_depth():
    layers = flat_hand()
    layers.depth_m[0, 10:12] = np.inf
    mask = class_mask(layers, 0)
    depth = depth_map(layers, 0, mask)
    assert np.isfinite(depth[mask > 0]).all()
    assert np.isinf(depth[mask == 0]).all()
    # an island without any depth, and a hand without any
    layers.rgba[0, 2:4, 70:72] = 1
    assert depth_map(layers, 0, class_mask(layers, 0))[2, 70] == DEPTH
    layers.depth_m[0] = np.inf
    np.testing.assert_allclose(depth_map(layers, 0, mask)[mask > 0], DEPTH + 0.005, atol=1e-6)


def test_tight_boxes_by_exhaustion():
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((9, 11)) < 0.05
        box = tight_box(mask)
        inside = [
            (x, y, w, h)
            for x in range(11) for y in range(9) for w in range(1, 12 - x) for h in range(1, 10 - y)
            if mask.sum() == mask[y : y + h, x : x + w].sum()
        ]  # fmt: skip
        assert box == (min(inside, key=lambda b: b[2] * b[3]) if mask.any() else None)


def test_layers_survive_the_file_and_damage_is_told(tmp_path):
    layers = flat_hand()
    write_layers(tmp_path / "l.npz", layers)
    found = read_layers(tmp_path / "l.npz")
    np.testing.assert_array_equal(found.rgba, layers.rgba)
    assert found.clips == layers.clips
    np.savez(tmp_path / "l.npz", rgba=np.zeros(3))
    with pytest.raises(InputError, match="no rendered layers"):
        read_layers(tmp_path / "l.npz")


def test_a_panorama_is_seen_where_it_is():
    """One bright texel at azimuth 90 degrees, 0 height: straight ahead of a level head."""
    panorama = np.zeros((64, 128, 3), np.float32)
    panorama[31:33, 31:33] = 1  # u = 0.5 - atan2(1, 0) / 2 pi = 1/4
    ahead = head_rotation(*np.zeros(3))
    view = panorama_view(panorama, CAMERA, np.stack([ahead, ahead]))
    bright = np.argwhere(view[..., 0] > 0.5).mean(0)
    np.testing.assert_allclose(bright, [HEIGHT / 2 - 0.5, WIDTH / 2 - 0.5], atol=1)
    turned = head_rotation(*np.array([0.2, 0, 0]))  # to the left: the spot moves to the right
    view = panorama_view(panorama, CAMERA, np.stack([turned, turned]))
    column = np.argwhere(view[..., 0] > 0.5).mean(0)[1]
    assert column == pytest.approx(WIDTH / 2 - 0.5 + CAMERA.focal_px * np.tan(0.2), abs=1.5)


def test_bilinear_meets_the_pixels_and_their_middles():
    image = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)
    y, x = np.mgrid[:5, :6].astype(float)
    np.testing.assert_allclose(bilinear(image, x, y, wrap=True), image, atol=1e-7)
    np.testing.assert_allclose(
        bilinear(image, x - 0.5, y, wrap=True), (image + np.roll(image, 1, axis=1)) / 2, atol=1e-6
    )


def test_exposure_keeps_hands_between_black_and_white():
    rng = np.random.default_rng(0)
    for albedo in (0.05, 0.3, 0.7):
        for lamp in (0.1, 1, 30):
            light = rng.uniform(0.5, 1.5, (2, 20, 20, 3)).astype(np.float32) * np.float32(0.4)
            hand = np.zeros((2, 20, 20), bool)
            hand[:, 5:15, 5:15] = True
            light[hand] *= np.float32(albedo * lamp / 0.4)
            exposed = light[hand] * auto_exposure(light, hand, albedo=albedo)
            assert 0.015 < np.median(exposed) < 0.8
            assert np.quantile(exposed, 0.9) < 1


def test_the_tone_curve_rises_and_keeps_middle_grey():
    light = np.linspace(0, 20, 5000, dtype=np.float32)
    curve = tone_curve(light)
    assert (np.diff(curve) >= 0).all()
    assert curve[0] == 0
    assert 0.98 < curve[-1] <= 1
    assert tone_curve(np.float32(0.18)) == pytest.approx(1.055 * 0.18 ** (1 / 2.4) - 0.055, abs=0.01)


def test_equal_frames_give_equal_videos_whatever_lies_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:240, :320]
    pictures = [
        np.stack(
            [127 + 100 * np.sin((x + 7 * t) / (11 + c)) * np.cos((y - 5 * t) / 17) for c in range(3)], -1
        )
        + rng.normal(0, 8, (240, 320, 3))
        for t in range(8)
    ]
    frames = [picture.clip(0, 255).astype(np.uint8) for picture in pictures]
    found = set()
    for _ in range(8):
        junk = [rng.integers(0, 255, int(rng.integers(1000, 3_000_000)), np.uint8) for _ in range(5)]
        compose_clips.write_video(tmp_path / "clip.mp4", frames, fps=8)
        found.add((tmp_path / "clip.mp4").read_bytes())
        del junk
    assert len(found) == 1
