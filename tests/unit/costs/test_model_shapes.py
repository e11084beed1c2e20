"""Decoder shapes have the published numbers of parameters and the layers that transformers really computes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from stages.lib.core.errors import InputError
from stages.lib.costs.layers import macs, weights
from stages.lib.costs.model_shapes import (
    SHAPES,
    DecoderShape,
    decoder_layers,
    decoder_shape,
    parameter_count,
)

# parameters of the published checkpoints
PUBLISHED = {
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "opt-1.3b": 1_315_758_080,
    "opt-2.7b": 2_651_596_800,
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
    "opt-30b": 29_974_540_288,
    "mixtral-8x7b": 46_702_792_704,
    "smollm2-135m": 134_515_008,
}
SMALL = {
    "llama": DecoderShape(
        family="llama", hidden=48, layers=2, heads=6, kv_heads=2, ffn=80, vocabulary=97, tied=True
    ),
    "opt": DecoderShape(
        family="opt", hidden=48, layers=2, heads=6, kv_heads=6, ffn=96, vocabulary=97, positions=66, tied=True
    ),
    "mixtral": DecoderShape(
        family="mixtral",
        hidden=48,
        layers=2,
        heads=6,
        kv_heads=2,
        ffn=80,
        vocabulary=97,
        experts=4,
        top_k=2,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_published_model_and_of_transformers(name):
    shape = SHAPES[name]
    judge = transformers_model(shape, device="meta")
    assert parameter_count(shape) == PUBLISHED[name]
    assert parameter_count(shape) == sum(p.numel() for p in judge.parameters())
    # every tensor of a layer table exists and is used to its last element (16 tokens reach all experts)
    table = decoder_layers(shape, tokens=16, context=16)
    used = (
        table.assign(weights=weights(table)).query("weight_name != ''").groupby("weight_name").weights.sum()
    )
    state = judge.state_dict()
    assert {tensor: state[tensor].numel() for tensor in used.index} == used.to_dict()
    norms_and_embeddings = ("norm", "embed", "bias")
    left = [
        n
        for n, _ in judge.named_parameters()
        if n not in used and not any(w in n for w in norms_and_embeddings)
    ]
    assert left == []


@pytest.mark.parametrize(("tokens", "context", "batch"), [(11, 11, 2), (1, 9, 3)])
@pytest.mark.parametrize("family", SMALL)
def test_macs_are_those_that_transformers_computes(family, tokens, context, batch):
    shape = SMALL[family]
    judge = transformers_model(shape, device="cpu")
    cache = DynamicCache(config=judge.config)
    with torch.inference_mode():
        if context > tokens:
            judge(
                torch.ones(batch, context - tokens, dtype=torch.long), past_key_values=cache, use_cache=True
            )
        with FlopCounterMode(display=False) as counter:
            judge(torch.ones(batch, tokens, dtype=torch.long), past_key_values=cache, use_cache=True)
    counts = counter.get_flop_counts()
    # the angles of rotary positions come from a small product of their own
    angles = sum(sum(ops.values()) for module, ops in counts.items() if module.endswith("rotary_emb"))
    table = decoder_layers(shape, tokens=tokens, context=context, batch=batch)
    assert 2 * macs(table).sum() == counter.get_total_flops() - angles


def test_attention_reads_every_key_and_value_once():
    shape = SHAPES["mixtral-8x7b"]
    table = decoder_layers(shape, tokens=1, context=1000, batch=4).query("kind == 'attention'")
    # the cache: 2 * layers * texts * tokens * key-value heads * head size
    assert (table.groups * table.k * table.n).sum() == 2 * 32 * 4 * 1000 * 8 * 128


def test_one_token_visits_top_k_experts():
    table = decoder_layers(SHAPES["mixtral-8x7b"], tokens=1, context=5)
    experts = table[table.name.str.contains(r"layers\.7\.mlp\.experts.*down", regex=True)]
    assert experts.m.tolist() == [1, 1]
    prompt = decoder_layers(SHAPES["mixtral-8x7b"], tokens=9, context=9)
    experts = prompt[prompt.name.str.contains(r"layers\.7\.mlp\.experts.*down", regex=True)]
    assert experts.m.tolist() == [3, 3, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: decoder_shape("llama3"), "no model shape 'llama3'; choose one of llama2-7b"),
        (lambda: decoder_layers(SMALL["llama"], tokens=0, context=1), "tokens is 0"),
        (lambda: decoder_layers(SMALL["llama"], tokens=1, context=1, batch=-1), "batch is -1"),
        (lambda: decoder_layers(SMALL["llama"], tokens=8, context=7), "context of 7 is shorter than the 8"),
    ],
)
def test_a_wrong_wish_is_one_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


def transformers_model(shape, *, device):
    """The same model made by transformers, with random weights (on "meta": none), eager attention and experts."""
    common = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "tie_word_embeddings": shape.tied,
        "attn_implementation": "eager",
    }
    if shape.family == "opt":
        kind, config = (
            OPTForCausalLM,
            OPTConfig(
                ffn_dim=shape.ffn,
                word_embed_proj_dim=shape.hidden,
                max_position_embeddings=shape.positions - 2,
                **common,
            ),
        )
    else:
        common |= {"num_key_value_heads": shape.kv_heads, "intermediate_size": shape.ffn}
        if shape.family == "llama":
            kind, config = LlamaForCausalLM, LlamaConfig(**common)
        else:
            experts = {"num_local_experts": shape.experts, "num_experts_per_tok": shape.top_k}
            kind, config = (
                MixtralForCausalLM,
                MixtralConfig(experts_implementation="eager", **experts, **common),
            )
    torch.manual_seed(0)
    with torch.device(device):
        return kind(config).eval()
