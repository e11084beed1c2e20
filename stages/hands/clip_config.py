"""Settings of rendered clips, apart from the stage's others: what does not bear on pictures renders none anew."""

from dataclasses import dataclass

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
