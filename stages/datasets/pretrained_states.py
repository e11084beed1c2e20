"""Names in the states of published checkpoints -> names in our networks; the tensors stay as they are.

A source of config/datasets.yaml says whose names its file has in `options.names`; without it they are ours.
"""

import re
from collections.abc import Callable

from stages.lib.nets.vgg import PLANS


def efficientnet_lite(name: str) -> str:
    """The PyTorch port of TensorFlow's EfficientNet-Lite."""
    return _renamed(name, _EFFICIENTNET)


def torchvision_vit(name: str) -> str:
    """torchvision's vision transformers, which call the MLP's layers linear_1 and linear_2 in older files."""
    return _renamed(name, _VIT)


def torchvision_mobilenet_v2(name: str) -> str:
    """torchvision's MobileNetV2. Activations that are layers of their own here, but not there, shift the numbers."""
    if name.startswith("classifier.1."):
        return name.replace("classifier.1.", "head.")
    if found := re.fullmatch(r"features\.(\d+)\.conv\.(\d+)\.(.+)", name):
        block, layer, rest = int(found[1]), int(found[2]), found[3]
        # before the last convolution and its norm stand the depthwise one and, but in the first block, the expansion
        pairs = 1 if block == 1 else 2
        inner = f"{2 * layer}" if layer < pairs else f"{2 * pairs}.{layer - pairs}"
        return f"body.{block + 1}.body.{inner}.{rest}"
    if found := re.fullmatch(r"features\.(\d+)\.(.+)", name):
        block = int(found[1])
        return f"body.{block + 1 if block else 0}.{found[2]}"
    return name


def torchvision_vgg16_bn(name: str) -> str:
    """torchvision's VGG-16 with batch norm, where a convolution, its norm and its ReLU are three layers, not two."""
    kind, number, rest = name.split(".", 2)
    if kind == "classifier":  # behind the pooling and the flattening
        return f"head.{rest}" if number == "6" else f"body.{_VGG16_LAYERS + 2 + int(number)}.{rest}"
    theirs = ours = 0
    for multiple in PLANS[16]:
        if multiple and theirs <= int(number) < theirs + 2:
            return f"body.{ours}.{int(number) - theirs}.{rest}"
        theirs, ours = (theirs + 3, ours + 2) if multiple else (theirs + 1, ours + 1)
    return name


_VGG16_LAYERS = sum(2 if multiple else 1 for multiple in PLANS[16])

# by the value of options.names
NAMES: dict[str, Callable[[str], str]] = {
    function.__name__: function
    for function in (efficientnet_lite, torchvision_mobilenet_v2, torchvision_vgg16_bn, torchvision_vit)
}

_EFFICIENTNET = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "last.conv."),
    (r"^_bn1\.", "last.norm."),
    (r"^_fc\.", "head."),
    (r"^_blocks\.", "blocks."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.norm."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.norm."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.norm."),
)
_VIT = (
    (r"^class_token$", "token"),
    (r"^conv_proj\.", "embed."),
    (r"^encoder\.pos_embedding$", "positions"),
    (r"^encoder\.layers\.encoder_layer_", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".qkv."),
    (r"\.self_attention\.out_proj\.", ".projection."),
    (r"\.mlp\.(0|linear_1)\.", ".expand."),
    (r"\.mlp\.(3|linear_2)\.", ".contract."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
