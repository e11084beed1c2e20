"""How fast a token could be served at all, whatever the policy: closed forms in the times of single operations."""

import numpy as np

from stages.offload.machines import Costs
from stages.offload.operations import ATTEND, CPU_EXPERT, GPU_EXPERT, duration_ms

Array = np.ndarray


def layer_times_ms(costs: Costs, top_k: int) -> Array:
    """(top_k + 1,) least time of one layer for one token by how many of its experts are not on the GPU, unpredicted.

    Attention, then the GPU's experts beside the CPU's: a + max((k - n) g, n c). Overlapped Fiddler reaches it; only
    what is known before the gate has been asked can beat it.
    """
    outside = np.arange(top_k + 1)
    on_gpu = (top_k - outside) * duration_ms(costs, GPU_EXPERT, 1)
    return duration_ms(costs, ATTEND, 1) + np.maximum(on_gpu, outside * duration_ms(costs, CPU_EXPERT, 1))


def unpredicted_ms(costs: Costs, missing: Array, top_k: int) -> Array:
    """(tokens,) least time of each token without prediction; missing (tokens, layers) experts not on the GPU."""
    return layer_times_ms(costs, top_k)[missing].sum(-1)


def resource_ms(costs: Costs, missing: Array, top_k: int) -> Array:
    """(tokens,) the busier of GPU and CPU, no dependencies: holds for what predicts too, if it does the same work."""
    layers = missing.shape[-1]
    on_cpu = missing.sum(-1)
    gpu = layers * duration_ms(costs, ATTEND, 1) + (layers * top_k - on_cpu) * duration_ms(
        costs, GPU_EXPERT, 1
    )
    return np.maximum(gpu, on_cpu * duration_ms(costs, CPU_EXPERT, 1))


def all_resident_ms(costs: Costs, layers: int, top_k: int) -> float:
    """Of a token when every expert is on the GPU."""
    return layers * (duration_ms(costs, ATTEND, 1) + top_k * duration_ms(costs, GPU_EXPERT, 1))
