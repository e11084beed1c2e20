"""Time of one image on this CPU, one thread, after every step of the chosen route.

python -m stages.chain.time_steps --chosen chosen.json --networks '[{"seed": 0, ...}]' --config CHAIN --onnx chosen.onnx
    --table latency.csv

Float networks run in torch (batch norms folded), pruned ones on their packed weights where these are the faster, the
quantised one in onnxruntime where it has kernels for its formats; a format that no CPU multiplies is simulated only,
and has no time. Every network takes its turn with the first, so that a busy machine slows both: `speedup` is the median
of the ratios.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stages.chain.config import ChainConfig, LatencyConfig
from stages.chain.costs import one_image, pattern_of
from stages.chain.networks import read_networks
from stages.chain.routes import kind_of, owners, way
from stages.lib.core.artifacts import atomic_path, read_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.nets.graph import fused
from stages.lib.nets.model_folder import read_model
from stages.lib.numerics.formats import IntegerFormat, parse_format
from stages.lib.sparse.model import SparseModel

Call = Callable[[], object]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    config = from_json(ChainConfig, args.config, where="--config")
    chosen = read_json(args.chosen)
    networks = {
        (n["route"], n["owner"]): n["folder"]
        for n in read_networks(args.networks)
        if n["seed"] == config.seeds[0]
    }
    calls: dict[str, tuple[str, Call] | None] = {}
    for route in way(chosen["route"]):
        if kind_of(route, config.steps) == "quantise":
            calls[route] = quantised_call(args.onnx, chosen["export"]["formats"], args.side)
        else:
            owner = owners(route, (chosen["user"],), config.steps)[0]
            calls[route] = float_call(networks[route, owner], args.side)
    first = next(call for call in calls.values() if call is not None)[1]
    rows = []
    for route, call in calls.items():
        if call is None:
            rows.append({"route": route, "engine": "none: simulated only"})
            continue
        rows.append({"route": route, "engine": call[0], **timed(call[1], first, config.latency)})
    with atomic_path(args.table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def float_call(folder: Path, side: int) -> tuple[str, Call]:
    """The network as it runs fastest: dense in torch, or on its packed weights."""
    model, info = read_model(folder)
    image = one_image(int(info.arguments["channels"]), side)
    dense = ("torch, float32", on_image(fused(model), image))
    pattern = pattern_of(info.recipe)
    if pattern is None:
        return dense
    packed = SparseModel(model, block=pattern.block, n=pattern.n, m=pattern.m)
    sparse = ("packed weights, float32", on_image(packed, image))
    return min((sparse, dense), key=lambda option: np.median([seconds(option[1]) for _ in range(9)]))


def on_image(network: nn.Module, image: Tensor) -> Call:
    network.eval()

    def call() -> object:
        with torch.inference_mode():
            return network(image)

    return call


def quantised_call(onnx: str, formats: str, side: int) -> tuple[str, Call] | None:
    """onnxruntime with its integer kernels; None where a format is no integer, which it would only simulate."""
    weight, _, activation = formats.partition("x")
    if not all(isinstance(parse_format(name), IntegerFormat) for name in (weight, activation or weight)):
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    image = one_image(int(source.shape[1]), side).numpy()
    return "onnxruntime, integers", lambda: session.run(None, {source.name: image})


def timed(call: Call, first: Call, config: LatencyConfig) -> dict[str, Any]:
    """latency_ms with quartiles, and speedup over the first network in the same run."""
    for _ in range(config.warm_up):
        call(), first()
    pairs = np.array([(seconds(call), seconds(first)) for _ in range(config.runs)])
    low, middle, high = np.quantile(pairs[:, 0] * 1e3, [0.25, 0.5, 0.75])
    return {
        "latency_ms": middle,
        "latency_ms_low": low,
        "latency_ms_high": high,
        "speedup": float(np.median(pairs[:, 1] / pairs[:, 0])),
    }


def seconds(call: Call) -> float:
    start_s = time.perf_counter()
    call()
    return time.perf_counter() - start_s


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chosen", required=True, help="JSON of choose_route")
    parser.add_argument(
        "--networks", required=True, help="JSON list of float networks, as measure_routes has it"
    )
    parser.add_argument("--config", default="{}", help="ChainConfig as JSON")
    parser.add_argument("--onnx", required=True, help="the chosen network, quantised")
    parser.add_argument("--side", type=int, default=64, help="of an image, pixels")
    parser.add_argument("--table", required=True, help="CSV to write, a row a step")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
