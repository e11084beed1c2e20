"""Settings of the stage `hands`."""

from dataclasses import dataclass, field

DYNAMIC = ("carret", "circlecc", "del", "down", "left", "right", "square", "star", "tick", "up")
STATIC = ("palm", "fist", "pinch", "victory", "thumbs_up", "relaxed", "grab")


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clips that are drawn alike; what they vary over goes round in turn, so that nothing goes with a gesture."""

    panoramas: tuple[str, ...] = ()  # what lights the hand and stands behind it: names of prepare_panoramas
    clips: int = 20  # how many
    frames: int = 8  # of each clip, spread over the gesture
    gestures: tuple[str, ...] = DYNAMIC  # of EgoGestAR, drawn in the air, or still poses
    tones: tuple[float, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8)  # of the skin, lightest to darkest
    left_share: float = 0.2  # of clips with a left hand, 0..1
    sleeve_share: float = 0.35  # of clips with a sleeve, 0..1
    # how far the directions in which clips look differ, either way; 180: anywhere in the panorama
    turn_deg: float = 180
    lamp_share: float = 0.35  # of clips with a lamp or a window besides the panorama, 0..1
    seed: int = 0  # of all that is drawn at random

    def __post_init__(self) -> None:
        if not self.gestures:
            raise ValueError("gestures is empty: name at least one")
        if wrong := [g for g in self.gestures if g not in DYNAMIC + STATIC]:
            raise ValueError(f"gestures holds {wrong[0]!r}: choose from {', '.join(DYNAMIC + STATIC)}")
        if wrong_tones := [t for t in self.tones if not 0 <= t <= 8]:
            raise ValueError(f"tones holds {wrong_tones[0]}: choose 0 to 8")
        if not 0 <= self.turn_deg <= 180:
            raise ValueError(f"turn_deg is {self.turn_deg}: choose 0 to 180")
        for key in ("left_share", "sleeve_share", "lamp_share"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 0 to 1")
        if not self.panoramas:
            raise ValueError("panoramas is empty: name at least one")
        if self.clips < 1 or self.frames < 1:
            raise ValueError(f"clips is {self.clips} and frames {self.frames}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """The camera and Cycles."""

    width_px: int = 320  # of a frame
    height_px: int = 240  # of a frame
    field_of_view_deg: tuple[float, ...] = (54, 70)  # horizontal, drawn between these two for each clip
    samples: int = 8  # paths a pixel
    subdivisions: int = 2  # of the mesh
    map_px: int = 256  # side of the painted skin maps
    # time the shutter is open, drawn between these two for each clip
    shutter_s: tuple[float, ...] = (0.008, 0.033)


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
class HandsConfig:
    """Section `hands` of the configuration."""

    render: RenderConfig = field(default_factory=RenderConfig)  # the camera and the renderer
    sets: dict[str, ClipSet] = field(default_factory=dict)  # rendered clips, by name
    real: bool = False  # evaluate on EgoGestAR where it is there
    clips_per_job: int = 10  # clips that one process renders
    fingertips: FingertipConfig = field(default_factory=FingertipConfig)  # the networks for real video
    diversity: DiversityConfig = field(default_factory=DiversityConfig)  # the study of training places
    rerendered_frames: int = 20  # frames of the first set that are rendered again and compared, at least
    trajectories: TrajectoryConfig = field(default_factory=TrajectoryConfig)  # the classifier of trajectories
