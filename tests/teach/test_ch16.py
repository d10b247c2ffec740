"""Chapter 16: its table and its record."""

from pathlib import Path

import numpy as np

from vil_lite import teach
from vil_lite.yolo.statistics import average_precisions, resampled_maps

ROOT = Path(__file__).parents[2]


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
