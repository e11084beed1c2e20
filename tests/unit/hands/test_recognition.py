"""From composites to gestures: tips stay with their hands, tracks are read from videos, answers become measurements."""

import json

import av
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages.hands import make_motion_images, measure_diversity, measure_recognition, plot_diversity
from stages.hands.composites import CompositeSource, Hands, cut_out, draw_backgrounds, drawn_scene
from stages.hands.fingertip_net import VideoFingertipNet
from stages.hands.gestures import draw_gesture
from stages.hands.layers import write_layers
from stages.hands.motion_images import draw_motion_images, motion_image
from stages.hands.recognise_videos import read_index
from stages.hands.trajectories import longest_run
from stages.hands.videos import classify, read_video, track, with_median
from stages.lib.core.errors import InputError
from stages.lib.core.prepared import read_images
from tests.unit.hands.test_datasets_of_clips import WIDTH, flat_hand


def test_hands_are_cut_out_with_their_tips_and_exposed_alike():
    layers = flat_hand()
    layers.rgba[1, ..., :3] *= 0.05  # a clip in the dark
    hands = cut_out(layers)
    assert hands.rgba.shape == (4, 4, 144, 192)
    torch.testing.assert_close(hands.tips[:, 0] * WIDTH, torch.tensor([30.0, 35, 40, 45]), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        hands.rgba[0, :3].amax((1, 2)), hands.rgba[1, :3].amax((1, 2)), atol=0.02, rtol=0
    )
    layers.keypoints[0, :, 0] = 9.0
    assert len(cut_out(layers).tips) == 3


def test_composites_put_the_tip_where_they_say():
    """A black dot on a white hand marks the tip; backgrounds are white too."""
    rgba = torch.ones(1, 4, 144, 192)
    rgba[:, :3, 68:77, 92:101] = 0
    hands = Hands(rgba=rgba, tips=torch.tensor([[96.5 / 192, 72.5 / 144]]))
    source = CompositeSource(hands, torch.ones(2, 3, 96, 128))
    frames, tips = source(0, 200, torch.Generator().manual_seed(0))
    checked = 0
    for frame, (x, y) in zip(frames[:, :3].mean(1), tips, strict=True):
        contrast = frame.median() - frame.min()
        # where noise is not in the way
        if not (0.1 < x < 0.9 and 0.1 < y < 0.9 and contrast > 0.8):
            continue
        dark = torch.nonzero(frame < frame.min() + contrast / 2).double().mean(0)
        assert abs((dark[1] + 0.5) / 128 - x) < 1.2 / 128
        assert abs((dark[0] + 0.5) / 96 - y) < 1.2 / 96
        checked += 1
    assert checked > 40
    # tips come to all parts of the picture
    assert tips.std(0).min() > 0.15


def test_the_median_shows_the_same_scene_as_the_frame_most_often_without_the_hand():
    """White hands, which hide nothing elsewhere, before black ground: what is bright in a frame is the hand."""
    rgba = torch.zeros(1, 4, 144, 192)
    rgba[:, :, 40:144, 80:110] = 1
    hands = Hands(rgba=rgba, tips=torch.tensor([[95 / 192, 40 / 144]]))
    views, _ = CompositeSource(hands, torch.zeros(1, 3, 96, 128))(0, 200, torch.Generator().manual_seed(0))
    frames, medians = views[:, :3], views[:, 3:]
    contrast = [part.amax((1, 2, 3)) - part.amin((1, 2, 3)) for part in (frames, medians)]
    empty = (contrast[1] < 0.3 * contrast[0]).float().mean()
    assert 0.45 < empty < 0.75
    # one camera takes both: their darkest places are equally dark, but for noise
    dark = [part.flatten(1).median(1).values for part in (frames, medians)]
    assert (dark[0] - dark[1]).abs().median() < 0.02


def test_a_still_video_has_no_change_and_a_mark_that_moves_has():
    frames = torch.full((9, 3, 96, 128), 0.4)
    for i in range(9):
        frames[i, :, 40:50, 10 * i : 10 * i + 8] = 0.9
    views = with_median(frames)
    change = (views[:, :3] - views[:, 3:]).abs().amax(1)
    for i in range(9):
        assert change[i, 40:50, 10 * i : 10 * i + 8].min() == pytest.approx(1.0)
        change[i, 40:50, 10 * i : 10 * i + 8] = 0
    assert change.max() == 0


def test_a_video_network_sees_the_same_in_any_light():
    torch.manual_seed(0)
    model = VideoFingertipNet(4).eval()
    frames = torch.rand(5, 3, 32, 32)
    bright, dim = (with_median(0.2 + gain * frames) for gain in (0.7, 0.5))
    with torch.inference_mode():
        one, other = model(bright), model(dim)
    assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.98


def test_backgrounds_are_of_many_kinds_and_follow_their_seed():
    panoramas = {"grey": np.full((32, 64, 3), 0.5, np.float32)}
    first, again = (draw_backgrounds(panoramas, 6, np.random.default_rng(0)) for _ in range(2))
    torch.testing.assert_close(first, again)
    assert first.shape == (6, 3, 96, 128)
    assert ((first >= 0) & (first <= 1)).all()
    scenes = [drawn_scene(np.random.default_rng(i), 64, 48) for i in range(40)]
    lightness = np.array([scene.mean() for scene in scenes])
    assert lightness.min() < 0.3 < 0.6 < lightness.max()


def test_motion_images_show_what_moved_in_its_order(tmp_path):
    frames = torch.full((9, 3, 96, 128), 0.2)
    for i in range(9):  # a block that goes from left to right over a still background with an edge
        frames[i, :, 40:56, 8 + 12 * i : 20 + 12 * i] = 0.9
    frames[:, :, :20] = 0.7
    image = motion_image(frames)
    assert image[:13].max() == 0  # the background is gone
    columns = image[28:36].astype(float).mean(0)  # (64, 3)
    centres = (columns * np.arange(64)[:, None]).sum(0) / columns.sum(0)
    assert centres[0] < centres[1] < centres[2]
    hands = cut_out(flat_hand())
    write_layers(tmp_path / "l.npz", flat_hand())
    np.savez(tmp_path / "p.npz", grey=np.full((16, 32, 3), 0.4, np.float16))
    arguments = ["--layers", str(tmp_path / "l.npz"), "--panoramas", str(tmp_path / "p.npz"), "--count", "20"]
    make_motion_images.main([*arguments, "--split", "train", "--folder", str(tmp_path / "m")])
    split = read_images(tmp_path / "m")
    assert split.images.shape == (20, 64, 64, 3)
    assert np.bincount(split.labels).tolist() == [2] * 10
    assert split.images.max() > 60
    images, labels = draw_motion_images(hands, torch.full((1, 3, 96, 128), 0.5), 10, np.random.default_rng(0))
    assert images.shape == (10, 64, 64, 3)
    assert labels.tolist() == list(range(10))


class Marked(nn.Module):
    """Stands in for a fingertip network: its heatmap is the frames' brightness."""

    def forward(self, x):
        return 40 * nn.functional.avg_pool2d(x, 4).mean(1)


def write_video(path, points, size=(160, 120)):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "10"}
        for x, y in points:
            frame = np.full((size[1], size[0], 3), 20, np.uint8)
            frame[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_a_track_follows_what_moves_in_a_video(tmp_path):
    path = draw_gesture("star", np.random.default_rng(0))
    points = [20, 10] + [110, 90] * path.at(np.linspace(0, path.duration_s, 60))
    write_video(tmp_path / "v.mp4", points)
    frames, times, size = read_video(tmp_path / "v.mp4")
    assert (len(frames), size) == (60, (160, 120))
    assert times[10] == pytest.approx(1.0)
    found = track(Marked(), frames, times, size, trusted=0.3)
    assert len(found.points) > 50
    nearest = [np.hypot(*(points - p).T).min() for p in found.points]
    assert np.median(nearest) < 3
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        read_video(tmp_path / "x.mp4")


def test_a_still_track_shows_no_gesture():
    np.testing.assert_allclose(classify(nn.Identity(), np.zeros((0, 2))), 0.1)
    np.testing.assert_allclose(classify(nn.Identity(), np.zeros((5, 2))), 0.1)


def test_a_jump_starts_a_new_drawing_and_a_fast_stroke_does_not():
    line = np.stack([np.linspace(0, 1, 20), np.zeros(20)], axis=1)
    later = line + np.array([0, 0.1])
    twice = np.concatenate([line, later])
    np.testing.assert_array_equal(longest_run(twice), later)
    np.testing.assert_array_equal(longest_run(line), line)
    coarse = line[::5]
    np.testing.assert_array_equal(longest_run(coarse), coarse)


def test_the_lowest_number_of_each_gesture_serves_development(tmp_path):
    rows = [
        ("tick_12", "tick", 12),
        ("tick_3", "tick", 3),
        ("up_1", "up", 1),
        ("unclassified_2", "unclassified", 2),
    ]
    table = pd.DataFrame([{"file": f"{a}.mp4", "gesture": b, "number": c} for a, b, c in rows])
    table.to_csv(tmp_path / "index.csv", index=False)
    index = read_index(tmp_path)
    assert dict(zip(index["file"], index["development"], strict=True)) == {
        "tick_3.mp4": True, "tick_12.mp4": False, "up_1.mp4": True
    }  # fmt: skip


def test_recognition_is_measured_on_unseen_videos_alone(tmp_path):
    trajectories = pd.DataFrame(
        [(seed, "up", answer, n) for seed in (0, 1, 2) for answer, n in (("up", 9), ("down", 1))],
        columns=["seed", "gesture", "answer", "count"],
    )
    videos = pd.DataFrame(
        [(f"up_{i}", "up", "up" if i != 3 else "down", seed, i == 0) for seed in (0, 1, 2) for i in range(5)],
        columns=["file", "gesture", "answer", "seed", "development"],
    )
    trajectories.to_csv(tmp_path / "t.csv", index=False)
    videos.to_csv(tmp_path / "v.csv", index=False)
    tables = ["--trajectories", str(tmp_path / "t.csv"), "--videos", str(tmp_path / "v.csv")]
    measure_recognition.main([*tables, "--draws", "50", "--measurements", str(tmp_path / "m.json")])
    first, second = json.loads((tmp_path / "m.json").read_text())
    assert (first["claim"], first["value"], first["n"]) == ("G11", pytest.approx(0.9), 10)
    assert (second["claim"], second["value"], second["n"]) == ("G12", 0.75, 4)
    assert second["controls"]["videos of development"] == 1
    assert len(second["resamples"]) == 50
    assert min(second["resamples"]) < 0.75 < max(second["resamples"])


def test_the_gain_of_diversity_is_paired_by_seed(tmp_path):
    table = pd.DataFrame(
        [
            {"places": p, "seed": s, "n": 70, "held_out_mean_px": 30 / p + s, "train_px": 2.0}
            for p in (1, 2, 4) for s in (0, 1, 2)
        ]
    )  # fmt: skip
    table.to_csv(tmp_path / "d.csv", index=False)
    gestures = [
        {"places": p, "seed": s, "n": 100, "accuracy": 0.5 + 0.1 * p, "ceiling": 0.99}
        for p in (1, 2, 4) for s in (0, 1, 2)
    ]  # fmt: skip
    pd.DataFrame(gestures).to_csv(tmp_path / "g.csv", index=False)
    measure_diversity.main(
        ["--table", str(tmp_path / "d.csv"), "--gestures", str(tmp_path / "g.csv"),
         "--measurements", str(tmp_path / "m.json")]
    )  # fmt: skip
    found, recognised = json.loads((tmp_path / "m.json").read_text())
    assert recognised["claim"] == "G5"
    assert [sample["value"] for sample in recognised["samples"]] == pytest.approx([0.3] * 3)
    assert recognised["controls"]["accuracy from true tips"] == pytest.approx(0.99)
    assert [sample["value"] for sample in found["samples"]] == [22.5] * 3
    assert found["controls"]["doublings that lower the mean error"] == 2
    figure = ["--figure", str(tmp_path / "f.svg"), "--drawn", str(tmp_path / "f.csv")]
    plot_diversity.main(["--table", str(tmp_path / "d.csv"), *figure])
    assert pd.read_csv(tmp_path / "f.csv")["held_out_mean_px_mean"].tolist() == pytest.approx([31, 16, 8.5])
