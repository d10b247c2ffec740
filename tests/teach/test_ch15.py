"""Chapter 15's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

from pathlib import Path

import numpy as np
import pytest
from _chapter import page_tests, rejects

from vil_lite.teach.checks import CheckFailed, ch15

CHECKS = {
    "count": ch15.check_count,
    "stop": ch15.check_stop,
    "best_cut": ch15.check_best_cut,
    "confusion": ch15.check_confusion,
    "audit": ch15.check_audit,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part3_detection/15_train_detector.ipynb", CHECKS, {"np": np, "Path": Path}, seeds=20
)


def objects_only(labels, classes):
    instances = sum(np.bincount(one, minlength=classes) for one in labels)
    return instances, instances


def too_short(labels, classes):
    table = np.bincount(np.concatenate(labels))
    return np.array([sum(k in one for one in labels) for k in range(len(table))]), table


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (objects_only, "counts once for a class"),
        (too_short, "needs its 0"),
        (lambda *a: ch15.count(*a)[::-1], "exchanged"),
        (lambda *a: (ch15.count(*a)[0],) * 2, "images twice"),
    ],
)
def test_wrong_counts(wrong, message):
    rejects(ch15.check_count, wrong, message)


def equal_is_better(fitness, patience):
    best, best_epoch = 0.0, 0
    for epoch, value in enumerate(fitness, start=1):
        if value >= best:
            best, best_epoch = value, epoch
        if epoch - best_epoch >= patience:
            return epoch, best_epoch
    return len(fitness), best_epoch


def no_zeros(fitness, patience):
    return ch15.stop(fitness, patience, zero=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (equal_is_better, "equal value is not"),
        (no_zeros, "while the best is still 0"),
        (lambda f, p: ch15.stop(f, p + 1), "one epoch too late"),
        (lambda f, p: ch15.stop(f, p - 1), "one epoch too early"),
        (lambda f, p: tuple(e - 1 for e in ch15.stop(f, p)), "counted from 0"),
        (lambda f, p: (len(f), int(np.argmax(f)) + 1), "never ends|among all epochs"),
    ],
)
def test_wrong_stops(wrong, message):
    """Not every random history tells every mistake; over some seeds each is found, and named."""
    with pytest.raises(CheckFailed, match=message):
        for seed in range(40):
            ch15.check_stop(wrong, seed=seed)


def chosen(figure):
    return lambda c, s, g: ch15.best_cut(c, s, g, figure)


def exclusive(correct, scores, objects):
    cut, _, _ = ch15.best_cut(correct, scores, objects)
    kept = scores > cut
    return cut, correct[kept].sum() / max(kept.sum(), 1), correct[kept].sum() / objects


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (chosen(lambda p, r: p), "greatest precision"),
        (chosen(lambda p, r: r), "greatest recall"),
        (chosen(lambda p, r: p + r), "harmonic|greatest precision|greatest recall"),
        (lambda c, s, g: ch15._unsorted(c, s, g), "come in any order"),
        (lambda c, s, g: ch15.best_cut(c[::1], s, max(c.sum(), 1)), "share of the true objects"),
        (lambda c, s, g: [ch15.best_cut(c, s, g)[k] for k in (0, 2, 1)], "exchanged"),
        (exclusive, "triple"),
    ],
)
def test_wrong_cuts(wrong, message):
    with pytest.raises(CheckFailed, match=message):
        for seed in range(40):
            ch15.check_best_cut(wrong, seed=seed)


@pytest.mark.parametrize("figure", [lambda p, r: 2 * p * r / np.maximum(p + r, 1e-12), lambda p, r: 2 / (1 / np.maximum(p, 1e-12) + 1 / r)])
def test_rounding_decides_nothing(figure):
    """Right answers with another formula, and the last of equal cuts in place of the first."""
    for seed in range(200):
        ch15.check_best_cut(lambda c, s, g: ch15.best_cut(c, s, g, figure), seed=seed)


def own_class_only(overlap, true, predicted, classes, threshold=0.45):
    return ch15.confusion(overlap * (true[:, None] == predicted), true, predicted, classes, threshold)


def duplicates_count(overlap, true, predicted, classes, threshold=0.45):
    return ch15.confusion(overlap, true, predicted, classes, threshold, taken=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *a: ch15.confusion(*a).T, "transposed"),
        (own_class_only, "class is ignored in matching"),
        (duplicates_count, "can be taken once"),
        (ch15._second_never, "takes the next best"),
        (lambda *a: ch15.confusion(*a)[:-1, :-1], r"classes \+ 1 of each"),
        (ch15._drop(-1, slice(None)), "belong into the last row"),
        (ch15._drop(slice(None), -1), "belong into the last column"),
        (lambda o, t, p, c, threshold=0.45: ch15.confusion(o, t, p, c), "not always 0.45"),
        (lambda *a: ch15.confusion(*a) if a[0].shape[1] else np.zeros((a[3] + 1,) * 2, int), "without detections"),
        (lambda o, t, *a: ch15.confusion(o, t, *a) if o.argmax(0).any() else None, "ValueError.*without objects"),
    ],
)
def test_wrong_matrices(wrong, message):
    rejects(ch15.check_confusion, wrong, message)


def audit(root, classes, splits=("train", "val"), first_only=False, low=0, high=None, many=4, empty=False, suffixes=None):
    """An audit with the mistakes that the arguments make."""
    problems, high = set(), classes - 1 if high is None else classes + high
    for split in splits:
        images = {p.stem for p in (root / "images" / split).iterdir() if suffixes is None or p.suffix in suffixes}
        labels = {p.stem: p.read_text() for p in (root / "labels" / split).glob("*.txt")}
        problems |= {(f"{split}/{stem}", "no label") for stem in images - labels.keys()}
        problems |= {(f"{split}/{stem}", "no image") for stem in labels.keys() - images}
        for stem, text in labels.items():
            if empty and not text:
                problems.add((f"{split}/{stem}", "no label"))
            for line in text.splitlines()[: 1 if first_only else None]:
                label, *numbers = line.split()
                if not low <= int(label) <= high:
                    problems.add((f"{split}/{stem}", "class"))
                if any(not 0 <= float(n) <= 1 for n in numbers[:many]):
                    problems.add((f"{split}/{stem}", "range"))
    return problems


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ("train",)}, "look at both splits"),
        ({"first_only": True}, "every line counts"),
        ({"low": -5}, "a class of -1"),
        ({"high": 0}, "the last one is K - 1"),
        ({"many": 2}, "width and height"),
        ({"empty": True}, "marks a background image"),
        ({"suffixes": {".png"}}, "without a label file|one problem too many|is right"),
    ],
)
def test_wrong_audits(options, message):
    assert audit.__defaults__[0] == ("train", "val")
    ch15.check_audit(audit, seed=0)  # without a mistake it is right
    rejects(ch15.check_audit, lambda root, classes: audit(root, classes, **options), message)


def test_the_references_are_ultralytics():
    pytest.importorskip("ultralytics")
    from ultralytics.utils.torch_utils import EarlyStopping

    rng = np.random.default_rng(0)
    for _ in range(50):
        fitness, patience = rng.integers(0, 6, 12) / 10, int(rng.integers(1, 6))
        stopper = EarlyStopping(patience)
        ended = next((e for e, value in enumerate(fitness, start=1) if stopper(e, value)), len(fitness))
        assert ch15.stop(list(fitness), patience) == (ended, stopper.best_epoch)
