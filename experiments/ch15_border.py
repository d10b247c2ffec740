"""What a grey border around each image does to the score of chapter 15's two longer runs.

    python experiments/ch15_border.py        after ch15_compare.py --epochs 24; about five minutes on two cores

The 200 validation scenes get a border of 0 to 96 pixels in the grey with which ultralytics fills up; labels move along.  A
border of 16 is what ultralytics' own validation adds to images of 320.  Writes book/results/ch15_border.json.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml
from _record import record
from ch15_compare import BATCH, FOLDER, SIZE, TRAIN, VAL
from ultralytics import YOLO

from vil_lite.data import airfield

RUNS, MODELS, BORDERS = FOLDER.with_name(f"{FOLDER.name}_24"), ("yolov8n", "yolov8n-vil"), (0, 16, 32, 48, 64, 96)


def framed(source, target, border):
    """A copy of the validation scenes with a grey border around each; returns its data.yaml."""
    for kind in ("images", "labels"):
        (target / kind / "val").mkdir(parents=True)
    for path in sorted((source / "images" / "val").iterdir()):
        image = cv2.copyMakeBorder(cv2.imread(str(path)), *[border] * 4, cv2.BORDER_CONSTANT, value=(114,) * 3)
        cv2.imwrite(str(target / "images" / "val" / path.name), image)
        labels = np.loadtxt(source / "labels" / "val" / f"{path.stem}.txt", ndmin=2)
        if labels.size:
            labels[:, 1:] *= SIZE
            labels[:, 1:3] += border
            labels[:, 1:] /= SIZE + 2 * border
        np.savetxt(
            target / "labels" / "val" / f"{path.stem}.txt", labels, fmt=["%d"] + ["%.6f"] * 4 if labels.size else "%g"
        )
    names = yaml.safe_load((source / "data.yaml").read_text())["names"]
    content = {"path": str(target), "train": "images/val", "val": "images/val", "names": names}
    (target / "data.yaml").write_text(yaml.safe_dump(content))
    return target / "data.yaml"


def main():
    source = airfield.build(FOLDER / "runs" / "airfield", train=TRAIN, val=VAL, image_size=SIZE, seed=0).parent
    scores = {name: [] for name in MODELS}
    for border in BORDERS:
        with tempfile.TemporaryDirectory() as folder:
            data = framed(source, Path(folder, "scenes"), border)
            same = {"data": str(data), "imgsz": SIZE + 2 * border, "batch": BATCH, "rect": False, "project": folder}
            for name in MODELS:
                model = YOLO(RUNS / f"{name}-seed0.pt")
                found = model.val(**same, device="cpu", workers=0, plots=False, verbose=False)
                scores[name].append(float(found.box.map))
    record("ch15_border", {"borders": BORDERS, "mAP50-95": scores}, seeds=[0], packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
