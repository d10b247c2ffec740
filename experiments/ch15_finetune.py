"""Does ViL help YOLOv8n on the 27 classes of the airfield, and what does it cost?  Five models from one start, five seeds.

    python experiments/ch15_finetune.py                        everything that is still missing, then the record
    python experiments/ch15_finetune.py --stage rates          only the choice of the learning rates
    python experiments/ch15_finetune.py --seeds 0              one seed of the comparison; nothing is recorded yet
    python experiments/ch15_finetune.py --models yolov8n yolov8n-vil      some models; nothing is recorded yet
    python experiments/ch15_finetune.py --try                  one model, 64 images, two epochs, thrown away: about a minute

The plan.  All models start from the weights of a plain YOLOv8n that was trained for long (the shipped one, ch15_ship.py), as
people start from COCO's: every tensor of the same name and shape is taken over; what is new in a model starts from random.
Then all are trained on the same 1500 scenes for 5 epochs.  No epoch and no seed is chosen by the images that are reported: the
last epoch counts, and the learning rate of each model, one of four, was chosen by one run each (a seed and scenes that appear
nowhere else).  Controls: C2f and attention of equal parameters, and plain YOLOv8n on images of 352 pixels, which costs as much
time as ViL at P4 and P5 does; it has the rate of the plain one.  Plain and ViL at P4 and P5 have five seeds, the others three.

Kill it at any time: the same command goes on where it stopped.  Each run has one thread and trains in bfloat16, so two commands
with other --models or --seeds use two cores; the last one, without options, records.  Small files of finished runs (JSON, NPZ)
lie in experiments/runs/ch15_finetune: commit them to go on elsewhere; weights and ultralytics' folders lie beside them and are
ignored.  A run takes some 10 minutes on a core that multiplies bfloat16.  Writes book/results/ch15_finetune.json.  What the
models cost is measured apart, by ch15_cost.py.
"""

import argparse
import os
import tempfile
from pathlib import Path

import ch15_compare
from _record import record
from ch15_compare import RESAMPLES, VIL, against, figures_of
from ch15_ship import SCALE, SETTINGS, SIZE
from ultralytics.utils import ROOT

from vil_lite.data import airfield
from vil_lite.yolo import shipped
from vil_lite.yolo.compare import compare

FOLDER = Path(__file__).resolve().parent / "runs" / "ch15_finetune"
LARGER_SIZE = 352
LARGER = f"yolov8n-{LARGER_SIZE}"  # plain, on larger images: as slow as ViL at P4 and P5
MODELS = [
    "yolov8n",
    "yolov8n-vil",
    "yolov8n-c2f-equal",
    "yolov8n-attention",
    LARGER,
]
MAIN, CONTROLS = ("yolov8n", VIL), [*ch15_compare.CONTROLS, LARGER]
TRAIN, VAL, BATCH = 1500, 230, 16
EPOCHS, RATE_EPOCHS = 5, 2
RATES, RATE_SEED = (5e-5, 1e-4, 2e-4, 5e-4), 100
SETTINGS = {**SETTINGS, "amp": "bf16"}


def start_file(folder):
    """The shipped start as a checkpoint that ultralytics reads, named from within folder: the plan holds no path."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    if not Path("start.pt").is_file():
        shipped.airfield_detector(shipped.PLAIN).save("start.pt")
    return "start.pt"


def names(folder, models):
    """What `compare` calls the models: the plain one on larger images is a copy of its file under another name."""
    copy = folder / f"{LARGER}.yaml"
    if LARGER in models:
        folder.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / "cfg/models/v8/yolov8.yaml").read_text())
    return [str(copy) if name == LARGER else name for name in models]


def fine_tune(models, data, folder, epochs, seeds, threads, own=None, **settings):
    """`compare` from the common start; the results under the names of MODELS."""
    called = dict(zip(names(folder, models), models, strict=True))
    own = {name: dict((own or {}).get(models_name, {})) for name, models_name in called.items()}
    for name, models_name in called.items():
        if models_name == LARGER:
            own[name]["imgsz"] = LARGER_SIZE
    budget = {"epochs": epochs, "imgsz": SIZE, "batch": BATCH, "threads": threads, "resamples": RESAMPLES}
    settings = {"pretrained": start_file(folder), **SETTINGS, **settings}
    result = compare(list(called), data, folder, seeds=seeds, own=own, **{**budget, **settings})
    for key in ("models", "differences_mAP50-95"):
        result[key] = {called[name]: found for name, found in result[key].items()}
    return result


def choose_rates(models, threads):
    """{model: {rate: mAP50-95 of one run}}, on scenes and with a seed that nothing else uses; plain serves on larger images, too."""
    data = airfield.build(FOLDER / "runs" / "airfield-rates", TRAIN, VAL, SIZE, seed=50, metres_per_pixel=SCALE)
    models = list(dict.fromkeys("yolov8n" if name == LARGER else name for name in models))
    found = {name: {} for name in models}
    for rate in RATES:
        run = (data, FOLDER / f"rate {rate}", RATE_EPOCHS, [RATE_SEED], threads)
        for name, model in fine_tune(models, *run, lr0=rate)["models"].items():
            found[name][rate] = model["metrics"]["mAP50-95"]["mean"]
    return found | {LARGER: found["yolov8n"]} if "yolov8n" in found else found


def trial(threads):
    """The whole way with little: does it run here?"""
    with tempfile.TemporaryDirectory() as folder:
        data = airfield.build(Path(folder, "airfield"), 64, 16, SIZE, seed=0, metres_per_pixel=SCALE)
        result = fine_tune(
            [VIL, LARGER], data, Path(folder, "runs"), 2, [0], threads, own={VIL: {"lr0": 1e-3}}, resamples=20
        )
        print({name: model["runs"][0]["cost"] for name, model in result["models"].items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("rates", "all"), default="all")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="those beyond 2 are for two models")
    parser.add_argument("--models", nargs="+", default=MODELS, help="the first is compared with")
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
    run = (data, FOLDER, EPOCHS)
    few = [seed for seed in options.seeds if seed < 3]
    pair = [name for name in MAIN if name in options.models]
    parts = [
        fine_tune(models, *run, seeds, options.threads, {name: own[name] for name in models})
        for models, seeds in ((options.models, few), (pair, options.seeds))
        if models and seeds
    ]
    if (options.models, options.seeds) != (MODELS, list(range(5))):
        return print("all models and all seeds together are recorded: call this without options when all runs are there")
    result, many = parts
    for key in ("models", "differences_mAP50-95"):
        result[key] |= many[key]
    figures = figures_of(result, against(CONTROLS, FOLDER, few))
    figures["rates"] = rates
    figures["data"] = f"airfield.build(train={TRAIN}, val={VAL}, image_size={SIZE}, seed=0, metres_per_pixel={SCALE})"
    record("ch15_finetune", figures, seeds=options.seeds, packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
