"""Chapter 16's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import csv
from math import ceil
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from _chapter import page_tests, rejects

from vil_lite import teach
from vil_lite.teach.checks import CheckFailed, ch16
from vil_lite.yolo.statistics import average_precisions, resampled_maps

ROOT = Path(__file__).parents[2]


CHAPTER = ROOT / "book/part3_detection/16_reading_results.ipynb"
CHECKS = {
    "one_box": ch16.check_one_box,
    "wilson": ch16.check_wilson,
    "interval": ch16.check_interval,
    "paired": ch16.check_paired,
    "images_needed": ch16.check_images_needed,
}
Z = NormalDist().inv_cdf

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part3_detection/16_reading_results.ipynb", CHECKS, {"np": np, "NormalDist": NormalDist}
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda iou: sum(iou >= t for t in ch16.THRESHOLDS) / 10, "0.995 at a threshold, not 1"),
        (lambda iou: 0.995 * sum(iou >= t for t in ch16.THRESHOLDS), "divide by 10"),
        (lambda iou: 0.0995 * sum(iou < t for t in ch16.THRESHOLDS), "NOT reach"),
        (lambda iou: 0.0995 * sum(iou >= t for t in ch16.THRESHOLDS[1:]), "first threshold"),
        (lambda iou: iou, "no AP"),
        (lambda iou: 0.995, "0.50 alone"),
        (lambda iou: 0.0995 * int((iou - 0.4499) / 0.05), "IoU of 0.23: below 0.50"),
        (lambda iou: 0.0995 * max(int((iou - 0.4499) / 0.05), 0), "IoU of 1.0: there are no more"),
    ],
)
def test_wrong_scores_of_one_box(wrong, message):
    rejects(ch16.check_one_box, wrong, message)


def unshrunk(found, total, z=1.96):
    p = found / total
    half = z * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    return p + z**2 / (2 * total) - half, p + z**2 / (2 * total) + half


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ch16._wald, "textbook interval"),
        (unshrunk, "factor 1 / "),
        (lambda f, n, z=1.96: ch16.wilson(f, n, z)[::-1], "exchanged"),
        (lambda f, n, z=1.96: ch16.wilson(f, n), "only its default"),
    ],
)
def test_wrong_wilson_intervals(wrong, message):
    rejects(ch16.check_wilson, wrong, message)


def bootstrap(weigh, ends=lambda level: [(1 - level) / 2, (1 + level) / 2]):
    def interval(statistic, draws, level=0.95):
        return np.quantile([statistic(weigh(row, draws.shape[1])) for row in draws], ends(level))

    return interval


def counts(row, images):
    return np.bincount(row, minlength=images)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (bootstrap(lambda row, n: np.minimum(counts(row, n), 1)), "drawn twice has to count twice"),
        (bootstrap(counts, lambda level: [1 - level, level]), "0.05 on each side"),
        (bootstrap(counts, lambda level: [0, 1]), "least and the greatest"),
        (bootstrap(counts, lambda level: [0.025, 0.975]), "only its default"),
        (bootstrap(lambda row, n: row), "how often each image counts"),
        (bootstrap(lambda row, n: counts(row, n + 1)), "minlength"),
    ],
)
def test_wrong_bootstraps(wrong, message):
    rejects(ch16.check_interval, wrong, message)


def test_a_bootstrap_without_minlength_is_noticed():
    with pytest.raises(CheckFailed, match="minlength"):
        ch16.check_interval(bootstrap(lambda row, n: np.bincount(row)), seed=0)


def ends(values, level):
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda a, b, level=0.95: ends(a - b, level), "the sign"),
        (lambda a, b, level=0.95: ends(b, level) - ends(a, level), "pairing is lost"),
        (lambda a, b, level=0.95: ends(b, level) - ends(a, level)[::-1], "far too wide"),
        (lambda a, b, level=0.95: ends(np.sort(b) - np.sort(a), level), "sorting breaks"),
        (lambda a, b, level=0.95: ends(b - a, 0.95), "only its default"),
    ],
)
def test_wrong_paired_differences(wrong, message):
    rejects(ch16.check_paired, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda s, g, power=0.8: ceil((Z(0.975) * s / g) ** 2), "power is missing"),
        (lambda s, g, power=0.8: ceil((Z(0.975) + Z(power)) * s / g), "squared"),
        (lambda s, g, power=0.8: int(((Z(0.975) + Z(power)) * s / g) ** 2), "one image less"),
        (lambda s, g, power=0.8: ceil(((Z(0.95) + Z(power)) * s / g) ** 2), "one side"),
        (lambda s, g, power=0.8: ceil(((Z(0.975) + Z(0.8)) * s / g) ** 2), "only its default"),
    ],
)
def test_wrong_numbers_of_images(wrong, message):
    rejects(ch16.check_images_needed, wrong, message)


def test_the_pages_table_is_the_reported_one():
    page, golden = CHAPTER.with_name("16_reported_results.csv"), ROOT / "tests/golden/reported_detection_results.csv"
    assert page.read_text() == golden.read_text()
    assert sum(int(r["instances"]) for r in csv.DictReader(page.open()) if r["class"] != "all") == 1412


def test_the_record_belongs_to_its_detections():
    """The metrics and the first resampled maps of the record follow from the arrays beside it."""
    record, arrays = teach.result("ch16_detections"), np.load(ROOT / "book/results/ch16_detections.npz")
    figures = record["figures"]
    truth = {key: arrays[key] for key in ("target_cls", "target_image")}
    for model in figures["models"]:
        for n, seed in enumerate(record["seeds"]):
            run = truth | {key: arrays[f"{model}/{seed}/{key}"] for key in ("tp", "conf", "pred_cls", "image")}
            assert abs(average_precisions(run).mean() - figures["metrics"][model][n]["mAP50-95"]) < 0.005
            live = resampled_maps({model: [run]}, figures["images"], resamples=2)[model][0]
            np.testing.assert_allclose(live, figures["maps"][model][n][:2], atol=2e-6)
