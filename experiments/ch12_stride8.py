"""Fine-tuning at half the stride in small: does a longer sequence help a trained model?  Three seeds.

    python experiments/ch12_stride8.py          about a quarter of an hour on one CPU core

Four blocks of width 32 on scenes of 32 x 32 pixels in 8 x 8 patches.  A model is trained at stride 8 (4 x 4 tokens), once for
long and once for a quarter of that (SETTINGS, tried on seed 0 before the three seeds were run).  From its weights three ways
go on, with the same images in the same order and a small constant learning rate:
    longer     stride 4 (7 x 7 tokens), positions resized once, `extra` updates
    same       stride 8 as before, `extra` updates: an equal number of images
    same_work  stride 8 as before, as many updates as make the multiply-adds of `longer`: four times as many
Also kept: the accuracy before any further update, at either stride (as_it_is_old, as_it_is_new).
Every run is kept in _build/ch12_stride8 as soon as it is done, so an interrupted command goes on where it stopped.
Writes book/results/ch12_stride8.json.
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from _record import kept, record
from ch08_designs import correct, train

from vil_lite import VisionLSTM
from vil_lite.checkpoints import load_official_state_dict
from vil_lite.complexity import flops
from vil_lite.data import scenes32

SEEDS = range(3)
KEPT = Path(__file__).resolve().parents[1] / "_build" / "ch12_stride8"
SETTINGS = {
    "to the end": {"updates": 1500, "extra": 500, "rate": 2e-3},
    "half-way": {"updates": 400, "extra": 150, "rate": 1e-3},
}
STRIDES = {"old": 8, "new": 4}


def small(stride):
    """Four blocks of width 32; a grey image of 32 x 32 pixels in 8 x 8 patches, one every `stride` pixels."""
    return VisionLSTM(32, 4, image_size=32, patch_size=8, stride=stride, channels=1, num_classes=10)


def at_stride(model, stride):
    """The same weights at another stride, with positions resized once."""
    return load_official_state_dict(small(stride), model.state_dict())


def tune(model, images, labels, updates, rate, seed):
    """Go on at a constant learning rate, as the paper does."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-8)
    generator, queue = torch.Generator().manual_seed(100 + seed), []
    for _ in range(updates):
        queue = queue or list(torch.randperm(len(images), generator=generator).split(64))
        batch = queue.pop()
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def share(model, test):
    right = correct(model, *test)
    return sum(right) / len(right)


def run(setting, seed, data, test):
    """All ways of one seed: {way: {"accuracy", "updates"}}."""
    updates, extra, rate = SETTINGS[setting].values()
    torch.manual_seed(seed)
    trained = train(small(STRIDES["old"]), *data, updates, seed)
    found = {f"as_it_is_{name}": {"accuracy": share(at_stride(trained, s), test)} for name, s in STRIDES.items()}

    def go_on(way, stride, updates):
        model = at_stride(trained, stride)
        tune(model, *data, updates, rate, seed)
        found[way] = {"accuracy": share(model, test), "updates": updates}

    go_on("longer", STRIDES["new"], extra)
    go_on("same", STRIDES["old"], extra)
    image = torch.zeros(1, 1, 32, 32)
    longer, usual = (flops(at_stride(trained, STRIDES[name]), image) for name in ("new", "old"))
    go_on("same_work", STRIDES["old"], round(extra * longer / usual))
    return found


def main():
    torch.set_num_threads(1)
    data, test = scenes32.build(6400, seed=1), scenes32.build(1000, seed=2)
    runs = {
        setting: [
            kept(KEPT / f"{setting.replace(' ', '-')}-{seed}.json", partial(run, setting, seed, data, test)) for seed in SEEDS
        ]
        for setting in SETTINGS
    }
    ways = {setting: {way: [r[way] for r in found] for way in found[0]} for setting, found in runs.items()}
    record("ch12_stride8", {"ways": ways, "settings": SETTINGS, "strides": STRIDES, "test_images": len(test.labels)}, seeds=SEEDS)


if __name__ == "__main__":
    main()
