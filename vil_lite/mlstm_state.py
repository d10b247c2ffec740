"""Chapters 2 to 5, what the forms of the mLSTM share: the state, the checks of the input, gates that cannot break a sum."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

#: Input gates are clipped to -LOUDEST .. LOUDEST: at the lower end a token writes nothing, at the upper all there is.
LOUDEST = 1e6
#: exp(-NOTHING) is 0 in the type of the memory.
NOTHING = {torch.float32: 110.0, torch.float64: 750.0}

Form = TypeVar("Form", bound=Callable[..., Any])


class MLSTMState(NamedTuple):
    """What a sequence leaves behind.  C: (B, H, d, dv)  n: (B, H, d)  m: (B, H); C and n are stored times exp(-m).

    m = -inf stands for an empty memory, whatever numbers C and n hold.
    """

    C: Tensor
    n: Tensor
    m: Tensor


def autocasts(device: str) -> bool:
    """Is autocast on for this type of device?  Those that have none must not be asked; torch 2.8 compiles no such question."""
    has_one = device in ("cpu", "cuda", "mps", "xpu") or torch.amp.is_autocast_available(device)
    return has_one and torch.is_autocast_enabled(device)


def without_autocast(form: Form) -> Form:
    """Switch autocast off inside: the projections before the cell may be half precision, gates and decays never are."""

    @wraps(form)
    def call(q: Tensor, *args: Any, **kwargs: Any) -> Any:
        device = q.device.type if isinstance(q, Tensor) else "cpu"
        if not autocasts(device):
            return form(q, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return form(q, *args, **kwargs)

    return call  # type: ignore[return-value]


def exporting() -> bool:
    """Is a graph being written for other runtimes, by torch.export, torch.jit.trace or an exporter to ONNX?

    torch 2.8 and 2.9 answer yes within torch.compile, too: what they compile has its gates in float32.
    """
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def multiply_add(x: Tensor, a: Tensor, b: Tensor, in_place: bool = False) -> Tensor:
    """x + a b in one pass, into x if in_place; in graphs a product and a sum, which every runtime has."""
    if exporting():
        return x + a * b
    return x.addcmul_(a, b) if in_place else torch.addcmul(x, a, b)


def gate_precision(x: Tensor) -> Tensor:
    """Gates are few (two a token and head) and their running sums long: float64 wherever there is float64.

    A Mac's GPU has none, nor have most runtimes that read an exported graph: float32 there.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32)) if x.device.type == "mps" or exporting() else x.double()


def without_nan(x: Tensor) -> Tensor:
    """NaN becomes as low as a gate can be, where no graph is written (few runtimes could read it)."""
    return x if exporting() else x.nan_to_num(nan=-LOUDEST)


def log_sigmoid(f: Tensor) -> Tensor:
    """log sigmoid(f) in at least float32; written so that ONNX runtimes do not compute log(0)."""
    return -softplus(-f.to(torch.promote_types(f.dtype, torch.float32)))


def initial_state(q: Tensor, k: Tensor, v: Tensor, state: MLSTMState | None) -> MLSTMState:
    """The state as float32 (or float64) tensors, an empty memory when state is None."""
    B, H, _, d = q.shape
    dtype = torch.promote_types(v.dtype, torch.float32)
    if state is None:
        zero = torch.zeros((), dtype=dtype, device=q.device)  # expanded: an empty memory takes no memory
        return MLSTMState(zero.expand(B, H, d, v.shape[-1]), zero.expand(B, H, d), gate_precision(zero).expand(B, H))
    C, n, m = state
    return MLSTMState(C.to(dtype), n.to(dtype), gate_precision(m).clamp(min=-LOUDEST))


def log_gates(i: Tensor, f: Tensor, state: MLSTMState) -> tuple[Tensor, Tensor]:
    """The logarithms of both gates (B, H, S), in the precision of gates, and so that their sums stay exact.

    Whoever forgets more than `most` has forgotten all, of the initial memory and of every token: exp(-most) times the
    loudest of them is 0.  Cut off there, one f = -inf is a reset, and a thousand of them add up to small numbers.
    """
    i = gate_precision(i).clamp(-LOUDEST, LOUDEST)
    loudest = without_nan(i.detach()).amax(-1)  # one NaN must not reach every token
    most = NOTHING[state.C.dtype] + torch.maximum(loudest, state.m.detach().clamp(min=0.0))
    return i, torch.maximum(gate_precision(log_sigmoid(f)), -most[..., None])


def check_cell_inputs(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, state: MLSTMState | None) -> None:
    """Raise TypeError for what is no tensor of real numbers or of mixed dtypes, ValueError for shapes that disagree."""
    named = {"q": q, "k": k, "v": v, "i": i, "f": f}
    for name, x in named.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor({name})")
        if name in "qkv" and not x.is_floating_point():
            raise TypeError(f"{name} must be of a floating-point dtype, got {x.dtype}; use {name}.float()")
        if x.dtype == torch.bool or x.is_complex():
            raise TypeError(
                f"{name}, the pre-activation of a gate, must be real numbers, got {x.dtype}; use {name}.float()"
            )
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(
            f"q, k and v must have one dtype, got q {q.dtype}, k {k.dtype}, v {v.dtype}; "
            "convert with k.to(q.dtype), v.to(q.dtype)"
        )
    B, H, S, d = q.shape if q.ndim == 4 else (None,) * 4
    if q.ndim != 4 or k.shape != q.shape or v.shape[:3] != q.shape[:3] or v.ndim != 4 or S == 0:
        raise ValueError(
            "q and k must be (B, H, S, d) and v (B, H, S, dv) with S >= 1, "
            f"got q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        )
    if i.shape != q.shape[:3] or f.shape != q.shape[:3]:
        raise ValueError(
            f"i and f must be (B, H, S) = {(B, H, S)}, one pre-activation per token and head, "
            f"got i {tuple(i.shape)}, f {tuple(f.shape)}"
        )
    if state is None:
        return
    C, n, m = state
    if C.shape != (B, H, d, v.shape[-1]) or n.shape != (B, H, d) or m.shape != (B, H):
        raise ValueError(
            f"state must be MLSTMState(C {(B, H, d, v.shape[-1])}, n {(B, H, d)}, m {(B, H)}), "
            f"got C {tuple(C.shape)}, n {tuple(n.shape)}, m {tuple(m.shape)}"
        )


def check_chunk_size(chunk_size: int) -> None:
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
