"""The project of Part 1: its shift keeps its promise."""

import math

import torch

from vil_lite.teach.checks import project1


def test_the_shift_keeps_its_promise():
    for loudest, error in ((3.0, 0.1), (12.0, 1e-3)):
        B = project1.shift_needed(loudest, error)
        x = torch.linspace(-20, loudest, 500, dtype=torch.float64)
        off = 1 - math.exp(B) * torch.sigmoid(x - B) / x.exp()
        assert abs(off.max().item() / error - 1) < 1e-9
