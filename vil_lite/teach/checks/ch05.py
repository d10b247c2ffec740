"""Exercises of chapter 5: the chunkwise form."""

import math

import torch
from torch.nn.functional import logsigmoid

from ._base import exercise, expect, expect_gradients, watched
from .ch04 import parallel_from


# ---------------------------------------------------------------- 5.1
def cover(S, L, *, future=lambda t, s, L: s > t, inside=lambda t, s, L: s // L == t // L, marks=(1, 2)):
    """Who computes which weight. (S, S): 1 inside a chunk, 2 through the memory, 0 the future."""
    t, s = torch.arange(S)[:, None], torch.arange(S)
    return torch.where(future(t, s, L), 0, torch.where(inside(t, s, L), marks[0], marks[1]))


@exercise(
    "5.1",
    "who covers what",
    cover,
    cases=6,
    rtol=0,
    atol=0,
    mistakes={
        "no mask inside the chunks: s > t is the future there, too": {"future": lambda t, s, L: s // L > t // L},
        "the future is marked 2: only s <= t is read at all": {"future": lambda t, s, L: (s > t) & (s // L == t // L)},
        "a token is written before it is read: the diagonal belongs to the inside": {"future": lambda t, s, L: s >= t},
        "this window slides with t; chunks stand still, they begin at 0, L, 2L": {"inside": lambda t, s, L: t - s < L},
        "the chunks are one token too long: token t is in chunk t // L": lambda S, L: cover(S, L + 1),
        "1 and 2 are exchanged: 1 is inside, 2 is through the memory": {"marks": (2, 1)},
        "rows and columns are exchanged: row t reads, column s was written": lambda S, L: cover(S, L).T,
        "the memory holds all earlier chunks, not one": {"future": lambda t, s, L: (s > t) | (t // L - s // L > 1)},
        "the first chunk is the short one; the last one has to be": lambda S, L: cover(S, L).flip(0, 1).T,
        "L is the length of a chunk, not the number of chunks": lambda S, L: cover(S, -(-S // L)),
    },
)
def check_cover(rng):
    L = rng.turn([2, 3, 4, 5])
    return {"S": rng.size(3, 4) * L - rng.turn([1, 0]) * rng.size(1, L - 1), "L": L}


# ---------------------------------------------------------------- 5.2
def _log_weights(i, f, m, *, log_gate=logsigmoid, log_write=lambda F, log_f: F[..., -1:] - F, log_memory=torch.add):
    """The log weights of the chunk's keys and of the old memory at the end."""
    log_f = log_gate(f)
    F = log_f.cumsum(-1)
    return log_write(F, log_f) + i, log_memory(F[..., -1], m)


def _loudest(write, memory, least=0.0):
    return torch.maximum(write.amax(-1), memory).clamp(min=least)


def chunk_end(k, v, i, f, C, n, m, *, stabiliser=_loudest, taken=torch.clone, n_keeps=torch.clone, **weights):
    """The memory after a chunk.  k (H, L, d)  v (H, L, dv)  i, f (H, L)  C (H, d, dv)  n (H, d)  m (H)."""
    log_w, log_m = _log_weights(i, f, m, **weights)
    m_end = stabiliser(log_w, log_m)
    write, memory = torch.exp(log_w - taken(m_end)[..., None]), torch.exp(log_m - taken(m_end))
    weighted_k = write[..., None] * k
    C = memory[..., None, None] * C + weighted_k.mT @ v
    return C, n_keeps(memory)[..., None] * n + weighted_k.sum(-2), m_end


def _in_old_units(k, v, i, f, C, n, m):
    C_new, n_new, m_end = chunk_end(k, v, i, f, 0 * C, 0 * n, m)
    left = logsigmoid(f).sum(-1).exp()[:, None]
    return C_new + left[..., None] * C, n_new + left * n, m_end


_NO_UNIT = {"log_memory": lambda F_L, m: F_L}
_UNCOVERED = {"stabiliser": lambda write, memory: _loudest(write, 0 * memory)}


@exercise(
    "5.2",
    "the memory after a chunk",
    chunk_end,
    outputs=("C", "n", "m"),
    cases=6,
    rtol=1e-3,
    mistakes={
        "the memory before the chunk is dropped": lambda k, v, i, f, C, n, m: chunk_end(k, v, i, f, 0 * C, 0 * n, m),
        "the memory from before does not fade: its log weight is F_L + m": {"log_memory": lambda F_L, m: m},
        "the memory's own stabiliser is left out: its log weight is F_L + m": _NO_UNIT,
        "the memory's own stabiliser has the wrong sign: its log weight is F_L + m": {"log_memory": torch.sub},
        "the memory fades, but keeps its old units: it weighs exp(F_L + m - m_end) now": _in_old_units,
        "the keys fade by what comes after them, F_L - F_s, not by what was before": {"log_write": lambda F, log_f: F},
        "the keys do not fade: their log weight at the end is F_L - F_s + i_s": {"log_write": lambda F, log_f: 0 * F},
        "the sign of the keys' decay is turned round: it is F_L - F_s": {"log_write": lambda F, log_f: F - F[..., -1:]},
        "the key's own forget gate is counted, too": {"log_write": lambda F, log_f: F[..., -1:] - F + log_f},
        "the sigmoid of a shut gate is 0, its log -inf: take logsigmoid(f)": {"log_gate": lambda f: f.sigmoid().log()},
        "the stabiliser is a sum of all weights (logsumexp); take the largest": {
            "stabiliser": lambda write, memory: torch.logaddexp(write.logsumexp(-1), memory).clamp(min=0)
        },
        "the stabiliser does not cover the memory from before: it may be the larger one": _UNCOVERED,
        "the stabiliser does not cover what the chunk writes": {"stabiliser": lambda write, old: old.clamp(min=0)},
        "the stabiliser covers the last token only": {"stabiliser": lambda write, old: _loudest(write[..., -1:], old)},
        "the stabiliser has no floor at 0": {"stabiliser": lambda write, old: _loudest(write, old, -torch.inf)},
        "the stabiliser is right and was not taken out of C and n": {"taken": torch.zeros_like},
        "n starts from nothing: it carries over as C does": {"n_keeps": torch.zeros_like},
        "n does not fade: of n as much is left as of C": {"n_keeps": torch.ones_like},
        "n does not fade, and the old stabiliser is missing": {"n_keeps": torch.ones_like, **_NO_UNIT},
        "n does not fade, and the new stabiliser does not cover the memory": {"n_keeps": torch.ones_like, **_UNCOVERED},
        "C is transposed: keys are rows, values columns": lambda *x: (chunk_end(*x)[0].mT, *chunk_end(*x)[1:]),
    },
)
def check_chunk_end(rng):
    H, L, d, dv = rng.size(2, 3), rng.size(3, 7), rng.size(2, 5), rng.size(2, 5)
    # What is largest: what the chunk writes, in the middle; the memory, louder than any float32; the floor 0.
    loud, kept, m = rng.turn([(0, 1, 1), (0, 1, 120), (-6, -2, 1)])
    tokens = {"k": rng.normal(H, L, d), "v": rng.normal(H, L, dv), "i": rng.normal(H, L) + loud}
    memory = {"C": rng.normal(H, d, dv), "n": rng.normal(H, d), "m": m + rng.uniform(0, 1.5, H)}
    inputs = {**tokens, "f": rng.normal(H, L) + kept, **memory}
    if rng.case % 3 == 0:
        inputs["i"][:, :2], inputs["i"][:, -1] = 14.0, 6.0
    if rng.case == 5:
        inputs["f"][:, 1] = -120.0  # shut
    return inputs


# ---------------------------------------------------------------- 5.3
def chunkwise(q, k, v, i, f, L, *, carried=lambda old, new: new, early=False, whole=False, anew=False):
    """Chunks one after the other, from an empty memory.  q, k (H, S, d)  v (H, S, dv)  i, f (H, S).

    carried: (empty memory, after a chunk) -> what the next chunk gets.
    """
    H, S, d = q.shape
    empty = memory = (q.new_zeros(H, d, v.shape[-1]), q.new_zeros(H, d), q.new_zeros(H))
    h = []
    for start in range(0, S - S % L if whole else S, L):
        part = [x[:, start : start + L] for x in (q, k, v, i, f)]
        after = chunk_end(*part[1:], *(empty if anew else memory))
        h.append(parallel_from(*part, *(after if early else memory)))
        memory = carried(empty, after)
    return torch.cat(h, dim=1)


_SQUARE = "the numbers are right, but an S × S matrix is made: form weights inside a chunk only"
_TOKENWISE = "the numbers are right, but the work does not follow L: is there a loop over tokens, or another length?"


@exercise(
    "5.3",
    "the chunkwise form",
    chunkwise,
    cases=4,
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the memory is not handed on: every chunk starts empty": {"carried": lambda old, new: old},
        "the memory is brought up to date before the chunk reads it, so its own tokens count twice": {"early": True},
        "the stabiliser is not handed on with C and n": {"carried": lambda old, new: (new[0], new[1], old[2])},
        "n is not handed on": {"carried": lambda old, new: (new[0], old[1], new[2])},
        "C is not handed on": {"carried": lambda old, new: (old[0], new[1], new[2])},
        "the last chunk is shorter than L and is missing: range(0, S, L), not S // L chunks": {"whole": True},
        "each memory starts anew: pass the old one to chunk_end, or only the last chunk is known": {"anew": True},
        _SQUARE: lambda q, k, v, i, f, L: chunkwise(q, k, v, i, f, q.shape[1]),
        _TOKENWISE: lambda q, k, v, i, f, L: chunkwise(q, k, v, i, f, 1),
        "the values are right, but no gradient comes back": lambda *a: chunkwise(*a).detach(),
        "the values are right, but their gradient is wrong": {"carried": lambda old, new: [x.detach() for x in new]},
    },
)
def check_chunkwise(rng, student):
    def inputs(H, S, d, dv, L):
        tokens = {"q": 2 * rng.normal(H, S, d), "k": rng.normal(H, S, d), "v": rng.normal(H, S, dv)}
        return {**tokens, "i": rng.normal(H, S) + 1, "f": rng.normal(H, S) + 3, "L": L}

    L = rng.size(2, 5)
    S = 3 * L + (rng.size(1, L - 1) if rng.case % 2 else 0)
    yield inputs(rng.size(2, 3), S, rng.size(2, 4), rng.size(2, 4), L)
    if rng.case == 0:
        for S, L in ((64, 8), (128, 64)):
            largest = watched(student, *inputs(1, S, 2, 2, L).values()).largest
            expect(largest < S * S, _SQUARE)
            told = f" {S} tokens in chunks of {L}: a tensor of {largest} numbers"
            expect(largest < 1.5 * S * L, _TOKENWISE, told)
        few, many = (watched(student, *inputs(1, 3 * L, 2, 2, L).values()).operations for L in (4, 16))
        told = f" 12 tokens in chunks of 4 took {few} operations, 48 in chunks of 16, as many chunks, {many}"
        expect(many <= few + 4, _TOKENWISE, told)
        expect_gradients(student, chunkwise, inputs(1, 6, 2, 2, 2))


# ---------------------------------------------------------------- 5.4
def best_chunk(d, product, block, memory):
    """The L that makes cost(L, d, product, block, memory) least."""
    return d * math.sqrt(4 * memory / (2 * product * d + 5 * block))


def cost(L, d, product, block, memory):
    """The cost model: nanoseconds a token and head at chunk length L.

    The prices in nanoseconds: product, of one multiply-add; block, of one number in a pass over blocks or rows; memory,
    of one number in a pass over memories.
    """
    return product * (2 * L * d + 2 * d * d) + block * (5 * L + 6 * d) + memory * 4 * d * d / L


@exercise(
    "5.4",
    "the best chunk length",
    best_chunk,
    cases=4,
    rtol=0.005,
    atol=0.6,  # a search over whole numbers is welcome too
    mistakes={
        "the square root is missing: the derivative has L² below the fraction line": lambda *a: best_chunk(*a) ** 2,
        "the products inside the chunks (2 L d) cost as well": lambda d, p, b, m: best_chunk(d, 0, b, m),
        "the passes over the L x L blocks (5 L) cost as well": lambda d, p, b, m: best_chunk(d, p, 0, m),
        "the prices of blocks and memories are exchanged": lambda d, p, b, m: best_chunk(d, p, m, b),
        "the prices of products and blocks are exchanged": lambda d, p, b, m: best_chunk(d, b, p, m),
        "a memory has d² numbers, not d": lambda d, p, b, m: best_chunk(d, p, b, m) / math.sqrt(d),
        "this is the cost at the best L, not L": lambda *prices: cost(best_chunk(*prices), *prices),
    },
)
def check_best_chunk(rng):
    prices = {"product": rng.uniform(0.01, 0.03), "block": rng.uniform(0.2, 0.6), "memory": rng.uniform(0.6, 2)}
    prices = {name: float(price) for name, price in prices.items()}
    cheap = {"product": 0.001, "block": 0.6, "memory": 8.0}  # products that cost next to nothing: other parts decide
    return rng.turn([{"d": 32, **prices}, {"d": 128, **prices}, {"d": 96, **prices}, {"d": 64, **cheap}])


# ---------------------------------------------------------------- 5.5
def exponents(i, f, *, log_gate=logsigmoid, key=lambda i, F: i - F, mu=lambda w, F: torch.maximum(w.cummax(-1)[0], -F)):
    """log_key_s = i_s - F_s and log_query_t = -mu_t, mu_t = max(max_{s<=t} log_key_s, -F_t).  i, f: (..., S)."""
    F = log_gate(f).cumsum(-1)
    return key(i, F), -mu(i - F, F)


def _by_mask(i, f):
    F = logsigmoid(f).cumsum(-1)
    rows = (i - F)[..., None, :].expand(*i.shape, i.shape[-1])
    future = torch.ones(i.shape[-1], i.shape[-1], dtype=torch.bool).triu(1)
    return i - F, -torch.maximum(rows.masked_fill(future, -torch.inf).amax(-1), -F)


def _by_loop(i, f):
    F, c = logsigmoid(f).cumsum(-1), []
    for t in range(i.shape[-1]):
        c.append(torch.maximum((i - F)[..., : t + 1].amax(-1), -F[..., t]))
    return i - F, -torch.stack(c, -1)


_A_MATRIX = "the numbers are right, but a matrix with a row for each token is made: use a running maximum"
_A_LOOP = "the numbers are right, but there is a loop over tokens: use cummax"


@exercise(
    "5.5",
    "one exponent per key, one per query",
    exponents,
    outputs=("log_key", "log_query"),
    mistakes={
        "the maximum does not run: mu_t is the largest log_key up to t": {"mu": lambda w, F: torch.maximum(w, -F)},
        "the maximum sees the future: it runs over s <= t": {"mu": lambda w, F: torch.maximum(w.amax(-1, True), -F)},
        "the floor is missing: m_t >= 0 means mu_t >= -F_t": {"mu": lambda w, F: w.cummax(-1)[0]},
        "the floor is 0; in units of F it is -F_t": {"mu": lambda w, F: w.cummax(-1)[0].clamp(min=0)},
        "this is -m_t, and mu_t = m_t - F_t": {"mu": lambda w, F: torch.maximum(w.cummax(-1)[0], -F) + F},
        "this is mu_t; the query's exponent is -mu_t": {"mu": lambda w, F: -torch.maximum(w.cummax(-1)[0], -F)},
        "the key's exponent is i_s - F_s, and here it is i_s + F_s": {"key": lambda i, F: i + F},
        "the running sum F is missing in the key's exponent": {"key": lambda i, F: i},
        "f is a pre-activation: the running sum is over log sigmoid(f)": {"log_gate": lambda f: f},
        "the sigmoid of a shut gate is 0, its log -inf: take logsigmoid(f)": {"log_gate": lambda f: f.sigmoid().log()},
        "the order is log_key, log_query": lambda i, f: exponents(i, f)[::-1],
        _A_MATRIX: _by_mask,
        _A_LOOP: _by_loop,
        "the values are right, but no gradient comes back": lambda *x: (exponents(*x)[0], exponents(*x)[1].detach()),
    },
)
def check_exponents(rng, student):
    shape = *rng.turn([(2,), (), (2, 3)]), rng.size(5, 9)
    i, f = 2 * rng.normal(*shape), rng.normal(*shape)
    i[..., 0], i[..., 2], i[..., 3] = -8, 6, -8  # a quiet start, where the floor decides; a loud token; a quiet one
    f[..., -1] = -120  # shut
    yield {"i": i, "f": f}
    S = 64
    seen = watched(student, rng.normal(2, S), rng.normal(2, S))
    expect(seen.largest < 2 * S * S, _A_MATRIX, f" ({S} tokens, and a tensor of {seen.largest} numbers)")
    expect(seen.operations < S, _A_LOOP, f" ({S} tokens took {seen.operations} operations)")
    if rng.case == 0:  # a loop over plain numbers, which no count of operations sees, loses them
        expect_gradients(lambda *x: student(*x)[1], lambda *x: exponents(*x)[1], {"i": i, "f": f})
