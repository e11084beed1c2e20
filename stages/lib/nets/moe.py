"""A compact mixture-of-experts language model with Mixtral's layers (Jiang 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MixtralLM(nn.Module):
    """Decoder with grouped-query attention, rotary positions, RMS norm and top-k SwiGLU experts.

    forward  token ids (n, length) -> logits (n, length, vocabulary)
    """

    def __init__(
        self,
        vocabulary: int = 512,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        kv_heads: int = 2,
        expert_width: int = 128,
        experts: int = 8,
        top_k: int = 2,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(
            Layer(width, heads, kv_heads, expert_width, experts, top_k) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Layer(nn.Module):
    def __init__(
        self, width: int, heads: int, kv_heads: int, expert_width: int, experts: int, top_k: int
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, kv_heads)
        self.moe = MixtureOfExperts(width, expert_width, experts, top_k)
        self.attention_norm, self.moe_norm = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.moe(self.moe_norm(x))


class Attention(nn.Module):
    """Causal attention in which `heads / kv_heads` query heads share a key and value head."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.query = nn.Linear(width, heads * self.size, bias=False)
        self.key = nn.Linear(width, kv_heads * self.size, bias=False)
        self.value = nn.Linear(width, kv_heads * self.size, bias=False)
        self.output = nn.Linear(heads * self.size, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        texts, length, _ = x.shape

        def split(t: Tensor, heads: int) -> Tensor:
            return t.view(texts, length, heads, self.size).transpose(1, 2)

        q = rotate(split(self.query(x), self.heads))
        k = rotate(split(self.key(x), self.kv_heads))
        v = split(self.value(x), self.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.output(mixed.transpose(1, 2).reshape(texts, length, -1))


class MixtureOfExperts(nn.Module):
    """Each token goes to the top_k experts of a softmax router, whose shares are normalised to 1."""

    def __init__(self, width: int, expert_width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(Expert(width, expert_width) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        shares, chosen = self.router(tokens).softmax(-1).topk(self.top_k)
        shares = shares / shares.sum(-1, keepdim=True)
        output = torch.zeros_like(tokens)
        for index, expert in enumerate(self.experts):
            rows, rank = (chosen == index).nonzero(as_tuple=True)
            output.index_add_(0, rows, shares[rows, rank, None] * expert(tokens[rows]))
        return output.view_as(x)


class Expert(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, width: int, expert_width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, expert_width, bias=False)
        self.up = nn.Linear(width, expert_width, bias=False)
        self.down = nn.Linear(expert_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def rotate(x: Tensor, base: float = 1e6) -> Tensor:
    """Rotary positions (Su 2021) of (n, heads, length, size); `base` is Mixtral's rope_theta."""
    length, size = x.shape[-2:]
    frequency = base ** (-torch.arange(0, size, 2, device=x.device, dtype=torch.float32) / size)
    angle = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos().repeat(1, 2).to(x.dtype), angle.sin().repeat(1, 2).to(x.dtype)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
