"""Exercises of chapter 16: reading a results table critically."""

import math
from statistics import NormalDist

import numpy as np

from ._base import exercise

# ---------------------------------------------------------------- 16.1
THRESHOLDS = 0.5 + 0.05 * np.arange(10)


def one_box(iou, *, right=lambda iou: iou >= THRESHOLDS, full=0.995, by=10):
    """mAP50-95 of a class with one instance, whose only detection has this IoU."""
    return full * float(right(iou).sum()) / by


@exercise(
    "16.1",
    "the score of a class with one box",
    one_box,
    rtol=1e-6,
    atol=1e-9,
    mistakes={
        "a right box scores 0.995 at a threshold, not 1: the last trapezium has half its area": {"full": 1.0},
        "this is the sum over the ten thresholds; divide by 10": {"by": 1},
        "a box is right where iou >= threshold; those not reached are counted": {"right": lambda iou: iou < THRESHOLDS},
        "an IoU that just reaches a threshold is right: iou >= threshold": {"right": lambda iou: iou > THRESHOLDS},
        "the first threshold is 0.50; it is missing": {"right": lambda iou: iou >= THRESHOLDS[1:]},
        "there are ten thresholds, so divide by 10, not by 9": {"by": 9},
        "the last threshold is 0.95; there is none at 1": {"right": lambda iou: iou >= np.append(THRESHOLDS, 1.0)},
        "below 0.50 no threshold is reached": {"right": lambda iou: np.round((iou - 0.475) / 0.05).clip(max=10)},
        "the IoU itself is no AP: count the thresholds that it reaches": lambda iou: iou,
        "that is the AP at threshold 0.50 alone; take the mean over the ten thresholds": lambda iou: 0.995,
    },
)
def check_one_box(rng):
    yield {"iou": (5 * rng.size(11, 18) + rng.size(1, 4)) / 100}  # between thresholds: rounding decides nothing
    yield {"iou": 0.23}
    yield {"iou": 0.5}  # the threshold that every way of making them gives exactly: 0.75 is a little more in np.arange
    yield {"iou": 1.0}


# ---------------------------------------------------------------- 16.2
def wilson(
    found,
    total,
    z=1.96,
    *,
    centre=lambda p, n, z: p + z**2 / (2 * n),
    half=lambda p, n, z: z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5,
    shrink=lambda n, z: 1 + z**2 / n,
):
    """Wilson's interval of a rate."""
    middle, apart = centre(found / total, total, z), half(found / total, total, z)
    return (middle - apart) / shrink(total, z), (middle + apart) / shrink(total, z)


def _wald(found, total, z):
    p = found / total
    half = z * (p * (1 - p) / total) ** 0.5
    return p - half, p + half


@exercise(
    "16.2",
    "Wilson's interval",
    wilson,
    cases=3,
    rtol=1e-6,
    atol=1e-9,
    mistakes={
        "this is the textbook interval, which has no width at 0 and 1; take Wilson's": _wald,
        "the factor 1 / (1 + z²/n) in front is missing": {"shrink": lambda n, z: 1},
        "the centre is not p but p + z²/(2n)": {"centre": lambda p, n, z: p},
        "the root has to be multiplied by z": {"half": lambda p, n, z: (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5},
        "z²/(4n²) is missing under the root": {"half": lambda p, n, z: z * (p * (1 - p) / n) ** 0.5},
        "the root has z²/(4n²), not z²/(4n)": {"half": lambda p, n, z: z * (p * (1 - p) / n + z**2 / 4 / n) ** 0.5},
        "z is an argument; 1.96 is only its default": lambda f, n, z: wilson(f, n),
        "low and high are exchanged": lambda f, n, z: wilson(f, n, z)[::-1],
        "Wilson's interval has a width even where all are found": lambda f, n, z: (
            (1.0, 1.0) if f == n else wilson(f, n, z)
        ),
    },
)
def check_wilson(rng):
    total = rng.size(3, 40)
    for found in (total, rng.size(1, total - 1), 0):
        yield {"found": found, "total": total, "z": rng.turn([1.96, 1.645, 2.576])}


# ---------------------------------------------------------------- 16.3
def _quantiles(values, level, ends=lambda level: [(1 - level) / 2, (1 + level) / 2]):
    return np.quantile(values, ends(level))


def interval(
    statistic, draws, level=0.95, *, weigh=lambda row, n: np.bincount(row, minlength=n), quantiles=_quantiles, **ends
):
    """Percentile interval of a statistic of weighted images."""
    return quantiles([statistic(weigh(row, draws.shape[1])) for row in draws], level, **ends)


def _normal(values, level):
    z = NormalDist().inv_cdf((1 + level) / 2)
    return np.mean(values) - z * np.std(values), np.mean(values) + z * np.std(values)


def _two_floats(function, *inputs):
    return [float(end) for end in function(*inputs)]


@exercise(
    "16.3",
    "the bootstrap over images",
    interval,
    through=_two_floats,
    cases=3,
    rtol=1e-9,
    atol=1e-12,
    mistakes={
        "an image drawn twice counts twice": {"weigh": lambda row, n: np.bincount(row, minlength=n).clip(max=1)},
        "an image that was not drawn needs its 0: minlength": {"weigh": lambda row, n: np.bincount(row)},
        "statistic() wants how often each image counts, not the row of numbers": {"weigh": lambda row, n: row},
        "a level of 0.9 leaves out 0.05 on each side, not 0.1": {"ends": lambda level: [1 - level, level]},
        "these are the least and the greatest value; take quantiles": {"ends": lambda level: [0, 1]},
        "`level` is an argument; 0.95 is only its default": {"ends": lambda level: [0.025, 0.975]},
        "the upper end comes first; the lower one is wanted first": lambda *a: interval(*a)[::-1],
        "this is the normal interval, mean ± z · deviation; take quantiles": {"quantiles": _normal},
    },
)
def check_interval(rng):
    images, resamples = rng.size(8, 14), rng.size(40, 60)
    scores = rng.normal(images).double().numpy()
    draws = np.array([[rng.size(0, images - 1) for _ in range(images)] for _ in range(resamples)])
    draws[: resamples // 4] %= images - 1  # the last image is not drawn

    def statistic(weights):
        weights = np.asarray(weights)
        return float((weights * scores[: len(weights)]).sum() / len(weights))

    return {"statistic": statistic, "draws": draws, "level": 0.9}


# ---------------------------------------------------------------- 16.4
def paired(first, second, level=0.95, **ends):
    """Interval of the difference of two models on the same draws."""
    return _quantiles(second - first, level, **ends)


def _each(first, second, level):
    return _quantiles(first, level), _quantiles(second, level)


@exercise(
    "16.4",
    "the interval of a paired difference",
    paired,
    through=_two_floats,
    rtol=1e-9,
    atol=1e-12,
    mistakes={
        "the sign: how much better `second` is, so second - first": lambda a, b, level: paired(b, a, level),
        "each model has its own quantiles: the pairing is lost": lambda *x: _each(*x)[1] - _each(*x)[0],
        "far too wide: low end minus high end; subtract draw by draw": lambda *x: _each(*x)[1] - _each(*x)[0][::-1],
        "sorting breaks the pairs, which share a draw": lambda a, b, level: paired(np.sort(a), np.sort(b), level),
        "a level of 0.9 leaves out 0.05 on each side, not 0.1": {"ends": lambda level: [1 - level, level]},
        "`level` is an argument; 0.95 is only its default": {"ends": lambda level: [0.025, 0.975]},
        "the upper end comes first; the lower one is wanted first": lambda *a: paired(*a)[::-1],
    },
)
def check_paired(rng):
    n = rng.size(60, 90)
    common = rng.normal(n).double().numpy()
    first, second = (common + 0.3 * rng.normal(n).double().numpy() for _ in range(2))
    return {"first": first, "second": second + 0.5, "level": 0.9}


# ---------------------------------------------------------------- 16.5
def images_needed(sigma, gap, power=0.8, *, whole=math.ceil, sides=lambda z, power: z(0.975) + z(power), to=2):
    """Images that show a difference `gap` at the 95 % level with this power."""
    return whole((sides(NormalDist().inv_cdf, power) * sigma / gap) ** to)


@exercise(
    "16.5",
    "how many images a difference needs",
    images_needed,
    rtol=1e-12,
    atol=0,
    mistakes={
        "the power is missing: half of all true differences are missed": {"sides": lambda z, power: z(0.975)},
        "`power` is an argument; 0.8 is only its default": lambda s, g, p: images_needed(s, g),
        "the bracket has to be squared": {"to": 1},
        "z(0.95) is for one side; at 95 % with two it is z(0.975)": {"sides": lambda z, power: z(0.95) + z(power)},
        "the power is the share that is found: z(power)": {"sides": lambda z, power: z(0.975) + z(1 - power)},
        "round up: one image fewer is too few": {"whole": math.floor},
        "round up, not to the nearest: one image fewer is too few": {"whole": round},
        "round up to a whole image": {"whole": lambda x: x},
        "the two z are added before squaring": {"sides": lambda z, power: math.hypot(z(0.975), z(power))},
    },
)
def check_images_needed(rng):
    while True:
        inputs = {"sigma": rng.size(10, 60) / 100, "gap": rng.size(4, 20) / 1000, "power": rng.turn([0.7, 0.9, 0.95])}
        part = images_needed(**inputs, whole=lambda x: x) % 1
        if 0.1 < part < 0.45 if rng.case % 2 else 0.55 < part < 0.9:  # to be rounded up, whatever is nearest
            return inputs
