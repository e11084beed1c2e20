"""What joins scores and operators to routes, on tables small enough to read."""

import pandas as pd
import pytest

from stages.chain.measure_routes import accuracies, bits_of, operator_costs
from stages.chain.networks import read_networks
from stages.chain.time_steps import quantised_call
from stages.lib.core.errors import InputError


def operator(lut, *, weight="INT4", activation="INT4", accumulator="exact", pipeline=0, dsp=False, mhz=None):
    return {
        "weight_format": weight, "activation_format": activation, "bits_w": 4, "bits_a": 4, "signed_w": True,
        "signed_a": True, "microarchitecture": "rows", "accumulator_bits": 20, "accumulator": accumulator,
        "pipeline": pipeline, "dsp_allowed": dsp, "lut": lut, "ecp5_fmax_mhz": mhz,
    }  # fmt: skip


def test_a_lane_is_the_cheapest_exact_operator_and_its_clock_the_routed_ones():
    table = pd.DataFrame(
        [
            operator(40),
            operator(38),
            operator(20, accumulator="paper"),  # its sums are not exact
            operator(10, dsp=True),  # its multiplier is no look-up table
            operator(60, pipeline=1, mhz=170.0),
            operator(61, pipeline=1, mhz=173.5),
            operator(70, weight="INT4", activation="E3M2"),
        ]
    )
    found = operator_costs(table)
    assert found["INT4"] == {"lut_per_lane": 38.0, "ecp5_fmax_mhz": 173.5}
    assert found["INT4xE3M2"]["lut_per_lane"] == 70.0


def test_bits_are_those_of_the_pair():
    assert bits_of("") == (32, 32)
    assert bits_of("E2M1") == (4, 4)
    assert bits_of("INT4xE3M2") == (4, 6)


def test_a_route_takes_the_scores_of_its_network_owner_and_step():
    rows = [
        ("teacher", "everyone", "anna", "float", "selection", 10, 9, 7),
        ("teacher", "everyone", "everyone", "float", "selection", 30, 20, 20),
        ("teacher", "everyone", "anna", "int4", "selection", 10, 6, 4),
        ("teacher+half", "anna", "anna", "int4", "selection", 10, 5, 5),
    ]
    scores = pd.DataFrame(
        rows, columns=["network", "owner", "user", "step", "split", "n", "right", "right_of_all"]
    ).assign(seed=0)
    teacher = {"seed": 0, "route": "teacher", "owner": "everyone"}
    found = accuracies(scores, teacher, "teacher", "anna", "")
    assert found == {"selection_accuracy": 0.9, "selection_n": 10, "selection_all": 20 / 30}
    assert accuracies(scores, teacher, "teacher+int4", "anna", "quantise")["selection_accuracy"] == 0.6
    pruned = {"seed": 0, "route": "teacher+half", "owner": "anna"}
    found = accuracies(scores, pruned, "teacher+half+int4", "anna", "quantise")
    assert found == {"selection_accuracy": 0.5, "selection_n": 10}
    with pytest.raises(InputError, match="no row of teacher\\+half for anna"):
        accuracies(scores, pruned, "teacher+half", "anna", "prune")


def test_a_format_that_no_cpu_multiplies_is_not_timed():
    assert quantised_call("no file is read", "E2M1", 64) is None
    assert quantised_call("no file is read", "INT4xE3M2", 64) is None


@pytest.mark.parametrize("text", ["{", "[1]", '[{"seed": 0}]'])
def test_networks_that_are_none_are_one_sentence(text):
    with pytest.raises(InputError, match="--networks is no JSON list of seed, route, owner, folder"):
        read_networks(text)
