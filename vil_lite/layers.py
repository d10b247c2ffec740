"""Chapters 6 and 7: patches and positions; norms, token convolutions and block-diagonal projections of a ViL block.

Tokens are (B, S, dim): B images, S tokens in reading order, dim features. Initial values are those of the authors' code.
Source: Vision-LSTM (Alkin et al. 2024, arXiv 2406.04303; figures as numbered in its version 1), which takes the parts of its
block from xLSTM (Beck et al. 2024, arXiv 2405.04517, appendix A.4), and the authors' code.  Each class says where it stands in
the papers, and names the class that it follows, as file#line of
    https://github.com/NX-AI/vision-lstm/blob/5ab06eb85b42dc4f591febc8d4fe16946e0029e3/vision_lstm/vision_lstm.py
    https://github.com/NX-AI/vision-lstm/blob/30d5d8a5f3dcf5ed014990bf9bc1f0aa2f6d87be/vision_lstm/vision_lstm_util.py
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_lite.mlstm_fast import lower
from vil_lite.mlstm_state import autocasts, exporting, multiply_add
from vil_lite.traversal import Grid


class PatchEmbed(nn.Module):
    """Cut an image into patches and map each to a token.

    x: (B, channels, height, width) -> tokens (B, H * W, dim) and the grid (H, W).  Patches overlap when stride < patch_size.
    (Vision-LSTM, method and Figure 1; the authors' VitPatchEmbed, vision_lstm_util.py#L62.)
    Raises ValueError when the image does not divide into patches.
    """

    def __init__(self, dim: int, patch_size: int = 16, stride: int | None = None, channels: int = 3) -> None:
        super().__init__()
        self.patch_size, self.stride = patch_size, stride or patch_size
        self.proj = nn.Conv2d(channels, dim, patch_size, self.stride)
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def grid(self, height: int, width: int) -> Grid:
        """How many patches (H, W) an image of this size gives."""
        rest = [(size - self.patch_size) % self.stride for size in (height, width)]
        if min(height, width) < self.patch_size or any(rest):
            raise ValueError(
                f"an image of {height} x {width} pixels does not divide into patches of {self.patch_size} at stride "
                f"{self.stride}; resize or pad it to {self.patch_size} + a multiple of {self.stride} on each side"
            )
        rows, columns = ((size - self.patch_size) // self.stride + 1 for size in (height, width))
        return rows, columns

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        self.check(x)
        grid = self.grid(*x.shape[2:])
        return self.proj(x).flatten(2).transpose(-1, -2), grid

    def check(self, x: Tensor) -> None:
        """Raise TypeError or ValueError that names the remedy unless x is a batch of images for these weights."""
        channels, weight = self.proj.in_channels, self.proj.weight
        wanted = f"images must be a floating-point tensor (B, {channels}, height, width)"
        if not isinstance(x, Tensor):
            raise TypeError(f"{wanted}, got {type(x).__name__}; use torch.as_tensor(images)")
        shape = tuple(x.shape)
        if x.ndim == 3:
            raise ValueError(f"{wanted}, got one of shape {shape} without a batch axis; use images[None]")
        if x.ndim != 4:
            raise ValueError(f"{wanted}, got shape {shape}")
        if x.shape[1] != channels:
            remedy = f"build the model with channels={shape[1]}"
            if x.shape[3] == channels:
                remedy = "channels come last here: use images.permute(0, 3, 1, 2)"
            elif x.shape[1] == 1:
                remedy = (
                    f"repeat grey images, images.expand(-1, {channels}, -1, -1), or build the model with channels=1"
                )
            elif x.shape[1] == 4 and channels == 3:
                remedy = "leave out the alpha channel, images[:, :3]"
            raise ValueError(f"{wanted}, got shape {shape}; {remedy}")
        if not x.is_floating_point():
            raise TypeError(f"{wanted}, got {x.dtype}; use images.float() / 255, then normalise as in training")
        if x.dtype != weight.dtype and (not autocasts(x.device.type) or x.dtype == torch.float64):
            raise TypeError(f"images are {x.dtype} and the weights {weight.dtype}; use images.to({weight.dtype})")


class PositionEmbedding(nn.Module):
    """A learned vector for each place in the grid; resized (bicubic) for other grids.

    tokens: (B, H * W, dim), grid: (H, W) -> the same with positions added.
    (Vision-LSTM, method and Figure 1; the authors' VitPosEmbed2d, vision_lstm_util.py#L127.)
    """

    def __init__(self, dim: int, grid: Grid) -> None:
        super().__init__()
        self.embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, *grid, dim), std=0.02))

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        embed: Tensor = self.embed
        if tuple(embed.shape[1:3]) != tuple(grid):
            embed = resize_positions(embed, grid)
        return tokens + embed.flatten(1, 2)


def resize_positions(embed: Tensor, grid: Grid) -> Tensor:
    """Resize position embeddings (1, H, W, dim) to another grid by bicubic interpolation: (1, *grid, dim)."""
    return F.interpolate(embed.permute(0, 3, 1, 2), size=tuple(grid), mode="bicubic").permute(0, 2, 3, 1)


class LayerNorm(nn.Module):
    """Layer norm whose weight is stored as an offset: the effective weight is 1 + weight, so weight decay pulls to 1.

    x: (..., dim) -> (..., dim).  Vision-LSTM uses it without bias in version 1, with bias in version 2.
    (xLSTM, A.4, but for the offset; the authors' LayerNorm, vision_lstm.py#L224.)
    """

    def __init__(self, dim: int, bias: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.dim, self.eps = dim, eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.dim,), 1.0 + self.weight, self.bias, self.eps)


class CausalConv1d(nn.Conv1d):
    """A depthwise convolution along the sequence that looks at a token and the kernel_size - 1 before it.

    x: (B, S, dim) -> (B, S, dim); `grid` is ignored.  Version 1 of Vision-LSTM.
    (xLSTM, A.4; the authors' CausalConv1d, vision_lstm.py#L178.)
    """

    def __init__(self, dim: int, kernel_size: int = 4) -> None:
        super().__init__(dim, dim, kernel_size, groups=dim, padding=kernel_size - 1)

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        # As a convolution over an image one pixel high, features last: the layout that tokens already have.
        image, weight = x.transpose(-1, -2).unsqueeze(2), self.weight.unsqueeze(2)
        y = F.conv2d(image, weight, self.bias, padding=(0, self.kernel_size[0] - 1), groups=self.groups)
        return y.squeeze(2)[:, :, : x.shape[1]].transpose(-1, -2)  # the padding on the right would look ahead


class SequenceConv2d(nn.Conv2d):
    """A depthwise convolution over the grid that the tokens come from.

    x: (B, H * W, dim), grid: (H, W) -> (B, H * W, dim).  Version 2 of Vision-LSTM.
    (Vision-LSTM, from its second version on; the authors' SequenceConv2d, vision_lstm_util.py#L40.)
    """

    def __init__(self, dim: int, kernel_size: int = 3) -> None:
        super().__init__(dim, dim, kernel_size, groups=dim, padding=kernel_size // 2)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        return super().forward(x.transpose(-1, -2).unflatten(2, grid)).flatten(2).transpose(-1, -2)


class LinearBlockDiagonal(nn.Module):
    """A linear map in which each block of `block_size` features sees only itself: dim * block_size weights.

    x: (B, S, dim) -> (num_heads, B, S, dim / num_heads), the layout in which the mLSTM cell works without copies.
    weight: (dim / block_size, out, in), as published.
    (xLSTM, A.4; the authors' LinearHeadwiseExpand, vision_lstm.py#L133.)
    Raises ValueError when block_size does not divide dim / num_heads.
    """

    def __init__(self, dim: int, num_heads: int, block_size: int = 4, bias: bool = False) -> None:
        super().__init__()
        if dim % num_heads or (dim // num_heads) % block_size:
            raise ValueError(
                f"dim = {dim} must be a multiple of num_heads * block_size = {num_heads} * {block_size}, "
                "so that every block lies inside one head"
            )
        self.weight = nn.Parameter(torch.empty(dim // block_size, block_size, block_size))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.num_heads, self.block_size = num_heads, block_size
        per_head = dim // num_heads // block_size
        fitting = (n for n in range(max(1, 32 // block_size), 0, -1) if per_head % n == 0)
        self.blocks_per_tile = per_head if per_head * block_size <= 96 else next(fitting)

    def forward(self, x: Tensor) -> Tensor:
        B, S, _ = x.shape
        weight = self.merged_weight().to(x.dtype)  # (tiles, in, out)
        tiles, width, _ = weight.shape
        x = x.reshape(B * S, tiles, width).transpose(0, 1)  # (tiles, B * S, width)
        if self.bias is None:
            y = torch.bmm(x, weight)
        else:
            bias = self.bias.to(x.dtype).view(tiles, 1, width)
            y = torch.bmm(x, weight) + bias if exporting() else torch.baddbmm(bias, x, weight)
        if tiles > self.num_heads:
            y = y.unflatten(0, (self.num_heads, -1)).transpose(1, 2).flatten(2)  # (heads, B * S, d)
        return y.unflatten(1, (B, S))

    def merged_weight(self) -> Tensor:
        """The same map with blocks merged into tiles: (tiles, in, out), mostly zeros.

        A 4 x 4 product is too small for a processor; tiles of up to 32 x 32 inside a head are several times faster.
        """
        n, b = self.blocks_per_tile, self.block_size
        blocks = self.weight.transpose(-1, -2).unflatten(0, (-1, n))  # (tiles, n, in, out)
        if exporting():
            eye = lower(n, blocks) - lower(n, blocks, -1)
        else:  # made where it is needed: a copy from the processor would wait, and a CUDA graph cannot hold one
            eye = torch.eye(n, dtype=blocks.dtype, device=blocks.device)
        return (blocks[:, :, :, None, :] * eye[:, None, :, None]).reshape(-1, n * b, n * b)


class MultiHeadNorm(nn.Module):
    """Normalise each head of each token by itself, then put the heads side by side (a group norm per token).

    h: (num_heads, B, S, d) -> (B, S, num_heads * d); offset weight as in LayerNorm.
    (xLSTM, A.4; the authors' MultiHeadLayerNorm, vision_lstm.py#L271.)
    """

    def __init__(self, dim: int, num_heads: int, bias: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.num_heads, self.head_dim, self.eps = num_heads, dim // num_heads, eps

    def forward(self, h: Tensor) -> Tensor:
        h = F.layer_norm(h, (self.head_dim,), eps=self.eps)
        weight = (1.0 + self.weight).view(self.num_heads, 1, 1, self.head_dim).to(h.dtype)
        h = h * weight if self.bias is None else multiply_add(self.bias.view(weight.shape).to(h.dtype), h, weight)
        return h.permute(1, 2, 0, 3).flatten(2)


def small_init_(weight: Tensor, dim: int) -> Tensor:
    """Normal with standard deviation sqrt(2 / (5 dim)) (Nguyen & Salazar 2019), for q, k, v and proj_up.  (vision_lstm.py#L30)"""
    return nn.init.normal_(weight, std=math.sqrt(2 / (5 * dim)))
