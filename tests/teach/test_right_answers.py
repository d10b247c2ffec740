"""Right answers of another make than the book's: other number types, shapes that unpack, loops over plain numbers."""

import math

import numpy as np
import pytest
import torch

from vil_lite.teach.checks import ch01, ch02, ch03, ch04, ch15


def revise_both(distance, value, nearest, kept, sharpness):
    i = torch.sigmoid(sharpness * (nearest - distance))
    return torch.lerp(torch.stack([nearest, kept]), torch.stack([distance, value]), i)


def cell_of_numpy(a, c):
    i, f, z, o = a.numpy().reshape(4, -1)
    c = c.numpy() / (1 + np.exp(-f)) + np.tanh(z) / (1 + np.exp(-i))
    return np.tanh(c) / (1 + np.exp(-o)), c


def confusion_in_lists(overlap, true, predicted, classes, threshold=0.45):
    matrix, left = [[0] * (classes + 1) for _ in range(classes + 1)], dict(enumerate(true))
    for d in range(len(predicted)):
        best, g = max(((overlap[g][d], g) for g in left), default=(-1, None))
        matrix[predicted[d]][left.pop(g) if best > threshold else classes] += 1
    for label in left.values():
        matrix[classes][label] += 1
    return matrix


def join_by_rows(c1, n1, m1, c2, n2, m2, log_f):
    units = torch.stack([log_f + m1, m2])
    factors = (units - units.amax(0)).exp()
    memory = (factors * torch.stack([torch.stack([c1, c2]), torch.stack([n1, n2])])).sum(1)
    return *memory, units.amax(0)


def dies_by_a_loop(i, f):
    """The running maximum of chapter 2, without a matrix."""
    m, dead = torch.full_like(i[..., 0], -torch.inf), []
    for t in range(i.shape[-1]):
        m = torch.maximum(torch.nn.functional.logsigmoid(f[..., t]) + m, i[..., t])
        dead.append(torch.exp(-m) == torch.inf)
    return torch.stack(dead, dim=-1)


RIGHT = [
    (ch01.check_cell_step, cell_of_numpy),
    (ch01.check_shares, lambda i, f: [float(i[s]) * math.prod(f[s + 1 :].tolist()) for s in range(len(i))]),
    (ch01.check_revise, revise_both),
    (ch01.check_values_only, lambda v, kinds: (v == v.mode(1).values[:, None]).double().mean()),
    (ch01.check_parity_gates, lambda bit, h: torch.stack([bit, 1 - bit, 1 - h])),
    (ch01.check_parity_gates, lambda bit, h: (bit.bool(), bit == 0, h == 0)),
    (ch01.check_parity_gates, lambda bit, h: np.stack([bit, 0 * bit + 1, 1 - 2 * h])),
    (ch02.check_deaf_for, lambda x, f: -np.log1p(np.exp(x) * (1 - f)) / np.log(f)),
    (ch02.check_loudest, lambda dtype: torch.tensor(torch.finfo(dtype).max, dtype=dtype).log()),  # 88.5 in bfloat16
    (ch02.check_join, join_by_rows),
    (ch03.check_recall, lambda q, k, v: (q @ k.T @ v).tolist()),
    (ch03.check_covariance, lambda C, k, v, N: (C - k[:, None] * v / N).tolist()),
    (
        ch15.check_count,
        lambda x, n: ([sum(c in o for o in x) for c in range(n)], [sum((o == c).sum() for o in x) for c in range(n)]),
    ),
    (ch15.check_confusion, confusion_in_lists),
    (ch03.check_overwrite, lambda C, k, v: C.clone().addr_(k, v - C.T @ k)),
    (ch04.check_dies, dies_by_a_loop),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_an_unusual_right_answer_passes(check, answer):
    for seed in range(5):
        assert check.outcome(answer, seed).status == "right", check.outcome(answer, seed)
