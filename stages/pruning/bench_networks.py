"""Benchmark: whole pruned networks on packed weights against the same network dense in torch, one thread.

python -m stages.pruning.bench_networks --bench networks.json --table networks.csv

Everything counts: cutting patches (im2col), products, batch norm (folded for all), activations, pooling. The dense
network runs with channels last and not, in float32 and bfloat16, each in turns with ours. What a network answers must
equal the dense one's within 1e-4 of its largest logit before anything is timed.
"""

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.bench import Comparison, compare_speed, write_bench
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import device_record
from stages.lib.core.progress import Progress
from stages.lib.nets.build import build
from stages.lib.nets.graph import fused
from stages.lib.sparse.model import SparseModel
from stages.pruning.masks import (
    Pattern,
    block_mask,
    block_scores,
    block_share,
    expand_blocks,
    keep_n_of_m,
)
from stages.pruning.network import apply_masks, layers_of, multiplications, to_matrix, to_weight

# name -> network, its arguments, side of its images in pixels, images at once
NETWORKS = {
    "resnet18": ("resnet.ResNet", {"depth": 18}, 32, (1, 32)),
    "vgg16": ("vgg.VGG", {"depth": 16}, 32, (1, 32)),
    "resnet50": ("resnet.ResNet", {"depth": 50, "imagenet_stem": True, "classes": 1000}, 224, (1,)),
}
SPARSITIES = (0.8, 0.9, 0.95)
PATTERN = Pattern()
RUNS = 5
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pruned network, packed and dense (batch norm folded in both), and images (n, 3, side, side).

    work  share of multiplications left
    """

    name: str
    packed: SparseModel
    dense: nn.Module
    images: Tensor
    work: float


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    device = device_record(threads=1, versions={"torch": torch.__version__})
    chosen = {name: NETWORKS[name] for name in args.networks}
    progress = Progress(sum(len(batches) for *_, batches in chosen.values()) * len(SPARSITIES), "networks")
    comparisons, rows = [], []
    for case in cases(chosen):
        check(case)
        found = {peer: against(case, peer, device) for peer in PEERS}
        comparisons += found.values()
        rows.append(
            {"network": case.name, "work_left": case.work, "images_per_s": found["fp32"].ours}
            | {f"over_{peer}": c.ratio for peer, c in found.items()}
        )
        progress.advance(note=case.name)
    write_bench(args.bench, comparisons)
    table = pd.DataFrame(rows)
    with atomic_path(args.table) as temporary:
        table.to_csv(temporary, index=False)
    print(table.to_string(index=False, float_format="{:.3g}".format))


def cases(chosen: dict[str, tuple[str, dict[str, object], int, tuple[int, ...]]]) -> Iterator[Case]:
    for name, (net, arguments, side, batches) in chosen.items():
        for sparsity in SPARSITIES:
            model = build(net, arguments)
            image = torch.zeros(1, 3, side, side)
            dense_work = multiplications(model, image)
            model = pruned(model, sparsity)
            work = multiplications(model, image) / dense_work
            packed = SparseModel(model, block=PATTERN.block, n=PATTERN.n, m=PATTERN.m)
            for batch in batches:
                images = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
                yield Case(
                    name=f"{name}-{side}px-batch{batch}-{sparsity:.0%}",
                    packed=packed,
                    dense=fused(model),
                    images=images,
                    work=work,
                )


def pruned(model: nn.Module, sparsity: float) -> nn.Module:
    """Every layer but the first to the same sparsity, at random: how fast a network runs depends on its pattern alone."""
    layers, chance = layers_of(model), torch.Generator().manual_seed(0)
    share, masks = block_share(sparsity, PATTERN), {}
    for name in layers.masked:
        shape = layers.modules[name].weight.shape
        scores = to_matrix(torch.rand(shape, generator=chance), PATTERN.m, "channels")
        sums = block_scores(scores, PATTERN.block)
        blocks = block_mask(sums, max(1, round(share * sums.shape[1])))
        mask = keep_n_of_m(scores, PATTERN.n, PATTERN.m) & expand_blocks(blocks, scores.shape, PATTERN.block)
        masks[name] = to_weight(mask, shape, PATTERN.m, "channels")
    apply_masks(layers, masks)
    return model.eval()


@torch.inference_mode()
def check(case: Case) -> None:
    wanted = case.dense(case.images)
    error = float((case.packed(case.images) - wanted).abs().max() / wanted.abs().max())
    if error > TOLERANCE:
        raise InputError(f"{case.name}: the answers are off by {error:.1e} of the largest logit")


PEERS = {
    "fp32": (torch.float32, torch.contiguous_format),
    "fp32_channels_last": (torch.float32, torch.channels_last),
    "bf16": (torch.bfloat16, torch.contiguous_format),
    "bf16_channels_last": (torch.bfloat16, torch.channels_last),
}


def against(case: Case, peer: str, device: dict[str, object]) -> Comparison:
    kind, layout = PEERS[peer]
    dense = copy.deepcopy(case.dense).to(kind).to(memory_format=layout)
    images = case.images.to(kind).to(memory_format=layout)
    with torch.inference_mode():
        return compare_speed(
            f"network-{peer}-{case.name}",
            lambda: case.packed(case.images),
            lambda: dense(images),
            work=len(images),
            unit="images/s",
            runs=RUNS,
            peer_name=f"torch dense {peer.replace('_', ' ')}",
            peer_version=torch.__version__,
            device=device,
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--bench", required=True, help="JSON to write")
    parser.add_argument("--table", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
