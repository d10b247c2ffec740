"""Exercises of the project of Part 1: the mLSTM with a sigmoid input gate."""

import math

import torch
from torch.nn.functional import logsigmoid

from ._base import attempt, exercise, expect, watched
from .ch04 import log_decay


def _floor(total):
    """The denominator: max(|total|, 1)."""
    return total.abs().clamp(min=1)


# ---------------------------------------------------------------- 1
def step(
    C,
    n,
    q,
    k,
    v,
    i,
    f,
    *,
    write=torch.sigmoid,
    keep=torch.sigmoid,
    in_n=lambda *x: x,
    scale=-0.5,
    bottom=_floor,
    early=0,
):
    """One token of one head.  C (d, dv)  n (d)  q, k (d)  v (dv)  i, f ()  ->  h (dv), C, n."""
    forget, own = keep(f), write(i)
    of_n, of_k = in_n(forget, own)
    new = forget * C + own * torch.outer(k, v), of_n * n + of_k * k
    C_read, n_read = (C, n) if early else new
    query = q * q.shape[-1] ** scale
    return query @ C_read / bottom(query @ n_read), *new


@exercise(
    "P1.1",
    "one step with a sigmoid input gate",
    step,
    outputs=("h", "C", "n"),
    mistakes={
        "the input gate is still exponential; here it is sigmoid(i)": {"write": torch.exp},
        "i is a pre-activation: the gate is sigmoid(i)": {"write": lambda i: i},
        "f is a pre-activation: the gate is sigmoid(f)": {"keep": lambda f: f},
        "the normaliser is written without the input gate": {"in_n": lambda keep, write: (keep, 1)},
        "the normaliser does not forget": {"in_n": lambda keep, write: (1, write)},
        "the query is not divided by sqrt(d)": {"scale": 0},
        "the query is divided by d; by sqrt(d) is wanted": {"scale": -1},
        "the floor is missing: the denominator is max(|total|, 1)": {"bottom": lambda total: total},
        "the floor is missing, and the sign of the sum is lost": {"bottom": torch.abs},
        "the sign of the sum is kept: the denominator is max(|total|, 1)": {"bottom": lambda total: total.clamp(min=1)},
        "nothing divides: h is the numerator alone": {"bottom": torch.ones_like},
        "the old memory is read; a token is written before it is read": {"early": True},
        "the gates are tied (1 - f writes); here they are two": lambda C, n, q, k, v, i, f: step(C, n, q, k, v, -f, f),
        "the order is h, C, n": lambda *x: (*step(*x)[1:], step(*x)[0]),
    },
)
def check_step(rng):
    d, dv = rng.size(2, 5), rng.size(2, 5)
    total = rng.turn([0.4, -2.0, 2.0])  # the floor decides, a missing scale shows; the sum decides, and its sign
    inputs = {"C": rng.normal(d, dv), "n": rng.normal(d), "q": rng.normal(d), "k": rng.normal(d), "v": rng.normal(dv)}
    inputs |= {"i": rng.normal(), "f": rng.normal() + 1}
    n = step(*inputs.values())[2]
    inputs["q"] += (total * d**0.5 - inputs["q"] @ n) / (n @ n) * n
    return inputs


# ---------------------------------------------------------------- 2
def disguise(i):
    """The pre-activation with which the exponential cell becomes the sigmoid cell.  i: any shape."""
    return logsigmoid(i)


_UNDERFLOWS = "right for ordinary gates, but at i = -200 sigmoid(i) is 0 and its logarithm infinite: take logsigmoid"


@exercise(
    "P1.2",
    "the sigmoid in disguise",
    disguise,
    mistakes={
        "the library will take the exponential of this: give it the logarithm of the gate": torch.sigmoid,
        "this is i itself, and the gate becomes exp(i)": lambda i: i,
        "the sign of i is turned round: the gate would be 1 - sigmoid(i)": lambda i: logsigmoid(-i),
        "the sign is wrong: the logarithm of a number below 1 is negative": lambda i: -logsigmoid(i),
        "the logarithm is to base 10; the library takes e to this power": lambda i: torch.log10(i.sigmoid()),
        "log(1 + exp(i)) grows without bound; the gate ends at 1": lambda i: torch.log1p(i.exp()),
        _UNDERFLOWS: lambda i: i.sigmoid().log(),
    },
)
def check_disguise(rng, student):
    yield {"i": 3 * rng.normal(*rng.turn([(), (4,), (2, 3)]))}
    quiet = attempt(student, torch.tensor([-200.0, 200.0]))
    expect(torch.as_tensor(quiet).isfinite().all(), _UNDERFLOWS)


# ---------------------------------------------------------------- 3
def weights(i, f, *, log_write=logsigmoid, **decay):
    """D (..., S, S): what is left, when row t reads, of what column s wrote."""
    return log_decay(log_write(i), f, **decay).exp()


def parallel(q, k, v, i, f, *, scale=-0.5, bottom=_floor, D=weights, **pieces):
    """All tokens at once.  q, k (..., S, d)  v (..., S, dv)  i, f (..., S)  ->  h (..., S, dv)."""
    scores = (q @ k.mT) * D(i, f, **pieces) * q.shape[-1] ** scale
    return scores @ v / bottom(scores.sum(-1, keepdim=True))


def _by_products(i, f):
    left = f.sigmoid().cumprod(-1)
    return (left[..., :, None] / left[..., None, :] * i.sigmoid()[..., None, :]).tril()


def _tokens(rng, S, heads=None):
    """Random tokens; the first of each head reads a sum below the floor of 1, or one of -2."""
    H, d, dv = heads or rng.size(1, 3), rng.size(2, 4), rng.size(2, 4)
    q, k, v = 3 * rng.normal(H, S, d), rng.normal(H, S, d), rng.normal(H, S, dv)
    i, f = 2 * rng.normal(H, S), rng.normal(H, S) + 1
    first, total = k[:, 0], rng.turn([0.4, -2.0]) * d**0.5 / i[:, 0].sigmoid()
    q[:, 0] += ((total - (q[:, 0] * first).sum(-1)) / first.square().sum(-1))[:, None] * first
    return {"q": q, "k": k, "v": v, "i": i, "f": f}


_RUNNING_PRODUCT = (
    "right for a few tokens, NaN for 400: a running product of gates underflows to 0, and 0 / 0 follows; sum logarithms"
)


@exercise(
    "P1.3",
    "the parallel form",
    parallel,
    rtol=1e-3,
    mistakes={
        "the mask is missing: row t must not see columns s > t": {"past": torch.ones_like},
        "the masked places hold 1, as exp(0) does: put -inf into the logarithm or 0 into D": {"at": 0.0},
        "the mask is too strict: a token reads itself, s = t stays": {"past": lambda x: x.tril(-1)},
        "the token's own forget gate is counted too: what is written at s is first forgotten at s + 1": {"own": True},
        "the input gate is that of the token written, s, not of the row": {"written": lambda i: i[..., :, None]},
        "the input gate is exponential: its logarithm is logsigmoid(i), not i": {"log_write": lambda i: i},
        "the input gate is missing: add logsigmoid(i_s), or multiply by sigmoid(i_s)": {"log_write": torch.zeros_like},
        "sigmoid(i) is added to the logarithm; add logsigmoid(i)": {"log_write": torch.sigmoid},
        "f is a pre-activation: the running sum is over logsigmoid(f)": {"log_gate": lambda f: f},
        "the query is not divided by sqrt(d)": {"scale": 0},
        "the floor is missing: the denominator is max(|row sum|, 1)": {"bottom": lambda total: total},
        "the floor is missing, and the sign of the row sum is lost": {"bottom": torch.abs},
        "the row sum keeps its sign: the denominator is max(|row sum|, 1)": {"bottom": lambda total: total.clamp(1)},
        "nothing divides: h is the numerator alone": {"bottom": torch.ones_like},
        _RUNNING_PRODUCT: {"D": _by_products},
    },
)
def check_parallel(rng, student):
    yield _tokens(rng, rng.size(5, 8))
    if rng.case == 0:
        yield _tokens(rng, 400, heads=1)


# ---------------------------------------------------------------- 4
def chunkwise(
    q,
    k,
    v,
    i,
    f,
    L,
    *,
    fade_read=lambda F: F,
    fade_key=lambda F: F[..., -1:] - F,
    fade_memory=lambda F: F[..., -1],
    carry_n=True,
    early=False,
    whole=False,
    hand_on=True,
    bottom=_floor,
    apart=False,
):
    """Chunks of L, one after the other, from an empty memory.  q, k (H, S, d)  v (H, S, dv)  i, f (H, S)  ->  h (H, S, dv).

    fade_*: log decays from F, the running sum inside the chunk.
    """
    H, S, d = q.shape
    C, n, h = q.new_zeros(H, d, v.shape[-1]), q.new_zeros(H, d), []
    for start in range(0, S - S % L if whole else S, L):
        q_b, k_b, v_b, i_b, f_b = (x[:, start : start + L] for x in (q, k, v, i, f))
        F, query = logsigmoid(f_b).cumsum(-1), q_b * d**-0.5
        weighted_k = torch.exp(fade_key(F) + logsigmoid(i_b))[..., None] * k_b
        memory = torch.exp(fade_memory(F))
        new = memory[:, None, None] * C + weighted_k.mT @ v_b, memory[:, None] * n * carry_n + weighted_k.sum(1)
        C_read, n_read = new if early else (C, n)
        scores, read = (query @ k_b.mT) * weights(i_b, f_b), torch.exp(fade_read(F))[..., None]
        inside, outside = scores.sum(-1, keepdim=True), read * (query @ n_read[..., None])
        if apart:
            h.append(scores @ v_b / bottom(inside) + read * (query @ C_read) / bottom(outside))
        else:
            h.append((scores @ v_b + read * (query @ C_read)) / bottom(inside + outside))
        C, n = new if hand_on else (C, n)
    return torch.cat(h, dim=1)


_SQUARE = "right, but an S x S matrix is built: form weights inside a chunk only"


@exercise(
    "P1.4",
    "the chunkwise form",
    chunkwise,
    rtol=1e-3,
    mistakes={
        "the memory is not handed on: every chunk starts empty": {"hand_on": False},
        "the memory does not fade while the chunk reads: token t finds exp(F_t) of it": {"fade_read": torch.zeros_like},
        "the whole chunk reads the memory as it is at its end": {"fade_read": lambda F: F[..., -1:].expand_as(F)},
        "the keys do not fade to the chunk's end: by F_L - F_s, in logarithms": {"fade_key": torch.zeros_like},
        "the keys fade by what comes after them, F_L - F_s, not by what was before": {"fade_key": lambda F: F},
        "the memory does not fade over the chunk: exp(F_L) of it is left": {"fade_memory": lambda F: 0 * F[..., -1]},
        "the memory is brought up to date before the chunk reads it, so its own tokens count twice": {"early": True},
        "n is not handed on": {"carry_n": False},
        "the last chunk is shorter than L and is missing: range(0, S, L)": {"whole": True},
        "the floor is missing: the denominator is max(|total|, 1)": {"bottom": lambda total: total},
        "each part has its own denominator: add numerators, add totals, then divide once": {"apart": True},
        _SQUARE: lambda q, k, v, i, f, L: parallel(q, k, v, i, f),
    },
)
def check_chunkwise(rng, student):
    L = rng.size(2, 5)
    yield {**_tokens(rng, 3 * L + (rng.size(1, L - 1) if rng.case % 2 else 0)), "L": L}
    if rng.case == 0:
        seen = watched(student, *_tokens(rng, 240, heads=1).values(), 10)
        expect(seen.largest < 240 * 240, _SQUARE)


# ---------------------------------------------------------------- 5
def shift_needed(loudest, error):
    """The shift such that exp(shift) sigmoid(x - shift) is exp(x) but for a relative error, for every x up to loudest."""
    return loudest + math.log((1 - error) / error)


@exercise(
    "P1.5",
    "how far to shift",
    shift_needed,
    rtol=1e-6,
    mistakes={
        "the sign of the logit is wrong: a smaller error needs a larger shift": lambda x, e: x - math.log((1 - e) / e),
        "this is -B: the question is how far to the right the sigmoid moves": lambda x, e: -shift_needed(x, e),
        "the loudest token is left out: at x = loudest it must not bend yet": lambda x, e: math.log((1 - e) / e),
        "at x = δ the error is already one half: go further": lambda x, e: x,
        "the logarithm is to base 10; the gate is e to the power of x": lambda x, e: x + math.log10((1 - e) / e),
        "the error is a weight here; take its logarithm": lambda x, e: x + (1 - e) / e,
        "the error is sigmoid(x - δ), not exp(x - δ): 1 - e is missing in the logarithm": lambda x, e: x - math.log(e),
    },
)
def check_shift_needed(rng):
    yield {"loudest": rng.uniform(1, 20).item(), "error": 10 ** -rng.uniform(0.6, 6).item()}
    yield {"loudest": 3.0, "error": 0.25}


# ---------------------------------------------------------------- 6
def revise(
    distance, value, sharpness, bias, floor, *, gate=torch.sigmoid, exponent=lambda x, s, b: b - s * x, run=torch.cumsum
):
    """The hand-set cell with gates sigmoid(bias - sharpness distance), nothing forgotten.  (B, S) -> (B, S)."""
    w = gate(exponent(distance, sharpness, bias))
    n = run(w, -1)
    return run(w * value, -1) / (n.clamp(min=1) if floor else n)


@exercise(
    "P1.6",
    "a hand-set sigmoid cell that revises",
    revise,
    cases=6,
    mistakes={
        "the sign is turned round: near candidates have to be loud": {"exponent": lambda x, s, b: b + s * x},
        "the gate is exponential; here it is a sigmoid": {"gate": torch.exp},
        "the pre-activation is used as the gate: it passes through a sigmoid": {"gate": lambda x: x},
        "the future is read: h_t is made up to t (cumsum)": {"run": lambda x, axis: x.sum(axis, True).expand_as(x)},
        "the bias is missing": {"exponent": lambda x, s, b: -s * x},
        "the bias is multiplied by the sharpness: it is added": {"exponent": lambda x, s, b: s * (b - x)},
        "floor turns the maximum on, not off": lambda d, v, s, b, floor: revise(d, v, s, b, not floor),
        "`floor` is not used: with it divide by max(n, 1)": lambda d, v, s, b, floor: revise(d, v, s, b, False),
        "`floor` is not used: without it the denominator is n": lambda d, v, s, b, floor: revise(d, v, s, b, True),
        "nothing divides: h is the sum alone": lambda d, v, s, b, floor: (torch.sigmoid(b - s * d) * v).cumsum(-1),
    },
)
def check_revise(rng):
    shape = rng.size(2, 4), rng.size(4, 8)
    distance, value = rng.uniform(0, 1, *shape), rng.uniform(0.1, 1, *shape)
    distance[0] = 0.05 * distance[0]  # near ones, whose weights add up to more than 1
    sizes = {"sharpness": rng.uniform(3, 8).item(), "bias": rng.uniform(0.5, 2).item()}
    return {"distance": distance, "value": value, **sizes, "floor": rng.turn([False, True])}
