"""Machines that are modelled: how long one operation takes there, each figure with where it comes from."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A model's layers on one GPU and its host, bf16, batch 1. All of it is modelled."""

    source: str  # of the figures below
    attend_ms: float  # attention and router of a layer
    gpu_expert_ms: float  # one expert on the GPU, weights read once
    cpu_expert_ms: float  # one expert on the CPU, weights read once
    pinned_ms: float  # to bring an expert from pinned memory
    pageable_ms: float  # from pageable memory, as `.to()` of the public code does
    send_ms: float = 0.02  # activations to the CPU and back
    # of each token where there are so many that products, not weights, take the time
    attend_token_ms: float = 0.001
    gpu_token_ms: float = 0.0045  # likewise, an expert on the GPU
    cpu_token_ms: float = 0.35  # likewise, on the CPU
    gpu_active_w: float = 230.0  # while it computes or copies
    gpu_idle_w: float = 70.0  # while it waits, weights in its memory
    cpu_active_w: float = 165.0  # while it computes
    cpu_idle_w: float = 60.0  # while it waits

    def __post_init__(self) -> None:
        for key in ("attend_ms", "gpu_expert_ms", "cpu_expert_ms", "pinned_ms", "pageable_ms"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} is {getattr(self, key)}: choose more than 0")


# Mixtral's expert is 352 MB, Phi-3.5-MoE's 157 MB. "code": latency constants of DAOP's public code. "derived": bytes over
# the stated bandwidth, on GPUs with some 0.1 ms of launches. "estimated": no figure was seen.
MACHINES = {
    "a6000-mixtral": Machine(
        source="CPU 8.5 ms, pageable 210 ms: code; pinned: derived, PCIe 4 x16 at 24 GB/s; GPU expert: derived, 768 GB/s;"
        " attention, power: estimated",
        attend_ms=0.5, gpu_expert_ms=0.55, cpu_expert_ms=8.5, pinned_ms=14.7, pageable_ms=210.0,
    ),
    "a100-mixtral": Machine(
        source="CPU 5 ms, pageable 40 ms: code; pinned: derived, PCIe 4 x16; GPU expert: derived, 1,555 GB/s;"
        " attention, power: estimated",
        attend_ms=0.4, gpu_expert_ms=0.32, cpu_expert_ms=5.0, pinned_ms=14.7, pageable_ms=40.0, gpu_token_ms=0.002,
        attend_token_ms=0.0005,
    ),
    "h100-mixtral": Machine(
        source="CPU: estimated, eight channels of DDR5; pinned: derived, PCIe 5 x16 at 50 GB/s; GPU expert: derived,"
        " 3,350 GB/s; pageable, attention, power: estimated",
        attend_ms=0.3, gpu_expert_ms=0.17, cpu_expert_ms=3.0, pinned_ms=7.0, pageable_ms=35.0, gpu_token_ms=0.0009,
        attend_token_ms=0.0003, cpu_token_ms=0.12, gpu_active_w=450.0, gpu_idle_w=110.0, cpu_active_w=250.0,
        cpu_idle_w=90.0,
    ),
    "laptop-mixtral": Machine(
        source="derived: mobile GPU 576 GB/s, DDR5 in two channels 60 GB/s, PCIe 4 x8 at 12 GB/s; pageable, attention,"
        " power: estimated",
        attend_ms=0.6, gpu_expert_ms=0.72, cpu_expert_ms=5.9, pinned_ms=29.4, pageable_ms=59.0, gpu_token_ms=0.006,
        cpu_token_ms=0.6, gpu_active_w=110.0, gpu_idle_w=20.0, cpu_active_w=55.0, cpu_idle_w=12.0,
    ),
    "a6000-phi": Machine(
        source="CPU 3.5 ms, pageable 30 ms: code; pinned: derived, PCIe 4 x16; GPU expert: derived, 768 GB/s; attention:"
        " guessed from the published rate; power: estimated",
        attend_ms=1.3, gpu_expert_ms=0.3, cpu_expert_ms=3.5, pinned_ms=6.6, pageable_ms=30.0, gpu_token_ms=0.002,
        cpu_token_ms=0.16,
    ),
}  # fmt: skip


class Costs(NamedTuple):
    """Milliseconds of each kind: at least the first, which one token takes; more tokens take more (roofline).

    load, evict  of one expert, whatever it is used for
    send         activations to the CPU and back, once an expert there
    """

    attend_ms: float
    attend_token_ms: float
    gpu_expert_ms: float
    gpu_token_ms: float
    cpu_expert_ms: float
    cpu_token_ms: float
    load_ms: float
    evict_ms: float
    send_ms: float


def costs_of(machine: Machine, *, pinned: bool) -> Costs:
    move_ms = machine.pinned_ms if pinned else machine.pageable_ms
    return Costs(
        attend_ms=machine.attend_ms,
        attend_token_ms=machine.attend_token_ms,
        gpu_expert_ms=machine.gpu_expert_ms,
        gpu_token_ms=machine.gpu_token_ms,
        cpu_expert_ms=machine.cpu_expert_ms,
        cpu_token_ms=machine.cpu_token_ms,
        load_ms=move_ms,
        evict_ms=move_ms,
        send_ms=machine.send_ms,
    )
