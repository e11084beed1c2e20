"""Settings of the stage `replay`: data-free distillation and its stability."""

from dataclasses import dataclass, field

from stages.replay.methods import METHODS, Method


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """One way to distil; all that its methods and seeds share."""

    teachers: tuple[str, ...] = ()  # models: trained here (NAME-s0) or pretrained
    student: str = "lenet.LeNet5"  # network, as module.Class of stages/lib/nets
    arguments: dict[str, bool | int | float | tuple[int, ...]] = field(default_factory=dict)  # of the student
    methods: tuple[str, ...] = ("pre",)  # see stages/replay/methods.py
    seeds: tuple[int, ...] = (0,)  # of each method
    # what differs from the methods' published settings, by key of a method
    changes: dict[str, bool | int | float | str] = field(default_factory=dict)
    iterations: int = 200  # steps of the generator
    evaluations: int = 20  # on the test set, evenly over the iterations
    test_images: int = 0  # first images of the test set; 0 for all
    batch_size: int = 256  # new images of a step
    noise: int = 100  # size of the generator's and the VAE's codes
    width: int = 16  # channels of the generator's last hidden map
    spectral_norm: bool = False  # of the generator's convolutions
    generator_rate: float = 0.02  # of Adam; codes of the memory too
    optimiser: str = "adam"  # of the student: adam or sgd (momentum 0.9, weight decay 5e-4)
    student_rate: float = 0.002  # of the student's optimiser
    cosine: bool = False  # the student's rate falls to 0 with the iterations, else it stays
    pool_images: int = 10240  # of methods that keep what they invert
    bank_images: int = 4096  # of memories that keep images
    banked_a_round: int = 32  # new images that go to the bank for each step of the generator
    memory_width: int = 16  # channels of the VAE's outermost map
    memory_rate: float = 0.0005  # of the VAE's Adam
    memory_updates: int = 4  # of the VAE for each step of the generator, at most as many as student steps

    def __post_init__(self) -> None:
        if unknown := [name for name in self.methods if name not in METHODS]:
            raise ValueError(f"methods has {unknown[0]!r}: choose from {', '.join(METHODS)}")
        if unknown := [key for key in self.changes if key not in Method.__dataclass_fields__]:
            raise ValueError(
                f"changes has {unknown[0]!r}: choose from {', '.join(Method.__dataclass_fields__)}"
            )
        if self.optimiser not in ("adam", "sgd"):
            raise ValueError(f"optimiser is {self.optimiser!r}: choose adam or sgd")
        for key in (
            "iterations",
            "evaluations",
            "batch_size",
            "noise",
            "width",
            "bank_images",
            "pool_images",
        ):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")
        if not 1 <= self.evaluations <= self.iterations:
            raise ValueError(f"evaluations is {self.evaluations}: choose 1 to {self.iterations} (iterations)")


@dataclass(frozen=True, kw_only=True)
class LabelStudyConfig:
    """What noise and rebuilding do to labels of real and of made images."""

    images: int = 2000  # real test images, and as many made ones
    deviations: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0)  # of Gaussian noise on normalised images
    vae_images: int = 4096  # made images that the VAEs learn from
    vae_steps: int = 300  # of Adam, each of 128 images
    latent: int = 100  # size of the codes
    width: int = 16  # channels of the outermost map
    rate: float = 0.0005  # of Adam
    replayed: int = 32  # images of a rehearsed batch
    code_rate: float = 0.02  # of the step that balances codes


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """The stage `replay`."""

    studies: dict[str, DistilConfig] = field(default_factory=dict)  # by any name
    # which study's run of `pre` has the generator whose images the study of labels asks about; empty: none
    labels_of: str = ""
    labels: LabelStudyConfig = field(default_factory=LabelStudyConfig)  # what noise does to labels
