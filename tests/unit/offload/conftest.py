"""A small model of drawn weights and what it says of drawn texts: routing that was never trained is as good a case."""

from dataclasses import dataclass

import pytest
import torch

from stages.lib.nets.moe import MoeLM
from stages.offload.config import TraceConfig
from stages.offload.record_traces import record
from stages.offload.traces import RoutingTrace

PROMPT, ANSWER, TEXTS = 12, 10, 4


@dataclass(frozen=True)
class Small:
    model: MoeLM
    windows: torch.Tensor
    trace: RoutingTrace
    known: RoutingTrace


@pytest.fixture(scope="session")
def small() -> Small:
    torch.manual_seed(1)
    model = MoeLM(vocabulary=61, width=32, layers=5, heads=4, kv_heads=2, expert_width=24, experts=6).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2)
    config = TraceConfig(sequences=2, prefill=PROMPT, decode=ANSWER)
    windows, others = torch.randint(0, 61, (2, TEXTS, PROMPT + ANSWER)).unbind()
    return Small(
        model, windows, record(model, windows, config, ["a", "b"]), record(model, others, config, ["a", "b"])
    )
