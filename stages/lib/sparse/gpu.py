"""Products with packed weights on a GPU: a Triton kernel for the hybrid pattern, and NVIDIA's own 2:4.

The kernel skips pruned blocks; in a block that is kept it unpacks n:m into a dense tile in registers, so that the product
runs on tensor cores. Plain 2:4 goes to torch's semi-structured tensors. Triton comes with torch's CUDA build; with
TRITON_INTERPRET=1 the kernel runs on a CPU, which is how it is tested where there is no GPU.
"""

from typing import Any

import torch
from torch import Tensor, nn

from stages.lib.core.errors import InputError
from stages.lib.nets.graph import fused
from stages.lib.sparse.packed import HybridMatrix, block_offsets

try:
    import triton
    import triton.language as tl
except ModuleNotFoundError:
    triton = None

COLUMNS = 64  # of the product that one program computes


class GpuPlan:
    """Packed weights on a device.

    values, offsets  (R, kept, B, q); offsets within the row of a block; block_columns (R, kept)
    """

    def __init__(self, packed: HybridMatrix, *, device: str, dtype: torch.dtype = torch.float16) -> None:
        self.rows, self.columns, self.block = *packed.shape, packed.block
        self.values = torch.from_numpy(packed.values).to(device, dtype)
        self.offsets = torch.from_numpy(block_offsets(packed)).to(device)
        self.block_columns = torch.from_numpy(packed.block_columns).to(device)


def gpu_matmul(plan: GpuPlan, x: Tensor) -> Tensor:
    """(rows, n) = W x; x (columns, n) on the plan's device and of its type; sums in float32."""
    if triton is None:
        raise InputError("there is no Triton here: install torch's CUDA build")
    if x.shape[0] != plan.columns:
        raise InputError(f"x has {x.shape[0]} rows and the weights {plan.columns} columns")
    out = torch.empty(plan.rows, x.shape[1], dtype=x.dtype, device=x.device)
    block_rows, kept, block, q = plan.values.shape
    _hybrid_kernel[(block_rows, triton.cdiv(x.shape[1], COLUMNS))](
        plan.values, plan.offsets, plan.block_columns, x, out,
        plan.rows, plan.columns, x.shape[1], x.stride(0), x.stride(1), kept,
        BLOCK=block, Q=q, COLUMNS=COLUMNS,
    )  # fmt: skip
    return out


if triton is not None:

    @triton.jit
    def _hybrid_kernel(
        values: Any, offsets: Any, block_columns: Any, x: Any, out: Any,
        rows: Any, columns: Any, n: Any, x_row: Any, x_column: Any, kept: Any,
        BLOCK: tl.constexpr, Q: tl.constexpr, COLUMNS: tl.constexpr,
    ) -> None:  # fmt: skip
        """One block-row times COLUMNS columns of x."""
        i = tl.program_id(0)
        row = tl.arange(0, BLOCK)
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        sums = tl.zeros((BLOCK, COLUMNS), tl.float32)
        for j in range(kept):
            packed = (i * kept + j) * BLOCK * Q + row * Q
            # n:m unpacked: place p of a row holds the weight whose offset is p
            tile = tl.zeros((BLOCK, BLOCK), values.dtype.element_ty)
            for u in range(Q):
                weight = tl.load(values + packed + u)
                place = tl.load(offsets + packed + u)
                tile = tl.where(row[None, :] == place[:, None], weight[:, None], tile)
            at = tl.load(block_columns + i * kept + j) * BLOCK + row
            inside = (at[:, None] < columns) & (column[None, :] < n)
            part = tl.load(x + at[:, None] * x_row + column[None, :] * x_column, mask=inside, other=0.0)
            sums += tl.dot(tile, part, input_precision="ieee")
        target = i * BLOCK + row
        inside = (target[:, None] < rows) & (column[None, :] < n)
        tl.store(out + target[:, None] * n + column[None, :], sums.to(out.dtype.element_ty), mask=inside)


def semi_structured(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy on the GPU in float16 whose linear layers of 2:4 run on torch's semi-structured tensors, and their names.

    Raises InputError where there is no NVIDIA GPU, or no layer is 2:4 along its inputs.
    """
    if not torch.cuda.is_available():
        raise InputError(
            "2:4 sparsity needs an NVIDIA GPU of the Ampere generation or later; there is none here"
        )
    found: list[str] = []
    network = fused(model).half().cuda()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Linear) and is_two_of_four(module.weight):
            module.weight = nn.Parameter(
                torch.sparse.to_sparse_semi_structured(module.weight.detach()), requires_grad=False
            )
            found.append(name)
    if not found:
        raise InputError("no linear layer keeps 2 of 4 weights along its inputs: prune with n_m=(2, 4) first")
    return network, found


def is_two_of_four(weight: Tensor) -> bool:
    """Whether every four weights along the inputs hold two or fewer, in a shape that the hardware takes."""
    rows, columns = weight.shape
    if rows % 32 or columns % 64:
        return False
    return bool((weight.reshape(rows, -1, 4).count_nonzero(dim=-1) <= 2).all())
