"""The two detectors that come with the package, trained alike: YOLOv8n with ViL, and plain YOLOv8n.

    python experiments/ch15_ship.py                 train, or go on where that stopped; then pack, judge and record
    python experiments/ch15_ship.py --judge         judge the packed detectors anew, without training
    python experiments/ch15_ship.py --try           64 scenes, two epochs, thrown away

People start from COCO's weights; nobody here can download them.  So a plain YOLOv8n is trained once on scenes of many scales,
and both detectors take from it every weight that fits (`vil_lite.yolo.load_weights`).  Then each is trained on the same scenes
of one scale, and at last on more of them, with the same settings for both.  The scenes are drawn with seeds 100 and 101, which
no other experiment uses; the last epoch counts; the detectors are judged, as packed, on 2000 scenes that played no part.

After the second part both are packed into experiments/runs/ch15_ship: the third part begins there, and so do ch14_start.py and
ch15_compare.py with the plain one.  Where these files are, the first two parts are not trained again.

Kill it at any time: it goes on after the last whole epoch.  Scenes, epochs and weights are kept in experiments/ch15_ship/.  The
first two parts take about five hours on one core with bfloat16, the third two and a half.  (The first two were recorded when
the loss was computed in bfloat16, too; it is in float32 now.)  Writes vil_lite/yolo/weights/ with the cards, and
book/results/ch15_ship.json, where "difference before" is that after the second part.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from _found import validated
from _record import RESULTS, record
from ultralytics import YOLO
from ultralytics.utils import torch_utils

import vil_lite
from vil_lite._files import write
from vil_lite.complexity import parameters
from vil_lite.data import airfield
from vil_lite.yolo import shipped
from vil_lite.yolo.compare import _curves, yaml_of
from vil_lite.yolo.statistics import average_precisions, paired_difference, resampled_maps
from vil_lite.yolo.training import train_in_bfloat16, train_settings

FOLDER = Path(__file__).resolve().parent / "ch15_ship"
START = FOLDER.parent / "runs" / "ch15_ship"  # both detectors after the second part, packed
SEED, TRAIN, VAL, SIZE, BATCH, RESAMPLES = 100, 8000, 230, 320, 16, 300
SET = 230  # scenes of a small set, as many images as the reported table of chapter 14 has
FRESH, JUDGED = 200, 2000  # seed and number of the scenes that judge, here and in ch15_compare.py
SCALE = shipped.METRES_PER_PIXEL  # half of all boxes have a longer side of more than 62 pixels
# Seen from above any side may be up, and size tells a class: flips on both axes, no scaling, no mosaic.
SETTINGS = {"cos_lr": True, "lrf": 0.02, "mosaic": 0.0, "scale": 0.0, "flipud": 0.5, "warmup_epochs": 1.0}
MANY = {"metres_per_pixel": (0.4, 0.8), "epochs": 12, "scale": 0.1}
ONE = {"metres_per_pixel": SCALE, "epochs": 5, "lr0": 1e-3, "warmup_epochs": 0.2}
MORE = {**ONE, "epochs": 6, "scenes": 10000, "seed": SEED + 1}
DETECTORS = {"yolov8n-vil": shipped.WEIGHTS, "yolov8n": shipped.PLAIN}
CARD = """# {file}

A {model} ({parameters:,} parameters) that finds aircraft on drawn airfields seen from above and names their type, one of 27.

| | |
|---|---|
| use | `vil_lite.yolo.shipped.{use}` |
| first | plain YOLOv8n from random weights, {many[epochs]} epochs of {train:,} scenes of {many[metres_per_pixel]} m a pixel |
| then | its weights where they fit{anew}; {one[epochs]} epochs of {train:,} scenes of {one[metres_per_pixel]} m a pixel |
| at last | {more[epochs]} epochs of {more[scenes]:,} more scenes of that scale |
| settings | batch {batch}, learning rate {one[lr0]}, which came down along a cosine |
| on {fresh[scenes]} new scenes (seed {fresh[seed]}), as packed | mAP50 {fresh[mAP50]:.3f}, mAP50-95 {fresh[mAP50-95]:.3f} |
| file | state dict, matrices in 8 bits, {megabytes:.1f} MB; read with `weights_only=True` |

It has seen drawings of that scale alone and is of no use on photographs. Made by `python experiments/ch15_ship.py`.
"""


def train(run, name, start, data, threads, **settings):
    """Train a model from what fits of `start` (None: from random) in the folder run, or go on after the last whole epoch."""
    vil_lite.keep_freed_memory()
    torch_utils.NUM_THREADS = threads  # ultralytics sets this many whenever it selects the CPU
    torch.set_num_threads(threads)
    last = run / "weights" / "last.pt"
    model = YOLO(last if last.is_file() else yaml_of(name))
    train_in_bfloat16(model)
    if last.is_file():
        return model.train(resume=True, device="cpu")
    place = {"project": str(run.parent), "name": run.name, "exist_ok": True, "device": "cpu", "verbose": False}
    settings = {**SETTINGS, **settings, "imgsz": SIZE, "patience": 0, "seed": 0}
    model.train(data=str(data), pretrained=start or False, **train_settings(BATCH, **settings), **place)


def all_stages(folder, begun, scenes, more, val, threads, **changes):
    """{name: path of its last weights} of both detectors.

    begun: folder of both detectors after the second part, packed.   scenes, more: numbers of scenes of the first two parts and
    of the third.
    """

    def stage(part, name, start, metres_per_pixel, scenes=scenes, seed=SEED, **settings):
        run = folder / part / name
        if not (run / "done").is_file():
            same = {"seed": seed, "metres_per_pixel": metres_per_pixel}
            data = airfield.build(run.parent / "airfield", scenes, val, SIZE, **same)
            train(run, name, start, data, threads, **{**settings, **changes})
            (run / "done").touch()
        return run / "weights" / "last.pt"

    for name in DETECTORS:
        if not (begun / f"{name}.pth").is_file():
            begun.mkdir(parents=True, exist_ok=True)
            start = stage("many scales", "yolov8n", None, **MANY)
            last = stage("one scale", name, start, **ONE)
            write(begun / f"{name}.json", json.dumps(curves_of(last)))
            shipped.pack(last, begun / f"{name}.pth", name, SIZE)
    trained = {}
    for name in DETECTORS:
        start = folder / f"{name}.pt"
        shipped.airfield_detector(begun / f"{name}.pth").save(start)
        trained[name] = stage("more", name, start, **{**MORE, "scenes": more})
    return trained


def curves_of(weights):
    """mAP50 and mAP50-95 on the trainer's scenes after each epoch."""
    every = _curves(weights.parents[1] / "results.csv")
    return {key: every[f"metrics/{key}(B)"] for key in ("mAP50", "mAP50-95")}


def on_sets(run, size):
    """[mAP50, mAP50-95] on each set of `size` scenes; no two sets share one."""
    of_set = np.arange(JUDGED) // size
    found = [average_precisions(run, (of_set == k).astype(int)).mean(axis=0) for k in range(JUDGED // size)]
    return [[float(aps[0]), float(aps.mean())] for aps in found]


def difference(found):
    """The mAP50-95 of the first detector minus that of the second, with its interval over images: they have one seed each."""
    maps = resampled_maps({name: [run] for name, run in found.items()}, JUDGED, RESAMPLES)
    whole = {name: [average_precisions(run).mean()] for name, run in found.items()}
    first, second = found
    return paired_difference(maps[second], maps[first], whole[second], whole[first])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for scenes, epochs and weights")
    parser.add_argument("--judge", action="store_true", help="do not train: what the package holds is judged")
    parser.add_argument("--try", action="store_true", dest="trial", help="a short run that records nothing")
    options = parser.parse_args()
    if options.trial:
        with tempfile.TemporaryDirectory() as folder:
            return print(all_stages(Path(folder), Path(folder, "begun"), 64, 64, 16, options.threads, epochs=2))
    folder, figures, found, before = options.folder.resolve(), {}, {}, {}
    fresh = airfield.build(folder / "fresh", 1, JUDGED, SIZE, seed=FRESH, metres_per_pixel=SCALE)
    trained = {} if options.judge else all_stages(folder, START, TRAIN, MORE["scenes"], VAL, options.threads)
    for name, weights in DETECTORS.items():
        if options.judge:
            curves = json.loads((RESULTS / "ch15_ship.json").read_text())["figures"]["models"][name]["curves"]
        else:
            shipped.pack(trained[name], weights, name, SIZE)
            before = json.loads((START / f"{name}.json").read_text())
            curves = {"one scale": before, "more": curves_of(trained[name])}
        detector = shipped.airfield_detector(weights)
        where = {"plots": False, "project": str(folder / "val")}
        found[name], box = validated(detector, fresh, SIZE, **where)
        before[name], _ = validated(shipped.airfield_detector(START / f"{name}.pth"), fresh, SIZE, **where)
        score = {"mAP50": float(box.map50), "mAP50-95": float(box.map)}
        figures[name] = {
            "parameters": parameters(detector.model),
            "megabytes": weights.stat().st_size / 1e6,
            "fresh": {"scenes": JUDGED, "seed": FRESH, **score},
            "sets": on_sets(found[name], SET),
            "curves": curves,
        }
        told = {
            "file": weights.stem,
            "model": name,
            "many": MANY,
            "one": ONE,
            "more": MORE,
            "train": TRAIN,
            "batch": BATCH,
        }
        vil = weights == shipped.WEIGHTS
        told |= {"anew": ", ViL's blocks from random ones" if vil else ""}
        told |= {"use": f"airfield_detector({'' if vil else 'shipped.PLAIN'})"}
        write(weights.with_suffix(".md"), CARD.format(**figures[name], **told))
    budget = {
        "scenes": TRAIN,
        "many scales": MANY,
        "one scale": ONE,
        "more": MORE,
        "settings": SETTINGS,
        "batch": BATCH,
        "imgsz": SIZE,
        "set": SET,
    }
    gaps = {"difference": difference(found), "difference before": difference(before)}
    record("ch15_ship", {"models": figures, **gaps, **budget}, [0], ("torch", "ultralytics"))


if __name__ == "__main__":
    main()
