"""Chapter 9's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _chapter import page_tests, rejects

from vil_lite import VisionLSTM
from vil_lite.model import POOLINGS
from vil_lite.teach.checks import ch09

CHECKS = {
    "pool": ch09.check_pool,
    "with_cls": ch09.check_with_cls,
    "middle_of": ch09.check_middle_of,
    "tail_parameters": ch09.check_tail_parameters,
    "paired": ch09.check_paired,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part2_vision/09_pooling.ipynb", CHECKS, {"torch": torch, "np": np, "F": F}
)


def pooling(**other):
    """A student's pool, with other functions for some names."""
    return lambda x, name: other[name](x) if name in other else POOLINGS[name](x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pooling(avg=lambda x: x.mean(-1)), "over the features"),
        (pooling(avg=lambda x: x.mean(0)), "images of the batch"),
        (pooling(avg=lambda x: x.mean(1, keepdim=True)), "still there"),
        (pooling(middle_patch=lambda x: x[:, x.shape[1] // 2 - 1]), "token S // 2"),
        (pooling(bilateral_avg=lambda x: x[:, 0] + x[:, -1]), "not their sum"),
        (pooling(bilateral_avg=lambda x: x.mean(1)), "not all of them"),
        (pooling(bilateral_concat=lambda x: torch.cat([x[:, -1], x[:, 0]], -1)), "exchanged"),
        (pooling(bilateral_concat=lambda x: torch.cat([x[:, 0], x[:, -1]], 0)), "last axis"),
        (pooling(bilateral_concat=lambda x: x[:, [0, -1]]), "axis of their own"),
    ],
)
def test_wrong_poolings(wrong, message):
    rejects(ch09.check_pool, wrong, message)


def insert(x, cls, before, after):
    return torch.cat([x[:, :before], cls.expand(len(x), 1, -1), x[:, after:]], 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, c: insert(x, c, 0, 0), "stands in front"),
        (lambda x, c: insert(x, c, x.shape[1], x.shape[1]), "stands at the end"),
        (lambda x, c: insert(x, c, x.shape[1] // 2 + 1, x.shape[1] // 2 + 1), "one patch too many"),
        (lambda x, c: insert(x, c, x.shape[1] // 2 - 1, x.shape[1] // 2 - 1), "one patch too few"),
        (lambda x, c: insert(x, c, x.shape[1] // 2, x.shape[1] // 2 + 1), "no patch is lost|is lost"),
        (lambda x, c: x + c, "stands between them"),
    ],
)
def test_wrong_cls_tokens(wrong, message):
    rejects(ch09.check_with_cls, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda H, W: divmod(H * W // 2, H), "divide by W"),
        (lambda H, W: (H * W // 2 % W, H * W // 2 // W), "exchanged|divide by W"),
        (lambda H, W: (H * W // 2 // W + 1, H * W // 2 % W + 1), "count from 0"),
        (lambda H, W: divmod(H * W // 2 - 1, W), "tokens count from 0"),
        (lambda H, W: (H // 2, W // 2), "middle of the image"),
    ],
)
def test_wrong_middles(wrong, message):
    rejects(ch09.check_middle_of, wrong, message)


def tail(name, d, k, norm=2, norm_of=None, head_bias=True, token=True, concat=True):
    width = 2 * d if concat and name == "bilateral_concat" else d
    return norm * (norm_of or width) + width * k + k * head_bias + d * (token and name == "middle_cls")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"concat": False}, "2 d inputs"),
        ({"token": False}, "learned token is missing"),
        ({"head_bias": False}, "bias of the head"),
        ({"norm": 1}, "bias of the norm"),
        ({"norm": 0}, "norm is missing"),
    ],
)
def test_wrong_counts(mistake, message):
    rejects(ch09.check_tail_parameters, lambda name, d, k: tail(name, d, k, **mistake), message)


def test_a_norm_that_forgets_the_concatenation():
    rejects(ch09.check_tail_parameters, lambda name, d, k: tail(name, d, k, norm_of=d), "2 d features as well")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda a, b: (np.mean(b - a), np.std(a - b, ddof=1) / len(a) ** 0.5), "sign"),
        (lambda a, b: (np.mean(a - b), np.std(a - b) / len(a) ** 0.5), "ddof=1"),
        (lambda a, b: (np.mean(a - b), np.std(a - b, ddof=1)), "root of n"),
        (lambda a, b: (np.mean(a - b), np.std(a - b, ddof=1) / len(a)), "not by n"),
        (lambda a, b: (np.mean(a - b), np.hypot(a.std(ddof=1), b.std(ddof=1)) / len(a) ** 0.5), "torn apart"),
        (lambda a, b: (np.mean(a - b), np.var(a - b, ddof=1) / len(a)), "take the root"),
    ],
)
def test_wrong_comparisons(wrong, message):
    rejects(ch09.check_paired, wrong, message)


def test_the_references_are_the_library():
    x = torch.randn(2, 12, 8)
    for name in ch09.NAMES:
        torch.testing.assert_close(ch09.pool(x, name), POOLINGS[name](x))
    for name in (*ch09.NAMES, "middle_cls"):
        with torch.device("meta"):
            whole, bare = (VisionLSTM(16, 1, image_size=32, num_classes=k, pooling=name) for k in (7, 0))
        counts = [sum(p.numel() for p in model.parameters()) for model in (whole, bare)]
        token = 16 if name == "middle_cls" else 0  # which the bare model has, too
        assert ch09.tail_parameters(name, 16, 7) == counts[0] - counts[1] + token
