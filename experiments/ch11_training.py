"""What the recipe's ingredients do, and ViL against DeiT-III-T at equal parameters, on handwritten digits.

    python experiments/ch11_training.py comparison       about 4 minutes on one CPU core
    python experiments/ch11_training.py ingredients      about 3 minutes

With --seconds 200 it stops after so many seconds, and goes on where it stopped when it is started again.

tuning      rates x LayerScale for both models, the same grid, on digits held out of the training set; one seed
comparison  both models with what the tuning chose, and DeiT-III-T with the LayerScale of Table 6; three seeds
ingredients ViL on 200 digits with parts of the recipe changed, at a modest and at a high learning rate; three seeds
Writes book/results/ch11_training.json (tuning and comparison) and book/results/ch11_ingredients.json.
"""

import argparse
import json
import time

import torch
from _record import RESULTS, record

from vil_lite import VisionLSTM
from vil_lite.data import digits
from vil_lite.recipes import deit3_tiny
from vil_lite.training import fit

SEEDS, EPOCHS = range(3), 8
RATES, SCALES = (2e-3, 5e-3, 1e-2), (1e-4, 0.1, 1.0)
RECIPE = {"weight_decay": 0.05, "clip": 1.0, "mixup": 0.8, "cutmix": 1.0, "ema": 0.98}
CHANGES = {
    "recipe": {},
    "no warm-up": {"warmup": 0},
    "constant rate": {"warmup": 0, "min_lr": "lr"},
    "no clipping": {"clip": None},
    "no weight decay": {"weight_decay": 0.0},
    "no mixup, no cutmix": {"mixup": 0.0, "cutmix": 0.0},
}


def build(name, scale, seed):
    """A ViL or a DeiT-III-T of about 19,000 parameters; scale: initial LayerScale, None for the model's own."""
    torch.manual_seed(seed)
    size = {"image_size": 8, "patch_size": 2, "channels": 1, "num_classes": 10, "depth": 2}
    if name == "ViL":
        return VisionLSTM(dim=32, layer_scale=scale, **size)
    model = deit3_tiny(dim=27, num_heads=3, **size)
    if scale is not None:
        for block in model.blocks:
            torch.nn.init.constant_(block.ls1.gamma, scale)
            torch.nn.init.constant_(block.ls2.gamma, scale)
    return model


@torch.no_grad()
def accuracy(model, images, labels):
    return (model.eval()(images).argmax(1) == labels).float().mean().item()


def few(examples, each=20):
    """The first `each` examples of every class."""
    rows = torch.cat([(examples.labels == digit).nonzero()[:each, 0] for digit in range(10)])
    return examples.images[rows], examples.labels[rows]


def tuning(data, name, scale, rate):
    held_out = torch.zeros(len(data.train.labels), dtype=torch.bool)
    held_out[torch.argsort(data.train.labels, stable=True)[::5]] = True
    train, rest = ([part[mask] for part in data.train] for mask in (~held_out, held_out))
    fit(model := build(name, scale, 0), train, epochs=EPOCHS, batch_size=64, lr=rate, progress=False)
    return accuracy(model, *rest)


def chosen(figures, name):
    """(scale, rate) with the best accuracy on the held-out digits."""
    tried = {key: value for key, value in figures["tuning"].items() if key.startswith(f"{name} ")}
    scale, rate = max(tried, key=tried.get).split()[1:]
    return None if scale == "None" else float(scale), float(rate)


def comparison(data, figures, label, seed):
    name = label.split(",")[0]
    scale, rate = chosen(figures, name)
    if label.endswith("1e-4"):
        tried = {r: figures["tuning"][f"{name} 0.0001 {r}"] for r in RATES}
        scale, rate = 1e-4, max(tried, key=tried.get)
    model = build(name, scale, seed)
    done = fit(model, data.train, data.test, epochs=EPOCHS, batch_size=64, lr=rate, seed=seed, progress=False)
    return [row["test_accuracy"] for row in done.log]


def ingredients(data, change, rate, seed):
    settings = {**RECIPE, **CHANGES[change]}
    if settings.get("min_lr") == "lr":
        settings["min_lr"] = rate
    model = build("ViL", None, seed)
    try:
        done = fit(model, few(data.train), epochs=20, batch_size=40, lr=rate, seed=seed, progress=False, **settings)
    except FloatingPointError:
        return [0.0, 0.0]
    return [accuracy(model, *data.test), accuracy(done.ema, *data.test)]


def comparison_jobs(data, figures):
    """(part, key, function) of everything there is to do."""
    for name in ("DeiT-III-T", "ViL"):
        for scale in ((None,) if name == "ViL" else ()) + SCALES:
            for rate in RATES:
                yield "tuning", f"{name} {scale} {rate}", lambda a=(name, scale, rate): tuning(data, *a)
    for seed in SEEDS:
        for label in ("ViL", "DeiT-III-T", "DeiT-III-T, LayerScale 1e-4"):
            yield "comparison", f"{label} {seed}", lambda a=(label, seed): comparison(data, figures, *a)


def ingredients_jobs(data, figures):
    for seed in SEEDS:
        for change in CHANGES:
            for rate in (5e-3, 3e-2):
                yield "ingredients", f"{change} {rate} {seed}", lambda a=(change, rate, seed): ingredients(data, *a)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("comparison", "ingredients"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    torch.set_num_threads(1)
    data = digits.load()
    name, jobs = ("ch11_training", comparison_jobs) if arguments.what == "comparison" else ("ch11_ingredients", ingredients_jobs)
    path = RESULTS / f"{name}.json"
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    figures["parameters"] = {n: sum(p.numel() for p in build(n, None, 0).parameters()) for n in ("ViL", "DeiT-III-T")}
    for part, key, work in jobs(data, figures):
        done = figures.setdefault(part, {})
        if key not in done and time.monotonic() < until:
            done[key] = work()
            print(part, key, done[key], flush=True)
            record(name, figures, seeds=SEEDS, packages=("torch", "timm", "accelerate"))


if __name__ == "__main__":
    main()
