"""What the recipe's ingredients do, and ViL against DeiT-III-T at equal parameters, on handwritten digits.

    python experiments/ch11_training.py comparison       an hour and a half on one CPU core
    python experiments/ch11_training.py ingredients      about 10 minutes
    python experiments/ch11_training.py overfit          about half an hour

tuning      rates x LayerScale for both models, the same grid, on digits held out of the training set; three seeds
comparison  tuning, then both models with what it chose, and DeiT-III-T with the LayerScale of Table 6; eight seeds, and two
            of them for twice as many epochs: is the curve flat?
ingredients ViL on 200 digits with parts of the recipe changed, at a modest and at a high learning rate; eight seeds
overfit     the recipe with and without mixing, and without weight decay, for 400 epochs of 200 digits; eight seeds
--data fashion makes tuning and comparison on Fashion-MNIST in patches of 4 (49 tokens), tuned on 8,000 of 10,000 images for
3 epochs by one seed and five rates, compared on all 60,000 for 3 epochs and five seeds; half an hour.
Every run is kept in experiments/runs/ch11_training (or ch11_fashion) as soon as it is done, so it goes on elsewhere.
--seconds 200 stops before the first run that would begin later; --seeds 0 makes the runs of this seed only, so that several
processes can share the work; --threads 2 --again threads2 makes all runs once more, in a folder of their own; --try makes
one short run of each kind.  When all runs are there, comparison writes book/results/ch11_training.json (ch11_fashion.json),
ingredients ch11_ingredients.json and overfit ch11_overfit.json.
"""

import argparse
import time
from functools import partial

import _small
import torch
from _record import record
from _runs import RUNS, cpu_seconds, finish
from _small import accuracy, few

from vil_lite import VisionLSTM
from vil_lite.complexity import parameters
from vil_lite.data import digits, fashion
from vil_lite.data.digits import Examples
from vil_lite.recipes import deit3_tiny
from vil_lite.training import fit

SEEDS = {"digits": range(8), "fashion": range(5)}
TUNING_SEEDS = {"digits": range(3), "fashion": range(1)}
LONGER = {"digits": range(2), "fashion": range(0)}  # seeds that are trained for twice as many epochs, too
EPOCHS = {"digits": 80, "fashion": 3}
SIZE, PATCH = {"digits": 8, "fashion": 28}, {"digits": 2, "fashion": 4}
RATES = {"digits": (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04), "fashion": (0.0025, 0.005, 0.01, 0.02, 0.04)}
SCALES = {"ViL": (None, 0.1), "DeiT-III-T": (1e-4, 0.1)}  # of LayerScale at the start: the model's own, and one more
RECIPE = {"weight_decay": 0.05, "clip": 1.0, "mixup": 0.8, "cutmix": 1.0, "ema": 0.98}
CHANGES = {
    "recipe": {},
    "no warm-up": {"warmup": 0},
    "constant rate": {"warmup": 0, "min_lr": "lr"},
    "no clipping": {"clip": None},
    "no weight decay": {"weight_decay": 0.0},
    "no mixup, no cutmix": {"mixup": 0.0, "cutmix": 0.0},
}


OVERFIT = ("recipe", "no weight decay", "no mixup, no cutmix")


def small_model(name, scale, seed, what="digits"):
    """A ViL or a DeiT-III-T of about 19,000 parameters (for digits); scale: initial LayerScale, None for none (ViL alone)."""
    torch.manual_seed(seed)
    size = {"image_size": SIZE[what], "patch_size": PATCH[what], "channels": 1, "num_classes": 10, "depth": 2}
    if name == "ViL":
        return VisionLSTM(dim=32, layer_scale=scale, **size)
    model = deit3_tiny(dim=27, num_heads=3, **size)
    for block in model.blocks:
        torch.nn.init.constant_(block.ls1.gamma, scale)
        torch.nn.init.constant_(block.ls2.gamma, scale)
    return model


def accuracies(data, what, name, scale, rate, seed, held_out, epochs):
    """Accuracy after each epoch: on a fifth of the training images, not trained on (held_out), or on the test images."""
    examples, tests = _small.held_out(few_thousand(data.train)) if held_out else data
    model = small_model(name, scale, seed, what)
    done = fit(model, examples, tests, epochs=epochs, batch_size=64, lr=rate, seed=seed, progress=False)
    return [row["test_accuracy"] for row in done.log]


def few_thousand(examples):
    """The first 10,000 examples: enough to choose a learning rate with."""
    return Examples(*(part[:10_000] for part in examples))


def tuning_jobs(data, what, epochs):
    """{key: function} of the search."""
    return {
        f"{name} {scale} {rate} {seed}": lambda a=(name, scale, rate, seed): accuracies(data, what, *a, True, epochs)
        for seed in TUNING_SEEDS[what]
        for rate in RATES[what]
        for name, scales in SCALES.items()
        for scale in scales
    }


def best(tuned, what, name, scales):
    """(scale, rate) with the best mean accuracy on the held-out images at the end of training."""

    def mean(setting):
        runs = [tuned[f"{name} {setting[0]} {setting[1]} {seed}"] for seed in TUNING_SEEDS[what]]
        return sum(runs) / len(runs)

    return max(((scale, rate) for scale in scales for rate in RATES[what]), key=mean)


def comparison_jobs(data, what, epochs, tuned, seeds):
    """{key: function} of the runs that are measured on the test images."""
    chosen = {(name, *best(tuned, what, name, scales)) for name, scales in SCALES.items()}
    chosen.add(("DeiT-III-T", *best(tuned, what, "DeiT-III-T", [1e-4])))  # Table 6; perhaps the same
    return {
        " ".join(map(str, (*setting, seed))): lambda a=(*setting, seed): accuracies(data, what, *a, False, epochs)
        for setting in sorted(chosen, key=str)
        for seed in seeds
    }


def ingredients(data, change, rate, seed, epochs):
    settings = {**RECIPE, **CHANGES[change]}
    if settings.get("min_lr") == "lr":
        settings["min_lr"] = rate
    model = small_model("ViL", None, seed)
    try:
        done = fit(model, few(data.train), epochs=epochs, batch_size=40, lr=rate, seed=seed, progress=False, **settings)
    except FloatingPointError:
        return [0.0, 0.0]
    return [accuracy(model, *data.test), accuracy(done.ema, *data.test)]


def ingredients_jobs(data, changes, rates, epochs):
    """{key: function} of the recipe's changes."""
    return {
        f"{change} {rate} {seed}": lambda a=(change, rate, seed): ingredients(data, *a, epochs)
        for seed in SEEDS["digits"]
        for change in changes
        for rate in rates
    }


def try_all(data, what):
    """One short run of each kind: does it work?  Records nothing."""
    less = Examples(*(part[:200] for part in data.train)), Examples(*(part[:64] for part in data.test))
    data = type(data)(*less)
    for name, scales in SCALES.items():
        for held_out in (True, False):
            print(name, accuracies(data, what, name, scales[0], 1e-3, 0, held_out, 1))
    if what == "digits":
        print([ingredients(data, change, 5e-3, 0, 1) for change in CHANGES])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("tuning", "comparison", "ingredients", "overfit"))
    parser.add_argument("--data", choices=tuple(SEEDS), default="digits")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", metavar="LABEL")
    parser.add_argument("--try", dest="tiny", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    data = digits.load() if asked.data == "digits" else fashion.load()
    if asked.tiny:
        return try_all(data, asked.data)
    name = "ch11_training" if asked.data == "digits" else "ch11_fashion"
    folder = RUNS / (f"{name}@{asked.again}" if asked.again else name)
    run = partial(finish, until=time.monotonic() + asked.seconds, seeds=asked.seeds)
    models = {n: small_model(n, s[0], 0, asked.data) for n, s in SCALES.items()}
    figures = {"parameters": {n: parameters(model) for n, model in models.items()}}
    packages = ("torch", "timm", "accelerate")
    if asked.what in ("ingredients", "overfit"):
        some, epochs = ((CHANGES, (5e-3, 3e-2)), 20) if asked.what == "ingredients" else ((OVERFIT, (5e-3,)), 400)
        done = run(folder / asked.what, ingredients_jobs(data, *some, epochs))
        if done and not asked.again:
            figures |= {"epochs": epochs, "ingredients": done}
            record(f"ch11_{asked.what}", figures, seeds=SEEDS["digits"], packages=packages)
        return None
    epochs = EPOCHS[asked.data]
    tuned = run(folder / "tuning", tuning_jobs(data, asked.data, epochs))
    if asked.what == "tuning" or not tuned:
        return None
    ends = {key: curve[-1] for key, curve in tuned.items()}
    done = run(folder / "comparison", comparison_jobs(data, asked.data, epochs, ends, SEEDS[asked.data]))
    longer = run(folder / "longer", comparison_jobs(data, asked.data, 2 * epochs, ends, LONGER[asked.data]))
    if done and longer is not None and not asked.again:
        figures["cpu_seconds"] = sum(cpu_seconds(folder / part) for part in ("tuning", "comparison", "longer"))
        figures |= {"epochs": epochs, "tuning": ends, "comparison": done}
        figures["longer"] = {key: curve[-1] for key, curve in longer.items()}
        record(name, figures, seeds=SEEDS[asked.data], packages=packages)


if __name__ == "__main__":
    main()
