"""A plain YOLOv8n, trained once for long: the common start of all models that chapter 15 compares.

    python experiments/ch15_start.py                 train, or go on where that stopped; then pack and record
    python experiments/ch15_start.py --try           64 scenes, two epochs, thrown away

People start from COCO's weights; nobody here can download them, so this is what stands for them: weights of the plain network,
from which every model then takes what fits (`vil_lite.yolo.load_weights`).  The scenes are drawn with seed 100, which no other
experiment uses.  Kill it at any time: it goes on after the last whole epoch.  Writes experiments/ch15_start/ (epochs and
weights), the start experiments/start27.pth and book/results/ch15_start.json.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from _record import record
from ultralytics import YOLO
from ultralytics.utils import torch_utils

import vil_lite
from vil_lite.data import airfield
from vil_lite.yolo import shipped
from vil_lite.yolo.training import train_in_bfloat16, train_settings

FOLDER = Path(__file__).resolve().parent / "ch15_start"
WEIGHTS = Path(__file__).resolve().parent / "start27.pth"  # 6 MB: what every run of ch15_finetune.py starts from
SEED, TRAIN, VAL, SIZE, EPOCHS, BATCH = 100, 8000, 230, 320, 12, 16
SCALE = (0.4, 0.8)  # metres of a pixel: half of all aircraft are larger than 47 pixels
# Seen from above any side may be up, and size tells a class: flips on both axes, little scaling, no mosaic.
SETTINGS = {"cos_lr": True, "lrf": 0.02, "mosaic": 0.0, "scale": 0.1, "flipud": 0.5, "warmup_epochs": 1.0}


def train(folder, scenes, val, epochs, threads):
    """Train from random weights in folder, or go on after the last whole epoch; returns the path of the last weights."""
    vil_lite.keep_freed_memory()
    torch_utils.NUM_THREADS = threads  # ultralytics sets this many whenever it selects the CPU
    torch.set_num_threads(threads)
    data = airfield.build(folder / "airfield", scenes, val, SIZE, seed=SEED, metres_per_pixel=SCALE)
    last = folder / "run" / "weights" / "last.pt"
    if not (folder / "run" / "done").is_file():
        model = YOLO(last if last.is_file() else "yolov8n.yaml")
        train_in_bfloat16(model)
        if last.is_file():
            model.train(resume=True, device="cpu")
        else:
            place = {"project": str(folder), "name": "run", "exist_ok": True, "device": "cpu", "verbose": False}
            settings = train_settings(BATCH, data=str(data), epochs=epochs, imgsz=SIZE, patience=0, seed=0, **SETTINGS)
            model.train(**settings, **place)
        (folder / "run" / "done").touch()
    return last


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for scenes, epochs and weights")
    parser.add_argument("--try", action="store_true", dest="trial", help="a short run that records nothing")
    options = parser.parse_args()
    if options.trial:
        with tempfile.TemporaryDirectory() as folder:
            print(train(Path(folder), 64, 16, 2, options.threads).stat().st_size)
        return
    last = train(options.folder.resolve(), TRAIN, VAL, EPOCHS, options.threads)
    shipped.pack(last, WEIGHTS, "yolov8n", SIZE)
    with tempfile.TemporaryDirectory() as folder:  # scenes that chose nothing
        data = airfield.build(Path(folder, "airfield"), 1, VAL, SIZE, seed=SEED + 1, metres_per_pixel=SCALE)
        found = YOLO(last).val(
            data=str(data), imgsz=SIZE, rect=False, device="cpu", workers=0, plots=False, project=folder
        )
    figures = {
        "scenes": TRAIN,
        "epochs": EPOCHS,
        "batch": BATCH,
        "imgsz": SIZE,
        "metres_per_pixel": SCALE,
        "settings": SETTINGS,
        "fresh": {"scenes": VAL, "seed": SEED + 1, "mAP50": float(found.box.map50), "mAP50-95": float(found.box.map)},
        "megabytes": WEIGHTS.stat().st_size / 1e6,
    }
    record("ch15_start", figures, seeds=[0], packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
