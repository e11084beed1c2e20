"""Clips as plain data: drawn from their own numbers, balanced over what they vary."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from stages.hands.clip_config import DYNAMIC, ClipSet, RenderConfig
from stages.hands.clips import draw_clip
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError

SET = ClipSet(panoramas=("a", "b", "c"), clips=90)


def clips(n, config=SET):
    return [draw_clip("s", config, RenderConfig(), i) for i in range(n)]


def test_a_clip_depends_on_its_number_and_seed_alone():
    first, again = draw_clip("s", SET, RenderConfig(), 7), clips(9)[7]
    np.testing.assert_equal(dataclasses.asdict(first), dataclasses.asdict(again))
    more = dataclasses.replace(SET, clips=500)
    np.testing.assert_equal(draw_clip("s", more, RenderConfig(), 7).path_m, first.path_m)
    other = draw_clip("s", dataclasses.replace(SET, seed=1), RenderConfig(), 7)
    assert not np.array_equal(other.path_m, first.path_m)


def test_gestures_tones_and_panoramas_are_balanced_and_independent():
    found = clips(90)
    assert set(Counter(clip.gesture for clip in found).values()) == {9}
    assert set(Counter(clip.identity.tone for clip in found).values()) == {10}
    assert set(Counter(clip.panorama for clip in found).values()) == {30}
    pairs = Counter((clip.gesture, clip.panorama) for clip in found)
    assert len(pairs) == 30
    assert max(pairs.values()) <= 7
    assert len(Counter((clip.gesture, clip.identity.tone) for clip in found)) > 50


def test_a_set_stays_in_its_place_of_the_panorama():
    def yaw(clip):
        x, y, _ = clip.world_from_camera[0, 0] @ [0, 0, -1]
        return np.degrees(np.arctan2(-x, y))

    narrow = dataclasses.replace(SET, panoramas=("a",), turn_deg=12)
    turns = np.array([yaw(clip) for clip in clips(40, narrow)])
    away = (turns - turns[0] + 180) % 360 - 180
    assert np.ptp(away) < 2 * 12 + 8  # and the head's sway
    wide = np.array([yaw(clip) for clip in clips(40, dataclasses.replace(SET, panoramas=("a",)))])
    assert np.ptp((wide - wide[0] + 180) % 360 - 180) > 180


def test_gestures_are_seen_as_they_are_drawn_and_blur_follows_the_shutter():
    for clip in clips(20, dataclasses.replace(SET, gestures=("right",))):
        seen = clip.camera.project(clip.path_m)
        assert seen[-1, 1, 0] > seen[0, 1, 0]
        assert ((seen[..., 2] > 0.2) & (seen[..., 2] < 0.8)).all()
        assert np.hypot(*(seen[:, 2, :2] - seen[:, 0, :2]).T).max() < 60
    for clip in clips(9, dataclasses.replace(SET, gestures=("palm",), frames=1)):
        opens, _, closes = clip.camera.project(clip.path_m[0])
        assert np.hypot(*(closes - opens)[:2]) < 10
    still = clips(4, dataclasses.replace(SET, gestures=("palm", "fist")))
    assert {clip.pose for clip in still} == {"palm", "fist"}
    assert "palm" not in DYNAMIC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"panoramas": []}', "panoramas is empty"),
        ('{"panoramas": ["a"], "gestures": ["wave"]}', "gestures holds 'wave'"),
        ('{"panoramas": ["a"], "tones": [9]}', "tones holds 9"),
        ('{"panoramas": ["a"], "turn_deg": 200}', "turn_deg is 200"),
        ('{"panoramas": ["a"], "frames": 0}', "frames 0"),
    ],
)
def test_wrong_settings_are_refused_with_the_key(text, message):
    with pytest.raises(InputError, match=message):
        from_json(ClipSet, text, where="--config")
