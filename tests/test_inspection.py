"""Chapter 20's part of the library: what cells are given, and models without some of their heads and blocks."""

import copy

import pytest
import torch

from vil_lite import VisionLSTM, mlstm_recurrent
from vil_lite.complexity import parameters
from vil_lite.inspection import cells, cut_blocks, cut_heads, forgetful

HEADS = {1: [0, 2], 3: [3]}


@pytest.fixture(params=[(1, 32, 4), (2, 32, 4), (1, 128, 8)], ids=["version 1", "version 2", "wide heads"])
def model(request):
    version, dim, block_size = request.param
    torch.manual_seed(0)
    model = VisionLSTM(dim, 4, version, patch_size=4, image_size=16, num_classes=5, qkv_block_size=block_size).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2 / (dim / 32) ** 0.5)
    return model


images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_cells_are_what_the_cells_of_the_model_get(model):
    seen: list = []
    for block in model.encoder.blocks:
        block.layer.paths[0].mlstm_cell.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    model(images)
    given, found = list(seen), cells(model, images)
    assert [cell.direction for cell in found] == ["row", "row_reversed"] * 2
    for cell, inputs, block in zip(found, given, model.encoder.blocks, strict=True):
        for ours, theirs in zip(cell[:3], inputs):
            torch.testing.assert_close(ours, theirs)
        norm = block.layer.paths[0].mlstm_cell.outnorm
        torch.testing.assert_close(
            norm(mlstm_recurrent(*cell[:5])[0]), block.layer.paths[0].mlstm_cell(*inputs), rtol=1e-3, atol=1e-3
        )


@torch.no_grad()
def test_heads_that_are_cut_are_heads_of_zeros(model):
    before, zeroed = model(images), copy.deepcopy(model)
    for b, heads in HEADS.items():
        path = zeroed.encoder.blocks[b].layer.paths[0]
        rows = [path.learnable_skip, path.mlstm_cell.outnorm.bias]
        for proj in (path.q_proj, path.k_proj, path.v_proj):
            rows += [proj.weight, proj.bias]
        for row in rows:
            if row is not None:
                row.view(4, -1)[heads] = 0
    smaller = cut_heads(model, HEADS)
    torch.testing.assert_close(smaller(images), zeroed(images), rtol=1e-4, atol=1e-4)
    assert (smaller(images) - before).abs().max() > 1e-3 and parameters(smaller) < parameters(model)
    assert torch.equal(model(images), before)  # the argument stays as it was
    smaller.load_state_dict(smaller.state_dict())
    torch.testing.assert_close(cut_heads(cut_heads(model, {1: [2]}), {1: [0], 3: [3]})(images), smaller(images))


def test_a_smaller_model_can_be_trained(model):
    smaller = cut_heads(model, HEADS).train()
    smaller(images).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in smaller.parameters())


def test_what_is_frozen_stays_frozen(model):
    for p in model.encoder.parameters():
        p.requires_grad_(False)
    trained = [name for name, p in cut_heads(model, HEADS).named_parameters() if p.requires_grad]
    assert trained == [name for name, p in model.named_parameters() if p.requires_grad] != []


@torch.no_grad()
def test_a_silent_memory_answers_zero_and_the_rest_stays(model):
    silent = forgetful(model, {1: [2]})
    kept = []
    for one in (model, silent):
        one.encoder.blocks[1].layer.paths[0].mlstm_cell.register_forward_hook(
            lambda module, inputs, h: kept.append(h.unflatten(2, (4, -1)))
        )
        one(images)
    whole, without = kept
    assert (without[:, :, 2] == 0).all() and whole[:, :, 2].abs().min() > 0
    assert torch.equal(without[:, :, [0, 1, 3]], whole[:, :, [0, 1, 3]])
    assert parameters(silent) == parameters(model)


@torch.no_grad()
def test_blocks_that_are_cut(model):
    tokens, grid = model.embed(images)
    for b in (0, 3):
        tokens = model.encoder.blocks[b](tokens, grid)
    torch.testing.assert_close(cut_blocks(model, [1, 2])(images), model.forward_head(model.token_norm(tokens)))


def test_what_is_not_there(model):
    with pytest.raises(ValueError, match=r"blocks must lie in 0 .. 3, got \[4\]"):
        cut_blocks(model, [0, 4])
    for function in (cut_heads, forgetful):
        with pytest.raises(ValueError, match="blocks must lie in 0 .. 3, got 5"):
            function(model, {5: [0]})
        with pytest.raises(ValueError, match=r"block 1 has heads 0 .. 3, got \[-1, 4\]"):
            function(model, {1: [-1, 0, 4]})
    with pytest.raises(
        ValueError, match=r"block 2 would keep none of its 4 heads; cut it with cut_blocks\(model, \[2\]\)"
    ):
        cut_heads(model, {2: range(4)})


def test_designs_with_several_paths_are_refused():
    model = VisionLSTM(32, 2, patch_size=4, image_size=16, num_classes=5, design="bidirectional")
    with pytest.raises(ValueError, match="this one reads row, row_reversed; build the model with design="):
        cells(model, images)
