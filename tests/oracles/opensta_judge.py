"""Static delays of netlists for every weight, by us and by OpenSTA: runs in the environment `hardware`.

envs/py hardware tests/oracles/opensta_judge.py LIBRARY judged.json NETLIST.json ...

NETLIST.v stands beside NETLIST.json.
judged.json  netlist -> {weights, ours_ns, opensta_ns (null: no path left), unconstrained: [ours, OpenSTA],
             constant_mux: weights that make a multiplexer's output constant while its select changes,
             simulated, wrong: outputs of the event simulation over all 65536 operands, and those that are not exact,
             late: weights with an output that settles after our static delay}
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from stages.hardware.cell_library import find_technology, write_working_copy
from stages.hardware.gate_simulation import simulate
from stages.hardware.liberty import Library, read_library
from stages.hardware.netlist import Netlist, read_netlist
from stages.hardware.opensta import run_sweep, sweep_script
from stages.hardware.static_timing import CHANGING, case_delays_ns, case_timing
from stages.lib.core.artifacts import write_json


def main() -> None:
    name, target, *paths = sys.argv[1:]
    technology = find_technology(name)
    library = read_library(technology.library)
    weights = np.arange(-128, 128)
    judged = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = write_working_copy(technology, Path(folder))
        for path in map(Path, paths):
            netlist = read_netlist(path, library, output_load_ff=technology.output_load_ff)
            slew_ns = technology.input_slew_ns
            script = sweep_script(
                path.with_suffix(".v").resolve(),
                copy,
                top=netlist.name,
                weights=weights,
                weight_bits=8,
                capacitance_ff=library.capacitance_ff,
                input_slew_ns=slew_ns,
                output_load_ff=technology.output_load_ff,
            )
            sweep = run_sweep(script, Path(folder))
            assert (sweep.weights == weights).all()
            judged[path.stem] = {
                "weights": weights.tolist(),
                "ours_ns": case_delays_ns(netlist, {"w": weights}, input_slew_ns=slew_ns).tolist(),
                "opensta_ns": [None if np.isnan(d) else d for d in sweep.delay_ns.tolist()],
                "unconstrained": [
                    float(case_delays_ns(netlist, {}, input_slew_ns=slew_ns)[0]),
                    sweep.unconstrained_delay_ns,
                ],
                "constant_mux": [
                    int(w) for w in weights if has_constant_mux(netlist, library, int(w), slew_ns)
                ],
            }
            judged[path.stem] |= exhaustive(netlist, weights, judged[path.stem]["ours_ns"], slew_ns)
    write_json(target, judged)


def exhaustive(
    netlist: Netlist, weights: np.ndarray, static_ns: list[float], slew_ns: float
) -> dict[str, object]:
    """Every activation once for every weight, in random order; a partial sum, where there is one, is random."""
    rng = np.random.default_rng(0)
    stimulus = {"a": np.append(0, rng.permutation(np.arange(-128, 128)))}
    exact = weights[:, None] * stimulus["a"][1:]
    if "c" in netlist.inputs:
        stimulus["c"] = rng.integers(-(2**20), 2**20, 257)
        exact = exact + stimulus["c"][1:]
    activity = simulate(netlist, {"w": weights}, stimulus, input_slew_ns=slew_ns)
    (name, found), *_ = activity.outputs.items()
    wrong = found != exact % (1 << netlist.ports[name].nets.size)
    late = activity.settle_ns.max(axis=1) > np.array(static_ns)
    return {"simulated": wrong.size, "wrong": int(wrong.sum()), "late": weights[late].tolist()}


def has_constant_mux(netlist: Netlist, library: Library, weight: int, slew_ns: float) -> bool:
    """Both data inputs are the same constant: the truth table is constant, its expression (S A + !S B) is not to a
    tool that takes S and !S for two unknowns."""
    values = case_timing(netlist, {"w": weight}, input_slew_ns=slew_ns).values
    gates = netlist.gates
    for cell in (library.cell(name) for name in library.cell_groups if name.startswith("MUX2")):
        select = gates.inputs[:, cell.inputs.index("S")]
        is_mux = (gates.fan_in == 3) & (gates.truth == np.uint64(cell.outputs[0].truth))
        if (is_mux & (values[select] == CHANGING) & (values[gates.output] != CHANGING)).any():
            return True
    return False


if __name__ == "__main__":
    main()
