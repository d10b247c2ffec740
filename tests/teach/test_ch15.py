"""Chapter 15: its references are ultralytics'."""

import numpy as np
import pytest

from vil_lite.teach.checks import ch15
from vil_lite.teach.checks.ch15 import best_cut, check_best_cut


@pytest.mark.parametrize(
    "figure",
    [
        lambda p, r: 2 * p * r / np.maximum(p + r, 1e-12),
        lambda p, r: 2 * p * r / (p + r + 1e-9),
        lambda p, r: 2 * p * r / (p + r + 1e-16),
        lambda p, r: 2 / (1 / np.maximum(p, 1e-12) + 1 / np.maximum(r, 1e-12)),
    ],
)
def test_rounding_decides_nothing(figure):
    """Right answers with another formula, and with a small number that keeps it from dividing by zero."""

    def answer(correct, scores, objects):
        return best_cut(correct, scores, objects, figure=lambda hits, n, g: figure(hits / n, hits / g))

    for seed in range(12):
        assert check_best_cut.outcome(answer, seed).status == "right"


def test_the_references_are_ultralytics():
    from ultralytics.utils.torch_utils import EarlyStopping

    rng = np.random.default_rng(0)
    for _ in range(50):
        fitness, patience = rng.integers(0, 6, 12) / 10, int(rng.integers(1, 6))
        stopper = EarlyStopping(patience)
        ended = next((e for e, value in enumerate(fitness, start=1) if stopper(e, value)), len(fitness))
        assert ch15.stop(list(fitness), patience) == (ended, stopper.best_epoch)


def test_the_smaller_of_precision_and_recall_is_greatest_elsewhere():
    """Also where the last of several cuts with the same smaller number is taken."""

    def pick(least):
        return len(least) - 1 - least[::-1].argmax()

    def answer(correct, scores, objects):
        return best_cut(correct, scores, objects, figure=lambda h, n, g: np.minimum(h / n, h / g), pick=pick)

    for seed in range(12):
        outcome = check_best_cut.outcome(answer, seed)
        assert outcome.status in ("near miss", "wrong") and "of equal F1" not in outcome.message, outcome


@pytest.mark.parametrize("among", [0, 0.5, 1])
@pytest.mark.parametrize("by", [lambda kept, n: n, lambda kept, n: -kept])
def test_of_equal_cuts_only_the_highest_is_right(by, among):
    """Readers who go through the scores as listed or from the lowest, and take the first, a middle or the last best cut."""

    def answer(correct, scores, objects):
        kept = [scores >= cut for cut in scores]
        f1 = [2 * (correct & k).sum() / (k.sum() + objects) for k in kept]
        best = sorted((by(k.sum(), n), n) for n, k in enumerate(kept) if f1[n] == max(f1))
        n = best[int(among * (len(best) - 1))][1]
        return scores[n], (correct & kept[n]).sum() / kept[n].sum(), (correct & kept[n]).sum() / objects

    for seed in range(8):
        right = check_best_cut.outcome(answer, seed).status == "right"
        assert right == (among == 1 and by(1, 0) < 0)  # from the lowest, the last of them is the highest
