"""The legend again, now for a whole detector: scenes in which the class of an object stands elsewhere in the same image.

    python experiments/ch15_legend_scenes.py                     everything that is still missing, then the record
    python experiments/ch15_legend_scenes.py --models yolov8n    some models; nothing is recorded yet
    python experiments/ch15_legend_scenes.py --try               64 scenes, one epoch, thrown away

A scene of 160 x 160 pixels has four entries of a legend, framed markings (disc, square, triangle, cross) in the colour of an
owner, and eight black markings.  A black marking is an object, and its class is the owner whose colour the legend gives to that
marking.  Places and owners are drawn anew for each scene.  Every marking is easy to find; who finds all and guesses the owner
has an mAP50 near 1/4, for any box is of a given class one time in four.

All models start from random weights and have the same training, with batches of 32, no augmentation but flips to the left and
right, and one learning rate.  `yolov8n-vil-identity` differs from yolov8n-vil in its start alone: the convolutions of ViL's
blocks begin as the identity (ch15_legend.py).  The last epoch counts.
Small files of finished runs lie in experiments/runs/ch15_legend_scenes.  Writes book/results/ch15_legend_scenes.json.
"""

import argparse
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from _record import record
from torch import nn
from ultralytics import YOLO

from vil_lite._files import write
from vil_lite.block import MLSTMPath
from vil_lite.yolo import model_yaml
from vil_lite.yolo.compare import compare

FOLDER = Path(__file__).resolve().parent / "runs" / "ch15_legend_scenes"
SIDE, CELL, OWNERS, OBJECTS = 160, 16, 4, 8
COLOURS = ((40, 40, 220), (40, 170, 40), (220, 80, 40), (30, 200, 230))  # BGR: red, green, blue, yellow
TRAIN, VAL, EPOCHS, BATCH, SEEDS = 8000, 1000, 12, 32, range(3)
VIL, IDENTITY = "yolov8n-vil", "yolov8n-vil-identity"
MODELS = ["yolov8n", "yolov8n-attention", VIL, IDENTITY]
RATE = 2e-3
NO_CHANGES = dict.fromkeys(("mosaic", "scale", "translate", "hsv_h", "hsv_s", "hsv_v", "erasing"), 0.0)  # of the images
SETTINGS = {"amp": "bf16", "cos_lr": True, "lrf": 0.02, "warmup_epochs": 0.5, **NO_CHANGES}


def marking(image, kind, x, y, colour):
    """Draw one marking of 12 pixels about (x, y)."""
    if kind == 0:
        cv2.circle(image, (x, y), 6, colour, -1)
    elif kind == 1:
        cv2.rectangle(image, (x - 6, y - 6), (x + 6, y + 6), colour, -1)
    elif kind == 2:
        cv2.fillPoly(image, [np.array([(x, y - 6), (x - 6, y + 6), (x + 6, y + 6)])], colour)
    else:
        for one in (1, -1):
            cv2.line(image, (x - 5, y - one * 5), (x + 5, y + one * 5), colour, 3)


def scene(generator):
    """(SIDE, SIDE, 3) uint8, BGR, and lines of its label file."""
    image = generator.integers(150, 200, (SIDE, SIDE, 3)).astype(np.uint8)
    owner_of, lines = generator.permutation(OWNERS), []
    side = SIDE // CELL
    for n, cell in enumerate(generator.permutation(side**2)[: OWNERS + OBJECTS]):
        y, x = (CELL * int(c) + CELL // 2 for c in divmod(cell, side))
        kind = n if n < OWNERS else int(generator.integers(OWNERS))
        if n < OWNERS:
            cv2.rectangle(image, (x - 8, y - 8), (x + 7, y + 7), (255, 255, 255), -1)
            cv2.rectangle(image, (x - 8, y - 8), (x + 7, y + 7), (0, 0, 0), 1)
            marking(image, kind, x, y, COLOURS[owner_of[kind]])
        else:
            marking(image, kind, x, y, (0, 0, 0))
            lines.append(f"{owner_of[kind]} {x / SIDE:.5f} {y / SIDE:.5f} {13 / SIDE:.5f} {13 / SIDE:.5f}\n")
    return image, "".join(lines)


def draw(root, train, val, seed):
    """A data set on disk; returns its YAML."""
    data = root / "data.yaml"
    if not data.is_file():
        generator = np.random.default_rng(seed)
        for split, count in (("train", train), ("val", val)):
            images, labels = root / "images" / split, root / "labels" / split
            images.mkdir(parents=True, exist_ok=True)
            labels.mkdir(parents=True, exist_ok=True)
            for n in range(count):
                image, text = scene(generator)
                cv2.imwrite(str(images / f"{n:05d}.png"), image)
                write(labels / f"{n:05d}.txt", text)
        names = "".join(f"  {n}: owner {n}\n" for n in range(OWNERS))
        write(data, f"path: {root}\ntrain: images/train\nval: images/val\nnames:\n{names}")
    return data


def identity(folder):
    """The YAML and the start of a yolov8n-vil whose ViL blocks begin with the identity as their convolution."""
    path, start = folder / "runs" / f"{IDENTITY}.yaml", folder / "identity.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Path(model_yaml(VIL, nc=OWNERS)).read_text())
    model = YOLO(path)
    paths = [part for part in model.model.modules() if isinstance(part, MLSTMPath)]
    assert paths, "no ViL block found"
    for part in paths:
        nn.init.dirac_(part.conv.weight, groups=part.conv.groups)
    model.ckpt = {"model": model.model}
    model.save(start)
    return str(path), start.name


def run(folder, models, seeds, data, epochs, threads, rate=RATE):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    torch.manual_seed(0)
    own, called = {}, {}
    for name in models:
        called[name] = name
        if name == IDENTITY:
            called[name], start = identity(folder)
            own[called[name]] = {"pretrained": start}
    budget = {"epochs": epochs, "imgsz": SIDE, "batch": BATCH, "threads": threads, "resamples": 20, "lr0": rate}
    result = compare(list(called.values()), data, folder, seeds=list(seeds), own=own, **budget, **SETTINGS)
    return {name: one["runs"] for name, one in result["models"].items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--try", action="store_true", dest="trial", help="a short run that records nothing")
    options = parser.parse_args()
    if options.trial:
        with tempfile.TemporaryDirectory() as folder:
            data = draw(Path(folder, "data"), 64, 32, 0)
            return print(run(Path(folder, "runs"), options.models, [0], data, 1, options.threads))
    data = draw(FOLDER / "runs" / "scenes", TRAIN, VAL, 0)
    found = run(FOLDER, options.models, options.seeds, data, EPOCHS, options.threads)
    figures = {"models": found, "epochs": EPOCHS, "train": TRAIN, "val": VAL, "rate": RATE}
    record("ch15_legend_scenes", figures, seeds=options.seeds, packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
