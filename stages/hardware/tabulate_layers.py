"""The layer table of a network: one row for each matrix product, as every cost model reads it.

of a trained network:      python -m stages.hardware.tabulate_layers --model results/laptop/models/resnet20-cifar10
                               --input 3 32 32 --layers layers.csv [--batch 1]
of an untrained network:   python -m stages.hardware.tabulate_layers --net resnet.ResNet
                               --arguments '{"depth": 50, "classes": 1000, "imagenet_stem": true}' --input 3 224 224
                               --layers layers.csv [--batch 1]
of a published language model, from its shape alone:
                           python -m stages.hardware.tabulate_layers --shape llama2-7b --tokens 2048
                               --layers layers.csv [--context 2048] [--batch 1]
"""

import argparse

import pandas as pd

from stages.lib.core.commands import json_object
from stages.lib.core.errors import InputError, run
from stages.lib.costs.layers import write_layers
from stages.lib.costs.model_shapes import SHAPES, decoder_layers, decoder_shape


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.batch < 1:
        raise InputError(f"--batch is {args.batch}; choose 1 or more")
    write_layers(args.layers, shape_layers(args) if args.shape else network_layers(args))


def shape_layers(args: argparse.Namespace) -> pd.DataFrame:
    if args.tokens is None or args.input is not None:
        raise InputError("--shape takes --tokens (2048 for a prompt, 1 to decode one token) and no --input")
    context = args.tokens if args.context is None else args.context
    return decoder_layers(decoder_shape(args.shape), tokens=args.tokens, context=context, batch=args.batch)


def network_layers(args: argparse.Namespace) -> pd.DataFrame:
    # torch takes seconds to import, which a table of a published shape need not wait for
    import torch

    from stages.lib.nets.build import build
    from stages.lib.nets.layer_table import layer_table
    from stages.lib.nets.model_folder import read_model

    if args.input is None or min(args.input) < 1:
        raise InputError(
            "--model and --net take --input CHANNELS HEIGHT WIDTH, each 1 or more: the size of one image"
        )
    # on "meta" tensors have shapes and no values: nothing is computed
    if args.model:
        model = read_model(args.model)[0].to("meta")
    else:
        with torch.device("meta"):
            model = build(args.net, json_object(args.arguments, "--arguments"))
    return layer_table(model, torch.empty(args.batch, *args.input, device="meta"))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="model folder")
    source.add_argument("--net", help="network of stages.lib.nets, module.Class")
    source.add_argument("--shape", help=f"published language model: {', '.join(SHAPES)}")
    parser.add_argument("--arguments", default="{}", help="arguments of --net as JSON")
    parser.add_argument(
        "--input", type=int, nargs=3, metavar=("CHANNELS", "HEIGHT", "WIDTH"), help="of one image"
    )
    parser.add_argument("--tokens", type=int, help="new tokens of each text")
    parser.add_argument("--context", type=int, help="keys they are scored against; default: --tokens")
    parser.add_argument("--batch", type=int, default=1, help="images or texts")
    parser.add_argument("--layers", required=True, help="layers.csv to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
