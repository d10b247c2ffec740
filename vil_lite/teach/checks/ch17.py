"""Exercises of chapter 17: export and deploy."""

import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from ._base import exercise, expect, watched


# ---------------------------------------------------------------- 17.1
def log_sigmoid(x, *, sign=-1, inside=-1):
    """The logarithm of sigmoid(x), without computing the sigmoid."""
    return sign * F.softplus(inside * x)


_NO_OPERATOR = "right in torch, minus infinity after the export, which has no such operator: use F.softplus"
_COARSE = "right in torch; but a runtime's sigmoid is too coarse for its logarithm: use F.softplus"


@exercise(
    "17.1",
    "the logarithm of the sigmoid is right at any x",
    log_sigmoid,
    mistakes={
        "at x = -120 this is minus infinity: F.softplus computes no sigmoid": lambda x: torch.sigmoid(x).log(),
        "a small number inside the logarithm stops the fall; use F.softplus": lambda x: (torch.sigmoid(x) + 1e-8).log(),
        "this is log sigmoid(-x): the sign inside softplus is wrong": {"inside": 1},
        "the sign is wrong: a log of a number below 1 is negative": {"sign": 1},
        "the signs inside and outside are both missing": {"sign": 1, "inside": 1},
        _NO_OPERATOR: F.logsigmoid,
        _COARSE: lambda x: torch.where(x < -50, x, x.clamp(min=-50).sigmoid().log()),
    },
)
def check_log_sigmoid(rng, student):
    x = torch.cat([rng.normal(3, 4).flatten(), torch.tensor([-120.0, -20.0, 0.0, 20.0, 120.0])])
    yield {"x": x}
    names = watched(student, x.clone()).names
    expect("log_sigmoid_forward" not in names, _NO_OPERATOR)
    expect(not {"sigmoid", "sigmoid_"} & names, _COARSE)


# ---------------------------------------------------------------- 17.2
def disagreement(a, b, *, apart=lambda a, b: (a - b).abs(), most=torch.max, boxes=slice(4), scores=slice(4, None)):
    """Largest difference of boxes (pixels) and of scores, of raw predictions (B, 4 + classes, N)."""
    difference = apart(a, b)
    return most(difference[:, boxes]), most(difference[:, scores])


@exercise(
    "17.2",
    "boxes in pixels and scores are compared apart",
    disagreement,
    through=lambda function, a, b: tuple(torch.tensor(float(x)) for x in function(a, b)),
    outputs=("the boxes", "the scores"),
    mistakes={
        "this looks at the first image only": lambda a, b: disagreement(a[:1], b[:1]),
        "the first score stands in row 4 of dimension 1, right after the box": {"scores": slice(5, None)},
        "the box ends with row 3 of dimension 1; row 4 is a score": {"boxes": slice(5)},
        "differences of both signs: take the absolute value before the maximum": {"apart": torch.sub},
        "the mean hides one box that is far off: take the maximum": {"most": torch.mean},
        "rows 0 to 3 of dimension 1 are the box; this takes the last dimension": lambda a, b: disagreement(a.mT, b.mT),
        "boxes and scores are mixed: they have different units": {"boxes": slice(None), "scores": slice(None)},
        "the order is boxes, then scores": lambda a, b: disagreement(a, b)[::-1],
    },
)
def check_disagreement(rng):
    a = rng.normal(rng.size(2, 3), 4 + rng.size(3, 5), rng.size(6, 9))
    apart = rng.uniform(-1, 1, *a.shape)
    for row in (0, 4):  # of boxes and of scores: the largest difference is negative, and in the last image
        apart[-1, row, 2], apart[-1, row + 1, 3] = -3 - rng.uniform(0, 1).item(), 2 + rng.uniform(0, 0.5).item()
    apart[:, :4] *= 10 if rng.case % 2 else 0.01  # a box is off by more than a score, or by less
    return {"a": a, "b": a - apart}


# ---------------------------------------------------------------- 17.3
def agreement(a, b, iou=0.9, *, names=(5, 5), counted=(0, 1), listed=(0, 1), enough=torch.ge, nothing=1.0):
    """Share of the detections (n, 6) and (m, 6) with a partner of the same class in the other list."""
    partners = enough(box_iou(a[:, :4], b[:, :4]), iou)
    if names:
        partners = partners & (a[:, names[0] :][:, :1] == b[:, names[1]])
    matched = [partners.any(dim=1).sum(), partners.any(dim=0).sum()]
    total = sum((len(a), len(b))[side] for side in listed)
    return float(sum(matched[side] for side in counted) / total) if total else nothing


def _nearest(a, b, iou):
    """A mistake: the class is compared with that of the box that overlaps most, and with no other."""
    if not len(a) or not len(b):
        return agreement(a, b, iou)
    overlap = box_iou(a[:, :4], b[:, :4])
    found = [(overlap.max(dim=1), a, b), (overlap.max(dim=0), b, a)]
    matched = [((best >= iou) & (mine[:, 5] == other[place, 5])).sum() for (best, place), mine, other in found]
    return float(sum(matched) / (len(a) + len(b)))


def _one_to_one(a, b, iou):
    """A mistake: each detection can be the partner of one other only."""
    partners = (box_iou(a[:, :4], b[:, :4]) >= iou) & (a[:, 5:] == b[:, 5])
    pairs, taken = 0, set()
    for row in partners:
        free = [k for k in row.nonzero().flatten().tolist() if k not in taken]
        taken.update(free[:1])
        pairs += bool(free)
    return 2 * pairs / (len(a) + len(b)) if len(a) + len(b) else 1.0


@exercise(
    "17.3",
    "the share of detections with a partner",
    agreement,
    through=lambda function, a, b, iou: float(function(a, b, iou)),
    outputs=("the share",),
    cases=3,
    rtol=1e-5,
    mistakes={
        "the class is ignored: a box with another name is not the same detection": {"names": None},
        "only the detections of `a` are counted, not those that `b` alone has": {"counted": (0,), "listed": (0,)},
        "only the detections of `b` are counted, not those that `a` alone has": {"counted": (1,), "listed": (1,)},
        "an IoU of exactly `iou` is enough (>=)": {"enough": torch.gt},
        "`iou` is ignored: only its default 0.9 is used": lambda a, b, iou: agreement(a, b),
        "two empty lists agree: 1, and nothing is divided by 0": {"nothing": float("nan")},
        "two empty lists agree: the share is 1, not 0": {"nothing": 0.0},
        "if one list is empty, the share is 0": lambda a, b, iou: agreement(a, b, iou) if len(a) else 1.0,
        "the classes are in column 5; column 4 holds the scores": {"names": (4, 4)},
        "the box with the largest IoU may have another name: look for a partner among all": _nearest,
        "two detections may share a partner: do not pair them off": _one_to_one,
        "this is a percentage; a share lies between 0 and 1": lambda *x: 100 * agreement(*x),
        "this is a count; divide by all detections": lambda a, b, iou: (len(a) + len(b)) * agreement(a, b, iou),
        "each pair is counted once, but divided by both lists": {"counted": (0,)},
    },
)
def check_agreement(rng):
    a = _boxes(rng, rng.size(7, 9))
    b = a.clone()
    b[0, 5] += 1  # another name
    b[1, 2] += 0.3 * (b[1, 2] - b[1, 0])  # IoU 0.77
    b[2, :4], b[2, 4] = torch.tensor([0.0, 0.0, 16.0, 16.0]) - 50, 0.05  # lost here, found there
    b[1:6, 4] = 0.9 * b[1:6, 4]  # scores do not matter
    away = torch.tensor([-900.0, -900, -900, -900, 0, 0])
    extra = [b[4:5], b[4:5], _boxes(rng, rng.size(1, 2)) + away]  # three for one, and what only b found
    rival = b[5:6].clone()  # the same place under another name, and the true partner a little off
    b[5, 2] += 0.04 * (b[5, 2] - b[5, 0])
    rival[0, 5] += 1
    b = torch.cat([b, *extra, rival])
    b = b[torch.randperm(len(b), generator=rng.generator)]
    exact = torch.tensor([[-200.0, 0.0, -190.0, 10.0, 0.5, 1.0], [-200.0, 0.0, -190.0, 8.0, 0.5, 1.0]])  # IoU 0.8
    # Different scenes, another threshold, an IoU of exactly 0.8, an empty list, two empty lists.
    empty = (a, b[:0], 0.9), (a[:0], b, 0.9), (a[:0], b[:0], 0.9)
    for one, two, iou in ((a, b, 0.9), (a, b, 0.75), (exact[:1], exact[1:], 0.8), *empty):
        yield {"a": one, "b": two, "iou": iou}


def _boxes(rng, n):
    """n boxes that do not touch, with distinct scores and one of three classes: (n, 6)."""
    corner = 100.0 * torch.arange(n)[:, None] + rng.uniform(0, 20, n, 2)
    side = rng.uniform(30, 60, n, 2)
    classes = torch.tensor([float(rng.size(0, 2)) for _ in range(n)])
    return torch.cat([corner, corner + side, rng.uniform(0.1, 1, n, 1), classes[:, None]], dim=1)


# ---------------------------------------------------------------- 17.4
def serves(tokens, length, padded):
    """Whether a graph traced with chunks of `length` tokens, with padding or without, takes so many tokens."""
    return padded or tokens % length == 0


@exercise(
    "17.4",
    "which sizes a traced graph serves",
    serves,
    through=lambda function, tokens, length, padded: str(bool(function(tokens, length, padded))),
    cases=3,
    mistakes={
        "padding in the trace makes whole chunks of any number of tokens": lambda t, n, p: t % n == 0,
        "without padding in the trace the tokens must be whole chunks": lambda t, n, p: True,
        "a remainder of 0 is what fits": lambda t, n, p: p or t % n != 0,
        "what counts is not the size but the remainder": lambda t, n, p: p or t >= n,
        "the division is the wrong way round: a whole number of chunks fits": lambda t, n, p: p or n % t == 0,
        "the answer is the wrong way round: True if the graph can take the tokens": lambda t, n, p: not serves(t, n, p),
    },
)
def check_serves(rng):
    length = rng.turn([20, 25, 32])
    for tokens in (length * rng.size(2, 6), length * rng.size(2, 6) + rng.size(1, 9), length - 3):
        for padded in (False, True):
            yield {"tokens": tokens, "length": length, "padded": padded}
