"""Chapter 13's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import numpy as np
import pytest
import torch
from _chapter import page_tests, rejects

from vil_lite.teach.checks import CheckFailed, ch13

CHECKS = {
    "read_row": ch13.check_read_row,
    "decode": ch13.check_decode,
    "iou": ch13.check_iou,
    "assign": ch13.check_assign,
    "average_precision": ch13.check_average_precision,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part3_detection/13_yolov8_anatomy.ipynb", CHECKS, {"torch": torch, "np": np}, seeds=10
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n, c, d, w, m: (round(n * d), ch13.read_row(n, c, d, w, m)[1]), "at least once"),
        (lambda n, c, d, w, m: (max(int(n * d), 1), ch13.read_row(n, c, d, w, m)[1]), "not down"),
        (lambda n, c, d, w, m: (ch13.read_row(n, c, d, w, m)[0], int(min(c, m) * w)), "multiple of 8"),
        (lambda n, c, d, w, m: (ch13.read_row(n, c, d, w, m)[0], ch13._up(c * w)), "max_channels is not used"),
        (lambda n, c, d, w, m: (ch13.read_row(n, c, d, w, m)[0], ch13._up(min(c * w, m))), "the cap comes first"),
    ],
)
def test_wrong_rows(wrong, message):
    rejects(ch13.check_read_row, wrong, message)


def bins(x):
    return torch.arange(x.shape[-1], dtype=x.dtype)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, p, s: ch13._box(x.argmax(-1).float(), p, s), "mean of the distribution"),
        (lambda x, p, s: ch13._box(x @ bins(x), p, s), "softmax is missing"),
        (lambda x, p, s: ch13._box(x.softmax(-1) @ bins(x), p, s * 0 + 1), "the stride is missing"),
        (lambda x, p, s: ch13._box((x.softmax(-1) @ bins(x)) * s[:, None], p, s * 0 + 1), "not the distances alone"),
        (lambda x, p, s: ch13._box(x.softmax(1) @ bins(x), p, s), "over the bins"),
    ],
)
def test_wrong_boxes(wrong, message):
    rejects(ch13.check_decode, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda a, b: ch13._ratio(ch13._common(a, b, False), a, b), "Clamp each side"),
        (lambda a, b: ch13._common(a, b) / (ch13._area(a)[:, None] + ch13._area(b)), "subtract it once"),
        (lambda a, b: ch13._common(a, b), "divide it by the union"),
        (lambda a, b: ch13.iou(b, a), "transposed"),
    ],
)
def test_wrong_overlaps(wrong, message):
    rejects(ch13.check_iou, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda s, o, i, k: ch13.assign(s, o, torch.ones_like(i), k), "outside of an object"),
        (lambda s, o, i, k: torch.where(i.any(0), (o * i).argmax(0), -1), "topk best"),
        (lambda s, o, i, k: ch13._assign(s.sqrt() * o**6, o, i, k, lambda c: c.int().argmax(0)), "overlaps most|not to the first"),
        (lambda s, o, i, k: ch13._assign(s**6 * o.sqrt(), o, i, k), "exponents are exchanged"),
        (lambda s, o, i, k: ch13._assign(s, o, i, k), "overlap is missing"),
        (lambda s, o, i, k: ch13.assign(s, o, i, k).clamp(min=0), "is -1, not 0"),
    ],
)
def test_wrong_assignments(wrong, message):
    if "first" in message:  # in the prepared conflict the first object is right; a random one has to show it
        with pytest.raises(CheckFailed, match=message):
            for seed in range(10):
                ch13.check_assign(wrong, seed=seed)
    else:
        rejects(ch13.check_assign, wrong, message)


def test_a_conflict_decided_by_the_metric_is_rejected():
    def by_metric(s, o, i, k):
        metric = s.sqrt() * o**6
        return ch13._assign(metric, o, i, k, lambda chosen: (metric * chosen).argmax(0))

    rejects(ch13.check_assign, by_metric, "not to the one with the largest metric")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda c, s, n: ch13._ap(c, s, n, order=False), "have to be sorted"),
        (lambda c, s, n: ch13._ap(c, -s, n), "worst score first"),
        (lambda c, s, n: ch13._ap(c, s, n, envelope=False), "envelope is missing"),
        (lambda c, s, n: ch13._ap(c, s, n, over=len(c)), "not of the detections"),
        (lambda c, s, n: ch13._ap(c, s, n, over=int(c.sum())), "those that were missed"),
        (lambda c, s, n: ch13._ap(c, s, n, ends=False), "end points are missing"),
    ],
)
def test_wrong_areas(wrong, message):
    rejects(ch13.check_average_precision, wrong, message)


def test_the_references_are_ultralytics():
    import vil_lite.yolo

    vil_lite.yolo.offline()  # before ultralytics is imported
    from ultralytics.utils.metrics import ap_per_class, box_iou
    from ultralytics.utils.tal import TaskAlignedAssigner

    torch.manual_seed(0)
    corner = 40 * torch.rand(30, 2)
    boxes = torch.cat([corner, corner + 20 + 30 * torch.rand(30, 2)], 1)
    torch.testing.assert_close(ch13.iou(boxes[:3], boxes), box_iou(boxes[:3], boxes), rtol=1e-4, atol=1e-6)

    scores = torch.rand(30, 2)
    truth, labels = boxes[:3] + 2, torch.tensor([0, 1, 0])
    assigner = TaskAlignedAssigner(topk=6, num_classes=2, alpha=0.5, beta=6.0)
    places = (boxes[:, :2] + boxes[:, 2:]) / 2
    result = assigner(scores[None], boxes[None], places, labels[None, :, None], truth[None], torch.ones(1, 3, 1))
    inside = ((places[None] > truth[:, None, :2]) & (places[None] < truth[:, None, 2:])).all(-1)
    overlap = assigner.iou_calculation(truth[:, None], boxes[None].expand(3, -1, -1))
    owner = ch13.assign(scores[:, labels].T, overlap, inside, 6)
    assert torch.equal(owner, torch.where(result[3][0], result[4][0], -1))

    correct, sure = torch.rand(25).numpy() < 0.6, torch.rand(25).numpy()
    theirs = ap_per_class(correct[:, None], sure, np.zeros(25), np.zeros(20))[5][0, 0]
    np.testing.assert_allclose(ch13.average_precision(correct, sure, 20), theirs, rtol=1e-9)


def test_the_rows_are_ultralytics():
    import vil_lite.yolo

    vil_lite.yolo.offline()
    from ultralytics.nn.modules.conv import Conv
    from ultralytics.nn.tasks import parse_model

    rows = {"backbone": [[-1, 1, "Conv", [600, 3, 2]], [-1, 6, "C2f", [1000, True]]], "head": [], "nc": 2}
    for depth, width, most in ((0.33, 0.25, 1024), (0.1, 0.31, 512), (1.0, 1.25, 512)):
        scaled = {**rows, "backbone": [[*row[:3], list(row[3])] for row in rows["backbone"]]}
        layers, _ = parse_model({**scaled, "scale": "n", "scales": {"n": [depth, width, most]}}, ch=3, verbose=False)
        assert isinstance(layers[0], Conv)
        assert (1, layers[0].conv.out_channels) == ch13.read_row(1, 600, depth, width, most)
        assert (len(layers[1].m), layers[1].cv2.conv.out_channels) == ch13.read_row(6, 1000, depth, width, most)
