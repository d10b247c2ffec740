"""What is each part of the ViL block worth?  Small classifiers of handwritten digits, each part taken out in turn.

    python experiments/ch07_ablation.py        hours; see _runs.py for --only, --seconds, --again, --try

Two blocks of width 48 on 4 x 4 patches of 2 x 2 pixels; 690 updates of up to 64 images, AdamW, one cycle; eight seeds.
Two seeds of the whole block learn for twice as long: where that changes little, the training was long enough.
A seed gives every variant the same initial weights and the same order of images, so differences can be taken pairwise.
Twice: with all 1437 training digits, and with 200 of them.  The learning rate is chosen for each variant by a seed
that is never judged, on training digits that were not trained on: a fifth of all, or all but the 200.  For the page's live
runs it is chosen on that fifth, too, by two seeds.
Writes book/results/ch07_ablation.json.
"""

from functools import partial

import timm
import torch
import torch.nn.functional as F
from _runs import Runs, best_rate
from _small import accuracy, all_but_few, few, held_out, train
from torch import nn

from vil_lite.block import ViLBlock
from vil_lite.data import digits
from vil_lite.layers import LayerNorm, PatchEmbed, PositionEmbedding
from vil_lite.traversal import restore, traverse

SEEDS, CHOOSERS, UPDATES = range(8), (100,), 690
LONGER = range(2)  # seeds of the whole block trained for twice as long
RATES = [2e-3, 5e-3, 1e-2, 2e-2]
PARTS = ["conv", "skip", "z", "alternation", "long memory", "memory", "own values", "outnorm", "norm", "residual"]


class Block(ViLBlock):
    """A ViL block (version 1) that can do without one of its parts.  `without`: a name from PARTS, or None."""

    def __init__(self, dim, direction, without=None):
        super().__init__(dim, direction)
        self.without = without
        path = self.layer.paths[0]
        if without == "long memory":
            nn.init.zeros_(path.mlstm_cell.fgate.bias)
        if without == "outnorm":
            path.mlstm_cell.outnorm = SideBySide()

    def forward(self, x, grid):
        layer, path, without = self.layer, self.layer.paths[0], self.without
        x_m, z = layer.proj_up(x if without == "norm" else self.norm(x)).chunk(2, dim=-1)
        x_m = traverse(x_m, grid, layer.directions[0])
        c = F.silu(x_m if without == "conv" else path.conv(x_m, grid))
        if without == "memory":
            h = torch.zeros_like(c)
        else:
            h = path.mlstm_cell(path.q_proj(c), path.k_proj(c), path.v_proj(c if without == "own values" else x_m))
        y = restore(h if without == "skip" else h + path.learnable_skip * c, grid, layer.directions[0])
        y = layer.proj_down(y if without == "z" else y * F.silu(z))
        return y if without == "residual" else x + y


class SideBySide(nn.Module):
    """Heads (H, B, S, d) side by side, (B, S, H d), without a norm."""

    def forward(self, h):
        return h.permute(1, 2, 0, 3).flatten(2)


class Classifier(nn.Module):
    """Patches, positions, two blocks, norm, mean of the first and the last token, linear head."""

    def __init__(self, without=None, dim=48, depth=2):
        super().__init__()
        ways = ["row", "row"] if without == "alternation" else ["row", "row_reversed"]
        self.patches, self.positions = PatchEmbed(dim, patch_size=2, channels=1), PositionEmbedding(dim, (4, 4))
        self.blocks = nn.ModuleList(Block(dim, ways[j % 2], without) for j in range(depth))
        self.norm, self.head = LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, images):
        tokens, grid = self.patches(images)
        tokens = self.positions(tokens, grid)
        for block in self.blocks:
            tokens = block(tokens, grid)
        tokens = self.norm(tokens)
        return self.head((tokens[:, 0] + tokens[:, -1]) / 2)


def vit():
    return timm.models.VisionTransformer(
        img_size=8,
        patch_size=2,
        in_chans=1,
        num_classes=10,
        embed_dim=32,
        depth=3,
        num_heads=4,
        class_token=False,
        global_pool="avg",
        weight_init="jax",
    )


def mlp(width=160):
    layers = [nn.Linear(64, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def trained(make, images, labels, seed, rate, updates=138):
    """Make a model, train it for `updates` batches of 64 and return it: one stream of random numbers for all of it."""
    torch.manual_seed(seed)
    model = make()
    batches = (batch for _ in range(updates) for batch in torch.randperm(len(images)).split(64))
    train(model, images, labels, batches, updates, rate, fused=True)
    return model


def used_parameters(model):
    """Parameters that the last backward pass reached: those of a part that was taken out do not count."""
    return sum(p.numel() for p in model.parameters() if p.grad is not None)


def choose_rates(data):
    """{model: {rate: accuracies on held-out training digits}}, two seeds each."""
    fit, rest = held_out(data.train)
    models = {"ViL": (Classifier, 138), "ViT": (vit, 138), "ViT, 3 x the updates": (vit, 414), "MLP": (mlp, 138)}
    found = {}
    for name, (make, updates) in models.items():
        found[name] = {
            str(rate): [accuracy(trained(make, *fit, seed, rate, updates), *rest) for seed in (0, 1)] for rate in RATES
        }
        print(name, found[name], flush=True)
    return found


def digits_of(size, tiny=False):
    """Digits to train on, to test on, and two parts to choose a rate with, none of them a test; size: all or 200."""
    data = digits.load()
    train_set = data.train if size == "all" else few(data.train)
    choose = held_out(data.train) if size == "all" else (train_set, all_but_few(data.train))
    found = train_set, data.test, *choose
    return [[part[:40] for part in one] for one in found] if tiny else found


def one(part, examples, tests, seed, rate, updates):
    return accuracy(trained(partial(Classifier, part), *examples, seed, rate, updates), *tests)


def collect(runs, finish, parts):
    """{size: {part: one accuracy a seed}}, "nothing" being the whole block, with the chosen rates and sizes."""
    variants = {"nothing": None, **{part.replace(" ", "-"): part for part in PARTS}}
    rates, choosers = (RATES[:1], CHOOSERS[:1]) if runs.tiny else (RATES, CHOOSERS)
    updates = 1 if runs.tiny else UPDATES
    figures = {"updates": UPDATES, "part rates": {}, "longer": {}, "parameters": {}}
    for size in parts:
        examples, tests, *chosen_on = digits_of(size, runs.tiny)
        tuned = finish(
            {
                f"rate {size} {name} {rate} {seed}": partial(one, part, *chosen_on, seed, rate, updates)
                for seed in choosers
                for rate in rates
                for name, part in variants.items()
            }
        )
        if tuned is None:
            continue
        best = {name: best_rate(tuned, f"{size} {name}", rates, choosers) for name in variants}
        jobs = {
            f"{size} {name} {seed}": partial(one, part, examples, tests, seed, best[name], updates)
            for seed in runs.seeds
            for name, part in variants.items()
        }
        twice = {
            f"{size} nothing double {seed}": partial(one, None, examples, tests, seed, best["nothing"], 2 * updates)
            for seed in LONGER
        }
        done = finish(jobs | twice)
        if done is None:
            continue
        figures["part rates"][size] = best
        figures["longer"][size] = [done[name] for name in twice]
        figures[size] = {
            part or "nothing": [done[f"{size} {name} {seed}"] for seed in runs.seeds] for name, part in variants.items()
        }
    if not set(parts) <= set(figures):
        return None
    data = digits.load()
    for part in [None, *PARTS]:
        model = trained(partial(Classifier, part), *few(data.train), 0, 5e-3, updates=1)
        figures["parameters"][part or "nothing"] = used_parameters(model)
    figures["rates"] = {} if runs.tiny else finish({"rates of the baselines 0": partial(choose_rates, data)})
    if figures["rates"] is None:
        return None
    figures["rates"] = figures["rates"].get("rates of the baselines 0", {})
    return figures


if __name__ == "__main__":
    experiment = Runs("ch07_ablation", __doc__, ("all", "200"), SEEDS)
    experiment.record(partial(collect, experiment))
