"""Exercises of chapter 13: anatomy of YOLOv8."""

import math

import numpy as np
import torch

from ._base import exercise


# ---------------------------------------------------------------- 13.1
def read_row(
    repeats,
    channels,
    depth,
    width,
    max_channels,
    *,
    count=lambda n: max(round(n), 1),
    cap=lambda channels, width, most: min(channels, most) * width,
    up=lambda x: math.ceil(x / 8) * 8,
):
    """(repeats, channels) of a YAML row at a scale, as ultralytics' parser computes them."""
    return count(repeats * depth) if repeats > 1 else repeats, up(cap(channels, width, max_channels))


@exercise(
    "13.1",
    "a row of the YAML at a scale",
    read_row,
    outputs=("the pair of repeats and channels",),
    cases=2,
    rtol=0,
    atol=0,
    mistakes={
        "a block must be there at least once: max(..., 1)": {"count": round},
        "repeats are rounded to the nearest number, not down": {"count": lambda n: max(int(n), 1)},
        "repeats are rounded to the nearest number, not up": {"count": math.ceil},
        "the depth is not used": lambda n, c, d, w, m: (n, read_row(n, c, d, w, m)[1]),
        "the channels have to be rounded up to a multiple of 8": {"up": int},
        "the channels are cut to a whole number before they are rounded up": {
            "up": lambda x: math.ceil(int(x) / 8) * 8
        },
        "the channels are rounded to a multiple of 8, but upwards": {"up": lambda x: int(x / 8) * 8},
        "the channels are rounded up to a multiple of 8, not to the nearest": {"up": lambda x: round(x / 8) * 8},
        "max_channels is not used": {"cap": lambda channels, width, most: channels * width},
        "the width is not used": {"cap": lambda channels, width, most: min(channels, most)},
        "the cap comes first, the width after it": {"cap": lambda channels, width, most: min(channels * width, most)},
    },
)
def check_read_row(rng):
    names = ("repeats", "channels", "depth", "width", "max_channels")
    depth, width = rng.choice([0.33, 0.67, 1.0]), rng.choice([0.25, 0.5, 1.25])
    rows = [(3, 64, 0.1, 1.0, 1024), (3, 64, 0.6, 1.0, 1024), (6, 64, 0.4, 1.0, 1024), (1, 64, 0.33, 1.0, 1024)]
    rows += [
        (1, 65, 1.0, 0.5, 1024),
        (1, 100, 1.0, 0.33, 1024),
        (1, 1024, 1.0, 1.25, 512),
        (3, 68, 0.33, 0.5, 512),
        (1, 62, 1.0, 1.0, 1024),
    ]
    for row in [*rows, (rng.choice([1, 3, 6]), 64 * rng.size(1, 16), depth, width, 512)]:
        yield dict(zip(names, row))


# ---------------------------------------------------------------- 13.2
def decode(
    logits,
    points,
    stride,
    *,
    share=lambda x: x.softmax(-1),
    first=0,
    sides=(0, 1, 2, 3),
    signs=(-1, -1, 1, 1),
    by=(1, 1),
):
    """Boxes (A, 4) x1 y1 x2 y2 in pixels of logits (A, 4, bins), points (A, 2) in cells, stride (A,).

    by: are points and distances multiplied by the stride?
    """
    bins = first + torch.arange(logits.shape[-1], dtype=logits.dtype)
    distances = (share(logits) @ bins)[:, list(sides)] * torch.tensor(signs)
    return points.repeat(1, 2) * stride[:, None] ** by[0] + distances * stride[:, None] ** by[1]


def _centred(logits, points, stride):
    box = decode(logits, points, stride)
    return torch.cat([(box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]], 1)


def _most_probable(logits):
    return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)


@exercise(
    "13.2",
    "boxes from distributions",
    decode,
    mistakes={
        "the most probable bin is taken; the distance is the mean of the distribution": {"share": _most_probable},
        "the softmax is missing: logits are not probabilities": {"share": lambda logits: logits},
        "the softmax runs over the four sides, not over the bins": {"share": lambda logits: logits.softmax(1)},
        "the bins count from 0, not from 1": {"first": 1},
        "these are cells, not pixels: the stride is missing": {"by": (0, 0)},
        "the stride multiplies the whole box, not the distances alone": {"by": (0, 1)},
        "the stride multiplies the whole box, not the points alone": {"by": (1, 0)},
        "centre and size are returned; two corners x1 y1 x2 y2 are wanted": _centred,
        "left and top are subtracted from the point, right and bottom are added": {"signs": (1, 1, 1, 1)},
        "the order of the sides is left, top, right, bottom": {"sides": (0, 2, 1, 3)},
    },
)
def check_decode(rng):
    A, bins = rng.size(5, 9), rng.size(6, 16)
    strides = torch.tensor([8.0, 16.0, 32.0])[torch.arange(A) % 3]
    return {"logits": 2 * rng.normal(A, 4, bins), "points": rng.uniform(0, 20, A, 2), "stride": strides}


# ---------------------------------------------------------------- 13.3
def iou(
    a,
    b,
    *,
    corners=(torch.maximum, torch.minimum),
    common_of=lambda width, height: width.relu() * height.relu(),
    more=0,
    union=lambda area_a, area_b, common: area_a + area_b - common,
):
    """Intersection over union of boxes a (N, 4) and b (M, 4), x1 y1 x2 y2: (N, M)."""
    first, last = corners
    low, high = first(a[:, None, :2], b[None, :, :2]), last(a[:, None, 2:], b[None, :, 2:])
    common = common_of(*(high - low + more).unbind(-1))
    area_a, area_b = ((x[:, 2:] - x[:, :2] + more).prod(-1) for x in (a, b))
    return common / union(area_a[:, None], area_b, common)


def _box_around(a, b):
    low, high = torch.minimum(a[:, None, :2], b[None, :, :2]), torch.maximum(a[:, None, 2:], b[None, :, 2:])
    return iou(a, b, union=lambda *_: (high - low).prod(-1))


def _sizes(boxes):
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


@exercise(
    "13.3",
    "intersection over union of all pairs",
    iou,
    mistakes={
        "two negative sides make a positive area: clamp each side at 0": {"common_of": torch.mul},
        "two negative sides: clamp each side before multiplying": {"common_of": lambda w, h: (w * h).relu()},
        "two negative sides: clamp each side, not the result": lambda a, b: iou(a, b, common_of=torch.mul).relu(),
        "the width in common is clamped at 0; its height has to be, too": {"common_of": lambda w, h: w.relu() * h},
        "the height in common is clamped at 0; its width has to be, too": {"common_of": lambda w, h: w * h.relu()},
        "a negative side is nothing in common: 0, not its absolute value": {"common_of": lambda w, h: (w * h).abs()},
        "what is common ends at the smaller of the last corners": {"corners": (torch.minimum, torch.maximum)},
        "row k of a is compared with row k of b alone; all pairs are wanted": lambda a, b: iou(a, b).diagonal(),
        "the union counts the intersection twice: subtract it once": {"union": lambda a, b, common: a + b},
        "the intersection is divided by the area of a; the union is wanted": {"union": lambda a, b, common: a},
        "the intersection is divided by the area of b; the union is wanted": {"union": lambda a, b, common: b},
        "the intersection is divided by the smaller area": {"union": lambda a, b, common: torch.minimum(a, b)},
        "the intersection is divided by the box around both; the union is smaller": _box_around,
        "this is the intersection; divide it by the union": {"union": lambda a, b, common: 1.0},
        "one pixel is added to each side; corners are coordinates, a side is their difference": {"more": 1},
        "it is transposed: a runs along the rows": lambda a, b: iou(a, b).T,
        "the boxes are x1 y1 x2 y2; the last two are not width and height": lambda a, b: iou(_sizes(a), _sizes(b)),
    },
)
def check_iou(rng):
    def boxes(n):
        corner = rng.uniform(0, 40, n, 2)
        return torch.cat([corner, corner + rng.uniform(15, 50, n, 2)], 1)

    # Five of b against the first of a: it meets one, is a little off in both directions, in x alone, in y alone, and far.
    own, met, both = [15.0, 16.0, 30.0, 45.0], [22.0, 30.0, 50.0, 60.0], [34.0, 50.0, 64.0, 80.0]
    off = [[34.0, 20.0, 60.0, 40.0], [16.0, 50.0, 40.0, 80.0], [200.0, 210.0, 230.0, 250.0]]
    a, b = torch.tensor([own]), torch.tensor([met, both, *off])
    return {"a": torch.cat([a, boxes(rng.size(2, 4))]), "b": torch.cat([b, boxes(rng.size(1, 3))])}


# ---------------------------------------------------------------- 13.4
def assign(
    scores,
    overlap,
    inside,
    topk,
    *,
    metric=lambda scores, overlap: scores.sqrt() * overlap**6,
    within=torch.logical_and,
    winner=lambda metric, overlap, chosen: (overlap * chosen).argmax(0),
    nobody=-1,
):
    """The object each anchor learns, -1 for none: (A,).  scores, overlap, inside (bool): (G, A)."""
    t = metric(scores, overlap) * inside
    chosen = within(torch.zeros_like(inside).scatter(1, t.topk(topk, dim=1).indices, True), inside)
    owner = torch.where(chosen.sum(0) > 1, winner(t, overlap, chosen), chosen.int().argmax(0))
    return torch.where(chosen.any(0), owner, nobody)


_OTHERS_TOO = {"within": lambda chosen, inside: chosen}
_ANY_OBJECT = {"winner": lambda metric, overlap, chosen: overlap.argmax(0)}


def _late(scores, overlap, inside, topk):
    """The topk best of all anchors, and only then those inside."""
    return assign(scores, overlap, torch.ones_like(inside), topk, within=lambda chosen, _: chosen & inside)


def _last(metric, overlap, chosen):
    return len(chosen) - 1 - chosen.flip(0).int().argmax(0)


@exercise(
    "13.4",
    "the task-aligned assignment",
    assign,
    mistakes={
        "an anchor outside an object is assigned to it": lambda s, o, i, k: assign(s, o, torch.ones_like(i), k),
        "with fewer than topk anchors inside, an object gets others: leave these out again": {
            **_OTHERS_TOO,
            "winner": lambda t, overlap, chosen: (overlap * (t > 0)).argmax(0),
        },
        "an object with fewer than topk anchors inside also gets others: leave these out again": _OTHERS_TOO,
        "a contested anchor goes to an object it does not lie in": _ANY_OBJECT,
        "an object gets anchors that lie outside of it, twice: when its topk are chosen, and when several want one": {
            **_OTHERS_TOO,
            **_ANY_OBJECT,
        },
        "`inside` is not used": lambda s, o, i, k: assign(s, o, torch.ones_like(i), k, **_ANY_OBJECT),
        "anchors outside take places among the topk: their metric is 0 before the best are chosen": _late,
        "every anchor inside is taken; only the topk best are": {"within": lambda chosen, inside: inside},
        "the largest overlap decides, not the metric": {"winner": lambda t, overlap, chosen: (t * chosen).argmax(0)},
        "the largest overlap decides, not the first": {"winner": lambda t, overlap, chosen: chosen.int().argmax(0)},
        "the largest overlap decides among several objects, not which is the last": {"winner": _last},
        "an anchor wanted by several goes to one, not to nobody": {"winner": lambda t, overlap, chosen: -1},
        "the exponents are exchanged: the score to 0.5, the overlap to 6": {"metric": lambda s, o: s**6 * o.sqrt()},
        "the metric is the score alone; the overlap is missing": {"metric": lambda s, o: s},
        "the metric is the overlap alone; the score is missing": {"metric": lambda s, o: o},
        "the exponents are missing: score ** 0.5 · overlap ** 6": {"metric": lambda s, o: s * o},
        "the overlap counts far more than the score: score ** 0.5 · overlap ** 6": {"metric": lambda s, o: s * o**6},
        "an anchor without an object is -1, not 0": {"nobody": 0},
    },
)
def check_assign(rng):
    """Who of several objects gets an anchor: the text says of those that want it, ultralytics takes any that it lies in.

    Both are right here, and have to be the same: who does not want an anchor overlaps it less than those who do.
    """
    G, A, topk = rng.size(3, 4), 2 * rng.size(11, 13), rng.turn([4, 5])
    inside = rng.uniform(0, 1, G, A) < 0.8
    scores, overlap = rng.uniform(0.02, 0.4, G, A), rng.uniform(0.3, 0.8, G, A)
    inside[:, 1::2], overlap[:, 1], scores[:, 1] = (
        False,
        1.0,
        1.0,
    )  # every second is outside of all; anchor 1 is the best
    inside[1:3], inside[:, 2:22] = False, False
    # Anchor 0 is wanted by all: most by the last object or the one before, and object 1 overlaps it most.
    inside[:, 0], overlap[:, 0] = True, torch.tensor([0.98, 0.99, 0.97, 0.96])[:G]
    scores[:, 0] = torch.tensor([0.5, 0.3, 0.7, 0.8])[:G]
    # Object 0: good in score, in both, or in neither; which of them are among the topk, each mistake says otherwise.
    inside[0, 2:22:2], inside[0, 22:] = True, False
    for anchor, score, area in ((2, 1.0, 0.35), (10, 1.0, 0.94), (14, 0.9, 0.3), (16, 0.86, 0.85), (18, 0.95, 0.5)):
        scores[0, anchor], overlap[0, anchor] = score, area
    scores[0, 20], overlap[0, 20] = (0.93, 0.6) if topk == 5 else (0.1, 0.4)
    # 8 is the last of the topk, since the overlap counts so much; by score · overlap ** 6 it would be 12, by
    # score · overlap 18, which no other object wants.
    scores[0, 8:13:4], overlap[0, 8:13:4] = torch.tensor([0.05, 0.45]), torch.tensor([0.72, 0.585])
    inside[3:, 18] = False
    # Object 1 has topk anchors more, and loses 4, which overlaps well and is not of its class; 10 is wanted by 0 as well.
    own = torch.arange(4, 4 + 2 * topk, 2)
    inside[1, own], scores[1, own], overlap[1, own] = True, 1.0, 0.95
    inside[0, 4:7], scores[1, 4], overlap[1, 4], scores[1, 6], overlap[1, 6] = False, 0.02, 0.96, 0.85, 0.9
    scores[1, 10] = 0.6
    overlap[2, 2:22:2] = 0.99  # more than any other object, but these anchors do not lie in object 2
    t = scores.sqrt() * overlap**6 * inside
    chosen = torch.zeros_like(inside).scatter(1, t.topk(topk, dim=1).indices, True) & inside
    most = (overlap * chosen).amax(0)
    overlap = torch.where(chosen | ~inside, overlap, torch.minimum(overlap, 0.9 * most + (most == 0)))
    return {"scores": scores, "overlap": overlap, "inside": inside, "topk": topk}


# ---------------------------------------------------------------- 13.5
_GRID = np.linspace(0, 1, 101)


def _under(recall, precision, grid=_GRID):
    """The area as ultralytics takes it: read at 101 recalls, joined by straight lines."""
    return np.trapezoid(np.interp(grid, recall, precision), grid)


def _steps(recall, precision, grid=_GRID):
    """As COCO takes it: at each recall, the precision of the next corner; then the mean."""
    return np.append(precision, 0.0)[np.searchsorted(recall, grid)].mean()


def _eleven(recall, precision):
    """As PASCAL VOC took it until 2009: at 0, 0.1, ... 1 alone."""
    return _steps(recall, precision, _GRID[::10])


def average_precision(
    correct,
    scores,
    objects,
    *,
    rank=lambda scores: np.argsort(-scores),
    over=lambda correct, objects: objects,
    ends=((0.0, 1.0), "drop", (1.0, 0.0)),
    envelope=lambda precision: np.maximum.accumulate(precision[::-1])[::-1],
    area=_under,
):
    """AP as ultralytics computes it.  correct (N,) bool, scores (N,), objects: number of true objects."""
    hits = np.cumsum(correct[rank(scores)])
    recall, precision = hits / over(correct, objects), hits / np.arange(1, len(hits) + 1)
    if ends:
        behind = np.array([(recall[-1], 0.0) if end == "drop" else end for end in ends[1:]])
        recall = np.concatenate([[ends[0][0]], recall, behind[:, 0]])
        precision = np.concatenate([[ends[0][1]], precision, behind[:, 1]])
    return float(area(recall, envelope(precision)))


def _mean_at_hits(correct, scores, objects):
    """As scikit-learn takes it: the mean of the precisions after each correct detection."""
    right = correct[np.argsort(-scores)]
    return float((right.cumsum() / np.arange(1, len(right) + 1))[right].sum() / objects)


@exercise(
    "13.5",
    "average precision",
    average_precision,
    rtol=1e-6,
    atol=1e-6,  # np.float64 and float reach the comparison in different precision
    mistakes={
        "the detections have to be sorted, best score first": {"rank": lambda scores: slice(None)},
        "the detections are sorted with the worst score first": {"rank": np.argsort},
        "the envelope is missing: the best precision at this recall or above": {"envelope": lambda p: p},
        "the envelope runs the wrong way: this recall or above, not below": {"envelope": np.maximum.accumulate},
        "recall is the share of the true objects, not of the detections": {"over": lambda c, n: len(c)},
        "recall is divided by the objects found; those that were missed count, too": {"over": lambda c, n: c.sum()},
        "the end points are missing: beyond the last recall reached the precision is 0": {"ends": ()},
        "the curve drops to 0 at the last recall; it does not slope to (1, 0)": {"ends": ((0.0, 1.0), (1.0, 0.0))},
        "in an area the ends have half the weight": {"area": lambda r, p: np.interp(_GRID, r, p).sum() / 100},
        "this is the mean precision at the hits, without an envelope; the area is read at 101 recalls": _mean_at_hits,
        "the curve is read at 100 recalls; 101 are wanted": {"area": lambda r, p: _under(r, p, np.linspace(0, 1, 100))},
        "this is COCO's mean of 101 precisions; in an area the ends have half the weight": {"area": _steps},
        "this is VOC's mean of 11 precisions; the area is read at 101 recalls": {"area": _eleven},
        "this is the area between the corners; read it at 101 recalls": {"area": lambda r, p: np.trapezoid(p, r)},
        "the curve is read at 11 recalls; 101 are wanted": {"area": lambda r, p: _under(r, p, _GRID[::10])},
    },
)
def check_average_precision(rng):
    N = rng.size(8, 14)
    correct = (rng.uniform(0, 1, N) < 0.6).numpy()
    correct[:3] = [True, False, True]
    scores = rng.uniform(0.05, 0.6, N).numpy().astype(float)
    scores[:3] = 0.9, 0.8, 0.7  # right, wrong, right at the top: the precision falls and rises again
    scores[3:] = scores[3:][np.argsort(-scores[3:])]
    turn = rng.size(1, N - 1)  # listed in another order than that of the scores
    inputs = {"correct": np.roll(correct, turn), "scores": np.roll(scores, turn)}
    # A number of objects with which no recall is one of the 101: there both ways of reading the curve are the same.  Nor 11:
    # each of VOC's recalls then lies on a step of its own, and their mean is the area between the corners.
    return {**inputs, "objects": next(n for n in (13, 17) if n > correct.sum() + 1)}
