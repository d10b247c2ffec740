"""The small parts: each against the plain way of writing it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vil_lite import VisionLSTM
from vil_lite.layers import (
    CausalConv1d,
    LayerNorm,
    LinearBlockDiagonal,
    MultiHeadNorm,
    PatchEmbed,
    PositionEmbedding,
    SequenceConv2d,
    resize_positions,
)


def test_layer_norm_weight_is_an_offset():
    x, norm = torch.randn(2, 5, 8), LayerNorm(8, bias=True)
    assert torch.allclose(norm(x), F.layer_norm(x, (8,)), atol=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    assert torch.allclose(norm(x), F.layer_norm(x, (8,)) * (1 + norm.weight) + norm.bias, atol=1e-6)


def test_multi_head_norm_is_a_group_norm_per_token():
    h, norm = torch.randn(4, 2, 5, 8), MultiHeadNorm(32, 4, bias=True)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    tokens = h.permute(1, 2, 0, 3).reshape(10, 32)
    wanted = F.group_norm(tokens, 4, 1 + norm.weight, norm.bias).view(2, 5, 32)
    assert torch.allclose(norm(h), wanted, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("block_size", [1, 2, 4, 8])
def test_block_diagonal_equals_blocks_one_by_one(bias, block_size):
    proj, x = LinearBlockDiagonal(32, 4, block_size, bias), torch.randn(2, 5, 32)
    torch.nn.init.normal_(proj.weight)
    if bias:
        torch.nn.init.normal_(proj.bias)
    blocks = x.unflatten(-1, (-1, block_size))
    wanted = torch.einsum("bsni,noi->bsno", blocks, proj.weight).flatten(2)
    if bias:
        wanted = wanted + proj.bias
    got = proj(x)
    assert got.shape == (4, 2, 5, 8)
    assert torch.allclose(got.permute(1, 2, 0, 3).flatten(2), wanted, atol=1e-5)


def test_block_diagonal_refuses_blocks_across_heads():
    with pytest.raises(ValueError, match=r"dim = 24 must be a multiple of num_heads \* block_size = 4 \* 4"):
        LinearBlockDiagonal(24, 4, 4)


def test_causal_conv_sees_no_later_token():
    conv, x = CausalConv1d(6), torch.randn(1, 9, 6, requires_grad=True)
    y = conv(x)
    assert y.shape == x.shape
    (grad,) = torch.autograd.grad(y[:, 4].sum(), x)
    seen = grad.abs().sum((0, 2)).nonzero().flatten().tolist()
    assert seen == [1, 2, 3, 4]
    wanted = F.conv1d(F.pad(x.mT, (3, 0)), conv.weight, conv.bias, groups=6).mT
    assert torch.allclose(y, wanted, atol=1e-6)


@pytest.mark.parametrize("grid", [(3, 5), (5, 3), (1, 15)])
def test_sequence_conv_works_on_the_grid(grid):
    conv, x = SequenceConv2d(6), torch.randn(2, 15, 6)
    image = x.mT.reshape(2, 6, *grid).contiguous()
    wanted = F.conv2d(image, conv.weight, conv.bias, padding=1, groups=6).flatten(2).mT
    assert torch.allclose(conv(x, grid), wanted, atol=1e-6)


def test_patches_count_and_errors():
    assert PatchEmbed(8, 16).grid(224, 64) == (14, 4)
    assert PatchEmbed(8, 16, 8).grid(224, 224) == (27, 27)
    tokens, grid = PatchEmbed(8, 4)(torch.randn(2, 3, 8, 12))
    assert tokens.shape == (2, 6, 8) and grid == (2, 3)
    with pytest.raises(ValueError, match="does not divide into patches of 16"):
        PatchEmbed(8, 16)(torch.randn(1, 3, 224, 230))
    with pytest.raises(ValueError, match="does not divide"):
        PatchEmbed(8, 16)(torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            torch.zeros(3, 8, 8),
            ValueError,
            r"\(B, 3, height, width\), got one of shape \(3, 8, 8\).*use images\[None\]",
        ),
        (torch.zeros(8, 8), ValueError, r"got shape \(8, 8\)"),
        (torch.zeros(2, 8, 8, 3), ValueError, r"channels come last here: use images.permute\(0, 3, 1, 2\)"),
        (torch.zeros(2, 1, 8, 8), ValueError, r"repeat grey images, images.expand\(-1, 3, -1, -1\)"),
        (torch.zeros(2, 4, 8, 8), ValueError, r"leave out the alpha channel, images\[:, :3\]"),
        (torch.zeros(2, 5, 8, 8), ValueError, "build the model with channels=5"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), TypeError, r"got torch.uint8; use images.float\(\) / 255"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.float64), TypeError, r"use images.to\(torch.float32\)"),
        (np.zeros((2, 3, 8, 8), np.float32), TypeError, r"got ndarray; use torch.as_tensor"),
    ],
)
def test_what_is_no_batch_of_images_is_named(images, error, message):
    with pytest.raises(error, match=message):
        PatchEmbed(8, 4)(images)
    with pytest.raises(error, match=message):
        VisionLSTM(dim=16, depth=1, patch_size=4, image_size=8)(images)


def test_resized_positions_follow_the_weights():
    positions, tokens = PositionEmbedding(4, (3, 3)), torch.zeros(1, 20, 4)
    positions(tokens, (4, 5))
    positions.load_state_dict({"embed": torch.randn(1, 3, 3, 4)}, assign=True)
    found = positions(tokens, (4, 5))
    assert torch.equal(found, resize_positions(positions.embed, (4, 5)).flatten(1, 2))
    found.sum().backward()
    assert positions.embed.grad.abs().sum() > 0
