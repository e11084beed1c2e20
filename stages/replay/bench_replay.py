"""Benchmark: rounds of PRE-DFKD a second, against the public code's structure, on one thread.

python -m stages.replay.bench_replay --bench replay.json --table replay.csv

Both loops have the same networks (LeNet-5 and half of it, 28 x 28 images), batch, losses and numbers of steps, and run in
turns. `none` has no memory, `vae` the paper's.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace

import pandas as pd
import torch

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.bench import Comparison, compare_speed, write_bench
from stages.lib.core.errors import run
from stages.lib.core.measurements import device_record
from stages.lib.core.progress import Progress
from stages.lib.inversion.networks import Networks
from stages.lib.nets.lenet import LeNet5
from stages.replay.config import DistilConfig
from stages.replay.distillation import Seen, student_optimiser, train_round
from stages.replay.memories import memory_of
from stages.replay.methods import METHODS, Method
from stages.replay.reference_loop import reference_steps
from stages.replay.sources import source_of

RUNS = 5
CONFIG = DistilConfig(batch_size=256, width=16, memory_width=16)
CASES = {
    "none, 5 student steps": replace(METHODS["pre-none"], student_steps=5),
    "vae, 5 student steps": replace(METHODS["pre"], student_steps=5),
    "vae, 10 student steps": METHODS["pre"],
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    device = device_record(threads=1, versions={"torch": torch.__version__})
    progress = Progress(len(CASES), "cases")
    comparisons: list[Comparison] = []
    for name, method in CASES.items():
        comparisons.append(
            compare_speed(
                f"replay {name}",
                our_round(method),
                their_round(method),
                work=1,
                unit="rounds/s",
                runs=args.runs,
                peer_name="public code's structure, rebuilt",
                peer_version=torch.__version__,
                device=device,
            )
        )
        progress.advance(note=f"{name} {comparisons[-1].ratio:.2f}")
    write_bench(args.bench, comparisons)
    table = pd.DataFrame(
        [{"case": c.id, "rounds_per_s": c.ours, "reference_rounds_per_s": c.peer, "ratio": c.ratio} for c in comparisons]
    )  # fmt: skip
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)


def our_round(method: Method) -> Callable[[], None]:
    """Two rounds are taken first: the memory is empty before."""
    torch.manual_seed(0)
    networks = Networks(
        teacher=LeNet5(), student=LeNet5(width_divisor=2), channels=1, size=28, device=torch.device("cpu")
    )
    chance = torch.Generator().manual_seed(0)
    source = source_of(method, networks, CONFIG, chance, None)
    memory = memory_of(method, networks, CONFIG, chance, source)
    optimiser = student_optimiser(networks, CONFIG)

    def one() -> None:
        train_round(networks, method, source, memory, optimiser, Seen())

    one(), one()
    return one


def their_round(method: Method) -> Callable[[], None]:
    torch.manual_seed(0)
    steps: Iterator[None] = reference_steps(
        LeNet5(), LeNet5(width_divisor=2), method, CONFIG, channels=1, size=28
    )
    next(steps), next(steps)
    return lambda: next(steps)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="of each loop, in turns")
    parser.add_argument("--bench", required=True, help="JSON to write")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
