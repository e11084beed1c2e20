"""Static timing against OpenSTA, for every weight of freshly synthesised netlists in two technologies.

And of the same netlists: the event simulation is exact for all 65536 operands and never later than static timing.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
NETLISTS = {
    "nangate45": [
        "default",
        "booth",
        "array",
        "booth_array",
        "sign_magnitude",
        "booth_swapped",
        "array_mac24",
    ],
    "osu018": ["default", "array", "booth_array_mac24"],
}
# OpenSTA computes in single precision: 24 bits of numbers up to 8 ns, added up over some 40 gates
TOLERANCE_NS = 1e-5


@pytest.fixture(scope="module", params=NETLISTS)
def judged(request, tmp_path_factory):
    library, folder = request.param, tmp_path_factory.mktemp(request.param)
    if not (ROOT / ".venv/hardware/bin/python").exists() and not os.environ.get("CI"):
        pytest.skip("the environment hardware is not there; run ./repro setup hardware")
    if shutil.which("sta") is None:
        pytest.skip("OpenSTA is not installed; on Debian: apt-get install opensta")
    if library == "osu018" and not OSU018.exists():
        pytest.skip("the library osu018 is not installed; on Debian: apt-get install qflow-tech-osu018")
    verb = ["-m", "stages.hardware.synthesise_multipliers", "--netlists", *NETLISTS[library]]
    run(*verb, "--library", library, "--folder", folder)
    netlists = [folder / f"{name}.json" for name in NETLISTS[library]]
    run(ROOT / "tests/oracles/opensta_judge.py", library, folder / "judged.json", *netlists)
    return json.loads((folder / "judged.json").read_text())


def run(*arguments):
    command = [ROOT / "envs/py", "hardware", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_delays_equal_openstas_for_every_weight(judged):
    equal = 0
    for name, found in judged.items():
        weight, ours = np.array(found["weights"]), np.array(found["ours_ns"])
        theirs = np.array([np.nan if d is None else d for d in found["opensta_ns"]])
        assert abs(np.subtract(*found["unconstrained"])) < TOLERANCE_NS, name
        # without a path OpenSTA has no delay and ours is 0: only where nothing can switch
        assert set(weight[np.isnan(theirs)]) <= {0}, name
        assert (ours[np.isnan(theirs)] == 0).all(), name
        difference = np.nan_to_num(theirs - ours)
        differing = set(weight[np.abs(difference) > TOLERANCE_NS].tolist())
        # a multiplexer of twice the same constant is constant by its truth table, not to OpenSTA: its paths are longer
        assert differing <= set(found["constant_mux"]), name
        assert (difference > -TOLERANCE_NS).all(), name
        equal += not differing
    assert equal >= 2


def test_the_simulation_is_exact_and_within_static_timing(judged):
    for name, found in judged.items():
        assert (found["simulated"], found["wrong"], found["late"]) == (65536, 0, []), name
