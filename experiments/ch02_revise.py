"""Which part of the cell learns to revise, and how much of it is a matter of training time?

    python experiments/ch02_revise.py        about 6 minutes on one CPU core

Nearest-neighbour search as in chapters 1 and 2: trained on 16 steps, tested on 48, for several lengths of training.
Models of chapter 2, learning rate 0.06: sixteen cells whose gates see the token alone, with

    sigmoid               a sigmoid input gate, shown through tanh
    sigmoid_normalised    a sigmoid input gate and the normaliser
    exponential           an exponential input gate and the normaliser

and LSTMs of 5 units (about the same number of weights) and of 16.  The LSTM of chapter 1 has the learning rate 0.03.
Writes book/results/ch02_revise.json: for each model the lengths of training, and for each length and seed the squared
errors at steps 16 and 48.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
from _record import kept, record
from ch03_recall import LSTMReader
from torch import nn
from torch.nn.functional import logsigmoid

from vil_lite.teach import tasks

SEEDS = range(3)
PARTS = Path(tempfile.gettempdir()) / "vil_lite_ch02_revise"  # an interrupted run goes on


def sigmoid(z, i, f):
    c, h = torch.zeros_like(z[0]), []
    for z_t, i_t, f_t in zip(z, i, f):
        c = f_t.sigmoid() * c + i_t.sigmoid() * z_t
        h.append(c.tanh())
    return torch.stack(h)


def exponential(z, i, f):
    c = n = torch.zeros_like(z[0])
    m = torch.full_like(z[0], -torch.inf)
    h = []
    for z_t, i_t, f_t in zip(z, i, f):
        log_f = logsigmoid(f_t)
        m_t = torch.maximum(log_f + m, i_t)
        forget, write = torch.exp(log_f + m - m_t), torch.exp(i_t - m_t)
        c, n, m = forget * c + write * z_t, forget * n + write, m_t
        h.append(c / n)
    return torch.stack(h)


def sigmoid_normalised(z, i, f):
    """log sigmoid(i) as the exponential gate's pre-activation: the gate is a sigmoid again, all else stays."""
    return exponential(z, logsigmoid(i), f)


class Layer(nn.Module):
    def __init__(self, cell, inputs, units, outputs):
        super().__init__()
        self.cell, self.gates, self.head = cell, nn.Linear(inputs, 4 * units), nn.Linear(units, outputs)
        self.gates.bias.data[2 * units : 3 * units] = 4  # forget gates begin open

    def forward(self, x):  # (B, S, inputs) -> (B, S, outputs)
        z, i, f, o = self.gates(x.movedim(1, 0)).chunk(4, dim=-1)
        return self.head(o.sigmoid() * self.cell(z.tanh(), i, f)).movedim(0, 1)


MODELS = {  # name: (model, learning rate, lengths of training in steps)
    "sigmoid": (lambda: Layer(sigmoid, 2, 16, 1), 0.06, [600, 3000]),
    "sigmoid_normalised": (lambda: Layer(sigmoid_normalised, 2, 16, 1), 0.06, [600, 3000]),
    "exponential": (lambda: Layer(exponential, 2, 16, 1), 0.06, [600, 3000]),
    "lstm_5": (lambda: LSTMReader(2, 5, 1), 0.06, [600, 3000]),
    "lstm_16": (lambda: LSTMReader(2, 16, 1), 0.06, [600, 3000]),
    "lstm_chapter1": (lambda: LSTMReader(2, 16, 1), 0.03, [300, 600, 1500, 3000, 6000]),
}


def errors(name, steps, seed):
    """Squared errors at steps 16 and 48."""
    make, lr, _ = MODELS[name]
    torch.manual_seed(seed)
    model = tasks.train(make(), lambda: tasks.nearest_neighbour(64, 16), tasks.squared_error, steps=steps, lr=lr)
    inputs, targets = tasks.nearest_neighbour(1000, 48, torch.Generator().manual_seed(99))
    with torch.no_grad():
        return [round(e, 6) for e in ((model(inputs)[..., 0] - targets) ** 2).mean(0)[[15, 47]].tolist()]


def main():
    torch.set_num_threads(1)
    figures = {}
    for name, (_, _, lengths) in MODELS.items():
        runs = [
            [kept(PARTS / f"{name}_{steps}_{seed}.json", partial(errors, name, steps, seed)) for seed in SEEDS]
            for steps in lengths
        ]
        figures[name] = {"steps": lengths, "errors": runs}
    record("ch02_revise", figures, seeds=SEEDS)


if __name__ == "__main__":
    main()
