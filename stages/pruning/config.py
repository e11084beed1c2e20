"""Settings of the stage `pruning`: which networks are pruned for which users, how, and how far."""

from dataclasses import dataclass, field

ARMS = ("hybrid", "n_m", "block", "unstructured", "channel", "as_released")
ABLATIONS = (
    "hybrid_scrambled",
    "hybrid_random",
    "hybrid_magnitude",
    "hybrid_fisher",
    "hybrid_random_scores",
    "hybrid_other_classes",
    "hybrid_sr_ste",
)


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Accuracy over sparsity, for users who want some of a network's classes."""

    models: tuple[str, ...] = ()  # networks that are pruned
    arms: tuple[str, ...] = ARMS  # that are compared with the dense network
    sparsities: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)  # of the prunable weights
    ablations: tuple[str, ...] = ABLATIONS  # of the hybrid pattern: other scores, other order, regrowth
    ablation_sparsities: tuple[float, ...] = (0.75, 0.9)  # at which those are compared
    classes: tuple[int, ...] = (3,)  # how many a user wants
    seeds: tuple[int, ...] = (0, 1, 2)  # one user and one order of the data each
    block: int = 16  # side of a block
    n: int = 2  # of m weights that stay in a block
    m: int = 4  # weights along the input channels
    images_per_class: int = 256  # to tune on
    rounds: int = 3  # of pruning, each further than the one before
    schedule: str = "geometric"  # of sparsity over the rounds: geometric or linear
    epochs_per_round: int = 2  # of tuning after each round but the last
    last_epochs: int = 4  # of tuning after the last round
    batch_size: int = 64  # images a step
    learning_rate: float = 0.01  # highest rate of the schedule
    dense_learning_rate: float = 0.01  # of the dense network, which a high rate would harm
    weight_decay: float = 5e-4  # of SGD
    normalisation: str = "mean"  # of block scores between layers: mean, sum (as released) or share
    floor: float = 0.05  # share of its blocks that a layer keeps at least

    def __post_init__(self) -> None:
        if wrong := [arm for arm in (*self.arms, *self.ablations) if arm not in ARMS + ABLATIONS]:
            raise ValueError(f"arms has {wrong[0]!r}: choose from {', '.join(ARMS + ABLATIONS)}")
        if wrong_shares := [s for s in self.sparsities if not 0 < s < 1]:
            raise ValueError(f"sparsities has {wrong_shares[0]}: choose between 0 and 1")
        for key in ("images_per_class", "rounds", "epochs_per_round", "last_epochs", "batch_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """Section `pruning` of the configuration."""

    studies: dict[str, StudyConfig] = field(default_factory=dict)  # by any name
    accelerator: str = ""  # network of hardware.layers whose latency and energy are modelled; none: no study
    verified_layers: int = 200  # random networks on which the patterns are checked
