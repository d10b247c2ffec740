"""Where far context decides: can a block look a meaning up in a legend elsewhere on the map, and what does it take to learn that?

    python experiments/ch15_legend.py        hours; see _runs.py for --only, --seeds, --seconds, --again, --try

A map of g x g cells.  Eight cells are a legend: each says which of eight owners has one of eight markings, drawn anew for each
map, at places drawn anew.  Sixteen cells show a marking and ask for its owner; the others are empty.  Chance is 1/8, and no cell
can be answered from its neighbours.  Cells are embedded in 64 features with a learned position each; then come two blocks of one
kind; then a linear layer reads the owner at the sixteen cells.  AdamW, batches of 32 fresh maps, a constant rate after 100
updates.  A run ends when 99 of 100 answers of the last 100 updates were right, or after 3000 updates.

parts   size      attention, C2f with SPPF, ViL (version 2, bidirectional, as C2fViL has it at stride 32) and the same with a
                  convolution that starts as the identity, on maps of 6, 8, 10 and 12
        change    ViL on 8 x 8 with one thing changed (CHANGES; where a row has two, the row with one of them stands beside it)
Kept of each run: the share of right answers in every 100 updates.  Writes book/results/ch15_legend.json.
"""

from functools import partial

import torch
import torch.nn.functional as F
from _runs import Runs
from _small import minimise
from torch import nn
from ultralytics.nn.modules import SPPF, C2f

from vil_lite import keep_freed_memory
from vil_lite.block import MLSTMPath, ViLEncoder
from vil_lite.layers import CausalConv1d, SequenceConv2d

OWNERS, QUERIES, DIM, BATCH, UPDATES, ENOUGH = 8, 16, 64, 32, 3000, 0.99
RATES = {"attention": 1e-3, "C2f + SPPF": 3e-3, "ViL": 3e-3, "ViL from identity": 3e-3}
SIZES = (6, 8, 10, 12)


def starts(middle=None, around=None):
    """Makes 3 x 3 convolutions whose taps start at these values in the middle and around it; None: random, as always."""

    def make(dim):
        made = SequenceConv2d(dim)
        with torch.no_grad():
            start = made.weight[:, :, 1, 1].clone() if middle is None else middle
            if around is not None:
                made.weight.fill_(around)
            made.weight[:, :, 1, 1] = start
        return made

    return make


CHANGES = {
    "nothing": {},
    "version 1": {"version": 1},
    "causal convolution": {"conv": CausalConv1d},
    "convolution starts as identity": {"conv": starts(1.0, 0.0)},
    "its middle starts at 1": {"conv": starts(middle=1.0)},
    "its neighbours start at 0": {"conv": starts(around=0.0)},
    "blocks of 32": {"qkv_block_size": 32},
    "queries and keys 8 times": {"scale": 8.0},
    "hardly any forgetting": {"forget": 10.0},
    "one head": {"num_heads": 1},
    "version 1, 3 x 3 convolution": {"version": 1, "conv": SequenceConv2d},
    "a second convolution for the skip": {"split": (None, None)},
    "identity for queries and keys": {"split": (starts(1.0, 0.0), None)},
    "identity for the skip": {"split": (None, starts(1.0, 0.0))},
    "blocks of 32, 12 x 12": {"qkv_block_size": 32, "size": 12},
    "a third of the rate": {"rate": 1e-3},
    "three times the rate": {"rate": 9e-3},
}


def draw(count, size, generator):
    """markings, owners (count, cells): 0 for none; places (count, 16) of the questions and their answers."""
    cells = torch.rand(count, size * size, generator=generator).argsort(1)
    owner_of = torch.rand(count, OWNERS, generator=generator).argsort(1)
    legend, asked = cells[:, :OWNERS], cells[:, OWNERS : OWNERS + QUERIES]
    marking, owner = torch.zeros(2, count, size * size, dtype=torch.long)
    marking.scatter_(1, legend, torch.arange(1, OWNERS + 1).expand(count, OWNERS))
    owner.scatter_(1, legend, owner_of + 1)
    question = torch.randint(OWNERS, (count, QUERIES), generator=generator)
    marking.scatter_(1, asked, question + 1)
    return marking, owner, asked, owner_of.gather(1, question)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(DIM, 4, 2 * DIM, **options) for _ in range(2)))

    def forward(self, tokens, grid):
        return self.blocks(tokens)


class Convolutions(nn.Module):
    """What stands at the end of YOLOv8's backbone, on the map."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(C2f(DIM, DIM, 2, shortcut=True), SPPF(DIM, DIM))

    def forward(self, tokens, grid):
        return self.blocks(tokens.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)


class Split(MLSTMPath):
    """A path whose skip has a convolution of its own, skip_conv."""

    def forward(self, x_m, grid):
        c, skip = F.silu(self.conv(x_m, grid)), F.silu(self.skip_conv(x_m, grid))
        h = self.mlstm_cell(self.q_proj(c), self.k_proj(c), self.v_proj(x_m))
        return h + self.learnable_skip * skip


def vil(version=2, conv=None, scale=1.0, forget=None, split=None, **block):
    """Two ViL blocks; conv: makes another convolution before queries and keys; scale: of the queries' and keys' weights;
    forget: all biases of the forget gates; split: makes one convolution for queries and keys and one for the skip, None as
    always."""
    encoder = ViLEncoder(DIM, 2, "bidirectional", version, **block)
    with torch.no_grad():
        for path in (path for block in encoder.blocks for path in block.layer.paths):
            if conv is not None:
                path.conv = conv(path.conv.in_channels)
            if split is not None:
                dim = path.conv.in_channels
                path.__class__, (first, second) = Split, split
                path.conv, path.skip_conv = (first or SequenceConv2d)(dim), (second or SequenceConv2d)(dim)
            path.q_proj.weight *= scale
            path.k_proj.weight *= scale
            if forget is not None:
                path.mlstm_cell.fgate.bias.fill_(forget)
    return encoder


KINDS = {
    "attention": Attention,
    "C2f + SPPF": Convolutions,
    "ViL": vil,
    "ViL from identity": partial(vil, conv=starts(1.0, 0.0)),
}


class Reader(nn.Module):
    def __init__(self, size, body):
        super().__init__()
        self.marking, self.owner = nn.Embedding(OWNERS + 1, DIM), nn.Embedding(OWNERS + 1, DIM)
        self.place = nn.Parameter(0.02 * torch.randn(size * size, DIM))
        self.body, self.norm, self.head = body, nn.LayerNorm(DIM), nn.Linear(DIM, OWNERS)
        self.grid = (size, size)

    def forward(self, marking, owner, asked):
        tokens = self.body(self.marking(marking) + self.owner(owner) + self.place, self.grid)
        return self.head(self.norm(tokens.gather(1, asked[..., None].expand(-1, -1, DIM))))


def learn(kind, size, seed, updates, rate=None, **options):
    """The share of right answers in every 100 updates."""
    torch.manual_seed(seed)
    body = KINDS[kind](**options)
    model, rate = Reader(size, body), rate or RATES[kind]
    generator, shares = torch.Generator().manual_seed(1000 + seed), []

    def curve():
        hundreds = [shares[n : n + 100] for n in range(0, len(shares), 100)]
        return [round(sum(part) / len(part), 4) for part in hundreds]

    def loss():
        if shares and len(shares) % 100 == 0 and curve()[-1] >= ENOUGH:
            return None  # it is learnt
        *question, answer = draw(BATCH, size, generator)
        scores = model(*question)
        shares.append((scores.argmax(-1) == answer).float().mean().item())
        return F.cross_entropy(scores.flatten(0, 1), answer.flatten())

    minimise(model, loss, updates, rate, one_cycle=False, warmup=100, weight_decay=0.01)
    return curve()


def collect(runs, finish, parts):
    """{"size": {kind: {size: curves}}, "change": {change: curves}}"""
    updates, sizes = (2, SIZES[:1]) if runs.tiny else (UPDATES, SIZES)
    jobs = {}
    for seed in runs.seeds:
        if "size" in parts:
            for size in sizes:
                for kind in RATES:
                    jobs[f"size {kind} {size} {seed}"] = partial(learn, kind, size, seed, updates)
        if "change" in parts:
            for change, options in CHANGES.items():
                same = {"size": 6 if runs.tiny else 8, "seed": seed, "updates": updates}
                jobs[f"change {change} {seed}"] = partial(learn, "ViL", **{**same, **options})
    done = finish(jobs)
    if done is None:
        return None

    def curves(name):
        return [done[f"{name} {seed}"] for seed in runs.seeds]

    found = {"updates": updates, "every": 100, "enough": ENOUGH}
    if "size" in parts:
        found["size"] = {kind: {size: curves(f"size {kind} {size}") for size in sizes} for kind in RATES}
    if "change" in parts:
        found["change"] = {change: curves(f"change {change}") for change in CHANGES}
    return found


if __name__ == "__main__":
    keep_freed_memory()
    runs = Runs("ch15_legend", __doc__, ("size", "change"), range(3))
    runs.record(partial(collect, runs))
