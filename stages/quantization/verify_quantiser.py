"""Exact claims M1 to M4 of Shedding the Bits, each as a count of mismatches.

python -m stages.quantization.verify_quantiser --values 200000 --measurements verify.json
"""

import argparse

import torch

from stages.lib.core.errors import InputError, run
from stages.lib.core.measurements import Measurement, device_record, write_measurements
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator
from stages.quantization import verification as v


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.values < 1000:
        raise InputError(f"--values is {args.values}; choose 1000 or more")
    torch.set_num_threads(1)
    formats = v.float32_formats()
    progress = Progress(len(formats) + 5, "checked")

    tables = v.check_tables()
    progress.advance(note="decode tables")
    tensors, tensors_equal = v.compare_uniform(args.values, generator(args.seed, "uniform"))
    networks, networks_equal = v.compare_uniform_networks(args.seed)
    progress.advance(note="E1My and integers")
    accumulators = v.check_accumulators(v.LENGTH)
    progress.advance(note="accumulators")
    oracle = v.check_ml_dtypes(args.values, generator(args.seed, "ml_dtypes"))
    progress.advance(note="ml_dtypes")
    gfloat = v.check_gfloat(args.values // 10, generator(args.seed, "gfloat"))
    progress.advance(note="gfloat")
    search = v.Count()
    for format in formats:
        # the search looks at every code for every value, so that it gets fewer random ones
        search += v.check_nearest(format, args.values // 20, generator(args.seed, "search", format.name))
        progress.advance(note=format.name)

    uniform, nearest = tensors + networks, search + oracle + gfloat
    write_measurements(
        args.measurements,
        [
            _count("M1", tables),
            _count(
                "M2",
                uniform,
                E2My_equal_to_INT=tensors_equal + networks_equal,
                differing_logits=networks.mismatches,
            ),
            _count(
                "M3",
                nearest,
                mismatches_search=search.mismatches,
                mismatches_ml_dtypes=oracle.mismatches,
                mismatches_gfloat=gfloat.mismatches,
            ),
            _count(
                "M4",
                accumulators,
                **{f"formats_off_at_length_{n}": v.check_accumulators(n).mismatches for n in (1000, 4096)},
            ),
        ],
        device=device_record(threads=1, versions={"torch": torch.__version__}),
    )


def _count(claim: str, count: v.Count, **controls: float) -> Measurement:
    return Measurement(
        claim=claim,
        value=float(count.mismatches),
        unit="1",
        n=count.compared,
        controls={k: float(c) for k, c in controls.items()},
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--values", type=int, default=200_000, help="random values for each format")
    parser.add_argument("--seed", type=int, default=0, help="of the random values")
    parser.add_argument("--measurements", required=True, help="JSON to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
