"""Networks have the published numbers of parameters, give finite logits, and survive a model folder."""

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from stages.lib.core.errors import InputError
from stages.lib.nets.build import build
from stages.lib.nets.model_folder import ModelInfo, read_model, write_model
from stages.lib.nets.moe import MoeLM

IMAGENET = {"classes": 1000}


@pytest.mark.parametrize(
    ("net", "arguments", "published"),
    [
        # torchvision's published counts
        ("resnet.ResNet", {"depth": 18, "imagenet_stem": True, **IMAGENET}, 11_689_512),
        ("resnet.ResNet", {"depth": 34, "imagenet_stem": True, **IMAGENET}, 21_797_672),
        ("resnet.ResNet", {"depth": 50, "imagenet_stem": True, **IMAGENET}, 25_557_032),
        ("mobilenet.MobileNetV2", {"imagenet_strides": True, **IMAGENET}, 3_504_872),
        ("vit.ViT", {"channels": 3, "size": 224, "patch": 32, "width": 768, "depth": 12, "heads": 12, **IMAGENET},
         88_224_232),
        # TensorFlow's page says 4.7 M; exact by the sum over its layers and by the published weights
        ("efficientnet.EfficientNetLite0", {}, 4_652_008),
        # torchvision's count less the 13 convolutions' biases, which the batch norm makes idle
        ("vgg.VGG", {"depth": 16, "imagenet_head": True, **IMAGENET}, 138_365_992 - 4_224),
        # He 2016, table 6 (0.27, 0.85 M); the exact counts are those of the public checkpoints
        ("resnet.CifarResNet", {"depth": 20}, 269_722),
        ("resnet.CifarResNet", {"depth": 56}, 853_018),
        # Zagoruyko 2016: 2.2 M; exact by the sum over its layers
        ("wide_resnet.WideResNet", {"depth": 40, "widen": 2}, 2_243_546),
        # LeCun's layers with full connections: 156 + 2416 + 48120 + 10164 + 850
        ("lenet.LeNet5", {}, 61_706),
    ],
)  # fmt: skip
def test_parameter_counts_are_the_published_ones(net, arguments, published):
    with torch.device("meta"):
        model = build(net, arguments)
    assert sum(p.numel() for p in model.parameters()) == published


@pytest.mark.parametrize(
    ("net", "arguments", "shape"),
    [
        ("lenet.LeNet5", {"width_divisor": 2, "batch_norm": True}, (1, 28, 28)),
        ("lenet.LeNet5", {}, (1, 8, 8)),
        ("convnet.ConvNet3", {"width": 16}, (3, 32, 32)),
        ("convnet.ConvBN", {"channels": 1, "width": 8}, (1, 28, 28)),
        ("airbench.Airbench", {}, (1, 28, 28)),
        ("resnet.CifarResNet", {"depth": 8}, (3, 32, 32)),
        ("resnet.ResNet", {"depth": 50, "width": 8, "channels": 1}, (1, 28, 28)),
        ("wide_resnet.WideResNet", {}, (3, 32, 32)),
        ("vgg.VGG", {"depth": 11, "width": 8}, (3, 32, 32)),
        ("mobilenet.MobileNetV2", {"width": 0.25}, (3, 32, 32)),
        ("mobilenet.DepthwiseCNN", {}, (1, 28, 28)),
        ("efficientnet.EfficientNetLite0", {"classes": 10}, (3, 64, 64)),
        ("vit.ViT", {}, (1, 28, 28)),
        ("vit.ViT", {"patch": 7, "width": 48, "heads": 3}, (1, 28, 28)),
    ],
)
def test_every_classifier_gives_logits_from_its_features(net, arguments, shape):
    torch.manual_seed(0)
    model = build(net, arguments).eval()
    images = torch.randn(3, *shape)
    logits = model(images)
    assert logits.shape == (3, 10)
    assert logits.isfinite().all()
    torch.testing.assert_close(model.head(model.features(images)), logits)


@pytest.mark.parametrize(
    ("net", "shape"), [("vit.ViT", (1, 28, 28)), ("efficientnet.EfficientNetLite0", (3, 32, 32))]
)
def test_traced_networks_are_the_same_for_every_number_of_images(net, shape):
    model = build(net, {}).eval()
    traced = torch.fx.symbolic_trace(model)
    for images in (torch.randn(1, *shape), torch.randn(3, *shape)):
        torch.testing.assert_close(traced(images), model(images), rtol=0, atol=0)


def test_generator_and_vae_make_images():
    generator = build("generator.Generator", {"channels": 1, "width": 8, "classes": 10})
    images = generator(torch.randn(16, 100), torch.arange(16) % 10)
    assert images.shape == (16, 1, 32, 32)
    torch.testing.assert_close(images.std(), torch.tensor(1.0), atol=0.02, rtol=0)
    again, mean, _ = build("generator.VAE", {"channels": 1, "width": 8})(images, torch.zeros(16, 100))
    assert again.shape == images.shape
    assert mean.shape == (16, 100)


def test_mixture_of_experts_equals_transformers_mixtral():
    torch.manual_seed(0)
    ours = MoeLM(vocabulary=97, width=32, layers=2, heads=4, kv_heads=2, expert_width=48, experts=4)
    config = MixtralConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        rope_theta=1e6,
        sliding_window=None,
        attn_implementation="eager",
    )
    judge = MixtralForCausalLM(config).eval()
    judge.load_state_dict(_as_transformers(ours))
    tokens = torch.randint(0, 97, (2, 17))
    with torch.inference_mode():
        torch.testing.assert_close(ours(tokens), judge(tokens).logits, atol=1e-5, rtol=1e-5)


def _as_transformers(model):
    state = {"model.embed_tokens.weight": model.embedding.weight, "lm_head.weight": model.head.weight}
    state["model.norm.weight"] = model.norm.weight
    for i, layer in enumerate(model.layers):
        at = f"model.layers.{i}."
        state[at + "input_layernorm.weight"] = layer.attention_norm.weight
        state[at + "post_attention_layernorm.weight"] = layer.moe_norm.weight
        names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output"}
        for theirs, name in names.items():
            state[at + f"self_attn.{theirs}.weight"] = getattr(layer.attention, name).weight
        experts = layer.moe.experts
        state[at + "mlp.gate.weight"] = layer.moe.router.weight
        gate_up = [torch.cat([expert.gate.weight, expert.up.weight]) for expert in experts]
        state[at + "mlp.experts.gate_up_proj"] = torch.stack(gate_up)
        state[at + "mlp.experts.down_proj"] = torch.stack([expert.down.weight for expert in experts])
    return state


def test_model_folder_gives_the_same_network_back(tmp_path):
    model = build("lenet.LeNet5", {"batch_norm": True}).eval()
    info = ModelInfo(
        net="lenet.LeNet5",
        arguments={"batch_norm": True},
        mean=(0.5,),
        std=(0.5,),
        classes=("a",) * 10,
        dataset="digits",
    )
    write_model(tmp_path, model, info)
    again, read = read_model(tmp_path)
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
    assert read.classes == info.classes
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match="is not the file that"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("net", "arguments", "sentence"),
    [
        ("lenett.LeNet5", {}, "no network family 'lenett'"),
        ("lenet.LeNet6", {}, "has no network 'LeNet6'"),
        ("lenet.LeNet5", {"chanels": 3}, "has no argument 'chanels'"),
    ],
)
def test_wrong_names_are_one_sentence(net, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        build(net, arguments)
