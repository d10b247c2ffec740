"""Chapters 10 and 12: what a model costs: parameters, multiply-adds, operations started, time, memory kept for the backward pass.

FLOPs can be counted in two ways, and papers rarely say which:
    "paper"   multiply-adds of the published, parallel form: each of the two S x S products of the cell counts in full
              (half=True counts the causal half that is not masked away, as the authors' tables of the second version do)
    "torch"   the multiply-adds that PyTorch executes, in the form that the model chooses
A multiply-add is one FLOP in both, as in the tables of Vision-LSTM, ViT and YOLO.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vil_lite.block import MLSTMCell
from vil_lite.layers import CausalConv1d, LayerNorm, LinearBlockDiagonal


def parameters(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in model.parameters())


def flops(model: nn.Module, *inputs: Any, counting: str = "paper", half: bool = False) -> int:
    """Multiply-adds of model(*inputs), an int.

    Both work for any model; of whatever is not mLSTM, a ViT of timm say, "paper" is what PyTorch executes and the norms,
    attention in full.   half: see above, "paper" alone.
    Raises ValueError for another counting.  (The paper's own figures were made with fvcore: 5 per normalised number.)
    """
    if counting not in ("paper", "torch"):
        raise ValueError(f"counting must be 'paper' or 'torch', got {counting!r}")
    counter = FlopCounterMode(display=False)
    starts: list[int] = []  # of the modules under way: what had been executed before
    instead: list[int] = []  # for each module with a formula: by how much that differs from what it executes

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        starts.append(counter.get_total_flops())

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        executed = (counter.get_total_flops() - starts.pop()) // 2
        instead.append(_formula(module, inputs, output, half) - executed)

    hooks = []
    for module in model.modules() if counting == "paper" else ():
        if isinstance(module, (MLSTMCell, LinearBlockDiagonal, CausalConv1d, LayerNorm, nn.LayerNorm)):
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        # The counter does not know every fused attention; written out as matrix products it knows all.
        torch.backends.mha.set_fastpath_enabled(False)
        with _as_it_was(model), sdpa_kernel(SDPBackend.MATH), counter, torch.no_grad():
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() // 2 + sum(instead)


def _formula(module: nn.Module, inputs: tuple[Any, ...], output: Any, half: bool) -> int:
    if isinstance(module, MLSTMCell):
        heads, B, S, d = inputs[0].shape
        gates = B * S * 2 * heads * 3 * heads * d
        products = 2 * B * heads * S * S * d // (2 if half else 1)
        return gates + products + 5 * B * S * heads * d
    if isinstance(module, LinearBlockDiagonal):
        return int(output.numel() * module.block_size)
    if isinstance(module, CausalConv1d):
        return int(output.numel() * module.weight[0].numel())
    return int(5 * output.numel())


def operations(model: Callable[..., Any], *inputs: Any) -> int:
    """How many operations PyTorch starts for model(*inputs), one after the other; views, which touch no number, not counted."""
    with _as_it_was(model), _Started() as counter, torch.no_grad():
        model(*inputs)
    return counter.started


class _Started(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.started = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.started += not function.is_view
        return function(*args, **(kwargs or {}))


def latency(model: nn.Module, *inputs: Any, repeats: int = 5, backward: bool = False) -> float:
    """Seconds of model(*inputs), with the backward pass of its mean square if asked for: the best of `repeats`."""
    best = float("inf")
    with _as_it_was(model), torch.set_grad_enabled(backward):
        for turn in range(repeats + 1):  # the first is for warming up
            _synchronise(inputs)
            start = time.perf_counter()
            output = model(*inputs)
            if backward:
                model.zero_grad()
                output.square().mean().backward()
            _synchronise(inputs)
            if turn:
                best = min(best, time.perf_counter() - start)
    return best


def _synchronise(inputs: Sequence[Any]) -> None:
    if any(x.is_cuda for x in inputs if isinstance(x, torch.Tensor)):
        torch.cuda.synchronize()


def activation_memory(model: nn.Module, *inputs: Any) -> int:
    """Bytes that model(*inputs) keeps for the backward pass, parameters not counted; each storage once."""
    own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}  # kept alive: a freed one could be counted under another's address

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:  # where it lies; its numbers lie nowhere on "meta"
            saved[storage._cdata] = storage
        return tensor

    with _as_it_was(model), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model(*inputs)
    return sum(storage.nbytes() for storage in saved.values())


@contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Put back afterwards what a run changes in a model: gradients, and the statistics that BatchNorm keeps in training."""
    parts = model if isinstance(model, nn.Module) else nn.Module()
    gradients = [(p, p.grad) for p in parts.parameters()]
    buffers = [(b, b.clone()) for b in parts.buffers()]
    try:
        yield
    finally:
        for p, gradient in gradients:
            p.grad = gradient
        with torch.no_grad():
            for b, before in buffers:
                b.copy_(before)
