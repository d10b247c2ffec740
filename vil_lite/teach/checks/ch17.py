"""Checks of chapter 17: export and deploy."""

import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 17.1


def log_sigmoid(x):
    """Reference: log sigmoid(x) without computing the sigmoid."""
    return -F.softplus(-x)


@exercise("the logarithm of the sigmoid is right at any x")
def check_log_sigmoid(student, rng):
    x = torch.cat([rng.normal(3, 4).flatten(), torch.tensor([-120.0, -20.0, 0.0, 20.0, 120.0])])
    compare(
        student, log_sigmoid, {"x": x},
        diagnose={
            "at x = -120 the sigmoid is 0 in float32 and its logarithm minus infinity: do not compute the sigmoid":
                lambda x: torch.sigmoid(x).log(),
            "this is log sigmoid(-x): the sign inside softplus is wrong": lambda x: -F.softplus(x),
            "the sign is wrong: a log of a number below 1 is negative": lambda x: F.softplus(-x),
            "the signs inside and outside are both missing": F.softplus,
        },
    )


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
    a = rng.normal(rng.size(2, 3), 4 + rng.size(2, 5), rng.size(6, 9))
    noise = rng.normal(*a.shape)
    noise[:, :4] *= 10
    b = a - noise.abs() * torch.where(torch.arange(a.shape[2]) % 2 == 0, 1.0, -1.2)
    compare(
        _tensors(student), disagreement, {"a": a, "b": b}, outputs=("the boxes", "the scores"),
        diagnose={
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
    a = _boxes(rng, rng.size(6, 9))
    b = a.clone()
    b[0, 5] += 1  # another name
    b[1, 2] += 0.3 * (b[1, 2] - b[1, 0])  # IoU 0.77
    b[2, :4], b[2, 4] = torch.tensor([0.0, 0.0, 16.0, 16.0]) - 50, 0.05  # lost here, found there
    b[3, 4] = 0.5 * b[3, 4]  # a score does not matter
    exact = torch.tensor([[-200.0, 0.0, -190.0, 10.0, 0.5, 1.0], [-200.0, 0.0, -190.0, 8.0, 0.5, 1.0]])  # IoU 0.8
    extra = torch.cat([b[4:5], _boxes(rng, rng.size(1, 3)) + torch.tensor([-900.0, -900, -900, -900, 0, 0])])  # two for one
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
                "detections come in any order: row k of one list need not belong to row k of the other": _row_by_row,
                "this is a percentage or a count; a share lies between 0 and 1":
                    lambda a, b, iou: 100 * agreement(a, b, iou),
            },
        )  # fmt: skip


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
