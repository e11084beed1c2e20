"""Delay and energy of each weight value in gate-level netlists (HALO, sections 2.1 and 2.5).

python -m stages.hardware.profile_weights --netlist out/array.json out/booth.json --library nangate45
    --vectors 200 --profile weight_profile.csv

A netlist of your own, with your own library:

python -m stages.hardware.profile_weights --netlist mac.json --library cells.lib --input-slew-ns 0.02
    --output-load-ff 2 --weight-port w --activation-port a --profile weight_profile.csv

A netlist's name in the table is its file's. Every output is compared with weight * activation (+ partial sum).
"""

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

from stages.hardware.cell_library import Technology, find_technology
from stages.hardware.liberty import Library, read_library
from stages.hardware.netlist import Netlist, read_netlist
from stages.hardware.weight_profile import profile_netlist, random_stimulus
from stages.lib.core.artifacts import atomic_path
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.core.seeds import generator


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.vectors < 2:
        raise InputError(f"--vectors is {args.vectors}; choose 2 or more")
    technology = find_technology(
        args.library,
        needs=("input_slew_ns", "output_load_ff"),
        input_slew_ns=args.input_slew_ns,
        output_load_ff=args.output_load_ff,
    )
    library = read_library(technology.library, wire_load=args.wire_load)
    names = [Path(path).stem for path in args.netlist]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two netlists are named {twice[0]}; give files of different names")
    # all netlists are read before any is simulated: a mistake in the last one shows at once
    netlists = [
        read_netlist(path, library, output_load_ff=technology.output_load_ff, top=args.top)
        for path in args.netlist
    ]
    progress = Progress(len(netlists), "profiled")
    tables = []
    for name, netlist in zip(names, netlists, strict=True):
        tables.append(profile_table(name, netlist, technology, library, args))
        progress.advance(note=name)
    with atomic_path(args.profile) as temporary:
        pd.concat(tables, ignore_index=True).to_csv(temporary, index=False)


def profile_table(
    name: str, netlist: Netlist, technology: Technology, library: Library, args: argparse.Namespace
) -> pd.DataFrame:
    """The rows of one netlist with the columns that say what it is."""
    sum_port = args.sum_port if args.sum_port in netlist.inputs else None
    ports = {"weight_port": args.weight_port, "activation_port": args.activation_port, "sum_port": sum_port}
    for port in (args.weight_port, args.activation_port):
        netlist.port(port, "input")
    # the same activations for every netlist: they are compared under equal work
    rng = generator(args.seed, "profile_weights")
    stimulus = random_stimulus(netlist, rng, vectors=args.vectors, **ports)
    table = profile_netlist(netlist, stimulus, input_slew_ns=technology.input_slew_ns, **ports)
    if wrong := int(table["mismatches"].sum()):
        print(
            f"warning: {name}: {wrong} of {table['vectors'].sum()} outputs are not {args.weight_port} * "
            f"{args.activation_port}; delays and energies hold, but check ports and signs",
            file=sys.stderr,
        )
    accumulator_bits = netlist.ports[sum_port].nets.size if sum_port else 0
    columns = {
        "netlist": name,
        "library": technology.name,
        "microarchitecture": re.sub(rf"_mac{accumulator_bits}$", "", name),
        "accumulator_bits": accumulator_bits,
        "wire_load": library.wire_load is not None,
    }
    for position, (column, value) in enumerate(columns.items()):
        table.insert(position, column, value)
    return table


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--netlist", nargs="+", required=True, help="yosys JSON netlists, flattened")
    parser.add_argument("--top", help="module in the netlists, where they hold several")
    parser.add_argument("--library", default="nangate45", help="nangate45, osu018 or a Liberty file")
    parser.add_argument("--wire-load", action="store_true", help="add the library's default wire load")
    parser.add_argument("--weight-port", default="w")
    parser.add_argument("--activation-port", default="a")
    parser.add_argument("--sum-port", default="c", help="partial sum, where a netlist has one")
    parser.add_argument("--input-slew-ns", type=float, help="slew of every input; default: the technology's")
    parser.add_argument(
        "--output-load-ff", type=float, help="load of every output bit; default: the technology's"
    )
    parser.add_argument("--vectors", type=int, default=200, help="random activations for each weight")
    parser.add_argument("--seed", type=int, default=0, help="of the random activations")
    parser.add_argument("--profile", required=True, help="CSV to write, one row a netlist and weight")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
