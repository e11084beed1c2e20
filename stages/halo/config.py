"""Settings of the stage `halo`: language models, how they are quantised, and the array that they would run on."""

from dataclasses import dataclass, field

from stages.halo.rows import PAPER_MODELS, ROWS
from stages.lib.costs.arrays import SystolicConfig

SMOLLM2 = (
    "float", "rtn-w8", "rtn-w4-g64", "rtn-w3-g64", "smoothquant-w8", "smoothquant-w4-g64", "gptq-w4-g64", "gptq-w3-g64",
    "kmeans-4", "kmeans-3", "power-of-two", "power-pruning", "halo-acc", "halo-bal", "halo-perf", "halo-acc-compensated",
    "halo-bal-compensated", "halo-perf-compensated",
)  # fmt: skip


# a TPU's array, weights double buffered and streams cut to fit, with HBM2 and with a small machine's memory
ARRAYS = {
    "hbm": SystolicConfig(double_buffered=True, split_streams=True, dram="HBM2", dram_gb_s=600),
    "lpddr": SystolicConfig(double_buffered=True, split_streams=True),
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """A small Llama that is trained here, so that there is a float32 model that was never rounded."""

    dataset: str = "brown"  # text with the splits train, valid and test
    vocabulary: int = 512  # tokens of a byte-level BPE, learned on the training split
    width: int = 128  # of the residual stream
    layers: int = 4  # blocks of attention and MLP
    heads: int = 4  # of attention
    hidden: int = 384  # of the MLP
    window: int = 128  # tokens
    batch_size: int = 4  # windows a step
    steps: int = 900  # of AdamW
    learning_rate: float = 0.003  # highest rate of the schedule
    seeds: tuple[int, ...] = (0, 1, 2)  # one model each


@dataclass(frozen=True, kw_only=True)
class PerplexityConfig:
    """One table of perplexities: rows are ways to quantise."""

    models: tuple[str, ...] = ()  # of the registry's language_models, or llamas with their seed (NAME-s0)
    rows: tuple[str, ...] = SMOLLM2  # see stages/halo/rows.py
    dataset: str = "wikitext-2"  # text: its split valid calibrates, test decides
    fallback: str = "brown"  # text where that one is not there; empty: no table then
    calibration_windows: int = 12  # of the split valid
    window: int = 512  # tokens, side by side; the first of each is given
    windows: int = 17  # of the test split; 0: all of it
    netlist: str = "array"  # multiplier whose delays give the books
    seed: int = 0  # of random choices

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if row not in ROWS]:
            raise ValueError(f"rows has {wrong[0]!r}: choose from {', '.join(ROWS)}")
        for key in ("calibration_windows", "window"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class ArrayStudyConfig:
    """Which language models would run on which arrays, by their shapes alone."""

    # see stages/lib/costs/model_shapes.py
    shapes: tuple[str, ...] = (*PAPER_MODELS, "smollm2-135m")
    # by name: systolic arrays, as hardware.systolic
    arrays: dict[str, SystolicConfig] = field(default_factory=lambda: dict(ARRAYS))
    divided: tuple[int, ...] = (4,)  # also as arrays and tiles of as many parts along both sides
    tokens: int = 2048  # of the prompt, and of the context in which one token follows
    transition_ns: float = 1000.0  # that a change of voltage and clock takes

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}: choose 1 or more")
        for parts in self.divided:
            if parts < 1 or any(
                array.rows % parts or array.columns % parts for array in self.arrays.values()
            ):
                raise ValueError(
                    f"divided has {parts}: choose what divides the rows and columns of every array"
                )
        if not self.transition_ns >= 0:
            raise ValueError(f"transition_ns is {self.transition_ns}: choose 0 or more")


@dataclass(frozen=True, kw_only=True)
class HaloExportConfig:
    """One quantised language model to write as files."""

    study: str  # of halo.perplexity: its texts, its multiplier and its calibration
    model: str  # one of that study's
    row: str = "halo-bal-compensated"  # one on code books, see stages/halo/rows.py

    def __post_init__(self) -> None:
        books = [name for name, row in ROWS.items() if row.method == "code_book"]
        if self.row not in books:
            raise ValueError(f"row is {self.row!r}: choose from {', '.join(books)}")


@dataclass(frozen=True, kw_only=True)
class HaloConfig:
    """Section `halo` of the configuration."""

    llamas: dict[str, LlamaConfig] = field(default_factory=dict)  # by name
    perplexity: dict[str, PerplexityConfig] = field(default_factory=dict)  # by any name
    array: ArrayStudyConfig = field(default_factory=ArrayStudyConfig)  # modelled time and energy
    exports: dict[str, HaloExportConfig] = field(default_factory=dict)  # by any name
