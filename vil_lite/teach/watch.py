"""What a function does with tensors: how many operations, how large, which.  For exercises that ask for more than values."""

from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Watched(NamedTuple):
    """Operations of torch that a call took, numbers in the largest tensor made, the operators' names, what it returned."""

    operations: int
    largest: int
    names: frozenset
    result: Any


class _Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations, self.largest, self.names = 0, 0, set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        self.operations += 1
        self.names.add(operator.overloadpacket.__name__)
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, torch.Tensor):
                self.largest = max(self.largest, part.numel())
        return result


def watch(function, *arguments) -> Watched:
    """Call function and watch it."""
    with _Watch() as seen:
        result = function(*arguments)
    return Watched(seen.operations, seen.largest, frozenset(seen.names), result)
