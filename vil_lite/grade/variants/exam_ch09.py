"""Exam variant of chapter 9: another pooling."""

import torch

from vil_lite.teach.checks._base import exercise


def three_ends(tokens):
    """tokens (B, S, d), S odd -> (B, d): the mean of the first, the middle and the last token."""
    S = tokens.shape[1]
    return (tokens[:, 0] + tokens[:, S // 2] + tokens[:, -1]) / 3


@exercise(
    "exam 9",
    "a pooling of three tokens",
    three_ends,
    mistakes={
        "this is the sum; the mean is wanted": lambda x: 3 * three_ends(x),
        "the middle token is missing": lambda x: (x[:, 0] + x[:, -1]) / 2,
        "this is the mean of all tokens": lambda x: x.mean(1),
        "the middle is one too early": lambda x: (x[:, 0] + x[:, x.shape[1] // 2 - 1] + x[:, -1]) / 3,
        "side by side is another pooling; the mean is wanted": lambda x: torch.cat(
            [x[:, 0], x[:, x.shape[1] // 2], x[:, -1]], -1
        ),
    },
)
def check_three_ends(rng):
    return {"tokens": rng.normal(2, 2 * rng.size(3, 6) + 1, rng.size(2, 5))}
