"""What the router's choices are like: how uneven, how alike in prompt and answer, how well foreseen (claims D5 to D9).

python -m stages.offload.study_routing --traces moe-s0/test.npz --calibrations moe-s0/valid.npz --ratios 0.25 0.5
    --shares OUT/shares.csv --recall OUT/recall.csv --hits OUT/hits.csv

Nothing here is modelled: these are facts of a trained model on texts that it was not trained on.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.seeds import generator
from stages.offload.machines import Costs
from stages.offload.placement import most_used, place, slots_of, subsets, swapped
from stages.offload.policies import POLICIES
from stages.offload.routing import cosine, counts_of, top_share, top_share_of_noise
from stages.offload.simulation import plan
from stages.offload.traces import RoutingTrace, read_trace, seed_of, top_experts

Array = np.ndarray
SHARES = (1, 2, 4)  # experts whose share is shown
ANY = Costs(1, 0, 1, 0, 1, 0, 1, 1, 0)  # hit rates do not depend on times


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if len(args.traces) != len(args.calibrations):
        raise InputError("--traces and --calibrations must name as many files, one pair a model")
    shares, recall, hits = [], [], []
    for path, calibration in zip(args.traces, args.calibrations, strict=True):
        trace, known = read_trace(path), read_trace(calibration)
        beside = {"model": path, "seed": seed_of(path)}
        shares.append(pd.DataFrame(skew(trace, known, seed=seed_of(path))).assign(**beside))
        recall.append(pd.DataFrame(recalls(trace, known)).assign(**beside))
        for ratio in args.ratios:
            hits.append(pd.DataFrame(hit_rates(trace, known, ratio)).assign(ratio=ratio, **beside))
    for tables, target in ((shares, args.shares), (recall, args.recall), (hits, args.hits)):
        with atomic_path(target) as temporary:
            pd.concat(tables).to_csv(temporary, index=False, float_format="%.6g")


def skew(trace: RoutingTrace, known: RoutingTrace, *, seed: int) -> Iterator[dict[str, object]]:
    """Rows fact, k, value: shares of the k most used experts while decoding, and how alike counts are (cosine)."""
    decode, prompt = trace.decode_counts(), trace.prompt
    for k in SHARES:
        noise = top_share_of_noise(decode, k, generator(seed, "noise", k))
        yield {"fact": "share overall", "k": k, "value": top_share(decode.sum(0), k).mean()}
        yield {"fact": "share within a text", "k": k, "value": top_share(decode, k).mean()}
        yield {"fact": "share of noise", "k": k, "value": noise.mean()}
    alike = cosine(prompt[:, None], decode[None]).mean(-1)
    texts = len(decode)
    same = np.eye(texts, dtype=bool)
    domain = (trace.domain[:, None] == trace.domain[None]) & ~same
    calibrated = cosine(known.decode_counts().sum(0)[None], decode).mean()
    for fact, value in (
        ("prompt and answer", alike[same].mean()),
        ("prompt and another text's answer", alike[~same & ~domain].mean()),
        ("prompt and the answer of a text of its kind", alike[domain].mean()),
        ("calibration and answer", calibrated),
    ):
        yield {"fact": fact, "k": 0, "value": value}


def recalls(trace: RoutingTrace, known: RoutingTrace) -> Iterator[dict[str, object]]:
    """Rows layer, predictor, recall, first, exact: how much of a layer's top k is foreseen before its gate is asked.

    recall  share of the chosen experts that were foreseen; first: the best was; exact: all were
    """
    chosen = trace.chosen()
    layers, k = chosen.shape[2:]
    overall = top_experts(known.decode_counts().sum(0).astype(float), k)
    prompt = top_experts(trace.prompt.astype(float), k)
    for layer in range(1, layers):
        own = chosen[:, :, layer]
        foreseen = {
            "next gate": top_experts(trace.ahead[:, :, layer - 1], k),
            "prompt": np.broadcast_to(prompt[:, None, layer], own.shape),
            "previous token": np.concatenate([own[:, :1], own[:, :-1]], 1),
            "calibration": np.broadcast_to(overall[layer], own.shape),
        }
        for predictor, guess in foreseen.items():
            there = (own[..., None] == guess[..., None, :]).any(-1)
            yield {
                "layer": layer, "predictor": predictor, "recall": there.mean(),
                "first": (own[..., 0] == guess[..., 0]).mean(), "exact": there.all(-1).mean(),
            }  # fmt: skip
        yield {
            "layer": layer, "predictor": "random", "recall": k / trace.experts, "first": 1 / trace.experts,
            "exact": 1 / len(subsets(trace.experts, k)),
        }  # fmt: skip


def hit_rates(trace: RoutingTrace, known: RoutingTrace, ratio: float) -> Iterator[dict[str, object]]:
    """Rows domain, placement, hit: share of the chosen that are on the GPU; a domain is calibrated on itself."""
    yield from _hit_rates(trace, known, ratio, "all")
    own = []
    for number, domain in enumerate(trace.domains):
        mine = _hit_rates(trace.of(trace.domain == number), known.of(known.domain == number), ratio, domain)
        own += list(mine)
    yield from own
    table = pd.DataFrame(own)
    for placement, hit in table.groupby("placement")["hit"].mean().items():
        yield {"domain": "each its own", "placement": placement, "hit": hit}


def _hit_rates(
    trace: RoutingTrace, known: RoutingTrace, ratio: float, domain: str
) -> Iterator[dict[str, object]]:
    placed = place("per_layer", known.decode_counts().sum(0), slots_of(ratio, trace.layers, trace.experts))
    chosen = trace.chosen()
    found = {"static": [], "swapped": [], "best for each text": [], "lru": []}
    for text in range(len(chosen)):
        moved = np.array([swapped(placed[i], trace.prompt[text, i]) for i in range(trace.layers)])
        best = np.array(
            [
                most_used(counts_of(chosen[text, :, i], trace.experts), placed[i].sum())
                for i in range(trace.layers)
            ]
        )
        for name, where in (("static", placed), ("swapped", moved), ("best for each text", best)):
            found[name].append(np.take_along_axis(where[None], chosen[text], -1).mean())
        found["lru"].append(_lru_hits(trace.of(np.array([text])), placed))
    for placement, values in found.items():
        yield {"domain": domain, "placement": placement, "hit": float(np.mean(values))}


def _lru_hits(trace: RoutingTrace, placed: Array) -> float:
    _, state = plan(trace, 0, POLICIES["lru"], ANY, placed, past=np.zeros((1, *placed.shape)))
    return 1 - float(state.missing.mean()) / trace.top_k


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", nargs="+", required=True, help="NPZs of record_traces, one a model")
    parser.add_argument("--calibrations", nargs="+", required=True, help="NPZs of other texts, one a model")
    parser.add_argument("--ratios", nargs="+", type=float, required=True, help="shares of experts on the GPU")
    parser.add_argument("--shares", required=True, help="CSV to write")
    parser.add_argument("--recall", required=True, help="CSV to write")
    parser.add_argument("--hits", required=True, help="CSV to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
