"""Table 2 of the Vision-LSTM paper in small: seven block designs, two data sets, three seeds.

    python experiments/ch08_designs.py              about 15 minutes on one CPU core
    python experiments/ch08_designs.py digits       only the runs on digits (or scenes)

Accuracy: four blocks of width 32 on 4 x 4 patches; batches of 64, AdamW, one cycle up to 1e-2; 138 updates on the 1437
training digits, 300 on 6400 scenes of 32 x 32 pixels.  A seed fixes the order of the images, and the initial weights of
those designs that have the same parameters.
Every run is kept in _build/ch08_designs as soon as it is done, so an interrupted command goes on where it stopped.
When all are there, it writes book/results/ch08_designs.json.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from _record import kept, record
from torch import nn

from vil_lite import VisionLSTM
from vil_lite.block import DESIGNS
from vil_lite.data import digits, scenes32

SEEDS = range(3)
KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch08_designs"
UPDATES = {"digits": 138, "scenes": 300}


def load(name):
    """(training examples, test examples)"""
    return digits.load() if name == "digits" else (scenes32.build(6400, seed=1), scenes32.build(1000, seed=2))


def small(design, size):
    """Four blocks of width 32 for grey images of size x size pixels in 4 x 4 patches."""
    pooling = "last" if design == "unidirectional" else "bilateral_avg"  # as in the paper: the first has seen nothing
    return VisionLSTM(
        32, 4, image_size=size, patch_size=size // 4, channels=1, num_classes=10, design=design, pooling=pooling
    )


def train(model, images, labels, updates, seed, rate=1e-2):
    """Train for `updates` batches of 64 and return the model."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=updates, pct_start=0.2)
    generator, queue = torch.Generator().manual_seed(seed), []
    for _ in range(updates):
        queue = queue or list(torch.randperm(len(images), generator=generator).split(64))
        batch = queue.pop()
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model


@torch.no_grad()
def correct(model, images, labels):
    """Which test images are recognised: a list of 0 and 1."""
    return (model(images).argmax(1) == labels).int().tolist()


def accuracies(name):
    """{design: {"all": accuracy per seed, "by class": [per seed, per class]}}"""
    train_set, test_set = load(name)
    found = {design: {"all": [], "by class": []} for design in DESIGNS}
    for seed in SEEDS:
        for design in DESIGNS:

            def one(seed=seed, design=design):
                torch.manual_seed(seed)
                model = train(small(design, train_set.images.shape[-1]), *train_set, UPDATES[name], seed)
                return correct(model, *test_set)

            right = torch.tensor(kept(KEPT / f"{name}-{design}-{seed}.json", one), dtype=torch.float64)
            found[design]["all"].append(right.mean().item())
            found[design]["by class"].append([right[test_set.labels == c].mean().item() for c in range(10)])
    return found


def main():
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or list(UPDATES)
    figures = {name: accuracies(name) for name in wanted}
    if set(wanted) == set(UPDATES):
        record("ch08_designs", {**figures, "updates": UPDATES}, seeds=SEEDS)


if __name__ == "__main__":
    main()
