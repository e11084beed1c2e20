"""Settings of the stage `offload`: a mixture-of-experts language model, its routing, machines and policies."""

from dataclasses import dataclass, field


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
class OffloadConfig:
    """Section `offload` of the configuration."""

    models: dict[str, MoeConfig] = field(default_factory=dict)  # by name
    traces: TraceConfig = field(default_factory=TraceConfig)  # of every model
