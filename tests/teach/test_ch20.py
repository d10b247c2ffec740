"""Chapter 20: its references are right on paper, and are what the cell, a linear model and SciPy compute."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from vil_lite import mlstm_recurrent
from vil_lite.teach.checks import ch20


def test_the_references_on_paper():
    assert ch20.half_life(torch.tensor([3.0])) == pytest.approx(math.log(2) / math.log(1 + math.exp(-3)))
    assert ch20.half_life(torch.tensor([0.0, 0.0])) == pytest.approx(1)  # each token halves it
    w = ch20.decay_map(torch.tensor([0, 0, math.log(2)]), torch.zeros(3), 2, (1, 3), False)
    torch.testing.assert_close(w, torch.tensor([[1, 2, 8]]) / 11)
    w = ch20.decay_map(torch.tensor([0, 0, math.log(2)]), torch.zeros(3), 0, (1, 3), True)
    torch.testing.assert_close(w, torch.tensor([[8, 2, 1]]) / 11)
    assert ch20.ranks(torch.tensor([0.0, 0.0, 7.0])).tolist() == [1.5, 1.5, 3]


def test_who_answers_is_what_the_recurrence_answers():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 1, 9, 4)
    i, f = torch.randn(1, 1, 9), 2 + torch.randn(1, 1, 9)
    h, _ = mlstm_recurrent(q, k, v, i, f, eps=0.0)
    for scale in (1, 30):  # below and above the floor
        a = ch20.answers(scale * q[0, 0, -1], k[0, 0], i[0, 0], f[0, 0])
        asked = torch.cat([q[:, :, :-1], scale * q[:, :, -1:]], 2)
        torch.testing.assert_close(a @ v[0, 0], mlstm_recurrent(asked, k, v, i, f, eps=0.0)[0][0, 0, -1])


def test_for_a_linear_model_occlusion_is_gradient_times_input():
    torch.manual_seed(0)
    weight, image = torch.randn(6 * 8, 3), torch.randn(1, 6, 8)

    def model(x):
        return x.flatten(1) @ weight

    both = [one(model, image, 1, 2) for one in (ch20.occlusion, ch20.gradient_input)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)
    assert both[0].shape == (3, 4) and both[0].sum() == pytest.approx(model(image[None])[0, 1].item(), abs=1e-3)


def test_rank_correlation_is_that_of_scipy():
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 6).clamp(min=0)
    assert ch20.rank_correlation(a, b) == pytest.approx(spearmanr(a.flatten(), b.flatten()).statistic)
