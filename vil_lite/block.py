"""Chapters 7 and 8: the ViL block: norm, up-projection, token convolution, mLSTM cell, gate, down-projection, residual.

    x -- norm -- proj_up --+-- x_m --+---------------------- v --+
                           |         +- conv - SiLU - c - q, k --+-- mLSTM -- norm -- (+ skip * c) --(x)-- proj_down -- + x
                           +-- z ---------------------------------------------------- SiLU ---------- |

A *design* is a list of directions per block. `alternating_bidirectional`, the design of Vision-LSTM, reads the tokens
forwards in even blocks and backwards in odd ones; the others of the paper's Table 2 differ in that list, and in whether its
paths share weights: `DESIGNS` below, chosen by name.

Shapes: x (B, S, dim) tokens of a grid (H, W), S = H * W; E = inner width (2 * dim); num_heads heads of d = E / num_heads.
The formulas of chapter 7 have d for dim and H for num_heads.
Source: Vision-LSTM (Alkin et al. 2024, arXiv 2406.04303; figures and tables as numbered in its version 1); xLSTM (Beck et al.
2024, arXiv 2405.04517); the authors' code, by file#line, also for the initial values:
    https://github.com/NX-AI/vision-lstm/blob/5ab06eb85b42dc4f591febc8d4fe16946e0029e3/vision_lstm/vision_lstm.py
    https://github.com/NX-AI/vision-lstm/blob/641b14ccdd260a69744b51d796126367bd9fdc17/vision_lstm/vision_lstm2.py
    https://github.com/NX-AI/vision-lstm/blob/dce3e130f5577637a440a389f1511f6e9e9008ea/src/vislstm/modules/xlstm/blocks/mlstm/layer.py
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from vil_lite._names import did_you_mean
from vil_lite.layers import CausalConv1d, LayerNorm, LinearBlockDiagonal, MultiHeadNorm, SequenceConv2d, small_init_
from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel, mlstm_recurrent
from vil_lite.mlstm_state import gate_precision, multiply_add
from vil_lite.traversal import DIRECTIONS, Grid, oriented, restore, traverse

ROW, ROW_REVERSED, COLUMN, COLUMN_REVERSED, *_ = DIRECTIONS

#: design -> (directions of block 0, of block 1, ... repeated over the depth; do the paths of one block share weights?)
DESIGNS = {
    "unidirectional": ([[ROW]], False),
    "bidirectional": ([[ROW, ROW_REVERSED]], False),
    "bidirectional_shared": ([[ROW, ROW_REVERSED]], True),
    "quaddirectional": ([[ROW, ROW_REVERSED, COLUMN, COLUMN_REVERSED]], False),
    "quaddirectional_shared": ([[ROW, ROW_REVERSED, COLUMN, COLUMN_REVERSED]], True),
    "alternating_bidirectional": ([[ROW], [ROW_REVERSED]], False),
    "alternating_quaddirectional": ([[ROW], [ROW_REVERSED], [COLUMN], [COLUMN_REVERSED]], False),
}

FORMS = {"recurrent": mlstm_recurrent, "parallel": mlstm_parallel, "chunkwise": mlstm_chunkwise}


class MLSTMCell(nn.Module):
    """Gates, the mLSTM itself, and the norm of its output.

    q, k, v: (num_heads, B, S, d) -> (B, S, dim).  Both gates read q, k and v of all heads and give one number per head.
    form: "chunkwise", "parallel", "recurrent", or "auto" (parallel up to one chunk, else chunkwise).
    chunk_size: the longest chunk in tokens; None takes the head's width, at least 32 and at most 64.
    (xLSTM, equations 19-27; the authors' MatrixLSTMCell, vision_lstm.py#L290.)
    """

    def __init__(
        self, dim: int, num_heads: int = 4, norm_bias: bool = False, form: str = "auto", chunk_size: int | None = None
    ) -> None:
        super().__init__()
        if form != "auto" and form not in FORMS:
            raise ValueError(f"form must be auto, {', '.join(FORMS)}, got {form!r}")
        # The kind of linear layer that quantisation leaves alone, as nn.MultiheadAttention has it: `gates` reads the weights.
        self.igate = NonDynamicallyQuantizableLinear(3 * dim, num_heads)
        self.fgate = NonDynamicallyQuantizableLinear(3 * dim, num_heads)
        self.outnorm = MultiHeadNorm(dim, num_heads, bias=norm_bias)
        # Work inside a chunk grows with its length, work between chunks with the head's width: keep the two alike.
        self.chunk_size = min(64, max(32, dim // num_heads)) if chunk_size is None else chunk_size
        self.num_heads, self.form = num_heads, form
        nn.init.zeros_(self.igate.weight)
        nn.init.normal_(self.igate.bias, std=0.1)
        nn.init.zeros_(self.fgate.weight)
        with torch.no_grad():
            self.fgate.bias.copy_(torch.linspace(3.0, 6.0, num_heads))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        i, f = self.gates(q, k, v)
        # The cell treats its first two dimensions alike: heads may come first, which is how the projections leave them.
        if self.form == "recurrent":
            h, _ = mlstm_recurrent(q, k, v, i, f)
        elif self.form == "parallel" or (self.form == "auto" and q.shape[2] <= self.chunk_size):
            h, _ = mlstm_parallel(q, k, v, i, f)
        else:
            h, _ = mlstm_chunkwise(q, k, v, i, f, chunk_size=self.chunk_size)
        return self.outnorm(h)

    def gates(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """Pre-activations i, f: (num_heads, B, S) each, in float64, from cat(q, k, v) without writing the concatenation."""
        heads, d = len(q), q.shape[-1]
        weight = torch.cat([self.igate.weight, self.fgate.weight])  # (2 heads, 3 dim): both gates of every head
        weight = weight.view(2 * heads, 3, heads, d).permute(1, 2, 0, 3)  # (q k v, heads, gates, d)
        bias = torch.cat([self.igate.bias, self.fgate.bias])[:, None, None]
        # The few gates first: a product with many columns is several times faster than one with many rows.
        parts = sum(torch.einsum("hgd,hbsd->hgbs", w, x) for x, w in zip((q, k, v), weight, strict=True))
        return gate_precision((parts.float() if parts.dtype.itemsize < 4 else parts).sum(0) + bias).split(heads)


class MLSTMPath(nn.Module):
    """What lies between proj_up and the gate, along one way through the tokens: conv, q, k, v, cell, skip.

    x_m: (B, S, dim) -> (B, S, dim), dim being the inner width E.
    (xLSTM, A.4, its mLSTM block; the "mlstm branch" of the authors' ViLLayer, vision_lstm.py#L351.)
    """

    def __init__(self, dim: int, version: int = 1, qkv_block_size: int = 4, num_heads: int = 4, **cell: Any) -> None:
        super().__init__()
        bias = version == 2
        self.conv = CausalConv1d(dim) if version == 1 else SequenceConv2d(dim)
        self.q_proj = LinearBlockDiagonal(dim, num_heads, qkv_block_size, bias=bias)
        self.k_proj = LinearBlockDiagonal(dim, num_heads, qkv_block_size, bias=bias)
        self.v_proj = LinearBlockDiagonal(dim, num_heads, qkv_block_size, bias=bias)
        self.mlstm_cell = MLSTMCell(dim, num_heads, norm_bias=bias, **cell)
        self.learnable_skip = nn.Parameter(torch.ones(dim))

    def forward(self, x_m: Tensor, grid: Grid) -> Tensor:
        c = F.silu(self.conv(x_m, grid))
        h = self.mlstm_cell(self.q_proj(c), self.k_proj(c), self.v_proj(x_m))
        return multiply_add(h, self.learnable_skip.to(c.dtype), c)


class ViLLayer(nn.Module):
    """The mLSTM layer with its projections.  y: (B, S, dim), normalised tokens; grid: (H, W) -> (B, S, dim).

    directions: one or more of vil_lite.traversal.DIRECTIONS; the outputs of several paths are summed.
    shared: all paths use the same weights.        version: 1 (causal conv, no biases) or 2 (3 x 3 conv, biases).
    expansion: inner width / dim.                  other options: as for MLSTMPath and MLSTMCell.
    Raises ValueError when the inner width does not divide into heads of whole q/k/v blocks.
    (Vision-LSTM, method; the authors' ViLLayer, vision_lstm.py#L351.  Several directions in one layer: Table 2; layer.py#L48.)
    """

    def __init__(
        self,
        dim: int,
        directions: Sequence[str] = (ROW,),
        shared: bool = False,
        version: int = 1,
        expansion: float = 2,
        **path: Any,
    ) -> None:
        super().__init__()
        if version not in (1, 2):
            raise ValueError(f"version must be 1 (causal convolution) or 2 (3 x 3 convolution), got {version!r}")
        unknown = [d for d in directions if d not in DIRECTIONS]
        if unknown or not directions:
            raise ValueError(f"directions must be a list from {', '.join(DIRECTIONS)}, got {directions!r}")
        inner = int(expansion * dim)
        self.directions = tuple(directions)
        self.proj_up = nn.Linear(dim, 2 * inner, bias=version == 2)
        self.paths = nn.ModuleList(
            MLSTMPath(inner, version, **path) for _ in range(1 if shared else len(self.directions))
        )
        self.proj_down = nn.Linear(inner, dim, bias=version == 2)
        small_init_(self.proj_up.weight, dim)
        for p in self.paths:
            for proj in (p.q_proj, p.k_proj, p.v_proj):
                small_init_(proj.weight, dim)
        # The authors' code means this to shrink with depth, but passes 1 block: kept, because weights were trained so.
        nn.init.normal_(self.proj_down.weight, std=2 / math.sqrt(dim))
        for proj in (self.proj_up, self.proj_down):
            if proj.bias is not None:
                nn.init.zeros_(proj.bias)

    def forward(self, y: Tensor, grid: Grid) -> Tensor:
        x_m, z = self.proj_up(y).split(self.proj_down.in_features, dim=-1)
        h = None
        for j, direction in enumerate(self.directions):
            path = self.paths[j % len(self.paths)]
            h_j = path(traverse(x_m, grid, direction), oriented(grid, direction))
            h_j = restore(h_j, grid, direction)
            h = h_j if h is None else h + h_j
        return self.proj_down(h * F.silu(z))


class ViLBlock(nn.Module):
    """x + DropPath(ViLLayer(LayerNorm(x))).  x: (B, S, dim), grid: (H, W) -> (B, S, dim)

    direction: one direction, or a list of them.   drop_path: probability that a sample skips the layer in training.
    shared and other options: as for ViLLayer.
    layer_scale: None, or the initial value of a learned factor per feature on the layer's output.
    (Vision-LSTM, method; the authors' ViLBlock, vision_lstm.py#L478.)
    """

    def __init__(
        self,
        dim: int,
        direction: str | Sequence[str] = ROW,
        version: int = 1,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        **layer: Any,
    ) -> None:
        super().__init__()
        directions = (direction,) if isinstance(direction, str) else tuple(direction)
        self.norm = LayerNorm(dim, bias=version == 2)
        self.layer = ViLLayer(dim, directions, version=version, **layer)
        self.scale = nn.Parameter(torch.full((dim,), float(layer_scale))) if layer_scale is not None else None
        from torchvision.ops import StochasticDepth  # here: it brings torch's compiler, half of what an import takes

        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        out = self.layer(self.norm(x), grid)
        return x + self.drop_path(out if self.scale is None else out * self.scale)


class ViLEncoder(nn.Module):
    """A stack of ViL blocks.  tokens: (B, S, dim), grid: (H, W) -> (B, S, dim)

    (Vision-LSTM, Figure 1, designs: Table 2; the blocks of the authors' VisionLSTM, vision_lstm.py#L506.  Their version 2 counts
    two, a ViLBlockPair, vision_lstm2.py#L554, as one.)
    design: a name from DESIGNS.   drop_path: the same probability in every block (the authors' "uniform").
    checkpointing: recompute each block in the backward pass instead of keeping its activations.
    Raises ValueError for an unknown design.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        design: str = "alternating_bidirectional",
        version: int = 1,
        checkpointing: bool = False,
        **block: Any,
    ) -> None:
        super().__init__()
        if design not in list(DESIGNS):  # a list may be asked for what no dictionary can, [["row"]]
            raise ValueError(
                f"design must be one of {', '.join(DESIGNS)}, got {design!r}{did_you_mean(design, DESIGNS)}"
            )
        directions, shared = DESIGNS[design]
        self.blocks = nn.ModuleList(
            ViLBlock(dim, directions[j % len(directions)], version, shared=shared, **block) for j in range(depth)
        )
        self.design, self.version, self.checkpointing = design, version, checkpointing

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        for b in range(len(self.blocks)):
            tokens = self.step(b, tokens, grid)
        return tokens

    def step(self, b: int, tokens: Tensor, grid: Grid) -> Tensor:
        """What stands after block b, from what stands before it."""
        if self.checkpointing and torch.is_grad_enabled():
            return torch.utils.checkpoint.checkpoint(self.blocks[b], tokens, grid, use_reentrant=False)
        return self.blocks[b](tokens, grid)
