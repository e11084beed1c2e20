"""Settings of the stage `offload`: a mixture-of-experts language model, its routing, machines and policies."""

import re
from dataclasses import dataclass, field

from stages.offload.machines import MACHINES, Machine
from stages.offload.policies import POLICIES


@dataclass(frozen=True, kw_only=True)
class MoeConfig:
    """A small Mixtral-shaped model that is trained here on texts of several kinds, each with the same weight."""

    domains: tuple[str, ...] = ("brown",)  # texts with the splits train, valid and test
    vocabulary: int = 2048  # tokens of a byte-level BPE, learned on the training splits
    width: int = 128  # of the residual stream
    layers: int = 8  # blocks of attention and experts
    heads: int = 4  # of attention
    expert_width: int = 256  # of each expert
    experts: int = 8  # of each layer
    top_k: int = 2  # experts of a token
    balance: float = 0.01  # weight of the load-balance loss
    window: int = 256  # tokens
    batch_size: int = 8  # windows a step
    steps: int = 300  # of AdamW
    learning_rate: float = 0.003  # highest rate of the schedule
    measured_windows: int = 2  # of each domain's split valid, at each point of the curve
    seeds: tuple[int, ...] = (0,)  # one model each

    def __post_init__(self) -> None:
        if not self.domains:
            raise ValueError("domains is empty: name at least one text")
        if not 0 < self.top_k <= self.experts:
            raise ValueError(f"top_k is {self.top_k}: choose 1 to {self.experts} (experts)")


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """What is recorded of a model's routing."""

    sequences: int = 4  # of each domain's split; they stand side by side
    prefill: int = 128  # tokens that are read at once
    decode: int = 128  # tokens that follow one at a time, those of the text

    def __post_init__(self) -> None:
        for key in ("sequences", "prefill", "decode"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Policies on modelled machines. Layers of the models that the machines are for: Mixtral and Phi-3.5-MoE have 32."""

    policies: tuple[str, ...] = tuple(POLICIES)  # see stages/offload/policies.py
    ratios: tuple[float, ...] = (0.25, 0.375, 0.469, 0.5, 0.625)  # shares of all experts that fit on the GPU
    # of offload.machines: claims rest on the first, on which every model is served; on the others one is
    machines: tuple[str, ...] = ("a6000-mixtral", "a100-mixtral", "laptop-mixtral")
    layers: int = 32  # that a trace is stretched to; 0: as many as it has
    texts: int = 0  # of each trace, evenly spread over its domains; 0: all
    prompt_tokens: int = 256  # of each text, routed like the recorded ones
    # after which rates include prompt and swaps
    answer_tokens: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)

    def __post_init__(self) -> None:
        _check_policies(self.policies)
        for ratio in self.ratios:
            if not 0 < ratio <= 1:
                raise ValueError(f"ratios has {ratio}: choose shares above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class EmulationConfig:
    """Lists of operations carried out on threads. Times below 6 ms measure how threads wake up."""

    policies: tuple[str, ...] = ("on-demand", "lru", "fiddler", "daop")  # see stages/offload/policies.py
    ratio: float = 0.469  # share of all experts that fit on the GPU
    texts: int = 5  # of the trace, evenly spread; 0: none, nothing is emulated
    tokens: int = 3  # after the prompt
    repeats: int = 5  # of each list; the median counts
    attend_ms: float = 6.0  # attention and router
    gpu_expert_ms: float = 6.0  # one expert on the GPU's thread
    cpu_expert_ms: float = 12.0  # one expert on the CPU's thread
    load_ms: float = 15.0  # to bring one expert
    token_ms: float = 0.12  # of each token of a prompt, where that is more than the times above

    def __post_init__(self) -> None:
        _check_policies(self.policies)


@dataclass(frozen=True, kw_only=True)
class TimingConfig:
    """Policies timed on a GPU, with a model of drawn weights. Mixtral's shape at half its depth: 45 GB of experts."""

    policies: tuple[str, ...] = tuple(POLICIES)  # see stages/offload/policies.py
    ratios: tuple[float, ...] = (0.25, 0.469, 0.625)  # shares of all experts that are on the GPU
    width: int = 4096  # of the residual stream
    expert_width: int = 14336  # of each expert
    layers: int = 16  # that the trace is stretched to
    heads: int = 32  # of attention
    kv_heads: int = 8  # keys and values of attention
    prompt_tokens: int = 128  # of the text
    tokens: int = 32  # after the prompt, at most as many as were recorded
    repeats: int = 3  # of each policy
    cpu_threads: int = 16  # of an expert on the CPU
    machine: str = "h100-mixtral"  # whose declared times decide between CPU and copy

    def __post_init__(self) -> None:
        _check_policies(self.policies)


@dataclass(frozen=True, kw_only=True)
class OffloadConfig:
    """Section `offload` of the configuration."""

    models: dict[str, MoeConfig] = field(default_factory=dict)  # by name
    # name: environment variable of a folder of transformers
    converted: dict[str, str] = field(default_factory=dict)
    # folder in results/recorded whose models' routing is studied; empty: that of the own models
    recorded: str = ""
    # shares of experts on the GPU that quality is measured at
    quality_ratios: tuple[float, ...] = (0.25, 0.469)
    timing: TimingConfig | None = None  # on a GPU; none: not timed
    traces: TraceConfig = field(default_factory=TraceConfig)  # of every model
    machines: dict[str, Machine] = field(default_factory=lambda: dict(MACHINES))  # by name
    grid: GridConfig = field(default_factory=GridConfig)  # of policies on machines
    emulation: EmulationConfig = field(default_factory=EmulationConfig)  # of lists of operations

    def __post_init__(self) -> None:
        for name, variable in self.converted.items():
            if not re.fullmatch(r"[a-z0-9.-]+", name) or not re.fullmatch(r"[A-Z][A-Z0-9_]*", variable):
                raise ValueError(
                    f"converted has {name!r}: {variable!r}: name a model in small letters and its variable in capitals"
                )


def _check_policies(names: tuple[str, ...]) -> None:
    if unknown := [name for name in names if name not in POLICIES]:
        raise ValueError(f"policies has {unknown[0]!r}: choose from {', '.join(POLICIES)}")
