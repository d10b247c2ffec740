"""Exam variant of chapter 13: boxes by their centre."""

import torch

from vil_lite.teach.checks._base import exercise


def iou_centres(
    a, b, *, corner=lambda x: (x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2), clamp=True, shared=1
):
    """a (N, 4), b (M, 4): boxes as centre and size, x, y, width, height.  Returns their overlap, (N, M)."""
    (low_a, high_a), (low_b, high_b) = corner(a[:, None]), corner(b[None])
    side = torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)
    inside = (side.clamp(min=0) if clamp else side).prod(-1)
    area_a, area_b = (high_a - low_a).prod(-1), (high_b - low_b).prod(-1)
    return inside / (area_a + area_b - shared * inside)


@exercise(
    "exam 13",
    "overlap of boxes given by centre and size",
    iou_centres,
    mistakes={
        "the four numbers are centre and size, not two corners": {"corner": lambda x: (x[..., :2], x[..., 2:])},
        "x and y are the centre, not the corner": {"corner": lambda x: (x[..., :2], x[..., :2] + x[..., 2:])},
        "boxes apart in both directions have no overlap: clamp the sides": {"clamp": False},
        "the shared area is counted twice: subtract it once": {"shared": 0},
    },
)
def check_iou_centres(rng):
    a, b = (torch.cat([rng.uniform(0, 4, n, 2), rng.uniform(1, 5, n, 2)], 1) for n in (rng.size(2, 4), rng.size(5, 6)))
    a[0], b[0], b[1] = torch.tensor([1.0, 1, 2, 2]), torch.tensor([9.0, 9, 2, 4]), torch.tensor([1.5, 1, 2, 4])
    return {"a": a, "b": b}
