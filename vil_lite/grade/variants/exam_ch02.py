"""Exam variant of chapter 2: another gate."""

import torch
from torch.nn.functional import logsigmoid

from vil_lite.teach.checks._base import exercise


def both_exponential(z, i, f, *, log_gate=lambda f: f, lowest=-torch.inf, start=-torch.inf, divide=True):
    """z, i, f (S): both gates are exponential, exp(i) and exp(f), and stabilised.  Returns h and m, each (S)."""
    c = n = torch.zeros(())
    m, h, stabilisers = torch.tensor(start), [], []
    for z_t, i_t, f_t in zip(z, i, f):
        m_t = torch.maximum(log_gate(f_t) + m, i_t).clamp(min=lowest)
        keep, write = torch.exp(log_gate(f_t) + m - m_t), torch.exp(i_t - m_t)
        c, n, m = keep * c + write * z_t, keep * n + write, m_t
        h.append(c / n if divide else c)
        stabilisers.append(m)
    return torch.stack(h), torch.stack(stabilisers)


@exercise(
    "exam 2",
    "a stabilised cell with two exponential gates",
    both_exponential,
    mistakes={
        "f is exponential here: its logarithm is f, not log sigmoid(f)": {"log_gate": logsigmoid},
        "the stabiliser may fall below 0 here": {"lowest": 0.0},
        "the memory is divided by its normaliser": {"divide": False},
        "the order is h, m": lambda *x: both_exponential(*x)[::-1],
    },
)
def check_both_exponential(rng):
    S = rng.size(4, 8)
    return {"z": rng.normal(S), "i": 3 * rng.normal(S) - 4, "f": rng.normal(S) - 1}
