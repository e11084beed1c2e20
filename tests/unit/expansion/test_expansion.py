"""The loop: hosts left as they are, resumed runs, arms; guides and distances against closed forms."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

import stages.expansion as api
from stages.expansion.arms import ARMS, HOSTS
from stages.expansion.condense import main as condense
from stages.expansion.config import CondensationConfig, ExpansionConfig
from stages.expansion.distances import class_frechet, frechet, nearest_distances
from stages.expansion.exact import guided_parameters_that_differ
from stages.expansion.expand_set import main as expand_set
from stages.expansion.expansion import expand
from stages.expansion.guidance import CondensedSet
from stages.expansion.measure_expansion import across_studies, of_accuracies
from stages.lib.core.errors import InputError
from stages.lib.core.prepared import (
    ImageSplit,
    SplitInfo,
    content_digest,
    image_digests,
    read_images,
    write_images,
)
from stages.lib.inversion.discriminator import FeatureDiscriminator, discriminator_loss, moment_distance
from stages.lib.inversion.networks import Networks
from stages.lib.nets.lenet import LeNet5
from stages.lib.nets.mobilenet import DepthwiseCNN
from stages.lib.nets.model_folder import ModelInfo, write_model

CONFIG = ExpansionConfig(
    rounds=3, inversion_steps=2, images_a_round=20, noise=8, width=4, student_steps=2, batch_size=16, condensed_batch=8
)  # fmt: skip


def networks(bf16: bool = False) -> Networks:
    torch.manual_seed(0)
    teacher, student = LeNet5(batch_norm=True), LeNet5(batch_norm=True, width_divisor=2)
    return Networks(
        teacher=teacher, student=student, channels=1, size=28, device=torch.device("cpu"), bf16=bf16
    )


def few(classes: int = 10) -> CondensedSet:
    chance = torch.Generator().manual_seed(0)
    return CondensedSet(torch.randn(classes, 1, 28, 28, generator=chance), torch.arange(classes) % 10, 10)


def expanded(arm: str, config: ExpansionConfig = CONFIG, state=None, evaluate=lambda: 0.5):
    net = networks()
    done = expand(
        net, few(), ARMS[arm], config, seed=0, evaluate=evaluate, stored=lambda images: images, state=state
    )
    return net, done


def test_a_guide_without_weight_leaves_the_host_as_it_is():
    assert guided_parameters_that_differ() == 0


def test_inverted_images_keep_to_the_range_that_can_be_stored():
    net, low, high = networks(), torch.full((1, 1, 1, 1), -0.5), torch.full((1, 1, 1, 1), 0.75)
    done = expand(
        net, few(), ARMS["guided"], CONFIG, seed=0, evaluate=lambda: 0.0, stored=lambda images: images,
        within=(low, high),
    )  # fmt: skip
    assert done.pool.images.min() == low
    assert done.pool.images.max() == high


def test_depthwise_students_compute_in_float32_on_a_cpu():
    def student_of(net: torch.nn.Module) -> bool:
        return Networks(
            teacher=LeNet5(batch_norm=True), student=net, channels=1, size=28, device=torch.device("cpu")
        ).student_bf16

    assert student_of(LeNet5(batch_norm=True))
    assert not student_of(DepthwiseCNN())


def test_a_guide_with_weight_does_not():
    outcomes = [expanded(arm)[1].pool.images for arm in ("naive", "guided", "guided-moments")]
    assert not torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_the_student_and_not_the_teacher(arm):
    before = networks()
    net, done = expanded(arm)
    kept = zip(before.teacher.state_dict().values(), net.teacher.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in kept)
    moved = zip(before.student.parameters(), net.student.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in moved)
    sizes = [20, 40, 60] if ARMS[arm].inverted else [0, 0, 0]
    assert [row["pool_images"] for row in done.curve] == sizes
    if ARMS[arm].inverted:
        assert torch.bincount(done.pool.labels).tolist() == [6] * 10


def test_arms_see_what_they_are_said_to():
    """Students of other condensed sets differ only where the arm learns from the set."""

    def student(arm: str, shift: float) -> torch.Tensor:
        net, given = networks(), few()
        given.images += shift
        expand(net, given, ARMS[arm], CONFIG, seed=0, evaluate=lambda: 0.0, stored=lambda images: images)
        return net.student.head.weight

    assert torch.equal(student("inversion-only", 0), student("inversion-only", 1))
    assert not torch.equal(student("naive", 0), student("naive", 1))
    assert not torch.equal(student("condensed-only", 0), student("condensed-only", 1))


@pytest.mark.parametrize(("arm", "host"), [("guided", "fast"), ("guided-moments", "cmi"), ("naive", "pre")])
def test_a_resumed_run_equals_an_undisturbed_one(arm, host, tmp_path):
    config = replace(CONFIG, host=host)
    whole, _ = expanded(arm, config)
    calls = iter([0.1, KeyboardInterrupt])

    def stopped() -> float:
        answer = next(calls)
        if answer is KeyboardInterrupt:
            raise KeyboardInterrupt
        return answer

    with pytest.raises(KeyboardInterrupt):
        expanded(arm, config, tmp_path, stopped)
    resumed, done = expanded(arm, config, tmp_path)
    assert [row["accuracy"] for row in done.curve] == [0.1, 0.5, 0.5]
    for a, b in zip(whole.student.state_dict().values(), resumed.student.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_losses_of_the_discriminator_and_of_means():
    chance = torch.Generator().manual_seed(0)
    given, made = (torch.randn(50, generator=chance) for _ in range(2))
    wanted = np.maximum(0, 1 - given.numpy()).mean() + np.maximum(0, 1 + made.numpy()).mean()
    assert discriminator_loss(given, made).item() == pytest.approx(wanted, rel=1e-5)
    features, labels = torch.randn(30, 4, generator=chance), torch.arange(30) % 3
    means = torch.randn(5, 4, generator=chance)  # two classes without features
    frame = pd.DataFrame(features.numpy()).groupby(labels.numpy()).mean().to_numpy()
    assert moment_distance(features, labels, means).item() == pytest.approx(
        ((frame - means[:3].numpy()) ** 2).mean(), rel=1e-5
    )


def test_only_a_conditional_discriminator_hears_of_classes():
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    for conditional in (True, False):
        net = FeatureDiscriminator(5, 4, conditional=conditional).eval()
        scores = [net(features, torch.full((6,), label)) for label in (0, 1)]
        assert torch.equal(*scores) != conditional


def test_frechet_distance_equals_that_of_scipy():
    chance = np.random.default_rng(0)
    a, b = chance.normal(size=(200, 6)) @ chance.normal(size=(6, 6)), chance.normal(1, 2, size=(300, 6))
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        sum(covariances) - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-4)
    labels, others = np.repeat([0, 1], 100), np.repeat([1, 0], 150)
    by_class = [frechet(a[:100], b[150:]), frechet(a[100:], b[:150])]
    assert class_frechet(a, labels, b, others) == pytest.approx(np.mean(by_class))
    with pytest.raises(ValueError, match="two rows each, not 1"):
        frechet(a[:1], b)


def test_nearest_distances_equal_exhaustive_search():
    chance = np.random.default_rng(0)
    images, real = (chance.integers(256, size=(n, 5, 5, 1)).astype(np.uint8) for n in (12, 40))
    difference = images[:, None].astype(float) / 255 - real[None].astype(float) / 255
    wanted = np.sqrt((difference**2).mean((2, 3, 4))).min(1)
    assert np.allclose(nearest_distances(images, real), wanted, atol=1e-4)
    assert np.allclose(nearest_distances(real[:3], real), 0, atol=1e-3)


@pytest.fixture
def world(tmp_path):
    """A teacher with batch norms and the digits, as prepared splits."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8)
    info = SplitInfo(
        dataset="digits", split="train", classes=tuple("0123456789"), mean=(0.3,), std=(0.35,),
        digest=content_digest(image_digests(pixels, labels)), n=len(labels), height=8, width=8, channels=1,
        licence="CC BY 4.0", citation="", redistribute=True,
    )  # fmt: skip
    write_images(tmp_path / "train", ImageSplit(images=pixels, labels=labels, info=info))
    torch.manual_seed(0)
    write_model(
        tmp_path / "teacher",
        LeNet5(batch_norm=True),
        ModelInfo(
            net="lenet.LeNet5", arguments={"batch_norm": True}, mean=(0.3,), std=(0.35,), classes=info.classes,
            dataset="digits", dataset_digest=info.digest,
        ),
    )  # fmt: skip
    return tmp_path


def commands(world, method: str, images: int) -> None:
    condense(
        ["--train", f"{world}/train", "--teacher", f"{world}/teacher", "--method", method, "--images-per-class",
         f"{images}", "--config", '{"iterations": 4, "real_images": 4, "width": 4, "candidates": 5, "crops": 2}',
         "--device", "cpu", "--folder", f"{world}/set"]
    )  # fmt: skip


def expand_command(world, arm: str = "guided") -> None:
    expand_set(
        ["--teacher", f"{world}/teacher", "--condensed", f"{world}/set", "--test", f"{world}/train", "--arm", arm,
         "--config", '{"rounds": 1, "inversion_steps": 1, "images_a_round": 10, "student_steps": 1, "width": 4}',
         "--device", "cpu", "--state", f"{world}/state", "--folder", f"{world}/run", "--curve", f"{world}/run/curve.csv",
         "--times", f"{world}/run/times.csv"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "images"), [("dm", 1), ("dc", 1), ("random", 3), ("herding", 2), ("rded", 2)]
)
def test_sets_of_every_kind_are_stored_and_expanded(world, method, images):
    commands(world, method, images)
    split = read_images(world / "set")
    assert split.images.dtype == np.uint8
    assert np.bincount(split.labels).tolist() == [images] * 10
    assert split.info.digest == content_digest(image_digests(split.images, split.labels))
    assert (world / "set" / "grid.png").is_file()
    expand_command(world)
    curve, pool = pd.read_csv(world / "run" / "curve.csv"), read_images(world / "run" / "pool")
    assert curve["condensed_digest"].iloc[-1] == split.info.digest
    assert (
        curve["pool_digest"].iloc[-1]
        == pool.info.digest
        == content_digest(image_digests(pool.images, pool.labels))
    )
    assert pool.info.n == 10


def test_random_images_are_real_ones(world):
    commands(world, "random", 2)
    real = {image.tobytes() for image in read_images(world / "train").images}
    assert all(image.tobytes() in real for image in read_images(world / "set").images)


@pytest.mark.parametrize("method", ["dm", "random", "herding", "rded"])
def test_more_images_than_a_class_has_are_one_sentence(world, method):
    with pytest.raises(
        InputError, match=r"class \d has 1\d\d images where 500 a class are wanted; lower --images"
    ):
        commands(world, method, 500)
    assert not (world / "set").exists()


def test_a_class_without_images_is_named(world):
    commands(world, "random", 1)
    split = read_images(world / "set")
    info = replace(split.info, n=9)
    write_images(world / "set", ImageSplit(images=split.images[:9], labels=split.labels[:9], info=info))
    with pytest.raises(
        InputError, match=r"class 9 \(9\) has no images; give a set with one image of each class"
    ):
        expand_command(world)
    assert not (world / "run").exists()


def test_a_user_calls_it_on_networks_and_images_of_their_own():
    images, labels = (
        torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
        torch.arange(60) % 10,
    )
    few_images = api.condense_images(
        images, labels, 1, config=CondensationConfig(iterations=2, real_images=2, width=4)
    )
    assert few_images.shape == (10, 1, 28, 28)
    net = networks()
    before = net.student.head.weight.clone()
    done = api.expand_condensed(net.teacher, net.student, few_images, torch.arange(10), config=CONFIG)
    assert len(done.pool) == 60
    assert not torch.equal(before, net.student.head.weight)
    with pytest.raises(InputError, match="class 9 has no images: give one image of each class"):
        api.expand_condensed(net.teacher, net.student, few_images[:9], torch.arange(9), config=CONFIG)


def test_claims_across_studies_pair_what_is_alike_but_for_one_setting():
    rows = [
        (study, arm, seed, accuracy + seed / 100)
        for study, values in {
            "one": {"condensed-only": 0.4, "naive": 0.7, "inversion-only": 0.5, "guided": 0.8},
            "ten": {"condensed-only": 0.7, "naive": 0.8, "inversion-only": 0.5, "guided": 0.9},
            "host": {"condensed-only": 0.4, "naive": 0.6, "inversion-only": 0.6, "guided": 0.7},
        }.items()
        for arm, accuracy in values.items()
        for seed in range(3)
    ]
    runs = pd.DataFrame(rows, columns=["study", "arm", "seed", "accuracy"])
    studies = pd.DataFrame(
        {"images_per_class": [1, 10, 1], "host": ["fast", "fast", "cmi"], "heterogeneous": True},
        index=["one", "ten", "host"],
    )
    found = {m.claim: m for m in across_studies(runs, studies)}
    assert found["E5"].value == pytest.approx(min(0.3, 0.3 - 0.1))
    assert found["E8"].value == pytest.approx(0.1)
    assert not found["E7"].samples
    assert of_accuracies(runs, "guided", "naive").groupby("study").mean()["one"] == pytest.approx(0.1)


def test_hosts_weigh_what_their_public_code_weighs():
    assert (HOSTS["fast"].statistics, HOSTS["fast"].one_hot, HOSTS["fast"].adversary_weight) == (
        10.0,
        0.5,
        1.0,
    )
    assert (HOSTS["cmi"].statistics, HOSTS["cmi"].adversary_weight, HOSTS["cmi"].contrast) == (1.0, 0.5, 0.8)
