"""Fine-tuning at half the stride in small: does a longer sequence help a trained model?  Eight seeds.

    python experiments/ch12_stride8.py          hours; see _runs.py for --only, --seconds, --again, --try

Four blocks of width 32 on 1600 scenes of 32 x 32 pixels in 8 x 8 patches, judged on 4000 others.  A model is trained at stride 8
(4 x 4 tokens), once until its curve is nearly flat and once for a fraction of that.  From its weights three ways go on, with the
same images in the same order and a small constant learning rate.  "to the end" and "half-way" differ in three things (SETTINGS);
three more settings change one of them at a time.  The rates were tried on seed 0, which is not judged.
    longer     stride 4 (7 x 7 tokens), positions resized once, `extra` updates
    same       stride 8 as before, `extra` updates: an equal number of images
    same_work  stride 8 as before, as many updates as make the multiply-adds of `longer`: four times as many
Also kept: the accuracy before any further update, at either stride (as_it_is_old, as_it_is_new).  The settings of a seed share
their first trainings, if one process makes them.
Writes book/results/ch12_stride8.json.
"""

from functools import cache, lru_cache, partial

import torch
from _runs import Runs
from _small import accuracy, shuffled, train
from _tables import fitted, small

from vil_lite.checkpoints import load_official_state_dict
from vil_lite.complexity import flops
from vil_lite.data import scenes32

SEEDS = range(1, 9)
SETTINGS = {
    "to the end": {"updates": 3000, "extra": 500, "rate": 2e-3},
    "half-way": {"updates": 400, "extra": 150, "rate": 1e-3},
    "short first training alone": {"updates": 400, "extra": 500, "rate": 2e-3},
    "short second training alone": {"updates": 3000, "extra": 150, "rate": 2e-3},
    "small rate alone": {"updates": 3000, "extra": 500, "rate": 1e-3},
}
STRIDES = {"old": 8, "new": 4}
scene_model = partial(small, image_size=32, patch_size=8)


@cache
def data_of(tiny):
    """(training, test) examples."""
    count = (32, 16) if tiny else (1600, 4000)
    return tuple(scenes32.draw(n, seed=seed) for seed, n in enumerate(count, start=1))


@lru_cache(maxsize=2)
def first(updates, seed, tiny):
    """A model trained at the old stride."""
    return fitted(partial(scene_model, stride=STRIDES["old"]), data_of(tiny)[0], updates, 1e-2, seed)


def at_stride(model, stride):
    """The same weights at another stride, with positions resized once."""
    return load_official_state_dict(scene_model(stride=stride), model.state_dict())


def run(setting, seed, tiny):
    """All ways of one seed: {way: {"accuracy", "updates"}}."""
    updates, extra, rate = (2, 1, 1e-3) if tiny else SETTINGS[setting].values()
    (data, test), trained = data_of(tiny), first(updates, seed, tiny)
    found = {f"as_it_is_{name}": {"accuracy": accuracy(at_stride(trained, s), *test)} for name, s in STRIDES.items()}

    def go_on(way, stride, updates):
        model, batches = at_stride(trained, stride), shuffled(len(data[0]), 100 + seed)
        # as the paper goes on
        train(model, *data, batches, updates, rate, one_cycle=False, weight_decay=1e-8, fused=True)
        found[way] = {"accuracy": accuracy(model, *test), "updates": updates}

    go_on("longer", STRIDES["new"], extra)
    go_on("same", STRIDES["old"], extra)
    image = torch.zeros(1, 1, 32, 32)
    longer, usual = (flops(at_stride(trained, STRIDES[name]), image) for name in ("new", "old"))
    go_on("same_work", STRIDES["old"], round(extra * longer / usual))
    return found


def collect(runs, finish, parts):
    """{"ways": {setting: {way: one result for each seed}}, ...}"""
    done = finish(
        {f"{setting} {seed}": partial(run, setting, seed, runs.tiny) for seed in runs.seeds for setting in parts}
    )
    if done is None:
        return None
    found = {setting: [done[f"{setting} {seed}"] for seed in runs.seeds] for setting in parts}
    ways = {setting: {way: [one[way] for one in rows] for way in rows[0]} for setting, rows in found.items()}
    settings = {setting: SETTINGS[setting] for setting in parts}
    return {
        "ways": ways,
        "settings": settings,
        "strides": STRIDES,
        "images": [len(part.labels) for part in data_of(runs.tiny)],
    }


if __name__ == "__main__":
    experiment = Runs("ch12_stride8", __doc__, SETTINGS, SEEDS)
    experiment.record(partial(collect, experiment))
