"""Exam variant of chapter 4: a decay that excludes."""

import torch
from torch.nn.functional import logsigmoid

from vil_lite.teach.checks._base import exercise


def exclusive_log_decay(i, f, *, log_gate=logsigmoid, own=False, last=False, turned=False):
    """i, f (S).  Token t reads before it is written: log D_ts = i_s + the sum of log sigmoid(f_r) for s < r < t,
    for s < t, else minus infinity.  Returns (S, S), row t, column s."""
    S, total = len(i), log_gate(f).cumsum(0)
    before = total if last else total - log_gate(f)
    log_D = before[:, None] - total[None, :] + i[None, :]
    log_D = log_D.masked_fill(torch.ones(S, S).triu(1 if own else 0).bool(), -torch.inf)
    return log_D.T if turned else log_D


@exercise(
    "exam 4",
    "the decays of a memory that is read before it is written",
    exclusive_log_decay,
    mistakes={
        "this is the book's own convention: here t reads before it is written, s < t, and f_t does not act yet": {
            "own": True,
            "last": True,
        },
        "f_t does not act yet: the sum ends before t": {"last": True},
        "a token does not see itself here": {"own": True},
        "the sum is over log sigmoid(f), not over f": {"log_gate": lambda f: f},
        "row and column are exchanged: row t, column s": {"turned": True},
        "the input gate is missing": lambda i, f: exclusive_log_decay(0 * i, f),
    },
)
def check_exclusive_log_decay(rng):
    S = rng.size(4, 7)
    return {"i": rng.normal(S), "f": rng.normal(S) + 1}
