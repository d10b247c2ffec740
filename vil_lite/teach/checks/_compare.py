"""What a student's result and the right one have in common, and how the difference is told."""

import sys
from types import SimpleNamespace

import numpy as np
import torch

_NUMBER = (int, float, complex, str, np.number, np.bool_)


def flat(x, leaves: int = 1) -> list:
    """The leaves of nested tuples, lists and dicts, in order; a list of plain numbers is one leaf.

    leaves: how many are wanted; a list of so many numbers is as many leaves.
    """
    if isinstance(x, dict):
        x = list(x.values())
    if not isinstance(x, (tuple, list)) or (leaves != len(x) or leaves == 1) and all(isinstance(e, _NUMBER) for e in x):
        return [x]
    return [leaf for part in x for leaf in flat(part)]


def results(got, wanted: list) -> list:
    """What the student returned, as many leaves as are wanted where that can be.

    One tensor for several values is what unpacking it gives; lists of lists of numbers are one matrix; a tensor of one
    number among several plain ones is a number.
    """
    if len(wanted) == 1 and isinstance(wanted[0], (tuple, list)) and isinstance(got, (tuple, list)):
        got = [e.item() if isinstance(e, (torch.Tensor, np.ndarray)) and e.ndim == 0 else e for e in got]
    if len(wanted) > 1 and isinstance(got, (torch.Tensor, np.ndarray)) and got.ndim and len(got) == len(wanted):
        return list(got)
    one = len(wanted) == 1 and isinstance(wanted[0], (torch.Tensor, np.ndarray))
    if one and isinstance(got, (tuple, list)) and _numbers(got):
        return [got]
    return flat(got, len(wanted))


def _numbers(x) -> bool:
    """Are there numbers only in these nested lists?"""
    return all(isinstance(e, _NUMBER) or isinstance(e, (tuple, list)) and _numbers(e) for e in x)


def copied(x):
    """A copy of tensors, arrays and containers of them; anything else as it is."""
    if isinstance(x, torch.Tensor):
        return x.detach().clone().requires_grad_(x.requires_grad)
    if isinstance(x, np.ndarray):
        return x.copy()
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(copied, x))
    if isinstance(x, dict):
        return {name: copied(part) for name, part in x.items()}
    if isinstance(x, SimpleNamespace):
        return SimpleNamespace(**copied(vars(x)))
    return type(x)(map(copied, x)) if isinstance(x, (tuple, list)) else x


def changed(before, after) -> bool:
    """Has the student changed this argument?"""
    if isinstance(before, SimpleNamespace):
        before, after = vars(before), vars(after)
    if isinstance(before, dict):
        return list(before) != list(after) or any(changed(before[name], after[name]) for name in before)
    if isinstance(before, (tuple, list)):
        return len(before) != len(after) or any(map(changed, before, after))
    if isinstance(before, (torch.Tensor, np.ndarray)):
        return not close(after, before, 0, 0)
    return before is not after and isinstance(before, (int, float, str)) and before != after


def _tensor(x) -> torch.Tensor | None:
    """A tensor of a number, an array or a list of numbers; None for anything else."""
    if isinstance(x, torch.Tensor):
        return x.detach().cpu()
    if isinstance(x, np.ndarray):
        x = x.copy()  # in one piece: an array that is read backwards, x[::-1], cannot become a tensor
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        return None


def close(got, wanted, rtol, atol) -> bool:
    """Is this result the wanted one?  Texts but for spaces around, numbers within the tolerance, NaN where NaN is wanted."""
    if isinstance(wanted, str) or wanted is None:
        return got.strip() == wanted.strip() if isinstance(got, str) and wanted is not None else got is wanted
    g, w = _tensor(got), _tensor(wanted)
    if w is None:
        return type(got) is type(wanted) and got == wanted
    if g is None or isinstance(got, str) or g.shape != w.shape:
        return False
    if g.is_complex() or w.is_complex():
        return torch.allclose(g.to(torch.complex128), w.to(torch.complex128), rtol=rtol, atol=atol)
    return torch.allclose(g.double(), w.double(), rtol=rtol, atol=atol, equal_nan=True)


def named(outputs, wanted: list) -> list[str]:
    """The results in words."""
    if outputs is None:
        return ["the result"] if len(wanted) == 1 else [f"result {n}" for n in range(1, len(wanted) + 1)]
    if len(outputs) != len(wanted):
        raise ValueError(f"outputs names {len(outputs)} results, the reference returns {len(wanted)}: {outputs}")
    return [f"`{name}`" if name.isidentifier() else name for name in outputs]


def kinds(got: list, wanted: list, outputs, failed) -> None:
    """Raise `failed` for a tensor of the wrong type; whole numbers and single ones may be of any."""
    for g, w, name in zip(got, wanted, named(outputs, wanted)):
        if isinstance(w, torch.Tensor) and isinstance(g, torch.Tensor) and g.dtype != w.dtype:
            whole = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
            if w.dim() and not {g.dtype, w.dtype} <= whole:
                raise failed(f"{name} has the right values but is {g.dtype}; {w.dtype} is wanted")


def explain(got: list, wanted: list, outputs, inputs: dict, rtol, atol, failed) -> None:
    """Raise `failed` with what is wrong about these results, the most telling thing first."""
    if len(got) != len(wanted):
        count = "one value is" if len(got) == 1 else f"{len(got)} values are"
        raise failed(f"{count} returned; {len(wanted)} wanted")
    for g, w, name in zip(got, wanted, named(outputs, wanted)):
        if not close(g, w, rtol, atol):
            raise failed(_difference(g, w, name, inputs, rtol, atol))


def _difference(got, wanted, name: str, inputs: dict, rtol, atol) -> str:
    if got is None:
        return f"{name} is None"
    w, g = _tensor(wanted), _tensor(got)
    if isinstance(wanted, str) or w is None:
        return f"{name} is {got!r}, which is not right for {case_of(inputs)}"
    if g is None or isinstance(got, str):
        kind = "tensor" if isinstance(wanted, torch.Tensor) else type(wanted).__name__
        return f"{name} is a {type(got).__name__}; a {kind} is wanted"
    if g.shape != w.shape:
        twist = ": is it transposed?" if g.dim() == w.dim() > 1 and g.shape == w.transpose(-1, -2).shape else ""
        case = f" for {case_of(inputs)}" if inputs else ""
        return f"{name} has shape {tuple(g.shape)}; {tuple(w.shape)} is wanted{case}{twist}"
    if g.is_complex():
        return f"{name} is complex; real numbers are wanted"
    if w.dtype == torch.bool and w.dim() and (g.bool() != w).any():
        place = tuple((g.bool() != w).nonzero()[0].tolist())
        return f"{name} is {bool(g[place])} at index {place}, where {bool(w[place])} is wanted"
    g, w = g.double(), w.double()
    if w.isfinite().all() and not g.isfinite().all():
        bad = "NaN" if g.isnan().any() else "infinite"
        return f"{name} holds {bad} values: is there a division by zero, or an exp of a large number?"
    _draw(g, w)
    hint = _pattern(g, w, rtol, atol)
    if w.numel() == 1:
        return f"{name} is {float(g):.6g}, which is not right{hint}"
    apart = ~torch.isclose(g, w, rtol, atol, equal_nan=True)
    if not w.isfinite().all() and (apart & ~w.isfinite()).any():
        place = tuple((apart & ~w.isfinite()).nonzero()[0].tolist())
        return f"{name} is {float(g[place]):.4g} at index {place}, where {float(w[place])} is wanted"
    difference = (g - w).abs().nan_to_num(0)
    place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), w.shape))
    return f"{name} is off by up to {float(difference.max()):.3g} (at index {place}){hint}"


def _pattern(g: torch.Tensor, w: torch.Tensor, rtol, atol) -> str:
    """What the difference looks like, where it has a simple form."""
    if torch.allclose(g, torch.zeros_like(w), atol=atol):
        return ": it is zero everywhere"
    if w.dim() > 1 and w.shape[-1] == w.shape[-2] and torch.allclose(g, w.transpose(-1, -2), rtol, atol):
        return ": it is transposed"
    if torch.allclose(g, -w, rtol, atol):
        return ": the sign is wrong"
    scale = float((g * w).sum() / (w * w).sum()) if w.isfinite().all() and w.any() else 0.0
    if w.numel() > 1 and scale and torch.allclose(g, scale * w, rtol, atol):
        return f": it is {scale:.4g} times what it should be, everywhere"
    if w.numel() > 1 and w.dim() and torch.allclose(g - w, (g - w).mean().expand_as(w), rtol, atol):
        return f": it is what it should be plus {float((g - w).mean()):.4g}, everywhere"
    return ""


def case_of(inputs: dict) -> str:
    """The inputs in words: `q` (2, 3), `d` = 4."""

    def say(name, x):
        if isinstance(x, torch.Tensor):
            return f"`{name}` {tuple(x.shape)}" if x.dim() else f"`{name}` = {x.item():.4g}"
        return f"`{name}` = {x!r}" if isinstance(x, (int, float, str, tuple)) and len(repr(x)) < 60 else f"`{name}`"

    return ", ".join(say(name, x) for name, x in inputs.items()) or "none"


def _draw(g: torch.Tensor, w: torch.Tensor) -> None:
    """In a notebook, show the first matrix of the student's result beside the reference's and their difference."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel") or w.dim() < 2 or max(w.shape[-2:]) > 64:
        return
    import matplotlib.pyplot as plt
    from IPython.display import display

    from ..figures import heatmaps

    g, w = g.reshape(-1, *g.shape[-2:])[0], w.reshape(-1, *w.shape[-2:])[0]
    figure = heatmaps({"yours": g, "reference": w, "difference": g - w}, signed=True, values=False)
    display(figure, metadata={"image/png": {"alt": "Heat maps of your result, the reference and their difference"}})
    plt.close(figure)
