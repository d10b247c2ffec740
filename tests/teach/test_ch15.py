"""Chapter 15: its references are ultralytics'; what its trackers get in place of the package lap."""

import itertools
from pathlib import Path

import nb
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


def test_the_pages_pairs_of_boxes_cost_the_least_that_is_possible():
    """Against all ways to pair them, as lap's `extend_cost` and `cost_limit` want it: who stays alone costs half of the limit."""
    (cell,) = (
        cell.source
        for cell in nb.read(Path(__file__).parents[2] / "book/part3_detection/15_train_detector.ipynb").cells
        if "def lapjv(" in cell.source
    )
    space = {"np": np}
    exec(cell[: cell.index("if not importlib")], space)
    rng = np.random.default_rng(0)
    for limit, _ in itertools.product((0.1, 0.5, 0.8), range(30)):
        cost = rng.random(rng.integers(1, 5, size=2))
        rows, columns = cost.shape
        ways = itertools.product(range(-1, columns), repeat=rows)
        legal = [way for way in ways if len(set(way) - {-1}) == sum(c >= 0 for c in way)]

        def price(way, cost=cost, limit=limit, rows=rows, columns=columns):
            pairs = [(r, c) for r, c in enumerate(way) if c >= 0]
            return sum(cost[pair] for pair in pairs) + limit / 2 * (rows + columns - 2 * len(pairs))

        _, of_row, of_column = space["lapjv"](cost, extend_cost=True, cost_limit=limit)
        assert tuple(of_row) == min(legal, key=price)
        assert all(of_row[r] == c for c, r in enumerate(of_column) if r >= 0)
        assert (of_column >= 0).sum() == (of_row >= 0).sum()
