"""Chapter 13: its references are ultralytics', and each check has the case that decides in every call."""

import numpy as np
import pytest
import torch

from vil_lite.teach.checks import ch13


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


def assigned(second=lambda chosen, inside: chosen & inside, rivals=lambda overlap, inside, chosen: overlap * chosen):
    """13.4 in the words of the text, with another second look at who is inside, or another choice among rivals."""

    def answer(scores, overlap, inside, topk):
        best = (scores.sqrt() * overlap**6 * inside).topk(topk, dim=1).indices
        chosen = second(torch.zeros_like(inside).scatter(1, best, True), inside)
        owner = chosen.int().argmax(0)
        owner = torch.where(chosen.sum(0) > 1, rivals(overlap, inside, chosen).argmax(0), owner)
        return torch.where(chosen.any(0), owner, -1)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (assigned(), ""),
        (assigned(rivals=lambda overlap, inside, chosen: overlap * inside), ""),
        (assigned(rivals=lambda overlap, inside, chosen: overlap), "does not lie in"),
        (assigned(second=lambda chosen, inside: chosen), "fewer than topk"),
        (assigned(lambda chosen, inside: chosen, lambda overlap, inside, chosen: overlap * inside), "fewer than topk"),
    ],
)
def test_the_assignment_in_the_words_of_the_text_is_right_and_without_its_second_look_wrong(answer, message):
    for seed in range(15):
        outcome = ch13.check_assign.outcome(answer, seed)
        assert message in outcome.message and (outcome.status == "right") == (not message), outcome


def boxes_meet(common):
    """13.3 with another area of what two boxes have in common, given its width and height."""

    def answer(a, b):
        width, height = (
            torch.minimum(a[:, None, k + 2], b[:, k + 2]) - torch.maximum(a[:, None, k], b[:, k]) for k in (0, 1)
        )
        both, area = common(width, height), lambda x: (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])
        return both / (area(a)[:, None] + area(b) - both)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (boxes_meet(lambda w, h: w.relu() * h.relu()), ""),
        (lambda a, b: boxes_meet(lambda w, h: w.relu() * h.relu())(a, b).tolist(), ""),
        (boxes_meet(lambda w, h: (w * h).relu()), "clamp each side before multiplying"),
        (lambda a, b: boxes_meet(torch.mul)(a, b).relu(), "clamp each side"),
        (boxes_meet(lambda w, h: w.relu() * h), "its height has to be"),
        (boxes_meet(lambda w, h: w * h.relu()), "its width has to be"),
        (boxes_meet(lambda w, h: w.abs() * h.abs()), "not its absolute value"),
    ],
)
def test_boxes_that_do_not_meet_decide_in_every_call(answer, message):
    for seed in range(15):
        outcome = ch13.check_iou.outcome(answer, seed)
        assert message in outcome.message and (outcome.status == "right") == (not message), outcome
