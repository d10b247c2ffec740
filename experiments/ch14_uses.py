"""What people do with a YOLO once it is trained: tracking, slicing, tuning and more, with ViL inside and without.

    python experiments/ch14_uses.py                        all; needs lap and sahi beyond this project's packages
    python experiments/ch14_uses.py --uses embed half      some alone; the record holds all that were tried so far

The two shipped detectors, with ViL and without, on scenes of the scale that they were trained for.  Every use is ultralytics'
own (slicing is SAHI's) in a process of its own.  For tracking, a camera flies over a large scene, whose aircraft stand still
and are known.  What is done is kept in runs/ch14_uses.  Writes book/results/ch14_uses.json.
"""

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path

os.environ["YOLO_AUTOINSTALL"] = "0"  # what is not installed is recorded as that
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # its pool of workers waits for ever in a forked process

import ch17_exports
import numpy as np
import torch
from _record import kept, record
from ch17_exports import MODELS, forked
from torchvision.ops import box_iou
from ultralytics import YOLO
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import LOGGER
from ultralytics.utils.benchmarks import benchmark

from vil_lite._files import write
from vil_lite.data import airfield
from vil_lite.yolo import C2fViL, train_settings
from vil_lite.yolo.shipped import METRES_PER_PIXEL

FOLDER = Path(__file__).resolve().parents[1] / "runs" / "ch14_uses"
SIZE, SEED, FRAMES, STEP, LARGE = 320, 23, 40, 4, 960
SMALL = 160  # pixels of what is trained here for a step or two


weights = partial(ch17_exports.weights, folder=FOLDER)  # of a model, the path
data = partial(ch17_exports.scenes, folder=FOLDER, train=8, val=4, image_size=SMALL, seed=SEED)  # to train and judge on


def scene(model, size, index=0):
    return airfield.scene(seed=SEED, index=index, image_size=size, metres_per_pixel=METRES_PER_PIXEL)


def matches(boxes, truth):
    """For each true box the best detection with an IoU of at least 0.5, or -1.  (N, 4), (M, 4) -> (M,)"""
    if not len(boxes):
        return np.full(len(truth), -1)
    best, which = box_iou(torch.as_tensor(truth).float(), torch.as_tensor(boxes).float()).max(dim=1)
    return torch.where(best >= 0.5, which, -1).numpy()


def track(model, tracker):
    """A flight over a scene: how many numbers the tracker gives, and how many aircraft keep theirs."""
    large = max((scene(model, SIZE + FRAMES * STEP, index) for index in range(6)), key=lambda s: len(s.boxes))
    detector = YOLO(weights(model))
    numbers, with_numbers, in_view = {}, 0, set()
    given = set()
    for frame in range(FRAMES):
        corner = STEP * frame
        view = large.image[corner : corner + SIZE, corner : corner + SIZE, ::-1].copy()
        same = {"persist": True, "tracker": f"{tracker}.yaml", "imgsz": SIZE, "device": "cpu", "verbose": False}
        found = detector.track(view, **same)[0]
        truth = large.boxes - corner
        whole = np.flatnonzero((truth >= 0).all(axis=1) & (truth <= SIZE).all(axis=1))
        in_view |= set(whole.tolist())
        if found.boxes.id is None:
            continue
        with_numbers += 1
        ids = found.boxes.id.int().tolist()
        given |= set(ids)
        for aircraft, k in zip(whole.tolist(), matches(found.boxes.xyxy.numpy(), truth[whole])):
            if k >= 0:
                numbers.setdefault(aircraft, set()).add(ids[k])
    kept_one = sum(len(ids) == 1 for ids in numbers.values())
    return {
        "frames with numbers": with_numbers,
        "numbers": len(given),
        "aircraft": len(in_view),
        "tracked": len(numbers),
        "kept their number": kept_one,
    }


def sliced(model):
    """How many aircraft of a large scene are found on it as a whole, made smaller, and in slices by SAHI."""
    from sahi import AutoDetectionModel
    from sahi.predict import get_sliced_prediction

    large, cut = scene(model, LARGE), 0.1
    at_once = YOLO(weights(model)).predict(
        large.image[..., ::-1].copy(), imgsz=SIZE, conf=cut, device="cpu", verbose=False
    )
    of = {"model_type": "ultralytics", "model_path": str(weights(model)), "image_size": SIZE}
    slicer = AutoDetectionModel.from_pretrained(**of, confidence_threshold=cut, device="cpu")
    by = {
        "slice_height": SIZE,
        "slice_width": SIZE,
        "overlap_height_ratio": 0.2,
        "overlap_width_ratio": 0.2,
        "verbose": 0,
    }
    found = get_sliced_prediction(large.image, slicer, **by)
    boxes = np.array([o.bbox.to_xyxy() for o in found.object_prediction_list]).reshape(-1, 4)
    return {
        "aircraft": len(large.boxes),
        "found at once": int((matches(at_once[0].boxes.xyxy.numpy(), large.boxes) >= 0).sum()),
        "found in slices": int((matches(boxes, large.boxes) >= 0).sum()),
    }


def training(model, folder, **changes):
    same = {"epochs": 1, "imgsz": SMALL, "warmup_epochs": 0, "verbose": False, "project": folder, "name": "run"}
    return train_settings(4, "cpu", data=str(data(model)), **{**same, **changes})


def blocks(network):
    """Whether the network has ViL in it: a training or a compiler must not lose it."""
    return sum(type(m) is C2fViL for m in network.modules())


def tuned(model):
    """Two generations of ultralytics' search; what the best weights hold."""
    with tempfile.TemporaryDirectory() as folder:
        settings = training(model, folder)
        settings.pop("optimizer")
        YOLO(weights(model)).tune(iterations=2, val=True, space={"lr0": (1e-4, 1e-2)}, **settings)
        best = next(Path(folder).rglob("best.pt"))
        trials = next(Path(folder).rglob("tune_results.ndjson")).read_text().splitlines()
        return {"generations": len(trials), "ViL stages": blocks(YOLO(best).model)}


def benchmarked(model):
    """ultralytics' own table, of the formats that need no further package."""
    rows = {}
    os.chdir(FOLDER)  # it writes a log
    for name in ("-", "torchscript", "onnx"):
        table = benchmark(model=str(weights(model)), data=str(data(model)), imgsz=SMALL, format=name, verbose=False)
        rows |= {row["Format"]: float(row["metrics/mAP50-95(B)"]) for row in table.to_dicts()}
    return {f"mAP50-95, {name}": value for name, value in rows.items()}


def compiled(model):
    """torch.compile by ultralytics' argument: the same detections."""
    view = scene(model, SIZE).image[..., ::-1].copy()
    same = {"imgsz": SIZE, "conf": 0.01, "device": "cpu", "verbose": False}
    plain = YOLO(weights(model)).predict(view, **same)[0].boxes.data
    compiling = YOLO(weights(model))
    ours = compiling.predict(view, **same, compile=True)[0].boxes.data
    is_compiled = any("OptimizedModule" in type(m).__name__ for m in compiling.predictor.model.modules())
    apart = float((ours - plain).abs().max()) if ours.shape == plain.shape else float("inf")
    return {"compiled": is_compiled, "boxes": len(plain), "apart": apart}


def half(model):
    """Half precision: ultralytics' half=True, and the network itself in float16."""
    view = scene(model, SIZE).image[..., ::-1].copy()
    same = {"imgsz": SIZE, "conf": 0.01, "device": "cpu", "verbose": False}
    full, asked = (YOLO(weights(model)).predict(view, **same, half=h)[0].boxes.data for h in (False, True))
    x = torch.from_numpy(view[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    network = YOLO(weights(model)).model.float().eval()
    with torch.no_grad():
        wanted = network(x)[0]
        got = network.half()(x.half())[0].float()
    apart = (got - wanted).abs()
    return {
        "half=True changes": not (full.shape == asked.shape and bool(torch.equal(full, asked))),
        "finite": bool(got.isfinite().all()),
        "worst box, px": float(apart[:, :4].max()),
        "worst score": float(apart[:, 4:].max()),
    }


def embedded(model):
    """One vector an image: its length; alike for the same image, less for another one."""
    views = [scene(model, SIZE, index).image[..., ::-1].copy() for index in (0, 0, 1)]
    a, b, c = (YOLO(weights(model)).embed(v, imgsz=SIZE, device="cpu", verbose=False)[0] for v in views)
    alike = float(torch.cosine_similarity(a, c, dim=0))
    return {"numbers": len(a), "same image": bool(torch.equal(a, b)), "another image, cosine": alike}


USES = {f"track, {name}": (track, name) for name in TRACKER_MAP}
USES |= {"SAHI": (sliced,), "tune": (tuned,), "benchmark": (benchmarked,), "compile": (compiled,)}
USES |= {"half": (half,), "embed": (embedded,)}


def tried(model, use):
    """The row of one use, or the error that it ended with."""
    function, *others = USES[use]
    try:
        return function(model, *others)
    except ModuleNotFoundError as error:
        return {"needs": error.name}
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]}


def kept_at(model, use):
    return FOLDER / f"{model}-{use.replace(', ', '-')}.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--uses", nargs="+", default=list(USES), choices=list(USES))
    for use in parser.parse_args().uses:
        for model in MODELS:
            place = kept_at(model, use)
            if end := forked(kept, place, lambda m=model, u=use: tried(m, u)):
                write(place, json.dumps({"error": end}))
            print(model, use, place.read_text(), flush=True)
    places = {use: {model: kept_at(model, use) for model in MODELS} for use in USES}
    rows = {
        use: {model: json.loads(place.read_text()) for model, place in of.items()}
        for use, of in places.items()
        if all(place.is_file() for place in of.values())
    }
    figures = {"uses": rows, "frames": FRAMES, "step": STEP, "size": SIZE, "large": LARGE}
    record("ch14_uses", figures, seeds=[SEED], packages=("torch", "ultralytics", "lap", "sahi"))


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    FOLDER.mkdir(parents=True, exist_ok=True)
    main()
