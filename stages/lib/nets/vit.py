"""Vision transformer (Dosovitskiy 2021): class token, learned positions, pre-norm blocks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.lib.nets.layers import Classifier


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        # nothing is unpacked or counted in Python: torch.fx, which the quantiser needs, cannot follow that
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * qkv.size(-1) ** -0.5, qkv[1], qkv[2]
        # spelled out: on a CPU the fused kernel's bfloat16 gradient takes five times as long as all the rest
        mixed = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        x = x + self.projection(mixed.transpose(1, 2).flatten(2))
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class ViT(Classifier):
    """ViT-B/32 is size 224, patch 32, width 768, depth 12, heads 12."""

    def __init__(
        self,
        channels: int = 1,
        classes: int = 10,
        size: int = 28,
        patch: int = 4,
        width: int = 64,
        depth: int = 6,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if size % patch or width % heads:
            raise ValueError(f"size {size} must divide by patch {patch}, and width {width} by heads {heads}")
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, (size // patch) ** 2 + 1, width).normal_(std=0.02))
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.size(0), -1, -1), patches], 1) + self.positions
        return self.norm(self.blocks(tokens))[:, 0]
