"""LayerScale and the forget gate's biases in a deep, thin ViL: 24 blocks of width 32 on Fashion-MNIST, labels read.

    python experiments/ch19_deep.py        some twenty minutes of one core; see _runs.py for --only, --seeds

Version 2, patches of 7 pixels (16 tokens), 160 updates of 32 of the first 55,000 training images: the beginning of training
alone.  Four settings: with and without LayerScale (1e-4 at first, the value of the paper's DeiT-III), and forget biases from 3
to 6 (the library's) or 0 (each step forgets half).  Each setting has the best of five learning rates for itself, chosen with
a seed of its own on training images held out; judged on the first 2,000 test images.

parts   rate       five learning rates for each setting
        judge      each setting, eight seeds: share of test images recognised, and the loss of every ten updates
Writes book/results/ch19_deep.json.
"""

from functools import partial

import numpy as np
import torch
from _runs import Runs, best_rate
from _small import accuracy, shuffled, train
from ch19_self_supervision import TEST, UNLABELLED, data
from torch import nn

from vil_lite import VisionLSTM, keep_freed_memory
from vil_lite.complexity import parameters

DIM, DEPTH, UPDATES, BATCH, EVERY = 32, 24, 160, 32, 10
RATES, TUNED = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (100,)
#: setting: LayerScale's initial value, forget biases (of the first and the last head)
PLAIN = "as it is"
SETTINGS = {
    PLAIN: (None, (3.0, 6.0)),
    "LayerScale": (1e-4, (3.0, 6.0)),
    "forget bias 0": (None, (0.0, 0.0)),
    "both": (1e-4, (0.0, 0.0)),
}


def deep(layer_scale, bias, depth=DEPTH):
    size = {"patch_size": 7, "image_size": 28, "channels": 1, "num_classes": 10, "num_heads": 2, "form": "parallel"}
    model = VisionLSTM(DIM, depth, version=2, pooling="avg", layer_scale=layer_scale, **size)
    nn.init.trunc_normal_(model.head.weight, std=0.02)
    with torch.no_grad():
        for block in model.encoder.blocks:
            for path in block.layer.paths:
                path.mlstm_cell.fgate.bias.copy_(torch.linspace(*bias, 2))
    return model


def learn(setting, seed, updates, rate, judged):
    torch.manual_seed(seed)
    model, (images, labels) = deep(*SETTINGS[setting]), data()[0]
    losses, norms = zip(*train(model, images, labels, shuffled(len(images), seed, BATCH), updates, rate))
    of_some = [round(float(np.mean(losses[n : n + EVERY])), 4) for n in range(0, updates, EVERY)]
    return {"accuracy": 100 * accuracy(model, *judged), "losses": of_some, "first_norm": norms[0]}


def collect(runs, finish, parts):
    _, held, test = data()
    updates = 2 if runs.tiny else UPDATES
    if runs.tiny:
        held, test = ([x[:50] for x in part] for part in (held, test))
    tried = finish(
        {
            f"rate {name} {rate} {seed}": partial(learn, name, seed, updates, rate, held)
            for name in SETTINGS
            for rate in RATES
            for seed in TUNED
        }
    )
    if tried is None:
        return None
    reached = {job: run["accuracy"] for job, run in tried.items()}
    best = {name: best_rate(reached, name, RATES, TUNED) for name in SETTINGS}
    found = {
        "plan": {"dim": DIM, "depth": DEPTH, "updates": updates, "batch": BATCH, "every": EVERY, "test": TEST},
        "unlabelled": UNLABELLED,
        "settings": SETTINGS,
        "parameters": {name: parameters(deep(*setting)) for name, setting in SETTINGS.items()},
        "rates": {n: {r: [reached[f"rate {n} {r} {s}"] for s in TUNED] for r in RATES} for n in SETTINGS},
        "best": best,
    }
    if "judge" in parts:
        done = finish(
            {
                f"judge {name} {best[name]} {seed}": partial(learn, name, seed, updates, best[name], test)
                for seed in runs.seeds
                for name in SETTINGS
            }
        )
        if done is None:
            return None
        found["runs"] = {name: [done[f"judge {name} {best[name]} {seed}"] for seed in runs.seeds] for name in SETTINGS}
    return found


if __name__ == "__main__":
    keep_freed_memory()
    runs = Runs("ch19_deep", __doc__, ("rate", "judge"), range(8))
    runs.record(partial(collect, runs))
