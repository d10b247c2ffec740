"""Does ViL help YOLOv8n on the 27 classes of the airfield, and what does it cost?  Six models, three seeds, one budget.

    python experiments/ch15_compare.py                        everything
    python experiments/ch15_compare.py --seeds 0              one seed; more can be added later
    python experiments/ch15_compare.py --models yolov8n yolov8n-vil --seeds 0 1      some models; the first is compared with
    python experiments/ch15_compare.py --try                  one model, 64 images, two epochs, thrown away: about a minute

Kill it at any time: the same command goes on where it stopped, in the middle of a run after its last whole epoch.  Runs go
seed by seed, so that after each third all models have had the same.  At the end it writes book/results/ch15_compare.json.
Finished runs are kept in experiments/ch15_runs/ (JSON, NPZ, weights); copy that folder to go on with another machine.

The plan.  Each run has one thread: two cores train two models at once, faster than one after the other with two threads,
and a result does not depend on how many cores there are.  Start the command twice, with other --seeds, for that.  A run sees
7680 images of 320 pixels and is validated twelve times: about twenty minutes on a core of the recorded speed pages, all
eighteen three hours on two.  The 7680 are spent as 12 epochs of 640 scenes: scenes are drawn, so new ones are worth more than
old ones again, and mosaics, which would make new scenes out of four old ones, half as large, are left out.  Batches of 4 make
twice as many steps of the same images as batches of 8.
All 200 validation scenes are new to every model; they choose nothing, the last epoch counts.  What the models cost is
measured apart, by ch15_cost.py: these runs may share their machine.
"""

import argparse
import tempfile
from pathlib import Path

from _record import record

from vil_lite.data import airfield
from vil_lite.yolo.compare import _differences, compare

FOLDER = Path(__file__).resolve().parent / "ch15_runs"
MODELS = ["yolov8n", "yolov8n-vil-p5", "yolov8n-vil", "yolov8n-vil-p345", "yolov8n-c2f-equal", "yolov8n-attention"]
VIL, CONTROLS = "yolov8n-vil", ["yolov8n-c2f-equal", "yolov8n-attention"]  # of equal parameters
TRAIN, VAL, SIZE, EPOCHS, BATCH, RESAMPLES = 640, 200, 320, 12, 4, 500
# Seen from above any side may be up; one epoch of warm-up, because there are few.
SETTINGS = {"mosaic": 0.0, "flipud": 0.5, "warmup_epochs": 1.0}


def against(controls, folder, seeds):
    """{control: by how much ViL is better}, of the finished runs in folder."""
    return {c: _differences(folder, [c, VIL], seeds, RESAMPLES)["differences_mAP50-95"][VIL] for c in controls}


def figures_of(result, against_controls):
    """What `compare` found, without what the record says itself."""
    for model in result["models"].values():
        model["runs"] = [{k: v for k, v in run.items() if k not in ("device", "versions")} for run in model["runs"]]
    told = {k: v for k, v in result.items() if k not in ("command", "device", "versions", "seeds")}
    return {**told, "against_controls": against_controls}


def trial(threads):
    """The whole way with little: does it run here?"""
    with tempfile.TemporaryDirectory() as folder:
        data = airfield.build(Path(folder, "airfield"), train=64, val=16, image_size=SIZE, seed=0)
        budget = {"epochs": 2, "imgsz": SIZE, "batch": BATCH, "threads": threads, "resamples": 20}
        result = compare(["yolov8n-vil"], data, Path(folder, "runs"), seeds=[0], **budget, **SETTINGS)
        print(result["models"]["yolov8n-vil"]["runs"][0]["cost"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--models", nargs="+", default=MODELS, help="the first is the one that others are compared with"
    )
    parser.add_argument("--threads", type=int, default=1, help="the same for all runs of a folder")
    parser.add_argument("--try", action="store_true", dest="trial", help="a short run that records nothing")
    options = parser.parse_args()
    if options.trial:
        return trial(options.threads)
    data = airfield.build(FOLDER / "runs" / "airfield", train=TRAIN, val=VAL, image_size=SIZE, seed=0)
    budget = {"epochs": EPOCHS, "imgsz": SIZE, "batch": BATCH, "threads": options.threads}
    result = compare(options.models, data, FOLDER, seeds=options.seeds, resamples=RESAMPLES, **budget, **SETTINGS)
    controls = [name for name in CONTROLS if {name, VIL} <= set(options.models)]
    figures = figures_of(result, against(controls, FOLDER, options.seeds))
    figures["data"] = f"airfield.build(train={TRAIN}, val={VAL}, image_size={SIZE}, seed=0)"
    record("ch15_compare", figures, seeds=options.seeds, packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
