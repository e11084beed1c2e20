"""Settings of the stage `expansion`: condensing a set, expanding it by guided inversion, and distillation from both."""

from dataclasses import dataclass, field

from stages.expansion.arms import ARMS, CONDENSATIONS, HOSTS


@dataclass(frozen=True, kw_only=True)
class CondensationConfig:
    """How long and how wide; the methods share what they have in common."""

    iterations: int = 300  # of matching, each with new networks (DM) or a new one now and then (DC)
    real_images: int = 64  # of a class, each iteration
    width: int = 32  # channels of the random ConvNets
    image_rate: float = 1.0  # of DM's SGD on pixels
    gradient_image_rate: float = 0.1  # of DC's
    candidates: int = 300  # images of a class that RDED takes crops of
    crops: int = 5  # of each candidate

    def __post_init__(self) -> None:
        for key in ("iterations", "real_images", "width", "candidates", "crops"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class JudgedSetConfig:
    """Condensed sets that a ConvNet is trained on from nothing, as their authors judge them."""

    teacher: str = ""  # model whose data are condensed
    methods: tuple[str, ...] = ("dm", "random")  # see stages/expansion/arms.py
    images_per_class: tuple[int, ...] = (1,)  # of each method
    seeds: tuple[int, ...] = (0,)  # of sets and networks
    width: int = 128  # channels of the ConvNet
    steps: int = 1000  # of training
    batch_size: int = 256  # images of a step, at most as many as the set has
    learning_rate: float = 0.01  # of SGD, a tenth for the last half

    def __post_init__(self) -> None:
        _check_choice("methods", self.methods, CONDENSATIONS)


@dataclass(frozen=True, kw_only=True)
class ExpansionConfig:
    """One way to expand a condensed set; all that its arms and seeds share."""

    teacher: str = ""  # model with batch norms: trained here (NAME-s0) or pretrained
    student: str = "mobilenet.DepthwiseCNN"  # network, as module.Class of stages/lib/nets
    arguments: dict[str, bool | int | float | tuple[int, ...]] = field(default_factory=dict)  # of the student
    arms: tuple[str, ...] = ("naive", "guided")  # see stages/expansion/arms.py
    seeds: tuple[int, ...] = (0,)  # of each arm
    host: str = "fast"  # inversion: fast, cmi or pre
    condensation: str = "dm"  # of arms that do not name another
    images_per_class: int = 1  # of the condensed set
    rounds: int = 10  # of inversion, each followed by distillation
    inversion_steps: int = 20  # of a round
    images_a_round: int = 100  # that go to the pool, as many of each class
    noise: int = 100  # size of the generator's codes
    width: int = 16  # channels of the generator's last hidden map
    generator_rate: float = 0.005  # of Adam, generator and codes
    one_hot: float = 0.0  # weight of the class that an image is meant to be of; 0: the host's own
    statistics: float = 0.0  # weight of batch norms' statistics; 0: the host's own
    warm_up: int = 1  # rounds without the adversarial loss: the student knows nothing yet
    guidance: float = 0.3  # weight of the alignment of features
    moment_guidance: float = 1.0  # weight of the distance of mean features, in its place
    discriminator_rate: float = 0.0002  # of Adam, betas 0.5 and 0.999
    discriminator_hidden: int = 128  # units of each hidden layer
    student_steps: int = 150  # of distillation after each round
    batch_size: int = 128  # pool images of a step
    condensed_batch: int = 64  # condensed images of a step, at most
    temperature: float = 4.0  # of distillation
    learning_rate: float = 0.05  # of the student's SGD, cosine over all rounds

    def __post_init__(self) -> None:
        _check_choice("arms", self.arms, tuple(ARMS))
        _check_choice("host", (self.host,), tuple(HOSTS))
        _check_choice("condensation", (self.condensation,), CONDENSATIONS)
        for key in ("images_per_class", "rounds", "inversion_steps", "images_a_round", "student_steps"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class ExpansionStageConfig:
    """The stage `expansion`."""

    condensation: CondensationConfig = field(default_factory=CondensationConfig)  # of every condensed set
    judged: dict[str, JudgedSetConfig] = field(default_factory=dict)  # condensed sets alone, by any name
    studies: dict[str, ExpansionConfig] = field(default_factory=dict)  # by any name


def _check_choice(key: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    if unknown := [value for value in values if value not in known]:
        raise ValueError(f"{key} has {unknown[0]!r}: choose from {', '.join(known)}")
