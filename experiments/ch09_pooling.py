"""Table 3 of the Vision-LSTM paper in small: five poolings, objects in the centre and at the border, three seeds.

    python experiments/ch09_pooling.py              about 10 minutes on one CPU core
    python experiments/ch09_pooling.py centre       only the runs on scenes with the pair in the centre (or border)

Four blocks of width 32; 32 x 32 pixels in 8 x 8 patches, one every 6 pixels, so 5 x 5 tokens and a true middle.  Batches of
64 of 6400 scenes, AdamW, one cycle up to 1e-2; 150 updates in the centre and 400 at the border, where the task is harder.
A seed fixes the order of the images, and the initial weights of those models that have the same parameters.
Each trained model is tested on 1000 scenes of both kinds.  Every run is kept in _build/ch09_pooling as soon as it is
done, so an interrupted command goes on where it stopped.  When all are there, it writes book/results/ch09_pooling.json.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from _record import kept, record
from ch08_designs import correct, train

from vil_lite import VisionLSTM
from vil_lite.data import scenes32

SEEDS = range(3)
KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch09_pooling"
UPDATES = {"centre": 150, "border": 400}
POOLINGS = ("avg", "middle_patch", "middle_cls", "bilateral_avg", "bilateral_concat")


def small(pooling):
    """Four blocks of width 32 on 5 x 5 tokens of a grey image of 32 x 32 pixels."""
    return VisionLSTM(32, 4, image_size=32, patch_size=8, stride=6, channels=1, num_classes=10, pooling=pooling)


def run(place, pooling, seed):
    """Train one model; which test images it recognises: {place: list of 0 and 1}."""
    torch.manual_seed(seed)
    model = train(small(pooling), *scenes32.build(6400, seed=1, place=place), UPDATES[place], seed)
    return {test: correct(model, *scenes32.build(1000, seed=2, place=test)) for test in UPDATES}


def main():
    torch.set_num_threads(1)
    places = sys.argv[1:] or list(UPDATES)
    found = {place: {pooling: {test: [] for test in UPDATES} for pooling in POOLINGS} for place in places}
    for seed in SEEDS:
        for place in places:
            for pooling in POOLINGS:
                runs = kept(KEPT / f"{place}-{pooling}-{seed}.json", partial(run, place, pooling, seed))
                for test, right in runs.items():
                    found[place][pooling][test].append(sum(right) / len(right))
    if set(places) == set(UPDATES):
        record("ch09_pooling", {"accuracy": found, "updates": UPDATES}, seeds=SEEDS)


if __name__ == "__main__":
    main()
