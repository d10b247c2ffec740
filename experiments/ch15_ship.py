"""Put the best ViL detector of chapter 15's comparison into the package, with its card.

    python experiments/ch15_ship.py        after ch15_compare.py; about a minute

Of all finished runs of a model with ViL in experiments/ch15_runs*/ the one with the highest mAP50-95 on the validation scenes
is packed into vil_lite/yolo/weights/airfield27.pth.  Because it was chosen there, it is judged anew on 200 scenes of another
seed, which played no part; the card gives both.  Writes vil_lite/yolo/weights/airfield27.md and book/results/ch15_ship.json.
"""

import json
import tempfile
from pathlib import Path

from _record import record
from ch15_compare import FOLDER, SIZE, TRAIN

from vil_lite._files import write
from vil_lite.data import airfield
from vil_lite.yolo import shipped

SEED, SCENES = 1, 200
CARD = """# airfield27

A {model} ({parameters:,} parameters) that finds aircraft on drawn airfields seen from above and names their type, one of 27.

| | |
|---|---|
| use | `vil_lite.yolo.shipped.airfield_detector()` |
| trained on | `airfield.build(train={train}, image_size={imgsz}, seed=0)`, {epochs} epochs, batch {batch}, from random weights |
| training seed | {seed} |
| on the validation scenes, by which it was chosen | mAP50 {mAP50:.3f}, mAP50-95 {mAP5095:.3f} |
| on {scenes} new scenes (seed {fresh_seed}) | mAP50 {fresh50:.3f}, mAP50-95 {fresh5095:.3f} |
| the same with a grey border of 16 pixels, as ultralytics' `val` adds it by default | mAP50-95 {padded:.3f} |
| file | state dict, matrices in half precision, {megabytes:.1f} MB; read with `weights_only=True` |

{epochs} epochs of {train} scenes are little: it misses aircraft and often names them wrongly. It has seen drawings alone and is
of no use on photographs. Made by `python experiments/ch15_ship.py`.
"""


def main():
    runs = {
        path: json.loads(path.read_text()) for path in sorted(FOLDER.parent.glob(f"{FOLDER.name}*/*-vil*-seed*.json"))
    }
    path, best = max(runs.items(), key=lambda run: run[1]["metrics"]["mAP50-95"])
    shipped.pack(path.with_suffix(".pt"), shipped.WEIGHTS, best["model"], SIZE)
    with tempfile.TemporaryDirectory() as folder:
        data = airfield.build(Path(folder, "airfield"), train=1, val=SCENES, image_size=SIZE, seed=SEED)
        same = {"data": str(data), "imgsz": SIZE, "device": "cpu", "workers": 0, "plots": False, "project": folder}
        found = shipped.airfield_detector().val(
            **same, rect=False
        )  # images of SIZE pixels, as ch15_compare.py has them
        padded = shipped.airfield_detector().val(**same, rect=True)  # ultralytics' default: a grey border around them
    budget = json.loads((path.parent / "plan.json").read_text())
    figures = {
        "model": best["model"],
        "seed": best["seed"],
        "parameters": best["cost"]["parameters"],
        "candidates": len(runs),
        "epochs": budget["epochs"],
        "batch": budget["batch"],
        "imgsz": SIZE,
        "megabytes": shipped.WEIGHTS.stat().st_size / 1e6,
        "mAP50": best["metrics"]["mAP50"],
        "mAP50-95": best["metrics"]["mAP50-95"],
        "fresh": {
            "seed": SEED,
            "scenes": SCENES,
            "mAP50": float(found.box.map50),
            "mAP50-95": float(found.box.map),
            "padded": float(padded.box.map),
        },
    }
    fresh = figures["fresh"]
    card = CARD.format(
        **{k: v for k, v in figures.items() if "-" not in k},
        mAP5095=figures["mAP50-95"],
        train=TRAIN,
        scenes=SCENES,
        fresh_seed=SEED,
        fresh50=fresh["mAP50"],
        fresh5095=fresh["mAP50-95"],
        padded=fresh["padded"],
    )
    write(shipped.WEIGHTS.with_suffix(".md"), card)
    record("ch15_ship", figures, seeds=[best["seed"]], packages=("torch", "ultralytics"))


if __name__ == "__main__":
    main()
