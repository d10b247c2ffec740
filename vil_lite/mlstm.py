"""Chapters 2 to 5: the mLSTM cell as pure functions, one recurrence and three ways to compute it.

Symbols (one head; B batch, H heads, S tokens, d key width, dv value width, L chunk length):

    q, k, v      (B, H, S, d), (B, H, S, d), (B, H, S, dv)   query, key, value; the query is divided by sqrt(d) inside
    i, f         (B, H, S)    pre-activations of the input gate (exponential) and of the forget gate (sigmoid)
    log_f        log sigmoid(f)                             F      its running sum over tokens
    C, n, m      matrix memory (B, H, d, dv), normaliser (B, H, d), stabiliser (B, H): the state carried between calls

With a stabiliser m, the memory that is stored is exp(-m) times the memory that is meant, so that nothing overflows
(chapter 2; row by row in chapter 4, chunk by chunk in chapter 5):

    m_t = max(log_f_t + m_{t-1}, i_t, 0)                                              the running maximum, kept >= 0
    C_t = exp(log_f_t + m_{t-1} - m_t) C_{t-1} + exp(i_t - m_t) k_t v_t^T             n_t likewise, with k_t alone
    h_t = q_t^T C_t / (max(|q_t^T n_t|, exp(-m_t)) + eps)                             from C = n = 0 and m_0 = 0, empty

The 0 in the maximum is ours. The floor exp(-m_t) stands for the number 1 in the units of the stored memory; with m_t >= 0
it cannot overflow, and neither can its gradient. The value of h_t does not depend on m (eps apart).

`mlstm_chunkwise`, the one to use for long sequences, is imported here from vil_lite/mlstm_fast.py; the loop below defines it.

Gates may be anything: f = -inf forgets all that was before, i = -inf writes nothing, a NaN spoils no token before it.

Source: xLSTM (Beck et al. 2024, arXiv 2405.04517), equations 19-27 and appendix A.3; Vision-LSTM (arXiv 2406.04303).
The authors' parallel form is parallel_stabilized_simple; its max_log_D is our m_t, its C_matrix our scores:
https://github.com/NX-AI/vision-lstm/blob/5ab06eb85b42dc4f591febc8d4fe16946e0029e3/vision_lstm/vision_lstm.py#L48
"""

import torch
from torch import Tensor

from vil_lite.mlstm_fast import mlstm_chunkwise
from vil_lite.mlstm_state import (
    MLSTMState,
    check_cell_inputs,
    check_chunk_size,
    initial_state,
    log_gates,
    without_autocast,
)

__all__ = ["MLSTMState", "mlstm_chunkwise", "mlstm_chunkwise_loop", "mlstm_parallel", "mlstm_recurrent"]


@without_autocast
def mlstm_recurrent(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, state: MLSTMState | None = None, eps: float = 1e-6
) -> tuple[Tensor, MLSTMState]:
    """Mix tokens one after the other: O(S) steps, memory of one state.  The definition; slow, and how one decodes.

    q, k: (B, H, S, d)  v: (B, H, S, dv)  i, f: (B, H, S) gate pre-activations  state: MLSTMState or None (empty memory).
    Returns h (B, H, S, dv) in v's dtype and the MLSTMState after the last token.
    Raises ValueError when shapes disagree, TypeError when q, k and v are no floating-point tensors of one dtype.
    (Chapters 2 and 3; xLSTM, Beck et al. 2024, eq. 19-27.)
    """
    check_cell_inputs(q, k, v, i, f, state)
    C, n, m = state = initial_state(q, k, v, state)
    i, log_f = log_gates(i, f, state)
    query = q * q.shape[-1] ** -0.5
    h = []
    for t in range(q.shape[2]):
        q_t, k_t, v_t = (x[:, :, t].to(C.dtype) for x in (query, k, v))  # (B, H, d), (B, H, d), (B, H, dv)
        m_t = torch.maximum(log_f[:, :, t] + m, i[:, :, t]).clamp(min=0.0)  # the 0 is ours, see above
        forget = torch.exp(log_f[:, :, t] + m - m_t).to(C.dtype)
        write = torch.exp(i[:, :, t] - m_t).to(C.dtype)
        C = forget[..., None, None] * C + write[..., None, None] * (k_t[..., :, None] * v_t[..., None, :])
        n = forget[..., None] * n + write[..., None] * k_t
        m = m_t
        numerator = torch.einsum("bhd,bhdv->bhv", q_t, C)
        normaliser = torch.einsum("bhd,bhd->bh", q_t, n)
        floor = torch.exp(-m).to(C.dtype)
        h.append(numerator / (torch.maximum(normaliser.abs(), floor) + eps)[..., None])
    return torch.stack(h, dim=2).to(v.dtype), MLSTMState(C, n, m)


@without_autocast
def mlstm_parallel(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, state: MLSTMState | None = None, eps: float = 1e-6
) -> tuple[Tensor, MLSTMState]:
    """Mix tokens all at once with an S x S matrix of decays: O(S^2) time and memory.  The form of the paper.

    Arguments, result and errors as for mlstm_recurrent.  (Chapter 4; xLSTM, Beck et al. 2024, appendix A.3.)
    """
    check_cell_inputs(q, k, v, i, f, state)
    C, n, m = memory_before = initial_state(q, k, v, state)
    i, log_f = log_gates(i, f, memory_before)
    dtype = v.dtype
    if dtype == torch.float16:  # its range ends at 65504: sums of products leave it where h does not
        q, k, v = (x.to(C.dtype) for x in (q, k, v))
    S, q = q.shape[2], q * int(q.shape[-1]) ** -0.5
    F = log_f.cumsum(-1)  # (B, H, S)
    log_D = F[..., :, None] - F[..., None, :] + i[..., None, :]  # row t, column s (B, H, S, S)
    past = torch.ones(S, S, dtype=torch.bool, device=q.device).tril()  # row t may look at column s: s <= t
    log_D = log_D.masked_fill(~past, float("-inf"))
    log_memory = F + m[..., None]  # the weight that the initial memory still has at t
    m_t = torch.maximum(log_D.amax(-1), log_memory).clamp(min=0.0)
    D = torch.exp(log_D - m_t[..., None]).to(C.dtype)
    scores = (q @ k.transpose(-1, -2)) * D  # (B, H, S, S)
    memory = torch.exp(log_memory - m_t).to(C.dtype)
    numerator = (scores.to(v.dtype) @ v).to(C.dtype)
    normaliser = scores.sum(-1)
    if state is not None:
        numerator = numerator + memory[..., None] * (q @ C.to(q.dtype))
        normaliser = normaliser + memory * (q @ n[..., None].to(q.dtype)).squeeze(-1)
    floor = torch.exp(-m_t).to(C.dtype)
    h = numerator / (torch.maximum(normaliser.abs(), floor) + eps)[..., None]

    weighted_k = D[..., -1, :, None] * k  # what is left of each key after the last token (B, H, S, d)
    memory = memory[..., -1]
    C = memory[..., None, None] * C + (weighted_k.to(v.dtype).transpose(-1, -2) @ v)
    n = memory[..., None] * n + weighted_k.sum(2)
    return h.to(dtype), MLSTMState(C, n, m_t[..., -1])


@without_autocast
def mlstm_chunkwise_loop(
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

    The definition of `mlstm_chunkwise`, as chapter 5 derives it; that one (vil_lite/mlstm_fast.py) does all chunks at
    once and is the one to use.
    chunk_size: the longest chunk L; any S is taken.  Other arguments, result and errors as for mlstm_recurrent.
    (xLSTM 7B, Beck et al. 2025, arXiv 2503.13427.)
    """
    check_cell_inputs(q, k, v, i, f, state)
    check_chunk_size(chunk_size)
    h = []
    for chunk in zip(*(x.split(chunk_size, dim=2) for x in (q, k, v, i, f)), strict=True):
        h_chunk, state = mlstm_parallel(*chunk, state, eps=eps)  # type: ignore[call-arg,misc]
        h.append(h_chunk)
    assert state is not None  # there is a first chunk
    return torch.cat(h, dim=2), state
