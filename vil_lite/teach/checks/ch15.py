"""Exercises of chapter 15: train a detector."""

import tempfile
from pathlib import Path

import numpy as np

from ._base import CheckFailed, attempt, exercise, expect


# ---------------------------------------------------------------- 15.1
def count(labels, classes):
    """In how many images each class occurs, and how many objects of it there are: two arrays (classes,)."""
    table = np.stack([np.bincount(one, minlength=classes) for one in labels])
    return (table > 0).sum(axis=0), table.sum(axis=0)


def _too_short(labels, classes):
    longest = max(map(max, filter(len, labels))) + 1
    return tuple(numbers[:longest] for numbers in count(labels, classes))


def _only(of):
    """The images counted for some of their objects alone."""
    return lambda labels, classes: (count([of(one) for one in labels], classes)[0], count(labels, classes)[1])


def _most_frequent(one):
    return np.bincount(one).argmax(0)[None] if len(one) else one


def _of_each_image(labels, classes):
    return np.array([len(set(one.tolist())) for one in labels]), np.array([len(one) for one in labels])


@exercise(
    "15.1",
    "images and instances of each class",
    count,
    outputs=("images", "instances"),
    mistakes={
        "images and instances are exchanged": lambda x, c: count(x, c)[::-1],
        "an image counts once for a class, however many objects of it there are": lambda x, c: (count(x, c)[1],) * 2,
        "these are the images twice; an instance is an object": lambda x, c: (count(x, c)[0],) * 2,
        "a class that never occurs needs its 0: the arrays have length `classes` (minlength)": _too_short,
        "these are totals; each class has its own": lambda x, c: (sum(len(one) > 0 for one in x), sum(map(len, x))),
        "an image counts for each class that it has, not for the most frequent one alone": _only(_most_frequent),
        "an image counts for each class that it has, not for its first object alone": _only(lambda one: one[:1]),
        "an image counts for each class that it has, not for its last object alone": _only(lambda one: one[-1:]),
        "these are numbers for each image; sum over the images, not over the classes": _of_each_image,
    },
)
def check_count(rng):
    classes = rng.size(4, 7)
    absent, twice = classes - 1, rng.size(0, classes - 2)  # the last class never occurs
    labels = [
        np.array([rng.size(0, absent - 1) for _ in range(rng.size(1, 6))], dtype=int) for _ in range(rng.size(4, 8))
    ]
    labels[0] = np.array([twice, twice, twice])
    labels += [np.array([], dtype=int), np.array([1, 0, 0, 1, absent - 1, 1])]
    return {"labels": labels, "classes": classes}


# ---------------------------------------------------------------- 15.2
def stop(
    fitness,
    patience,
    *,
    better=lambda value, best, before: value > best or best == 0,
    first=(0.0, 0),
    enough=lambda waited, patience: waited >= patience,
):
    """(epoch after which training ends, best epoch by then), epochs from 1."""
    (best, best_epoch), before = first, 0.0
    for epoch, value in enumerate(fitness, start=1):
        if better(value, best, before):
            best, best_epoch = value, epoch
        before = value
        if enough(epoch - best_epoch, patience):
            break
    return epoch, best_epoch


def _counted_on(fitness, patience):
    """A mistake: the epochs without a new best are counted, and an improvement does not begin anew."""
    waited = 0
    for epoch in range(1, len(fitness) + 1):
        best = stop(fitness[:epoch], len(fitness) + 1)[1]
        waited += best < epoch
        if waited >= patience:
            break
    return epoch, best


_STRICTLY = {"better": lambda value, best, before: value > best}


def _floats(function, *inputs):
    """Its numbers as plain floats, whatever kind of number they are."""
    return tuple(map(float, function(*inputs)))


@exercise(
    "15.2",
    "patience",
    stop,
    through=_floats,
    cases=3,
    rtol=1e-9,
    outputs=("the pair (epoch of the end, best epoch)",),
    mistakes={
        "the two numbers are exchanged": lambda f, p: stop(f, p)[::-1],
        "epochs are counted from 0; the first is epoch 1": lambda f, p: tuple(e - 1 for e in stop(f, p)),
        "one epoch too late: stop once `epoch - best_epoch >= patience`": {"enough": lambda waited, p: waited > p},
        "one epoch too early: `patience` epochs pass without a best": {"enough": lambda waited, p: waited >= p - 1},
        "an equal value is not an improvement": {"better": lambda value, best, before: value >= best},
        "while the best is 0, each epoch counts as the best so far": _STRICTLY,
        "the best begins at 0, not below, and while it is 0, each epoch is best": {**_STRICTLY, "first": (-1.0, 0)},
        "an improvement restarts the count: the epochs waited before it do not count": _counted_on,
        "compare with the best so far": {"better": lambda value, _, before: value > before or value == before == 0},
        "compare with the best; and while that is 0, each epoch counts": {"better": lambda value, _, old: value > old},
        "the best epoch is one of those that ran": lambda f, p: (stop(f, p)[0], int(np.argmax(f)) + 1),
        "this is the best value, not its epoch": lambda f, p: (stop(f, p)[0], f[stop(f, p)[1] - 1]),
        "training never ends: patience is not used": lambda f, p: stop(f, len(f) + 1),
    },
)
def check_stop(rng):
    patience, peak = 2 + rng.case, rng.choice([0.3, 0.4, 0.5])
    rise = [0.1, 0.05, 0.2, peak]
    tail = [0.5 * peak, peak, 0.4 * peak, 0.6 * peak][:patience]  # a tie, and a rise below the best
    later = [0.3 * peak] * (patience + 2) + [2 * peak, peak]  # a better epoch that is not reached any more
    nothing = [0.0] * (patience + 1)
    for fitness in (rise + tail + later, nothing + rise + tail + later, rise + tail[:-1], nothing):
        yield {"fitness": fitness, "patience": patience}


# ---------------------------------------------------------------- 15.3
def best_cut(
    correct,
    scores,
    objects,
    *,
    figure=lambda hits, kept, objects: 2 * hits / (kept + objects),
    rank=lambda scores: np.argsort(-scores),
    pick=np.argmax,
):
    """The cut among the scores with the greatest F1, and precision and recall there."""
    order = rank(scores)
    hits, kept = correct[order].cumsum(), np.arange(1, len(scores) + 1)
    n = pick(figure(hits, kept, objects))
    return scores[order][n], hits[n] / kept[n], hits[n] / objects


def _just_above(correct, scores, objects):
    """A cut keeps what is better than it: the next score below the best ones."""
    cut, precision, recall = best_cut(correct, scores, objects)
    return scores[scores < cut].max(initial=0.0), precision, recall


def _listed(pick):
    """Of equal cuts the one that comes first, or last, in the order given."""

    def best(correct, scores, objects):
        kept = scores >= scores[:, None]
        n = pick(2 * (kept & correct).sum(axis=1) / (kept.sum(axis=1) + objects))
        return scores[n], correct[kept[n]].mean(), correct[kept[n]].sum() / objects

    return best


def _last_best(f1):
    return len(f1) - 1 - f1[::-1].argmax()


def _f1_at_the_cut(correct, scores, objects):
    cut, precision, recall = best_cut(correct, scores, objects)
    return cut, *[2 * precision * recall / (precision + recall)] * 2


_FIGURES = {  # hits, kept, objects -> what is greatest at the cut
    "this is the cut with the greatest precision": lambda hits, kept, objects: hits / kept,
    "this is the cut with the greatest recall": lambda hits, kept, objects: hits / objects,
    "F1 is the harmonic mean of P and R, not the arithmetic one": lambda n, kept, objects: n / kept + n / objects,
    "F1 is 2 P R / (P + R); the product P R alone is greatest elsewhere": lambda hits, kept, objects: hits**2 / kept,
    "F1 is not the smaller of P and R, which is greatest elsewhere": lambda hits, *all: hits / np.maximum(*all),
}


@exercise(
    "15.3",
    "the cut with the best F1",
    best_cut,
    through=_floats,
    cases=4,
    rtol=1e-6,
    outputs=("the triple (cut, precision, recall)",),
    mistakes={
        "the detections come in any order: sort them by score, best first": {"rank": lambda s: np.arange(len(s))},
        "`correct` has to be sorted together with the scores": lambda c, s, g: best_cut(c, -np.sort(-s), g),
        "sorted the wrong way round: a cut keeps the *best* scores": {"rank": np.argsort},
        **{name: {"figure": figure} for name, figure in _FIGURES.items()},
        "a cut keeps the detections with a score of at least the cut, the one at the cut included": _just_above,
        "of equal F1 the highest cut is wanted, not the lowest": {"pick": _last_best},
        "of equal F1 the highest cut is wanted, not the one that is listed first": _listed(np.argmax),
        "of equal F1 the highest cut is wanted, not the one that is listed last": _listed(_last_best),
        "precision and recall are exchanged": lambda c, s, g: [best_cut(c, s, g)[k] for k in (0, 2, 1)],
        "recall is a share of the true objects, not of the right ones": lambda c, s, g: best_cut(c, s, max(c.sum(), 1)),
        "this is F1 at the cut; precision and recall are wanted": _f1_at_the_cut,
    },
)
def check_best_cut(rng):
    numpy, n = np.random.default_rng(rng.size(0, 2**31 - 2)), rng.size(16, 20)
    while True:
        objects = int(numpy.integers(10, 15))
        best_first = np.sort(numpy.uniform(0.01, 1, (400, n)))[:, ::-1]
        right = (numpy.uniform(0, 1, (400, n)) < 0.1 + 0.6 * best_first) | (np.arange(n) == 0)
        hits, kept = right.cumsum(axis=1), np.arange(1, n + 1)
        f1 = 2 * hits / (kept + objects)
        figures = [figure(hits, kept, objects) for figure in _FIGURES.values()]
        cuts, smaller = [f1.argmax(axis=1), *(figure.argmax(axis=1) for figure in figures)], figures[-1]
        # Each figure chooses another cut; some objects are not found; one cut is the best, whatever rounds how.
        apart = (np.sort(f1)[:, -1] - np.sort(f1)[:, -2] > 1e-9) & (hits[:, -1] < objects)
        apart &= (np.diff(np.sort(cuts, axis=0), axis=0) > 0).all(axis=0)
        # The smaller of P and R is greatest at several cuts, and at none of them F1.
        apart &= smaller[np.arange(400), cuts[0]] < smaller.max(axis=1) - 1e-9
        if apart.any():
            one, order = apart.argmax(), numpy.permutation(n)
            yield {"correct": right[one][order], "scores": best_first[one][order], "objects": objects}
            break
    # Two cuts with the same F1, and in any formula the same to the last bit: P 6/8 and R 6/16, or both 8/16.
    hits = [*numpy.permutation([1, 1, 1, 1, 1, 0, 0]), 1, 0, 0, 0, 0, 0, 1, 0, 1, *[0] * (n - 16)]
    scores, order = np.sort(numpy.uniform(0.01, 1, n))[::-1], numpy.permutation(n)
    order[np.isin(order, (7, 15))] = (7, 15) if rng.case % 2 else (15, 7)  # in turn the higher one is listed first
    yield {"correct": np.array(hits, dtype=bool)[order], "scores": scores[order], "objects": 16}


# ---------------------------------------------------------------- 15.4
def confusion(
    overlap,
    true,
    predicted,
    classes,
    threshold=0.45,
    *,
    enough=lambda iou, threshold: iou > threshold,
    fits=lambda t, p: True,
    taken=True,
    best_only=False,
    duplicates=True,
    first=False,
    columns=lambda overlap: range(overlap.shape[1]),
    dropped=None,
):
    """(classes + 1, classes + 1), rows predicted, columns true, last: background."""
    matrix, free, missed = np.zeros((classes + 1, classes + 1), dtype=int), set(range(len(true))), set(range(len(true)))
    for d in columns(overlap):
        over = [g for g in range(len(true)) if enough(overlap[g, d], threshold) and fits(true[g], predicted[d])]
        candidates = [g for g in over if g in free]
        if best_only:  # the best of all objects, if it is still free
            candidates = [g for g in candidates if overlap[g, d] == overlap[:, d].max()]
        if candidates:
            g = candidates[0] if first else max(candidates, key=lambda g: overlap[g, d])
            missed.discard(g)
            free -= {g} if taken else set()
            matrix[predicted[d], true[g]] += 1
        elif duplicates or not over:
            matrix[predicted[d], classes] += 1
    for g in missed:
        matrix[classes, true[g]] += 1
    if dropped:
        matrix[dropped] = 0
    return matrix


def _by_overlap(overlap):
    """Columns in the order of their best overlap."""
    return np.argsort(-overlap.max(axis=0, initial=0))


def _full_alone(overlap, *rest):
    return confusion(overlap, *rest) if overlap.size else np.zeros(1)


@exercise(
    "15.4",
    "the confusion matrix",
    confusion,
    outputs=("the matrix",),
    cases=4,
    mistakes={
        "rows are predictions, columns the truth: the matrix is transposed": lambda *a: confusion(*a).T,
        "matching ignores the class: otherwise nothing could be confused": {"fits": lambda t, p: t == p},
        "an object can be taken only once: a duplicate counts as a detection of background": {"taken": False},
        "a detection whose best object is taken takes the next best of those that are free": {"best_only": True},
        "objects that nobody took are missing: they belong in the last row": {"dropped": (-1, slice(None))},
        "detections that took nothing are missing: they belong in the last column": {"dropped": (slice(None), -1)},
        "the row and column of the background are missing": lambda *x: confusion(*x)[:-1, :-1],
        "the threshold is not used: an overlap has to be more than `threshold`": {"enough": lambda iou, t: iou > 0},
        "the threshold is an argument, not always 0.45": {"enough": lambda iou, t: iou > 0.45},
        "an overlap of exactly the threshold is not enough: it has to be more": {"enough": lambda iou, t: iou >= t},
        "the detections go from the first, the best score, to the last": {"columns": lambda x: range(x.shape[1])[::-1]},
        "the detection with the best score chooses first, not the one that overlaps most": {"columns": _by_overlap},
        "a duplicate is missing: the last column takes it": {"best_only": True, "duplicates": False},
        "of the free objects over the threshold, a detection takes the one it overlaps most": {"first": True},
        "an image without objects or without detections has to work, too": _full_alone,
    },
)
def check_confusion(rng):
    classes, objects = rng.size(4, 6), rng.size(5, 7)
    true = np.array([rng.size(0, classes - 1) for _ in range(objects)])
    true[4] += true[3] == (true[4] + 1) % classes  # detections 3 and 4 below get different names
    true[4] %= classes
    overlap = 0.3 * rng.uniform(0, 1, objects, objects + 7).numpy()
    for g in range(2, objects):  # one good detection of each object but two; of every second the class is wrong
        overlap[g, g] = 0.7
    overlap[2, 0], overlap[3, 0] = 0.6, 0.9  # the first detection takes object 3 ...
    overlap[3, 3], overlap[4, 3] = 0.65, 0.6  # ... so that a later one has to take the next best, object 4
    overlap[2, objects] = 0.65  # a duplicate
    overlap[0, objects + 1] = 0.5  # enough or not, depending on the threshold
    threshold = rng.turn([0.45, 0.55])
    overlap[1, objects + 2] = threshold  # not enough
    overlap[1, objects + 3], overlap[1, objects + 4] = 0.6, 0.68  # the first of two, though the second overlaps more
    predicted = np.array(
        [true[d] if d < objects and d % 2 else (true[d % objects] + 1) % classes for d in range(overlap.shape[1])]
    )
    predicted[objects + 3], predicted[objects + 4] = true[1], (true[1] + 1) % classes
    sizes = {"classes": classes, "threshold": threshold}
    yield {"overlap": overlap, "true": true, "predicted": predicted, **sizes}
    for objects, found in ((0, 2), (2, 0)):  # an image without objects, and one without detections
        yield {
            "overlap": np.zeros((objects, found)),
            "true": np.arange(objects),
            "predicted": np.arange(found),
            **sizes,
        }


# ---------------------------------------------------------------- 15.5
def audit(
    root,
    classes,
    *,
    splits=("train", "val"),
    place=lambda split, name: f"{split}/{name}",
    lines=slice(None),
    of_class=lambda label, classes: 0 <= label < classes,
    in_range=lambda x: 0 <= x <= 1,
    numbers=slice(None),
    asked=("no label", "no image", "class", "range"),
    suffixes=None,
    empty=True,
):
    """A set of (place, problem) for both splits of a YOLO folder."""
    found = set()
    for split in splits:
        images = {p.stem for p in (root / "images" / split).iterdir() if suffixes is None or p.suffix in suffixes}
        labels = {path.stem: path.read_text() for path in (root / "labels" / split).glob("*.txt")}
        labelled = {name for name, text in labels.items() if text or empty}
        found |= {(place(split, name), "no label") for name in images - labelled}
        found |= {(place(split, name), "no image") for name in labels.keys() - images}
        for name, text in labels.items():
            for line in text.splitlines()[lines]:
                label, *box = line.split()
                found |= set() if of_class(int(label), classes) else {(place(split, name), "class")}
                found |= set() if all(in_range(float(x)) for x in box[numbers]) else {(place(split, name), "range")}
    return {(where, problem) for where, problem in found if problem in asked}


def _harbour(root, classes, rng):
    """A small YOLO folder with one of each problem in a random split; returns the wanted answer."""
    good = "0 0.5 0.5 0.25 0.25\n"
    first, second = rng.choice([("train", "val"), ("val", "train")])
    files = [  # split, name, suffix of the image or None, text of the label or None
        (first, "whole", ".png", good + f"{classes - 1} 1.0 0.0 0.5 1\n"),
        (second, "empty", ".jpg", ""),
        (second, "lonely", ".jpg", None),
        (first, "orphan", None, good),
        (first, "next", ".png", good + f"{classes} 0.5 0.5 0.1 0.1\n"),
        (second, "minus", ".png", "-1 0.5 0.5 0.1 0.1\n" + good),
        (second, "wide", ".jpeg", "0 0.5 0.5 1.5 0.1\n" + good),
        (first, "left", ".png", "0 -0.25 0.5 0.1 0.1\n" + good),
        (first, "pixels", ".png", "1 120 64 30 20\n"),
        (second, "other", ".webp", good),
        (first, "twice", ".jpg", f"{classes} 1.5 0.5 0.1 0.1\n" + good),
    ]
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
    for split, name, suffix, text in files:
        if suffix:
            (root / "images" / split / f"{name}{suffix}").write_bytes(b"")
        if text is not None:
            (root / "labels" / split / f"{name}.txt").write_text(text)
    return audit(root, classes)


def _named_apart(root, classes):
    return {(place, "label" if problem == "no label" else problem) for place, problem in audit(root, classes)}


def _in_pixels(root, classes):
    return {(place, problem) for place, problem in audit(root, classes) if "pixels" not in place}


def _one_each(root, classes):
    return set(dict(sorted(audit(root, classes))).items())


_FILES = {  # what is said where the problem of this file is missing, or where one is found that it has not
    "lonely": ("an image without a label file is missing", {"asked": ("no image", "class", "range")}),
    "orphan": ("a label file without an image is missing", {"asked": ("no label", "class", "range")}),
    "next": ("with K classes the last one is K - 1 (and every line counts, not only the first)", {"lines": slice(1)}),
    "minus": ("a class of -1 is missing", {"of_class": lambda label, classes: label < classes}),
    "wide": ("width and height have to be in 0..1 too", {"numbers": slice(2)}),
    "left": ("a number below 0 is missing", {"in_range": lambda x: x <= 1}),
    "pixels": ("numbers in pixels are missing", _in_pixels),
    "twice": ("a file can have several problems, and each of them is wanted", _one_each),
    "whole": ("numbers from 0 to 1 and classes from 0 to classes - 1 are right", {"in_range": lambda x: 0 < x < 1}),
    "empty": ("an empty label file is right: it marks a background image", {"empty": False}),
    "other": ("an image may have any suffix, .webp as well as .png", {"suffixes": (".png", ".jpg", ".jpeg")}),
}


@exercise(
    "15.5",
    "the audit of a folder",
    audit,
    cases=2,
    mistakes={
        "a place is the split and the name without suffix, as 'train/a'": {"place": lambda split, name: name},
        "nothing is found in one of the splits: look at both": {"splits": ("train",)},
        "the problem has another name": _named_apart,
        **dict(_FILES.values()),
    },
)
def check_audit(rng, student):
    classes = rng.size(2, 6)
    with tempfile.TemporaryDirectory() as folder:
        wanted = _harbour(Path(folder), classes, rng)
        got = attempt(student, Path(folder), classes)
    if not isinstance(got, (set, frozenset)) or not all(isinstance(one, tuple) and len(one) == 2 for one in got):
        raise CheckFailed("a set of pairs (place, problem) is wanted, such as {('train/a', 'no label')}")
    bare = sorted(str(place) for place, _ in got if "/" not in str(place) or "." in str(place))
    expect(not bare, "a place is the split and the name without suffix, as 'train/a'", f"; got {bare[:1]}")
    silent = [split for split in ("train", "val") if got and not any(place.startswith(split) for place, _ in got)]
    expect(not silent, "nothing is found in one of the splits: look at both", f" (nothing in {silent})")
    for place, problem in [*sorted(wanted - got), *sorted(got - wanted)]:
        other = sorted(str(p) for at, p in got - wanted if at == place)
        expect(not other or problem in other, "the problem has another name", f": {place} has {problem!r}, not {other}")
        expect(False, _FILES.get(place.split("/")[1], ("one problem too many",))[0], f" ({place}: {problem!r})")
