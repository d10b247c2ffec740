"""How often does a small matrix memory learn good keys?  Recall of pairs with 20 seeds, an LSTM beside it.

    python experiments/ch03_recall.py        about 5 minutes on one CPU core

The task, models and training are those of chapter 3: 16 keys, 8 values, 1 to 8 pairs in training, 1000 steps of 64
sequences; an LSTM with 64 units (a state of 128 numbers) and a matrix of 8 x 8 (73 with normaliser and stabiliser),
whose queries, keys and values come from a linear layer without ("matrix") or with a bias ("bias").
Writes book/results/ch03_recall.json: accuracy of each seed for each number of pairs, how much the learned keys overlap,
and, with a bias, the products of queries and keys of the seeds that overlap least and most.
"""

import torch
from _record import record
from torch import nn

from vil_lite.mlstm import mlstm_parallel
from vil_lite.teach import tasks

SEEDS = range(20)
COUNTS = [1, 2, 3, 4, 6, 8, 12, 16]
KEYS, VALUES = 16, 8


class LSTMReader(nn.Module):
    def __init__(self, inputs, units, outputs):
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, units, batch_first=True), nn.Linear(units, outputs)

    def forward(self, x):  # (B, S, inputs) -> (B, S, outputs)
        return self.head(self.lstm(x)[0])


class MatrixReader(nn.Module):
    def __init__(self, inputs, d, outputs, bias=False):
        super().__init__()
        self.qkv, self.gates = nn.Linear(inputs, 3 * d, bias), nn.Linear(inputs, 2)
        self.head = nn.Linear(d, outputs)

    def forward(self, x):  # (B, S, inputs) -> (B, S, outputs)
        q, k, v = self.qkv(x)[:, None].chunk(3, dim=-1)
        i, f = self.gates(x)[:, None].unbind(-1)
        return self.head(mlstm_parallel(q, k, v, i, f)[0][:, 0])


def trained(make, seed):
    torch.manual_seed(seed)
    pairs = torch.randint(1, 9, (1000,), generator=torch.Generator().manual_seed(seed)).tolist()
    return tasks.train(make(), lambda: tasks.recall(64, pairs.pop()), tasks.answer_error, steps=1000, lr=0.03)


@torch.no_grad()
def accuracy(model, pairs):
    inputs, targets = tasks.recall(500, pairs, generator=torch.Generator().manual_seed(99))
    return (model(inputs)[:, -pairs:].argmax(-1) == targets).float().mean().item()


@torch.no_grad()
def products(model):
    """Query a times key b for all keys, signs turned so that the diagonal is positive (KEYS, KEYS).

    The query is that of a token that asks; the key that of a token that shows the key with an average value.
    """
    asked = torch.eye(KEYS + VALUES)[:KEYS]
    written = asked + torch.cat([torch.zeros(KEYS), torch.full((VALUES,), 1 / VALUES)])
    d = model.qkv.out_features // 3
    x = model.qkv(asked)[:, :d] @ model.qkv(written)[:, d : 2 * d].mT
    return x * x.diag().sign()[:, None]


def overlap(x):
    """The squares beside the diagonal of a row, summed, when the diagonal is 1; mean over rows."""
    return ((x / x.diag()[:, None]).square().sum(-1) - 1).mean().item()


MAKERS = {
    "lstm": lambda: LSTMReader(KEYS + VALUES, 64, VALUES),
    "matrix": lambda: MatrixReader(KEYS + VALUES, 8, VALUES),
    "bias": lambda: MatrixReader(KEYS + VALUES, 8, VALUES, bias=True),
}


def main():
    torch.set_num_threads(1)
    models = {name: [trained(make, seed) for seed in SEEDS] for name, make in MAKERS.items()}
    seen = {name: [products(m) for m in models[name]] for name in ("matrix", "bias")}
    order = sorted(seen["bias"], key=overlap)
    figures = {"pairs": COUNTS}
    for name, of_name in models.items():
        figures[f"accuracy_{name}"] = [[round(accuracy(m, n), 5) for n in COUNTS] for m in of_name]
    for name, tables in seen.items():
        figures[f"overlap_{name}"] = [round(overlap(x), 3) for x in tables]
    for name, x in (("least", order[0]), ("most", order[-1])):
        scaled = x / x.abs().amax(-1, keepdim=True)
        figures[f"products_{name}"] = [[round(e, 4) for e in row] for row in scaled.tolist()]
    record("ch03_recall", figures, seeds=SEEDS)


if __name__ == "__main__":
    main()
