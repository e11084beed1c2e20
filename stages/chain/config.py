"""Settings of the stage `chain`: one recogniser of gestures, and the routes that it takes through the papers."""

from dataclasses import dataclass, field

from stages.lib.costs.arrays import SystolicConfig

SKIP = "skip"
KINDS = ("replay", "expansion", "prune", "quantise")
OBJECTIVES = ("lut_macs", "systolic_energy_uj", "tensor_core_energy_uj", "kept_macs", "stored_bits")


@dataclass(frozen=True, kw_only=True)
class ChainStep:
    """One thing that is done to a network."""

    kind: str  # replay, expansion (a new student), prune (for a user's gestures) or quantise
    # name in the section `replay`, `expansion` or `pruning`, whose settings are taken but for models, teachers and seeds
    study: str = ""
    method: str = ""  # of replay (pre, mb, ...), arm of expansion (guided, ...) or of pruning (hybrid, ...)
    sparsity: float = 0.0  # of prune: share of zeros in the prunable weights
    formats: str = ""  # of quantise: of weights and activations, INT4 or INT4xE3M2
    technique: str = "percentile"  # of quantise: name in quantization.techniques

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}: choose from {', '.join(KINDS)}")
        wanted = ("formats",) if self.kind == "quantise" else ("study", "method")
        for key in wanted:
            if not getattr(self, key):
                raise ValueError(f"{key} is empty: a step of kind {self.kind} needs it")
        if self.kind == "prune" and not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity is {self.sparsity}: choose between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """Steps in their order: one of each list is taken, `skip` for none."""

    slots: tuple[tuple[str, ...], ...] = ()  # names of steps, any of each list
    users: tuple[str, ...] = ()  # for whom the routes of this order are taken; none: for all


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """What the search may spend, judged on selection images."""

    lut_per_lane: float = 2000  # look-up tables of one multiply-accumulate lane, at most
    accuracy: float = 0.85  # among a user's gestures, mean over users, at least
    # what is made small: lut_macs (look-up tables of a lane times multiplications of an image), systolic_energy_uj,
    # tensor_core_energy_uj, kept_macs or stored_bits
    objective: str = "lut_macs"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}: choose from {', '.join(OBJECTIVES)}")
        if not 0 <= self.accuracy <= 1:
            raise ValueError(f"accuracy is {self.accuracy}: choose 0 to 1")


@dataclass(frozen=True, kw_only=True)
class LatencyConfig:
    """Time on this machine's CPU, one thread."""

    runs: int = 50  # of one image, in turns with the first network
    warm_up: int = 5  # runs before those

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ValueError(f"runs is {self.runs}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """Section `chain` of the configuration."""

    teacher: str = ""  # name in teachers.models, trained on rendered-motion; empty: no chain
    seeds: tuple[int, ...] = (0,)  # of the teacher and of all that follows
    users: dict[str, tuple[str, ...]] = field(default_factory=dict)  # their gestures, by any name
    steps: dict[str, ChainStep] = field(default_factory=dict)  # by any name
    orders: tuple[OrderConfig, ...] = ()  # routes: all choices of each order
    calibration_images: int = 200  # of the training split, of a user's gestures once it is pruned for them
    budget: BudgetConfig = field(default_factory=BudgetConfig)  # of the search
    # the modelled array, 8-bit elements for what is not quantised
    array: SystolicConfig = field(
        default_factory=lambda: SystolicConfig(
            rows=32,
            columns=32,
            dataflows=("weight_stationary",),
            frequency_ghz=0.5,
            activation_sram_bytes=2**18,
            weight_sram_bytes=2**18,
            output_sram_bytes=2**18,
        )
    )
    latency: LatencyConfig = field(default_factory=LatencyConfig)  # on the CPU
