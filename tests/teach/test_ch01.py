"""Chapter 1's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import pytest
import torch
from _chapter import page_tests, rejects
from torch.nn.functional import one_hot

from vil_lite.teach.checks import ch01

CHECKS = {
    "cell_step": ch01.check_cell_step,
    "shares": ch01.check_shares,
    "revise": ch01.check_revise,
    "values_only": ch01.check_values_only,
    "parity_gates": ch01.check_parity_gates,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part1_memory/01_lstm_limits.ipynb", CHECKS, {"torch": torch, "one_hot": one_hot}
)


def step(order=(0, 1, 2, 3), z_of=torch.tanh, h_of=torch.tanh, gate=torch.sigmoid):
    def student(a, c):
        i, f, z, o = (a.chunk(4)[n] for n in order)
        c = gate(f) * c + gate(i) * z_of(z)
        return gate(o) * h_of(c), c
    return student


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (step(order=(1, 0, 2, 3)), "input and forget gate are exchanged"),
        (step(order=(0, 1, 3, 2)), "candidate and output gate are exchanged"),
        (step(z_of=torch.sigmoid), "candidate z passes through a sigmoid"),
        (step(h_of=lambda c: c), r"o times tanh\(c\)"),
        (step(gate=lambda x: x), "gates have not passed"),
        (lambda a, c: step()(a, c)[::-1], "order is h, c"),
    ],
)
def test_cell_step(wrong, message):
    rejects(ch01.check_cell_step, wrong, message)


def product(i, f, after):
    return torch.stack([i[s] * f[s + after :].prod() for s in range(len(i))])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda i, f: product(i, f, 0), "own forget gate is counted"),
        (lambda i, f: i * f.cumprod(0), "gates before the token"),
        (lambda i, f: product(torch.ones_like(i), f, 1), "input gate is missing"),
        (lambda i, f: product(i, f, 1).flip(0), "order is turned round"),
        (lambda i, f: product(i, f, 1) / product(i, f, 1).sum(), "divided by their sum"),
    ],
)
def test_shares(wrong, message):
    rejects(ch01.check_shares, wrong, message)


def revise(sign=1, forget=True, sharp=True):
    def student(distance, value, nearest, kept, sharpness):
        i = torch.sigmoid(sign * (sharpness if sharp else 1) * (nearest - distance))
        f = 1 - i if forget else 1
        return f * nearest + i * distance, f * kept + i * value
    return student


def eager(distance, value, nearest, kept, sharpness):
    i = torch.sigmoid(sharpness * (nearest - distance))
    nearest = (1 - i) * nearest + i * distance
    i = torch.sigmoid(sharpness * (nearest - distance))
    return nearest, (1 - i) * kept + i * value


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (revise(sign=-1), "farther away"),
        (revise(forget=False), "kept in full"),
        (revise(sharp=False), "sharpness is not used"),
        (eager, "compared with itself"),
        (lambda d, v, n, k, s: (n, revise()(d, v, n, k, s)[1]), "stays as it was"),
    ],
)
def test_revise(wrong, message):
    rejects(ch01.check_revise, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda v, k: one_hot(v, k).sum(1).amax(-1).float().mean(), "number of right answers"),
        (lambda v, k: torch.tensor(1 / k), "chance among all values"),
        (lambda v, k: torch.tensor([1 / len(set(row)) for row in v.tolist()]).mean(), "at random among the values"),
        (lambda v, k: one_hot(v, k).sum((0, 1)).amax() / v.numel(), "over the whole batch"),
    ],
)
def test_values_only(wrong, message):
    rejects(ch01.check_values_only, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda bit, h: (bit, 1 - bit, torch.ones_like(bit)), "never clears it"),
        (lambda bit, h: (bit, torch.ones_like(bit), torch.ones_like(bit)), "counts up to 2"),
        (lambda bit, h: (torch.ones_like(bit), 1 - bit, 1 - h), "a zero changes the memory"),
        (lambda bit, h: (bit, 1 - 2 * bit, torch.ones_like(bit)), r"leaves \[0, 1\]"),
        (lambda bit, h: (bit, 1 - bit), "three values"),
    ],
)
def test_parity_gates(wrong, message):
    rejects(ch01.check_parity_gates, wrong, message)
