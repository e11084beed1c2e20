"""Costs of a network against what is really packed, what a forward pass multiplies, and what must grow with what."""

from dataclasses import replace

import pytest
import torch

from stages.chain.config import ChainConfig
from stages.chain.costs import SCALE_BITS, SparsePattern, network_costs, one_image
from stages.lib.nets.convnet import ConvBN
from stages.lib.sparse.matrices import as_matrix
from stages.lib.sparse.packed import pack
from stages.lib.sparse.storage import written_index
from stages.pruning import prune_for_classes
from stages.pruning.network import layers_of, multiplications

PATTERN = SparsePattern(n=2, m=4, block=16)
ARRAY = ChainConfig().array
IMAGE = one_image(3, 32)


def costs(model, pattern, bits=32):
    return network_costs(model, IMAGE, pattern=pattern, weight_bits=bits, activation_bits=bits, array=ARRAY)


@pytest.fixture(scope="module")
def dense():
    torch.manual_seed(0)
    return ConvBN(width=16, blocks=3).eval()


@pytest.fixture(scope="module")
def pruned(dense):
    chance = torch.Generator().manual_seed(0)
    images, labels = torch.randn(24, 3, 32, 32, generator=chance), torch.arange(24) % 3
    return prune_for_classes(dense, images, labels, sparsity=0.8, epochs=2, rounds=2, batch_size=8).model


def test_multiplications_are_those_of_a_forward_pass(dense, pruned):
    assert costs(dense, None)["kept_macs"] == costs(dense, None)["macs"] == multiplications(dense, IMAGE)
    assert costs(pruned, PATTERN)["kept_macs"] == multiplications(pruned, IMAGE)
    assert costs(pruned, PATTERN)["macs"] == multiplications(dense, IMAGE)


def test_stored_bits_are_those_of_the_packed_layers(pruned):
    """Widths of 16 and more fill whole blocks along the outputs; the classifier's 10 rows do not."""
    layers = layers_of(pruned)
    expected = 0
    for name, module in layers.modules.items():
        if name == layers.stem:
            expected += 8 * module.weight.numel()
            continue
        packed = pack(as_matrix(module.weight.detach(), 4).numpy(), block=16, n=2, m=4)
        if len(module.weight) % 16 == 0:
            fields = packed.block_columns.size * (packed.shape[1] // 16 - 1).bit_length()
            assert len(written_index("hybrid", None, packed=packed)) == -(
                -(fields + 2 * packed.offsets.size) // 8
            )
            expected += 8 * packed.nonzeros + fields + 2 * packed.offsets.size
        else:
            kept = packed.block_columns.size // packed.block_columns.shape[0]
            stored = len(module.weight) * min(16 * kept, packed.shape[1]) // 2
            blocks = packed.block_columns.size * (packed.shape[1] // 16 - 1).bit_length()
            expected += (8 + 2) * stored + blocks
    outputs = sum(len(module.weight) for module in layers.modules.values())
    assert costs(pruned, PATTERN, bits=8)["stored_bits"] == expected + SCALE_BITS * outputs


def test_what_shrinks_costs_no_more(dense, pruned):
    for key in ("systolic_cycles", "systolic_energy_uj", "tensor_core_energy_uj", "stored_bits"):
        assert costs(pruned, PATTERN)[key] < costs(dense, None)[key]
        assert costs(pruned, PATTERN, bits=4)[key] <= costs(pruned, PATTERN, bits=8)[key]
    assert costs(dense, None, bits=4)["systolic_energy_uj"] < costs(dense, None, bits=8)["systolic_energy_uj"]


def test_a_layer_that_does_not_follow_the_pattern_is_dense(dense):
    found, plain = costs(dense, PATTERN), costs(dense, None)
    same = ("stored_bits", "kept_macs", "systolic_cycles", "systolic_energy_uj")
    assert {key: found[key] for key in same} == {key: plain[key] for key in same}


def test_float_networks_are_costed_as_8_bits_on_the_array(dense):
    assert costs(dense, None)["systolic_energy_uj"] == costs(dense, None, bits=8)["systolic_energy_uj"]
    wide = network_costs(
        dense,
        IMAGE,
        pattern=None,
        weight_bits=8,
        activation_bits=8,
        array=replace(ARRAY, rows=128, columns=128),
    )
    assert wide["systolic_cycles"] < costs(dense, None)["systolic_cycles"]
