"""Settings of the stage `hands`."""

from dataclasses import dataclass, field

from stages.hands.clip_config import ClipSet, RenderConfig


@dataclass(frozen=True, kw_only=True)
class TrajectoryConfig:
    """The classifier of fingertip trajectories, trained on templates alone."""

    net: str = "cnn"  # cnn or lstm
    templates: int = 12_000  # drawings to train on
    epochs: int = 8  # passes over them
    batch_size: int = 128  # drawings a step
    learning_rate: float = 3e-3  # highest rate of the schedule
    seeds: tuple[int, ...] = (0, 1, 2)  # one classifier each, of templates of its own

    def __post_init__(self) -> None:
        if self.net not in ("cnn", "lstm"):
            raise ValueError(f"net is {self.net!r}: choose cnn or lstm")
        if self.templates < self.batch_size:
            raise ValueError(f"templates is {self.templates}: choose {self.batch_size} (batch_size) or more")
        if not self.seeds:
            raise ValueError("seeds is empty: give at least one")


@dataclass(frozen=True, kw_only=True)
class DiversityConfig:
    """Fingertip networks trained in one place, two, four, ... at equal frame count."""

    datasets: tuple[str, ...] = ()  # sets of clips, a place each, in the order in which they join
    held_out: str = ""  # set of clips that is tested on
    places: tuple[int, ...] = (1, 2, 4, 8)  # numbers of places
    frames: int = 160  # to train on, however many places they come from
    seeds: tuple[int, ...] = (0, 1, 2)  # one network each
    steps: int = 300  # of training
    batch_size: int = 32  # frames a step
    learning_rate: float = 3e-3  # highest rate of the schedule

    def __post_init__(self) -> None:
        if not self.places or min(self.places) < 1:
            raise ValueError(f"places is {list(self.places)}: give numbers of 1 or more")
        for key in ("frames", "steps", "batch_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class FingertipConfig:
    """Fingertip networks for real video."""

    steps: int = 500  # of training
    batch_size: int = 32  # frames a step
    learning_rate: float = 3e-3  # highest rate of the schedule
    backgrounds: int = 600  # that hands are put before
    seeds: tuple[int, ...] = (0, 1, 2)  # one network each

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "backgrounds"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """Motion images of rendered hands: one picture a gesture, for a classifier of images."""

    train: int = 4000  # images to train on
    test: int = 1000  # images to test on
    seed: int = 0  # of all that is drawn at random

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 1:
            raise ValueError(f"train is {self.train} and test {self.test}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class HandsConfig:
    """Section `hands` of the configuration."""

    render: RenderConfig = field(default_factory=RenderConfig)  # the camera and the renderer
    sets: dict[str, ClipSet] = field(default_factory=dict)  # rendered clips, by name
    real: bool = False  # evaluate on EgoGestAR where it is there
    clips_per_job: int = 10  # clips that one process renders
    fingertips: FingertipConfig = field(default_factory=FingertipConfig)  # the networks for real video
    motion: MotionConfig = field(default_factory=MotionConfig)  # gestures as single pictures
    diversity: DiversityConfig = field(default_factory=DiversityConfig)  # the study of training places
    rerendered_frames: int = 20  # frames of the first set that are rendered again and compared, at least
    trajectories: TrajectoryConfig = field(default_factory=TrajectoryConfig)  # the classifier of trajectories
