"""Checks of chapter 13: anatomy of YOLOv8."""

import math

import numpy as np
import torch

from ._base import compare, exercise

# ---------------------------------------------------------------- 13.1


def read_row(repeats, channels, depth, width, max_channels):
    """Reference: (repeats, channels) of a YAML row at a scale, as ultralytics' parser computes them."""
    repeats = max(round(repeats * depth), 1) if repeats > 1 else repeats
    return repeats, math.ceil(min(channels, max_channels) * width / 8) * 8


def _up(x):
    return math.ceil(x / 8) * 8


@exercise("a row of the YAML at a scale")
def check_read_row(student, rng):
    names = ("repeats", "channels", "depth", "width", "max_channels")
    random = (rng.choice([1, 3, 6]), 64 * rng.size(1, 16), rng.choice([0.33, 0.67, 1.0]), rng.choice([0.25, 0.5, 1.25]), 512)
    rows = [(3, 64, 0.1, 1.0, 1024), (3, 64, 0.6, 1.0, 1024), (6, 64, 0.4, 1.0, 1024), (1, 64, 0.33, 1.0, 1024)]
    rows += [(1, 100, 1.0, 0.33, 1024), (1, 1024, 1.0, 1.25, 512), random]
    for row in rows:
        compare(
            student, read_row, dict(zip(names, row)), rtol=0, atol=0, outputs=("the pair of repeats and channels",),
            diagnose={
                "a block must be there at least once: max(..., 1)":
                    lambda n, c, d, w, m: (round(n * d), read_row(n, c, d, w, m)[1]),
                "repeats are rounded to the nearest number, not down":
                    lambda n, c, d, w, m: (max(int(n * d), 1), read_row(n, c, d, w, m)[1]),
                "repeats are rounded to the nearest number, not up":
                    lambda n, c, d, w, m: (math.ceil(n * d), read_row(n, c, d, w, m)[1]),
                "the depth is not used": lambda n, c, d, w, m: (n, read_row(n, c, d, w, m)[1]),
                "the channels have to be rounded up to a multiple of 8":
                    lambda n, c, d, w, m: (read_row(n, c, d, w, m)[0], int(min(c, m) * w)),
                "the channels are rounded to a multiple of 8, but upwards":
                    lambda n, c, d, w, m: (read_row(n, c, d, w, m)[0], int(min(c, m) * w / 8) * 8),
                "max_channels is not used": lambda n, c, d, w, m: (read_row(n, c, d, w, m)[0], _up(c * w)),
                "the cap comes first, the width after it: min(channels, max_channels) · width":
                    lambda n, c, d, w, m: (read_row(n, c, d, w, m)[0], _up(min(c * w, m))),
            },
        )


# ---------------------------------------------------------------- 13.2


def decode(logits, points, stride):
    """Reference: boxes (A, 4) x1 y1 x2 y2 in pixels of logits (A, 4, bins), points (A, 2) in cells, stride (A,)."""
    bins = torch.arange(logits.shape[-1], dtype=logits.dtype)
    left_top, right_bottom = (logits.softmax(-1) @ bins).chunk(2, 1)
    return torch.cat([points - left_top, points + right_bottom], 1) * stride[:, None]


def _box(distances, points, stride):
    lt, rb = distances.chunk(2, 1)
    return torch.cat([points - lt, points + rb], 1) * stride[:, None]


@exercise("boxes from distributions")
def check_decode(student, rng):
    A, bins = rng.size(5, 9), rng.size(6, 16)
    inputs = {
        "logits": 2 * rng.normal(A, 4, bins),
        "points": rng.uniform(0, 20, A, 2),
        "stride": torch.tensor([8.0, 16.0, 32.0])[torch.arange(A) % 3],
    }

    def centred(logits, points, stride):
        box = decode(logits, points, stride)
        return torch.cat([(box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]], 1)

    def distances(logits):
        return logits.softmax(-1) @ torch.arange(logits.shape[-1], dtype=logits.dtype)

    compare(
        student, decode, inputs,
        diagnose={
            "the most probable bin is taken; the distance is the mean of the distribution":
                lambda x, p, s: _box(x.argmax(-1).to(x.dtype), p, s),
            "the softmax is missing: logits are not probabilities":
                lambda x, p, s: _box(x @ torch.arange(x.shape[-1], dtype=x.dtype), p, s),
            "the softmax runs over the four sides; it has to run over the bins":
                lambda x, p, s: _box(x.softmax(1) @ torch.arange(x.shape[-1], dtype=x.dtype), p, s),
            "the bins count from 0, not from 1": lambda x, p, s: _box(distances(x) + 1, p, s),
            "these are cells, not pixels: the stride is missing": lambda x, p, s: decode(x, p, torch.ones_like(s)),
            "the points are in cells too: the stride multiplies the whole box, not the distances alone":
                lambda x, p, s: _box(distances(x) * s[:, None], p, torch.ones_like(s)),
            "centre and size are returned; two corners x1 y1 x2 y2 are wanted": centred,
            "left and top are subtracted from the point, right and bottom are added":
                lambda x, p, s: torch.cat([p + distances(x)[:, :2], p + distances(x)[:, 2:]], 1) * s[:, None],
            "the order of the sides is left, top, right, bottom":
                lambda x, p, s: _box(distances(x)[:, [0, 2, 1, 3]], p, s),
        },
    )


# ---------------------------------------------------------------- 13.3


def iou(a, b):
    """Reference: intersection over union of boxes a (N, 4) and b (M, 4), x1 y1 x2 y2: (N, M)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    return common / (_area(a)[:, None] + _area(b) - common)


def _area(boxes):
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def _common(a, b, clamp=True):
    sides = torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])
    return (sides.clamp(min=0) if clamp else sides).prod(-1)


def _ratio(common, a, b):
    return common / (_area(a)[:, None] + _area(b) - common)


@exercise("intersection over union of all pairs")
def check_iou(student, rng):
    def boxes(n):
        corner = rng.uniform(0, 40, n, 2)
        return torch.cat([corner, corner + rng.uniform(15, 50, n, 2)], 1)

    N = rng.size(2, 4)
    a, b = boxes(N), torch.cat([boxes(N + 1), torch.tensor([[200.0, 210.0, 230.0, 250.0]])])  # the last one meets none
    compare(
        student, iou, {"a": a, "b": b},
        diagnose={
            "boxes that do not meet: two negative sides make a positive area. Clamp each side at 0":
                lambda a, b: _ratio(_common(a, b, False), a, b),
            "the union counts the intersection twice: subtract it once":
                lambda a, b: _common(a, b) / (_area(a)[:, None] + _area(b)),
            "the intersection is divided by the area of a; the union is wanted": lambda a, b: _common(a, b) / _area(a)[:, None],
            "this is the intersection; divide it by the union": _common,
            "it is transposed: a runs along the rows": lambda a, b: iou(a, b).T,
            "the boxes are two corners x1 y1 x2 y2; the last two numbers are taken as width and height":
                lambda a, b: iou(torch.cat([a[:, :2], a[:, :2] + a[:, 2:]], 1), torch.cat([b[:, :2], b[:, :2] + b[:, 2:]], 1)),
        },
    )


# ---------------------------------------------------------------- 13.4


def assign(scores, overlap, inside, topk):
    """Reference: the object each anchor learns, -1 for none: (A,).  scores, overlap, inside (bool): (G, A)."""
    return _assign(scores.sqrt() * overlap**6, overlap, inside, topk)


def _assign(metric, overlap, inside, topk, winner=None):
    chosen = torch.zeros_like(inside).scatter(1, (metric * inside).topk(topk, dim=1).indices, True) & inside
    best = (overlap * inside).argmax(0) if winner is None else winner(chosen)
    owner = torch.where(chosen.sum(0) > 1, best, chosen.int().argmax(0))
    return torch.where(chosen.any(0), owner, -1)


@exercise("the task-aligned assignment")
def check_assign(student, rng):
    G, A, topk = rng.size(3, 4), rng.size(14, 20), rng.size(3, 5)
    inside = rng.uniform(0, 1, G, A) < 0.75
    scores, overlap = rng.uniform(0.02, 1, G, A), rng.uniform(0.3, 1, G, A)
    inside[:, 0], overlap[:, 0] = True, 0.99 - 0.01 * torch.arange(G)  # anchor 0: wanted by all
    scores[:, 0] = 0.5 + 0.1 * torch.arange(G)  # by score and metric the last object would get it, by overlap the first
    inside[:, 1], overlap[:, 1], scores[:, 1] = False, 1.0, 1.0  # anchor 1: the best of all, outside of all
    inside[0, 2], overlap[0, 2], scores[0, 2] = True, 0.35, 1.0  # anchor 2: sure of its class, with a bad box
    inside[1], inside[:, 3:5] = False, False  # object 1 has topk + 1 anchors; the choice is between 3 and 4, which are its alone
    inside[1, 3 : topk + 4], scores[1, 5:], overlap[1, 5:] = True, 1.0, 0.95
    scores[1, 3:5], overlap[1, 3:5] = torch.tensor([0.9, 0.85]), torch.tensor([0.35, 0.99])

    def unlimited(s, o, i, k):
        return torch.where(i.any(0), (o * i).argmax(0), -1)

    compare(
        student, assign, {"scores": scores, "overlap": overlap, "inside": inside, "topk": topk},
        diagnose={
            "an anchor outside of an object is assigned to it": lambda s, o, i, k: assign(s, o, torch.ones_like(i), k),
            "every anchor inside is taken; only the topk best of each object are": unlimited,
            "an anchor wanted by several goes to the object it overlaps most, not to the one with the largest metric":
                lambda s, o, i, k: _assign(s.sqrt() * o**6, o, i, k, lambda c: (s.sqrt() * o**6 * c).argmax(0)),
            "an anchor wanted by several goes to the object it overlaps most, not to the first":
                lambda s, o, i, k: _assign(s.sqrt() * o**6, o, i, k, lambda c: c.int().argmax(0)),
            "an anchor wanted by several goes to the object it overlaps most, not to the last":
                lambda s, o, i, k: _assign(s.sqrt() * o**6, o, i, k, lambda c: len(c) - 1 - c.flip(0).int().argmax(0)),
            "the exponents are exchanged: the score to 0.5, the overlap to 6":
                lambda s, o, i, k: _assign(s**6 * o.sqrt(), o, i, k),
            "the metric is the score alone; the overlap is missing": lambda s, o, i, k: _assign(s, o, i, k),
            "the metric is the overlap alone; the score is missing": lambda s, o, i, k: _assign(o, o, i, k),
            "the exponents are missing: score ** 0.5 · overlap ** 6": lambda s, o, i, k: _assign(s * o, o, i, k),
            "an anchor without an object is -1, not 0": lambda s, o, i, k: assign(s, o, i, k).clamp(min=0),
        },
    )


# ---------------------------------------------------------------- 13.5


def average_precision(correct, scores, objects):
    """Reference: AP as ultralytics computes it.  correct (N,) bool, scores (N,), objects: number of true objects."""
    return _ap(correct, scores, objects)


def _ap(correct, scores, objects, order=True, envelope=True, ends=True, over=None):
    tp = np.cumsum(np.asarray(correct)[np.argsort(-np.asarray(scores)) if order else slice(None)])
    recall, precision = tp / (over or objects), tp / np.arange(1, len(tp) + 1)
    if ends:
        recall = np.concatenate([[0.0], recall, [recall[-1], 1.0]])
        precision = np.concatenate([[1.0], precision, [0.0, 0.0]])
    if envelope:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    grid = np.linspace(0, 1, 101)
    return float(np.trapezoid(np.interp(grid, recall, precision), grid))


@exercise("average precision")
def check_average_precision(student, rng):
    N = rng.size(8, 14)
    correct = (rng.uniform(0, 1, N) < 0.6).numpy()
    correct[:3] = [True, False, True]
    scores = rng.uniform(0.05, 0.6, N).numpy().astype(float)
    scores[:3] = 0.9, 0.8, 0.7  # right, wrong, right at the top: the precision falls and rises again
    scores[3:] = scores[3:][np.argsort(-scores[3:])]
    order = rng.generator.initial_seed() % N  # listed in another order than that of the scores
    correct, scores = np.roll(correct, order + 1), np.roll(scores, order + 1)
    compare(
        student, average_precision, {"correct": correct, "scores": scores, "objects": int(correct.sum()) + rng.size(2, 4)},
        rtol=1e-6, atol=1e-6,  # np.float64 and float reach the comparison in different precision
        diagnose={
            "the detections have to be sorted, best score first": lambda c, s, n: _ap(c, s, n, order=False),
            "the detections are sorted with the worst score first": lambda c, s, n: _ap(c, -s, n),
            "the envelope is missing: at each recall, the best precision at this recall or above":
                lambda c, s, n: _ap(c, s, n, envelope=False),
            "recall is the share of the true objects, not of the detections": lambda c, s, n: _ap(c, s, n, over=len(c)),
            "recall is divided by the number of objects found; those that were missed count too":
                lambda c, s, n: _ap(c, s, n, over=int(c.sum())),
            "the end points are missing: beyond the last recall reached the precision is 0":
                lambda c, s, n: _ap(c, s, n, ends=False),
        },
    )
