"""Chapter 3: its figures are what the page says."""

import torch

from vil_lite import teach


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
    assert (
        torch.tensor(figures["products_most"]).diag() < 0.5
    ).all()  # every other key answers more loudly than the own
