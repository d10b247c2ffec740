"""Chapters 10 and 12: what a model costs: parameters, multiply-adds, operations started, time, memory kept for the backward pass.

FLOPs can be counted in two ways, and papers rarely say which:
    "paper"   multiply-adds of the published, parallel form: each of the two S x S products of the cell counts in full
              (half=True counts the causal half that is not masked away, as the authors' tables of the second version do)
    "torch"   the multiply-adds that PyTorch executes, in the form that the model chooses
A multiply-add is one FLOP in both, as in the tables of Vision-LSTM, ViT and YOLO.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vil_lite.block import MLSTMCell
from vil_lite.layers import LayerNorm, LinearBlockDiagonal


def parameters(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in model.parameters())


def flops(model: nn.Module, *inputs: Any, counting: str = "paper", half: bool = False) -> int:
    """Multiply-adds of model(*inputs), an int.

    Both work for any model; of a model without mLSTM, a ViT of timm say, "paper" is what PyTorch executes and the norms,
    attention in full.   half: see above, "paper" alone.
    Raises ValueError for another counting.  (The paper's own figures were made with fvcore: 5 per normalised number.)
    """
    if counting not in ("paper", "torch"):
        raise ValueError(f"counting must be 'paper' or 'torch', got {counting!r}")
    ours = any(isinstance(m, (MLSTMCell, LinearBlockDiagonal)) for m in model.modules())
    kinds = () if counting == "torch" else (nn.Module,) if ours else (LayerNorm, nn.LayerNorm)
    counted: list[int] = []
    hooks = [m.register_forward_hook(_count(counted, half)) for m in model.modules() if isinstance(m, kinds)]
    counter = None if counting == "paper" and ours else FlopCounterMode(display=False)
    try:
        # The counter does not know every fused attention; written out as matrix products it knows all.
        with sdpa_kernel(SDPBackend.MATH), counter or nullcontext(), torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted) + (counter.get_total_flops() // 2 if counter else 0)


def _count(counted: list[int], half: bool) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, MLSTMCell):
            heads, B, S, d = inputs[0].shape
            gates = B * S * 2 * heads * 3 * heads * d
            products = 2 * B * heads * S * S * d // (2 if half else 1)
            counted.append(gates + products + 5 * B * S * heads * d)
        elif isinstance(module, LinearBlockDiagonal):
            counted.append(output.numel() * module.block_size)
        elif isinstance(module, nn.Linear):
            counted.append(output.numel() * module.in_features)
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
            counted.append(output.numel() * module.weight[0].numel())
        elif isinstance(module, (LayerNorm, nn.LayerNorm)):
            counted.append(5 * output.numel())

    return hook


def operations(model: Callable[..., Any], *inputs: Any) -> int:
    """How many operations PyTorch starts for model(*inputs), one after the other; views, which touch no number, not counted."""
    with _Started() as counter, torch.no_grad():
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
    for turn in range(repeats + 1):  # the first is for warming up
        _synchronise(inputs)
        start = time.perf_counter()
        with torch.set_grad_enabled(backward):
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
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    saved: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        output = model(*inputs)  # kept alive: a freed storage could be counted under another's address
    del output
    return sum(saved.values())
