"""The paper arm: flat hands, pasting, the generator and what measures it."""

import numpy as np
import pytest
import torch

from stages.hands.config import CompositorConfig, CycleConfig
from stages.hands.planar import adversarial, cycle
from stages.hands.planar.arms import flat_clips
from stages.hands.planar.compositor import Z_SIZE, Compositor, boxes_of, instance_crops
from stages.hands.planar.measure_planar import of_arms, of_generator
from stages.hands.planar.pasting import (
    colour_transferred,
    flicker_inside,
    flicker_outside,
    outer_rim,
    pasted,
    rim_distance,
)
from stages.hands.planar.sprites import Sprites, View, affine_maps, draw_maps, gesture_tips, moved
from stages.hands.scenes import Camera

CAMERA = Camera(width_px=128, height_px=96, field_of_view_rad=1.0)
TINY = CompositorConfig(steps=4, batch_size=2, width=8, feature_steps=2)


def sprites(n: int = 6) -> Sprites:
    """Frames with a bright bar from the bottom to the tip, on noise; two frames a clip."""
    chance = torch.Generator().manual_seed(0)
    frames = 0.3 * torch.rand(n, 3, 128, 128, generator=chance)
    masks = torch.zeros(n, 1, 128, 128)
    tips = torch.linspace(-0.4, 0.4, n).repeat(2, 1).T
    for i, (x, y) in enumerate(tips):
        column, row = int((x + 1) * 64), int((y + 1) * 64)
        masks[i, :, row:, column - 8 : column + 8] = 1
    look = tuple(View("grey", CAMERA, np.eye(3)) for _ in range(n))
    return Sprites(
        frames=torch.where(masks > 0, torch.tensor(0.9), frames), masks=masks, tips=tips,
        clip=np.arange(n) // 2, visible=np.ones(n, bool), look=look,
    )  # fmt: skip


def squares() -> tuple[torch.Tensor, torch.Tensor]:
    """Two grey backgrounds (2, 3, 64, 64) of 0.25 and a square mask in the middle of each."""
    masks = torch.zeros(2, 1, 64, 64)
    masks[:, :, 20:44, 20:44] = 1
    return torch.full((2, 3, 64, 64), 0.25), masks


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_moved_sprite_has_its_tip_where_it_was_sent(side: float) -> None:
    dot = torch.zeros(1, 1, 128, 128)
    dot[0, 0, 40:44, 80:84] = 1
    own = torch.tensor([82 / 64 - 1, 42 / 64 - 1])
    tips = torch.tensor([[-0.5, 0.3], [0.25, -0.6]])
    theta = affine_maps(tips, own, scale=1.3, angle=0.4, side=side)
    for picture, wanted in zip(moved(dot.expand(2, -1, -1, -1), theta), tips, strict=True):
        weight = picture[0] / picture.sum()
        at = (torch.arange(64) + 0.5) / 32 - 1
        found = torch.stack([(weight.sum(0) * at).sum(), (weight.sum(1) * at).sum()])
        assert torch.allclose(found, wanted, atol=0.01)


def test_turns_keep_angles_on_the_picture_as_it_is_shown() -> None:
    """A turned square stays a square at 4:3: the map's columns, in pixels of the shown picture, stand on each other."""
    matrix = affine_maps(torch.zeros(1, 2), torch.zeros(2), scale=1.2, angle=0.7, side=1.0)[0, :, :2]
    shown = np.diag([4 / 3, 1]) @ matrix.numpy() @ np.diag([3 / 4, 1])
    assert np.allclose(shown @ shown.T, 1.2**2 * np.eye(2), atol=1e-5)


def test_a_sprite_that_is_cut_by_its_frame_goes_on_to_the_edge_of_the_picture() -> None:
    source = sprites()
    theta = affine_maps(torch.tensor([[0.0, -0.8]]), source.tips[3], scale=0.7, angle=0.0, side=1.0)
    mask = moved(source.masks[3:4], theta)[0, 0]
    assert mask[-1].max() == 1
    assert mask[:4].max() == 0


def test_flat_arms_have_the_labels_and_the_number_of_the_rendered_one() -> None:
    wanted = sprites()
    grey = {"grey": np.full((16, 32, 3), 0.2, np.float32)}
    flat = flat_clips(wanted, wanted, grey, np.random.default_rng(0))
    assert torch.equal(flat.tips, wanted.tips)
    assert len(flat.hands) == len(flat.backgrounds) == len(flat.z) == len(wanted)
    # a grey panorama is a grey background, one gain a clip
    per_clip = flat.backgrounds.flatten(1).std(1)
    assert per_clip.max() < 1e-5
    assert torch.allclose(flat.backgrounds[0], flat.backgrounds[1])


def test_rim_distance_is_the_difference_of_two_plain_colours() -> None:
    backgrounds, masks = squares()
    hands = torch.full_like(backgrounds, 0.75)
    found = rim_distance(pasted(hands, masks, backgrounds), masks, backgrounds)
    assert torch.allclose(found, torch.full((2,), 0.5 * 3**0.5))
    assert torch.isnan(rim_distance(hands, torch.zeros_like(masks), backgrounds)).all()


def test_colour_transfer_gives_a_hand_the_colours_around_it() -> None:
    chance = torch.Generator().manual_seed(0)
    backgrounds, masks = squares()
    backgrounds = backgrounds + 0.05 * torch.randn(backgrounds.shape, generator=chance)
    hands = 0.7 + 0.04 * torch.randn(backgrounds.shape, generator=chance)
    found = colour_transferred(hands, masks, backgrounds)
    inside, around = masks[0, 0] > 0, outer_rim(masks, 8)[0, 0] > 0
    for channel in range(3):
        wanted = backgrounds[0, channel][around].numpy()
        got = found[0, channel][inside].numpy()
        assert got.mean() == pytest.approx(wanted.mean(), abs=1e-3)
        assert got.std() == pytest.approx(wanted.std(), rel=0.05)
    assert torch.equal(found[0, :, ~inside], backgrounds[0, :, ~inside])


def test_a_pasted_hand_does_not_flicker_and_noise_does_by_as_much_as_it_has() -> None:
    chance = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    # smooth, so that resampling does not count as a change
    smooth = torch.linspace(0, 1, 128).expand(3, 128, 128)
    mask = torch.zeros(1, 128, 128)
    mask[:, 40:, 40:90] = 1
    theta = draw_maps(gesture_tips("circlecc", 10, rng), torch.tensor([0.0, -0.3]), rng)
    seen = moved(torch.cat([smooth, mask]).expand(10, -1, -1, -1), theta)
    still = pasted(seen[:, :3], seen[:, 3:], torch.full((10, 3, 64, 64), 0.3))
    assert flicker_outside(still, seen[:, 3:]) < 1e-5
    assert flicker_inside(still, seen[:, 3:], theta) < 0.01
    lights = torch.tensor([0.0, 0.1] * 5).view(10, 1, 1, 1)
    assert flicker_outside(still + lights, seen[:, 3:]) == pytest.approx(0.1, abs=1e-5)
    assert flicker_inside(still + lights, seen[:, 3:], theta) == pytest.approx(0.1, abs=0.01)
    noisy = still + 0.1 * torch.randn(still.shape, generator=chance)
    # the mean absolute difference of two normal values is 2 sigma / sqrt(pi)
    assert flicker_outside(noisy, seen[:, 3:]) == pytest.approx(0.2 / np.pi**0.5, rel=0.05)


def test_boxes_and_crops_are_those_of_numpy() -> None:
    masks = torch.zeros(3, 1, 64, 64)
    masks[0, 0, 10:30, 5:20] = 1
    masks[1, 0, 63, 0] = 1
    boxes = (boxes_of(masks) + 1) * 32
    assert boxes[0].tolist() == [5, 10, 20, 30]
    assert boxes[1].tolist() == [0, 63, 1, 64]
    assert boxes[2].tolist() == [0, 0, 64, 64]  # an empty mask
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[-0.5, 0.0, 0.5, 1.0]])  # 32 x 32 pixels: a crop of that size resamples nothing
    assert torch.allclose(instance_crops(picture, box)[0], picture[0, :, 32:, 16:48], atol=1e-5)


def test_the_generator_never_sees_what_the_hand_covers() -> None:
    torch.manual_seed(0)
    model = Compositor(8).eval()
    backgrounds, masks = squares()
    z = torch.randn(2, Z_SIZE)
    found = adversarial.generate(model, z, masks, backgrounds)
    hidden = torch.where(masks > 0, torch.tensor(0.9), backgrounds)
    assert torch.equal(found, adversarial.generate(model, z, masks, hidden))
    assert found.shape == backgrounds.shape
    assert found.min() >= 0
    assert found.max() <= 1
    for other in (
        adversarial.generate(model, -z, masks, backgrounds),
        adversarial.generate(model, z, masks.flip(3).roll(8, 3), backgrounds),
        adversarial.generate(model, z, masks, 1 - backgrounds),
    ):
        assert not torch.allclose(found, other, atol=1e-4)


def test_training_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(adversarial, "CHECKPOINT_STEPS", 2)
    cpu = torch.device("cpu")
    whole = adversarial.train_compositor(sprites(), TINY, seed=3, device=cpu)

    class Killed(Exception):
        pass

    done = []

    def kill(note: str) -> None:
        done.append(note)
        if len(done) == 3:
            raise Killed

    with pytest.raises(Killed):
        adversarial.train_compositor(sprites(), TINY, seed=3, device=cpu, state=tmp_path, advance=kill)
    done.clear()
    resumed = adversarial.train_compositor(
        sprites(), TINY, seed=3, device=cpu, state=tmp_path, advance=done.append
    )
    assert len(done) == 2  # from the checkpoint after two of four steps
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_claims_are_differences_of_the_arms() -> None:
    import pandas as pd

    rows = [
        {"arm": arm, "test": test, "seed": seed, "n": 10, "mean_px": 1.0 + i + 2 * j + seed, "median_px": 1.0}
        for i, arm in enumerate(("paste", "gan", "rendered", "rendered_articulated", "reference"))
        for j, test in enumerate(("gan", "paste", "rendered", "poses"))
        for seed in range(3)
    ]
    by_claim = {m.claim: m for m in of_arms(pd.DataFrame(rows))}
    assert by_claim["G6"].value == pytest.approx(-1)  # the GAN's error is the larger by one
    assert by_claim["G7"].value == pytest.approx(-3)
    assert by_claim["G13"].value == pytest.approx(-2)
    assert [s.value for s in by_claim["G10"].samples] == [1.0] * 3
    values = {
        ("paste", "rim_own"): 0.4, ("gan", "rim_own"): 0.3, ("z_per_frame", "flicker_inside"): 0.2,
        ("z_per_clip", "flicker_inside"): 0.1, ("z_per_frame", "flicker_outside"): 0.3,
        ("z_per_clip", "flicker_outside"): 0.1,
    }  # fmt: skip
    table = pd.DataFrame(
        [{"arm": a, "measure": m, "value": v, "seed": 0, "clips": 5} for (a, m), v in values.items()]
    )
    found = {m.claim: m.value for m in of_generator(table)}
    assert found == {"G8": pytest.approx(0.1), "G9": pytest.approx(2.0)}


def test_cyclegan_learns_a_change_of_colour_and_resumes(tmp_path, monkeypatch) -> None:
    """Greenish noise against reddish noise: translated frames come nearer to the other kind."""
    chance = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 16, 1, 64, 64, generator=chance)
    green, red = (
        torch.cat([a, b, a * 0], 1) for a, b in ((noise[0] * 0.2, noise[0]), (noise[1], noise[1] * 0.2))
    )
    config = CycleConfig(steps=30, batch_size=4, width=8, learning_rate=2e-3)
    cpu = torch.device("cpu")
    model = cycle.train_cycle(green, red, config, seed=0, device=cpu)
    found = cycle.translate(model, green)
    assert found.shape == green.shape
    assert found[:, 0].mean() > green[:, 0].mean() + 0.1
    monkeypatch.setattr(cycle, "CHECKPOINT_STEPS", 20)
    cycle.train_cycle(green, red, config, seed=0, device=cpu, state=tmp_path)
    done: list[str] = []
    again = cycle.train_cycle(green, red, config, seed=0, device=cpu, state=tmp_path, advance=done.append)
    assert len(done) == 10
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
