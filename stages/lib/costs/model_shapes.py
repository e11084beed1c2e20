"""Published decoder language models as layer tables: their shapes alone, without a weight.

Shapes are the public configurations: OPT (Zhang 2022, table 1), LLaMA 2 (Touvron 2023), Mixtral (Jiang 2024),
SmolLM2 (Ben Allal 2025). Layer and tensor names are those of the library `transformers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from stages.lib.core.errors import InputError
from stages.lib.costs.layers import LAYER_COLUMNS, check_layers

Row = tuple[str, str, int, int, int, int, str]


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """Sizes of a decoder.

    family      "llama", "opt" or "mixtral": which layers a block has and what they are called
    ffn         inner width of the feed-forward layers (of one expert)
    experts     feed-forward networks of a block, of which a token visits top_k
    positions   rows of a learned position table; 0 for rotary positions
    tied        the output layer is the embedding table
    """

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    experts: int = 1
    top_k: int = 1
    positions: int = 0
    tied: bool = False

    def __post_init__(self) -> None:
        if self.family not in ("llama", "opt", "mixtral"):
            raise ValueError(f"the family {self.family!r} is unknown; choose llama, opt or mixtral")
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"{self.hidden} channels, {self.heads} heads and {self.kv_heads} key-value heads do not divide"
            )

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


def _llama(hidden: int, layers: int, heads: int, ffn: int) -> DecoderShape:
    return DecoderShape(
        family="llama",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        ffn=ffn,
        vocabulary=32_000,
    )


def _opt(hidden: int, layers: int, heads: int) -> DecoderShape:
    # 2,048 positions after the two that OPT's table leaves unused
    return DecoderShape(
        family="opt",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        ffn=4 * hidden,
        vocabulary=50_272,
        positions=2_050,
        tied=True,
    )


SHAPES = {
    "llama2-7b": _llama(4096, 32, 32, 11_008),
    "llama2-13b": _llama(5120, 40, 40, 13_824),
    "opt-1.3b": _opt(2048, 24, 32),
    "opt-2.7b": _opt(2560, 32, 32),
    "opt-6.7b": _opt(4096, 32, 32),
    "opt-13b": _opt(5120, 40, 40),
    "opt-30b": _opt(7168, 48, 56),
    "mixtral-8x7b": DecoderShape(
        family="mixtral",
        hidden=4096,
        layers=32,
        heads=32,
        kv_heads=8,
        ffn=14_336,
        vocabulary=32_000,
        experts=8,
        top_k=2,
    ),
    "smollm2-135m": DecoderShape(
        family="llama", hidden=576, layers=30, heads=9, kv_heads=3, ffn=1_536, vocabulary=49_152, tied=True
    ),
}


def decoder_shape(name: str) -> DecoderShape:
    """The published shape of that name. Raises InputError for another name."""
    if name not in SHAPES:
        raise InputError(f"there is no model shape {name!r}; choose one of {', '.join(SHAPES)}")
    return SHAPES[name]


def decoder_layers(shape: DecoderShape, *, tokens: int, context: int, batch: int = 1) -> pd.DataFrame:
    """The layer table of one pass: all linear layers with the head, and both products of the attention.

    tokens      new tokens of each text: the prompt's length (prefill), or 1 (decode)
    context     keys that each of them is scored against: tokens (prefill), or the length so far with the new token
                (decode). The causal mask saves nothing here: masked scores are computed, as dense arrays do
    batch       texts

    Attention has one group a text and key-value head, in which the query heads that share it stack their rows, so that
    groups * k * n elements of keys (values) are read. Experts are modelled as evenly loaded: an expert without a token
    has no row. The head scores every token, as an evaluation of perplexity needs.
    Raises InputError where a number is less than 1 or the context is shorter than the tokens.
    """
    for name, value in (("tokens", tokens), ("context", context), ("batch", batch)):
        if value < 1:
            raise InputError(f"{name} is {value}; choose 1 or more")
    if context < tokens:
        raise InputError(
            f"the context of {context} is shorter than the {tokens} new tokens; it includes them"
        )
    rows: list[Row] = []
    prefix = "model.decoder.layers" if shape.family == "opt" else "model.layers"
    for index in range(shape.layers):
        at = f"{prefix}.{index}"
        rows += _attention(shape, f"{at}.self_attn", tokens=tokens, context=context, batch=batch)
        rows += _FEED_FORWARD[shape.family](shape, at, batch * tokens)
    embedding = "model.decoder.embed_tokens" if shape.family == "opt" else "model.embed_tokens"
    head = _linear("lm_head", batch * tokens, shape.hidden, shape.vocabulary)
    rows.append((*head[:-1], f"{embedding}.weight") if shape.tied else head)
    return check_layers(pd.DataFrame(rows, columns=list(LAYER_COLUMNS)), where="decoder_layers")


def parameter_count(shape: DecoderShape) -> int:
    """All parameters: matrices, biases, norms, embeddings and positions."""
    hidden, ffn = shape.hidden, shape.ffn
    attention = 2 * hidden**2 + 2 * hidden * shape.kv_heads * shape.head_size
    if shape.family == "opt":
        norm = 2 * hidden  # scale and shift
        block = attention + 4 * hidden + 2 * hidden * ffn + ffn + hidden + 2 * norm
    else:
        norm = hidden
        router = hidden * shape.experts if shape.family == "mixtral" else 0
        block = attention + router + shape.experts * 3 * hidden * ffn + 2 * norm
    tables = (shape.vocabulary * (1 if shape.tied else 2) + shape.positions) * hidden
    return tables + shape.layers * block + norm


def _attention(shape: DecoderShape, at: str, *, tokens: int, context: int, batch: int) -> Iterator[Row]:
    m, kv_width = batch * tokens, shape.kv_heads * shape.head_size
    groups, rows = batch * shape.kv_heads, tokens * shape.heads // shape.kv_heads
    yield _linear(f"{at}.q_proj", m, shape.hidden, shape.hidden)
    yield _linear(f"{at}.k_proj", m, shape.hidden, kv_width)
    yield _linear(f"{at}.v_proj", m, shape.hidden, kv_width)
    yield f"{at}.scores", "attention", rows, shape.head_size, context, groups, ""
    yield f"{at}.values", "attention", rows, context, shape.head_size, groups, ""
    yield _linear(f"{at}.{'out_proj' if shape.family == 'opt' else 'o_proj'}", m, shape.hidden, shape.hidden)


def _llama_feed_forward(shape: DecoderShape, at: str, m: int) -> Iterator[Row]:
    yield _linear(f"{at}.mlp.gate_proj", m, shape.hidden, shape.ffn)
    yield _linear(f"{at}.mlp.up_proj", m, shape.hidden, shape.ffn)
    yield _linear(f"{at}.mlp.down_proj", m, shape.ffn, shape.hidden)


def _opt_feed_forward(shape: DecoderShape, at: str, m: int) -> Iterator[Row]:
    yield _linear(f"{at}.fc1", m, shape.hidden, shape.ffn)
    yield _linear(f"{at}.fc2", m, shape.ffn, shape.hidden)


def _mixtral_feed_forward(shape: DecoderShape, at: str, m: int) -> Iterator[Row]:
    yield _linear(f"{at}.mlp.gate", m, shape.hidden, shape.experts)
    each, more = divmod(m * shape.top_k, shape.experts)
    for expert in range(shape.experts):
        if visits := each + (expert < more):
            # transformers keeps the experts of a block, and gate beside up, in one tensor
            name, tensor = f"{at}.mlp.experts.{expert}", f"{at}.mlp.experts"
            sizes = (visits, shape.hidden, 2 * shape.ffn, 1)
            yield f"{name}.gate_up_proj", "linear", *sizes, f"{tensor}.gate_up_proj"
            sizes = (visits, shape.ffn, shape.hidden, 1)
            yield f"{name}.down_proj", "linear", *sizes, f"{tensor}.down_proj"


_FEED_FORWARD = {
    "llama": _llama_feed_forward,
    "opt": _opt_feed_forward,
    "mixtral": _mixtral_feed_forward,
}


def _linear(name: str, m: int, k: int, n: int) -> Row:
    return name, "linear", m, k, n, 1, f"{name}.weight"
