"""Chapters 15 and 16: average precision of resampled images, and intervals for the difference of two models.

A run is kept as what ultralytics' validator found on each image: N detections of score conf (N,), class pred_cls (N,) and
tp (N, 10), whether each is right at IoU 0.50, 0.55, ... 0.95; image (N,), where it is; and of M true boxes their class
target_cls (M,) and target_image (M,).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vil_lite.statistics import half_width, pooled_variance

RECALLS = np.linspace(0, 1, 101)  # COCO's points of the precision-recall curve


def average_precisions(run: Mapping[str, np.ndarray], weights: np.ndarray | None = None) -> np.ndarray:
    """AP of each class that occurs at each IoU: (classes, 10), as ultralytics computes it.

    run: a mapping as above.   weights: (images,) how often each image counts (None: once each).
    """
    order = np.argsort(-run["conf"])
    image, label, tp = run["image"][order], run["pred_cls"][order], run["tp"][order].astype(float)
    weights = (
        np.ones(1 + int(max(run["target_image"].max(initial=0), image.max(initial=0)))) if weights is None else weights
    )
    times, truths = weights[image], weights[run["target_image"]]
    found = []
    for c in np.unique(run["target_cls"][truths > 0]):
        total, mine = truths[run["target_cls"] == c].sum(), (label == c) & (times > 0)
        right, all_of = np.cumsum(tp[mine] * times[mine, None], axis=0), np.cumsum(times[mine])
        found.append([_area(right[:, j] / total, right[:, j] / all_of) for j in range(tp.shape[1])])
    return np.array(found).reshape(-1, run["tp"].shape[1])


def _area(recall, precision):
    """Area under the precision envelope at COCO's 101 points of recall, by trapezia."""
    if not len(recall):
        return 0.0
    recall = np.concatenate([[0.0], recall, [recall[-1], 1.0]])
    precision = np.concatenate([[1.0], precision, [0.0, 0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    heights = np.interp(RECALLS, recall, envelope)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(RECALLS)).sum())


def resampled_maps(
    models: Mapping[str, Sequence[Mapping[str, np.ndarray]]], images: int, resamples: int = 300, seed: int = 0
) -> dict[str, np.ndarray]:
    """mAP50-95 of every run on images drawn with replacement: {model: (runs, resamples)}; the same draws for all models.

    models: {name: [run, ...]}.   images: how many there are.   A draw of images without any object has no mAP; another
    takes its place.
    Raises ValueError when no image holds an object.
    """
    rng = np.random.default_rng(seed)
    draws: list[np.ndarray] = []
    labelled = np.unique(np.concatenate([run["target_image"] for runs in models.values() for run in runs]))
    if not len(labelled):
        raise ValueError("models: their images hold no object, so nothing can be right; validate on labelled images")
    while len(draws) < resamples:
        weights = np.bincount(rng.integers(images, size=images), minlength=images)
        if weights[labelled].any():
            draws.append(weights)
    return {
        name: np.array([[average_precisions(run, weights).mean() for weights in draws] for run in runs])
        for name, runs in models.items()
    }


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    first_runs: Sequence[float],
    second_runs: Sequence[float],
    spread: tuple[float, int] | tuple[tuple[float, int], tuple[float, int]] | None = None,
    level: float = 0.95,
    comparisons: int = 1,
) -> dict[str, Any]:
    """How much larger the mean mAP of `second` is than that of `first`, with an interval for other images and other seeds.

    first, second: (runs, resamples >= 2) from `resampled_maps`; paired by images.   first_runs, second_runs: (runs,) mAP of
    each run on all images.   spread: variance between seeds and its degrees of freedom (vil_lite.statistics.pooled_variance,
    over all models that scatter alike), one for both or, where they do not scatter alike, one for each; None takes these two.
    With one run of each, the interval is one for these very weights: other seeds are left out, and the result's "seeds" is
    None.   comparisons: how many differences are judged together.
    Returns {"difference", "low", "high", "images", "seeds"}; the last two are the standard errors that either adds.

    Seeds are not paired: equal seeds of two architectures have nothing in common but the order of the images.  The images'
    part is the spread of the paired bootstrap, that of the seeds comes from `spread`: drawing three seeds with replacement
    would show two thirds of how much seeds vary.
    """
    if first.shape[1] < 2:
        raise ValueError(f"first, second: one needs at least 2 resamples for their spread, got {first.shape[1]}")
    images = float((second.mean(0) - first.mean(0)).var(ddof=1))
    if spread is None and max(len(first_runs), len(second_runs)) > 1:
        spread = pooled_variance([first_runs, second_runs])
    shares = 1 / len(first_runs), 1 / len(second_runs)
    given: Any = spread
    if spread is None:
        seeds = []
    elif np.ndim(given) == 1:
        seeds = [(given[0] * sum(shares), given[1])]
    else:
        seeds = [(variance * share, free) for (variance, free), share in zip(given, shares, strict=True)]
    observed = float(np.mean(second_runs) - np.mean(first_runs))
    half = half_width([(images, first.shape[1] - 1), *seeds], level, comparisons)
    errors = {"images": images**0.5, "seeds": sum(variance for variance, _ in seeds) ** 0.5 if seeds else None}
    return {"difference": observed, "low": observed - half, "high": observed + half, **errors}
