"""Does ViL help YOLOv8n on the 27 classes of the airfield, and what does it cost?  Six models, three seeds, one budget.

    python experiments/ch15_compare.py [--seeds 0 1 2] [--threads 2]        about three hours on two quiet CPU cores

Draws the data, trains what is not trained yet and writes book/results/ch15_compare.json.  Kill it at any time: the same command
goes on where it stopped.  Runs go seed by seed, so that after each third all models have had the same; --seeds 0 records that.
Finished runs are kept in experiments/ch15_runs/ (JSON and NPZ); what can be made again lies in experiments/ch15_runs/runs/.
"""

import argparse
from pathlib import Path

import vil_lite.yolo

vil_lite.yolo.offline()

from _record import record  # noqa: E402

from vil_lite.data import airfield  # noqa: E402
from vil_lite.yolo.compare import compare  # noqa: E402

HERE = Path(__file__).resolve().parent
MODELS = ["yolov8n", "yolov8n-vil-p5", "yolov8n-vil", "yolov8n-vil-p345", "yolov8n-c2f-equal", "yolov8n-attention"]
# 600 + 200 images: plain YOLOv8n takes about 40 s an epoch with two threads, the widest ViL variant about 60 s.
TRAIN, VAL, SIZE, EPOCHS = 600, 200, 320, 13
# Seen from above any side may be up; mosaics until the last two epochs, and one epoch of warm-up, because there are few.
SETTINGS = {"flipud": 0.5, "close_mosaic": 2, "warmup_epochs": 1.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder = HERE / "ch15_runs"
    data = airfield.build(folder / "runs" / "airfield", train=TRAIN, val=VAL, image_size=SIZE, seed=0)
    budget = {"epochs": EPOCHS, "imgsz": SIZE, "batch": 16, "threads": options.threads}
    result = compare(MODELS, data, folder, seeds=options.seeds, resamples=500, **budget, **SETTINGS)
    for model in result["models"].values():  # what the record says itself
        model["runs"] = [{k: v for k, v in run.items() if k not in ("device", "versions")} for run in model["runs"]]
    result["data"] = f"airfield.build(train={TRAIN}, val={VAL}, image_size={SIZE}, seed=0)"
    figures = {k: v for k, v in result.items() if k not in ("command", "device", "versions", "seeds")}
    record("ch15_compare", figures, seeds=options.seeds, packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
