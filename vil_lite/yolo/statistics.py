"""Average precision of resampled images, and intervals for the difference of two models.  numpy alone.

A run is kept as what ultralytics' validator found on each image: N detections of score conf (N,), class pred_cls (N,) and
tp (N, 10), whether each is right at IoU 0.50, 0.55, ... 0.95; image (N,), where it is; and of M true boxes their class
target_cls (M,) and target_image (M,).
"""

import numpy as np

RECALLS = np.linspace(0, 1, 101)  # COCO's points of the precision-recall curve


def average_precisions(run, weights=None):
    """AP of each class that occurs at each IoU: (classes, 10), as ultralytics computes it.

    run: a mapping as above.   weights: (images,) how often each image counts (None: once each).
    """
    order = np.argsort(-run["conf"])
    image, label, tp = run["image"][order], run["pred_cls"][order], run["tp"][order].astype(float)
    weights = np.ones(1 + int(max(run["target_image"].max(initial=0), image.max(initial=0)))) if weights is None else weights
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


def resampled_maps(models, images, resamples=300, seed=0):
    """mAP50-95 of every run on images drawn with replacement: {model: (runs, resamples)}; the same draws for all models.

    models: {name: [run, ...]}.   images: how many there are.
    """
    rng = np.random.default_rng(seed)
    draws = [np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(resamples)]
    return {
        name: np.array([[average_precisions(run, weights).mean() for weights in draws] for run in runs])
        for name, runs in models.items()
    }


def paired_difference(first, second, observed, level=0.95, seed=0):
    """How much larger the mean mAP of `second` is than that of `first`, with a bootstrap interval over images and seeds.

    first, second: (runs, resamples) from `resampled_maps`; paired by images.  observed: the difference on all images.
    Returns {"difference", "low", "high", "share_above_0"}; the runs (seeds) of each model are drawn with replacement too,
    independently: equal seeds of two architectures have nothing in common but the order of the images.
    """
    rng, means = np.random.default_rng(seed), []
    for values in (first, second):
        runs = rng.integers(len(values), size=(values.shape[1], len(values)))
        means.append(values[runs, np.arange(values.shape[1])[:, None]].mean(axis=1))
    gap = means[1] - means[0]
    low, high = np.quantile(gap, [(1 - level) / 2, (1 + level) / 2])
    return {"difference": float(observed), "low": float(low), "high": float(high), "share_above_0": float((gap > 0).mean())}
