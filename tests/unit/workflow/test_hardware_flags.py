"""Flags that rules write are what the commands read: settings come back from the commands' own parsers."""

import json
import shlex

import pytest

from stages.hardware import profile_weights, tabulate_layers
from stages.hardware.config import LayerSource, TimingConfig, UserNetlist
from workflow.lib.hardware_flags import layer_flags, timing_flags, user_netlist_flags

AWKWARD = "a b/$(id);'x'.lib"


@pytest.mark.parametrize(
    "source",
    [
        LayerSource(
            net="vgg.VGG", arguments={"depth": 16, "imagenet_head": True}, input=(3, 64, 32), batch=2
        ),
        LayerSource(shape="opt-1.3b", tokens=1, context=512),
        LayerSource(shape="opt-1.3b", tokens=7),
    ],
)
def test_layer_sources_come_back(source):
    args = tabulate_layers.parse_args([*shlex.split(layer_flags(source)), "--layers", "x.csv"])
    assert args.batch == source.batch
    if source.net:
        assert (args.net, tuple(args.input), json.loads(args.arguments)) == (
            source.net,
            source.input,
            source.arguments,
        )
    else:
        assert (args.shape, args.tokens, args.context or 0) == (source.shape, source.tokens, source.context)


def test_user_netlists_come_back_however_they_are_called():
    user = UserNetlist(
        name="mine", netlist=AWKWARD, library=AWKWARD, top="t", weight_port="q", input_slew_ns=0.3
    )
    command = [*shlex.split(user_netlist_flags(user)), "--netlist", user.netlist, "--profile", "x.csv"]
    args = profile_weights.parse_args(command)
    for key in (
        "library",
        "top",
        "weight_port",
        "activation_port",
        "sum_port",
        "input_slew_ns",
        "output_load_ff",
    ):
        assert getattr(args, key) == getattr(user, key)


@pytest.mark.parametrize("timing", [TimingConfig(), TimingConfig(wire_load=True, output_load_ff=0.0)])
def test_surroundings_come_back(timing):
    command = [*shlex.split(timing_flags(timing)), "--netlist", "n.json", "--profile", "x.csv"]
    args = profile_weights.parse_args(command)
    assert (args.wire_load, args.input_slew_ns, args.output_load_ff) == (
        timing.wire_load,
        timing.input_slew_ns,
        timing.output_load_ff,
    )
