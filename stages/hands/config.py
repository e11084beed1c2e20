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
    """Fingertip error over the number of places that training hands stand before."""

    datasets: tuple[str, ...] = ()  # sets of clips whose hands are trained on; none: no study
    held_out: str = ""  # set of clips that is tested on, before its own panorama
    panoramas: tuple[str, ...] = ()  # one place each
    places: tuple[int, ...] = (1, 2, 4, 8)  # numbers of places
    clips_trained: int = 20  # hands of each network, whatever the number of places
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)  # hands, order and directions of places each
    steps: int = 240  # of training
    batch_size: int = 32  # frames a step
    learning_rate: float = 3e-3  # highest rate of the schedule
    clips: int = 100  # drawn gestures that are recognised with each network

    def __post_init__(self) -> None:
        if not self.places or min(self.places) < 1:
            raise ValueError(f"places is {list(self.places)}: give numbers of 1 or more")
        for key in ("clips_trained", "steps", "batch_size", "clips"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class FingertipConfig:
    """Fingertip networks for real video."""

    steps: int = 500  # of training
    batch_size: int = 32  # frames a step
    learning_rate: float = 3e-3  # highest rate of the schedule
    width: int = 16  # channels of the first layer
    backgrounds: int = 600  # that hands are put before
    seeds: tuple[int, ...] = (0, 1, 2)  # one network each

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "width", "backgrounds"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class CompositorConfig:
    """The paper's own arm: a generator that draws hands into masked backgrounds."""

    steps: int = 1500  # of the generator
    discriminator_steps: int = 1  # for each of them; published: 5
    batch_size: int = 16  # frames a step
    learning_rate: float = 2e-4  # of Adam, halved after each quarter of the steps
    width: int = 32  # channels
    feature_steps: int = 150  # of the network whose features the loss compares

    def __post_init__(self) -> None:
        for key in ("steps", "discriminator_steps", "batch_size", "width", "feature_steps"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class CycleConfig:
    """The paper's comparator: CycleGAN from pasted to rendered frames."""

    steps: int = 0  # of training; 0 leaves the arm out
    batch_size: int = 4  # frames of each kind a step; published: 1
    learning_rate: float = 2e-4  # of Adam, constant over half of the steps, then falling to 0
    width: int = 32  # channels; published: 64

    def __post_init__(self) -> None:
        for key, least in (("steps", 0), ("batch_size", 1), ("width", 1)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}: choose {least} or more")


@dataclass(frozen=True, kw_only=True)
class PlanarConfig:
    """The paper's flat hands against cut and paste and against rendered ones: equal frames, equal labels."""

    datasets: tuple[str, ...] = ()  # sets of pointing clips that all arms train on; none: no arms
    articulated: str = "poses"  # set of other poses, a quarter of the articulated arm's frames
    held_out: str = "held_out"  # set of pointing clips that is tested on
    held_out_poses: str = "held_out_poses"  # set of other poses that is tested on
    seeds: tuple[int, ...] = (0, 1, 2)  # one generator and one network of each arm each
    steps: int = 300  # of a fingertip network
    compositor: CompositorConfig = field(default_factory=CompositorConfig)  # the generator
    cycle: CycleConfig = field(default_factory=CycleConfig)  # CycleGAN, as one more arm

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """Motion images of rendered hands: one picture a gesture, for a classifier of images."""

    train: int = 4000  # images to train on
    selection: int = 1000  # images to choose by
    test: int = 1000  # images to test on
    held_out: tuple[str, ...] = ()  # sets of clips whose hands are tested on alone; none: all hands train too
    seed: int = 0  # of all that is drawn at random

    def __post_init__(self) -> None:
        for key in ("train", "selection", "test"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class PlateConfig:
    """Photos and films as backgrounds, instead of the panorama that lights the hand."""

    sets: tuple[str, ...] = ()  # sets of clips that have some
    share: float = 0.5  # of their clips, 0..1
    folder: str = ""  # your own photos (JPEG, PNG) and films (MP4), besides two that are bundled

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}: choose 0 to 1")


@dataclass(frozen=True, kw_only=True)
class HandsConfig:
    """Section `hands` of the configuration."""

    render: RenderConfig = field(default_factory=RenderConfig)  # the camera and the renderer
    sets: dict[str, ClipSet] = field(default_factory=dict)  # rendered clips, by name
    more_panoramas: bool = False  # fetch 18 panoramas, pmndrs_NAME, that sets may name besides Blender's
    plates: PlateConfig = field(default_factory=PlateConfig)  # flat backgrounds
    real: bool = False  # evaluate on EgoGestAR where it is there
    clips_per_job: int = 10  # clips that one process renders
    fingertips: FingertipConfig = field(default_factory=FingertipConfig)  # the networks for real video
    motion: MotionConfig = field(default_factory=MotionConfig)  # gestures as single pictures
    planar: PlanarConfig = field(default_factory=PlanarConfig)  # the paper's own arm and its baselines
    diversity: DiversityConfig = field(default_factory=DiversityConfig)  # the study of training places
    rerendered_frames: int = 20  # frames of the first set that are rendered again and compared, at least
    trajectories: TrajectoryConfig = field(default_factory=TrajectoryConfig)  # the classifier of trajectories
