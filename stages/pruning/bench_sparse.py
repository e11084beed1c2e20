"""Speed of products with packed weights beside dense and other sparse ones.

python -m stages.pruning.bench_sparse --bench sparse.json --table sparse.csv

Shapes of convolutions and language models; 80 %, 90 % (2:4 in blocks of 16) and 95 % (1:4), one thread. Every peer gets
the same weights: torch dense float32 and bfloat16, torch CSR and BSR, SciPy CSR; each is timed in turns with ours, by CPU
time. Two threads are timed against one by the clock on the wall. Results must equal the dense product in float64 within
1e-4 of the largest value.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import scipy
import torch
from scipy import sparse

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.bench import Comparison, compare_speed, write_bench
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import device_record
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.lib.sparse.kernels import STORED_AS, Plan, matmul, matvec, plan
from stages.lib.sparse.native import library
from stages.lib.sparse.packed import pack

BLOCK = 16
SHAPES = ((1024, 256), (256, 2304), (512, 4608), (2048, 2048), (4096, 4096), (11008, 4096))
COLUMNS = (1, 32, 64, 192)
PATTERNS = {0.8: (2, 4, 0.4), 0.9: (2, 4, 0.2), 0.95: (1, 4, 0.2)}  # sparsity -> n, m, share of blocks
LEAST_S = 0.004  # of one timed piece of work, in which calls are repeated
RUNS = 5
TOLERANCE = 1e-4
STREAM_BYTES = 1 << 28  # for the bandwidth that a product with a vector is held against


@dataclass(frozen=True, kw_only=True)
class Case:
    """One product: weight (rows, columns) float32 of that sparsity, ready as a plan, and x (columns, n) or (columns,)."""

    sparsity: float
    weight: np.ndarray
    ready: Plan
    x: np.ndarray

    @property
    def name(self) -> str:
        n = 1 if self.x.ndim == 1 else self.x.shape[1]
        return f"{self.weight.shape[0]}x{self.weight.shape[1]}x{n}-{self.sparsity:.0%}"

    def ours(self, threads: int = 1) -> np.ndarray:
        product = matvec if self.x.ndim == 1 else matmul
        return product(self.ready, self.x, threads=threads)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Sparse (CSR|BSR)")
    if library() is None:
        raise InputError(
            "there is no compiler here, and numba's kernels are no match: install g++ to measure these"
        )
    shapes = SHAPES[: args.shapes or None]
    device = device_record(threads=1, versions={"torch": torch.__version__, "scipy": scipy.__version__})
    progress = Progress(len(shapes) * len(PATTERNS) * len(COLUMNS), "products")
    bandwidth = read_bandwidth()
    comparisons, rows = [], []
    for case in cases(shapes):
        check(case)
        found = {name: against(case, name, call, device) for name, call in peers(case).items()}
        found["one_thread"] = two_threads(case, device)
        if case.x.ndim == 1:
            found |= {f"float32_by_{kind}": rounded(case, kind, device) for kind in STORED_AS[1:]}
        comparisons += found.values()
        rows.append(row(case, found, bandwidth))
        progress.advance(note=case.name)
    write_bench(args.bench, comparisons)
    table = pd.DataFrame(rows)
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)
    print(table.to_string(index=False, float_format="{:.3g}".format))


def cases(shapes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    for shape in shapes:
        for sparsity, (n, m, _) in PATTERNS.items():
            weight = hybrid_weight(shape, sparsity)
            ready = plan(pack(weight, block=BLOCK, n=n, m=m))
            for columns in COLUMNS:
                x = generator(0, "bench", columns).standard_normal((shape[1], columns)).astype(np.float32)
                yield Case(
                    sparsity=sparsity, weight=weight, ready=ready, x=x[:, 0].copy() if columns == 1 else x
                )


def hybrid_weight(shape: tuple[int, int], sparsity: float) -> np.ndarray:
    n, m, share = PATTERNS[sparsity]
    rng = generator(0, "bench weight", *shape)
    high, wide = shape[0] // BLOCK, shape[1] // BLOCK
    blocks = rng.random((high, wide)).argsort(1).argsort(1) < round(share * wide)
    groups = rng.random((shape[0], shape[1] // m, m)).argsort(-1).argsort(-1) < n
    mask = np.kron(blocks, np.ones((BLOCK, BLOCK), bool)) & groups.reshape(shape)
    return (rng.standard_normal(shape) * mask).astype(np.float32)


def check(case: Case) -> None:
    wanted = case.weight.astype(np.float64) @ case.x
    error = float(np.abs(case.ours() - wanted).max() / np.abs(wanted).max())
    if error > TOLERANCE:
        raise InputError(f"{case.name}: the product is off by {error:.1e} of its largest value")


def peers(case: Case) -> dict[str, Callable[[], object]]:
    weight, x = torch.from_numpy(case.weight), torch.from_numpy(case.x)
    half, half_x = weight.bfloat16(), x.bfloat16()
    csr, scipy_csr = weight.to_sparse_csr(), sparse.csr_matrix(case.weight)
    found: dict[str, Callable[[], object]] = {
        "fp32": lambda: weight @ x,
        "bf16": lambda: half @ half_x,
        "torch_csr": lambda: csr @ x,
        "scipy_csr": lambda: scipy_csr @ case.x,
    }
    if case.x.ndim > 1:  # torch has no product of BSR with a vector
        bsr = weight.to_sparse_bsr((BLOCK, BLOCK))
        found["torch_bsr"] = lambda: bsr @ x
    return found


TITLES = {
    "fp32": "torch dense float32", "bf16": "torch dense bfloat16", "torch_csr": "torch CSR",
    "torch_bsr": "torch BSR of 16 x 16", "scipy_csr": "SciPy CSR",
}  # fmt: skip


def against(case: Case, peer: str, call: Callable[[], object], device: dict[str, object]) -> Comparison:
    return compare_speed(
        f"sparse-{peer}-{case.name}",
        repeated(case.ours, times := calls(case.ours)),
        repeated(call, times),
        work=times * useful_gflop(case),
        unit="GFLOP/s of kept weights",
        runs=RUNS,
        peer_name=TITLES[peer],
        peer_version=scipy.__version__ if peer.startswith("scipy") else torch.__version__,
        device=device,
    )


def two_threads(case: Case, device: dict[str, object]) -> Comparison:
    two = partial(case.ours, 2)
    return compare_speed(
        f"sparse-threads-{case.name}",
        repeated(two, times := calls(case.ours)),
        repeated(case.ours, times),
        work=times * useful_gflop(case),
        unit="GFLOP/s of kept weights, on the wall",
        runs=RUNS,
        peer_name="ours with one thread, this with two",
        peer_version="",
        device=device,
        clock=time.perf_counter,
    )


def rounded(case: Case, stored_as: str, device: dict[str, object]) -> Comparison:
    """Weights of fewer bits against our own of 32."""
    n, m, _ = PATTERNS[case.sparsity]
    ready = plan(pack(case.weight, block=BLOCK, n=n, m=m), stored_as=stored_as)
    ours = partial(matvec, ready, case.x)
    return compare_speed(
        f"sparse-{stored_as}-{case.name}",
        repeated(ours, times := calls(ours)),
        repeated(case.ours, times),
        work=times * useful_gflop(case),
        unit="GFLOP/s of kept weights",
        runs=RUNS,
        peer_name="ours with float32 weights",
        peer_version="",
        device=device,
    )


def row(case: Case, found: dict[str, Comparison], bandwidth: float) -> dict[str, object]:
    """One line of the table: ratios over each peer, GFLOP/s, and of products with a vector the share of the bandwidth."""
    ours = found["fp32"].ours
    seconds = useful_gflop(case) / ours
    # what must be read at least: values, offsets, block indices
    needed = sum(
        a.nbytes for a in (case.ready.matvec_values, case.ready.matvec_offsets, case.ready.block_columns)
    )
    share = needed / seconds / bandwidth if case.x.ndim == 1 else np.nan
    ratios = {f"over_{name}": c.ratio for name, c in found.items()}
    return {"product": case.name, "gflops": ours, **ratios, "bandwidth_share": share}


def useful_gflop(case: Case) -> float:
    return 2 * int(np.count_nonzero(case.weight)) * case.x[0].size / 1e9


def calls(work: Callable[[], object]) -> int:
    """How many fill LEAST_S."""
    work()
    start = time.perf_counter()
    work()
    return max(1, int(LEAST_S / max(time.perf_counter() - start, 1e-7)))


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    def many() -> None:
        for _ in range(times):
            work()

    return many


def read_bandwidth() -> float:
    """Bytes a second that one thread reads from memory: the sum of an array that no cache holds."""
    values = torch.ones(STREAM_BYTES // 4)
    values.sum()
    return max(STREAM_BYTES / _timed(values.sum) for _ in range(5))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", type=int, default=0, help="only the first so many")
    parser.add_argument("--bench", required=True, help="JSON to write")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
