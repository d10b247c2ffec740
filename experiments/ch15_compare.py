"""Does ViL help YOLOv8n on the 27 classes of the airfield, and what does it cost?  Five models from one start, five seeds.

    python experiments/ch15_compare.py                        everything that is still missing, then the record
    python experiments/ch15_compare.py --stage rates          only the choice of the learning rates
    python experiments/ch15_compare.py --seeds 0              one seed of the comparison; nothing is recorded yet
    python experiments/ch15_compare.py --models yolov8n yolov8n-vil      some models; nothing is recorded yet
    python experiments/ch15_compare.py --try                  one model, 64 images, two epochs, thrown away: about a minute

The plan.  All models start from the weights of a plain YOLOv8n that was trained for long (ch15_ship.py, after its second part),
as people start from COCO's: every tensor of the same name and shape is taken over; what is new in a model starts from random.
Then all are trained on the same 1500 scenes for 5 epochs.  The learning rate of each model, one of four, was chosen by one run
each, with a seed and scenes that appear nowhere else.  The last epoch counts, and it is judged on 2000 scenes that no training
and no choice has seen; 230 say too little (chapter 16).  Controls: C2f and attention of equal parameters, and plain YOLOv8n on
images of 352 pixels, slower than on 320 and faster than ViL at P4 and P5; it has the rate of the plain one.  Plain and ViL at
P4 and P5 have five seeds, the others three.

Kill it at any time: the same command goes on where it stopped.  Each run has one thread and trains in bfloat16, so two commands
with other --models or --seeds use two cores; the last one, without options, records.  Small files of finished runs (JSON, NPZ)
lie in experiments/runs/ch15_compare: commit them to go on elsewhere; weights and ultralytics' folders lie beside them and are
ignored.  A run takes some 10 minutes on a core that multiplies bfloat16.  (The recorded runs computed the loss in bfloat16,
too; it is in float32 now.)  Writes book/results/ch15_compare.json.  What the models cost is measured apart, by ch15_cost.py.
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from _record import kept, record
from ch15_ship import FRESH, JUDGED, RESAMPLES, SCALE, SETTINGS, SIZE, START
from ultralytics.utils import ROOT

from vil_lite._files import whole
from vil_lite.data import airfield
from vil_lite.statistics import pooled_variance
from vil_lite.yolo import shipped
from vil_lite.yolo.compare import _validate, compare
from vil_lite.yolo.statistics import average_precisions, paired_difference, resampled_maps

FOLDER = Path(__file__).resolve().parent / "runs" / "ch15_compare"
LARGER_SIZE = 352
LARGER = f"yolov8n-{LARGER_SIZE}"  # plain, on larger images
PLAIN, VIL = "yolov8n", "yolov8n-vil"
MODELS = [PLAIN, VIL, "yolov8n-c2f-equal", "yolov8n-attention", LARGER]
SEEDS = {name: range(5 if name in (PLAIN, VIL) else 3) for name in MODELS}
TRAIN, VAL, BATCH = 1500, 230, 16
EPOCHS, RATE_EPOCHS = 5, 2
RATES, RATE_SEED = (5e-5, 1e-4, 2e-4, 5e-4), 100
SETTINGS = {**SETTINGS, "amp": "bf16"}


def start_file(folder):
    """The common start as a checkpoint that ultralytics reads, named from within folder: the plan holds no path."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    if not Path("start.pt").is_file():
        shipped.airfield_detector(START / f"{PLAIN}.pth").save("start.pt")
    return "start.pt"


def names(folder, models):
    """What `compare` calls the models: the plain one on larger images is a copy of its file under another name."""
    copy = folder / "runs" / f"{LARGER}.yaml"
    if LARGER in models:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / "cfg/models/v8/yolov8.yaml").read_text())
    return [str(copy) if name == LARGER else name for name in models]


def fine_tune(models, data, folder, epochs, seeds, threads, own=None, **settings):
    """`compare` from the common start: {name as in MODELS: its runs}."""
    called = dict(zip(names(folder, models), models, strict=True))
    own = {name: dict((own or {}).get(models_name, {})) for name, models_name in called.items()}
    for name, models_name in called.items():
        if models_name == LARGER:
            own[name]["imgsz"] = LARGER_SIZE
    # few resamples: `differences` draws its own
    budget = {"epochs": epochs, "imgsz": SIZE, "batch": BATCH, "threads": threads, "resamples": 20}
    settings = {"pretrained": start_file(folder), **SETTINGS, **settings}
    result = compare(list(called), data, folder, seeds=seeds, own=own, **{**budget, **settings})
    return {called[name]: model["runs"] for name, model in result["models"].items()}


def choose_rates(models, threads):
    """{model: {rate: mAP50-95 of one run}}, on scenes and with a seed that nothing else uses."""
    data = airfield.build(FOLDER / "runs" / "airfield-rates", TRAIN, VAL, SIZE, seed=50, metres_per_pixel=SCALE)
    models = list(dict.fromkeys(PLAIN if name == LARGER else name for name in models))
    found = {name: {} for name in models}
    for rate in RATES:
        run = (data, FOLDER / f"rate {rate}", RATE_EPOCHS, [RATE_SEED], threads)
        for name, (one,) in fine_tune(models, *run, lr0=rate).items():
            found[name][rate] = one["metrics"]["mAP50-95"]
    return found | {LARGER: found[PLAIN]} if PLAIN in found else found


def judge(name, seed, scenes):
    """Metrics and the table of the classes of a finished run on the scenes; what it found on each lies beside, as NPZ."""
    plan = {"data": str(scenes), "imgsz": LARGER_SIZE if name == LARGER else SIZE, "batch": BATCH, "settings": {}}
    found = _validate(FOLDER / "runs" / f"{name}-seed{seed}" / "weights" / "last.pt", plan)
    with whole(detections_of(name, seed), "wb") as file:
        np.savez_compressed(file, **found.pop("detections"))
    return found


def detections_of(name, seed):
    return FOLDER / "judged" / f"{name}-seed{seed}.npz"


def differences():
    """By how much the mean mAP50-95 of ViL is higher than that of each other model; the intervals hold for all four together.

    Runs of networks with new blocks start from other random numbers; those of the plain network differ in the order of the
    scenes and their augmentations alone.  Each kind has a spread of its own.
    """
    found = {m: [dict(np.load(detections_of(m, seed))) for seed in SEEDS[m]] for m in MODELS}
    maps = resampled_maps(found, JUDGED, RESAMPLES)
    whole = {name: [average_precisions(run).mean() for run in runs] for name, runs in found.items()}
    known = {name: name in (PLAIN, LARGER) for name in MODELS}  # every weight comes from the start
    spread = {kind: pooled_variance([whole[name] for name in MODELS if known[name] == kind]) for kind in (True, False)}
    gaps = {}
    for name in MODELS:
        if name != VIL:
            both = (spread[True], spread[False]) if known[name] else spread[False]
            pair = maps[name], maps[VIL], whole[name], whole[VIL], both
            gaps[name] = paired_difference(*pair, comparisons=len(MODELS) - 1)
    return gaps


def trial(threads):
    """The whole way with little: does it run here?"""
    with tempfile.TemporaryDirectory() as folder:
        data = airfield.build(Path(folder, "airfield"), 64, 16, SIZE, seed=0, metres_per_pixel=SCALE)
        runs = fine_tune([VIL, LARGER], data, Path(folder, "runs"), 2, [0], threads, {VIL: {"lr0": 1e-3}})
        print({name: one["cost"] for name, (one,) in runs.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("rates", "all"), default="all")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(range(5)), help="those beyond 2 are for two models"
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--threads", type=int, default=1, help="the same for all runs of a folder")
    parser.add_argument("--try", action="store_true", dest="trial", help="a short run that records nothing")
    options = parser.parse_args()
    if options.trial:
        return trial(options.threads)
    rates = choose_rates(options.models, options.threads)
    if options.stage == "rates":
        return print(rates)
    own = {name: {"lr0": max(rates[name], key=rates[name].get)} for name in options.models}
    data = airfield.build(FOLDER / "runs" / "airfield", TRAIN, VAL, SIZE, seed=0, metres_per_pixel=SCALE)
    fresh = airfield.build(FOLDER / "runs" / "airfield-fresh", 1, JUDGED, SIZE, seed=FRESH, metres_per_pixel=SCALE)
    runs, classes = {}, {}
    for seed in options.seeds:
        names = [name for name in options.models if seed in SEEDS[name]]
        of_seed = {name: own[name] for name in names}
        for name, (one,) in fine_tune(names, data, FOLDER, EPOCHS, [seed], options.threads, of_seed).items():
            judged = kept(FOLDER / "judged" / f"{name}-seed{seed}.json", partial(judge, name, seed, fresh))
            classes.setdefault(name, judged["classes"])
            curves = {key: one["curves"][key] for key in ("metrics/mAP50-95(B)", "lr/pg0")}
            run = {"seed": seed, "resumed_after": one["resumed_after"], "metrics": judged["metrics"], "curves": curves}
            runs.setdefault(name, []).append(run)
    if {name: len(of) for name, of in runs.items()} != {name: len(seeds) for name, seeds in SEEDS.items()}:
        return print("recorded is the whole: call this without options when all runs are there")
    scenes = {"train": TRAIN, "val": VAL, "judged": JUDGED, "metres_per_pixel": SCALE}
    figures = {
        "models": runs,
        "differences": differences(),
        "classes": classes[VIL],
        "rates": rates,
        "budget": {"epochs": EPOCHS, "batch": BATCH, "imgsz": SIZE, "settings": SETTINGS},
        "scenes": scenes,
        "resamples": RESAMPLES,
    }
    record("ch15_compare", figures, seeds=options.seeds, packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
