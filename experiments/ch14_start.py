"""What is a start from a trained plain YOLO worth to a detector with ViL?  The same training from its weights and from nothing.

    python experiments/ch14_start.py           a quarter of an hour of one core; goes on where it stopped
    python experiments/ch14_start.py --try     64 scenes, one epoch, thrown away

yolov8n-vil on 500 scenes of the airfield, four epochs, three seeds.  Once `load_weights` has given it all that fits of the
plain YOLOv8n with which ch15_compare.py begins, trained on 16,000 other scenes of the same kind; once every weight starts
from random.  All else is the same.  Judged on 230 scenes by the weights after the last epoch.  What is done is kept in
experiments/runs/ch14_start.  Writes book/results/ch14_start.json.
"""

import argparse
import tempfile
from pathlib import Path

from _record import record
from ch15_compare import BATCH, SETTINGS, SIZE, VIL, start_file
from ch15_ship import SCALE, START
from ultralytics import YOLO

from vil_lite.data import airfield
from vil_lite.yolo import load_weights, model_yaml
from vil_lite.yolo.compare import compare
from vil_lite.yolo.shipped import airfield_detector

FOLDER = Path(__file__).resolve().parent / "runs" / "ch14_start"
TRAIN, VAL, EPOCHS, SEEDS, RATE = 500, 230, 4, range(3), 1e-3
STARTS = {"trained": True, "nothing": False}


def runs(folder, train, val, epochs, seeds):
    """{start: the metrics of each seed}"""
    data = airfield.build(folder / "runs" / "airfield", train, val, SIZE, seed=60, metres_per_pixel=SCALE)
    budget = {"epochs": epochs, "imgsz": SIZE, "batch": BATCH, "threads": 1, "resamples": 20, "lr0": RATE}
    found = {}
    for start, trained in STARTS.items():
        begin = {"pretrained": start_file(folder / start) if trained else False}
        result = compare([VIL], data, folder / start, seeds=list(seeds), **budget, **SETTINGS, **begin)
        found[start] = [run["metrics"] for run in result["models"][VIL]["runs"]]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--try", action="store_true", dest="trial", help="a short run that records nothing")
    if parser.parse_args().trial:
        with tempfile.TemporaryDirectory() as folder:
            return print(runs(Path(folder), 64, 16, 1, range(2)))
    taken = load_weights(YOLO(model_yaml(VIL, nc=27)), airfield_detector(START / "yolov8n.pth"))
    plan = {"model": VIL, "train": TRAIN, "val": VAL, "epochs": EPOCHS, "rate": RATE, "batch": BATCH, "imgsz": SIZE}
    figures = {"plan": plan, "taken": taken.fraction, "metrics": runs(FOLDER, TRAIN, VAL, EPOCHS, SEEDS)}
    record("ch14_start", figures, seeds=SEEDS, packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
