"""Chapters 15 and 16: is one model better than another?  Intervals for differences between models trained a few times.

One rule for every comparison of the book: a difference counts when its interval leaves out 0, and is called "cannot be told
apart" otherwise.  The intervals cover what they promise (tests/test_statistics.py simulates it), and with `comparisons=n` they
do so for n differences at once (Bonferroni).  Needs SciPy, which scikit-learn and ultralytics bring along.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Difference(NamedTuple):
    """A mean difference with its interval, in the unit of the numbers compared.  seeds: how many pairs it is the mean of."""

    mean: float
    low: float
    high: float
    seeds: int
    level: float = 0.95
    comparisons: int = 1

    @property
    def clear(self) -> bool:
        """Does the interval leave out 0?"""
        return self.low > 0 or self.high < 0

    @property
    def basis(self) -> str:
        """What a line of the printed difference is made of; said once under a list of them."""
        together = f", widened for {self.comparisons} comparisons" if self.comparisons > 1 else ""
        return f"mean [{100 * self.level:g}% interval] of {self.seeds} pairs{together}"

    def __str__(self) -> str:
        """The mean, its interval and what it allows to say, in at most 47 columns for numbers up to 100: a page has 80."""
        verdict = ("higher" if self.mean > 0 else "lower") if self.clear else "cannot be told apart"
        return f"{_signed(self.mean)} [{_signed(self.low)}, {_signed(self.high)}] {verdict}"


def paired(a: ArrayLike, b: ArrayLike, level: float = 0.95, comparisons: int = 1) -> Difference:
    """By how much a is larger than b, seed by seed: the mean of a - b with its interval of Student's t.

    a, b: (n,) numbers of the same n >= 2 seeds, in the same order.   level: share of intervals that hold the true difference.
    comparisons: how many such differences are judged side by side; the interval is widened so that all hold together.
    Raises ValueError for lengths that differ, fewer than two pairs, numbers that are not finite, and impossible levels.
    (Student 1908; Bonferroni's correction.)
    """
    first, second = (np.asarray(x, dtype=float) for x in (a, b))
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        got = f"got shapes {first.shape} and {second.shape}"
        raise ValueError(f"a and b must be two lists of one length, at least 2 pairs; {got}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a and b must be finite: leave out no run, but find out why one gave NaN or infinity")
    gaps = first - second
    mean, variance = float(gaps.mean()), float(gaps.var(ddof=1)) / len(gaps)
    half = half_width([(variance, len(gaps) - 1)], level, comparisons)
    return Difference(mean, mean - half, mean + half, len(gaps), level, comparisons)


def pooled_variance(groups: Iterable[ArrayLike]) -> tuple[float, int]:
    """The variance between seeds that several models share, and its degrees of freedom.

    groups: one list of results for each model, each of at least one run.  Three seeds say little about the spread of one model
    (by chance they may agree); eighteen runs of six models say more, if all models vary alike.
    Raises ValueError when no group has two runs.
    """
    models = [np.asarray(group, dtype=float) for group in groups]
    freedom = sum(len(runs) - 1 for runs in models)
    if freedom < 1:
        raise ValueError("groups must hold at least one model with two runs: one run says nothing about the spread")
    return float(sum(((runs - runs.mean()) ** 2).sum() for runs in models) / freedom), freedom


def half_width(errors: Sequence[tuple[float, int]], level: float = 0.95, comparisons: int = 1) -> float:
    """Half the width of the interval of an estimate whose error is a sum of independent parts.

    errors: (variance of the part, its degrees of freedom) each; put together after Welch (1947) and Satterthwaite (1946).
    """
    from scipy.stats import t

    if not 0 < level < 1 or comparisons < 1:
        raise ValueError(f"level must lie between 0 and 1 and comparisons be at least 1, got {level} and {comparisons}")
    total = sum(variance for variance, _ in errors)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(variance**2 / free for variance, free in errors)
    return float(t.ppf(1 - (1 - level) / (2 * comparisons), freedom) * np.sqrt(total))


def _signed(x: float) -> str:
    """Two decimals, more where they would hide on which side of 0 a number lies: never -0.00."""
    return f"{x + 0.0:+6.2f}" if abs(x) >= 0.005 or x == 0 else f"{x:+6.1g}"
