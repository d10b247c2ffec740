"""Exam variant of chapter 18: Dice instead of IoU, and a background that does not count."""

import torch

from vil_lite.teach.checks._base import exercise


def worst_dice(matrix, *, pick=torch.min, factor=2, first=1):
    """The smallest Dice of a class, twice the intersection over the sum of both sizes, from a table with a row for each true
    class and a column for each class that was called.  Class 0 is background and left out; every class is there."""
    hit, both = matrix.diagonal().double(), (matrix.sum(0) + matrix.sum(1)).double()
    return float(pick(factor * hit[first:] / both[first:]))


@exercise(
    "exam 18",
    "the worst Dice of a table",
    worst_dice,
    mistakes={
        "the worst class is asked for, not the mean": {"pick": torch.mean},
        "the worst class is asked for, not the best": {"pick": torch.max},
        "the intersection counts twice, for both sizes stand below": {"factor": 1},
        "class 0 is background, and left out": {"first": 0},
        "this is intersection over union": lambda matrix: worst_dice(matrix) / (2 - worst_dice(matrix)),
    },
)
def check_worst_dice(rng):
    classes = rng.size(4, 6)
    matrix = rng.uniform(1, 30, classes, classes).long() + torch.diag(rng.uniform(100, 400, classes).long())
    matrix[0, 0] = 5  # the background is the worst
    return {"matrix": matrix}
