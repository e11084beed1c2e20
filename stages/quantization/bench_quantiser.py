"""Throughput of our quantiser against Brevitas and ml_dtypes: 4 Mi float32, one thread, same values out.

python -m stages.quantization.bench_quantiser --bench quantiser.json [--elements 4194304] [--runs 7]

Runs in the environment `oracles`. Brevitas quantises to FP8 E4M3 with a static scale, as ours does; ml_dtypes
converts to float8_e4m3fn and back, as ours does without a scale.
"""

import argparse

import numpy as np
import torch

from stages.lib.core.bench import Comparison, compare_speed, write_bench
from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import device_record
from stages.lib.core.seeds import generator
from stages.lib.numerics.formats import MinifloatFormat, parse_format
from stages.lib.numerics.torch_quantisers import quantise, round_to_format


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    x = torch.from_numpy(generator(args.seed, "bench").standard_normal(args.elements, dtype=np.float32))
    device = device_record(threads=1, versions={"torch": torch.__version__, "numpy": np.__version__})
    comparisons = [against_brevitas(x, args.runs, device), against_ml_dtypes(x, args.runs, device)]
    write_bench(args.bench, comparisons)
    for c in comparisons:
        print(
            f"{c.id}: {c.ours:.2f} {c.unit}, {c.peer_name} {c.peer_version} {c.peer:.2f}, ratio {c.ratio:.1f}"
        )


def against_brevitas(x: torch.Tensor, runs: int, device: dict[str, object]) -> Comparison:
    """FP8 E4M3 (480 its largest) with a static scale per tensor: divide, round, saturate, multiply."""
    try:
        import brevitas
        from brevitas.nn import QuantIdentity
        from brevitas.quant.float import Fp8e4m3ActPerTensorFloat
    except ImportError as error:
        raise _missing("brevitas", error) from error
    peer = QuantIdentity(act_quant=Fp8e4m3ActPerTensorFloat, return_quant_tensor=False)
    peer.train()(x)  # sees the largest value
    peer.eval()  # and from here on keeps the scale
    format = parse_format("E4M3")
    with torch.inference_mode():
        scale = peer.act_quant.scale()
        _check_equal(quantise(x, format, scale), peer(x), "Brevitas")
        return compare_speed(
            "quantiser-brevitas",
            lambda: quantise(x, format, scale),
            lambda: peer(x),
            work=x.numel() * 4 / 1e9,
            unit="GB/s of float32 input",
            runs=runs,
            peer_name="Brevitas Fp8e4m3ActPerTensorFloat, static scale",
            peer_version=brevitas.__version__,
            device=device,
        )


def against_ml_dtypes(x: torch.Tensor, runs: int, device: dict[str, object]) -> Comparison:
    """Round to OCP E4M3 (448 its largest) without a scale; ml_dtypes gives codes and decodes them again."""
    try:
        import ml_dtypes
    except ImportError as error:
        raise _missing("ml_dtypes", error) from error
    format = MinifloatFormat(exponent_bits=4, mantissa_bits=3, largest=448)
    array = x.numpy()

    def peer() -> np.ndarray:
        return array.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)

    _check_equal(round_to_format(x, format), torch.from_numpy(peer()), "ml_dtypes")
    return compare_speed(
        "quantiser-ml_dtypes",
        lambda: round_to_format(x, format),
        peer,
        work=x.numel() * 4 / 1e9,
        unit="GB/s of float32 input",
        runs=runs,
        peer_name="ml_dtypes float8_e4m3fn round trip",
        peer_version=ml_dtypes.__version__,
        device=device,
    )


def _check_equal(ours: torch.Tensor, peer: torch.Tensor, name: str) -> None:
    # == and not bits: ours has one zero, the peers keep the sign of what was rounded to it
    if differing := int((ours != peer).sum()):
        raise AssertionError(f"{differing} values differ from {name}: the two do not do the same work")


def _missing(package: str, error: ImportError) -> InputError:
    return InputError(
        f"{package} cannot be imported ({error}); run this with envs/py oracles, after ./repro setup oracles"
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", required=True, help="JSON to write")
    parser.add_argument("--elements", type=int, default=2**22, help="float32 values that are quantised")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each; the medians are written")
    parser.add_argument("--seed", type=int, default=0, help="of the values")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
