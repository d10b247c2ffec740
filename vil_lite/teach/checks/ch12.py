"""Checks of chapter 12: high resolution."""

import math

import numpy as np
import torch.nn.functional as F

from ._base import compare, exercise

# ---------------------------------------------------------------- 12.1


def count_tokens(size, patch, stride):
    """Reference: patches of a square image of size x size pixels."""
    return ((size - patch) // stride + 1) ** 2


@exercise("the tokens of an image")
def check_count_tokens(student, rng):
    stride = rng.size(3, 8)
    patch = 2 * stride + rng.size(1, 4)  # overlaps so much that no wrong formula is right by chance
    size = patch + stride * rng.size(5, 20)
    compare(
        student, count_tokens, {"size": size, "patch": patch, "stride": stride},
        diagnose={
            "this is one side of the grid; square it": lambda n, p, s: (n - p) // s + 1,
            "the first patch is not counted: + 1 on each side": lambda n, p, s: ((n - p) // s) ** 2,
            "+ 1 comes before squaring": lambda n, p, s: ((n - p) // s) ** 2 + 1,
            "the last patches would hang over the edge: a patch needs `patch` pixels": lambda n, p, s: (n // s) ** 2,
            "patches start `stride` pixels apart, not `patch`": lambda n, p, s: (n // p) ** 2,
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 12.2


def _solve(tokens, seconds, weights, powers=(0, 1, 2)):
    columns = np.stack([tokens**power for power in powers], axis=1)
    scale = columns.max(axis=0)  # powers of thousands beside ones would cost digits
    return np.linalg.lstsq(columns / scale * weights[:, None], seconds * weights, rcond=None)[0] / scale


def fit_cost(tokens, seconds):
    """Reference: (a, b, c) of a + b S + c S**2 with the smallest sum of squared relative errors."""
    return _solve(tokens, seconds, 1 / seconds)


@exercise("a curve through measured times")
def check_fit_cost(student, rng):
    tokens = np.array([196.0, 576, 1024, 2304, 4096, 6400, 9216])
    a, b, c = rng.uniform(0.02, 0.05, 3).double().numpy() * [1, 1e-2, 1e-5]
    noise = rng.uniform(0.85, 1.15, 7).double().numpy()
    compare(
        student, fit_cost, {"tokens": tokens, "seconds": (a + b * tokens + c * tokens**2) * noise}, rtol=1e-3, atol=0,
        diagnose={
            "these are the smallest absolute errors, so the largest image alone decides; divide by the seconds":
                lambda S, t: _solve(S, t, np.ones_like(t)),
            "multiplying by the seconds favours the largest image even more; divide": lambda S, t: _solve(S, t, t),
            "divide both sides by the seconds, not by their root": lambda S, t: _solve(S, t, t**-0.5),
            "the coefficients stand in the order of falling powers; a, b, c is wanted":
                lambda S, t: fit_cost(S, t)[::-1],
            "the constant is missing": lambda S, t: _solve(S, t, 1 / t, (1, 2)),
            "the square is missing": lambda S, t: _solve(S, t, 1 / t, (0, 1)),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 12.3


def _roots(one, other):
    a, b, c = (float(x) - float(y) for x, y in zip(one, other))
    if c == 0:
        return [-a / b] if b else []
    inside = b * b - 4 * a * c
    return sorted((-b + sign * math.sqrt(inside)) / (2 * c) for sign in (1, -1)) if inside >= 0 else []


def crossing(one, other):
    """Reference: the largest S > 0 at which both curves a + b S + c S**2 meet, or infinity."""
    return max((root for root in _roots(one, other) if root > 0), default=math.inf)


@exercise("where two curves cross", cases=8)
def check_crossing(student, rng):
    low, high = rng.size(20, 200), rng.size(800, 4000)
    c = rng.size(1, 9) / 1e8
    vit = (0.2 + c * low * high, 1e-4, 2 * c)
    vil = (0.2, 1e-4 + c * (low + high), c)  # vit - vil = c (S - low)(S - high)
    if rng.size(0, 1):  # one crossing below zero
        vil = (0.2 + 2 * c * low * high, 1e-4 + c * (high - low), c)  # c (S + low)(S - high)
    diagnose = {
        "this is the smaller root; behind it the curves meet once more": lambda x, y: min(_roots(x, y)),
        "the sign is wrong": lambda x, y: -crossing(x, y),
        "the constants are left out": lambda x, y: -(x[1] - y[1]) / (x[2] - y[2]),
        "only constants and slopes are compared; the squares decide": lambda x, y: (y[0] - x[0]) / (x[1] - y[1]),
        "divide by 2 c, not by c": lambda x, y: crossing(x, y) * 2,
        "this is one side of the grid; tokens are wanted": lambda x, y: math.sqrt(crossing(x, y)),
    }
    compare(student, crossing, {"vit": vit, "vil": vil}, diagnose=diagnose)
    never = {"vit": (0.1, 1e-4, c), "vil": (0.2, 2e-4, 2 * c)}
    compare(
        student, crossing, never,
        diagnose={"curves that never meet for S > 0: infinity is wanted": lambda x, y: max(_roots(x, y), default=None),
                  "curves that never meet for S > 0: infinity is wanted, not NaN": math.nan,
                  "curves that never meet for S > 0: infinity is wanted, not 0": 0.0},
    )  # fmt: skip


# ---------------------------------------------------------------- 12.4


def resize(embed, grid):
    """Reference: positions (1, H, W, d) for another grid: (1, *grid, d)."""
    return _resize(embed, grid)


def _resize(embed, grid, mode="bicubic", **options):
    return F.interpolate(embed.movedim(3, 1), size=tuple(grid), mode=mode, **options).movedim(1, 3)


def _without_movedim(embed, grid):
    _, H, W, d = embed.shape
    return F.interpolate(embed.reshape(1, d, H, W), size=tuple(grid), mode="bicubic").reshape(1, *grid, d)


@exercise("positions for another grid")
def check_resize(student, rng):
    H, W, d = rng.size(3, 5), rng.size(10, 12), rng.size(2, 6)  # never a square grid
    grid = (H + rng.size(1, 4), W + rng.size(1, 4))
    compare(
        student, resize, {"embed": rng.normal(1, H, W, d), "grid": grid},
        diagnose={
            "this is the nearest neighbour: steps instead of a smooth surface": lambda e, g: _resize(e, g, "nearest"),
            "this is bilinear; bicubic is wanted": lambda e, g: _resize(e, g, "bilinear"),
            "align_corners=True stretches the patches' centres to the edge; leave it out":
                lambda e, g: _resize(e, g, align_corners=True),
            "height and width of the grid are exchanged": lambda e, g: _resize(e, g[::-1]),
            "the features stand in front for F.interpolate and have to come back":
                lambda e, g: _resize(e, g).movedim(3, 1),
            "reshape does not move the axis of the features, it mixes numbers; permute": _without_movedim,
            "antialias=True changes enlarged values too; leave it out": lambda e, g: _resize(e, g, antialias=True),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 12.5


def intensity(L, d, bytes_each):
    """Reference: FLOPs for each byte moved by one chunk of L tokens, one head of width d."""
    return _intensity(L, d, bytes_each)


def _intensity(L, d, size, flops=2, vectors=4, states=2, products=(2, 2)):
    multiply_adds = products[0] * L * L * d + products[1] * L * d * d
    return flops * multiply_adds / (size * (vectors * L * d + states * d * d))


@exercise("the arithmetic intensity of a chunk")
def check_intensity(student, rng):
    inputs = {"L": rng.size(2, 200), "d": rng.size(201, 400), "bytes_each": rng.choice([2, 4])}
    compare(
        student, intensity, inputs,
        diagnose={
            "a multiply-add is two FLOPs here": lambda L, d, b: _intensity(L, d, b, flops=1),
            "the state is read and written: it moves twice": lambda L, d, b: _intensity(L, d, b, states=1),
            "the state has to be moved, too": lambda L, d, b: _intensity(L, d, b, states=0),
            "the output is written, too: four vectors for each token": lambda L, d, b: _intensity(L, d, b, vectors=3),
            "these are FLOPs for each number; a number has `bytes_each` bytes": lambda L, d, b: _intensity(L, d, 1),
            "upside down: FLOPs for each byte": lambda L, d, b: 1 / _intensity(L, d, b),
            "the two products with the state are missing": lambda L, d, b: _intensity(L, d, b, products=(2, 0)),
            "the two products inside the chunk are missing": lambda L, d, b: _intensity(L, d, b, products=(0, 2)),
        },
    )  # fmt: skip
