"""A mixture-of-experts language model: Mixtral's layers (Jiang 2024), and what its kin do otherwise.

Its parts are called one at a time by an engine that keeps some experts elsewhere: `embed`, `attend`, `route`, the
experts, `read_out`. `forward` does all of it in one place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Choice:
    """What a router says of each token.

    logits   (tokens, experts) before the softmax
    shares   (tokens, top_k) weights of the chosen experts' outputs
    experts  (tokens, top_k) int64, the best first
    """

    logits: Tensor
    shares: Tensor
    experts: Tensor


class KeyValueCache:
    """Keys and values of what a decoder has read, (n, kv_heads, length, size) of each a layer.

    Room doubles when it is used up, so that a new token costs no copy of all those before it.
    """

    def __init__(self) -> None:
        self.rooms: dict[int, Tensor] = {}
        self.lengths: dict[int, int] = {}

    def append_(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of the layer, the new ones last."""
        start = self.lengths.get(layer, 0)
        end = start + key.shape[2]
        if layer not in self.rooms or end > self.rooms[layer].shape[3]:
            room = key.new_empty(2, *key.shape[:2], 2 * end, key.shape[3])
            if start:
                room[:, :, :, :start] = self.rooms[layer][:, :, :, :start]
            self.rooms[layer] = room
        self.rooms[layer][0, :, :, start:end], self.rooms[layer][1, :, :, start:end] = key, value
        self.lengths[layer] = end
        keys, values = self.rooms[layer][:, :, :, :end]
        return keys, values

    def of_rows(self, rows: Tensor) -> "KeyValueCache":
        """The same of some texts, by index, in this order and with repetition."""
        found = KeyValueCache()
        found.rooms = {layer: room[:, rows] for layer, room in self.rooms.items()}
        found.lengths = dict(self.lengths)
        return found

    @property
    def length(self) -> int:
        return self.lengths.get(0, 0)


class MoeLM(nn.Module):
    """Decoder with grouped-query attention, rotary positions and top-k SwiGLU experts; Mixtral's, unless told otherwise.

    shared_width    of an expert that every token passes, through a gate of its own (Qwen2-MoE); 0: none
    gating          normalised: shares of the chosen add up to 1 (Mixtral); plain: they are the softmax over all
                    experts (OLMoE); sparsemixer: Phi-3.5-MoE's, top 2 only
    norm            rms, or layer: with a mean and a bias (Phi-3.5-MoE)
    query_key_norm  none, whole: over all heads (OLMoE), or head: of each (Qwen3-MoE)
    attention_bias  none, all, or inputs: of query, key and value (Qwen2-MoE)
    tied            the embedding reads out too

    forward  token ids (n, length) -> logits (n, length, vocabulary)
    """

    def __init__(
        self,
        vocabulary: int = 512,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        kv_heads: int = 2,
        head_width: int = 0,
        expert_width: int = 128,
        experts: int = 8,
        top_k: int = 2,
        shared_width: int = 0,
        gating: str = "normalised",
        norm: str = "rms",
        norm_epsilon: float = 1e-5,
        query_key_norm: str = "none",
        attention_bias: str = "none",
        head_bias: bool = False,
        tied: bool = False,
        rope_base: float = 1e6,
    ) -> None:
        super().__init__()
        self.rope_base, self.head_width = rope_base, head_width or width // heads

        def new_norm(size: int) -> nn.Module:
            kind = nn.LayerNorm if norm == "layer" else nn.RMSNorm
            return kind(size, eps=norm_epsilon)

        def new_layer() -> Layer:
            attention = Attention(
                width, heads, kv_heads, self.head_width, attention_bias, query_key_norm, norm_epsilon
            )
            moe = MixtureOfExperts(width, expert_width, experts, top_k, gating, shared_width)
            return Layer(attention, moe, new_norm(width), new_norm(width))

        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(new_layer() for _ in range(layers))
        self.norm = new_norm(width)
        self.head = None if tied else nn.Linear(width, vocabulary, bias=head_bias)
        if tied:
            nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(
        self,
        tokens: Tensor,
        cache: KeyValueCache | None = None,
        watch: Callable[[int, Tensor, Choice], None] | None = None,
    ) -> Tensor:
        """watch  is called in each layer with its number, the experts' input (tokens, width) and what was chosen"""
        x, turn = self.embed(tokens, cache.length if cache else 0)
        for index, layer in enumerate(self.layers):
            x, h = layer.attend(x, turn, cache, index)
            choice = layer.moe.route(h)
            if watch:
                watch(index, h, choice)
            x = x + layer.moe.mix(h, choice).view_as(x)
        return self.read_out(x)

    def embed(self, tokens: Tensor, start: int = 0) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(n, length, width) of the tokens, and how their positions, the first of which is `start`, turn keys."""
        return self.embedding(tokens), rotation(
            start, tokens.shape[1], self.head_width, self.rope_base, tokens.device
        )

    def read_out(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.head(x) if self.head else F.linear(x, self.embedding.weight)


class Layer(nn.Module):
    def __init__(
        self, attention: nn.Module, moe: nn.Module, attention_norm: nn.Module, moe_norm: nn.Module
    ) -> None:
        super().__init__()
        self.attention, self.moe = attention, moe
        self.attention_norm, self.moe_norm = attention_norm, moe_norm

    def attend(
        self, x: Tensor, turn: tuple[Tensor, Tensor], cache: KeyValueCache | None = None, index: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The residual stream after attention (n, length, width), and the experts' input (n * length, width)."""
        x = x + self.attention(self.attention_norm(x), turn, cache, index)
        return x, self.moe_norm(x).view(-1, x.shape[-1])


class Attention(nn.Module):
    """Causal attention in which `heads / kv_heads` query heads share a key and value head."""

    def __init__(
        self, width: int, heads: int, kv_heads: int, size: int, bias: str, norm: str, epsilon: float
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size, self.per_head = heads, kv_heads, size, norm == "head"
        inputs = bias in ("all", "inputs")
        self.query = nn.Linear(width, heads * size, bias=inputs)
        self.key = nn.Linear(width, kv_heads * size, bias=inputs)
        self.value = nn.Linear(width, kv_heads * size, bias=inputs)
        self.output = nn.Linear(heads * size, width, bias=bias == "all")
        self.query_norm: nn.Module = nn.Identity()
        self.key_norm: nn.Module = nn.Identity()
        if norm != "none":
            self.query_norm = nn.RMSNorm(size if self.per_head else heads * size, eps=epsilon)
            self.key_norm = nn.RMSNorm(size if self.per_head else kv_heads * size, eps=epsilon)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], cache: KeyValueCache | None = None, index: int = 0
    ) -> Tensor:
        texts, length, _ = x.shape

        def split(t: Tensor, norm: nn.Module) -> Tensor:
            if not self.per_head:
                t = norm(t)
            t = t.view(texts, length, -1, self.size)
            return (norm(t) if self.per_head else t).transpose(1, 2)

        q = rotate(split(self.query(x), self.query_norm), turn)
        k = rotate(split(self.key(x), self.key_norm), turn)
        v = self.value(x).view(texts, length, -1, self.size).transpose(1, 2)
        if cache:
            k, v = cache.append_(index, k, v)
        # one new token may look at everything; several start where nothing was read before
        mixed = F.scaled_dot_product_attention(
            q, k, v, is_causal=length > 1, enable_gqa=self.heads > self.kv_heads
        )
        return self.output(mixed.transpose(1, 2).reshape(texts, length, -1))


class MixtureOfExperts(nn.Module):
    """Each token goes to the top_k experts that its router likes best."""

    def __init__(
        self, width: int, expert_width: int, experts: int, top_k: int, gating: str, shared_width: int
    ) -> None:
        super().__init__()
        if gating not in GATINGS:
            raise ValueError(f"gating is {gating!r}: choose from {', '.join(GATINGS)}")
        self.top_k, self.gating = top_k, gating
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(Expert(width, expert_width) for _ in range(experts))
        if shared_width:
            self.shared = Expert(width, shared_width)
            self.shared_router = nn.Linear(width, 1, bias=False)

    def route(self, h: Tensor) -> Choice:
        return self.choose(self.router(h))

    def choose(self, logits: Tensor) -> Choice:
        return Choice(logits, *GATINGS[self.gating](logits.float(), self.top_k))

    def mix(self, h: Tensor, choice: Choice) -> Tensor:
        """(tokens, width): sum of the chosen experts' outputs, each expert called once for all its tokens."""
        order = choice.experts.flatten().argsort(stable=True)
        counts = torch.bincount(choice.experts.flatten(), minlength=len(self.experts)).tolist()
        rows = order // choice.experts.shape[1]
        outputs = [
            expert(part)
            for expert, part in zip(self.experts, h[rows].split(counts), strict=True)
            if len(part)
        ]
        weighted = torch.cat(outputs) * choice.shares.flatten()[order, None].to(h.dtype)
        mixed = torch.zeros_like(h).index_add_(0, rows, weighted.to(h.dtype))
        return mixed + self.always(h) if hasattr(self, "shared") else mixed

    def always(self, h: Tensor) -> Tensor:
        """Output of the expert that all tokens share."""
        return self.shared_router(h).sigmoid() * self.shared(h)


class Expert(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, width: int, expert_width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, expert_width, bias=False)
        self.up = nn.Linear(width, expert_width, bias=False)
        self.down = nn.Linear(expert_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def normalised(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    shares, experts = plain(logits, top_k)
    return shares / shares.sum(-1, keepdim=True), experts


def plain(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    return logits.softmax(-1).topk(top_k)


def sparsemixer(logits: Tensor, top_k: int, *, jitter: float = 0.01) -> tuple[Tensor, Tensor]:
    """Phi-3.5-MoE's choice (Liu 2024, arXiv 2409.12136) as it is evaluated: the best, then the best of the others.

    Each share is a softmax over the experts that come within 2 * jitter of the one chosen, so two need not add up to 1.
    """
    shares, experts, left = [], [], logits
    for _ in range(top_k):
        best, chosen = left.max(-1, keepdim=True)
        far = (best - logits) / torch.maximum(logits.abs(), best) > 2 * jitter
        shares.append(left.masked_fill(far, float("-inf")).softmax(-1).gather(-1, chosen))
        experts.append(chosen)
        left = left.scatter(-1, chosen, float("-inf"))
    return torch.cat(shares, -1), torch.cat(experts, -1)


GATINGS = {"normalised": normalised, "plain": plain, "sparsemixer": sparsemixer}


def rotation(start: int, length: int, size: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (length, size) of rotary positions (Su 2021) from `start` on."""
    frequency = base ** (-torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
    position = torch.arange(start, start + length, device=device, dtype=torch.float32)
    angle = (position[:, None] * frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (n, heads, length, size), turned by its positions."""
    cos, sin = (t.to(x.dtype) for t in turn)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
