"""Weights in eight bits by torchao."""

import pytest
import timm
import torch

import vil_lite.zoo  # noqa: F401  (registers)

quantization = pytest.importorskip("torchao.quantization", reason="pip install 'vil-lite[clients]'")


@pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny"])
def test_eight_bit_weights_give_almost_the_same_logits(name):
    torch.manual_seed(0)
    model, images = timm.create_model(name, depth=4).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model.head.weight.normal_()  # it starts at almost nothing
        wanted = model(images)
        quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
        error = (model(images) - wanted).norm() / wanted.norm()
    layer = model.encoder.blocks[0].layer
    assert type(layer.proj_up.weight) is not torch.nn.Parameter and 0 < error < 0.03
    gates = layer.paths[0].mlstm_cell  # few weights, read both at once, and their sums run over all tokens
    assert type(gates.igate.weight) is type(gates.fgate.weight) is torch.nn.Parameter
