"""Exam variant of chapter 1: gates that share."""

import torch

from vil_lite.teach.checks._base import exercise


def coupled_step(a, c, *, write=lambda f: 1 - f, keep=torch.sigmoid, squash=torch.tanh, shown=torch.tanh):
    """A cell without an input gate: what is not kept is written, i = 1 - f.
    a (3 H): pre-activations f, z, o.  c (H): the old memory.  Returns h, c."""
    f, z, o = a.chunk(3)
    f, o = keep(f), torch.sigmoid(o)
    c = f * c + write(f) * squash(z)
    return o * shown(c), c


@exercise(
    "exam 1",
    "an LSTM step whose input gate is 1 - f",
    coupled_step,
    mistakes={
        "the input gate is f itself; what is not kept is written": {"write": lambda f: f},
        "the input gate is 1; it is 1 - f": {"write": torch.ones_like},
        "f is a pre-activation: it passes through a sigmoid": {"keep": lambda f: f},
        "z passes through tanh": {"squash": lambda z: z},
        "the memory passes through tanh before it is shown": {"shown": lambda c: c},
        "the order is f, z, o": lambda a, c: coupled_step(torch.cat(a.chunk(3)[::-1]), c),
    },
)
def check_coupled_step(rng):
    H = rng.size(3, 6)
    return {"a": 1.5 * rng.normal(3 * H), "c": 2 * rng.normal(H)}
