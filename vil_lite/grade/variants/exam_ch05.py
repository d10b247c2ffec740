"""Exam variant of chapter 5: states before, not after."""

import torch

from vil_lite.teach.checks._base import exercise


def states_before(added, decay, first, *, after=False, late=False):
    """K chunks: after chunk j the state is decay_j times the one before, plus added_j.  added (K, n), decay (K), first (n).
    Returns the states before each chunk, (K, n): the first of them is `first`."""
    state, found = first, []
    for more, keep in zip(added, decay):
        found.append(state)
        state = keep * (state + more) if late else keep * state + more
    return torch.stack([*found[1:], state] if after else found)


@exercise(
    "exam 5",
    "the memory before each chunk",
    states_before,
    mistakes={
        "these are the states after each chunk; before it is wanted": {"after": True},
        "what a chunk adds does not decay in it": {"late": True},
        "the first state is not used": lambda a, d, f: states_before(a, d, 0 * f),
        "nothing decays": lambda a, d, f: states_before(a, torch.ones_like(d), f),
    },
)
def check_states_before(rng):
    K, n = rng.size(4, 6), rng.size(2, 4)
    return {"added": rng.normal(K, n), "decay": rng.uniform(0.2, 0.9, K), "first": rng.normal(n)}
