"""Three small tasks that Part 1 comes back to.  Each asks a memory for one thing.

    nearest_neighbour   revise a stored decision: the answer changes whenever something better comes along
    recall              storage capacity: keep many pairs, return the value of each key
    parity              state tracking: every bit turns the answer round, so no step can be left out

A generator draws a fresh batch (inputs, targets) from `generator` (torch.Generator; None takes torch's own).
The first is the nearest-neighbour search of xLSTM (Beck et al. 2024, arXiv 2405.04517), with one change: a token gives
the distance itself and not the two points, so that the task tests revising and nothing else.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def nearest_neighbour(batch: int, length: int, generator=None) -> tuple[Tensor, Tensor]:
    """A stream of candidates with distance and value: at every step, the value of the nearest candidate so far.

    Returns inputs (B, S, 2), a token being (distance, value), both uniform in [0, 1); and targets (B, S).
    """
    _positive(batch=batch, length=length)
    inputs = torch.rand(batch, length, 2, generator=generator)
    distance, value = inputs.unbind(-1)
    return inputs, value.gather(1, distance.cummin(-1).indices)


def recall(batch: int, pairs: int, keys: int = 16, values: int = 8, generator=None) -> tuple[Tensor, Tensor]:
    """Pairs of key and value, then each key once more in another order: answer with its value.

    keys, values: how many there are to choose from; the keys of a sequence differ, its values need not.
    Returns inputs (B, 2 * pairs, keys + values), one-hot, the value left out in the second half;
    and targets (B, pairs), the number of the value wanted at each token of the second half.
    Raises ValueError when there are more pairs than keys.
    """
    _positive(batch=batch, pairs=pairs, keys=keys, values=values)
    if pairs > keys:
        raise ValueError(f"pairs is {pairs}, but only {keys} different keys exist: raise keys or ask for fewer pairs")
    key = torch.rand(batch, keys, generator=generator).argsort(-1)[:, :pairs]
    value = torch.randint(values, (batch, pairs), generator=generator)
    order = torch.rand(batch, pairs, generator=generator).argsort(-1)
    shown = torch.cat([F.one_hot(key, keys), F.one_hot(value, values)], dim=-1)
    asked = F.pad(F.one_hot(key.gather(1, order), keys), (0, values))
    return torch.cat([shown, asked], dim=1).float(), value.gather(1, order)


def parity(batch: int, length: int, generator=None) -> tuple[Tensor, Tensor]:
    """A stream of bits: at every step, is the number of ones so far odd?

    Returns inputs (B, S, 2), the bit one-hot, and targets (B, S), 0 for even and 1 for odd.
    """
    _positive(batch=batch, length=length)
    bit = torch.randint(2, (batch, length), generator=generator)
    return F.one_hot(bit, 2).float(), bit.cumsum(-1) % 2


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs (B, S, 1) against targets (B, S)."""
    return F.mse_loss(outputs[..., 0], targets)


def answer_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of the last outputs (B, S, classes) against targets (B, T): one output for each target, T <= S."""
    return F.cross_entropy(outputs[:, -targets.shape[1] :].flatten(0, 1), targets.flatten())


def train(model: nn.Module, draw, error, steps: int, lr: float, device="cpu") -> nn.Module:
    """Adam with a one-cycle learning rate and clipped gradients; every step sees a fresh batch.  Returns the model.

    draw: () -> (inputs, targets).    error: (outputs, targets) -> scalar.    lr: the largest learning rate.
    device: where to train, such as a notebook's `run.device`; batches go there, what the model makes for itself (a mask,
        an empty memory) is made there, and the model comes back.
    """
    home, device = next(model.parameters()).device, torch.device(device)
    there = contextlib.nullcontext() if device.type == "cpu" else device  # a context costs a little at each call
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(steps):
        inputs, targets = (x.to(device) for x in draw())
        optimizer.zero_grad()
        with there:
            loss = error(model(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.to(home)


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
