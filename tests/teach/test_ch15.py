"""Chapter 15: its references are ultralytics'."""

import numpy as np
import pytest

from vil_lite.teach.checks import ch15


@pytest.mark.parametrize(
    "figure", [lambda p, r: 2 * p * r / np.maximum(p + r, 1e-12), lambda p, r: 2 / (1 / np.maximum(p, 1e-12) + 1 / r)]
)
def test_rounding_decides_nothing(figure):
    """Right answers with another formula, and the last of equal cuts in place of the first."""
    for seed in range(200):
        ch15.check_best_cut(lambda c, s, g: ch15.best_cut(c, s, g, figure), seed=seed)


def test_the_references_are_ultralytics():
    pytest.importorskip("ultralytics")
    from ultralytics.utils.torch_utils import EarlyStopping

    rng = np.random.default_rng(0)
    for _ in range(50):
        fitness, patience = rng.integers(0, 6, 12) / 10, int(rng.integers(1, 6))
        stopper = EarlyStopping(patience)
        ended = next((e for e, value in enumerate(fitness, start=1) if stopper(e, value)), len(fitness))
        assert ch15.stop(list(fitness), patience) == (ended, stopper.best_epoch)
