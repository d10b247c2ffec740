"""The small parts of a ViL block: norms, block-diagonal projections, token convolutions, patches and positions.

Tokens are (B, S, dim): B images, S tokens in reading order, dim features. Initial values are those of the authors' code.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class LayerNorm(nn.Module):
    """Layer norm whose weight is stored as an offset: the effective weight is 1 + weight, so weight decay pulls to 1.

    x: (..., dim) -> (..., dim).  Vision-LSTM uses it without bias in version 1, with bias in version 2.
    """

    def __init__(self, dim, bias=False, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.dim, self.eps = dim, eps

    def forward(self, x):
        return F.layer_norm(x, (self.dim,), 1.0 + self.weight, self.bias, self.eps)


class MultiHeadNorm(nn.Module):
    """Normalise each head of each token by itself, then put the heads side by side (a group norm per token).

    h: (num_heads, B, S, d) -> (B, S, num_heads * d); offset weight as in LayerNorm.
    """

    def __init__(self, dim, num_heads, bias=False, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.num_heads, self.head_dim, self.eps = num_heads, dim // num_heads, eps

    def forward(self, h):
        h = F.layer_norm(h, (self.head_dim,), eps=self.eps)
        weight = (1.0 + self.weight).view(self.num_heads, 1, 1, self.head_dim).to(h.dtype)
        h = h * weight if self.bias is None else torch.addcmul(self.bias.view_as(weight).to(h.dtype), h, weight)
        return h.permute(1, 2, 0, 3).flatten(2)


class LinearBlockDiagonal(nn.Module):
    """A linear map in which each block of `block_size` features sees only itself: dim * block_size weights.

    x: (B, S, dim) -> (num_heads, B, S, dim / num_heads), the layout in which the mLSTM cell works without copies.
    weight: (dim / block_size, out, in), as published.
    Raises ValueError when block_size does not divide dim / num_heads.
    """

    def __init__(self, dim, num_heads, block_size=4, bias=False):
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

    def forward(self, x):
        B, S, _ = x.shape
        weight = self.merged_weight().to(x.dtype)  # (tiles, in, out)
        tiles, width, _ = weight.shape
        x = x.reshape(B * S, tiles, width).transpose(0, 1)  # (tiles, B * S, width)
        if self.bias is None:
            y = torch.bmm(x, weight)
        else:
            y = torch.baddbmm(self.bias.to(x.dtype).view(tiles, 1, width), x, weight)
        if tiles > self.num_heads:
            y = y.unflatten(0, (self.num_heads, -1)).transpose(1, 2).flatten(2)  # (heads, B * S, d)
        return y.unflatten(1, (B, S))

    def merged_weight(self):
        """The same map with blocks merged into tiles: (tiles, in, out), mostly zeros.

        A 4 x 4 product is too small for a processor; tiles of up to 32 x 32 inside a head are several times faster.
        """
        n, b = self.blocks_per_tile, self.block_size
        blocks = self.weight.transpose(-1, -2).unflatten(0, (-1, n))  # (tiles, n, in, out)
        eye = torch.eye(n, dtype=blocks.dtype, device=blocks.device)
        return (blocks[:, :, :, None, :] * eye[:, None, :, None]).reshape(-1, n * b, n * b)


class CausalConv1d(nn.Conv1d):
    """A depthwise convolution along the sequence that looks at a token and the kernel_size - 1 before it.

    x: (B, S, dim) -> (B, S, dim); `grid` is ignored.  Version 1 of Vision-LSTM.
    """

    def __init__(self, dim, kernel_size=4):
        super().__init__(dim, dim, kernel_size, groups=dim, padding=kernel_size - 1)

    def forward(self, x, grid=None):
        # As a convolution over an image one pixel high, features last: the layout that tokens already have.
        image, weight = x.transpose(-1, -2).unsqueeze(2), self.weight.unsqueeze(2)
        y = F.conv2d(image, weight, self.bias, padding=(0, self.padding[0]), groups=self.groups)
        return y.squeeze(2)[:, :, : x.shape[1]].transpose(-1, -2)  # the padding on the right would look ahead


class SequenceConv2d(nn.Conv2d):
    """A depthwise convolution over the grid that the tokens come from.

    x: (B, H * W, dim), grid: (H, W) -> (B, H * W, dim).  Version 2 of Vision-LSTM.
    """

    def __init__(self, dim, kernel_size=3):
        super().__init__(dim, dim, kernel_size, groups=dim, padding=kernel_size // 2)

    def forward(self, x, grid):
        return super().forward(x.transpose(-1, -2).unflatten(2, grid)).flatten(2).transpose(-1, -2)


class PatchEmbed(nn.Module):
    """Cut an image into patches and map each to a token.

    x: (B, channels, height, width) -> tokens (B, H * W, dim) and the grid (H, W).  Patches overlap when stride < patch_size.
    Raises ValueError when the image does not divide into patches.
    """

    def __init__(self, dim, patch_size=16, stride=None, channels=3):
        super().__init__()
        self.patch_size, self.stride = patch_size, stride or patch_size
        self.proj = nn.Conv2d(channels, dim, patch_size, self.stride)
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))
        nn.init.zeros_(self.proj.bias)

    def grid(self, height, width):
        """How many patches (H, W) an image of this size gives."""
        rest = [(size - self.patch_size) % self.stride for size in (height, width)]
        if min(height, width) < self.patch_size or any(rest):
            raise ValueError(
                f"an image of {height} x {width} pixels does not divide into patches of {self.patch_size} at stride "
                f"{self.stride}; resize or pad it to {self.patch_size} + a multiple of {self.stride} on each side"
            )
        return tuple((size - self.patch_size) // self.stride + 1 for size in (height, width))

    def forward(self, x):
        grid = self.grid(*x.shape[2:])
        return self.proj(x).flatten(2).transpose(-1, -2), grid


class PositionEmbedding(nn.Module):
    """A learned vector for each place in the grid; resized (bicubic) for other grids, once per grid when not training.

    tokens: (B, H * W, dim), grid: (H, W) -> the same with positions added.
    """

    def __init__(self, dim, grid):
        super().__init__()
        self.embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, *grid, dim), std=0.02))
        self._resized = {}

    def forward(self, tokens, grid):
        if tuple(self.embed.shape[1:3]) == tuple(grid):
            return tokens + self.embed.flatten(1, 2)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return tokens + resize_positions(self.embed, grid).flatten(1, 2)
        key = (tuple(grid), self.embed._version, self.embed.dtype, self.embed.device)
        if key not in self._resized:
            self._resized = {key: resize_positions(self.embed, grid).flatten(1, 2)}
        return tokens + self._resized[key]


def resize_positions(embed, grid):
    """Resize position embeddings (1, H, W, dim) to another grid by bicubic interpolation: (1, *grid, dim)."""
    return F.interpolate(embed.permute(0, 3, 1, 2), size=tuple(grid), mode="bicubic").permute(0, 2, 3, 1)


def small_init_(weight, dim):
    """Normal with standard deviation sqrt(2 / (5 dim)) (Nguyen & Salazar 2019), as the authors use for q, k, v and up."""
    return nn.init.normal_(weight, std=math.sqrt(2 / (5 * dim)))
