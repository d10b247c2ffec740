"""What two models of chapter 15 found on each of the images that judge them, for chapter 16: its bootstrap, live and recorded.

    python experiments/ch16_detections.py                                   plain YOLOv8n and ViL at P4 + P5
    python experiments/ch16_detections.py --models yolov8n yolov8n-attention two others; the first is the baseline

Takes all seeds that both models have finished in experiments/runs/ch15_compare (made by experiments/ch15_compare.py) and writes
book/results/ch16_detections.npz, the detections, and book/results/ch16_detections.json: budget, metrics, curves, and the
mAP50-95 of every run on resampled images.  Some 20 seconds a run on one core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _record import RESULTS, record

from vil_lite._files import whole
from vil_lite.yolo.statistics import resampled_maps

FOLDER = Path(__file__).resolve().parent / "runs" / "ch15_compare"
RESAMPLES = 300
TRUTH = ("target_cls", "target_image")


def finished(folder, model):
    """Seeds of the finished runs of a model."""
    return {int(path.stem.rpartition("-seed")[2]) for path in (folder / "judged").glob(f"{model}-seed*.json")}


def compact(kept):
    """The arrays of one run in the smallest types that hold them."""
    small = {"tp": bool, "conf": np.float32, "pred_cls": np.uint8, "image": np.uint16}
    return {key: kept[key].astype(kind) for key, kind in small.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs=2, default=["yolov8n", "yolov8n-vil"], help="the first is the baseline")
    options = parser.parse_args()
    seeds = sorted(set.intersection(*(finished(FOLDER, model) for model in options.models)))
    if not seeds:
        parser.error(f"no seed is finished for both of {options.models} in {FOLDER}: run ch15_compare.py first")
    kept = {m: [dict(np.load(FOLDER / "judged" / f"{m}-seed{s}.npz")) for s in seeds] for m in options.models}
    truth = {key: kept[options.models[0]][0][key].astype(np.uint16) for key in TRUTH}
    for run in sum(kept.values(), []):
        assert all((run[key] == truth[key]).all() for key in TRUTH), "the runs were validated on different images"
    images = int(kept[options.models[0]][0]["images"])
    arrays = {f"{m}/{s}/{k}": v for m in kept for s, run in zip(seeds, kept[m]) for k, v in compact(run).items()}
    with whole(RESULTS / "ch16_detections.npz", "wb") as file:
        np.savez_compressed(file, **truth, **arrays)
    maps = resampled_maps(kept, images, RESAMPLES)
    judged, runs = (
        {m: [json.loads((FOLDER / part / f"{m}-seed{s}.json").read_text()) for s in seeds] for m in options.models}
        for part in ("judged", ".")
    )
    figures = {
        "models": options.models,
        "images": images,
        "budget": json.loads((FOLDER / "plan.json").read_text()),
        "names": [row["class"] for row in judged[options.models[0]][0]["classes"][1:]],
        "metrics": {m: [run["metrics"] for run in judged[m]] for m in judged},
        "curves": {m: [run["curves"]["metrics/mAP50-95(B)"] for run in runs[m]] for m in runs},
        "maps": {m: [[round(float(x), 6) for x in row] for row in maps[m]] for m in maps},
    }
    record("ch16_detections", figures, seeds=seeds, packages=("torch", "ultralytics", "numpy"))


if __name__ == "__main__":
    main()
