"""Chapter 20: open a model: what its memory cells are given, image by image, and what is left when heads or blocks are cut.

    for cell in cells(model, images): cell.f      # forget gates of each block, (heads, B, S) in the order in which it reads
    smaller = cut_heads(model, {2: [0, 3]})       # block 2 without two of its heads: really smaller, and faster
    smaller = cut_blocks(model, [4])
    silent = forgetful(model, {2: [0, 3]})        # two heads whose memory answers 0; their convolution still passes through

Designs with one path in each block, as Vision-LSTM has: `alternating_bidirectional` and the like.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_lite.traversal import oriented, traverse


class Cell(NamedTuple):
    """What the memory cell of one block is given: everything in the order in which the block reads.

    q, k, v: (heads, B, S, d)   i, f: (heads, B, S) pre-activations of the gates   direction: see vil_lite.traversal.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    i: Tensor
    f: Tensor
    direction: str


def cells(model: Any, images: Tensor) -> list[Cell]:
    """What the cell of each block is given for these images (B, channels, height, width), one Cell a block.

    Raises ValueError for designs with several paths in a block.
    """
    tokens, grid = model.embed(images)
    found = []
    for b, block in enumerate(model.encoder.blocks):
        layer = _layer(block)
        direction, path = layer.directions[0], layer.paths[0]
        x_m, _ = layer.proj_up(block.norm(tokens)).chunk(2, dim=-1)
        x_m = traverse(x_m, grid, direction)
        c = F.silu(path.conv(x_m, oriented(grid, direction)))
        q, k, v = path.q_proj(c), path.k_proj(c), path.v_proj(x_m)
        i, f = path.mlstm_cell.gates(q, k, v)
        found.append(Cell(q, k, v, i, f, direction))
        tokens = model.encoder.step(b, tokens, grid)
    return found


def forgetful(model: Any, heads: Mapping[int, Sequence[int]]) -> Any:
    """A copy of a VisionLSTM in which the memory of these heads {block: [heads]} answers 0.

    All else stays: the skip around the cell, and what the gates of other heads read of this one.
    Raises ValueError as `cut_heads` does, but may silence all heads of a block.
    """
    model = copy.deepcopy(model)
    for b, cut in heads.items():
        norm = _layer_of(model, b).paths[0].mlstm_cell.outnorm
        _check_heads(cut, norm.num_heads, b)
        with torch.no_grad():
            norm.weight.view(norm.num_heads, -1)[list(cut)] = -1.0  # stored as an offset from 1
            if norm.bias is not None:
                norm.bias.view(norm.num_heads, -1)[list(cut)] = 0.0
    return model


def cut_blocks(model: Any, blocks: Sequence[int]) -> Any:
    """A copy of a VisionLSTM without these blocks, counted from 0.  Raises ValueError for a block that is not there."""
    depth = len(model.encoder.blocks)
    if wrong := [b for b in blocks if not 0 <= b < depth]:
        raise ValueError(f"blocks must lie in 0 .. {depth - 1}, got {wrong}")
    model = copy.deepcopy(model)
    model.encoder.blocks = nn.ModuleList(block for b, block in enumerate(model.encoder.blocks) if b not in set(blocks))
    return model


def cut_heads(model: Any, heads: Mapping[int, Sequence[int]]) -> Any:
    """A copy of a VisionLSTM without these heads {block: [heads]}, both counted from 0; its layers are smaller.

    Gone are the head's features from the up-projection on: its convolution, query, key and value, its gates and memory, its
    skip.  What other heads' gates read of it is gone, too.
    Raises ValueError for a block or a head that is not there, for a block that would keep no head (`cut_blocks` is for that),
    and for designs with several paths in a block.
    """
    model = copy.deepcopy(model)
    for b, cut in heads.items():
        layer = _layer_of(model, b)
        count = layer.paths[0].mlstm_cell.num_heads
        _check_heads(cut, count, b)
        kept = [h for h in range(count) if h not in set(cut)]
        if not kept:
            raise ValueError(f"block {b} would keep none of its {count} heads; cut it with cut_blocks(model, [{b}])")
        _keep(layer, kept)
    return model


def _keep(layer: Any, kept: list[int]) -> None:
    path = layer.paths[0]
    cell, heads = path.mlstm_cell, path.mlstm_cell.num_heads
    inner = layer.proj_down.in_features
    rows = torch.arange(inner).view(heads, -1)[kept].flatten()  # the features of the heads that stay
    _select(layer.proj_up, 0, torch.cat([rows, rows + inner]))
    _select(layer.proj_down, 1, rows)
    _select(path.conv, 0, rows)
    path.conv.in_channels = path.conv.out_channels = path.conv.groups = len(rows)
    path.learnable_skip = _part(path.learnable_skip, 0, rows)
    for proj in (path.q_proj, path.k_proj, path.v_proj):
        size = proj.block_size
        proj.weight = _part(proj.weight, 0, rows[::size] // size)
        proj.bias = _part(proj.bias, 0, rows)
        proj.num_heads = len(kept)  # a tile lies inside a head: its size stays
    for gate in (cell.igate, cell.fgate):
        _select(gate, 1, torch.cat([rows, rows + inner, rows + 2 * inner]))
        _select(gate, 0, torch.tensor(kept))
    norm = cell.outnorm
    norm.weight, norm.bias = _part(norm.weight, 0, rows), _part(norm.bias, 0, rows)
    norm.num_heads = cell.num_heads = len(kept)


def _select(module: Any, axis: int, rows: Tensor) -> None:
    """Keep these rows (axis 0: outputs, with their biases) or columns (axis 1: inputs) of a layer's weight."""
    module.weight = _part(module.weight, axis, rows)
    if axis == 0:
        module.bias = _part(module.bias, 0, rows)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape


def _part(p: nn.Parameter | None, axis: int, rows: Tensor) -> nn.Parameter | None:
    """These rows of a parameter, on its device, and frozen if it is."""
    return p if p is None else nn.Parameter(p.detach().index_select(axis, rows.to(p.device)), p.requires_grad)


def _check_heads(heads: Sequence[int], count: int, b: int) -> None:
    if wrong := [h for h in heads if not 0 <= h < count]:
        raise ValueError(f"block {b} has heads 0 .. {count - 1}, got {wrong}")


def _layer_of(model: Any, b: int) -> Any:
    depth = len(model.encoder.blocks)
    if not 0 <= b < depth:
        raise ValueError(f"blocks must lie in 0 .. {depth - 1}, got {b}")
    return _layer(model.encoder.blocks[b])


def _layer(block: Any) -> Any:
    if len(block.layer.directions) != 1:
        raise ValueError(
            f"blocks with one path can be opened, this one reads {', '.join(block.layer.directions)}; "
            "build the model with design='alternating_bidirectional'"
        )
    return block.layer
