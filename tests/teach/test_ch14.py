"""Chapter 14's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import pytest
import torch
from _chapter import page_tests, rejects

from vil_lite.block import ViLBlock
from vil_lite.teach.checks import CheckFailed, ch14

CHECKS = {
    "on_map": ch14.check_adapter,
    "with_donor": ch14.check_donor,
    "decay_bytes": ch14.check_decay_bytes,
    "block_parameters": ch14.check_block_parameters,
    "explain": ch14.check_explain,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part3_detection/14_vil_in_yolov8.ipynb", CHECKS, {"torch": torch, "itertools": __import__("itertools")}
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda b, x: b(x.reshape(len(x), -1, x.shape[1]), tuple(x.shape[2:])).mT.reshape(x.shape), "has to be transposed to"),
        (lambda b, x: b(x.flatten(2).mT, tuple(x.shape[2:])).reshape(x.shape), "without being transposed back"),
        (lambda b, x: b(x.flatten(2).mT, tuple(x.shape[:1:-1])).mT.reshape(x.shape), r"the grid is \(W, H\)"),
        (lambda b, x: b(x.flatten(2).mT, tuple(x.shape[2:])), "has to be a map"),
        (lambda b, x: b(x.reshape(len(x), -1, x.shape[1]), tuple(x.shape[2:])).reshape(x.shape), "mixed on both ways"),
        (lambda b, x: b(x.mT.flatten(2).mT, tuple(x.shape[2:])).mT.reshape(*x.shape[:2], *x.shape[:1:-1]).mT, "down the columns"),
    ],
)
def test_wrong_adapters(wrong, message):
    rejects(ch14.check_adapter, wrong, message)


def no_finally(names, donor, block, call):
    original, names[donor] = names[donor], block
    result = call()
    names[donor] = original
    return result


def never_back(names, donor, block, call):
    names[donor] = block
    return call()


def swallowed(names, donor, block, call):
    original, names[donor] = names[donor], block
    try:
        return call()
    except Exception:
        return None
    finally:
        names[donor] = original


def nothing_returned(names, donor, block, call):
    original, names[donor] = names[donor], block
    try:
        call()
    finally:
        names[donor] = original


def copied(names, donor, block, call):
    names = {**names, donor: block}
    return call()


def deleted(names, donor, block, call):
    original = names.pop(donor)
    try:
        return call()
    finally:
        names[donor] = original


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (no_finally, "restore it in `finally`"),
        (never_back, "put the original back"),
        (swallowed, "is swallowed"),
        (nothing_returned, "return what call"),
        (copied, "still the original while call"),
        (deleted, "do not delete it"),
        (lambda *_: 0, "never called"),
    ],
)
def test_wrong_donors(wrong, message):
    rejects(ch14.check_donor, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda h, w, s, b, n: 4 * b * n * (h // s) * (w // s), "not squared"),
        (lambda h, w, s, b, n: 4 * b * ((h // s) * (w // s)) ** 2, "heads are missing"),
        (lambda h, w, s, b, n: 4 * n * ((h // s) * (w // s)) ** 2, "images of the batch"),
        (lambda h, w, s, b, n: b * n * ((h // s) * (w // s)) ** 2, "not bytes"),
        (lambda h, w, s, b, n: 4 * b * n * (h // s) ** 4, "squares only"),
        (lambda h, w, s, b, n: 4 * b * n * (h * w // s) ** 2, "divides both sides"),
    ],
)
def test_wrong_bytes(wrong, message):
    rejects(ch14.check_decay_bytes, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: 6 * d**2 + 87 * d, "gates' biases"),
        (lambda d: 6 * d**2 + 85 * d + 8, "a vector of 2d is missing"),
        (lambda d: 6 * d**2 + 86 * d + 8, "norm at the entrance"),
        (lambda d: 4 * d**2 + 87 * d + 8, "proj_up makes x_m and z"),
        (lambda d: 6 * d**2 + 55 * d + 8, "read q, k and v side by side"),
        (lambda d: 18 * d**2 + 63 * d + 8, "block-diagonal"),
        (lambda d: 6 * d**2 + 97 * d + 8, "off|not right|version 2"),
    ],
)
def test_wrong_block_parameters(wrong, message):
    rejects(ch14.check_block_parameters, wrong, message)


def too_short(total, plain, per_class, saving, available):
    return ch14.explain(total, plain, per_class, saving, tuple(n - 1 for n in available))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (too_short, r"range\(n \+ 1\)"),
        (lambda t, p, c, s, a: ch14.explain(t, p, c, tuple(-x for x in s), a), "nothing is found|lower the total|range"),
        (lambda t, p, c, s, a: [], "nothing is found|range"),
    ],
)
def test_wrong_explanations(wrong, message):
    rejects(ch14.check_explain, wrong, message)


def test_one_explanation_is_not_enough():
    """Where several exist, stopping at the first is noticed (not every case has several)."""
    with pytest.raises(CheckFailed, match="return all of them"):
        for seed in range(20):
            ch14.check_explain(lambda *a: ch14.explain(*a)[:1], seed=seed)


def test_the_last_class_count_counts():
    with pytest.raises(CheckFailed, match="nc runs from 1 to 100|range"):
        for seed in range(20):
            ch14.check_explain(lambda *a: [e for e in ch14.explain(*a) if e[0] < 100], seed=seed)


def test_the_references_are_the_library():
    for d in (16, 64, 256):
        assert ch14.block_parameters(d) == sum(p.numel() for p in ViLBlock(d, version=1).parameters())
    block, x = ViLBlock(16), torch.rand(2, 16, 3, 5)
    from vil_lite.yolo import ViLBlock2d

    on_map = ViLBlock2d(16)
    on_map.load_state_dict(block.state_dict())
    torch.testing.assert_close(ch14.on_map(block, x), on_map(x))
