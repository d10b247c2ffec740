"""Exam variant of chapter 8: an order back."""

import torch

from vil_lite.teach.checks._base import exercise


def weighted_paths(h, orders, weights):
    """h (P, S, d): path p has its tokens in its own order, its n-th is token orders[p, n].  weights (P).
    Returns the weighted sum of all paths, (S, d), token 0 first."""
    return sum(w * path[order.argsort()] for path, order, w in zip(h, orders, weights))


@exercise(
    "exam 8",
    "paths in several orders, added with weights",
    weighted_paths,
    mistakes={
        "the way back is the inverse of the order (argsort), not the order again": lambda h, o, w: sum(
            a * path[order] for path, order, a in zip(h, o, w)
        ),
        "the paths are added as they stand; each has its own order": lambda h, o, w: (w[:, None, None] * h).sum(0),
        "the weights are not used": lambda h, o, w: weighted_paths(h, o, torch.ones_like(w)),
        "this is the mean; the weighted sum is wanted": lambda h, o, w: weighted_paths(
            h, o, torch.ones_like(w) / len(w)
        ),
    },
)
def check_weighted_paths(rng):
    P, S = rng.size(2, 3), rng.size(5, 8)
    turn = torch.arange(S).roll(2)  # not its own inverse
    orders = torch.stack([turn, *(turn[torch.randperm(S, generator=rng.generator)] for _ in range(P - 1))])
    return {"h": rng.normal(P, S, 3), "orders": orders, "weights": rng.uniform(0.2, 2, P)}
