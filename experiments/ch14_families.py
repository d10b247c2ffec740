"""ViL in every family and head of YOLO that ultralytics ships: builds, trains, reloads in another process, exports to ONNX.

    python experiments/ch14_families.py                          all, at each family's smallest scale
    python experiments/ch14_families.py --families yolo11 yolo26

Each model is trained by ultralytics for one epoch of one step on eight drawn images; what last.pt then says in a process
that never imported vil_lite is compared with what it says here, and the ONNX file with both.  What is done is kept in
runs/ch14_families.  Writes book/results/ch14_families.json.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from _record import kept, record
from PIL import Image
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from vil_lite.complexity import parameters
from vil_lite.yolo import model_yaml, train_settings
from vil_lite.yolo.models import FAMILIES, name_of, stock_yaml, tasks_of, write_yaml

FOLDER = Path(__file__).resolve().parents[1] / "runs" / "ch14_families"
SIZE, IMAGES = 128, 8  # P6 has a stride of 64
RELOAD = (
    "import sys, torch; from ultralytics import YOLO; m = YOLO(sys.argv[1]).model.float().eval(); "
    "torch.save(m(torch.load(sys.argv[2]))[0], sys.argv[3])"
)


def draw_data(task):
    """A data set of grey squares, as ultralytics reads it for a task; returns what to name as data=."""
    root, rng = FOLDER / "data" / task, np.random.default_rng(0)
    for n in range(IMAGES):
        x, y, size = *rng.integers(10, 70, 2), int(rng.integers(25, 45))
        image = rng.integers(90, 150, (SIZE, SIZE, 3), dtype=np.uint8)
        image[y : y + size, x : x + size] = 250 * (n % 2)
        left, top, right, bottom = (v / SIZE for v in (x, y, x + size, y + size))
        corners = f"{left} {top} {right} {top} {right} {bottom} {left} {bottom}"
        box = f"{(left + right) / 2} {(top + bottom) / 2} {right - left} {bottom - top}"
        points = f"{left} {top} 2 {right} {bottom} 2"
        label = {"detect": box, "segment": corners, "obb": corners, "pose": f"{box} {points}", "classify": ""}[task]
        for split in ("train", "val"):
            place = root / split / ("dark", "bright")[n % 2] if task == "classify" else root / "images" / split
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{n}.png")
            labels = root / "labels" / split
            labels.mkdir(parents=True, exist_ok=True)
            (labels / f"{n}.txt").write_text(f"{n % 2} {label}")
    shape = "kpt_shape: [2, 3]\n" if task == "pose" else ""
    splits = f"path: {root}\ntrain: images/train\nval: images/val\n"
    (root / "data.yaml").write_text(f"{splits}{shape}names: [dark, bright]\n")
    return root if task == "classify" else root / "data.yaml"


def first(output):
    """The predictions, out of what a head returns."""
    while isinstance(output, (list, tuple)):
        output = output[0]
    return output


def count(path):
    """Parameters of a model YAML."""
    with torch.device("meta"):
        layers, _ = tasks.parse_model(tasks.yaml_model_load(path), ch=3, verbose=False)
    return parameters(layers)


def try_out(family, scale, task):
    """Build, train a step, reload elsewhere, export; the figures of one row of the table."""
    name = name_of(family, scale, "vil")
    plain = write_yaml(f"{family.partition('-')[0]}{scale}-plain", stock_yaml(family, scale, task), "as it is")
    row = {"model": name, "task": task, "parameters": count(model_yaml(name, task=task)), "plain": count(plain)}
    model = YOLO(model_yaml(name, task=task))
    settings = train_settings(IMAGES, "cpu", epochs=1, imgsz=SIZE, verbose=False, warmup_epochs=0)
    run = FOLDER / "runs" / f"{name}-{task}"
    model.train(data=str(draw_data(task)), project=str(run.parent), name=run.name, exist_ok=True, **settings)
    weights, image = run / "weights" / "last.pt", torch.rand(1, 3, SIZE, SIZE)
    row["trained"] = all(bool(p.isfinite().all()) for p in YOLO(weights).model.parameters())

    torch.save(image, run / "image.pt")
    with torch.no_grad():
        here = first(YOLO(weights).model.float().eval()(image))
    command = [sys.executable, "-c", RELOAD, weights, run / "image.pt", run / "there.pt"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    row["reload"] = float((first(torch.load(run / "there.pt", weights_only=True)) - here).abs().max())

    file = YOLO(weights).export(format="onnx", imgsz=SIZE, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    got = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])
    if got.shape != here.shape:
        raise RuntimeError(f"{name}: ONNX gives {tuple(got.shape)}, PyTorch {tuple(here.shape)}")
    if got.shape[-1] in (6, 7, 12, 38) and got.shape[1] > got.shape[2]:  # one row a detection, best score first: near
        got, here = (
            got[..., 4].sort()[0],
            here[..., 4].sort()[0],
        )  # equals may change places, so the scores are compared
    row["onnx"] = float((got - here).abs().max())
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    rows = []
    for family in parser.parse_args().families:
        for task in tasks_of(family):
            scale = next(scale for scale in FAMILIES[family] if task in tasks_of(family, scale))
            path = FOLDER / f"{family}{scale}-{task}.json"
            rows.append(kept(path, lambda f=family, s=scale, t=task: try_out(f, s, t)))
            print(rows[-1], flush=True)
    record("ch14_families", {"rows": rows, "size": SIZE}, seeds=[0], packages=("torch", "ultralytics", "onnxruntime"))


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    main()
