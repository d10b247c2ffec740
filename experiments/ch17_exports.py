"""Which formats take a ViL detector, and what comes out?  It and a plain YOLOv8n, by ultralytics' own export, in every format.

    python experiments/ch17_exports.py                    all; what is not installed is recorded as that
    python experiments/ch17_exports.py --formats MNN      some alone; the record holds all that were tried so far
    python experiments/ch17_exports.py --times            only the times of the files that are there: needs an idle machine

Every case is a process of its own, because some converters kill theirs.  The detectors are the two that come with the package,
trained alike.  Each file is compared with its own network in torch: the raw boxes and scores of RAW scenes, and the mAP of
SCENES, whose interval is that of a paired bootstrap over these scenes.  Times are multiples of plain YOLOv8n in torch, taken in
turn with it in the process of the case.

Beyond this project's packages: openvino nncf ncnn pnnx==20260526 MNN coremltools litert-torch ai-edge-litert
ai-edge-quantizer; coremltools needs numpy<=2.3.5.  What is done is kept in runs/ch17_exports.  Writes
book/results/ch17_exports.json.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

os.environ["YOLO_AUTOINSTALL"] = "0"  # what is not installed is recorded as that

import cv2
import numpy as np
import torch
from _found import validated
from _record import best_times, forward, keep_heap, kept, record
from ultralytics import YOLO
from ultralytics.engine.exporter import export_formats
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import LOGGER, nms

from vil_lite._files import whole, write
from vil_lite.data import airfield
from vil_lite.yolo import shipped
from vil_lite.yolo.statistics import average_precisions, paired_difference, resampled_maps

FOLDER = Path(__file__).resolve().parents[1] / "runs" / "ch17_exports"
SIZE, RAW, SCENES, SEED, TRAIN, RESAMPLES = 320, 20, 60, 17, 128, 200
LIMIT = 900  # seconds for one case
PLAIN = "yolov8n"
MODELS = {"yolov8n-vil": shipped.WEIGHTS, PLAIN: shipped.PLAIN}
FORMATS = {  # name -> arguments of export
    "TorchScript": {"format": "torchscript"},
    "ONNX": {"format": "onnx"},
    "ONNX, nms=True": {"format": "onnx", "nms": True},
    "ONNX, nms=True, conf=0.001": {"format": "onnx", "nms": True, "conf": 0.001},
    "ONNX, quantize=8": {"format": "onnx", "quantize": 8},
    "OpenVINO": {"format": "openvino"},
    "OpenVINO, float32": {"format": "openvino"},
    "OpenVINO, quantize=8": {"format": "openvino", "quantize": 8},
    "NCNN": {"format": "ncnn"},
    "MNN": {"format": "mnn"},
    "CoreML": {"format": "coreml"},
    "LiteRT": {"format": "litert"},
}
LISTED = dict(zip(export_formats()["Argument"], zip(export_formats()["Format"], export_formats()["Arguments"])))
OTHERS = {  # all others that ultralytics lists: with ViL alone, if only to see what they ask for
    name: {"format": argument}
    for argument, (name, _) in LISTED.items()
    if argument != "-" and argument not in {chosen["format"] for chosen in FORMATS.values()}
}
PACKAGES = ("openvino", "nncf", "ncnn", "pnnx", "MNN", "coremltools", "litert-torch", "ai-edge-litert")


def scenes(model, folder=FOLDER, train=TRAIN, val=SCENES, image_size=SIZE, seed=SEED):
    """The data set of a model, drawn once; returns its YAML."""
    data = folder / f"{model}-scenes" / "data.yaml"
    if not data.is_file():
        same = {"image_size": image_size, "seed": seed, "metres_per_pixel": shipped.METRES_PER_PIXEL, "workers": 1}
        airfield.build(data.parent, train=train, val=val, progress=False, **same)
    return data


def weights(model, folder=FOLDER):
    """The checkpoint of a model, made once."""
    path = folder / f"{model}.pt"
    if not path.is_file():
        shipped.airfield_detector(MODELS[model]).save(path)
    return path


def images(model):
    """The first RAW validation scenes, one at a time: (1, 3, SIZE, SIZE), float32 in 0..1, red first."""
    paths = sorted((scenes(model).parent / "images" / "val").glob("*.png"))[:RAW]
    pictures = [torch.from_numpy(cv2.imread(str(p))[..., ::-1].copy()).permute(2, 0, 1)[None] for p in paths]
    return [x.contiguous() / 255 for x in pictures]  # MNN reads memory as it lies


def in_torch(model):
    """The network itself, as the exporter takes it."""
    return YOLO(weights(model)).model.fuse(verbose=False).float().eval()


def raw(network, model):
    """Raw boxes (pixels) and scores of all scenes: (RAW, 4 + classes, places)."""
    with torch.no_grad():
        outputs = [network(x) for x in images(model)]
    return torch.cat([torch.as_tensor(y[0] if isinstance(y, (list, tuple)) else y).float() for y in outputs])


def of_torch(model):
    """What the files are compared with; raw predictions and detections are kept beside the checkpoint."""
    torch.save(raw(in_torch(model), model), FOLDER / f"{model}-raw.pt")
    return {"mAP50-95": detections(model, weights(model), FOLDER / f"{model}-torch.npz")}


def best_class_alone(model):
    """Why nms=True scores less: torch's own mAP if each place counts with its best class alone, as in that graph; and above
    which score.  By itself a validation takes every class of a place for a detection, from a score of 0.001 on."""
    stock = nms.non_max_suppression

    def once(*arguments, **options):
        return stock(*arguments, **{**options, "multi_label": False})

    with patch.object(nms, "non_max_suppression", once):
        place = FOLDER / f"{model}-best.npz"
        return {cut: detections(model, weights(model), place, conf=cut) for cut in (0.001, 0.25)}


def detections(model, file, place, **options):
    """The mAP50-95 of a file, validated image by image at the size it was exported for; keeps what it found on each."""
    where = {"project": str(FOLDER / "val"), "name": place.stem, "exist_ok": True, "plots": False, "verbose": False}
    found, _ = validated(YOLO(file, task="detect"), scenes(model), SIZE, batch=1, **where, **options)
    with whole(place, "wb") as to:
        np.savez_compressed(to, **found)
    return float(average_precisions(found).mean())


def judged(model, file, place):
    """The mAP50-95 of a file and by how much it differs from torch's, with an interval for other scenes."""
    detections(model, file, place)
    runs = {name: dict(np.load(path)) for name, path in (("torch", FOLDER / f"{model}-torch.npz"), ("file", place))}
    maps = resampled_maps({name: [run] for name, run in runs.items()}, SCENES, RESAMPLES)
    scores = {name: [average_precisions(run).mean()] for name, run in runs.items()}
    gap = paired_difference(maps["torch"], maps["file"], scores["torch"], scores["file"])
    return {"mAP50-95": float(scores["file"][0]), **{key: gap[key] for key in ("difference", "low", "high")}}


def backend(name, file):
    """A file as ultralytics runs it.  OpenVINO alone is told the precision, where a case says so."""
    if "float32" in name:
        import openvino

        stock = openvino.Core.compile_model

        def precise(self, *arguments, config=None, **others):
            return stock(self, *arguments, config={**(config or {}), "INFERENCE_PRECISION_HINT": "f32"}, **others)

        openvino.Core.compile_model = precise
    return AutoBackend(str(file), device=torch.device("cpu"), fp16=False, verbose=False)


def export(model, name):
    """Export a copy of the checkpoint; returns the path of the file."""
    folder = kept_at(model, name).with_suffix("")
    folder.mkdir(exist_ok=True)
    copy = folder / "model.pt"
    copy.write_bytes(weights(model).read_bytes())
    arguments = {"imgsz": SIZE, "verbose": False, **(FORMATS | OTHERS)[name]}
    if "data" in LISTED[arguments["format"]][1]:  # to calibrate: not on what is judged
        arguments |= {"data": str(scenes(model)), "split": "train"}
    return YOLO(copy).export(**arguments)


def case(model, name, place):
    """Export and run one case; after each step what is known is written to place, for the case that the process dies."""
    row = {"converts": False, "runs": False}

    def say(**found):
        row.update(found)
        write(place, json.dumps(row))

    say()
    try:
        say(converts=True, file=str(export(model, name)))
        network, ours = backend(name, row["file"]), torch.load(FOLDER / f"{model}-raw.pt", weights_only=True)
        theirs = raw(network, model)
        say(runs=True)
        if "nms" not in name:  # else boxes that are left, in another order: there is no place to compare
            apart = (theirs - ours).abs()
            say(box=float(apart[:, :4].max()), score=float(apart[:, 4:].max()))
        say(**judged(model, row["file"], kept_at(model, name).with_suffix(".npz")))
    except (Exception, SystemExit) as error:
        if needs := what_is_missing(error):
            return say(converts=False, needs=needs)
        said = [
            line for line in str(error).splitlines() if line.strip() and not line.startswith(("Exception from", "["))
        ]
        say(error=f"{type(error).__name__}: {(said or [''])[0]}"[:200])


def what_is_missing(error):
    """What a machine lacks, by an error, for a format to be tried on it; None when it was tried and failed."""
    if isinstance(error, ModuleNotFoundError):
        return error.name or str(error)[:80]
    if "Invalid CUDA" in str(error):
        return "an NVIDIA GPU"
    if isinstance(error, (ImportError, FileNotFoundError)) and " export requires " in str(error):
        return str(error).partition(", which")[0][:80]
    return None


def kept_at(model, name):
    return FOLDER / (f"{model}-{name}".replace(" ", "").replace(",", "-") + ".json")


def forked(function, *arguments):
    """Call a function in a process of its own, in which all is imported already; returns how that ended, if not well."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        return f"not done within {LIMIT} seconds"
    return f"the process died with {process.exitcode}" if process.exitcode else None


def tried(model, name):
    """One case in a process of its own."""
    place = kept_at(model, name).with_suffix(".steps")
    place.unlink(missing_ok=True)
    end = forked(case, model, name, place)
    row = json.loads(place.read_text()) if place.is_file() else {"converts": False, "runs": False}
    return {**row, "error": end} if end else row


def timed(model, name, place, turns=12, calls=3):
    """Seconds for one scene, of a file and of plain YOLOv8n in torch: the best call, in turn.  The first call of a turn does
    not count: until then threads of the other one may still wait for work."""
    file = json.loads(kept_at(model, name).read_text())["file"] if name != "torch" else None
    candidates = {"reference": in_torch(PLAIN), "file": backend(name, file) if file else in_torch(model)}
    x, best = images(model)[0], dict.fromkeys(candidates, float("inf"))
    for _ in range(turns):
        for key, network in candidates.items():
            best[key] = min(best[key], best_times({key: forward(network, x)}, calls)[key])
    write(place, json.dumps(best))


def take_times():
    """Time all files that run; a process that dies or hangs leaves no time."""
    for model, rows in so_far().items():
        for name, row in rows.items():
            if name == "torch" or row["runs"]:
                place = kept_at(model, name).with_suffix(".time")
                place.unlink(missing_ok=True)
                command = [sys.executable, "-W", "ignore", __file__, "--time", model, name, str(place)]
                subprocess.run(command, capture_output=True, timeout=LIMIT)
                print(model, name, place.read_text() if place.is_file() else "no time", flush=True)


def so_far():
    """{model: {format: row}} of what is kept, with the times as multiples of plain YOLOv8n in torch."""
    found = {}
    for model in MODELS:
        for name in ["torch", *FORMATS, *OTHERS]:
            if kept_at(model, name).is_file():
                row, place = json.loads(kept_at(model, name).read_text()), kept_at(model, name).with_suffix(".time")
                row.pop("file", None)
                if place.is_file():
                    seconds = json.loads(place.read_text())
                    row["time"] = seconds["file"] / seconds["reference"]
                found.setdefault(model, {})[name] = row
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formats", nargs="+", default=[*FORMATS, *OTHERS], choices=[*FORMATS, *OTHERS])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument(
        "--times", action="store_true", help="only take the times: some 3 minutes, nothing else running"
    )
    parser.add_argument("--time", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.time:
        return timed(*arguments.time[:2], Path(arguments.time[2]))
    if arguments.times:
        take_times()
    else:
        for model in arguments.models:
            forked(kept, kept_at(model, "torch"), lambda m=model: of_torch(m))
            forked(kept, FOLDER / f"{model}-best.json", lambda m=model: best_class_alone(m))
            for name in [n for n in arguments.formats if n in FORMATS or model != PLAIN]:
                print(model, name, kept(kept_at(model, name), lambda m=model, n=name: tried(m, n)), flush=True)
    reference = [json.loads(p.read_text())["reference"] for p in FOLDER.glob("*.time")]
    figures = {"models": so_far(), "size": SIZE, "raw": RAW, "scenes": SCENES, "resamples": RESAMPLES}
    figures["best class alone"] = {m: json.loads((FOLDER / f"{m}-best.json").read_text()) for m in so_far()}
    figures["metres_per_pixel"] = shipped.METRES_PER_PIXEL
    figures["reference_ms"] = 1e3 * min(reference) if reference else None
    record("ch17_exports", figures, seeds=[SEED], packages=("torch", "ultralytics", "onnx", "onnxruntime", *PACKAGES))


if __name__ == "__main__":
    keep_heap()
    LOGGER.setLevel("ERROR")
    warnings.filterwarnings("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    main()
