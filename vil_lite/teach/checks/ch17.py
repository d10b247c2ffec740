"""Checks of chapter 17: export and deploy."""

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import box_iou

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 17.1


def log_sigmoid(x):
    """Reference: log sigmoid(x) without computing the sigmoid."""
    return -F.softplus(-x)


class _Operators(TorchDispatchMode):
    """Notes the names of the operators that run: an exporter would write these down."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.add(operator.overloadpacket.__name__)
        return operator(*args, **(kwargs or {}))


@exercise("the logarithm of the sigmoid is right at any x")
def check_log_sigmoid(student, rng):
    x = torch.cat([rng.normal(3, 4).flatten(), torch.tensor([-120.0, -20.0, 0.0, 20.0, 120.0])])
    with _Operators() as used:
        attempt(student, x.clone())
    expect("log_sigmoid_forward" not in used.names, "right in torch, minus infinity after the export, which has no such operator: use F.softplus.")
    compare(
        student, log_sigmoid, {"x": x},
        diagnose={
            "at x = -120 the sigmoid is 0 in float32 and its logarithm minus infinity: do not compute the sigmoid":
                lambda x: torch.sigmoid(x).log() if {"sigmoid", "sigmoid_"} & used.names else torch.zeros(()),
            "at x = -120 this needs exp(120), which is infinite in float32; F.softplus does not compute it":
                lambda x: -torch.log1p(torch.exp(-x)),
            "this is log sigmoid(-x): the sign inside softplus is wrong": lambda x: -F.softplus(x),
            "the sign is wrong: a log of a number below 1 is negative": lambda x: F.softplus(-x),
            "the signs inside and outside are both missing": F.softplus,
        },
    )
    expect(not {"sigmoid", "sigmoid_"} & used.names, "right in torch; but a runtime's sigmoid is too coarse for its logarithm: use F.softplus.")


# ---------------------------------------------------------------- 17.2


def disagreement(a, b):
    """Reference: largest difference of boxes (pixels) and of scores, of raw predictions (B, 4 + classes, N)."""
    apart = (a - b).abs()
    return apart[:, :4].max(), apart[:, 4:].max()


def _tensors(student):
    """The student's function with its numbers as tensors, whatever kind of number they are."""
    def plain(*inputs):
        answer = student(*inputs)
        return tuple(torch.tensor(float(x)) for x in answer) if isinstance(answer, (tuple, list)) else answer

    return plain


@exercise("boxes in pixels and scores are compared apart")
def check_disagreement(student, rng):
    a = rng.normal(rng.size(2, 3), 4 + rng.size(3, 5), rng.size(6, 9))
    apart = rng.uniform(-1, 1, *a.shape)
    for row in (0, 4):  # of boxes and of scores: the largest difference is negative, and in the last image
        apart[-1, row, 2], apart[-1, row + 1, 3] = -3 - rng.uniform(0, 1).item(), 2 + rng.uniform(0, 0.5).item()
    apart[:, :4] *= 10
    b = a - apart
    compare(
        _tensors(student), disagreement, {"a": a, "b": b}, outputs=("the boxes", "the scores"),
        diagnose={
            "this looks at the first image only": lambda a, b: disagreement(a[:1], b[:1]),
            "the first score stands in row 4 of dimension 1, right after the box":
                lambda a, b: (disagreement(a, b)[0], (a - b).abs()[:, 5:].max()),
            "differences of both signs: take the absolute value before the maximum":
                lambda a, b: ((a - b)[:, :4].max(), (a - b)[:, 4:].max()),
            "the mean hides one box that is far off: take the maximum":
                lambda a, b: ((a - b).abs()[:, :4].mean(), (a - b).abs()[:, 4:].mean()),
            "rows 0 to 3 of dimension 1 are the box; this takes places, the last dimension":
                lambda a, b: ((a - b).abs()[..., :4].max(), (a - b).abs()[..., 4:].max()),
            "boxes and scores are mixed: pixels and scores have different units":
                lambda a, b: ((a - b).abs().max(), (a - b).abs().max()),
            "the order is boxes, then scores": lambda a, b: disagreement(a, b)[::-1],
        },
    )


# ---------------------------------------------------------------- 17.3


def agreement(a, b, iou=0.9, same_class=True, sides=(0, 1), inclusive=True):
    """Reference: share of the detections (n, 6) and (m, 6) with a partner in the other list; the rest makes mistakes."""
    overlap = box_iou(a[:, :4], b[:, :4])
    partners = overlap >= iou if inclusive else overlap > iou
    if same_class:
        partners = partners & (a[:, 5:] == b[:, 5])
    matched = [partners.any(dim=1).sum(), partners.any(dim=0).sum()]
    total = sum((len(a), len(b))[side] for side in sides)
    return float(sum(matched[side] for side in sides) / total) if total else 1.0


def _boxes(rng, n):
    """n boxes that do not touch, with distinct scores and one of three classes: (n, 6)."""
    corner = 100.0 * torch.arange(n)[:, None] + rng.uniform(0, 20, n, 2)
    side = rng.uniform(30, 60, n, 2)
    classes = torch.tensor([float(rng.size(0, 2)) for _ in range(n)])
    return torch.cat([corner, corner + side, rng.uniform(0.1, 1, n, 1), classes[:, None]], dim=1)


@exercise("the share of detections with a partner", cases=6)
def check_agreement(student, rng):
    a = _boxes(rng, rng.size(7, 9))
    b = a.clone()
    b[0, 5] += 1  # another name
    b[1, 2] += 0.3 * (b[1, 2] - b[1, 0])  # IoU 0.77
    b[2, :4], b[2, 4] = torch.tensor([0.0, 0.0, 16.0, 16.0]) - 50, 0.05  # lost here, found there
    b[1:6, 4] = 0.9 * b[1:6, 4]  # scores do not matter
    exact = torch.tensor([[-200.0, 0.0, -190.0, 10.0, 0.5, 1.0], [-200.0, 0.0, -190.0, 8.0, 0.5, 1.0]])  # IoU 0.8
    extra = torch.cat([b[4:5], b[4:5], _boxes(rng, rng.size(1, 2)) + torch.tensor([-900.0, -900, -900, -900, 0, 0])])  # three for one
    rival = b[5:6].clone()  # the same place under another name, and the true partner a little off
    b[5, 2] += 0.04 * (b[5, 2] - b[5, 0])
    rival[0, 5] += 1
    extra = torch.cat([extra, rival])
    b = torch.cat([b, extra])[torch.randperm(len(b) + len(extra), generator=rng.generator)]
    cases = {
        "different scenes": (a, b, 0.9),
        "another threshold": (a, b, 0.75),
        "an IoU of exactly 0.8": (exact[:1], exact[1:], 0.8),
        "an empty list": (a, b[:0], 0.9),
        "two empty lists": (a[:0], b[:0], 0.9),
    }
    for one, two, iou in cases.values():
        compare(
            student, agreement, {"a": one, "b": two, "iou": iou}, rtol=1e-5, outputs=("the share",),
            diagnose={
                "the class is ignored: a box with another name is not the same detection":
                    lambda a, b, iou: agreement(a, b, iou, same_class=False),
                "only the detections of `a` are counted: what `b` found and `a` did not goes unnoticed":
                    lambda a, b, iou: agreement(a, b, iou, sides=(0,)),
                "only the detections of `b` are counted: what `a` found and `b` did not goes unnoticed":
                    lambda a, b, iou: agreement(a, b, iou, sides=(1,)),
                "an IoU of exactly `iou` is enough (>=)": lambda a, b, iou: agreement(a, b, iou, inclusive=False),
                "`iou` is ignored: only its default 0.9 is used": lambda a, b, iou: agreement(a, b),
                "two empty lists agree: 1, and nothing is divided by 0": float("nan") if len(one) + len(two) == 0 else -1.0,
                "two empty lists agree: the share is 1, not 0": 0.0 if len(one) + len(two) == 0 else -1.0,
                "the classes stand in column 5; column 4 holds the scores":
                    lambda a, b, iou: agreement(a[:, [0, 1, 2, 3, 5, 4]], b[:, [0, 1, 2, 3, 5, 4]], iou),
                "the box with the largest IoU may have another name: look for a partner among all": _nearest,
                "two detections may share a partner: do not pair them off": _one_to_one,
                "detections come in any order: row k of one list need not belong to row k of the other": _row_by_row,
                "this is a percentage; a share lies between 0 and 1": lambda a, b, iou: 100 * agreement(a, b, iou),
                "this is a count; divide by the number of all detections":
                    lambda a, b, iou: (len(a) + len(b)) * agreement(a, b, iou),
            },
        )  # fmt: skip


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


def _row_by_row(a, b, iou):
    """A mistake: row k is compared with row k."""
    n = min(len(a), len(b))
    same = (box_iou(a[:n, :4], b[:n, :4]).diagonal() >= iou) & (a[:n, 5] == b[:n, 5])
    return float(2 * same.sum() / max(len(a) + len(b), 1))


# ---------------------------------------------------------------- 17.4


def serves(tokens, length, padded):
    """Reference: whether a graph traced with chunks of `length` tokens, with padding or without, takes so many tokens."""
    return padded or tokens % length == 0


@exercise("which sizes a traced graph serves")
def check_serves(student, rng):
    length = rng.choice([20, 25, 32])
    many = (length * rng.size(2, 6), length * rng.size(2, 6) + rng.size(1, 9), length - 3)
    cases = [(tokens, length, padded) for tokens in many for padded in (False, True)]

    def answers(function):
        got = [attempt(function, *case) for case in cases]
        expect(None not in got, "nothing is returned: is the `return` missing?")
        return [float(bool(one)) for one in got]

    got, wanted = answers(student), answers(serves)
    mistakes = {
        "padding in the trace makes whole chunks of any number of tokens": lambda t, n, p: t % n == 0,
        "without padding in the trace the tokens must be whole chunks": lambda t, n, p: True,
        "a remainder of 0 is what fits": lambda t, n, p: p or t % n != 0,
        "what counts is not the size but the remainder": lambda t, n, p: p or t >= n,
        "the answer is the wrong way round: True if the graph can take the tokens": lambda t, n, p: not serves(t, n, p),
    }
    for mistake, wrong in mistakes.items():
        expect(got == wanted or got != answers(wrong), f"{mistake}.")
    for case, one, right in zip(cases, got, wanted):
        expect(one == right, f"tokens={case[0]}, length={case[1]}, padded={case[2]}: {bool(one)}, should be {bool(right)}.")
