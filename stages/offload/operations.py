"""What a machine is asked to do, as one list: every policy emits it, and simulator, emulator and GPU all carry it out.

An operation runs on one resource, which takes its operations in the order of the list, once all that it depends on has
ended. The list is columns in arrays, so that compiled code writes and reads it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from stages.offload.machines import Costs

Array = np.ndarray

# called by compiled code alone: from Python they would crash, and what guards that takes long to compile
inner_jit: Callable[..., Any] = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

GPU, CPU, TO_GPU, TO_CPU = range(4)  # resources; copies go both ways at once
RESOURCES = ("gpu", "cpu", "to_gpu", "to_cpu")
ATTEND, GPU_EXPERT, CPU_EXPERT, LOAD, EVICT = range(5)  # kinds
PREFILL = -1  # the token number of operations that read the prompt


class Operations(NamedTuple):
    """Columns, of which the first `size[0]` rows count.

    kind, layer, expert   what is done; ATTEND is attention and router, and takes the sum of the layer before
    resource              where
    tokens                how many pass through it at once
    token                 number of the decoded token, or PREFILL
    stale                 1: the expert's input is that of the layer before
    share                 weight of an expert's output in the sum; 0: computed for nothing
    victim                of a load: the expert whose place it takes for good; -1: a place that is used once
    first, needs          the operations that row i waits for are needs[first[i] : first[i + 1]]
    size                  rows, and entries of needs
    """

    kind: Array
    resource: Array
    layer: Array
    expert: Array
    tokens: Array
    token: Array
    stale: Array
    share: Array
    victim: Array
    first: Array
    needs: Array
    size: Array


def empty_operations(rows: int) -> Operations:
    """Room for `rows` operations with four dependencies each."""
    return Operations(
        kind=np.zeros(rows, np.int8),
        resource=np.zeros(rows, np.int8),
        layer=np.zeros(rows, np.int16),
        expert=np.full(rows, -1, np.int16),
        tokens=np.zeros(rows, np.int32),
        token=np.zeros(rows, np.int32),
        stale=np.zeros(rows, np.int8),
        share=np.zeros(rows, np.float32),
        victim=np.full(rows, -1, np.int16),
        first=np.zeros(rows + 1, np.int64),
        needs=np.zeros(4 * rows, np.int64),
        size=np.zeros(2, np.int64),
    )


@inner_jit
def emit(ops: Operations, kind: int, resource: int, layer: int, expert: int, tokens: int, token: int) -> int:
    """Append an operation that waits for nothing yet; returns its row."""
    row = ops.size[0]
    ops.kind[row], ops.resource[row] = kind, resource
    ops.layer[row], ops.expert[row] = layer, expert
    ops.tokens[row], ops.token[row] = tokens, token
    ops.stale[row], ops.share[row], ops.victim[row] = 0, 0.0, -1
    ops.size[0] = row + 1
    ops.first[row + 1] = ops.size[1]
    return row


@inner_jit
def wait_for(ops: Operations, row: int) -> None:
    """Make the last operation wait for `row`; a negative row is none."""
    if row >= 0:
        ops.needs[ops.size[1]] = row
        ops.size[1] += 1
        ops.first[ops.size[0]] = ops.size[1]


@njit(cache=True)
def duration_ms(costs: Costs, kind: int, tokens: int) -> float:
    if kind == ATTEND:
        return max(costs.attend_ms, tokens * costs.attend_token_ms)
    if kind == GPU_EXPERT:
        return max(costs.gpu_expert_ms, tokens * costs.gpu_token_ms)
    if kind == CPU_EXPERT:
        return max(costs.cpu_expert_ms, tokens * costs.cpu_token_ms) + costs.send_ms
    return costs.load_ms if kind == LOAD else costs.evict_ms


@njit(cache=True)
def timeline(ops: Operations, costs: Costs) -> tuple[Array, Array, Array]:
    """Start and end (rows,) of each operation, and busy (4,) of each resource, in ms."""
    rows = ops.size[0]
    start, end = np.zeros(rows), np.zeros(rows)
    free, busy = np.zeros(4), np.zeros(4)
    for row in range(rows):
        resource = ops.resource[row]
        at = free[resource]
        for i in range(ops.first[row], ops.first[row + 1]):
            at = max(at, end[ops.needs[i]])
        taken = duration_ms(costs, ops.kind[row], ops.tokens[row])
        start[row], end[row] = at, at + taken
        free[resource] = at + taken
        busy[resource] += taken
    return start, end, busy
