"""Tables 2 and 3 in small: several settings of one model, on several data sets, compared fairly.

For each data set and setting: the learning rate is chosen by a seed and images that judge nothing (`Data.choose`), then every
seed is judged on the test images.  A few settings are also trained for twice as long: where that changes little, the training
was long enough.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from _runs import best_rate
from _small import accuracy, held_out, shuffled, train

from vil_lite import VisionLSTM
from vil_lite.data import digits, fashion, scenes32

RATES = (1.25e-3, 2.5e-3, 5e-3, 1e-2)
SCENES_RATES = {"scenes": RATES, "centre": (5e-3, 1e-2, 2e-2, 4e-2), "border": (2.5e-3, 5e-3, 1e-2, 2e-2)}
UPDATES = {"scenes": 1500, "centre": 1000, "border": 2000}
SCENES = {"scenes": 6400, "centre": 400, "border": 1600}  # to train with; few, or all poolings end near 100 %
CHOOSER = 100  # the seed that chooses the rate and is never judged


class Data(NamedTuple):
    """train(seed): examples to train on.   tests: {name: examples}.   choose: (examples to train on, examples to choose with),
    none of them a test.
    """

    train: Callable
    tests: dict
    choose: tuple
    updates: int
    seeds: int
    model: dict
    rates: tuple = RATES
    longer: int = 2  # seeds of the settings trained for twice as long


def load(name, tiny=False):
    """Data of this name: digits, fashion, or scenes and their places ("anywhere", "centre", "border")."""
    if name == "digits":
        split, updates, seeds = digits.load(), 690, 8
        model = {"image_size": 8, "patch_size": 2}
    elif name == "fashion":
        split, updates, seeds = fashion.load(), 400, 5
        model = {"image_size": 28, "patch_size": 4}
    else:
        return _scenes(name, tiny)
    data = Data(lambda seed: split.train, {name: split.test}, held_out(split.train), updates, seeds, model)
    if name == "fashion":  # 49 tokens and 10,000 tests: each run is long, and its accuracy known well
        data = data._replace(longer=1)
    return _tiny(data) if tiny else data


def _scenes(place, tiny):
    count = (64, 32) if tiny else (SCENES[place], 4000)
    draw = partial(scenes32.draw, place="anywhere" if place == "scenes" else place)
    others = [place] if place == "scenes" else ["centre", "border"]
    tests = {
        other: scenes32.draw(count[1], seed=2, place="anywhere" if other == "scenes" else other) for other in others
    }
    choose = draw(count[0], seed=3), draw(count[1], seed=4)
    model = {"image_size": 32, "patch_size": 8} | ({} if place == "scenes" else {"stride": 6})
    # Other scenes for each seed, but for those of chapter 8, which were recorded with the same for all.
    train = [draw(count[0], seed=1 if place == "scenes" else 10 + seed) for seed in range(8)]
    data = Data(train.__getitem__, tests, choose, UPDATES[place], 8, model, SCENES_RATES[place])
    return _tiny(data) if tiny else data


def _tiny(data):
    """The same with one update, one seed and a few images: seconds."""

    def few(examples):
        return [part[:16] for part in examples]

    tests = {name: few(test) for name, test in data.tests.items()}
    choose = [few(part) for part in data.choose]
    less = {"updates": 1, "seeds": 1, "rates": RATES[:1]}
    return data._replace(train=lambda seed: few(data.train(seed)), tests=tests, choose=choose, **less)


def small(**options):
    """Four blocks of width 32 for grey images of ten classes."""
    return VisionLSTM(32, 4, channels=1, num_classes=10, **options)


def fitted(build, examples, updates, rate, seed):
    """Build a model and train it: one seed for its weights and for the order of the images."""
    torch.manual_seed(seed)
    model = build()
    train(model, *examples, shuffled(len(examples[0]), seed), updates, rate, fused=True)
    return model


def judged(build, data, updates, rate, seed):
    model = fitted(build, data.train(seed), updates, rate, seed)
    return {name: accuracy(model, *test) for name, test in data.tests.items()}


def chosen_by(build, data, rate, seed):
    return accuracy(fitted(build, data.choose[0], data.updates, rate, seed), *data.choose[1])


def tables(finish, tiny, parts, settings, longer):
    """{name: table} of the data sets `parts` of which all runs are there.  Arguments as for `table`."""
    found = {name: table(finish, name, load(name, tiny), settings, longer) for name in parts}
    return {name: one for name, one in found.items() if one is not None}


def table(finish, name, data, settings, longer):
    """All runs of one data set; {"accuracy", "rates", "longer", "updates", "images", "seeds"}, or None while some are missing.

    settings: {name without spaces: options of `small`}.   longer: the settings trained for twice as long, too.
    """

    def build(setting):
        return partial(small, **settings[setting], **data.model)

    tuned = finish(
        {
            f"rate {name} {setting} {rate} {CHOOSER}": partial(chosen_by, build(setting), data, rate, CHOOSER)
            for rate in data.rates
            for setting in settings
        }
    )
    if tuned is None:
        return None
    rates = {setting: best_rate(tuned, f"{name} {setting}", data.rates, [CHOOSER]) for setting in settings}
    # A run's name holds its rate: a wider search must not find runs of another one.
    jobs = {
        f"{name} {setting} {rates[setting]} {seed}": partial(
            judged, build(setting), data, data.updates, rates[setting], seed
        )
        for seed in range(data.seeds)
        for setting in settings
    }
    jobs |= {
        f"{name} {setting} double {rates[setting]} {seed}": partial(
            judged, build(setting), data, 2 * data.updates, rates[setting], seed
        )
        for seed in range(min(data.longer, data.seeds))
        for setting in longer
    }
    done = finish(jobs)
    if done is None:
        return None

    def column(setting, seeds, word=""):
        rows = [done[f"{name} {setting} {word}{rates[setting]} {seed}"] for seed in range(seeds)]
        return {test: [row[test] for row in rows] for test in data.tests}

    few = min(data.longer, data.seeds)
    return {
        "accuracy": {setting: column(setting, data.seeds) for setting in settings},
        "longer": {f"{s} double": column(s, few, "double ") for s in longer},
        "rates": rates,
        "updates": data.updates,
        "images": {"train": len(data.train(0)[0])} | {name: len(test[0]) for name, test in data.tests.items()},
        "seeds": data.seeds,
    }
