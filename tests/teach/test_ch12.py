"""Chapter 12's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _chapter import page_tests, rejects

from vil_lite.layers import PatchEmbed, resize_positions
from vil_lite.teach.checks import ch12

CHECKS = {
    "count_tokens": ch12.check_count_tokens,
    "fit_cost": ch12.check_fit_cost,
    "crossing": ch12.check_crossing,
    "resize": ch12.check_resize,
    "intensity": ch12.check_intensity,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part2_vision/12_high_resolution.ipynb", CHECKS, {"torch": torch, "np": np, "F": F}
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n, p, s: (n - p) // s + 1, "square it"),
        (lambda n, p, s: ((n - p) // s) ** 2, "first patch is not counted"),
        (lambda n, p, s: ((n - p) // s) ** 2 + 1, "before squaring"),
        (lambda n, p, s: (n // p) ** 2, "not `patch`"),
        (lambda n, p, s: n // s * (n // s), "hang over the edge"),
    ],
)
def test_wrong_counts(wrong, message):
    rejects(ch12.check_count_tokens, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda S, t: np.polyfit(S, t, 2)[::-1], "absolute errors"),
        (lambda S, t: np.polyfit(S, t, 2, w=t)[::-1], "even more"),
        (lambda S, t: np.polyfit(S, t, 2, w=t**-0.5)[::-1], "not by their root"),
        (lambda S, t: np.polyfit(S, t, 2, w=1 / t), "falling powers"),
        (lambda S, t: np.polyfit(S, t, 1, w=1 / t)[::-1], "square is missing"),
    ],
)
def test_wrong_fits(wrong, message):
    rejects(ch12.check_fit_cost, wrong, message)


def roots(vit, vil):
    a, b, c = np.subtract(vit, vil)
    return [float(r.real) for r in np.roots([c, b, a]) if abs(r.imag) < 1e-9]


def last(vit, vil, otherwise=float("inf")):
    return max((r for r in roots(vit, vil) if r > 0), default=otherwise)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, y: min(roots(x, y)), "smaller root"),
        (lambda x, y: -last(x, y), "sign"),
        (lambda x, y: -(x[1] - y[1]) / (x[2] - y[2]), "constants are left out"),
        (lambda x, y: last(x, y) * 2, "2 c"),
        (lambda x, y: last(x, y) ** 0.5, "one side"),
        (lambda x, y: last(x, y, otherwise=float("nan")), "not NaN"),
        (lambda x, y: last(x, y, otherwise=0.0), "infinity is wanted"),
    ],
)
def test_wrong_crossings(wrong, message):
    rejects(ch12.check_crossing, wrong, message)


def through(mode="bicubic", back=(0, 2, 3, 1), swap=False, **options):
    """A student's resize with one thing different."""

    def wrong(embed, grid):
        size = grid[::-1] if swap else grid
        return F.interpolate(embed.permute(0, 3, 1, 2), size=tuple(size), mode=mode, **options).permute(back)

    return wrong


def reshaped(embed, grid):
    _, H, W, d = embed.shape
    return F.interpolate(embed.view(1, d, H, W), size=tuple(grid), mode="bicubic").reshape(1, *grid, d)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (through(mode="nearest"), "nearest"),
        (through(mode="bilinear"), "bilinear"),
        (through(align_corners=True), "align_corners"),
        (through(swap=True), "exchanged"),
        (through(back=(0, 1, 2, 3)), "come back"),
        (reshaped, "permute"),
    ],
)
def test_wrong_positions(wrong, message):
    rejects(ch12.check_resize, wrong, message)


def counted(flops=2, vectors=4, states=2, inside=2, state=2, per_byte=True):
    """A student's intensity with one thing different."""

    def wrong(L, d, b):
        numbers = vectors * L * d + states * d * d
        return flops * (inside * L * L * d + state * L * d * d) / (numbers * (b if per_byte else 1))

    return wrong


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (counted(flops=1), "two FLOPs"),
        (counted(states=1), "moves twice"),
        (counted(states=0), "has to be moved"),
        (counted(vectors=3), "output is written"),
        (counted(per_byte=False), "for each number"),
        (lambda L, d, b: 1 / counted()(L, d, b), "upside down"),
        (counted(state=0), "products with the state"),
        (counted(inside=0), "inside the chunk"),
    ],
)
def test_wrong_intensities(wrong, message):
    rejects(ch12.check_intensity, wrong, message)


def test_the_references_are_the_library():
    embed = torch.randn(1, 4, 6, 3)
    torch.testing.assert_close(ch12.resize(embed, (7, 11)), resize_positions(embed, (7, 11)))
    for size, patch, stride in ((224, 16, 16), (224, 16, 8), (32, 8, 4)):
        H, W = PatchEmbed(4, patch, stride).grid(size, size)
        assert ch12.count_tokens(size, patch, stride) == H * W


def test_the_references_on_paper():
    assert ch12.crossing((0, 2, 1), (0, 6, 0)) == 4
    tokens = np.array([1.0, 2.0, 3.0, 5.0])
    np.testing.assert_allclose(ch12.fit_cost(tokens, 1 + 2 * tokens + 3 * tokens**2), [1, 2, 3])
    assert ch12.intensity(1, 1, 1) == 2 * 4 / 6
