"""The mLSTM cell as pure functions: one recurrence, three ways to compute it.

Symbols (one head; B batch, H heads, S tokens, d key width, dv value width, L chunk length):

    q, k, v      (B, H, S, d), (B, H, S, d), (B, H, S, dv)   query, key, value; the query is divided by sqrt(d) inside
    i, f         (B, H, S)    pre-activations of the input gate (exponential) and of the forget gate (sigmoid)
    log_f        log sigmoid(f)                             F      its running sum over tokens
    C, n, m      matrix memory (B, H, d, dv), normaliser (B, H, d), stabiliser (B, H): the state carried between calls

With a stabiliser m, the memory that is stored is exp(-m) times the memory that is meant, so that nothing overflows:

    m_t = max(log_f_t + m_{t-1}, i_t, 0)                                              the running maximum, kept >= 0
    C_t = exp(log_f_t + m_{t-1} - m_t) C_{t-1} + exp(i_t - m_t) k_t v_t^T             n_t likewise, with k_t alone
    h_t = q_t^T C_t / (max(|q_t^T n_t|, exp(-m_t)) + eps)

The 0 in the maximum is ours. The floor exp(-m_t) stands for the number 1 in the units of the stored memory; with m_t >= 0
it cannot overflow, and neither can its gradient. The value of h_t does not depend on m (eps apart).

Source: xLSTM (Beck et al. 2024, arXiv 2405.04517), equations 19-27 and appendix A.3; Vision-LSTM (arXiv 2406.04303).
"""

import math
from functools import wraps
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LN2 = math.log(2)
#: 2^-FAR is nothing beside 1 in every floating-point type: a token this far below the running maximum has no weight.
FAR = 126.0
#: Chunk states are summed by one matrix product over this many chunks; a Python loop carries the state to the next lot.
CHUNKS_AT_ONCE = 64


class MLSTMState(NamedTuple):
    """What a sequence leaves behind.  C: (B, H, d, dv)  n: (B, H, d)  m: (B, H); C and n are stored times exp(-m)."""

    C: Tensor
    n: Tensor
    m: Tensor


def _own_precision(form):
    """Switch autocast off inside: the projections before the cell may be half precision, gates and decays never are."""

    @wraps(form)
    def call(q, *args, **kwargs):
        device = q.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return form(q, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return form(q, *args, **kwargs)

    return call


@_own_precision
def mlstm_recurrent(q, k, v, i, f, state=None, eps=1e-6):
    """Mix tokens one after the other: O(S) steps, memory of one state.  The definition; slow, and how one decodes.

    q, k: (B, H, S, d)  v: (B, H, S, dv)  i, f: (B, H, S) gate pre-activations  state: MLSTMState or None (empty memory).
    Returns h (B, H, S, dv) in v's dtype and the MLSTMState after the last token.
    Raises ValueError when shapes disagree.  (xLSTM, Beck et al. 2024, eq. 19-27.)
    """
    C, n, m = _initial_state(q, k, v, i, f, state)
    log_f, i = -wide(_lost(f)), wide(i)
    query = q * q.shape[-1] ** -0.5
    h = []
    for t in range(q.shape[2]):
        q_t, k_t, v_t = query[:, :, t], k[:, :, t], v[:, :, t]  # (B, H, d), (B, H, d), (B, H, dv)
        m_t = torch.maximum(log_f[:, :, t] + m, i[:, :, t]).clamp(min=0.0)
        forget = torch.exp(log_f[:, :, t] + m - m_t).to(C.dtype)
        write = torch.exp(i[:, :, t] - m_t).to(C.dtype)
        C = forget[..., None, None] * C + write[..., None, None] * (k_t[..., :, None] * v_t[..., None, :])
        n = forget[..., None] * n + write[..., None] * k_t
        numerator = torch.einsum("bhd,bhdv->bhv", q_t.to(C.dtype), C)
        normaliser = torch.einsum("bhd,bhd->bh", q_t.to(C.dtype), n)
        floor = torch.exp(-m_t).to(C.dtype)
        h.append(numerator / (torch.maximum(normaliser.abs(), floor) + eps)[..., None])
        m = m_t
    return torch.stack(h, dim=2).to(v.dtype), MLSTMState(C, n, m)


@_own_precision
def mlstm_parallel(q, k, v, i, f, state=None, eps=1e-6):
    """Mix tokens all at once with an S x S matrix of decays: O(S^2) time and memory.  The form of the paper.

    Arguments, result and errors as for mlstm_recurrent.  (xLSTM, Beck et al. 2024, appendix A.3.)
    """
    C, n, m = _initial_state(q, k, v, i, f, state)
    S, scale = q.shape[2], q.shape[-1] ** -0.5
    cum_f = -wide(_lost(f)).cumsum(-1)  # F_t (B, H, S)
    log_D = cum_f[..., :, None] - cum_f[..., None, :] + wide(i)[..., None, :]  # row t, column s (B, H, S, S)
    log_D = log_D.masked_fill(~_causal(S, q.device), float("-inf"))
    log_memory = cum_f + m[..., None]  # the weight that the initial memory still has at t
    m_t = torch.maximum(log_D.amax(-1), log_memory).clamp(min=0.0)
    D = torch.exp(log_D - m_t[..., None]).to(C.dtype)
    memory = torch.exp(log_memory - m_t).to(C.dtype)

    scores = (q @ k.transpose(-1, -2)) * scale * D  # (B, H, S, S)
    numerator = (scores.to(v.dtype) @ v).to(C.dtype)
    normaliser = scores.sum(-1)
    if state is not None:
        numerator = numerator + memory[..., None] * scale * (q @ C.to(q.dtype))
        normaliser = normaliser + memory * scale * (q @ n[..., None].to(q.dtype)).squeeze(-1)
    floor = torch.exp(-m_t).to(C.dtype)
    h = numerator / (torch.maximum(normaliser.abs(), floor) + eps)[..., None]

    write = D[..., -1, :, None] * k  # what is left of each key after the last token (B, H, S, d)
    decay = memory[..., -1]
    C = decay[..., None, None] * C + (write.to(v.dtype).transpose(-1, -2) @ v)
    n = decay[..., None] * n + write.sum(2)
    return h.to(v.dtype), MLSTMState(C, n, m_t[..., -1])


@_own_precision
def mlstm_chunkwise(q, k, v, i, f, state=None, chunk_size=64, eps=1e-6):
    """Mix tokens in chunks: the parallel form inside a chunk, the state between chunks.  O(S L) time and memory.

    chunk_size: the longest chunk L; any S is taken (the last chunk is filled up with tokens that write nothing).
    Other arguments, result and errors as for mlstm_recurrent.  (xLSTM 7B, Beck et al. 2025, arXiv 2503.13427;
    same idea as gated linear attention, arXiv 2312.06635.)
    """
    C, n, m = _initial_state(q, k, v, i, f, state)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    S = q.shape[2]
    L = _chunk_length(S, chunk_size)
    lost = _lost(f)
    if S % L:  # fill up: weight exp(-inf) for what is written, and nothing forgotten
        fill = L - S % L
        q, k, v = (F.pad(x, (0, 0, 0, fill)) for x in (q, k, v))
        i, lost = F.pad(i, (0, fill), value=-torch.inf), F.pad(lost, (0, fill))
    first_m = None if state is None else m.detach()
    # Gates are laid out as the tokens are: whatever is multiplied by them takes over their layout.
    log_write, log2_memory, log_floor, slack = _chunk_weights(wide(i).contiguous(), wide(lost).contiguous(), first_m, L)
    if state is not None:
        # To the whole-numbered stabiliser; the gradient of m passes through.
        start = torch.exp(m - LN2 * _doublings(m.detach())).to(C.dtype)
        C, n = C * start[..., None, None], n * start[..., None]

    # 0  The decays inside a chunk (B, H, K, L, L): powers of two, exact in every floating-point type.
    log2_memory = log2_memory.to(C.dtype)
    log2_D = (log2_memory - log2_memory.transpose(-1, -2)).add_(_causal_log(L, log2_memory))
    # (Compiled, exp is faster than exp2.)
    D = (torch.exp(LN2 * log2_D) if torch.compiler.is_compiling() else log2_D.exp2_()).to(v.dtype)
    q, k, v = (x.unflatten(2, (-1, L)) for x in (q, k, v))  # (B, H, K, L, d)
    k_T = torch.exp(log_write).to(v.dtype) * k.transpose(-1, -2)
    # 1  What each chunk adds to the memory, seen from its own end (B, H, K, d, dv).
    written = D[..., -1:, :] * k_T
    added_C, added_n = (written @ v).to(C.dtype), written.sum(-1, dtype=C.dtype)
    # 2  The memory at the start of each chunk, and after the last.
    log2_keep = log2_memory[:, :, :, -1]
    C_start, C = _carry(added_C.flatten(-2), log2_keep, None if state is None else C.flatten(-2), q.dtype)
    n_start, n = _carry(added_n, log2_keep, None if state is None else n, q.dtype)
    # 3  Inside a chunk: the parallel form.
    scores = (q @ k_T).mul_(D)
    numerator = scores @ v
    normaliser = scores.sum(-1, keepdim=True, dtype=C.dtype)
    # 4  Plus what the memory still knows.
    memory = torch.exp2(log2_memory)
    numerator.addcmul_(memory.to(v.dtype), q @ C_start.unflatten(-1, (-1, v.shape[-1])))
    normaliser = normaliser + memory * (q * n_start[..., None, :]).sum(-1, keepdim=True, dtype=C.dtype)
    # Above and below the line the query's scale 1 / sqrt(d) is missing, and the stabiliser is a whole number of doublings:
    # floor and eps are brought to the same units.
    scale = math.sqrt(q.shape[-1])
    floor, unit = torch.exp(log_floor).to(C.dtype) * scale, torch.exp(slack).to(C.dtype) * (eps * scale)
    h = (numerator / (torch.maximum(normaliser.abs(), floor) + unit)).flatten(2, 3)

    back = torch.exp(-slack[..., -1, -1, :]).to(C.dtype)
    end = MLSTMState((back * C).unflatten(-1, (-1, v.shape[-1])), back * n, (slack - log_floor)[..., -1, -1, 0])
    return (h if S % L == 0 else h[:, :, :S]).to(v.dtype), end


def _chunk_weights(i, lost, m, L):
    """The logarithms of all weights that the chunkwise form needs, from the gates (B, H, S) and the first stabiliser m.

    lost: -log sigmoid(f); its running sum is -F.  In units of F the stabiliser is c_t = m_t - F_t, which never falls, and
    the weight of token s in row t is exp((i_s - F_s) - c_t).  Rounded up to a whole number of doublings w_t, that is to
    ln(2) w_t, c serves as well, however far it has risen, and what it costs is exact: a power of two.  The weight becomes
        exp(log_write_s) 2^(log2_memory_t - log2_memory_s)        and that of the memory is 2^log2_memory_t
    m: None for an empty memory.  Returned for each chunk: log_write, a row (B, H, K, 1, L), and columns (B, H, K, L, 1):
    log2_memory, by how much w has risen since the chunk began, negative; log_floor = -F_t - ln(2) w; slack = c - ln(2) w.
    """
    lost = lost.cumsum(-1)
    log_write = i + lost
    with torch.no_grad():  # h does not depend on the stabiliser, so no gradient needs to pass through it
        c = torch.maximum(log_write, lost).cummax(-1).values
        c = c if m is None else torch.maximum(c, m[..., None])
        whole = _doublings(c)
        # A rise by more than FAR wipes out everything before it, however far it goes: cutting it there changes no weight
        # and keeps the numbers small.
        rise = whole if m is None else whole - _doublings(m[..., None])
        fall = (F.pad(rise, (1, -1)) - rise).clamp(min=-FAR)  # F.pad: the one before, 0 for the first
        whole = LN2 * whole
    log_write = (log_write - whole).unflatten(-1, (-1, 1, L))
    fall, log_floor, slack = (x.unflatten(-1, (-1, L, 1)) for x in (fall, lost - whole, c - whole))
    return log_write, fall.cumsum(-2), log_floor, slack


def _doublings(c):
    """How many times 1 must be doubled, at least, to come to exp(c): a whole number, negative for halvings."""
    return (c / LN2).ceil()


def _carry(added, log2_keep, first, dtype):
    """Sum what chunks added, decayed to the start of each chunk.

    added (B, H, K, X)  log2_keep (B, H, K, 1)  first (B, H, X); first: None stands for zeros.  Returns the state at the start
    of each chunk (B, H, K, X), in dtype, and the state after the last (B, H, X).
    On a CPU one multiply-add per chunk is cheapest.  Elsewhere, and in exported graphs, one matrix product per
    CHUNKS_AT_ONCE chunks:  state_k = 2^before_k first + sum_{j<k} 2^(before_k - total_j) added_j,
    where total_j is the sum of log2_keep up to chunk j, and before_k = total_{k-1}.
    """
    keep = torch.exp2(log2_keep)
    starts = []
    if added.device.type == "cpu" and added.shape[-1] > 1024 and not (torch.compiler.is_exporting() or torch.jit.is_tracing()):
        first = torch.zeros_like(added[:, :, 0]) if first is None else first
        for new, kept in zip(added.unbind(2), keep.unbind(2), strict=True):
            starts.append(first.to(dtype))
            first = torch.addcmul(new, kept, first)
        return torch.stack(starts, dim=2), first
    parts = [(added, log2_keep, keep)]
    if added.shape[2] > CHUNKS_AT_ONCE:
        parts = zip(*(x.split(CHUNKS_AT_ONCE, dim=2) for x in parts[0]), strict=True)
    for new, log2_kept, kept in parts:
        total = log2_kept.cumsum(2)
        before = total - log2_kept
        W = (before - total.transpose(2, 3) + _causal_log(total.shape[2], total, diagonal=0)).exp2()
        states = W @ new
        if first is not None:
            states = states + torch.exp2(before) * first[:, :, None]
        starts.append(states.to(dtype))
        first = torch.addcmul(new[:, :, -1], kept[:, :, -1], states[:, :, -1])
    return torch.cat(starts, dim=2), first


def _chunk_length(S, chunk_size):
    """The longest divisor of S that is no longer than chunk_size and no shorter than half of it, else chunk_size."""
    if S <= chunk_size:
        return S
    divisors = (L for L in range(chunk_size, (chunk_size + 1) // 2 - 1, -1) if S % L == 0)
    return next(divisors, chunk_size)


def _initial_state(q, k, v, i, f, state):
    """Check shapes; give the state as float32 (or float64) tensors, an empty memory when state is None."""
    B, H, S, d = q.shape if q.ndim == 4 else (None,) * 4
    if q.ndim != 4 or k.shape != q.shape or v.shape[:3] != q.shape[:3] or S == 0:
        raise ValueError(
            "q and k must be (B, H, S, d) and v (B, H, S, dv) with S >= 1, "
            f"got q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        )
    if i.shape != q.shape[:3] or f.shape != q.shape[:3]:
        raise ValueError(
            f"i and f must be (B, H, S) = {(B, H, S)}, one pre-activation per token and head, "
            f"got i {tuple(i.shape)}, f {tuple(f.shape)}"
        )
    dtype = torch.promote_types(v.dtype, torch.float32)
    if state is None:
        zero = torch.zeros((), dtype=dtype, device=q.device)  # expanded: an empty memory takes no memory
        return zero.expand(B, H, d, v.shape[-1]), zero.expand(B, H, d), wide(zero).expand(B, H)
    C, n, m = state
    if C.shape != (B, H, d, v.shape[-1]) or n.shape != (B, H, d) or m.shape != (B, H):
        raise ValueError(
            f"state must be MLSTMState(C {(B, H, d, v.shape[-1])}, n {(B, H, d)}, m {(B, H)}), "
            f"got C {tuple(C.shape)}, n {tuple(n.shape)}, m {tuple(m.shape)}"
        )
    return C.to(dtype), n.to(dtype), wide(m)


def wide(x):
    """Gates are few (two a token and head) and their running sums long: keep them in float64 where the device has it."""
    return x.float() if x.device.type == "mps" else x.double()


def _lost(f):
    """-log sigmoid(f) in at least float32; written so that ONNX runtimes do not compute log(0)."""
    return F.softplus(-f.to(torch.promote_types(f.dtype, torch.float32)))


def _causal(S, device):
    """True where row t may look at column s: s <= t."""
    return torch.ones(S, S, dtype=torch.bool, device=device).tril()


def _causal_log(S, like, diagonal=1):
    """0 below the given diagonal, -inf on it and above: to be added to log weights."""
    return torch.full((S, S), -torch.inf, dtype=like.dtype, device=like.device).triu(diagonal)
