"""The project of Part 1: its references are the library in disguise, and its shift keeps its promise."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import logsigmoid

from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel, mlstm_recurrent
from vil_lite.teach.checks import project1

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("form", [mlstm_recurrent, mlstm_parallel, mlstm_chunkwise])
def test_the_references_are_the_library_in_disguise(form):
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 50, 4, generator=g, dtype=torch.float64)
    i, f = 3 * torch.randn(2, 2, 50, generator=g, dtype=torch.float64)
    wanted, state = form(*(x[None] for x in (q, k, v, logsigmoid(i), f)), eps=0)
    assert state.m.eq(0).all()
    close = {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(project1.parallel(q, k, v, i, f), wanted[0], **close)
    for L in (1, 7, 50):
        torch.testing.assert_close(project1.chunkwise(q, k, v, i, f, L), wanted[0], **close)
    C, n = torch.zeros(4, 4, dtype=q.dtype), torch.zeros(4, dtype=q.dtype)
    for t in range(50):
        h, C, n = project1.step(C, n, q[0, t], k[0, t], v[0, t], i[0, t], f[0, t])
        torch.testing.assert_close(h, wanted[0, 0, t], **close)


def test_the_shift_keeps_its_promise():
    for loudest, error in ((3.0, 0.1), (12.0, 1e-3)):
        B = project1.shift_needed(loudest, error)
        x = torch.linspace(-20, loudest, 500, dtype=torch.float64)
        off = 1 - math.exp(B) * torch.sigmoid(x - B) / x.exp()
        assert abs(off.max().item() / error - 1) < 1e-9
