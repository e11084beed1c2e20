"""A network made ready for quantisation: batch norms folded, every Conv2d and Linear in a QuantisedLayer.

The input and the weight of such a layer are rounded to a format and scaled back in float32 ("fake
quantisation"); sums stay in float32, as in the paper. What is no input of such a layer stays float:
additions, pooling, attention, and norms that do not directly follow a convolution.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx, nn

from stages.lib.nets.graph import fused, set_module_, sliding_windows
from stages.lib.numerics.formats import Format
from stages.lib.numerics.torch_quantisers import quantise
from stages.lib.numerics.torch_scales import quantise_groups


class QuantisedLayer(nn.Module):
    """A Conv2d or Linear whose input and weight are rounded; a format that is None leaves them as they are.

    float_weight, float_bias  of the float network
    weight_scale              broadcastable to the weight; activation_scale  one value
    activation_group          channels that share a power of two, found for each input (MX); 0: activation_scale
    input_multiplier          (in,) by which the input is multiplied first (SmoothQuant), or None
    """

    float_weight: Tensor
    float_bias: Tensor | None
    weight_scale: Tensor
    activation_scale: Tensor
    input_multiplier: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("float_weight", layer.weight.detach().clone(), persistent=False)
        self.register_buffer("float_bias", bias, persistent=False)
        self.register_buffer("weight_scale", torch.ones(()), persistent=False)
        self.register_buffer("activation_scale", torch.ones(()), persistent=False)
        self.register_buffer("input_multiplier", None, persistent=False)
        self.weight_format: Format | None = None
        self.activation_format: Format | None = None
        self.activation_group = 0

    @property
    def channel_dim(self) -> int:
        """The dimension of channels in the layer's input and output."""
        return 1 if isinstance(self.layer, nn.Conv2d) else -1

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            # under autocast the products would be rounded to bfloat16, which hides the formats' own error
            x = self.quantised_input(x)
            return self.layer(x)

    def quantised_input(self, x: Tensor) -> Tensor:
        """What the layer multiplies its weights by."""
        x = self.smoothed(x)
        if self.activation_format is None:
            return x
        if self.activation_group:
            return quantise_groups(
                x.float(), self.activation_format, group=self.activation_group, dim=self.channel_dim
            )
        return quantise(x.float(), self.activation_format, self.activation_scale)

    def smoothed(self, x: Tensor) -> Tensor:
        """The input times `input_multiplier`, before any rounding."""
        if self.input_multiplier is None:
            return x
        return x * along_channels(self.input_multiplier, x.dim(), self.channel_dim)

    @torch.no_grad()
    def restore_(self) -> None:
        """Back to the float layer."""
        self.layer.weight.copy_(self.float_weight)
        if self.float_bias is None:
            self.layer.bias = None
        else:
            assert self.layer.bias is not None  # a layer never loses its bias
            self.layer.bias.copy_(self.float_bias)
        self.weight_format = self.activation_format = None
        self.activation_group = 0

    @torch.no_grad()
    def add_to_bias_(self, amount: Tensor) -> None:
        """Add (out,) to the bias; a layer without one gets one."""
        if self.layer.bias is None:
            self.layer.bias = nn.Parameter(torch.zeros_like(amount), requires_grad=False)
        self.layer.bias.add_(amount)


def prepare(model: nn.Module) -> fx.GraphModule:
    """A traced copy in evaluation mode with batch norms folded and QuantisedLayer around Conv2d and Linear.

    Raises InputError where torch.fx cannot trace the network.
    """
    folded = fused(model)
    for name in dict.fromkeys(_layer_names(folded)):
        set_module_(folded, name, QuantisedLayer(folded.get_submodule(name)))
    return folded.requires_grad_(False)


def layers(prepared: fx.GraphModule) -> dict[str, QuantisedLayer]:
    """The quantised layers by name, in the order in which the network uses them."""
    modules = {
        n.target: prepared.get_submodule(n.target) for n in prepared.graph.nodes if n.op == "call_module"
    }
    return {name: module for name, module in modules.items() if isinstance(module, QuantisedLayer)}


def float_network_(prepared: fx.GraphModule) -> None:
    """Back to the float network."""
    for layer in layers(prepared).values():
        layer.restore_()


@torch.inference_mode()
def logits_in_batches(model: nn.Module, images: Tensor, *, batch: int) -> Tensor:
    """(n, classes) float32."""
    return torch.cat([model(part) for part in images.split(batch)])


def im2col(layer: nn.Conv2d, padded: Tensor) -> Tensor:
    """(groups, K, n * positions): a convolution as a product with its flattened weight.

    K = in / groups * kernel height * kernel width
    """
    length = layer.weight[0].numel()
    return sliding_windows(layer, padded).reshape(layer.groups, length, -1)


def along_channels(values: Tensor, dims: int, channel_dim: int) -> Tensor:
    """(channels,) values shaped to be broadcast against a tensor of `dims` dimensions."""
    shape = [1] * dims
    shape[channel_dim] = -1
    return values.view(shape)


def _layer_names(traced: fx.GraphModule) -> Iterator[str]:
    calls: Sequence[str] = [n.target for n in traced.graph.nodes if n.op == "call_module"]
    return (name for name in calls if isinstance(traced.get_submodule(name), nn.Conv2d | nn.Linear))
