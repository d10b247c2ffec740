"""Checks of chapter 15: train a detector."""

import tempfile
from pathlib import Path

import numpy as np

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 15.1


def count(labels, classes):
    """Reference: in how many images each class occurs, and how many objects of it there are: two arrays (classes,)."""
    table = np.stack([np.bincount(one, minlength=classes) for one in labels])
    return (table > 0).sum(axis=0), table.sum(axis=0)


@exercise("images and instances of each class")
def check_count(student, rng):
    classes = rng.size(4, 7)
    absent, twice = classes - 1, rng.size(0, classes - 2)  # the last class never occurs: arrays must still be long enough
    labels = [np.array([rng.size(0, absent - 1) for _ in range(rng.size(1, 6))], dtype=int) for _ in range(rng.size(4, 8))]
    labels[0] = np.array([twice, twice, twice])
    labels += [np.array([], dtype=int), np.array([0, 1, 0, 1])]
    compare(
        student, count, {"labels": labels, "classes": classes}, outputs=("images", "instances"),
        diagnose={
            "images and instances are exchanged": lambda x, c: count(x, c)[::-1],
            "an image counts once for a class, however many objects of it there are": lambda x, c: (count(x, c)[1],) * 2,
            "these are the images twice; an instance is an object": lambda x, c: (count(x, c)[0],) * 2,
            "a class that never occurs needs its 0: the arrays have length `classes` (minlength)":
                lambda x, c: tuple(a[: max(map(max, filter(len, x))) + 1] for a in count(x, c)),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 15.2


def stop(fitness, patience, better=lambda value, best: value > best, zero=True, wait=0):
    """Reference: (epoch after which training ends, best epoch by then), epochs from 1; the other arguments make mistakes."""
    best, best_epoch = 0.0, 0
    for epoch, value in enumerate(fitness, start=1):
        if better(value, best) or (zero and best == 0):
            best, best_epoch = value, epoch
        if epoch - best_epoch >= patience + wait:
            break
    return epoch, best_epoch


def _whole_best(fitness, patience):
    return stop(fitness, patience)[0], int(np.argmax(fitness)) + 1


def _numbers(student):
    """The student's function with its numbers as plain floats, whatever kind of number they are."""
    def plain(*inputs):
        answer = student(*inputs)
        return tuple(map(float, answer)) if isinstance(answer, (tuple, list)) else answer

    return plain


@exercise("patience", cases=8)
def check_stop(student, rng):
    patience = rng.size(2, 4)
    zeros = [0.0] * rng.choice([0, patience + 1])
    peak = rng.choice([0.3, 0.4, 0.5])
    tail = [0.5 * peak, peak, 0.4 * peak, 0.6 * peak][:patience]  # a tie is no improvement, nor is a rise below the best
    later = [0.3 * peak] * (patience + 2) + [2 * peak, peak]  # a better epoch that is not reached any more
    fitness = zeros + [0.1, 0.2, peak] + (tail + later if rng.size(0, 3) else tail[:-1])
    compare(
        _numbers(student), stop, {"fitness": fitness, "patience": patience}, rtol=1e-9,
        outputs=("the pair (epoch of the end, best epoch)",),
        diagnose={
            "the two numbers are exchanged": lambda f, p: stop(f, p)[::-1],
            "epochs are counted from 0; the first is epoch 1": lambda f, p: tuple(e - 1 for e in stop(f, p)),
            "one epoch too late: stop as soon as `epoch - best_epoch >= patience`": lambda f, p: stop(f, p, wait=1),
            "one epoch too early: `patience` epochs have to pass without a new best": lambda f, p: stop(f, p, wait=-1),
            "an equal value is not an improvement": lambda f, p: stop(f, p, better=lambda v, b: v >= b),
            "while the best is still 0, each epoch counts as the best so far": lambda f, p: stop(f, p, zero=False),
            "an improvement over the epoch before is not a new best: compare with the best so far": _last_rise,
            "the best epoch is looked for among all epochs; training did not see those after its end": _whole_best,
            "training never ends: patience is not used": lambda f, p: stop(f, len(f) + 1),
        },
    )  # fmt: skip


def _last_rise(fitness, patience):
    """A mistake: every rise over the epoch before resets the patience."""
    best_epoch, before = 0, 0.0
    for epoch, value in enumerate(fitness, start=1):
        if value > before or value == before == 0:
            best_epoch = epoch
        before = value
        if epoch - best_epoch >= patience:
            break
    return epoch, best_epoch


# ---------------------------------------------------------------- 15.3


def best_cut(correct, scores, objects, figure=None):
    """Reference: the cut among the scores with the greatest F1, and precision and recall there."""
    order = np.argsort(-scores)
    hits, kept = correct[order].cumsum(), np.arange(1, len(scores) + 1)
    precision, recall = hits / kept, hits / objects
    n = (2 * hits / (kept + objects) if figure is None else figure(precision, recall)).argmax()
    return float(scores[order][n]), float(precision[n]), float(recall[n])


@exercise("the cut with the best F1", cases=6)
def check_best_cut(student, rng):
    count, objects = rng.size(12, 20), rng.size(14, 24)
    scores = rng.uniform(0.01, 1, count).numpy().astype(float)
    correct = (rng.uniform(0, 1, count).numpy() < 0.2 + 0.6 * scores) | (scores >= np.sort(scores)[-1])
    correct &= np.cumsum(correct) <= objects
    while _close(correct, scores, objects):  # two cuts as good as each other: rounding would decide
        objects += 1
    compare(
        _numbers(student), best_cut, {"correct": correct, "scores": scores, "objects": objects}, rtol=1e-6,
        outputs=("the triple (cut, precision, recall)",),
        diagnose={
            "the detections come in any order: sort them by score, best first (and `correct` with them)":
                _unsorted,
            "sorted the wrong way round: a cut keeps the *best* scores": _ascending,
            "this is the cut with the greatest precision": lambda c, s, g: best_cut(c, s, g, lambda p, r: p),
            "this is the cut with the greatest recall": lambda c, s, g: best_cut(c, s, g, lambda p, r: r),
            "F1 is the harmonic mean of P and R, not the arithmetic one": lambda c, s, g: best_cut(c, s, g, lambda p, r: p + r),
            "F1 is 2 P R / (P + R); the product P R alone is greatest elsewhere":
                lambda c, s, g: best_cut(c, s, g, lambda p, r: p * r),
            "precision and recall are exchanged": lambda c, s, g: [best_cut(c, s, g)[k] for k in (0, 2, 1)],
            "recall is a share of the true objects, not of the correct detections": lambda c, s, g: best_cut(c, s, max(c.sum(), 1)),
        },
    )  # fmt: skip


def _close(correct, scores, objects):
    """Is there a second cut whose F1 equals the greatest, but for rounding?"""
    f1 = np.sort(2 * correct[np.argsort(-scores)].cumsum() / (np.arange(1, len(scores) + 1) + objects))
    return f1[-1] - f1[-2] < 1e-9


def _unsorted(correct, scores, objects):
    hits, kept = correct.cumsum(), np.arange(1, len(scores) + 1)
    n = (2 * hits / (kept + objects)).argmax()
    return float(scores[n]), float(hits[n] / kept[n]), float(hits[n] / objects)


def _ascending(correct, scores, objects):
    order = np.argsort(scores)
    return _unsorted(correct[order], scores[order], objects)


# ---------------------------------------------------------------- 15.4


def confusion(overlap, true, predicted, classes, threshold=0.45, choose=None, taken=True):
    """Reference: (classes + 1, classes + 1), rows predicted, columns true, last: background; the rest makes mistakes."""
    matrix, free = np.zeros((classes + 1, classes + 1), dtype=int), set(range(len(true)))
    missed = set(free)
    for d, label in enumerate(predicted):
        candidates = [(overlap[g, d], g) for g in free if overlap[g, d] > threshold and (choose is None or choose(true[g], label))]
        if candidates:
            g = max(candidates)[1]
            missed.discard(g)
            if taken:
                free.remove(g)
            matrix[label, true[g]] += 1
        else:
            matrix[label, classes] += 1
    for g in missed:
        matrix[classes, true[g]] += 1
    return matrix


def _drop(row, column):
    """The mistake of leaving a part of the matrix at 0."""
    def wrong(overlap, true, predicted, classes, threshold=0.45):
        matrix = confusion(overlap, true, predicted, classes, threshold)
        matrix[row, column] = 0
        return matrix

    return wrong


def _second_never(overlap, true, predicted, classes, threshold=0.45):
    """A mistake: a detection whose best object is taken does not get the next."""
    matrix, free = np.zeros((classes + 1, classes + 1), dtype=int), set(range(len(true)))
    for d, label in enumerate(predicted):
        g = int(overlap[:, d].argmax())
        if g in free and overlap[g, d] > threshold:
            free.remove(g)
            matrix[label, true[g]] += 1
        else:
            matrix[label, classes] += 1
    for g in free:
        matrix[classes, true[g]] += 1
    return matrix


@exercise("the confusion matrix", cases=6)
def check_confusion(student, rng):
    classes, objects = rng.size(4, 6), rng.size(5, 7)
    true = np.array([rng.size(0, classes - 1) for _ in range(objects)])
    true[4] += true[3] == (true[4] + 1) % classes  # detections 3 and 4 below get different names
    true[4] %= classes
    overlap = 0.3 * rng.uniform(0, 1, objects, objects + 5).numpy()
    for g in range(2, objects):  # one good detection of each object but two; of every second the class is wrong
        overlap[g, g] = 0.7
    overlap[2, 0], overlap[3, 0] = 0.6, 0.9  # the first detection takes object 3 ...
    overlap[3, 3], overlap[4, 3] = 0.8, 0.6  # ... so that a later one has to take the next best, object 4
    overlap[2, objects] = 0.65  # a duplicate
    overlap[0, objects + 1] = 0.5  # enough or not, depending on the threshold
    predicted = np.array([true[d] if d < objects and d % 2 else (true[d % objects] + 1) % classes for d in range(overlap.shape[1])])
    threshold = rng.choice([0.45, 0.55])
    inputs = {"overlap": overlap.copy(), "true": true, "predicted": predicted, "classes": classes, "threshold": threshold}
    compare(
        student, confusion, inputs,
        outputs=("the matrix",),
        diagnose={
            "rows are predictions, columns the truth: the matrix is transposed": lambda *a: confusion(*a).T,
            "the class is ignored in matching: with only equal classes matched, nothing can be confused":
                lambda *a: confusion(*a, choose=lambda t, p: t == p),
            "an object can be taken once: a duplicate counts as a detection of background": lambda *a: confusion(*a, taken=False),
            "a detection whose best object is taken takes the next best of those that are free": _second_never,
            "objects that nobody took are missing: they belong into the last row": _drop(-1, slice(None)),
            "detections that took nothing are missing: they belong into the last column": _drop(slice(None), -1),
            "the row and column of the background are missing: the matrix has classes + 1 of each":
                lambda *a: confusion(*a)[:-1, :-1],
            "the threshold is not used: an overlap has to be more than `threshold`": lambda o, t, p, c, _: confusion(o, t, p, c, 0.0),
            "the threshold is an argument, not always 0.45": lambda o, t, p, c, _: confusion(o, t, p, c),
            "go through the detections from the first column, the best score, to the last":
                lambda o, t, p, c, threshold: confusion(o[:, ::-1], t, p[::-1], c, threshold),
        },
    )  # fmt: skip
    for objects, found, which in ((0, 2, "objects"), (2, 0, "detections")):
        empty = np.zeros((objects, found)), np.arange(objects), np.arange(found), classes
        expect(
            np.array_equal(attempt(student, *empty, told=f" (an image without {which})"), confusion(*empty)),
            f"right for an image with objects and detections, wrong for one without {which}",
        )


# ---------------------------------------------------------------- 15.5


def _harbour(root, classes, rng):
    """A small YOLO folder with one of each problem in a random split; returns the wanted answer."""
    good = "0 0.5 0.5 0.25 0.25\n"
    first, second = rng.choice([("train", "val"), ("val", "train")])
    files = [  # split, name, suffix of the image or None, text of the label or None, problem
        (first, "whole", ".png", good + f"{classes - 1} 1.0 0.0 0.5 1\n", None),
        (second, "empty", ".jpg", "", None),
        (second, "lonely", ".jpg", None, "no label"),
        (first, "orphan", None, good, "no image"),
        (first, "next", ".png", good + f"{classes} 0.5 0.5 0.1 0.1\n", "class"),
        (second, "minus", ".png", "-1 0.5 0.5 0.1 0.1\n" + good, "class"),
        (second, "wide", ".jpeg", good + "0 0.5 0.5 1.5 0.1\n", "range"),
        (first, "left", ".png", "0 -0.25 0.5 0.1 0.1\n" + good, "range"),
        (first, "pixels", ".png", "1 120 64 30 20\n", "range"),
    ]
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
    for split, name, suffix, text, _ in files:
        if suffix:
            (root / "images" / split / f"{name}{suffix}").write_bytes(b"")
        if text is not None:
            (root / "labels" / split / f"{name}.txt").write_text(text)
    return {(f"{split}/{name}", problem) for split, name, _, _, problem in files if problem}


MISSED = {
    "lonely": "{0} is missing: an image without a label file",
    "orphan": "{0} is missing: a label file without an image",
    "next": "{0} is missing: with K classes the last one is K - 1 (and every line counts, not only the first)",
    "minus": "{0} is missing: a class of -1",
    "wide": "{0} is missing: width and height have to be in 0..1 too (and every line counts, not only the first)",
    "left": "{0} is missing: a number below 0",
    "pixels": "{0} is missing: numbers in pixels",
}
INVENTED = {
    "whole": "{0} is right: its numbers lie in 0..1, both ends included, and its classes from 0 to classes - 1",
    "empty": "{0} is right: an empty label file marks a background image",
}


@exercise("the audit of a folder", cases=3)
def check_audit(student, rng):
    classes = rng.size(2, 6)
    with tempfile.TemporaryDirectory() as folder:
        wanted = _harbour(Path(folder), classes, rng)
        got = attempt(student, Path(folder), classes)
    expect(got is not None, "nothing is returned: is the `return` missing?")
    expect(isinstance(got, (set, frozenset)), f"a set of pairs is wanted, not a {type(got).__name__}")
    pairs = all(isinstance(one, tuple) and len(one) == 2 for one in got)
    expect(pairs, "every element has to be a pair (place, problem), for example ('train/a', 'no label')")
    bare = {place for place, _ in got if "/" not in str(place) or "." in str(place)}
    expect(not bare, f"a place is the split and the name without suffix, as 'train/a'; got {sorted(map(str, bare))[:1]}")
    silent = {split for split in ("train", "val") if not any(place.startswith(split) for place, _ in got)} if got else set()
    expect(not silent, f"nothing is found in {sorted(silent)[0] if silent else ''}: look at both splits")
    for place, problem in sorted(wanted - got):
        other = [p for at, p in got if at == place]
        expect(not other, f"{place}: the problem is {problem!r}, not {other[0] if other else ''!r}")
        expect(False, MISSED[place.split("/")[1]].format(place))
    for place, problem in sorted(got - wanted):
        expect(False, INVENTED.get(place.split("/")[1], f"{{0}}: {problem!r} is one problem too many").format(place))
