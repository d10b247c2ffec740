"""Chapter 4's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import math
import sys
from pathlib import Path

import pytest
import torch
from _chapter import page_tests, rejects
from torch.nn.functional import logsigmoid

from vil_lite.mlstm import MLSTMState, mlstm_parallel
from vil_lite.teach.checks import ch04

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_tools"))

import nb  # noqa: E402

CHAPTER = ROOT / "book/part1_memory/04_parallel_form.ipynb"
CHECKS = {
    "log_decay": ch04.check_log_decay,
    "half_life": ch04.check_half_life,
    "stabilise": ch04.check_stabilise,
    "parallel_from": ch04.check_parallel_from,
    "agree": ch04.check_agree,
    "longest": ch04.check_longest,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part1_memory/04_parallel_form.ipynb", CHECKS, {"torch": torch, "math": math, "logsigmoid": logsigmoid, "ch04": ch04}
)


def written(i, f, mask=0, sign=1, fill=-math.inf, gate=logsigmoid, own=True):
    """The solution of 4.1 as a student would write it, with one thing changed."""
    F = gate(f).cumsum(-1)
    S = f.shape[-1]
    log_D = sign * (F[..., :, None] - F[..., None, :]) + (i[..., None, :] if own else 0)
    return log_D if mask is None else log_D.masked_fill(torch.ones(S, S).tril(mask) == 0, fill)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda i, f: written(i, f, mask=None), "mask is missing"),
        (lambda i, f: written(i, f, mask=-1), "too strict"),
        (lambda i, f: written(i, f, sign=-1), "sign of the decay"),
        (lambda i, f: written(i, f, own=False), "input gate is missing"),
        (lambda i, f: written(i, f, fill=0.0), r"exp\(0\) = 1"),
        (lambda i, f: written(i, f, gate=lambda x: x), "log sigmoid"),
        (lambda i, f: written(i, f, gate=torch.sigmoid), "logarithm is missing"),
        (lambda i, f: written(i, f, own=False) + i[..., :, None], "token that was written"),
        (lambda i, f: written(i, f).exp(), "not its logarithm"),
        (lambda i, f: written(i.exp(), f), "i is a logarithm already"),
        (lambda i, f: written(i + logsigmoid(f), f), "own forget gate"),
        (lambda i, f: written(i, f).mT, "transposed|shape|off"),
    ],
)
def test_wrong_log_decays(wrong, message):
    rejects(ch04.check_log_decay, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda b: -1 / logsigmoid(b), "1/e"),
        (lambda b: math.log(2) / logsigmoid(b), "sign"),
        (lambda b: math.log(0.5) / b.log(), "pass through the sigmoid"),
        (lambda b: 0.5 / (1 - b.sigmoid()), "geometric"),
        (lambda b: logsigmoid(b) / math.log(0.5), "upside down"),
        (lambda b: (math.log(0.5) / logsigmoid(b)).ceil(), "rounded"),
    ],
)
def test_wrong_half_lives(wrong, message):
    rejects(ch04.check_half_life, wrong, message)


def by_rows(log_D, m):
    return torch.exp(log_D - m[..., None]), m


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda L: by_rows(L, L.amax(-1)), "floor at 0 is missing"),
        (lambda L: by_rows(L, L.amax(-1).clamp(max=0)), "cut from above"),
        (lambda L: by_rows(L, L.amax((-2, -1))[..., None].clamp(min=0).expand(L.shape[:-1])), "one m for the whole matrix"),
        (lambda L: by_rows(L, L.amax(-2).clamp(min=0)), "down the columns"),
        (lambda L: (torch.exp(L - L.amax(-1).clamp(min=0)[..., None, :]), L.amax(-1).clamp(min=0)), "subtracted from column"),
        (lambda L: (torch.exp(L), L.amax(-1).clamp(min=0)), "not subtracted"),
        (lambda L: (torch.softmax(L, -1), L.amax(-1).clamp(min=0)), "softmax"),
        (lambda L: by_rows(L, L.amax(-1).clamp(min=0))[0], "one value is returned; 2"),
        (lambda L: by_rows(L, L.amax(-1).clamp(min=0))[::-1], "order is D, m"),
    ],
)
def test_wrong_stabilisers(wrong, message):
    rejects(ch04.check_stabilise, wrong, message)


def from_memory(q, k, v, i, f, C, n, m, own_m=True, fade=True, cover=True, floor=True, with_n=True, scale_memory=True, sign=1):
    """The solution of 4.4 with one thing left out."""
    scale = q.shape[-1] ** -0.5
    log_D, F = ch04.log_decay(i, f), logsigmoid(f).cumsum(-1)
    log_memory = F * fade + sign * own_m * m[..., None]
    m_t = log_D.amax(-1).clamp(min=0)
    m_t = torch.maximum(m_t, log_memory) if cover else m_t
    scores, memory = scale * (q @ k.mT) * torch.exp(log_D - m_t[..., None]), torch.exp(log_memory - m_t)
    asked = q * (scale if scale_memory else 1)
    numerator = scores @ v + memory[..., None] * (asked @ C)
    normaliser = scores.sum(-1) + with_n * memory * (asked @ n[..., None])[..., 0]
    return numerator / torch.maximum(normaliser.abs(), torch.exp(-m_t) if floor else torch.ones_like(m_t))[..., None]


def test_the_varied_solution_is_right():
    ch04.check_parallel_from(from_memory, seed=0)


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ({"own_m": False}, "stabiliser is left out"),
        ({"fade": False}, "does not fade"),
        ({"cover": False}, "does not cover the memory"),
        ({"floor": False}, "floor of the denominator"),
        ({"with_n": False}, "missing in the normaliser"),
        ({"scale_memory": False}, "asks the memory is not divided"),
        ({"sign": -1}, "wrong sign"),
    ],
)
def test_wrong_starts(left_out, message):
    rejects(ch04.check_parallel_from, lambda *a: from_memory(*a, **left_out), message)


def test_a_start_without_its_memory_is_named():
    rejects(
        ch04.check_parallel_from,
        lambda q, k, v, i, f, C, n, m: mlstm_parallel(q[None], k[None], v[None], i[None], f[None])[0][0],
        "memory is ignored",
    )


def agreement(S=100, loudness=(-5, 0, 100), B=2, H=3, forget=5, dtype=torch.float64, compare=None):
    """A student's test of agreement with chosen inputs; with the defaults a good one."""
    compare = compare or (lambda h, exact: torch.allclose(h, exact, rtol=1e-8, atol=1e-10))

    def agree(form, reference):
        equal = []
        for loud in loudness:
            q, k, v = torch.randn(3, B, H, S, 8, dtype=dtype)
            i, f = torch.randn(2, B, H, S, dtype=dtype)
            inputs = q, k, v, i + loud, f + forget
            equal.append(bool(compare(form(*inputs), reference(*inputs))))
        return all(equal)

    return agree


def test_a_good_test_passes():
    for seed in range(5):
        ch04.check_agree(agreement(), seed=seed)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"S": 20}, "older than 40"),
        ({"forget": -2}, "older than 40"),
        ({"B": 1}, "first sequence"),
        ({"H": 1}, "first head"),
        ({"loudness": (-5, 0)}, "NaN"),
        ({"compare": lambda h, e: not (h - e).abs().max() > 1e-6}, "NaN"),
        ({"compare": lambda h, e: True}, "sees the future"),
        ({"compare": lambda h, e: False}, "your test calls it wrong"),
        ({"compare": torch.equal}, "your test calls it wrong"),
        ({"loudness": (-5,)}, "floor 1"),
        ({"loudness": (100,)}, "does not divide the query"),
        ({"dtype": torch.float32}, "your test calls it wrong"),
    ],
)
def test_weak_tests_are_found_out(choice, message):
    rejects(ch04.check_agree, agreement(**choice), message)


def test_a_test_that_never_calls_the_form_is_found_out():
    rejects(ch04.check_agree, lambda form, reference: True, "never called")


def test_the_page_counts_the_liars():
    assert len(ch04.LIARS) == 8
    assert any("eight\nliars" in cell.source or "eight liars" in cell.source for cell in nb.read(CHAPTER).cells)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda budget, b, h, n: budget // (4 * b * h * n), "S is its root"),
        (lambda budget, b, h, n: math.isqrt(budget // (b * h * n)), "4 bytes"),
        (lambda budget, b, h, n: math.isqrt(budget // (4 * b * n)), "head"),
        (lambda budget, b, h, n: math.isqrt(budget // (4 * h * n)), "batch"),
        (lambda budget, b, h, n: math.isqrt(budget // (4 * b * h)), "matrices"),
        (lambda budget, b, h, n: math.sqrt(budget / (4 * b * h * n)), "whole"),
        (lambda budget, b, h, n: math.ceil(math.sqrt(budget / (4 * b * h * n))), "one token too many"),
    ],
)
def test_wrong_lengths(wrong, message):
    rejects(ch04.check_longest, wrong, message)


def test_the_references_are_the_library():
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 30, 4, generator=g, dtype=torch.float64)
    i, f = torch.randn(2, 1, 2, 30, generator=g, dtype=torch.float64)
    C, n, m = torch.randn(1, 2, 4, 4, generator=g).double(), torch.randn(1, 2, 4, generator=g).double(), torch.ones(1, 2).double()
    ours = ch04.parallel_from(*(x[0] for x in (q, k, v, i, f, C, n, m)))
    torch.testing.assert_close(ours[None], mlstm_parallel(q, k, v, i, f, MLSTMState(C, n, m), eps=0)[0])


def test_numbers_in_the_prose():
    """Those that no cell of the page computes."""
    assert round(torch.tensor(3.0).sigmoid().item(), 2) == 0.95
    assert round(196 * -logsigmoid(torch.tensor(3.0)).item(), 1) == 9.5  # rubric
    assert round(196 * math.log(2)) == 136  # rubric
    assert int(math.log(sys.float_info.max)) == 709  # rubric
    assert 1e-44 < math.exp(-100) < 1e-43
