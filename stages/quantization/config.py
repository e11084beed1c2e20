"""Settings of the stage `quantization`."""

from dataclasses import dataclass, field

from stages.lib.numerics.formats import parse_format

GRANULARITIES = ("per_channel", "per_tensor")
# where the sign bit of an activation goes if the layer never sees a negative value
SIGNS = ("signed", "unsigned_mantissa", "unsigned_exponent")


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """One sweep over formats: what `sweep_formats` does to each model."""

    # names (E4M3, INT8), or "all": every signed format of the widths in bits
    formats: tuple[str, ...] = ("all",)
    bits: tuple[int, ...] = (3, 4, 5, 6, 7, 8)  # widths that "all" stands for, in bits
    # images of the training split that set the activation scales (the paper: 1,000)
    calibration_images: int = 1000
    calibration_seeds: tuple[int, ...] = (0, 1, 2)  # one draw of calibration images each
    test_images: int = 2000  # images of the test split that are classified; 0: all of them
    percentile: float = 99.999  # of |activation|, 0..100, that maps onto the format's largest value
    granularity: str = "per_channel"  # of weight scales: per_channel or per_tensor
    edge_minifloat: str = "E3M4"  # format of the first and last layer in minifloat rows; "" for the row's own
    edge_integer: str = "INT8"  # format of the first and last layer in integer rows; "" for the row's own
    # for layers without negative input; or unsigned_mantissa, unsigned_exponent
    signs: tuple[str, ...] = ("signed",)
    batch: int = 25  # images a forward pass: small enough for the cache

    def __post_init__(self) -> None:
        if not self.formats:
            raise ValueError('formats is empty: name formats such as E4M3 or INT8, or write ["all"]')
        edges = [
            (key, getattr(self, key)) for key in ("edge_minifloat", "edge_integer") if getattr(self, key)
        ]
        for key, name in [*(("formats", f) for f in self.formats if f != "all"), *edges]:
            try:
                parse_format(name)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        if wrong := [b for b in self.bits if not 3 <= b <= 8]:
            raise ValueError(f"bits holds {wrong[0]}: choose widths of 3 to 8 bits")
        for key in ("calibration_images", "batch"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")
        if not self.calibration_seeds or min(self.calibration_seeds) < 0:
            raise ValueError(
                f"calibration_seeds is {list(self.calibration_seeds)}: give one seed of 0 or more, or several"
            )
        if len(set(self.calibration_seeds)) < len(self.calibration_seeds):
            raise ValueError(f"calibration_seeds is {list(self.calibration_seeds)}: name each seed once")
        if self.test_images < 0:
            raise ValueError(f"test_images is {self.test_images}: choose 1 or more, or 0 for all")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}: choose more than 50, up to 100")
        if self.granularity not in GRANULARITIES:
            raise ValueError(f"granularity is {self.granularity!r}: choose {' or '.join(GRANULARITIES)}")
        if wrong := [s for s in self.signs if s not in SIGNS]:
            raise ValueError(f"signs holds {wrong[0]!r}: choose from {', '.join(SIGNS)}")
        if not self.signs:
            raise ValueError(f"signs is empty: choose from {', '.join(SIGNS)}")


@dataclass(frozen=True, kw_only=True)
class QuantizationConfig:
    """Section `quantization` of the configuration."""

    # model folders to sweep: TEACHER-sSEED of a trained teacher, or a pretrained one's name
    models: tuple[str, ...] = ()
    sweep: SweepConfig = field(default_factory=SweepConfig)  # how each of them is swept
    # random values for each format that the exact checks of the quantiser compare
    verified_values: int = 200_000

    def __post_init__(self) -> None:
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models is {list(self.models)}: name each model once")
        if self.verified_values < 1000:
            raise ValueError(f"verified_values is {self.verified_values}: choose 1000 or more")
