"""The fingertip network: coordinates by closed form, augmentation that moves tips with their pixels, and it learns."""

import numpy as np
import pytest
import torch

from stages.hands.fingertip_net import (
    BatchSource,
    FingertipSchedule,
    expected_place,
    find_fingertips,
    fingertip_loss,
    train_fingertips,
)


def test_a_sharp_heatmap_gives_the_middle_of_its_cell():
    logits = torch.full((3, 6, 8), -50.0)
    for i, (row, column) in enumerate(((0, 0), (5, 7), (2, 3))):
        logits[i, row, column] = 50
    wanted = torch.tensor([[0.5 / 8, 0.5 / 6], [7.5 / 8, 5.5 / 6], [3.5 / 8, 2.5 / 6]])
    torch.testing.assert_close(expected_place(logits), wanted)
    torch.testing.assert_close(expected_place(torch.zeros(1, 6, 8)), torch.tensor([[0.5, 0.5]]))


def test_the_loss_is_least_at_the_truth():
    place = torch.tensor([[0.4, 0.6]])
    logits = torch.zeros(1, 24, 32, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimiser.zero_grad()
        fingertip_loss(logits, place).backward()
        optimiser.step()
    torch.testing.assert_close(expected_place(logits), place, atol=5e-3, rtol=0)


def squares(n, seed, lightest=0.5):
    """White squares of 5 px on grey noise; the tip is their middle."""
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0.2, lightest, (n, 3, 48, 64)).astype(np.float32)
    tips = np.stack([rng.integers(14, 50, n), rng.integers(12, 36, n)], axis=1)
    for frame, (x, y) in zip(frames, tips, strict=True):
        frame[:, y - 2 : y + 3, x - 2 : x + 3] = 1
    return torch.from_numpy(frames), torch.from_numpy((tips + 0.5) / [64, 48]).float()


def test_augmentation_moves_the_tip_with_its_pixels():
    frames, tips = squares(20, 0, lightest=0.21)
    source = BatchSource(frames, tips)
    for step in range(5):
        seen, places = source(step, 16, torch.Generator().manual_seed(step))
        grey = seen.mean(1).double()
        for picture, (x, y) in zip(grey, places, strict=True):
            rows, columns = torch.nonzero(picture > (picture.max() + picture.median()) / 2).T
            assert abs((columns.double().mean() + 0.5) / 64 - x) < 1 / 64
            assert abs((rows.double().mean() + 0.5) / 48 - y) < 1 / 48


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_it_learns_to_find_what_is_marked_and_says_when_it_is_sure():
    frames, tips = squares(64, 1)
    schedule = FingertipSchedule(steps=60, batch_size=16, learning_rate=5e-3)
    train = {"schedule": schedule, "seed": 0, "device": torch.device("cpu")}
    model = train_fingertips(BatchSource(frames, tips), **train)
    again = train_fingertips(BatchSource(frames, tips), **train)
    unseen, truth = squares(32, 2)
    places, trust = find_fingertips(model, 2 * unseen - 1)
    torch.testing.assert_close(find_fingertips(again, 2 * unseen - 1)[0], places, rtol=0, atol=0)
    assert ((places - truth) * torch.tensor([64, 48])).norm(dim=1).median() < 2.5
    empty = 2 * torch.rand(32, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 0.3 - 0.6
    assert trust.median() > 0.5 > find_fingertips(model, empty)[1].median()
