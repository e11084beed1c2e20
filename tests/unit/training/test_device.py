"""Where a job computes."""

import platform
from pathlib import Path

import pytest
import torch

from stages.lib.training.device import mixed_precision

CPU = torch.device("cpu")
CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not CPUINFO.exists(), reason="the kernel tells x86's flags"
)
def test_products_are_bfloat16_where_the_kernel_lists_its_instructions():
    flags = set(next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")).split())
    with mixed_precision(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    expected = torch.bfloat16 if flags & {"avx512_bf16", "amx_bf16"} else torch.float32
    assert product.dtype == expected


def test_a_caller_may_ask_for_float32():
    with mixed_precision(CPU, enabled=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
