"""What does the mLSTM's denominator do for training?  Recall of pairs, one thing changed at a time, 12 seeds.

    python experiments/ch03_denominator.py        about 3 minutes on one CPU core

Chapter 3's matrix reader (8 x 8, no bias) and its training, with three denominators,

    floor       max(|sum of the weights|, 1), the mLSTM's
    no_floor    |sum of the weights|, and 1e-6 against a division by 0
    nothing     1: the bare numerator

Writes book/results/ch03_denominator.json: for each, the accuracy of every seed with 8 pairs.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
from _record import kept, record
from ch03_recall import accuracy, trained
from torch import nn
from torch.nn.functional import logsigmoid

SEEDS = range(12)
PARTS = Path(tempfile.gettempdir()) / "vil_lite_ch03_denominator"  # an interrupted run goes on


def weights(q, k, i, f):
    """The weights of the parallel form (B, S, S), divided by e^m for each row, and m (B, S, 1)."""
    S = q.shape[-2]
    F = logsigmoid(f).cumsum(-1)
    log_D = F[..., :, None] - F[..., None, :] + i[..., None, :]
    log_D = log_D.masked_fill(~torch.ones(S, S, dtype=torch.bool).tril(), -torch.inf)
    m = log_D.amax(-1, keepdim=True).clamp(min=0)
    return (q @ k.mT) * q.shape[-1] ** -0.5 * torch.exp(log_D - m), m


DENOMINATORS = {
    "floor": lambda w, m: torch.maximum(w.sum(-1, keepdim=True).abs(), torch.exp(-m)),
    "no_floor": lambda w, m: w.sum(-1, keepdim=True).abs() + 1e-6,
    "nothing": lambda w, m: torch.exp(-m),
}


class MatrixReader(nn.Module):
    def __init__(self, denominator, d=8):
        super().__init__()
        self.denominator = denominator
        self.qkv, self.gates, self.head = nn.Linear(24, 3 * d, bias=False), nn.Linear(24, 2), nn.Linear(d, 8)

    def forward(self, x):  # (B, S, 24) -> (B, S, 8)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        w, m = weights(q, k, *self.gates(x).unbind(-1))
        return self.head(w @ v / self.denominator(w, m))


def with_eight_pairs(denominator, seed):
    """Share of right answers with 8 pairs."""
    return round(accuracy(trained(lambda: MatrixReader(DENOMINATORS[denominator]), seed), 8), 5)


def main():
    torch.set_num_threads(1)
    figures = {
        name: [kept(PARTS / f"{name}_{seed}.json", partial(with_eight_pairs, name, seed)) for seed in SEEDS]
        for name in DENOMINATORS
    }
    record("ch03_denominator", figures, seeds=SEEDS)


if __name__ == "__main__":
    main()
