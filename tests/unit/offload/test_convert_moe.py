"""Folders of transformers, made by transformers itself, read by ours: the judge is its own model on the same weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from stages.lib.core.errors import InputError
from stages.offload.convert_moe import main
from stages.offload.model import read_moe

SIZES = dict(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, initializer_range=0.3, bos_token_id=None, eos_token_id=None, pad_token_id=None,
)  # fmt: skip
NARROW = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
KINDS = {
    "mixtral": (MixtralForCausalLM, MixtralConfig, {"num_local_experts": 4}),
    "phi": (
        PhimoeForCausalLM,
        PhimoeConfig,
        {"num_local_experts": 4, "attention_bias": True, "lm_head_bias": True, "router_jitter_noise": 0.01},
    ),
    "olmoe": (OlmoeForCausalLM, OlmoeConfig, {"num_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": (Qwen2MoeForCausalLM, Qwen2MoeConfig, {**NARROW, "shared_expert_intermediate_size": 40}),
    "qwen3": (Qwen3MoeForCausalLM, Qwen3MoeConfig, {**NARROW, "head_dim": 16, "norm_topk_prob": True}),
}


def folder_of(kind, tmp_path):
    """What transformers writes, and its model; biases and norms are not left at 0 and 1, where they show nothing."""
    model_class, config_class, own = KINDS[kind]
    torch.manual_seed(0)
    model = model_class(config_class(**SIZES, **own)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / kind)
    return model, tmp_path / kind


@pytest.mark.parametrize("kind", KINDS)
def test_converted_models_give_the_logits_of_transformers(kind, tmp_path):
    judge, folder = folder_of(kind, tmp_path)
    main(["--source", str(folder), "--target", str(tmp_path / "ours")])
    ours, info = read_moe(tmp_path / "ours")
    assert info.recipe["model_type"] == judge.config.model_type
    tokens = torch.randint(0, 97, (2, 21))
    with torch.inference_mode():
        expected = judge(tokens).logits
        torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=1e-5)
        # the comparison can fail: a router whose experts are exchanged gives other logits
        ours.layers[1].moe.router.weight.copy_(ours.layers[1].moe.router.weight.roll(1, 0))
        assert (ours(tokens) - expected).abs().max() > 1e-2


def test_what_would_give_other_logits_is_refused(tmp_path):
    _, folder = folder_of("olmoe", tmp_path)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"clip_qkv": null', '"clip_qkv": 8.0'))
    with pytest.raises(InputError, match="clip_qkv"):
        main(["--source", str(folder), "--target", str(tmp_path / "ours")])
    assert not (tmp_path / "ours").exists()


def test_an_incomplete_folder_is_named(tmp_path):
    _, folder = folder_of("mixtral", tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.block_sparse_moe.experts.2.w1.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"layers\.1\.moe\.experts\.2\.gate"):
        main(["--source", str(folder), "--target", str(tmp_path / "ours")])
    assert not (tmp_path / "ours").exists()
