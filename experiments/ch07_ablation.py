"""What is each part of the ViL block worth?  Small classifiers of handwritten digits, each part taken out in turn.

    python experiments/ch07_ablation.py        about 20 minutes on one CPU core

Two blocks of width 48 on 4 x 4 patches of 2 x 2 pixels; 138 updates of up to 64 images, AdamW, one cycle; six seeds.
A seed gives every variant the same initial weights and the same order of images, so differences can be taken pairwise.
Twice: with all 1437 training digits, and with 200 of them.  Before that, the learning rates of the model and of its
baselines are chosen on digits held out of the training set, so the test digits choose nothing.
Writes book/results/ch07_ablation.json.
"""

import timm
import torch
import torch.nn.functional as F
from _record import record
from torch import nn

from vil_lite.block import ViLBlock
from vil_lite.data import digits
from vil_lite.layers import LayerNorm, PatchEmbed, PositionEmbedding
from vil_lite.traversal import restore, traverse

SEEDS = range(6)
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
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=3, num_heads=4,
        class_token=False, global_pool="avg", weight_init="jax",
    )  # fmt: skip


def mlp(width=160):
    layers = [nn.Linear(64, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def train(build, images, labels, seed, rate, updates=138):
    """Train for `updates` batches of 64 and return the model."""
    torch.manual_seed(seed)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=updates, pct_start=0.2)
    done = 0
    while done < updates:
        for batch in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            if done == updates:
                break
    return model


@torch.no_grad()
def accuracy(model, images, labels):
    return (model(images).argmax(1) == labels).float().mean().item()


def used_parameters(model):
    """Parameters that the last backward pass reached: those of a part that was taken out do not count."""
    return sum(p.numel() for p in model.parameters() if p.grad is not None)


def choose_rates(data):
    """{model: {rate: accuracies on held-out training digits}}, two seeds each."""
    held_out = torch.zeros(len(data.train.labels), dtype=torch.bool)
    held_out[torch.argsort(data.train.labels, stable=True)[::5]] = True
    fit, rest = ([part[mask] for part in data.train] for mask in (~held_out, held_out))
    builds = {"ViL": (Classifier, 138), "ViT": (vit, 138), "ViT, 3 x the updates": (vit, 414), "MLP": (mlp, 138)}
    found = {}
    for name, (build, updates) in builds.items():
        found[name] = {
            str(rate): [accuracy(train(build, *fit, seed, rate, updates), *rest) for seed in (0, 1)] for rate in RATES
        }
        print(name, found[name], flush=True)
    return found


def few(examples, each=20):
    """The first `each` examples of every class."""
    rows = torch.cat([(examples.labels == digit).nonzero()[:each, 0] for digit in range(10)])
    return examples.images[rows], examples.labels[rows]


def main():
    torch.set_num_threads(1)
    data = digits.load()
    figures = {"rates": choose_rates(data), "all": {}, "200": {}, "parameters": {}}
    for size, examples in (("all", data.train), ("200", few(data.train))):
        for part in [None, *PARTS]:
            results = []
            for seed in SEEDS:
                model = train(lambda part=part: Classifier(part), *examples, seed, rate=5e-3, updates=138)
                results.append(accuracy(model, *data.test))
            name = part or "nothing"
            figures[size][name], figures["parameters"][name] = results, used_parameters(model)
            print(size, name, [round(r, 3) for r in results], flush=True)
    record("ch07_ablation", figures, seeds=SEEDS, packages=("torch", "timm"))


if __name__ == "__main__":
    main()
