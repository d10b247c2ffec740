"""What the experiments with small classifiers share: one loop, and what goes in and comes out of it."""

import torch
import torch.nn.functional as F
from torch import nn


def train(model, images, labels, batches, updates, lr, one_cycle=True, **adamw):
    """Train a classifier with AdamW and clipped gradients for `updates` batches; returns (loss, norm of the gradient) of each.

    batches: iterator of indices into images and labels, one tensor a batch (`shuffled`).    lr: the largest learning rate,
    of one cycle or constant.    adamw: options of the optimiser.
    """

    def loss():
        batch = next(batches)
        return F.cross_entropy(model(images[batch]), labels[batch])

    return minimise(model, loss, updates, lr, one_cycle, **adamw)


def minimise(model, loss, updates, lr, one_cycle=True, warmup=0, **adamw):
    """The same for any loss(), which draws the next batch itself, and ends the training if it returns None.

    warmup: updates in which a constant rate rises from 0.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, **{"weight_decay": 0.05, **adamw})
    if one_cycle:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=updates, pct_start=0.2)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: min(1, (n + 1) / (warmup or 1)))
    history = []
    while len(history) < updates and (value := loss()) is not None:
        optimiser.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        history.append((value.item(), norm.item()))
    return history


def shuffled(count, seed, size=64):
    """Indices of batches of `size` of `count` examples, again and again in a new order that depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        # The rest of a round comes first: so the recorded runs were made.
        yield from reversed(torch.randperm(count, generator=generator).split(size))


@torch.no_grad()
def correct(model, images, labels):
    """Which images are recognised: a list of 0 and 1."""
    guesses = torch.cat([model.eval()(part).argmax(1) for part in images.split(1000)])
    return (guesses == labels).int().tolist()


def accuracy(model, images, labels):
    """The share of images that are recognised."""
    right = correct(model, images, labels)
    return sum(right) / len(right)


def few(examples, each=20):
    """The first `each` examples of every class."""
    rows = _first(examples, each)
    return examples.images[rows], examples.labels[rows]


def all_but_few(examples, each=20):
    """The others."""
    rest = torch.ones(len(examples.labels), dtype=torch.bool)
    rest[_first(examples, each)] = False
    return examples.images[rest], examples.labels[rest]


def _first(examples, each):
    return torch.cat([(examples.labels == digit).nonzero()[:each, 0] for digit in range(10)])


def held_out(examples, every=5):
    """Two parts of examples (images, labels), all classes in both: four in five to train on, one in five to choose with."""
    away = torch.zeros(len(examples.labels), dtype=torch.bool)
    away[torch.argsort(examples.labels, stable=True)[::every]] = True
    return [part[~away] for part in examples], [part[away] for part in examples]
