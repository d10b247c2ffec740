"""Exam variant of chapter 17: a relative figure."""

from vil_lite.teach.checks._base import exercise


def relative_disagreement(a, b, *, top=lambda x: x.abs().max(), bottom=lambda a, b: a.abs().max()):
    """a: what the original says, b: what the exported file says, (N, 6).  The largest difference, as a share of the
    largest size in a."""
    return top(a - b) / bottom(a, b)


@exercise(
    "exam 17",
    "the largest difference, relative",
    relative_disagreement,
    mistakes={
        "the largest difference, not the mean": {"top": lambda x: x.abs().mean()},
        "relative to the largest size in a, the original": {"bottom": lambda a, b: b.abs().max()},
        "a share is wanted: divide by the largest size in a": {"bottom": lambda a, b: 1.0},
        "the sizes are absolute values": {"top": lambda x: x.max()},
        "one share for all numbers, not the largest of many": lambda a, b: ((a - b).abs() / a.abs()).max(),
    },
)
def check_relative_disagreement(rng):
    a = 10 * rng.normal(rng.size(3, 6), 6)
    b = a + 0.1 * rng.normal(*a.shape)
    b[0, 0], b[1, 1] = a[0, 0] + 3, 60.0 + a.abs().max()
    return {"a": a, "b": b}
