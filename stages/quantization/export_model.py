"""A trained network, quantised after training, as a folder of codes and as an ONNX model (minifloats notes, 9).

python -m stages.quantization.export_model --model results/laptop/models/resnet20-cifar10
    --train data/prepared/cifar10/train --config '{"formats": "E2M1", "technique": "gptq", "edge_format": "INT8"}'
    --folder resnet20-e2m1 --onnx resnet20-e2m1.onnx

The folder holds weights.safetensors (codes and scales), formats.json and model.json; quantised_folder.read_quantised
reads it. Before the ONNX model takes its place, onnxruntime runs it on calibration images: every quantiser must agree
with ours bit for bit, and all between them to float32 rounding.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import onnx
from torch import Tensor, fx

from stages.lib.core.artifacts import atomic_path, read_json
from stages.lib.core.commands import from_json
from stages.lib.core.errors import run
from stages.lib.core.prepared import read_images
from stages.lib.core.seeds import generator
from stages.lib.nets.model_folder import read_model
from stages.lib.training.device import CHOICES, choose_device
from stages.lib.training.images import normalise
from stages.quantization.config import ExportConfig, Technique
from stages.quantization.onnx_check import FLOAT_ROUNDING, OnnxCheck, check_onnx, runs_in_onnxruntime
from stages.quantization.onnx_export import default_form, to_onnx
from stages.quantization.ptq import quantise_model, technique_of
from stages.quantization.quantised_folder import write_quantised
from stages.quantization.sweep import draw_images

CHECKED_IMAGES = 64


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config, technique, classes = read_plan(args)
    device = choose_device(args.device)
    model, info = read_model(args.model)
    train = read_images(args.train)
    if classes:
        train = train.of_classes(classes)
    rng = generator(config.seed, "calibration")
    drawn = draw_images(len(train.images), selection=0, calibration=config.calibration_images, rng=rng)
    images = normalise(train.images[drawn], info.mean, info.std).to(device)
    prepared = quantise_model(
        model.to(device),
        config.formats,
        images,
        technique=technique,
        edge_format=config.edge_format or None,
        layer_formats=config.layer_formats,
        percentile=config.percentile,
        signs=config.signs,
    ).cpu()
    if args.onnx:
        write_onnx(args.onnx, prepared, images[:CHECKED_IMAGES].cpu(), form=config.form or None)
    recipe = asdict(config) | {"calibration_images": len(drawn), "calibration_digest": train.info.digest}
    recipe |= {"calibration_classes": classes} if classes else {}
    write_quantised(args.folder, prepared, info, technique=technique, recipe=recipe)
    print(f"{args.folder}: {info.net}, {sizes(Path(args.folder))}")


def read_plan(args: argparse.Namespace) -> tuple[ExportConfig, Technique, list[str]]:
    """Settings, technique and classes to calibrate on (all where it is empty), of --plan or of the other arguments."""
    if args.plan:
        plan = read_json(args.plan)
        config, technique = (
            from_json(kind, json.dumps(plan.get(key, {})), where=f"{args.plan}: {key}")
            for kind, key in ((ExportConfig, "export"), (Technique, "technique"))
        )
        return config, technique, list(plan.get("classes", []))
    config = from_json(ExportConfig, args.config, where="--config")
    if args.technique:
        return config, from_json(Technique, args.technique, where="--technique"), []
    return config, technique_of(config.technique), []


def write_onnx(path: str, prepared: fx.GraphModule, images: Tensor, *, form: str | None) -> None:
    """Write the ONNX model once onnxruntime agrees with the network on the images."""
    form = form or default_form(prepared)
    model = to_onnx(prepared, images[:2], form=form)
    print(f"ONNX form {form}, opset {model.opset_import[0].version}, {model.ByteSize()} bytes")
    if runs_in_onnxruntime(model):
        check = check_onnx(prepared, model, images)
        print(f"onnxruntime on {len(images)} calibration images: {describe(check)}")
        if check.differing or check.between_quantisers > FLOAT_ROUNDING:
            raise RuntimeError("the ONNX model does not compute what the quantised network computes")
    else:
        print(
            "not checked: onnxruntime's CPU provider has no FLOAT4E2M1; the form qonnx gives a model that it runs"
        )
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)


def describe(check: OnnxCheck) -> str:
    equal = check.quantisers - check.differing
    lines = [
        f"{equal} of {check.quantisers} quantisers agree bit for bit; between them at most"
        f" {check.between_quantisers:.1e} of the largest value"
    ]
    for how, found in (("as written", check.as_written), ("with its integer kernels", check.optimised)):
        lines.append(
            f"  {how}: logits differ by at most {found.largest:.1e}, equal to float rounding for"
            f" {found.equal:.1%}, same class for {found.same_class:.1%}"
        )
    return "\n".join(lines)


def sizes(folder: Path) -> str:
    formats = json.loads((folder / "formats.json").read_text(encoding="utf-8"))
    size = (folder / "weights.safetensors").stat().st_size
    return f"weights.safetensors {size} bytes; weights and scales packed {formats['packed_bits'] // 8} bytes"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder of the float network")
    parser.add_argument("--train", required=True, help="prepared training split, for calibration")
    parser.add_argument("--config", default="{}", help="ExportConfig as JSON; its model is not used")
    parser.add_argument("--technique", default="", help="Technique as JSON, in place of the config's name")
    parser.add_argument("--plan", help="JSON file in their place: export (ExportConfig), technique, classes")
    parser.add_argument("--folder", required=True, help="model folder to write")
    parser.add_argument("--onnx", help="ONNX model to write")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
