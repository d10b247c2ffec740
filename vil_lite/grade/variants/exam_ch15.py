"""Exam variant of chapter 15: another figure."""

import torch

from vil_lite.teach.checks._base import exercise


def best_f2(correct, scores, objects, *, beta=2.0, order=lambda s: (-s).argsort()):
    """The score at which F2 = 5 P R / (4 P + R) is greatest: recall counts more than precision.
    correct, scores (D), in any order; objects: how many there are.  Returns that score and F2 there."""
    order = order(scores)
    hits, kept = correct[order].double().cumsum(0), torch.arange(1, len(scores) + 1)
    figure = (1 + beta**2) * hits / (kept + beta**2 * objects)
    return scores[order][figure.argmax()], figure.max().float()


@exercise(
    "exam 15",
    "the cut with the best F2",
    best_f2,
    mistakes={
        "this is F1; recall counts more in F2": {"beta": 1.0},
        "this is F0.5, in which precision counts more": {"beta": 0.5},
        "the detections come in any order: sort them by score, best first": {"order": lambda s: torch.arange(len(s))},
        "sorted the wrong way round": {"order": lambda s: s.argsort()},
    },
)
def check_best_f2(rng):
    scores = torch.linspace(0.95, 0.05, 12) + 0.01 * rng.uniform(0, 1, 12)
    correct = torch.tensor([1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    mixed = torch.arange(12).roll(rng.size(3, 8))
    return {"correct": correct[mixed], "scores": scores[mixed], "objects": rng.size(6, 8)}
