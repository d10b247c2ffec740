"""Chapter 17's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import pytest
import torch
import torch.nn.functional as F
from _chapter import page_tests, rejects
from torchvision.ops import box_iou

from vil_lite import teach
from vil_lite.teach.checks import CheckFailed, ch17

CHECKS = {
    "log_sigmoid": ch17.check_log_sigmoid,
    "disagreement": ch17.check_disagreement,
    "agreement": ch17.check_agreement,
    "serves": ch17.check_serves,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part3_detection/17_export_deploy.ipynb", CHECKS, {"F": F, "torch": torch, "box_iou": box_iou}, seeds=10
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: torch.sigmoid(x).log(), "do not compute the sigmoid"),
        (lambda x: -F.softplus(x), "sign inside softplus"),
        (lambda x: F.softplus(-x), "a log of a number below 1 is negative"),
        (F.softplus, "are both missing"),
        (lambda x: -torch.log(1 + torch.exp(-x)), "needs exp"),
        (lambda x: -torch.log1p(torch.exp(-x)), "needs exp"),
        (F.logsigmoid, "minus infinity after the export"),
        (lambda x: torch.nn.LogSigmoid()(x), "minus infinity after the export"),
        (lambda x: torch.where(x > -15, torch.sigmoid(x).log(), x), "too coarse"),
    ],
)
def test_wrong_gates(wrong, message):
    rejects(ch17.check_log_sigmoid, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda a, b: ((a - b)[:, :4].max(), (a - b)[:, 4:].max()), "absolute value"),
        (lambda a, b: ((a - b).abs()[:, :4].mean(), (a - b).abs()[:, 4:].mean()), "mean hides"),
        (lambda a, b: ((a - b).abs()[..., :4].max(), (a - b).abs()[..., 4:].max()), "the last dimension"),
        (lambda a, b: ((a - b).abs().max(), (a - b).abs().max()), "different units"),
        (lambda a, b: ch17.disagreement(a, b)[::-1], "the order is"),
        (lambda a, b: ch17.disagreement(a[:1], b[:1]), "first image only"),
        (lambda a, b: ((a - b).abs()[:, :4].max(), (a - b).abs()[:, 5:].max()), "row 4"),
    ],
)
def test_wrong_disagreements(wrong, message):
    rejects(ch17.check_disagreement, wrong, message)


def by_score(a, b, iou=0.9):
    partners = (box_iou(a[:, :4], b[:, :4]) >= iou) & (a[:, 4:5] == b[:, 4])
    matched = partners.any(dim=1).sum() + partners.any(dim=0).sum()
    return (matched / (len(a) + len(b))).item() if len(a) + len(b) else 1.0


def divided(a, b, iou=0.9):
    partners = (box_iou(a[:, :4], b[:, :4]) >= iou) & (a[:, 5:] == b[:, 5])
    return (partners.any(dim=1).sum() + partners.any(dim=0).sum()) / torch.tensor(float(len(a) + len(b)))


def as_a_set(a, b, iou=0.9):
    partners = (box_iou(a[:, :4], b[:, :4]) >= iou) & (a[:, 5:] == b[:, 5])
    return 2 * partners.any(dim=1).sum().item() / max(len(a) + len(b), 1) if len(a) + len(b) else 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda a, b, iou=0.9: ch17.agreement(a, b, iou, same_class=False), "class is ignored"),
        (lambda a, b, iou=0.9: ch17.agreement(a, b, iou, sides=(0,)), "only the detections of `a`"),
        (lambda a, b, iou=0.9: ch17.agreement(a, b, iou, sides=(1,)), "only the detections of `b`"),
        (lambda a, b, iou=0.9: ch17.agreement(a, b), "only its default"),
        (lambda a, b, iou=0.9: ch17.agreement(a, b, iou, inclusive=False), ">="),
        (lambda a, b, iou=0.9: 100 * ch17.agreement(a, b, iou), "percentage"),
        (divided, "nothing is divided by 0"),
        (lambda a, b, iou=0.9: ch17.agreement(a, b, iou) if len(a) + len(b) else 0.0, "not 0"),
        (as_a_set, "the share"),
        (ch17._nearest, "largest IoU may have another name"),
        (ch17._one_to_one, "may share a partner"),
        (lambda a, b, iou=0.9: (len(a) + len(b)) * ch17.agreement(a, b, iou), "this is a count"),
        (by_score, "column 4 holds the scores"),
    ],
)
def test_wrong_agreements(wrong, message):
    rejects(ch17.check_agreement, wrong, message)


def test_detections_compared_row_by_row_are_noticed():
    """A random order may be the same by chance: over some seeds it is not, and the mistake is named."""
    with pytest.raises(CheckFailed, match="any order"):
        for seed in range(20):
            ch17.check_agreement(ch17._row_by_row, seed=seed)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda tokens, length, padded: tokens % length == 0, "of any number of tokens"),
        (lambda tokens, length, padded: True, "must be whole chunks"),
        (lambda tokens, length, padded: padded or tokens % length != 0, "what fits"),
        (lambda tokens, length, padded: padded or tokens >= length, "but the remainder"),
        (lambda tokens, length, padded: not ch17.serves(tokens, length, padded), "wrong way round"),
        (lambda tokens, length, padded: padded and tokens % length == 0, "should be"),
    ],
)
def test_wrong_sizes(wrong, message):
    rejects(ch17.check_serves, wrong, message)


def test_the_record_has_what_the_page_tells():
    """Every format of both models at both sizes, as positive times."""
    figures = teach.result("ch17_latency")["figures"]["milliseconds"]
    assert set(figures) == {"320", "640"}
    for models in figures.values():
        assert set(models) == {"yolov8n", "yolov8n-vil"}
        for kinds in models.values():
            assert len(kinds) == 8 and all(ms > 0 for ms in kinds.values())
