"""Checks of chapter 5: the chunkwise form."""

import math

import torch
from torch.nn.functional import logsigmoid, pad
from torch.utils._python_dispatch import TorchDispatchMode

from ._base import attempt, compare, exercise, expect
from .ch04 import parallel_from

# ---------------------------------------------------------------- 5.1


def cover(S, L):
    """Reference: who computes which weight. (S, S): 1 inside a chunk, 2 through the state, 0 the future."""
    t, s = torch.arange(S)[:, None], torch.arange(S)
    return torch.where(s > t, 0, torch.where(s // L == t // L, 1, 2))


@exercise("who covers what", cases=6)
def check_cover(student, rng):
    L = rng.size(2, 5)
    inputs = {"S": 2 * L + rng.size(1, 2 * L), "L": L}

    def wrong(rule):
        return lambda S, L: rule(torch.arange(S)[:, None], torch.arange(S), L)

    compare(
        student, cover, inputs,
        diagnose={
            "the causal mask is missing inside the chunks: s > t is the future there too":
                wrong(lambda t, s, L: torch.where(s // L > t // L, 0, torch.where(s // L == t // L, 1, 2))),
            "the future is marked as coming through the state: only s <= t is read at all":
                wrong(lambda t, s, L: torch.where((s > t) & (s // L == t // L), 0, torch.where(s // L == t // L, 1, 2))),
            "a token is written before it is read, so the diagonal belongs to the inside":
                wrong(lambda t, s, L: torch.where(s >= t, 0, torch.where(s // L == t // L, 1, 2))),
            "this is a window that slides with t; chunks stand still, they begin at 0, L, 2L":
                wrong(lambda t, s, L: torch.where(s > t, 0, torch.where(t - s < L, 1, 2))),
            "1 and 2 are exchanged: 1 is inside, 2 is through the state":
                wrong(lambda t, s, L: torch.where(s > t, 0, torch.where(s // L == t // L, 2, 1))),
            "rows and columns are exchanged: row t reads, column s was written": lambda S, L: cover(S, L).T,
            "the state holds all earlier chunks, not only the last one":
                wrong(lambda t, s, L: torch.where((s > t) | (t // L - s // L > 1), 0, torch.where(s // L == t // L, 1, 2))),
            "L is the length of a chunk, not the number of chunks": lambda S, L: cover(S, -(-S // L)),
        },
        rtol=0, atol=0,
    )


# ---------------------------------------------------------------- 5.2


def chunk_end(k, v, i, f, C, n, m):
    """Reference: the memory after a chunk.  k (H, L, d)  v (H, L, dv)  i, f (H, L)  C (H, d, dv)  n (H, d)  m (H)."""
    return _end(k, v, i, f, C, n, m)


def _end(k, v, i, f, C, n, m, log_write=None, log_memory=None, stabiliser=None, n_memory=1, scaled=True):
    """The reference with its pieces exchangeable, so that one piece can be wrong."""
    log_f = logsigmoid(f)
    F = log_f.cumsum(-1)
    log_w = (F[..., -1:] - F if log_write is None else log_write(F, log_f)) + i
    log_m = F[..., -1] + m if log_memory is None else log_memory(F[..., -1], m)
    m_end = torch.maximum(log_w.amax(-1), log_m).clamp(min=0) if stabiliser is None else stabiliser(log_w, log_m)
    taken = m_end if scaled else 0 * m_end
    write, memory = torch.exp(log_w - taken[..., None]), torch.exp(log_m - taken)
    weighted_k = write[..., None] * k
    C = memory[..., None, None] * C + weighted_k.mT @ v
    return C, n_memory * memory[..., None] * n + weighted_k.sum(-2), m_end


@exercise("the memory after a chunk", cases=6)
def check_chunk_end(student, rng):
    H, L, d, dv = rng.size(1, 3), rng.size(3, 7), rng.size(2, 5), rng.size(2, 5)
    inputs = {
        "k": rng.normal(H, L, d), "v": rng.normal(H, L, dv), "i": rng.normal(H, L), "f": rng.normal(H, L) + 1,
        "C": rng.normal(H, d, dv), "n": rng.normal(H, d),
        # Quiet, loud, and louder than any float32: the three cases of the stabiliser's maximum.
        "m": rng.uniform(1, 3, H) + rng.choice([0, 4, 120]),
    }
    if rng.choice([False, True]):
        inputs["i"], inputs["f"] = inputs["i"] - 6, inputs["f"] - 2  # little is written, all is forgotten: the 0 decides

    def wrong(**pieces):
        return lambda *a: _end(*a, **pieces)

    compare(
        student, chunk_end, inputs, outputs=("C", "n", "m"), rtol=1e-3, atol=1e-5,
        diagnose={
            "the memory from before the chunk is dropped": lambda k, v, i, f, C, n, m: _end(k, v, i, f, 0 * C, 0 * n, m),
            "the memory from before does not fade: its log weight is F_L + m": wrong(log_memory=lambda F, m: m),
            "the memory's own stabiliser is left out: C stands for exp(m) C, so its log weight is F_L + m":
                wrong(log_memory=lambda F, m: F),
            "the keys fade by what came before them (F_s); at the end they have faded by what came after: F_L - F_s":
                wrong(log_write=lambda F, g: F),
            "the keys do not fade: their log weight at the end is F_L - F_s + i_s": wrong(log_write=lambda F, g: 0 * F),
            "the sign of the keys' decay is turned round: it is F_L - F_s": wrong(log_write=lambda F, g: F - F[..., -1:]),
            "the token's own forget gate is counted too: what is written at s is first forgotten at s + 1":
                wrong(log_write=lambda F, g: F[..., -1:] - F + g),
            "the stabiliser does not cover the memory from before: take the larger of the two, and 0":
                wrong(stabiliser=lambda w, m: w.amax(-1).clamp(min=0)),
            "the stabiliser does not cover what the chunk writes: take the larger of the two, and 0":
                wrong(stabiliser=lambda w, m: m.clamp(min=0)),
            "the floor at 0 is missing in the stabiliser": wrong(stabiliser=lambda w, m: torch.maximum(w.amax(-1), m)),
            "the stabiliser is right and was not taken out of C and n": wrong(scaled=False),
            "n starts from nothing: it carries over as C does": wrong(n_memory=0),
            "C is transposed: keys are rows, values columns": lambda *a: (_end(*a)[0].mT, *_end(*a)[1:]),
        },
    )


# ---------------------------------------------------------------- 5.3


def chunkwise(q, k, v, i, f, L):
    """Reference: chunks one after the other, from an empty memory.  q, k (H, S, d)  v (H, S, dv)  i, f (H, S)."""
    return _loop(q, k, v, i, f, L)


def _loop(q, k, v, i, f, L, carried=lambda old, new: new, early=False, whole=False):
    """The reference with its pieces exchangeable.  carried: (memory before, after) -> what the next chunk gets."""
    H, S, d = q.shape
    empty = memory = (q.new_zeros(H, d, v.shape[-1]), q.new_zeros(H, d), q.new_zeros(H))
    h = []
    for start in range(0, S - S % L if whole else S, L):
        part = [x[:, start : start + L] for x in (q, k, v, i, f)]
        after = chunk_end(*part[1:], *memory)
        h.append(parallel_from(*part, *(after if early else memory)))
        memory = carried(empty, after)
    return torch.cat(h, dim=1)


@exercise("the chunkwise form", cases=6)
def check_chunkwise(student, rng):
    H, d, dv, L = rng.size(1, 3), rng.size(2, 4), rng.size(2, 4), rng.size(2, 5)
    S = 3 * L + rng.size(0, L - 1)
    inputs = {
        "q": 2 * rng.normal(H, S, d), "k": rng.normal(H, S, d), "v": rng.normal(H, S, dv),
        "i": rng.normal(H, S) + 1, "f": rng.normal(H, S) + 3, "L": L,
    }

    def only_last(q, k, v, i, f, L):
        memories = [tuple(q.new_zeros(*s) for s in ((H, d, dv), (H, d), (H,)))]
        parts = [[x[:, s : s + L] for x in (q, k, v, i, f)] for s in range(0, S, L)]
        memories += [chunk_end(*part[1:], *memories[0]) for part in parts]
        return torch.cat([parallel_from(*p, *mem) for p, mem in zip(parts, memories)], dim=1)

    compare(
        student, chunkwise, inputs, rtol=1e-3, atol=1e-4,
        diagnose={
            "the memory is not handed on: every chunk starts empty": lambda *a: _loop(*a, carried=lambda old, new: old),
            "the memory is brought up to date before the chunk reads it, so its own tokens count twice":
                lambda *a: _loop(*a, early=True),
            "the stabiliser is not handed on: C and n are stored times exp(-m), without m they mean something else":
                lambda *a: _loop(*a, carried=lambda old, new: (new[0], new[1], old[2])),
            "n is not handed on": lambda *a: _loop(*a, carried=lambda old, new: (new[0], old[1], new[2])),
            "C is not handed on": lambda *a: _loop(*a, carried=lambda old, new: (old[0], new[1], new[2])),
            "the last chunk is shorter than L and is missing: range(0, S, L), not S // L chunks":
                lambda *a: _loop(*a, whole=True),
            "each memory starts anew: pass the old memory to chunk_end, or only the last chunk is remembered": only_last,
        },
    )


# ---------------------------------------------------------------- 5.4


def exponents(i, f):
    """Reference: log_key_s = i_s - F_s and log_query_t = -c_t, c_t = max(max_{s<=t} log_key_s, -F_t).  i, f: (..., S)."""
    F = logsigmoid(f).cumsum(-1)
    return i - F, -torch.maximum((i - F).cummax(-1).values, -F)


class _Watch(TorchDispatchMode):
    """Counts the operations of torch that run, and the numbers of the largest tensor that they make."""

    operations = largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, torch.Tensor):
                self.largest = max(self.largest, part.numel())
        return result


def watched(function, *arguments):
    """Call function; return how many operations it took and the size of the largest tensor it made."""
    with _Watch() as watch:
        attempt(function, *arguments)
    return watch.operations, watch.largest


@exercise("one exponent a key, one a query")
def check_exponents(student, rng):
    H, S = rng.size(1, 3), rng.size(5, 9)
    i, f = 2 * rng.normal(H, S), rng.normal(H, S)
    i[:, 0], i[:, 2] = -8, 6  # a quiet start, where the floor decides, and then a loud token

    def F(f):
        return logsigmoid(f).cumsum(-1)

    def by(c):
        return lambda i, f: (i - F(f), -c(i - F(f), F(f)))

    compare(
        student, exponents, {"i": i, "f": f}, outputs=("log_key", "log_query"),
        diagnose={
            "the maximum does not run: c_t is the largest log_key up to t, not log_key_t itself":
                by(lambda w, F: torch.maximum(w, -F)),
            "the maximum sees the future: it runs over s <= t (cummax), not over the whole row":
                by(lambda w, F: torch.maximum(w.amax(-1, keepdim=True), -F)),
            "the floor is missing: m_t >= 0 means c_t >= -F_t": by(lambda w, F: w.cummax(-1).values),
            "the floor is 0; in units of F the 0 of the stabiliser is -F_t": by(lambda w, F: w.cummax(-1).values.clamp(min=0)),
            "this is -m_t; subtract F_t from the stabiliser first: c_t = m_t - F_t":
                by(lambda w, F: torch.maximum(w.cummax(-1).values, -F) + F),
            "this is c_t; the query's exponent is -c_t": by(lambda w, F: -torch.maximum(w.cummax(-1).values, -F)),
            "the key's exponent is i_s - F_s, and here it is i_s + F_s": lambda i, f: (i + F(f), exponents(i, f)[1]),
            "the running sum F is missing in the key's exponent": lambda i, f: (i, exponents(i, f)[1]),
            "f is a pre-activation: the running sum is over log sigmoid(f)":
                lambda i, f: (i - f.cumsum(-1), -torch.maximum((i - f.cumsum(-1)).cummax(-1).values, -f.cumsum(-1))),
            "the order is log_key, log_query": lambda i, f: exponents(i, f)[::-1],
        },
    )
    S = 64
    operations, largest = watched(student, rng.normal(2, S), rng.normal(2, S))
    expect(largest < 2 * S * S, f"the numbers are right, but for {S} tokens a tensor of {largest} is made: use a running maximum")
    expect(operations < S, f"the numbers are right, but {S} tokens took {operations} operations: use cummax, not a loop")


# ---------------------------------------------------------------- 5.5


def carry(added, decay, first):
    """Reference: the state before each chunk (H, K, X) and after the last (H, X), by one matrix product."""
    return _product(added, decay, first)


def _product(added, decay, first, log_W=None, mask=True):
    total = pad(decay.cumsum(-1), (1, 0))  # entry k: how much c has risen before chunk k
    difference = total[..., None, :] - total[..., :, None] if log_W is None else log_W(total)
    past = torch.ones(total.shape[-1], total.shape[-1], dtype=torch.bool).tril()
    W = torch.exp(difference.masked_fill(~past, -torch.inf) if mask else difference)
    states = W @ torch.cat([first[:, None], added], dim=1)
    return states[:, :-1], states[:, -1]


def _step_by_step(added, decay, first, shift=0, start=1, sign=-1, after=False):
    state, starts = start * first, []
    for k in range(added.shape[1]):
        kept = decay[:, min(max(k + shift, 0), added.shape[1] - 1)]
        new = torch.exp(sign * kept)[:, None] * state + added[:, k]
        starts.append(new if after else state)
        state = new
    return torch.stack(starts, 1), state


@exercise("all chunk states at once")
def check_carry(student, rng):
    H, K, X = rng.size(1, 3), rng.size(4, 7), rng.size(2, 6)
    inputs = {"added": rng.normal(H, K, X), "decay": rng.uniform(0.1, 1.5, H, K), "first": rng.normal(H, X)}

    def faded_first(added, decay, first):
        return _step_by_step(torch.exp(-decay)[..., None] * added, decay, first)

    compare(
        student, carry, inputs, outputs=("starts", "last"),
        diagnose={
            "these are the states after each chunk; a chunk reads what was there before it":
                lambda *a: _step_by_step(*a, after=True),
            "the first state is missing": lambda *a: _step_by_step(*a, start=0),
            "the states grow: the weight is exp(-decay)": lambda *a: _step_by_step(*a, sign=1),
            "nothing fades between chunks": lambda *a: _step_by_step(*a, sign=0),
            "what a chunk adds is seen from its own end: its own decay is already in it": faded_first,
            "the decays are one chunk late": lambda *a: _step_by_step(*a, shift=-1),
            "the decays are one chunk early": lambda *a: _step_by_step(*a, shift=1),
            "the mask is missing: chunks must not see those after them": lambda *a: _product(*a, mask=False),
            "the sign of the differences is turned round: later minus earlier, times -1":
                lambda *a: _product(*a, log_W=lambda total: total[..., :, None] - total[..., None, :]),
            "the order is starts, last": lambda *a: carry(*a)[::-1],
        },
    )
    few, many = (watched(student, rng.normal(1, K, 3), rng.uniform(0, 1, 1, K), rng.normal(1, 3))[0] for K in (3, 30))
    expect(many <= few + 3, f"the numbers are right, but there is a loop: {few} operations for 3 chunks, {many} for 30")


# ---------------------------------------------------------------- 5.6


def best_chunk(d, a, b, w):
    """Reference: the L that makes cost(L, d, a, b, w) least."""
    return d * math.sqrt(4 * w / (2 * a * d + 5 * b))


def cost(L, d, a, b, w):
    """The cost model: nanoseconds a token and head at chunk length L, a (2 L d + 2 d²) + b (5 L + 6 d) + 4 w d² / L.

    a: one multiply-add.  b: one number in a pass over blocks or rows.  w: one number in a pass over memories.
    """
    return a * (2 * L * d + 2 * d * d) + b * (5 * L + 6 * d) + w * 4 * d * d / L


@exercise("the best chunk length", cases=4)
def check_best_chunk(student, rng):
    prices = {name: float(rng.uniform(*ends)) for name, ends in (("a", (0.01, 0.03)), ("b", (0.2, 0.6)), ("w", (0.6, 2)))}
    inputs = {"d": rng.choice([32, 64, 96, 128]), **prices}

    def search(pick):
        return lambda *prices: pick(range(1, 1025), key=lambda L: cost(L, *prices))

    compare(
        student, best_chunk, inputs, rtol=0.005, atol=0.6,  # a search over whole numbers is welcome too
        diagnose={
            "the square root is missing: the derivative has L² below the fraction line": lambda *a: best_chunk(*a) ** 2,
            "the products inside the chunks (2 L d) cost as well": lambda d, a, b, w: best_chunk(d, 0, b, w),
            "the passes over the L x L blocks (5 L) cost as well": lambda d, a, b, w: best_chunk(d, a, 0, w),
            "the memories are priced w, the blocks b": lambda d, a, b, w: best_chunk(d, a, w, b),
            "the prices of products and blocks are exchanged": lambda d, a, b, w: best_chunk(d, b, a, w),
            "a memory has d² numbers, not d": lambda d, a, b, w: best_chunk(d, a, b, w) / math.sqrt(d),
            "what does not depend on L (2 d², 6 d) does not move the minimum: its derivative is 0":
                lambda d, a, b, w: d * math.sqrt(4 * w / (2 * a * d + 5 * b + 2 * a * d * d + 6 * b * d)),
            "this is the cost at the best L, not L": lambda *prices: cost(best_chunk(*prices), *prices),
            "this is the longest chunk that was tried: look for the least cost, not the largest": search(max),
        },
    )
