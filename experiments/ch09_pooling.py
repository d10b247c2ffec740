"""Table 3 of the Vision-LSTM paper in small: five poolings, objects in the centre, at the border, and photographs.

    python experiments/ch09_pooling.py               hours; see _runs.py for --only, --seconds, --again, --try
    python experiments/ch09_pooling.py short         the record of 2026-11-23: three seeds, 150 and 400 updates, one rate

Four blocks of width 32.  Scenes of 32 x 32 pixels in 8 x 8 patches, one every 6 pixels, so 5 x 5 tokens and a true middle;
Fashion-MNIST in patches of 4, 7 x 7 tokens, with a true middle, too.  Batches of 64, AdamW, one cycle, as many
updates for all; the learning rate is chosen for each pooling on scenes and photographs that judge nothing (_tables.py).
A seed fixes the scenes to learn from, the order of the images, and the initial weights of those models that have the same
parameters.  A model trained on scenes is tested on 4000 scenes of both kinds.
Writes book/results/ch09_pooling.json, and with --only fashion ch09_pooling_fashion.json.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from _record import kept, record
from _runs import Runs
from _small import correct
from _tables import fitted, small, tables

from vil_lite.data import scenes32

PARTS = ("centre", "border", "fashion")
SEEDS = range(8)
KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch09_pooling"  # of `short` alone
POOLINGS = ("avg", "middle_patch", "middle_cls", "bilateral_avg", "bilateral_concat")


def collect(runs, finish, parts):
    """The figures: accuracy[trained on][pooling][tested on], one number a seed."""
    found = tables(finish, runs.tiny, parts, {p: {"pooling": p} for p in POOLINGS}, ("avg", "middle_cls"))
    figures = {
        key: {name: one[key] for name, one in found.items()}
        for key in ("accuracy", "updates", "images", "rates", "longer")
    }
    return figures if set(parts) == set(found) else None


def short_run(place, pooling, seed, updates):
    """Train one model; which test images it recognises: {place: list of 0 and 1}."""
    build = partial(small, pooling=pooling, image_size=32, patch_size=8, stride=6)
    model = fitted(build, scenes32.draw(6400, seed=1, place=place), updates[place], 1e-2, seed)
    return {test: correct(model, *scenes32.draw(1000, seed=2, place=test)) for test in updates}


def short():
    """The runs that chapter 9 shows until the long ones are made; ten minutes."""
    torch.set_num_threads(1)
    updates = {"centre": 150, "border": 400}
    found = {place: {pooling: {test: [] for test in updates} for pooling in POOLINGS} for place in updates}
    for seed in range(3):
        for place in updates:
            for pooling in POOLINGS:
                work = partial(short_run, place, pooling, seed, updates)
                for test, right in kept(KEPT / f"{place}-{pooling}-{seed}.json", work).items():
                    found[place][pooling][test].append(sum(right) / len(right))
    record("ch09_pooling", {"accuracy": found, "updates": updates}, seeds=range(3))


if __name__ == "__main__":
    if sys.argv[1:] == ["short"]:
        short()
    else:
        experiment = Runs("ch09_pooling", __doc__, PARTS, SEEDS, alone={"fashion": range(5)})
        experiment.record(partial(collect, experiment))
