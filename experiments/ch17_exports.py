"""Which formats take a ViL detector, and what comes out?  The shipped detector and plain YOLOv8n, by ultralytics' own export.

    python experiments/ch17_exports.py                    all; needs openvino, nncf, ncnn, pnnx==20260526, MNN, coremltools
    python experiments/ch17_exports.py --formats MNN      some alone; the record holds all that were tried so far

Every case is a process of its own, because some converters kill theirs.  What is compared with torch: the raw boxes and
scores of 20 scenes, and for the shipped detector the mAP on 60.  The plain YOLOv8n is a rival in conversion alone: it has
the shipped detector's weights where they fit, and initial ones in the three C2f blocks' bottlenecks that are ViL there.
What is done is kept in runs/ch17_exports.  Writes book/results/ch17_exports.json.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import torch
from _record import kept, record
from ultralytics import YOLO
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import LOGGER

from vil_lite._files import write
from vil_lite.data import airfield
from vil_lite.yolo import load_weights
from vil_lite.yolo.models import stock_yaml, write_yaml
from vil_lite.yolo.shipped import airfield_detector

os.environ["YOLO_AUTOINSTALL"] = "0"  # what is not installed is recorded as that
FOLDER = Path(__file__).resolve().parents[1] / "runs" / "ch17_exports"
SIZE, RAW, SCENES, SEED, TRAIN = 320, 20, 60, 17, 128
LIMIT = 400  # seconds for one case
MODELS = ("yolov8n-vil", "yolov8n")
FORMATS = {  # name -> arguments of export
    "TorchScript": {"format": "torchscript"},
    "ONNX": {"format": "onnx"},
    "ONNX, nms=True": {"format": "onnx", "nms": True},
    "ONNX, quantize=8": {"format": "onnx", "quantize": 8},
    "OpenVINO": {"format": "openvino"},
    "OpenVINO, float32": {"format": "openvino"},
    "NCNN": {"format": "ncnn"},
    "MNN": {"format": "mnn"},
    "CoreML": {"format": "coreml"},
    "LiteRT": {"format": "litert"},
    "OpenVINO, quantize=8": {"format": "openvino", "quantize": 8},
}
PACKAGES = ("openvino", "nncf", "ncnn", "pnnx", "MNN", "coremltools", "litert-torch")


def scenes():
    """The data set, drawn once; returns its YAML."""
    data = FOLDER / "scenes" / "data.yaml"
    if not data.is_file():
        airfield.build(data.parent, train=TRAIN, val=SCENES, image_size=SIZE, seed=SEED, progress=False, workers=1)
    return data


def weights(model):
    """The checkpoint of a model, made once."""
    path = FOLDER / f"{model}.pt"
    if not path.is_file() and "vil" in model:
        airfield_detector().save(path)
    elif not path.is_file():
        torch.manual_seed(SEED)
        layers = {**stock_yaml("yolov8", "n"), "nc": len(YOLO(weights("yolov8n-vil")).names)}
        plain = YOLO(write_yaml("yolov8n-plain", layers, "yolov8.yaml"), task="detect")
        print(load_weights(plain, weights("yolov8n-vil")))
        plain.save(path)
    return path


def settings(model):
    """How all files are validated: each image alone, at the size that they were exported for, without a border."""
    same = {"data": str(scenes()), "imgsz": SIZE, "batch": 1, "rect": False, "device": "cpu", "workers": 0}
    return same | {"plots": False, "verbose": False, "project": str(FOLDER / "val"), "name": model, "exist_ok": True}


def images():
    """The first RAW validation scenes: (RAW, 3, SIZE, SIZE), float32 in 0..1, red first."""
    return torch.cat([scene[None] for scene, _ in zip(_pictures(), range(RAW))])


def _pictures():
    for path in sorted((scenes().parent / "images" / "val").glob("*.png")):
        yield torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1) / 255


def raw(network):
    with torch.no_grad():
        outputs = [network(x[None]) for x in images()]
    return torch.cat([torch.as_tensor(y[0] if isinstance(y, (list, tuple)) else y).float() for y in outputs])


def in_torch(model):
    """What the files are compared with; the predictions are kept beside the checkpoint."""
    torch.save(raw(YOLO(weights(model)).model.fuse(verbose=False).float().eval()), FOLDER / f"{model}-raw.pt")
    return judged(model, weights(model))


def judged(model, file):
    """The mAP, of the detector that was trained."""
    return {"mAP50-95": float(YOLO(file, task="detect").val(**settings(model)).box.map)} if model == MODELS[0] else {}


def backend(name, file):
    """A file as ultralytics runs it.  OpenVINO alone is told the precision, where a case says so."""
    if "float32" in name:
        import openvino

        stock = openvino.Core.compile_model

        def precise(self, *arguments, config=None, **others):
            return stock(self, *arguments, config={**(config or {}), "INFERENCE_PRECISION_HINT": "f32"}, **others)

        openvino.Core.compile_model = precise
    return AutoBackend(str(file), device=torch.device("cpu"), fp16=False, verbose=False)


def case(model, name, place):
    """Export and run one case; after each step what is known is written to place, for the case that the process dies."""
    row, folder = {"converts": False, "runs": False}, kept_at(model, name).with_suffix("")
    folder.mkdir(exist_ok=True)
    copy = folder / "model.pt"
    copy.write_bytes(weights(model).read_bytes())

    def say(**found):
        row.update(found)
        write(place, json.dumps(row))

    say()
    try:
        more = {"data": str(scenes())} if "quantize" in FORMATS[name] else {}
        file = YOLO(copy).export(imgsz=SIZE, verbose=False, **FORMATS[name], **more)
        say(converts=True, file=str(file))
        network, ours = backend(name, file), torch.load(FOLDER / f"{model}-raw.pt", weights_only=True)
        if "nms" in FORMATS[name]:  # boxes that are left, in another order: there is no place to compare
            raw(network)
            say(runs=True)
        else:
            apart = (raw(network) - ours).abs()
            say(runs=True, box=float(apart[:, :4].max()), score=float(apart[:, 4:].max()))
        say(**judged(model, file))
    except (Exception, SystemExit) as error:
        say(error=f"{type(error).__name__}: {error}".strip().splitlines()[0][:200])


def kept_at(model, name):
    return FOLDER / (f"{model}-{name}".replace(" ", "").replace(",", "-") + ".json")


def tried(model, name):
    """One case in a process of its own."""
    place = kept_at(model, name).with_suffix(".steps")
    place.unlink(missing_ok=True)
    command = [sys.executable, "-W", "ignore", __file__, "--case", model, name, str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        died = f"the process died with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1][:160]}"
    except subprocess.TimeoutExpired:
        done, died = None, f"not done within {LIMIT} seconds"
    row = json.loads(place.read_text()) if place.is_file() else {"converts": False, "runs": False}
    row.pop("file", None)
    if (done is None or done.returncode) and "error" not in row:
        row["error"] = died
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        return case(*arguments.case)
    for model in arguments.models:
        kept(kept_at(model, "torch"), lambda m=model: in_torch(m))
        for name in arguments.formats:
            print(model, name, kept(kept_at(model, name), lambda m=model, n=name: tried(m, n)), flush=True)
    names = ["torch", *FORMATS]
    there = {m: {n: json.loads(kept_at(m, n).read_text()) for n in names if kept_at(m, n).is_file()} for m in MODELS}
    figures = {"models": there, "size": SIZE, "raw": RAW, "scenes": SCENES}
    record("ch17_exports", figures, seeds=[SEED], packages=("torch", "ultralytics", "onnx", "onnxruntime", *PACKAGES))


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    warnings.filterwarnings("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    main()
