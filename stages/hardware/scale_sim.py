"""SCALE-Sim 3.0.0, the cycle simulator that judges our systolic model: run it on layers and read its reports.

Only for tests and benchmarks, in the environment `oracles`. It holds one layer's accesses in memory, cycle by cycle, so
layers must be small. Its "Total Cycles" is the index, from 0, of the cycle in which the last output leaves the array
(the maximum of the outputs' cycles in its scratchpad model): one less than the number of cycles.
"""

import configparser
import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.core.errors import InputError
from stages.lib.core.seeds import generator

DATAFLOWS = {"weight_stationary": "ws", "output_stationary": "os", "input_stationary": "is"}
RUN = "run"
ARRAYS = ((8, 8), (16, 32), (32, 16), (128, 128))
SPARSITIES = ((2, 4), (1, 4), (2, 8), (3, 4))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What SCALE-Sim needs to know of an array; `sparse` is on for layers with n:m sparsity."""

    rows: int
    columns: int
    dataflow: str
    sparse: bool


def judged_layers() -> pd.DataFrame:
    """76 ragged layers on four arrays: five for each dataflow, four with n:m sparsity (which it has for one dataflow).

    Columns rows, columns, dataflow, m, k, n, groups, kept, of; the sizes are drawn, so that few fit the array.
    """
    chance, layers = generator(0, "judged layers"), []
    for rows, columns in ARRAYS:
        dense = [(dataflow, 1, 1) for dataflow in DATAFLOWS for _ in range(5)]
        for dataflow, kept, of in [*dense, *(("weight_stationary", *pair) for pair in SPARSITIES)]:
            m, k, n = chance.integers(1, 90 if rows < 128 else 300, size=3).tolist()
            layers.append((rows, columns, dataflow, m, k, n, 1, kept, of))
    names = ("rows", "columns", "dataflow", "m", "k", "n", "groups", "kept", "of")
    return pd.DataFrame(layers, columns=names)


def prepare(layers: pd.DataFrame, setup: Setup, folder: Path) -> Any:
    """A simulator that has read the layers; its `run_scale(top_path=...)` does the work.

    layers   columns m, k, n and, where setup.sparse, kept and of
    folder   is made and holds the three files that SCALE-Sim reads
    """
    try:
        from scalesim.scale_sim import scalesim
    except ImportError as error:
        raise InputError(
            f"SCALE-Sim cannot be imported ({error}); run this with envs/py oracles, after ./repro setup oracles"
        ) from error
    folder.mkdir(parents=True)
    config = configparser.ConfigParser()
    config.optionxform = str  # SCALE-Sim's keys have capitals
    config.read_dict(_settings(setup))
    with (folder / "array.cfg").open("w") as file:
        config.write(file)
    (folder / "layers.csv").write_text(_topology(layers, setup))
    # without a layout file it stops, though the layout is used by custom layouts only
    names = [f"L{i}," + "1," * 20 for i in range(len(layers))]
    (folder / "layout.csv").write_text("\n".join(["Layer,", *names]) + "\n")
    with contextlib.redirect_stdout(io.StringIO()):
        return scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(folder / "array.cfg"),
            topology=str(folder / "layers.csv"),
            layout=str(folder / "layout.csv"),
            input_type_gemm=True,
        )


def simulate(simulator: Any, folder: Path) -> pd.DataFrame:
    """Run a prepared simulator: last_cycle, stall_cycles and the elements read and written, one row a layer."""
    with contextlib.redirect_stdout(io.StringIO()):
        simulator.run_scale(top_path=str(folder))
    compute, access = (
        pd.read_csv(folder / RUN / name, skipinitialspace=True, index_col=False)
        for name in ("COMPUTE_REPORT.csv", "DETAILED_ACCESS_REPORT.csv")
    )
    return pd.DataFrame(
        {
            "last_cycle": compute["Total Cycles"],
            "stall_cycles": compute["Stall Cycles"],
            "activation_reads": access["SRAM IFMAP Reads"],
            "weight_reads": access["SRAM Filter Reads"],
            "output_writes": access["SRAM OFMAP Writes"],
        }
    )


def _topology(layers: pd.DataFrame, setup: Setup) -> str:
    header = "Layer,M,N,K," + ("Sparsity," if setup.sparse else "")
    rows = [
        f"L{i},{layer.m},{layer.n},{layer.k}," + (f"{layer.kept}:{layer.of}," if setup.sparse else "")
        for i, layer in enumerate(layers.itertuples())
    ]
    return "\n".join([header, *rows]) + "\n"


def _settings(setup: Setup) -> dict[str, dict[str, object]]:
    """Large memories and calculated bandwidth: no stalls, which our exact regime does not model either."""
    bank = {"CustomLayout": False, "SRAMBankBandwidth": 10, "SRAMBankNum": 10, "SRAMBankPort": 2}
    return {
        "general": {"run_name": RUN},
        "architecture_presets": {
            "ArrayHeight": setup.rows,
            "ArrayWidth": setup.columns,
            "IfmapSramSzkB": 6144,
            "FilterSramSzkB": 6144,
            "OfmapSramSzkB": 2048,
            "IfmapOffset": 0,
            "FilterOffset": 10_000_000,
            "OfmapOffset": 20_000_000,
            "Bandwidth": 10,
            "Dataflow": DATAFLOWS[setup.dataflow],
            "MemoryBanks": 1,
            # not documented, but demanded
            "ReadRequestBuffer": 32,
            "WriteRequestBuffer": 32,
        },
        "sparsity": {
            "SparsitySupport": str(setup.sparse).lower(),
            "SparseRep": "ellpack_block",
            "OptimizedMapping": "false",
            "BlockSize": 4,
            "RandomNumberGeneratorSeed": 40,
        },
        "layout": {f"{name}{key}": value for name in ("Ifmap", "Filter") for key, value in bank.items()},
        "run_presets": {"InterfaceBandwidth": "CALC", "UseRamulatorTrace": False},
    }
