"""Exam variant of chapter 19: whole columns are hidden, and the loss is the absolute error of each image by itself."""

import torch

from vil_lite.teach.checks._base import exercise


def column_loss(guess, target, columns, width, *, hidden=True, power=1, by_image=True, rows=False):
    """(B,): the mean absolute error of each image over the pixels of hidden patches.

    guess, target: (B, H * width, P), row by row; columns: (B, width) bool, True for a column that is hidden.
    """
    height = guess.shape[1] // width
    mask = columns[:, None].expand(-1, height, -1).flatten(1)
    if rows:  # the same entries, as if columns lay one after the other
        mask = columns[:, :, None].expand(-1, -1, height).flatten(1)
    error = (guess - target).abs().pow(power).mean(-1)
    mask = mask if hidden else ~mask
    if by_image:
        return (error * mask).sum(1) / mask.sum(1)
    return error[mask].mean().expand(len(guess))


@exercise(
    "exam 19",
    "the loss of hidden columns",
    column_loss,
    mistakes={
        "the columns that are hidden are judged, not those that are seen": {"hidden": False},
        "the absolute error is asked for, not the squared one": {"power": 2},
        "each image has its own loss": {"by_image": False},
        "patches lie row by row: a column is every width-th patch": {"rows": True},
        "all patches are judged; only hidden ones count": lambda guess, target, columns, width: column_loss(
            guess, target, torch.ones_like(columns), width
        ),
        "this is a sum over the pixels of a patch; the mean is asked for": lambda guess, target, columns, width: (
            column_loss(guess, target, columns, width) * guess.shape[-1]
        ),
    },
)
def check_column_loss(rng):
    images, height, width, pixels = rng.size(3, 5), rng.size(3, 4), rng.size(5, 7), rng.size(3, 6)
    columns = rng.uniform(0, 1, images, width) < 0.4
    columns[:, 0], columns[:, 1] = True, False
    columns[0, 2:] = True  # so that images differ in how much is hidden
    return {
        "guess": rng.normal(images, height * width, pixels),
        "target": rng.normal(images, height * width, pixels) + 1.0,
        "columns": columns,
        "width": width,
    }
