"""Settings of the stage `quantization`."""

from dataclasses import dataclass, field

from stages.lib.numerics.formats import Format, parse_format

WEIGHT_SCALES = ("abs_max", "mse", "exponent_bias")
ACTIVATION_SCALES = ("percentile", "abs_max", "mse", "exponent_bias")
GRANULARITIES = ("per_channel", "per_tensor", "per_group", "mx")
ROUNDINGS = ("nearest", "gptq", "learned", "learned_integer_ulp")
# where the sign bit of an activation goes if the layer never sees a negative value
SIGNS = ("signed", "unsigned_mantissa", "unsigned_exponent")


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One way to turn a float network into a quantised one, for integers and minifloats alike."""

    # largest weight onto the format's largest value: abs_max, mse (least squared error) or exponent_bias (abs_max times
    # the power of two of least squared error)
    weight_scale: str = "abs_max"
    # percentile or abs_max of the magnitude, mse or exponent_bias on a sample of the values
    activation_scale: str = "percentile"
    # of scales: per_channel, per_tensor or per_group for weights (activations per tensor); mx: groups of weights and of
    # activations share a power of two, the activations' being found as they come
    granularity: str = "per_channel"
    group: int = 32  # input channels that share a scale, for per_group and mx
    equalise: bool = False  # even out the channels' ranges between neighbouring layers first
    # SmoothQuant's alpha, 0..1: how far activation ranges move into the weights; 0: not at all
    smooth: float = 0.0
    # of weights: nearest, gptq, learned, or learned_integer_ulp (learned from the public code's start, which takes the
    # step of every binade for 1)
    rounding: str = "nearest"
    bias_correction: bool = False  # give back the mean error of each output channel

    def __post_init__(self) -> None:
        for key, known in (
            ("weight_scale", WEIGHT_SCALES),
            ("activation_scale", ACTIVATION_SCALES),
            ("granularity", GRANULARITIES),
            ("rounding", ROUNDINGS),
        ):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} is {getattr(self, key)!r}: choose from {', '.join(known)}")
        if self.group < 1:
            raise ValueError(f"group is {self.group}: choose 1 or more")
        if not 0 <= self.smooth <= 1:
            raise ValueError(f"smooth is {self.smooth}: choose 0 to 1")

    @property
    def needs_gram(self) -> bool:
        return self.rounding != "nearest"


# the paper's techniques one at a time, then together; `percentile` is the paper's plain quantiser (its notes, 2.2)
TECHNIQUES = {
    "abs_max": Technique(activation_scale="abs_max"),
    "percentile": Technique(),
    "mse": Technique(weight_scale="mse", activation_scale="mse"),
    "exponent_bias": Technique(weight_scale="exponent_bias", activation_scale="exponent_bias"),
    "per_tensor": Technique(granularity="per_tensor"),
    "per_group": Technique(granularity="per_group"),
    "mx": Technique(granularity="mx"),
    "equalised": Technique(equalise=True),
    "smooth": Technique(smooth=0.5),
    "bias_corrected": Technique(bias_correction=True),
    "gptq": Technique(rounding="gptq"),
    "learned": Technique(rounding="learned"),
    "learned_integer_ulp": Technique(rounding="learned_integer_ulp"),
    "gptq_all": Technique(
        weight_scale="mse", activation_scale="mse", equalise=True, rounding="gptq", bias_correction=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """One sweep: what `sweep_formats` does to each of its models."""

    # model folders: TEACHER-sSEED of a trained teacher, or a pretrained one's name
    models: tuple[str, ...] = ()
    # names (E4M3, INT8), pairs of weight and activation (INT4xE3M2), or "all": every signed format of the widths in bits
    formats: tuple[str, ...] = ("all",)
    bits: tuple[int, ...] = (3, 4, 5, 6, 7, 8)  # widths that "all" stands for, in bits
    techniques: tuple[str, ...] = ("percentile",)  # names in quantization.techniques
    # images of the training split that set the activation scales (the paper: 1,000)
    calibration_images: int = 1000
    calibration_seeds: tuple[int, ...] = (0, 1, 2)  # one draw of calibration images each
    # formats that every seed takes; the others take the first seed only. Empty: all of them
    seeded_formats: tuple[str, ...] = ()
    # calibration images that equalisation, GPTQ, learned rounding and bias correction look at
    reconstruction_images: int = 128
    rounding_steps: int = 1000  # steps of learned rounding a layer (the paper: 1,000)
    test_images: int = 2000  # images of the test split that are classified; 0: all of them
    # images of the training split, never calibrated with, on which formats and techniques are chosen
    selection_images: int = 250
    percentile: float = 99.999  # of |activation|, 0..100, that maps onto the format's largest value
    edge_minifloat: str = "E3M4"  # format of the first and last layer in minifloat rows; "" for the row's own
    edge_integer: str = "INT8"  # format of the first and last layer in integer rows; "" for the row's own
    # for layers without negative input; or unsigned_mantissa, unsigned_exponent
    signs: tuple[str, ...] = ("signed",)
    batch: int = 50  # images a forward pass: small enough for the cache

    def __post_init__(self) -> None:
        check_formats(self)
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models is {list(self.models)}: name each model once")
        for key, low in (
            ("calibration_images", 1),
            ("reconstruction_images", 1),
            ("rounding_steps", 1),
            ("test_images", 0),
            ("selection_images", 1),
            ("batch", 1),
        ):
            if getattr(self, key) < low:
                also = ", or 0 for all" if low == 0 else ""
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more{also}")
        if not self.calibration_seeds or min(self.calibration_seeds) < 0:
            raise ValueError(
                f"calibration_seeds is {list(self.calibration_seeds)}: give one seed of 0 or more, or several"
            )
        if len(set(self.calibration_seeds)) < len(self.calibration_seeds):
            raise ValueError(f"calibration_seeds is {list(self.calibration_seeds)}: name each seed once")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}: choose more than 50, up to 100")
        if not self.techniques:
            raise ValueError("techniques is empty: name at least one of quantization.techniques")
        if wrong := [s for s in self.signs if s not in SIGNS]:
            raise ValueError(f"signs holds {wrong[0]!r}: choose from {', '.join(SIGNS)}")
        if not self.signs:
            raise ValueError(f"signs is empty: choose from {', '.join(SIGNS)}")


@dataclass(frozen=True, kw_only=True)
class MixedConfig:
    """The search for formats layer by layer."""

    models: tuple[str, ...] = ()  # model folders to search
    # pairs of formats that a layer may take, as in sweeps
    candidates: tuple[str, ...] = (
        "INT3",
        "E2M0",
        "INT4",
        "E2M1",
        "INT5",
        "E2M2",
        "INT6",
        "E2M3",
        "INT8",
        "E3M4",
    )
    # what a budget counts: lut (mean look-up tables of a MAC lane) or bits (of weights and scales)
    costs: tuple[str, ...] = ("lut", "bits")
    # uniform formats whose cost each search may spend, and whose accuracy it must beat
    budgets: tuple[str, ...] = ("INT4", "INT5", "INT6")
    technique: str = "percentile"  # name in quantization.techniques
    calibration_images: int = 1000  # images of the training split that set the activation scales
    calibration_seeds: tuple[int, ...] = (0, 1, 2)  # one draw of calibration images, and one search, each
    selection_images: int = 250  # images of the training split that sensitivities are measured on
    reconstruction_images: int = 128  # see sweeps
    rounding_steps: int = 1000  # see sweeps
    test_images: int = 2000  # images of the test split that are classified; 0: all of them
    percentile: float = 99.999  # of |activation|, 0..100, that maps onto the format's largest value
    batch: int = 50  # images a forward pass

    def __post_init__(self) -> None:
        for key in ("candidates", "budgets"):
            for name in getattr(self, key):
                try:
                    parse_pair(name)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None
        if missing := [b for b in self.budgets if b not in self.candidates]:
            raise ValueError(f"budgets has {missing[0]!r}, which is no candidate; add it to candidates")
        if wrong := [c for c in self.costs if c not in ("lut", "bits")]:
            raise ValueError(f"costs has {wrong[0]!r}: choose lut or bits")
        if not self.calibration_seeds or len(set(self.calibration_seeds)) < len(self.calibration_seeds):
            raise ValueError(f"calibration_seeds is {list(self.calibration_seeds)}: name each seed once")


@dataclass(frozen=True, kw_only=True)
class IntegerInferenceConfig:
    """What `verify_integer_inference` runs."""

    models: tuple[str, ...] = ()  # model folder to run; one, as the claim has one measurement
    # weights x activations, each as in a sweep's formats: E2M1, INT4xE3M2
    pairs: tuple[str, ...] = ("INT8", "INT4", "E2M1", "E3M2", "E4M3", "INT4xE3M2", "E5M2")
    test_images: int = 1000  # images of the test split that go through every network; 0: all of them
    layer_images: int = 100  # of these, how many are compared layer by layer with the float32 network
    calibration_images: int = 1000  # images of the training split that set the activation scales
    seed: int = 0  # of the draw of calibration images
    percentile: float = 99.999  # of |activation|, 0..100, that maps onto the format's largest value
    granularity: str = "per_channel"  # of weight scales: per_channel or per_tensor
    # bits taken from the width that the network needs, for runs with an accumulator that overflows
    narrower_bits: tuple[int, ...] = (1, 2, 4)
    batch: int = 50  # images a forward pass

    def __post_init__(self) -> None:
        if len(self.models) > 1:
            raise ValueError(f"models is {list(self.models)}: name one model")
        if not self.pairs:
            raise ValueError('pairs is empty: name formats such as ["INT8", "INT4xE3M2"]')
        for name in self.pairs:
            try:
                parse_pair(name)
            except ValueError as error:
                raise ValueError(f"pairs: {error}") from None
        if len(set(self.pairs)) < len(self.pairs):
            raise ValueError(f"pairs is {list(self.pairs)}: name each pair once")
        for key, low in (
            ("test_images", 0),
            ("layer_images", 1),
            ("calibration_images", 1),
            ("seed", 0),
            ("batch", 1),
        ):
            if getattr(self, key) < low:
                raise ValueError(f"{key} is {getattr(self, key)}: choose {low} or more")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}: choose more than 50, up to 100")
        if self.granularity not in ("per_channel", "per_tensor"):
            raise ValueError(
                f"granularity is {self.granularity!r}: choose per_channel or per_tensor; other scales change"
                " along a dot product, which integer sums cannot follow"
            )
        if wrong := [b for b in self.narrower_bits if b < 1]:
            raise ValueError(f"narrower_bits holds {wrong[0]}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """One quantised network for other tools, as `export_model` writes it."""

    model: str = ""  # model folder to quantise
    formats: str = "INT8"  # of weights and activations, as in a sweep's formats: E2M1, INT4xE3M2
    technique: str = "percentile"  # name in quantization.techniques; one with static scales
    edge_format: str = ""  # format of the first and last layer; "" for the others' own
    layer_formats: dict[str, str] = field(default_factory=dict)  # formats of single layers, by name
    signs: str = "signed"  # see sweeps
    form: str = ""  # of the ONNX model: qdq, qonnx, or "" for qdq where onnxruntime can run it
    calibration_images: int = 1000  # images of the training split that set the activation scales
    seed: int = 0  # of the draw of calibration images
    percentile: float = 99.999  # of |activation|, 0..100, that maps onto the format's largest value

    def __post_init__(self) -> None:
        named = {"formats": self.formats, "edge_format": self.edge_format or self.formats}
        for key, name in (named | {f"layer_formats.{k}": v for k, v in self.layer_formats.items()}).items():
            try:
                parse_pair(name)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        if self.signs not in SIGNS:
            raise ValueError(f"signs is {self.signs!r}: choose from {', '.join(SIGNS)}")
        if self.form not in ("", "qdq", "qonnx"):
            raise ValueError(f'form is {self.form!r}: choose qdq, qonnx or ""')
        if self.calibration_images < 1:
            raise ValueError(f"calibration_images is {self.calibration_images}: choose 1 or more")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}: choose more than 50, up to 100")


@dataclass(frozen=True, kw_only=True)
class QuantizationConfig:
    """Section `quantization` of the configuration."""

    # ways to quantise, by name: change one or add your own, and name it in a sweep
    techniques: dict[str, Technique] = field(default_factory=lambda: dict(TECHNIQUES))
    sweeps: dict[str, SweepConfig] = field(default_factory=dict)  # sweeps over formats and techniques
    mixed: MixedConfig = field(default_factory=MixedConfig)  # formats layer by layer under a budget
    # inference on integer codes against fake quantisation
    integer: IntegerInferenceConfig = field(default_factory=IntegerInferenceConfig)
    # quantised networks for other tools, by name
    exports: dict[str, ExportConfig] = field(default_factory=dict)
    sqnr_models: tuple[str, ...] = ()  # model folders whose weight tensors are compared with distributions
    bootstrap_draws: int = 200  # draws of test images behind the intervals of claims
    # random values for each format that the exact checks of the quantiser compare
    verified_values: int = 200_000

    def __post_init__(self) -> None:
        if self.bootstrap_draws < 1:
            raise ValueError(f"bootstrap_draws is {self.bootstrap_draws}: choose 1 or more")
        if self.verified_values < 1000:
            raise ValueError(f"verified_values is {self.verified_values}: choose 1000 or more")


def check_formats(config: SweepConfig) -> None:
    """Raise ValueError at the first wrong name or width, with its key."""
    if not config.formats:
        raise ValueError('formats is empty: name formats such as E4M3 or INT8, or write ["all"]')
    named = [("formats", f) for f in config.formats if f != "all"]
    named += [("seeded_formats", f) for f in config.seeded_formats]
    named += [(k, getattr(config, k)) for k in ("edge_minifloat", "edge_integer") if getattr(config, k)]
    for key, name in named:
        try:
            parse_pair(name)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    if wrong := [b for b in config.bits if not 3 <= b <= 8]:
        raise ValueError(f"bits holds {wrong[0]}: choose widths of 3 to 8 bits")


def parse_pair(name: str) -> tuple[Format, Format]:
    """(weight, activation) formats: "INT4xE3M2"; one name stands for both. Raises InputError as parse_format."""
    weight, _, activation = name.partition("x")
    return parse_format(weight), parse_format(activation or weight)
