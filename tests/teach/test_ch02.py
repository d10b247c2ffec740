"""Chapter 2's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import math

import pytest
import torch
from _chapter import page_tests, rejects
from torch.nn.functional import logsigmoid

from vil_lite.teach.checks import CheckFailed, ch02

CHECKS = {
    "loudness": ch02.check_loudness,
    "exponential_cell": ch02.check_exponential_cell,
    "loudest": ch02.check_loudest,
    "stabilised_cell": ch02.check_stabilised_cell,
    "floored_cell": ch02.check_floored_cell,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part1_memory/02_exponential_gates.ipynb", CHECKS, {"torch": torch, "math": math, "logsigmoid": logsigmoid}
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n, share: n * share / (1 - share), "this is the weight"),
        (lambda n, share: math.log(share / (1 - share)), "others are forgotten"),
        (lambda n, share: math.log(n * share), "own weight is part of the sum"),
        (lambda n, share: math.log10(n * share / (1 - share)), "base 10"),
    ],
)
def test_loudness(wrong, message):
    rejects(ch02.check_loudness, wrong, message)


def plain(write=torch.exp, keep=torch.sigmoid, fade_n=True, divide=True):
    def student(z, i, f):
        c = n = torch.tensor(0.0)
        h = []
        for z_t, i_t, f_t in zip(z, i, f):
            c = keep(f_t) * c + write(i_t) * z_t
            n = (keep(f_t) if fade_n else 1) * n + write(i_t)
            h.append(c / n if divide else c)
        return torch.stack(h)
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (plain(divide=False), "divide it by the normaliser"),
        (plain(fade_n=False), "normaliser is not faded"),
        (plain(write=torch.sigmoid), "input gate is still a sigmoid"),
        (plain(keep=torch.exp), "both gates are exponential"),
        (plain(keep=lambda f: f), "f is a pre-activation"),
    ],
)
def test_exponential_cell(wrong, message):
    rejects(ch02.check_exponential_cell, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda dtype: torch.finfo(dtype).max, "largest number itself"),
        (lambda dtype: math.log2(torch.finfo(dtype).max), "base 2"),
        (lambda dtype: -math.log(torch.finfo(dtype).eps), "eps is the distance"),
        (lambda dtype: math.log(torch.finfo(torch.float32).max), "float32 for every type"),
    ],
)
def test_loudest(wrong, message):
    rejects(ch02.check_loudest, wrong, message)


def stable(rule=lambda log_f, m, i: torch.maximum(log_f + m, i), shift=True, log_keep=logsigmoid, both=True):
    def student(z, i, f):
        c = n = torch.tensor(0.0)
        m, h, ms = torch.tensor(-torch.inf), [], []
        for z_t, i_t, f_t in zip(z, i, f):
            log_f = log_keep(f_t)
            new = rule(log_f, m, i_t)
            keep, write = torch.exp(log_f + (m - new if shift else 0)), torch.exp(i_t - new)
            c, n, m = keep * c + write * z_t, keep * n + (write if both else i_t.exp()), new
            h.append(c / n)
            ms.append(m)
        return torch.stack(h), torch.stack(ms)
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (stable(rule=lambda log_f, m, i: torch.maximum(log_f + m, i).clamp(min=0)), "kept at 0 or above"),
        (stable(shift=False), "scaled by f alone"),
        (stable(log_keep=torch.sigmoid), "its logarithm"),
        (stable(both=False), "normaliser is not stabilised"),
        (lambda z, i, f: stable()(z, i, f)[::-1], "order is h, m"),
        (stable(rule=lambda log_f, m, i: i), "the input gate alone"),
    ],
)
def test_stabilised_cell(wrong, message):
    rejects(ch02.check_stabilised_cell, wrong, message)


def floored(floor=lambda m: torch.exp(-m), least=0.0, size=torch.abs, key=True):
    def student(k, z, i, f):
        c = n = m = torch.tensor(0.0)
        h = []
        for k_t, z_t, i_t, f_t in zip(k, z, i, f):
            log_f = logsigmoid(f_t)
            new = torch.maximum(log_f + m, i_t)
            new = new if least is None else new.clamp(min=least)
            keep, write = torch.exp(log_f + m - new), torch.exp(i_t - new)
            c, n, m = keep * c + write * k_t * z_t, keep * n + write * (k_t if key else 1), new
            h.append(c / torch.maximum(size(n), floor(m)))
        return torch.stack(h)
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (floored(least=None), "gradient of .* is NaN"),
        (floored(floor=torch.ones_like), "1 in true units"),
        (floored(size=lambda n: n), "sign of n is kept"),
        (floored(key=False), "key is missing in the normaliser"),
    ],
)
def test_floored_cell(wrong, message):
    for seed in range(3):
        with pytest.raises(CheckFailed, match=message):
            ch02.check_floored_cell(wrong, seed=seed)
