"""Exam variant of chapter 16: one side."""

import math

from vil_lite.teach.checks._base import exercise


def lower_bound(found, total, *, z=1.645, sign=-1):
    """A recall of at least what, with 95 % confidence on this side only (z = 1.645)?  The lower end after Wilson."""
    p, w = found / total, z * z / total
    return (p + w / 2 + sign * math.sqrt(w * (p * (1 - p) + w / 4))) / (1 + w)


@exercise(
    "exam 16",
    "a bound on one side",
    lower_bound,
    mistakes={
        "one side only: z is 1.645, not 1.96": {"z": 1.96},
        "this is the upper end": {"sign": 1},
        "this is the plain recall": lambda found, total: found / total,
        "this is p - z sqrt(p (1 - p) / n), which Wilson's bound repairs": lambda found, total: (
            found / total - 1.645 * math.sqrt(found / total * (1 - found / total) / total)
        ),
    },
)
def check_lower_bound(rng):
    total = rng.size(20, 60)
    return {"found": rng.size(total // 2, total - 3), "total": total}
