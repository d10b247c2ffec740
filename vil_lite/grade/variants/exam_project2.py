"""Exam variant of project 2: a grid read in two halves."""

import torch

from vil_lite.teach.checks._base import exercise


def two_columns(H, W, *, right_first=False):
    """Token numbers (H * W,) in the order of reading: the left half of the grid (W is even) row by row from top to bottom,
    then the right half row by row from bottom to top, every row from left to right.  H, W: rows and columns."""
    left, right = torch.arange(H * W).view(H, W).split(W // 2, dim=1)
    halves = (right, left.flip(0)) if right_first else (left, right.flip(0))
    return torch.cat([half.flatten() for half in halves])


@exercise(
    "exam P2",
    "two halves, down and up",
    two_columns,
    mistakes={
        "the left half comes first": {"right_first": True},
        "the right half is read from bottom to top": lambda H, W: torch.cat(
            [half.flatten() for half in torch.arange(H * W).view(H, W).split(W // 2, 1)]
        ),
        "every row of the right half is read from left to right": lambda H, W: torch.cat(
            [two_columns(H, W)[: H * W // 2], two_columns(H, W)[H * W // 2 :].view(H, -1).flip(1).flatten()]
        ),
        "the grid is cut into left and right, not into upper and lower": lambda H, W: torch.cat(
            [torch.arange(H * W)[: H * W // 2], torch.arange(H * W)[H * W // 2 :].view(-1, W).flip(0).flatten()]
        ),
        "H and W are exchanged: the grid has H rows of W": lambda H, W: two_columns(W, H),
        "the numbers of tokens are wanted, in the order of reading; this is when each is read": lambda H, W: (
            two_columns(H, W).argsort()
        ),
    },
)
def check_two_columns(rng):
    H = 2 * rng.size(2, 3)
    return {"H": H, "W": H + 2 * rng.size(1, 2)}
