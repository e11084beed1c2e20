"""Settings of the stage `hardware` as flags of its commands, quoted for a shell."""

import json
import shlex

from stages.hardware.config import LayerSource, TimingConfig, UserNetlist


def layer_flags(source: LayerSource) -> str:
    """Where `tabulate_layers` takes a table from."""
    if source.shape:
        flags = ["--shape", source.shape, "--tokens", source.tokens]
        flags += ["--context", source.context] if source.context else []
    else:
        flags = ["--net", source.net, "--arguments", json.dumps(source.arguments), "--input", *source.input]
    return shlex.join(map(str, [*flags, "--batch", source.batch]))


def timing_flags(timing: TimingConfig) -> str:
    """Surroundings of the netlists that `profile_weights` is given, where they are not the technology's own."""
    flags = ["--wire-load"] if timing.wire_load else []
    for flag, value in (
        ("--input-slew-ns", timing.input_slew_ns),
        ("--output-load-ff", timing.output_load_ff),
    ):
        flags += [] if value is None else [flag, str(value)]
    return shlex.join(flags)


def user_netlist_flags(user: UserNetlist) -> str:
    """Library, ports and surroundings of a netlist of the user's, for `profile_weights`."""
    values = {
        "--library": user.library,
        "--weight-port": user.weight_port,
        "--activation-port": user.activation_port,
        "--sum-port": user.sum_port,
        "--input-slew-ns": user.input_slew_ns,
        "--output-load-ff": user.output_load_ff,
    } | ({"--top": user.top} if user.top else {})
    # in one word with its flag, so that a value that begins with a hyphen is no flag itself
    return shlex.join(f"{flag}={value}" for flag, value in values.items())
