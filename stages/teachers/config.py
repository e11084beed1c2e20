"""Settings of the stage `teachers`."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """Everything that decides a teacher's weights, but for its seed. Data decide channels and classes."""

    dataset: str  # name in config/datasets.yaml
    net: str  # network, as module.Class of stages/lib/nets
    arguments: dict[str, bool | int | float | tuple[int, ...]] = field(default_factory=dict)  # of the network
    seeds: tuple[int, ...] = (0,)  # one model a seed
    epochs: int = 6  # passes over the training images
    batch_size: int = 256  # images
    optimiser: str = "sgd"  # sgd (Nesterov momentum 0.9) or adamw (transformers)
    learning_rate: float = 0.1  # peak of the schedule
    weight_decay: float = 5e-4  # of weight matrices and kernels
    label_smoothing: float = 0.0  # share of the target spread over all classes
    flip: bool = False  # mirror images at random
    shift_px: int = 0  # largest random shift, in pixels
    ema: float = 0.0  # decay of the averaged weights that are kept; 0 for none
    train_images: int = 0  # first images of the training split to use; 0 for all

    def __post_init__(self) -> None:
        for key, low in (("epochs", 1), ("batch_size", 1), ("shift_px", 0), ("train_images", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"{key} is {getattr(self, key)}: choose {low} or more")
        if self.optimiser not in ("sgd", "adamw"):
            raise ValueError(f"optimiser is {self.optimiser!r}: choose sgd or adamw")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}: choose a number above 0")
        for key in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 0 or more, and less than 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds is {list(self.seeds)}: choose one or more different numbers from 0 on")


@dataclass(frozen=True, kw_only=True)
class TeachersConfig:
    """The stage `teachers`."""

    models: dict[str, TeacherRecipe] = field(default_factory=dict)  # teachers of the scale, by name
    pretrained: tuple[str, ...] = ()  # pretrained networks of config/datasets.yaml to evaluate beside them
