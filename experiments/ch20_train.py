"""Train the models that chapter 20 opens: ViL of version 1 on Fashion-MNIST, 49 patches of 4 x 4 pixels, three seeds.

    python experiments/ch20_train.py        a quarter of an hour of one core; see _runs.py for --seeds, --seconds

Six blocks of width 64, batches of 32, AdamW, one cycle, a little less than one round through the 60,000 images.  The rate
was not searched: nothing is compared with these models but themselves.
Kept of each run: accuracy on the 10,000 test images, and of the untrained model on 1000.  The weights of a seed lie in
_build/ch20, where ch20_open.py finds them; those of seed 0 are shipped, with 60 test images (Xiao, Rasul and Vollgraf 2017,
MIT licence), as book/results/ch20_model.pth.  Writes book/results/ch20_train.json.
"""

from functools import cache, partial
from pathlib import Path

import torch
from _record import RESULTS
from _runs import Runs
from _small import accuracy, shuffled, train

from vil_lite import VisionLSTM, keep_freed_memory
from vil_lite._files import whole
from vil_lite.complexity import parameters
from vil_lite.data import fashion

MODEL = {"dim": 64, "depth": 6, "patch_size": 4, "image_size": 28, "channels": 1, "num_classes": 10}
SEEDS, UPDATES, BATCH, RATE = range(3), 1800, 32, 3e-3
SHOWN = 6  # test images of each class in the sample
WEIGHTS = Path(__file__).resolve().parents[1] / "_build" / "ch20"

data = cache(fashion.load)


def fresh(seed):
    """The untrained model of a seed."""
    torch.manual_seed(seed)
    return VisionLSTM(**MODEL)


def trained(seed, updates=UPDATES):
    """The trained model of a seed: from its file, or trained now, which makes that file."""
    path, model = WEIGHTS / f"seed{seed}-{updates}.pt", fresh(seed)
    if not path.is_file():
        train(model, *data().train, shuffled(len(data().train.images), seed, BATCH), updates, RATE, fused=True)
        save(path, model.state_dict())
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def save(path, content):
    with whole(path, "wb") as file:
        torch.save(content, file)


def judged(seed, updates):
    images, labels = data().test
    found = {"untrained": accuracy(fresh(seed), images[:1000], labels[:1000])}
    return found | {"accuracy": accuracy(trained(seed, updates), images, labels)}


def ship():
    """Seed 0 with the first few test images of each class, in a file that holds tensors, numbers and names alone."""
    images, labels = data().test
    rows = torch.cat([(labels == c).nonzero()[:SHOWN, 0] for c in range(10)])
    source = "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), MIT licence, Copyright (c) 2017 Zalando SE"
    content = {"options": MODEL, "model": trained(0).state_dict(), "classes": list(fashion.CLASSES), "source": source}
    pixels = (images[rows, 0] * 255).round().to(torch.uint8)
    save(RESULTS / "ch20_model.pth", {**content, "images": pixels, "labels": labels[rows]})


def collect(runs, finish, parts):
    updates = 2 if runs.tiny else UPDATES
    done = finish({f"train {seed}": partial(judged, seed, updates) for seed in runs.seeds})
    if done is None:
        return None
    columns = {key: [done[f"train {seed}"][key] for seed in runs.seeds] for key in ("accuracy", "untrained")}
    plan = {"model": MODEL, "updates": updates, "batch": BATCH, "rate": RATE, "tests": len(data().test.labels)}
    if not runs.tiny:
        ship()
    return {"plan": plan, "parameters": parameters(fresh(0)), **columns}


if __name__ == "__main__":
    keep_freed_memory()
    runs = Runs("ch20_train", __doc__, ("train",), SEEDS)
    runs.record(partial(collect, runs))
