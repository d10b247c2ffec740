"""What the recipe's ingredients do, and ViL against DeiT-III-T at equal parameters, on handwritten digits.

    python experiments/ch11_training.py comparison       about 15 minutes on one CPU core
    python experiments/ch11_training.py ingredients      about 3 minutes

tuning      rates x LayerScale for both models, the same grid, on digits held out of the training set; three seeds
comparison  tuning, then both models with what it chose, and DeiT-III-T with the LayerScale of Table 6; three seeds
ingredients ViL on 200 digits with parts of the recipe changed, at a modest and at a high learning rate; three seeds
Every run is kept in _build/ch11_training as soon as it is done, so an interrupted command goes on where it stopped.
--seconds 200 stops before the first run that would begin later; --seeds 0 tunes with this seed only, so that several
processes can share the work.  When all runs are there, comparison writes book/results/ch11_training.json and ingredients
book/results/ch11_ingredients.json.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from _record import kept, record

from vil_lite import VisionLSTM
from vil_lite.data import digits
from vil_lite.recipes import deit3_tiny
from vil_lite.training import fit

SEEDS, EPOCHS = range(3), 20
RATES = 0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04
SCALES = {"ViL": (None, 0.1), "DeiT-III-T": (1e-4, 0.1)}  # of LayerScale at the start: the model's own, and one more
KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch11_training"
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
    """A ViL or a DeiT-III-T of about 19,000 parameters; scale: initial LayerScale, None for none (ViL alone)."""
    torch.manual_seed(seed)
    size = {"image_size": 8, "patch_size": 2, "channels": 1, "num_classes": 10, "depth": 2}
    if name == "ViL":
        return VisionLSTM(dim=32, layer_scale=scale, **size)
    model = deit3_tiny(dim=27, num_heads=3, **size)
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


def train(data, name, scale, rate, seed, held_out):
    """Accuracy after each epoch: on a fifth of the training digits, not trained on (held_out), or on the test digits."""
    examples, tests = data.train, data.test
    if held_out:
        away = torch.zeros(len(data.train.labels), dtype=torch.bool)
        away[torch.argsort(data.train.labels, stable=True)[::5]] = True
        examples, tests = ([part[mask] for part in data.train] for mask in (~away, away))
    model = build(name, scale, seed)
    done = fit(model, examples, tests, epochs=EPOCHS, batch_size=64, lr=rate, seed=seed, progress=False)
    return [row["test_accuracy"] for row in done.log]


def tuning_jobs(data, seeds=SEEDS):
    """{key: function} of the search."""
    return {
        f"{name} {scale} {rate} {seed}": lambda a=(name, scale, rate, seed): train(data, *a, held_out=True)
        for seed in seeds
        for rate in RATES
        for name, scales in SCALES.items()
        for scale in scales
    }


def best(tuned, name, scales):
    """(scale, rate) with the best mean accuracy on the held-out digits at the end of training."""

    def mean(setting):
        return sum(tuned[f"{name} {setting[0]} {setting[1]} {seed}"] for seed in SEEDS) / len(SEEDS)

    return max(((scale, rate) for scale in scales for rate in RATES), key=mean)


def comparison_jobs(data, tuned):
    """{key: function} of the runs that are measured on the test digits."""
    chosen = {(name, *best(tuned, name, scales)) for name, scales in SCALES.items()}
    chosen.add(("DeiT-III-T", *best(tuned, "DeiT-III-T", [1e-4])))  # Table 6; perhaps the same
    return {
        " ".join(map(str, (*setting, seed))): lambda a=(*setting, seed): train(data, *a, held_out=False)
        for setting in sorted(chosen, key=str)
        for seed in SEEDS
    }


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


def ingredients_jobs(data):
    """{key: function} of the recipe's changes."""
    return {
        f"{change} {rate} {seed}": lambda a=(change, rate, seed): ingredients(data, *a)
        for seed in SEEDS
        for change in CHANGES
        for rate in (5e-3, 3e-2)
    }


def finish(part, jobs, until):
    """{key: result} of all jobs, each read from its file or computed and kept; None when the time was over before."""
    done = {}
    for key, work in jobs.items():
        path = KEPT / part / f"{key}.json"
        if not path.is_file() and time.monotonic() > until:
            return None
        done[key] = kept(path, partial(timed, work))
    return done


def timed(work):
    start, result = time.process_time(), work()
    return {"result": result, "cpu_seconds": time.process_time() - start}


def results(done):
    return {key: one["result"] for key, one in done.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("tuning", "comparison", "ingredients"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    torch.set_num_threads(1)
    data = digits.load()
    figures = {"parameters": {n: sum(p.numel() for p in build(n, s[0], 0).parameters()) for n, s in SCALES.items()}}
    if arguments.what == "tuning":
        finish("tuning", tuning_jobs(data, arguments.seeds), until)
    elif arguments.what == "ingredients":
        if done := finish("ingredients", ingredients_jobs(data), until):
            figures["ingredients"] = results(done)
            record("ch11_ingredients", figures, seeds=SEEDS, packages=("torch", "timm", "accelerate"))
    else:
        tuned = finish("tuning", tuning_jobs(data), until) or {}
        ends = {key: curve[-1] for key, curve in results(tuned).items()}
        if ends and (done := finish("comparison", comparison_jobs(data, ends), until)):
            figures["cpu_seconds"] = sum(one["cpu_seconds"] for one in (*tuned.values(), *done.values()))
            figures |= {"epochs": EPOCHS, "tuning": ends, "comparison": results(done)}
            record("ch11_training", figures, seeds=SEEDS, packages=("torch", "timm", "accelerate"))


if __name__ == "__main__":
    main()
