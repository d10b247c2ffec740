"""Exam variant of chapter 14: half a matrix."""

from vil_lite.teach.checks._base import exercise


def half_decay_bytes(height, width, stride, batch, heads, *, size=2, rows=lambda n: n * (n + 1) // 2):
    """Bytes of one block's log-decay matrices in bfloat16, if only the part on and below the diagonal is kept."""
    return size * batch * heads * rows((height // stride) * (width // stride))


@exercise(
    "exam 14",
    "the memory of half a decay matrix",
    half_decay_bytes,
    mistakes={
        "only the part on and below the diagonal is kept": {"rows": lambda n: n * n},
        "the diagonal belongs to it: n (n + 1) / 2": {"rows": lambda n: n * (n - 1) // 2},
        "a bfloat16 has 2 bytes": {"size": 4},
        "the heads are missing": lambda h, w, s, b, n: half_decay_bytes(h, w, s, b, 1),
        "the batch is missing": lambda h, w, s, b, n: half_decay_bytes(h, w, s, 1, n),
    },
)
def check_half_decay_bytes(rng):
    sides = {"height": 32 * rng.size(5, 9), "width": 32 * rng.size(10, 15), "stride": rng.turn([8, 16, 32])}
    return sides | {"batch": rng.turn([3, 5, 7]), "heads": rng.turn([6, 8, 10])}
