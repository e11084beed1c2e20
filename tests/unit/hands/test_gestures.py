"""Drawn gestures go where their names say, at a human speed; what is trained on them tells them apart."""

import numpy as np
import pandas as pd
import pytest

from stages.hands import classify_trajectories, train_trajectory_classifier
from stages.hands.compare_templates import compared, turning
from stages.hands.gestures import CORNERS, GESTURES, HandStyle, draw_gesture
from stages.hands.trajectories import POINTS, Tracker, resampled, templates, tracked
from stages.lib.core.errors import InputError

DIRECTIONS = {"down": (0, 1), "left": (-1, 0), "right": (1, 0), "up": (0, -1)}


@pytest.mark.parametrize("name", GESTURES)
def test_a_seed_gives_one_drawing_of_finite_points(name):
    first, again = (draw_gesture(name, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.array_equal(first.points, draw_gesture(name, np.random.default_rng(6)).points)
    assert np.isfinite(first.points).all()
    assert 0.3 < first.duration_s < 20
    np.testing.assert_array_equal(first.at(np.array([-1.0])), first.points[:1])


@pytest.mark.parametrize(("name", "direction"), DIRECTIONS.items())
def test_straight_gestures_go_where_they_say(name, direction):
    for seed in range(50):
        path = draw_gesture(name, np.random.default_rng(seed))
        way = path.points[-1] - path.points[0]
        assert way @ direction > 0.8 * np.hypot(*way)


def test_the_circle_turns_counter_clockwise_on_the_screen_and_the_square_clockwise():
    for name, sign in (("circlecc", -1), ("square", 1)):
        for seed in range(30):
            x, y = (draw_gesture(name, np.random.default_rng(seed)).points - 0.5).T
            # twice the area by the shoelace formula; y points down, so that clockwise is positive
            area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
            assert np.sign(area) == sign


def test_a_drawing_passes_its_corners_in_order():
    calm = HandStyle(corner=0, bow=0, aspect=0, tilt=0, shear=0, rounding=0, tremor=0)
    for name, corners in CORNERS.items():
        points = draw_gesture(name, np.random.default_rng(0), calm).points
        at = 0
        for corner in corners:
            near = np.flatnonzero(np.hypot(*(points[at:] - corner).T) < 0.03)
            assert len(near), f"{name} misses the corner {corner}"
            at += int(near[0])


def test_the_finger_starts_and_ends_at_rest_and_slows_down_at_corners():
    path = draw_gesture("carret", np.random.default_rng(1), HandStyle(tremor=0))
    speed = np.hypot(*np.diff(path.points, axis=0).T)
    corner = int(path.points[:, 1].argmin())
    assert speed[0] < 0.05 * speed.max() > speed[-1]
    assert speed[corner - 2 : corner + 2].min() < 0.5 * speed.max()


def test_an_unknown_gesture_is_named():
    with pytest.raises(InputError, match=r"no gesture 'wave'; choose from carret"):
        draw_gesture("wave", np.random.default_rng(0))


def test_resampling_keeps_the_shape_and_forgets_place_size_and_speed():
    t = np.linspace(0, 1, 40) ** 2  # uneven speed along a bent line
    points = np.stack([np.minimum(t, 0.5), np.maximum(t - 0.5, 0)], axis=1)
    found = resampled(points)
    even = np.linspace(0, 1, POINTS)
    wanted = np.stack([np.minimum(even, 0.5), np.maximum(even - 0.5, 0)], axis=1)
    np.testing.assert_allclose(found, (wanted - [0.25, 0.25]) / 0.5, atol=0.03)
    np.testing.assert_allclose(resampled(300 * points + 7), found, atol=1e-9)
    for wrong in (points[:1], np.zeros((5, 2)), np.full((4, 2), np.nan), np.zeros((3, 3))):
        with pytest.raises(InputError):
            resampled(wrong)


def test_a_tracker_loses_points_but_not_the_ends():
    none = Tracker(noise=0, missing=0, outliers=0, stray=0)
    whole = tracked("star", np.random.default_rng(3), none)
    some = tracked("star", np.random.default_rng(3), Tracker(noise=0, missing=0.9, outliers=0, stray=0))
    assert len(some) < len(whole)
    np.testing.assert_array_equal(some[[0, -1]], whole[[0, -1]])


def test_classifiers_of_templates_know_other_templates(tmp_path):
    for net in ("cnn", "lstm"):
        config = f'{{"templates": 2000, "epochs": 4, "seeds": [0, 1], "net": "{net}"}}'
        paths = ["--weights", str(tmp_path / f"{net}.safetensors"), "--info", str(tmp_path / f"{net}.json")]
        train_trajectory_classifier.main(["--config", config, *paths])
        rng = np.random.default_rng(9)
        drawn = [(name, tracked(name, rng, Tracker())) for name in GESTURES for _ in range(20)]
        table = pd.DataFrame(
            [{"gesture": name, "x": points[:, 0], "y": points[:, 1]} for name, points in drawn]
        )
        table.to_parquet(tmp_path / "t.parquet")
        classify_trajectories.main(
            [*paths, "--trajectories", str(tmp_path / "t.parquet"), "--table", str(tmp_path / "c.csv")]
        )
        found = pd.read_csv(tmp_path / "c.csv")
        assert found["count"].sum() == 2 * len(drawn)
        right = found[found["gesture"] == found["answer"]].groupby("seed")["count"].sum()
        assert (right > 0.8 * len(drawn)).all()


def test_templates_are_balanced_and_labelled():
    features, labels = templates(40, np.random.default_rng(0), Tracker())
    assert features.shape == (40, 4, POINTS)
    assert np.bincount(labels).tolist() == [4] * 10
    largest = np.abs(features[:, :2]).max((1, 2))
    assert (largest <= 0.5 + 1e-6).all()
    assert (largest > 0.4).all()


def test_templates_are_compared_with_real_trajectories_by_their_shape(tmp_path):
    """Two drawings of one kind have the same distributions; the reversed ones end elsewhere but are as long."""
    rng = np.random.default_rng(0)
    real, drawn = ([draw_gesture("tick", rng).points[::12] for _ in range(150)] for _ in range(2))
    same = {row["statistic"]: row["ks_distance"] for row in compared("tick", real, drawn)}
    # 1.63 sqrt(2 / n): what two equal distributions exceed in one case of a hundred
    assert max(same.values()) < 1.63 * (2 / 150) ** 0.5
    other = compared("tick", real, [points[: len(points) // 3] for points in drawn])
    assert {row["statistic"]: row["ks_distance"] for row in other}["turning (rad)"] > 0.5
    straight = np.stack([np.linspace(0, 1, 50), np.zeros(50)], axis=1)
    assert turning(resampled(straight)) == 0
    circle = 2 * np.pi * np.arange(200) / 199
    assert turning(resampled(np.stack([np.cos(circle), np.sin(circle)], axis=1))) == pytest.approx(
        8 / 9 * 2 * np.pi, rel=0.05
    )
