"""Exam variant of chapter 20: how many tokens hold most of a memory."""

import torch
import torch.nn.functional as F

from vil_lite.teach.checks._base import exercise


def holders(i, f, share, *, after=True, gate=True, most=True, more=0):
    """How many tokens, the strongest first, hold at least this share of the last row of the decay matrix, from the
    pre-activations i, f (S,) of the gates."""
    total = F.logsigmoid(f).double().cumsum(0)
    start = total if after else torch.cat([total.new_zeros(1), total[:-1]])
    w = (total[-1] - start + (i.double() if gate else 0)).softmax(0).sort(descending=most).values
    return int((w.cumsum(0) < share - 1e-9).sum()) + 1 + more


@exercise(
    "exam 20",
    "how many tokens hold most of a memory",
    holders,
    mistakes={
        "the strongest tokens come first, not the weakest": {"most": False},
        "the token with which the share is reached counts, too": {"more": -1},
        "the input gates are missing": {"gate": False},
        "what token s writes has not met its own forget gate": {"after": False},
        "count tokens from the strongest on, not from the last one read backwards": lambda i, f, share: (
            int((_shares(i, f).flip(0).cumsum(0) < share - 1e-9).sum()) + 1
        ),
    },
)
def check_holders(rng):
    S = rng.size(30, 40)
    return {"i": 1.5 * rng.normal(S), "f": 1.0 + 1.5 * rng.normal(S), "share": rng.turn([0.5, 0.7, 0.8, 0.9, 0.6])}


def _shares(i, f):
    total = F.logsigmoid(f).double().cumsum(0)
    return (total[-1] - total + i.double()).softmax(0)
