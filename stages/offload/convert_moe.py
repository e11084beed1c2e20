"""Turn a folder of transformers (config.json and safetensors) into a model folder: Mixtral, Phi-3.5-MoE, OLMoE, Qwen-MoE.

python -m stages.offload.convert_moe --source Mixtral-8x7B --target models/mixtral

Weights keep their type. A tokenizer.json beside them is copied. Nothing in the folder is executed.
"""

import argparse
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stages.lib.core.artifacts import read_json
from stages.lib.core.errors import InputError, run
from stages.lib.core.progress import Progress
from stages.lib.nets.model_folder import ModelInfo, write_weights
from stages.lib.nets.moe import MoeLM

Config = Mapping[str, Any]

# a part's name there, as a pattern, and here
NAMES = {
    r"model\.embed_tokens\.": "embedding.",
    r"lm_head\.": "head.",
    r"model\.norm\.": "norm.",
    r"model\.(layers\.\d+\.)input_layernorm\.": r"\1attention_norm.",
    r"model\.(layers\.\d+\.)post_attention_layernorm\.": r"\1moe_norm.",
    r"model\.(layers\.\d+\.)self_attn\.q_proj\.": r"\1attention.query.",
    r"model\.(layers\.\d+\.)self_attn\.k_proj\.": r"\1attention.key.",
    r"model\.(layers\.\d+\.)self_attn\.v_proj\.": r"\1attention.value.",
    r"model\.(layers\.\d+\.)self_attn\.o_proj\.": r"\1attention.output.",
    r"model\.(layers\.\d+\.)self_attn\.q_norm\.": r"\1attention.query_norm.",
    r"model\.(layers\.\d+\.)self_attn\.k_norm\.": r"\1attention.key_norm.",
    r"model\.(layers\.\d+\.)(?:block_sparse_moe|mlp)\.gate\.": r"\1moe.router.",
    r"model\.(layers\.\d+\.)mlp\.shared_expert_gate\.": r"\1moe.shared_router.",
    r"model\.(layers\.\d+\.)mlp\.shared_expert\.(gate|up|down)_proj\.": r"\1moe.shared.\2.",
    r"model\.(layers\.\d+\.)mlp\.(experts\.\d+\.)(gate|up|down)_proj\.": r"\1moe.\2\3.",
    r"model\.(layers\.\d+\.)block_sparse_moe\.(experts\.\d+\.)w1\.": r"\1moe.\2gate.",
    r"model\.(layers\.\d+\.)block_sparse_moe\.(experts\.\d+\.)w2\.": r"\1moe.\2down.",
    r"model\.(layers\.\d+\.)block_sparse_moe\.(experts\.\d+\.)w3\.": r"\1moe.\2up.",
}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = read_config(args.source)
    arguments = arguments_of(config, where=str(args.source))
    state = read_state(args.source)
    with torch.device("meta"):
        wanted = MoeLM(**arguments).state_dict()
    if missing := wanted.keys() - state.keys():
        raise InputError(f"{args.source} lacks {min(missing)} (as it is called here); is a file missing?")
    if other := [name for name, t in wanted.items() if t.shape != state[name].shape]:
        raise InputError(
            f"{args.source}: {other[0]} has the shape {tuple(state[other[0]].shape)}, not what config.json says"
        )
    info = ModelInfo(
        net="moe.MoeLM", arguments=arguments, mean=(), std=(), classes=(), dataset="",
        recipe={"converted": args.source.name, "model_type": config["model_type"]},
    )  # fmt: skip
    args.target.mkdir(parents=True, exist_ok=True)
    if (args.source / "tokenizer.json").is_file():
        shutil.copyfile(args.source / "tokenizer.json", args.target / "tokenizer.json")
    write_weights(args.target, {name: state[name] for name in wanted}, info)


def read_config(folder: Path) -> Config:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model: there is no config.json in it")
    config: Config = read_json(folder / "config.json")
    if config.get("model_type") not in KINDS:
        raise InputError(f"{folder} holds a {config.get('model_type')!r} model; known are {', '.join(KINDS)}")
    return config


def arguments_of(config: Config, *, where: str) -> dict[str, Any]:
    """Of MoeLM. Raises InputError for what it does not do, which would give other logits without a word."""
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 1e4)} | (
        config.get("rope_scaling") or {}
    )
    unknown = {
        "rope_type": rope.get("rope_type", rope.get("type", "default")) != "default",
        "clip_qkv": config.get("clip_qkv") is not None,
        "mlp_only_layers": bool(config.get("mlp_only_layers")),
        "decoder_sparse_step": config.get("decoder_sparse_step", 1) != 1,
        "hidden_act": config["hidden_act"] != "silu",
    }
    if found := [key for key, there in unknown.items() if there]:
        raise InputError(
            f"{where}: config.json asks for {found[0]} {config.get(found[0], rope)!r}, which is not known here"
        )
    common = {
        "vocabulary": config["vocab_size"],
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "kv_heads": config["num_key_value_heads"],
        "head_width": config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        "experts": config.get("num_local_experts") or config["num_experts"],
        "top_k": config["num_experts_per_tok"],
        "norm_epsilon": config["rms_norm_eps"],
        "tied": bool(config.get("tie_word_embeddings")),
        "rope_base": rope["rope_theta"],
    }
    return common | KINDS[config["model_type"]](config)


def _mixtral(config: Config) -> dict[str, Any]:
    return {"expert_width": config["intermediate_size"]}


def _phi(config: Config) -> dict[str, Any]:
    return {
        "expert_width": config["intermediate_size"],
        "gating": "sparsemixer",
        "norm": "layer",
        "attention_bias": "all" if config.get("attention_bias") else "none",
        "head_bias": bool(config.get("lm_head_bias")),
    }


def _olmoe(config: Config) -> dict[str, Any]:
    return {
        "expert_width": config["intermediate_size"],
        "gating": _gating(config),
        "query_key_norm": "whole",
        "attention_bias": "all" if config.get("attention_bias") else "none",
    }


def _qwen2(config: Config) -> dict[str, Any]:
    return {
        "expert_width": config["moe_intermediate_size"],
        "shared_width": config["shared_expert_intermediate_size"],
        "gating": _gating(config),
        "attention_bias": "inputs" if config.get("qkv_bias", True) else "none",
    }


def _qwen3(config: Config) -> dict[str, Any]:
    return {
        "expert_width": config["moe_intermediate_size"],
        "gating": _gating(config),
        "query_key_norm": "head",
        "attention_bias": "all" if config.get("attention_bias") else "none",
    }


def _gating(config: Config) -> str:
    return "normalised" if config.get("norm_topk_prob") else "plain"


KINDS: dict[str, Callable[[Config], dict[str, Any]]] = {
    "mixtral": _mixtral,
    "phimoe": _phi,
    "olmoe": _olmoe,
    "qwen2_moe": _qwen2,
    "qwen3_moe": _qwen3,
}


def read_state(folder: Path) -> dict[str, Tensor]:
    """All tensors of the folder's safetensors files, by our names; names that are not known are left out."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder} has no *.safetensors; other formats hold pickles and are not read")
    progress = Progress(len(files), "files")
    found = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - the handle is no dict
                    if ours := our_name(name):
                        found[ours] = tensors.get_tensor(name)
        except SafetensorError as error:
            raise InputError(f"{file} is no safetensors file: {error}") from None
        progress.advance()
    return found


def our_name(name: str) -> str | None:
    for pattern, ours in NAMES.items():
        renamed, n = re.subn(f"^{pattern}", ours, name)
        if n:
            return renamed
    return None


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of transformers")
    parser.add_argument("--target", type=Path, required=True, help="model folder to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
