"""Chapter 3's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import pytest
import torch
from _chapter import page_tests, rejects
from torch.nn.functional import logsigmoid

from vil_lite import teach
from vil_lite.mlstm import MLSTMState, mlstm_recurrent
from vil_lite.teach.checks import ch03

CHECKS = {
    "recall": ch03.check_recall,
    "interference": ch03.check_interference,
    "covariance": ch03.check_covariance,
    "step": ch03.check_step,
    "overwrite": ch03.check_overwrite,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part1_memory/03_matrix_memory.ipynb", CHECKS, {"torch": torch, "logsigmoid": logsigmoid, "ch03": ch03}
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda q, k, v: q @ (v.mT @ k), "transposed|RuntimeError"),
        (lambda q, k, v: q @ (k.mT @ v) / len(k), "not a mean"),
        (lambda q, k, v: torch.softmax(q @ k.mT, dim=-1) @ v, "softmax"),
        (lambda q, k, v: v[(q @ k.mT).argmax(-1)], "nearest key"),
        (lambda q, k, v: q @ (k.mT @ v) / k.shape[1] ** 0.5, "sqrt"),
        (lambda q, k, v: torch.outer(torch.ones(len(q)), torch.ones(len(k))) @ v, "query is not used"),
        (lambda q, k, v: q @ torch.outer(k[-1], v[-1]), "only the last pair"),
        (lambda q, k, v: k.mT @ v, "not yet what a query reads|shape"),
    ],
)
def test_wrong_recalls(wrong, message):
    rejects(ch03.check_recall, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda k, v: (k @ k.mT @ v).square().sum() / v.square().sum(), "subtract v"),
        (lambda k, v: (k @ k.mT @ v - v).norm() / v.norm(), "root"),
        (lambda k, v: (k @ k.mT @ v - v).abs().sum() / v.abs().sum(), "not squared"),
        (lambda k, v: (k @ k.mT @ v - v).square().sum(), "not relative"),
        (lambda k, v: (k @ k.mT @ v - v).square().mean(), "not by their number"),
        (lambda k, v: ((k @ k.mT @ v - v).square().sum(-1) / v.square().sum(-1)).mean(), "mean of ratios"),
        (lambda k, v: (k @ k.mT @ v - v).square().sum(-1) / v.square().sum(-1), "one number for each pair"),
        (lambda k, v: (k @ k.mT @ v - v).square().sum() / v.square().sum() / len(k), "once too often"),
    ],
)
def test_wrong_interferences(wrong, message):
    rejects(ch03.check_interference, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda C, k, v, N: C - torch.outer(k, v), "sums are not means"),
        (lambda C, k, v, N: C - torch.outer(k / N, v / N), "N times"),
        (lambda C, k, v, N: C + torch.outer(k, v) / N, "subtract it"),
        (lambda C, k, v, N: C - torch.outer(v, k) / N, "keys are the rows|RuntimeError"),
        (lambda C, k, v, N: C / N - torch.outer(k / N, v / N), "covariance itself"),
        (lambda C, k, v, N: torch.outer(k, v) / N, "shared part"),
        (lambda C, k, v, N: C.sub_(torch.outer(k, v) / N), "changed in place"),
    ],
)
def test_wrong_covariances(wrong, message):
    rejects(ch03.check_covariance, wrong, message)


def written(C, n, m, q, k, v, i, f, zero=True, old_m=True, gate=logsigmoid, outer=torch.outer, n_fades=True, n_gate=True,
            scale=True, late=True, floor=True, bottom=torch.maximum, sign=-1, absolute=True):
    """The solution of 3.4 as a student would write it, with one thing changed."""
    m_t = torch.maximum(gate(f) + m, i)
    m_t = m_t.clamp(min=0) if zero else m_t
    forget, write = torch.exp(gate(f) + m * old_m - m_t), torch.exp(i - m_t)
    C_t = forget * C + write * outer(k, v)
    n_t = (forget if n_fades else 1) * n + (write if n_gate else 1) * k
    query = q / len(q) ** 0.5 if scale else q
    normaliser = query @ (n_t if late else n)
    normaliser = normaliser.abs() if absolute else normaliser
    floor = torch.exp(sign * m_t) if floor else torch.ones(())
    return query @ (C_t if late else C) / bottom(normaliser, floor), C_t, n_t, m_t


def test_the_varied_solution_is_right():
    ch03.check_step(written, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zero": False}, "may not fall below 0"),
        ({"old_m": False}, "old stabiliser is missing"),
        ({"gate": lambda f: f}, "pre-activation"),
        ({"gate": torch.sigmoid}, "in the exponent its logarithm"),
        ({"outer": lambda k, v: torch.outer(v, k)}, "key and value are exchanged|RuntimeError"),
        ({"n_fades": False}, "normaliser is not forgotten"),
        ({"n_gate": False}, "without its input gate"),
        ({"scale": False}, "sqrt"),
        ({"late": False}, "before the token is written"),
        ({"floor": False}, "denominator is 1 here"),
        ({"sign": 1}, r"it is exp\(-m_t\)"),
        ({"absolute": False}, "absolute value"),
        ({"bottom": lambda a, b: a}, "floor is missing"),
        ({"bottom": torch.add}, "the larger of the two"),
        ({"bottom": lambda a, b: 1.0}, "denominator is 1 here|not divided by the normaliser"),
    ],
)
def test_wrong_steps(change, message):
    rejects(ch03.check_step, lambda *a: written(*a, **change), message)


def test_a_step_in_another_order_is_told_so():
    rejects(ch03.check_step, lambda *a: (*ch03.step(*a)[1:], ch03.step(*a)[0]), "the order is h, C, n, m")


def test_a_step_without_its_state_is_rejected():
    rejects(ch03.check_step, lambda *a: ch03.step(*a)[0], "one value is returned; 4")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda C, k, v: C + torch.outer(k, v), "old value stays"),
        (lambda C, k, v: C - torch.outer(k, k @ C), "not put in"),
        (lambda C, k, v: torch.outer(k, v), "wiped"),
        (lambda C, k, v: C + torch.outer(k, k @ C - v), "sign"),
        (lambda C, k, v: torch.outer(k, v - k @ C), "add the correction"),
        (lambda C, k, v: C + torch.outer(k, v - C @ k), "not C k|RuntimeError"),
        (lambda C, k, v: C + torch.outer(k, (v - k @ C) / 2), "half"),
    ],
)
def test_wrong_overwrites(wrong, message):
    rejects(ch03.check_overwrite, wrong, message)


def test_the_step_is_the_library():
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 1, 1, 4, generator=g, dtype=torch.float64)
    i, f, m = 3 * torch.randn(3, 1, 1, 1, generator=g, dtype=torch.float64)
    C, n = torch.randn(1, 1, 4, 4, generator=g).double(), torch.randn(1, 1, 4, generator=g).double()
    h, state = mlstm_recurrent(q, k, v, i, f, MLSTMState(C, n, m[..., 0].abs()), eps=0)
    ours = ch03.step(C[0, 0], n[0, 0], m[0, 0, 0].abs(), *(x[0, 0, 0] for x in (q, k, v, i, f)))
    for a, b in zip(ours, (h[:, :, 0], *state)):
        torch.testing.assert_close(a, b[0, 0])


def test_numbers_of_the_open_question():
    """The rubric's list and matrix, at d = 64 with 4096 numbers each."""
    d, slots = 64, 64 * 64 // 128
    assert slots == 32
    assert [(N - slots) / N for N in (32, 64, 128)] == [0, 0.5, 0.75]
    x = [(N - 1) / d for N in (32, 64, 128)]
    assert [round(e, 2) for e in x] == [0.48, 0.98, 1.98]
    assert [round(e / (1 + e), 2) for e in x] == [0.33, 0.5, 0.66]
    a = torch.linspace(0, 1, 10001)
    assert all(abs(a[((1 - a) ** 2 + a**2 * e).argmin()] - 1 / (1 + e)) < 1e-3 for e in x)


def test_the_best_constant_is_measured_too():
    """Expected error (N-1)/d of random keys, and x/(1+x) after scaling, against 200 draws."""
    torch.manual_seed(0)
    k = torch.nn.functional.normalize(torch.randn(200, 64, 64), dim=-1)
    v = torch.randn(200, 64, 16)
    read, x = k @ (k.mT @ v), 63 / 64
    for a, expected in ((1, x), (1 / (1 + x), x / (1 + x))):
        measured = ((a * read - v).square().sum() / v.square().sum()).item()
        assert abs(measured / expected - 1) < 0.03


def test_the_recorded_run_is_what_the_page_says():
    recorded = teach.result("ch03_recall")
    figures = recorded["figures"]
    assert len(recorded["seeds"]) == 20
    lstm, bias, matrix = (torch.tensor(figures[f"accuracy_{name}"]) for name in ("lstm", "bias", "matrix"))
    assert matrix.shape == bias.shape == lstm.shape == (20, len(figures["pairs"]))
    eight = figures["pairs"].index(8)
    assert lstm[:, eight].max() < 0.95
    for accuracy in (matrix, bias):  # two groups, says the alt text, and more than half the seeds in the upper one
        upper = accuracy[:, eight] >= 0.95
        assert upper.sum() > 10 and accuracy[:, eight][~upper].max() < 0.89 and accuracy[:, eight].min() > 0.74
    assert (torch.tensor(figures["products_most"]).diag() < 0.5).all()  # every other key answers more loudly than the own
