"""FPGA cost of multiply-accumulate operators: look-up tables, carry chains, DSPs, clock rate (mac_costs.parquet).

python -m stages.hardware.synthesise_macs --config '{"bits": [4]}' --cache scratch/synthesis --costs mac_costs.parquet
    [--threads 2]

Every operator is mapped for UltraScale+ and the mapped netlist is simulated against exact arithmetic. Mapped netlists
stay in the cache, so that a changed format is the only one that is mapped again.
"""

import argparse
from pathlib import Path

import pandas as pd

from stages.hardware.config import MacConfig
from stages.hardware.fpga import ecp5_fmax_mhz, map_to_xcup, tool_versions
from stages.hardware.operators import check_converter_of, check_operator, operators, table_row
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.commands import from_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = from_json(MacConfig, args.config, where="--config")
    if args.threads < 1:
        raise InputError(f"--threads is {args.threads}; choose 1 or more")
    wanted = operators(config)
    jobs = {operator.name: operator.job() for operator in wanted}
    jobs |= {operator.converter_name: operator.converter_job() for operator in wanted}
    routed = {operator.name: jobs[operator.name] for operator in wanted if operator.variant.routed}
    progress = Progress(len(jobs) + len(routed) + len(wanted), "operators")

    def advance(name: str) -> None:
        progress.advance(note=name)

    mapped = map_to_xcup(jobs, args.cache, threads=args.threads, advance=advance)
    fmax_mhz = ecp5_fmax_mhz(
        routed, args.cache, seeds=config.routing_seeds, threads=args.threads, advance=advance
    )
    rows = []
    for operator in wanted:
        rng = generator(args.seed, operator.name)
        back = mapped[operator.converter_name]
        rows.append(
            table_row(
                operator,
                mapped=mapped[operator.name],
                converter_mapped=back,
                fmax_mhz=fmax_mhz.get(operator.name, []),
                check=check_operator(operator, mapped[operator.name], rng),
                converter_check=check_converter_of(operator, back, rng, config.converter_vectors),
            )
        )
        advance(f"{operator.name} checked")
    table = pd.DataFrame(rows).assign(tool_version=", ".join(tool_versions().values()), seed=args.seed)
    with atomic_path(args.costs) as temporary:
        table.to_parquet(temporary, index=False)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="{}", help="JSON with the keys of MacConfig")
    parser.add_argument("--cache", type=Path, required=True, help="folder of mapped netlists")
    parser.add_argument("--threads", type=int, default=1, help="synthesis processes at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the random codes that check the operators")
    parser.add_argument("--costs", type=Path, required=True, help="parquet to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
