"""Chapter 5, "For the curious": the chunkwise form with all chunks at once, the arrangement behind `mlstm_chunkwise`.

It computes what `mlstm_chunkwise_loop` of vil_lite/mlstm.py computes, with the same state: tests/test_mlstm.py holds both
against the recurrence.  What is added to the loop, and what for (chapter 5 measures the first four;
book/results/speed_profile.json the powers and other lengths of chunks, ch05_length.json passes against products):

    all chunks at once      some 180 operations, views counted, and one or two for each chunk; the loop starts some 100 for each
    gates in float64        two numbers a token: nearly free, and sums of ten thousands keep their digits
    LARGEST_RISE            a decay beyond 2^-126 is cut there: exponents stay small, and so exact in float32
    whole doublings         differences of whole numbers are exact, a type that reaches a power of two need not round it, and
                            exp2 takes a tenth of the time of exp on a masked block
    scaled_k_T              exp(log_write), the other factor of the weights, and 1 / sqrt(d) go to S x d keys, not L x L blocks;
    chunk_length            196 tokens are 4 x 49: nothing to fill up
    carry                   one multiply-add a chunk on a CPU, where the state is large; elsewhere one matrix product
    in place, addcmul       a pass over the blocks or rows saved each; passes, not products, are what costs

In graphs for other runtimes: float32, sums that start anew in each chunk, operators that every runtime has, and neither
infinities nor negative padding, which some converters refuse or get wrong.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import pad

from vil_lite.mlstm_state import (
    LOUDEST,
    MLSTMState,
    check_cell_inputs,
    check_chunk_size,
    exporting,
    initial_state,
    log_gates,
    multiply_add,
    without_autocast,
    without_nan,
)

LN2 = math.log(2)
#: 2^-126 is nothing beside 1 in every floating-point type: a token this far below the running maximum has no weight.
LARGEST_RISE = 126.0
#: Chunk states are summed by one matrix product over this many chunks; a Python loop carries the state to the next lot.
CHUNKS_PER_PRODUCT = 64


def chunk_weights(i: Tensor, log_f: Tensor, m: Tensor, L: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The logarithms of all weights that the chunkwise form needs.

    i, log_f: (B, H, R, T), R stretches of T tokens over which F, the sum of log_f, is summed;  m (B, H, R) the stabiliser
    before each.  In units of F the stabiliser is mu_t = m_t - F_t, which never falls, and the weight of token s in row t is
    exp((i_s - F_s) - mu_t).  Rounded up to a whole number of doublings nu_t above m, to the line m + ln(2) nu_t, mu serves as
    well, however far it has risen, and what it costs is exact: a power of two.  The weight becomes
        exp(log_write_s) 2^(log2_memory_t - log2_memory_s)        and that of the memory is 2^log2_memory_t
    Returned for each chunk: log_write, a row (B, H, J, 1, L), and columns (B, H, J, L, 1): log2_memory, by how much nu has
    risen since the chunk began, negative; log_floor = -F_t - line; slack = mu - line.
    """
    if not exporting():
        log_f = torch.add(log_f, i, alpha=0)  # a NaN gate makes F NaN, thereby log_floor and all rows from there on
    minus_F = -log_f.cumsum(-1)
    log_key = i + minus_F
    with torch.no_grad():  # h does not depend on the stabiliser, so no gradient needs to pass through it
        mu = torch.maximum(running_maximum(without_nan(torch.maximum(log_key, minus_F))), m[..., None])
        nu = ((mu - m[..., None]) / LN2).ceil()
        # A rise by more than LARGEST_RISE wipes out everything before it, however far it goes: cutting it there changes
        # no weight and keeps the numbers small.
        fall = (torch.cat([torch.zeros_like(nu[..., :1]), nu[..., :-1]], dim=-1) - nu).clamp(min=-LARGEST_RISE)
        line = m[..., None] + LN2 * nu
    log_write = without_nan(log_key - line).flatten(2).unflatten(-1, (-1, 1, L))
    columns = (x.flatten(2).unflatten(-1, (-1, L, 1)) for x in (fall, minus_F - line, mu - line))
    fall, log_floor, slack = columns
    return log_write, fall.cumsum(3), log_floor, slack


def chunk_stabilisers(i: Tensor, log_f: Tensor, m: Tensor) -> Tensor:
    """The stabiliser before each chunk and after the last (B, H, J + 1).  i, log_f: (B, H, J, L)  m: (B, H), the first.

    Rounding in the long sum over chunks moves the stabilisers a little, and h does not depend on them.
    """
    minus_F = -log_f.cumsum(-1)
    highest = torch.maximum(i + minus_F, minus_F).amax(-1)
    before = pad(minus_F[..., -1].cumsum(-1), (1, 0))  # -F before each chunk, and after the last
    mu = torch.cat([m[..., None], highest + before[..., :-1]], dim=-1)
    past = lower(mu.shape[-1], mu)  # the largest up to each chunk: what comes later counts as the smallest of all
    up_to = past * mu[..., None, :] + (1 - past) * mu.amin(-1, keepdim=True)[..., None]
    return up_to.amax(-1).detach() - before.detach()


def carry(added: Tensor, log2_keep: Tensor, state: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sum what chunks added, decayed to the start of each chunk.

    added (B, H, J, X)  log2_keep (B, H, J, 1), the chapter's -rho_j in doublings  state (B, H, X); None stands for zeros.
    Returns the state at the start of each chunk (B, H, J, X), in dtype, and the state after the last (B, H, X).
    On a CPU one multiply-add per chunk is cheapest.  Elsewhere one matrix product per CHUNKS_PER_PRODUCT chunks, in graphs
    for export or for any J one over all:  state_j = 2^before_j state + sum_{l<j} 2^(before_j - total_l) added_l,
    where total_l is the sum of log2_keep up to chunk l, and before_j = total_{j-1}.
    """
    J = added.shape[2]
    keep = power_of_two(log2_keep)
    starts = []
    known_J = not exporting() and (known(J % 2 == 0) or known(J % 2 == 1))  # a graph for any J knows neither
    if known_J and added.device.type == "cpu" and added.shape[-1] > 1024:
        state = torch.zeros_like(added[:, :, 0]) if state is None else state
        for new, decay in zip(added.unbind(2), keep.unbind(2), strict=True):
            starts.append(state.to(dtype))
            state = torch.addcmul(new, decay, state)
        return torch.stack(starts, dim=2), state
    parts: Iterable[tuple[Tensor, ...]] = [(added, log2_keep, keep)]
    if known_J and J > CHUNKS_PER_PRODUCT:
        parts = zip(*(x.split(CHUNKS_PER_PRODUCT, dim=2) for x in (added, log2_keep, keep)), strict=True)
    for new, log2_decay, decay in parts:
        total = log2_decay.cumsum(2)
        before = total - log2_decay
        W = decay_matrix(before - total.transpose(2, 3), diagonal=-1)
        states = W @ new
        if state is not None:
            states = states + power_of_two(before) * state[:, :, None]
        starts.append(states.to(dtype))
        state = multiply_add(new[:, :, -1], decay[:, :, -1], states[:, :, -1])
    assert state is not None  # there is a first lot
    return torch.cat(starts, dim=2), state


@without_autocast
def mlstm_chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    state: MLSTMState | None = None,
    chunk_size: int = 64,
    eps: float = 1e-6,
) -> tuple[Tensor, MLSTMState]:
    """Mix tokens in chunks: the parallel form inside a chunk, the state between chunks.  O(S L) time and memory.

    chunk_size: the longest chunk L; any S is taken (the last chunk is filled up with tokens that write nothing).
    Other arguments, result and errors as for mlstm_recurrent.  (xLSTM 7B, Beck et al. 2025, arXiv 2503.13427;
    same idea as gated linear attention, arXiv 2312.06635.)
    """
    check_cell_inputs(q, k, v, i, f, state)
    check_chunk_size(chunk_size)
    C, n, m = memory_before = initial_state(q, k, v, state)
    dtype = v.dtype
    if dtype == torch.float16:  # its range ends at 65504: sums of products leave it where h does not
        q, k, v = (x.to(C.dtype) for x in (q, k, v))
    # Gates are laid out as the tokens are: whatever is multiplied by them takes over their layout.
    i, log_f = (x.contiguous() for x in log_gates(i, f, memory_before))
    S, scale = q.shape[2], int(q.shape[-1]) ** -0.5
    L = chunk_length(S, chunk_size)
    if not known(S % L == 0):  # fill up with tokens that write nothing and forget nothing
        fill = -S % L
        q, k, v = (pad(x, (0, 0, 0, fill)) for x in (q, k, v))
        i, log_f = pad(i, (0, fill), value=-LOUDEST), pad(log_f, (0, fill))

    # F is summed over the sequence in float64; in float32 it starts anew in each chunk, and so do the stabilisers.
    anew = i.dtype != torch.float64
    i, log_f = (x.unflatten(-1, (-1, L if anew else x.shape[-1])) for x in (i, log_f))
    m_start = chunk_stabilisers(i, log_f, m.detach()) if anew else m.detach()[..., None]
    log_write, log2_memory, log_floor, slack = chunk_weights(i, log_f, m_start[:, :, : i.shape[2]], L)
    m_end = (m_start[:, :, 1:] if anew else (slack - log_floor)[:, :, -1:, -1, 0])[..., None]  # (B, H, J or 1, 1)
    log_back = (-log_floor[:, :, -m_end.shape[2] :, -1] - m_end).to(C.dtype)  # from the line to that stabiliser

    # 0  The decays inside a chunk (B, H, J, L, L): powers of two, which no type has to round.
    log2_memory = log2_memory.to(C.dtype)
    D = decay_matrix(log2_memory - log2_memory.transpose(-1, -2)).to(v.dtype)
    q, k, v = (x.unflatten(2, (-1, L)) for x in (q, k, v))  # (B, H, J, L, d)
    scaled_k_T = (torch.exp(log_write) * scale).to(v.dtype) * k.transpose(
        -1, -2
    )  # what the query lacks, its scale, is here
    # 1  What each chunk adds to the memory, seen from its own end (B, H, J, d, dv).
    weighted_k_T = D[..., -1:, :] * scaled_k_T
    added_C, added_n = (weighted_k_T @ v).to(C.dtype).flatten(-2), weighted_k_T.sum(-1, dtype=C.dtype)
    # 2  The memory at the start of each chunk, and after the last.
    log2_keep = log2_memory[:, :, :, -1]
    back = torch.exp(log_back)
    if anew:
        added_C, added_n, log2_keep = back * added_C, back * added_n, log2_keep + log_back / LN2
    if state is None:
        first_C = first_n = None
    else:
        same = torch.exp(m - m.detach()).to(C.dtype)[..., None] * scale  # the gradient of m passes through
        first_C, first_n = C.flatten(-2) * same, n * same
    C_start, C = carry(added_C, log2_keep, first_C, q.dtype)
    n_start, n = carry(added_n, log2_keep, first_n, q.dtype)
    # 3  Inside a chunk: the parallel form.
    scores = (q @ scaled_k_T).mul_(D)
    normaliser = scores.sum(-1, keepdim=True, dtype=C.dtype)
    # 4  Plus what the memory still knows.
    memory, C_start = power_of_two(log2_memory), C_start.unflatten(-1, (-1, v.shape[-1]))
    normaliser = normaliser + memory * (q * n_start[..., None, :]).sum(-1, keepdim=True, dtype=C.dtype)
    floor, unit = torch.exp(log_floor).to(C.dtype), torch.exp(slack).to(C.dtype)
    denominator = torch.maximum(normaliser.abs(), floor) + eps * unit
    alone = state is None  # vmap over given states would find more in C_start than in scores @ v
    numerator = multiply_add(scores @ v, memory.to(v.dtype), q @ C_start, in_place=alone).flatten(2, 3)
    denominator = denominator.flatten(2, 3)
    if not known(S % L == 0):
        numerator, denominator = numerator[:, :, :S], denominator[:, :, :S]  # what was filled up may be 0 / 0
    h = (numerator / denominator).to(dtype)

    rest = (1.0 if anew else back[:, :, 0]) / scale
    end = MLSTMState((rest * C).unflatten(-1, (-1, v.shape[-1])), rest * n, m_end[:, :, -1, 0])
    return h, end


def chunk_length(S: int, chunk_size: int) -> int:
    """S if that is no longer than chunk_size; else its longest divisor from chunk_size / 2 on; else chunk_size."""
    if S <= chunk_size:
        return S
    for L in range(chunk_size, (chunk_size + 1) // 2 - 1, -1):
        if known(S % L == 0):
            return L
    return chunk_size


def known(condition: bool) -> bool:
    """The condition; False in a graph that is compiled for any length, where only some lengths fulfil it."""
    if not torch.compiler.is_compiling():
        return bool(condition)
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # imports sympy

    return statically_known_true(condition)


def lower(S: int, like: Tensor, diagonal: int = 0) -> Tensor:
    """1 on the given diagonal and below, 0 above.  Some runtimes cannot count, so a graph for one size has it as numbers."""
    if torch.compiler.is_exporting() and isinstance(S, int):
        rows = [[float(s <= t + diagonal) for s in range(S)] for t in range(S)]
        return torch.tensor(rows, dtype=like.dtype, device=like.device)
    return torch.ones((S, S), dtype=like.dtype, device=like.device).tril(diagonal)


def decay_matrix(log2: Tensor, diagonal: int = 0) -> Tensor:
    """2^log2 (..., S, S) on the given diagonal and below, 0 above.  May overwrite log2, if that needs no gradient."""
    S = log2.shape[-1]
    if exporting():
        past = lower(S, log2, diagonal)
        return power_of_two(past * log2) * past
    future = torch.full((S, S), -torch.inf, dtype=log2.dtype, device=log2.device).triu(diagonal + 1)
    if log2.requires_grad or torch.compiler.is_compiling():
        return power_of_two(log2 + future)
    return log2.add_(future).exp2_()


def power_of_two(x: Tensor) -> Tensor:
    """2^x.  Compiled, exp is faster than exp2, and few other runtimes have exp2."""
    in_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return torch.exp(LN2 * x) if in_graph else torch.exp2(x)


def running_maximum(x: Tensor) -> Tensor:
    """The largest of x up to each place of the last dimension; in graphs for other runtimes by log2(length) maxima."""
    if not exporting():
        return x.cummax(-1).values
    reach = 1
    while reach < x.shape[-1]:
        x = torch.cat([x[..., :reach], torch.maximum(x[..., reach:], x[..., :-reach])], dim=-1)
        reach *= 2
    return x
