"""How much do four members of the family recall with states of equal size?

    python experiments/ch05b_recall.py        about 6 minutes on one CPU core

One head of width d (a state of d x d numbers, d = 4, 8, 16) between two linear layers, with the memory

    plain           C + k v^T: linear attention without features, keys of length 1
    mlstm           the mLSTM: input and forget gate, normaliser
    delta           DeltaNet: look up, then write the difference; keys of length 1, a write strength beta in (0, 1)
    gated_delta     Gated DeltaNet: the same with a forget gate

on two tasks with 16 keys and 8 values.  "recall": 1 to 8 pairs with different keys, then each key asked once (tasks.recall).
"latest": 24 writes to 8 keys, so most are overwritten, then each key asked for its latest value.
1000 steps of 64 sequences, learning rate 0.03, seeds 0 to 2.
Writes book/results/ch05b_recall.json: the accuracy of each seed with 8 pairs, or for 8 keys after 24 writes; parameters.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
from _record import kept, record
from torch import nn
from torch.nn.functional import logsigmoid, normalize, one_hot, pad

from vil_lite.complexity import parameters
from vil_lite.mlstm import mlstm_parallel
from vil_lite.teach import tasks

WIDTHS = [4, 8, 16]
SEEDS = range(3)
KEYS, VALUES = 16, 8
PARTS = Path(tempfile.gettempdir()) / "vil_lite_ch05b_recall"  # an interrupted run goes on


def latest(batch, generator=None, writes=24, asked=8):
    """Inputs and targets as tasks.recall has them, but keys are written again and again."""
    keys = torch.rand(batch, KEYS, generator=generator).argsort(-1)[:, :asked]
    first = torch.arange(asked).expand(batch, asked)  # each key is written at least once
    again = torch.randint(asked, (batch, writes - asked), generator=generator)
    which = torch.cat([first, again], dim=1)
    which = which.gather(1, torch.rand(batch, writes, generator=generator).argsort(-1))
    value = torch.randint(VALUES, (batch, writes), generator=generator)
    last = (one_hot(which, asked) * torch.arange(1, writes + 1)[:, None]).argmax(1)  # the last write to each key
    shown = torch.cat([one_hot(keys.gather(1, which), KEYS), one_hot(value, VALUES)], dim=-1)
    return torch.cat([shown, pad(one_hot(keys, KEYS), (0, VALUES))], dim=1).float(), value.gather(1, last)


class Reader(nn.Module):
    def __init__(self, member, d):
        super().__init__()
        self.member, self.qkv = member, nn.Linear(KEYS + VALUES, 3 * d, bias=False)
        self.gates, self.head = nn.Linear(KEYS + VALUES, 2), nn.Linear(d, VALUES)
        nn.init.constant_(self.gates.bias[1:], 4.0)  # the forget gate begins open

    def forward(self, x):  # (B, S, KEYS + VALUES) -> (B, S, VALUES)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        i, f = self.gates(x).unbind(-1)
        if self.member == "mlstm":
            return self.head(mlstm_parallel(*(y[:, None] for y in (q, k, v, i, f)))[0][:, 0])
        k = normalize(k, dim=-1)
        F = logsigmoid(f).cumsum(-1) if self.member == "gated_delta" else torch.zeros_like(f)
        D = torch.exp((F[:, :, None] - F[:, None, :]).clamp(max=0))
        if self.member != "plain":
            beta = i.sigmoid()[..., None]
            T = beta * (D * (k @ k.mT)).tril(-1)
            v = torch.linalg.solve_triangular(T + torch.eye(T.shape[-1]), beta * v, upper=False)
        return self.head((D * (q @ k.mT)).tril() @ v)


def accuracy(task, member, d, seed):
    torch.manual_seed(seed)
    pairs = torch.randint(1, 9, (1000,), generator=torch.Generator().manual_seed(seed)).tolist()
    draws = {"recall": lambda: tasks.recall(64, pairs.pop()), "latest": lambda: latest(64)}
    model = tasks.train(Reader(member, d), draws[task], tasks.answer_error, steps=1000, lr=0.03)
    g = torch.Generator().manual_seed(99)
    inputs, targets = tasks.recall(500, 8, generator=g) if task == "recall" else latest(500, g)
    with torch.no_grad():
        return round((model(inputs)[:, -8:].argmax(-1) == targets).float().mean().item(), 5)


def main():
    torch.set_num_threads(1)
    figures = {
        "widths": WIDTHS,
        "parameters": [parameters(Reader("plain", d)) for d in WIDTHS],
    }
    for task in ("recall", "latest"):
        figures[task] = {
            member: [
                [
                    kept(PARTS / f"{task}_{member}_{d}_{seed}.json", partial(accuracy, task, member, d, seed))
                    for seed in SEEDS
                ]
                for d in WIDTHS
            ]
            for member in ("plain", "mlstm", "delta", "gated_delta")
        }
    record("ch05b_recall", figures, seeds=SEEDS)


if __name__ == "__main__":
    main()
