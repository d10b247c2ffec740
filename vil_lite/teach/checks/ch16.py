"""Checks of chapter 16: reading a results table critically."""

from math import ceil
from statistics import NormalDist

import numpy as np

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 16.1

THRESHOLDS = 0.5 + 0.05 * np.arange(10)


def one_box(iou):
    """Reference: mAP50-95 of a class with one instance, whose only detection has this IoU."""
    return 0.995 * float((iou >= THRESHOLDS).sum()) / 10


@exercise("the score of a class with one box")
def check_one_box(student, rng):
    iou = (5 * rng.size(11, 18) + rng.size(1, 4)) / 100  # between two thresholds, so that rounding decides nothing
    compare(
        student, one_box, {"iou": iou}, rtol=1e-6, atol=1e-9,
        diagnose={
            "a right box scores 0.995 at a threshold, not 1: the last trapezium has half its area":
                lambda iou: one_box(iou) / 0.995,
            "this is the sum over the ten thresholds; divide by 10": lambda iou: 10 * one_box(iou),
            "the thresholds that iou does NOT reach are counted: a box is right where iou >= threshold":
                lambda iou: 0.995 - one_box(iou),
            "the first threshold is 0.50; it is missing": lambda iou: one_box(iou) - 0.0995,
            "there are ten thresholds, so divide by 10, not by 9": lambda iou: one_box(iou) * 10 / 9,
            "the IoU itself is no AP: count the thresholds that it reaches": lambda iou: iou,
            "that is the AP at threshold 0.50 alone; take the mean over the ten thresholds": 0.995,
        },
    )  # fmt: skip
    for iou, why in ((0.23, "below 0.50 no threshold is reached"), (1.0, "there are no more than ten thresholds")):
        expect(abs(attempt(student, iou) - one_box(iou)) < 1e-6, f"right between the thresholds, wrong for an IoU of {iou}: {why}")


# ---------------------------------------------------------------- 16.2


def wilson(found, total, z=1.96):
    """Reference: Wilson's interval of a rate."""
    p = found / total
    centre, half = p + z**2 / (2 * total), z * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    return (centre - half) / (1 + z**2 / total), (centre + half) / (1 + z**2 / total)


def _wald(found, total, z=1.96):
    p = found / total
    half = z * (p * (1 - p) / total) ** 0.5
    return p - half, p + half


def _parts(found, total, z):
    p = found / total
    return p, p + z**2 / (2 * total), (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5, 1 + z**2 / total


@exercise("Wilson's interval")
def check_wilson(student, rng):
    total = rng.size(2, 40)
    found = rng.choice([total, rng.size(1, total)])

    def unshrunk(f, n, z):
        _, centre, root, _ = _parts(f, n, z)
        return centre - z * root, centre + z * root

    def unshifted(f, n, z):
        p, _, root, factor = _parts(f, n, z)
        return (p - z * root) / factor, (p + z * root) / factor

    def no_z(f, n, z):
        _, centre, root, factor = _parts(f, n, z)
        return (centre - root) / factor, (centre + root) / factor

    compare(
        student, wilson, {"found": found, "total": total, "z": rng.choice([1.96, 1.645, 2.576])},
        rtol=1e-6, atol=1e-9,
        diagnose={
            "this is the textbook interval, which has no width at 0 and 1; take Wilson's": _wald,
            "the factor 1 / (1 + z²/n) in front is missing": unshrunk,
            "the centre is not p but p + z²/(2n)": unshifted,
            "the root has to be multiplied by z": no_z,
            "z is an argument; 1.96 is only its default": lambda f, n, z: wilson(f, n),
            "low and high are exchanged": lambda f, n, z: wilson(f, n, z)[::-1],
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 16.3


def interval(statistic, draws, level=0.95):
    """Reference: percentile interval of a statistic of weighted images."""
    values = [statistic(np.bincount(row, minlength=draws.shape[1])) for row in draws]
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2])


@exercise("the bootstrap over images")
def check_interval(student, rng):
    images, resamples = rng.size(8, 14), rng.size(40, 60)
    scores = rng.normal(images).double().numpy()
    draws = np.array([[rng.size(0, images - 1) for _ in range(images)] for _ in range(resamples)])

    def statistic(weights):
        expect(len(weights) == images, f"statistic() got {len(weights)} weights for {images} images: "
               "an image that was not drawn needs its 0 too; give bincount minlength")  # fmt: skip
        weights = np.asarray(weights)
        return float((weights * scores).sum() / weights.sum()) if weights.sum() else 0.0

    def values(draws, weigh=lambda w: w):
        return [statistic(weigh(np.bincount(row, minlength=images))) for row in draws]

    given = draws.copy()
    got = attempt(student, statistic, given, 0.9)
    expect((given == draws).all(), "the argument `draws` is changed in place; work on a new array")
    expect(got is None or np.size(got) == 2, "two numbers are wanted: the lower and the upper end")
    compare(
        lambda level: None if got is None else np.asarray(got, dtype=float),
        lambda level: interval(statistic, draws, level), {"level": 0.9}, rtol=1e-9, atol=1e-12,
        diagnose={
            "an image that is drawn twice has to count twice: weights, not just which images occur":
                lambda level: np.quantile(values(draws, lambda w: np.minimum(w, 1)), [(1 - level) / 2, (1 + level) / 2]),
            "a level of 0.9 leaves out 0.05 on each side, not 0.1":
                lambda level: np.quantile(values(draws), [1 - level, level]),
            "these are the least and the greatest value; take quantiles": lambda level: np.quantile(values(draws), [0, 1]),
            "`level` is an argument; 0.95 is only its default": lambda level: np.quantile(values(draws), [0.025, 0.975]),
            "the row of image numbers is given to statistic(); it wants how often each image counts":
                lambda level: np.quantile([statistic(row) for row in draws], [(1 - level) / 2, (1 + level) / 2]),
            "the upper end comes first; the lower one is wanted first": lambda level: interval(statistic, draws, level)[::-1],
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 16.4


def paired(first, second, level=0.95):
    """Reference: interval of the difference of two models on the same draws."""
    return np.quantile(second - first, [(1 - level) / 2, (1 + level) / 2])


@exercise("the interval of a paired difference")
def check_paired(student, rng):
    n = rng.size(60, 90)
    common = rng.normal(n).double().numpy()
    first = common + 0.3 * rng.normal(n).double().numpy()
    second = common + 0.3 * rng.normal(n).double().numpy() + 0.5

    def each(a, b, level):
        return [np.quantile(x, [(1 - level) / 2, (1 + level) / 2]) for x in (a, b)]

    def got(first, second, level):
        answer = student(first.copy(), second.copy(), level)
        return None if answer is None else np.asarray(answer, dtype=float)

    compare(
        got, paired, {"first": first, "second": second, "level": 0.9}, rtol=1e-9, atol=1e-12,
        diagnose={
            "the sign: how much better `second` is, so second - first": lambda a, b, level: paired(b, a, level),
            "each model has its own quantiles here, and then they are subtracted: the pairing is lost; subtract draw by draw first":
                lambda a, b, level: each(a, b, level)[1] - each(a, b, level)[0],
            "far too wide: the low end of one minus the high end of the other; subtract draw by draw first":
                lambda a, b, level: each(a, b, level)[1] - each(a, b, level)[0][::-1],
            "sorting breaks the pairs: entry r of both belongs to the same draw":
                lambda a, b, level: paired(np.sort(a), np.sort(b), level),
            "a level of 0.9 leaves out 0.05 on each side, not 0.1":
                lambda a, b, level: np.quantile(b - a, [1 - level, level]),
            "`level` is an argument; 0.95 is only its default": lambda a, b, level: paired(a, b),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 16.5


def images_needed(sigma, gap, power=0.8):
    """Reference: images that show a difference `gap` at the 95 % level with this power."""
    z = NormalDist().inv_cdf
    return ceil(((z(0.975) + z(power)) * sigma / gap) ** 2)


@exercise("how many images a difference needs")
def check_images_needed(student, rng):
    z = NormalDist().inv_cdf
    inputs = {"sigma": rng.size(10, 60) / 100, "gap": rng.size(4, 20) / 1000, "power": rng.choice([0.7, 0.9, 0.95])}
    compare(
        student, images_needed, inputs, rtol=1e-12, atol=0,
        diagnose={
            "the power is missing: with z(0.975) alone a true difference is missed every second time":
                lambda s, g, p: ceil((z(0.975) * s / g) ** 2),
            "`power` is an argument; 0.8 is only its default": lambda s, g, p: images_needed(s, g),
            "the bracket has to be squared": lambda s, g, p: ceil((z(0.975) + z(p)) * s / g),
            "z(0.95) is for one side; at the 95 % level with two sides it is z(0.975)":
                lambda s, g, p: ceil(((z(0.95) + z(p)) * s / g) ** 2),
            "round up: one image less is too few": lambda s, g, p: images_needed(s, g, p) - 1,
            "round up to a whole image": lambda s, g, p: ((z(0.975) + z(p)) * s / g) ** 2,
            "the two z are added before squaring": lambda s, g, p: ceil((z(0.975) ** 2 + z(p) ** 2) * (s / g) ** 2),
        },
    )  # fmt: skip
