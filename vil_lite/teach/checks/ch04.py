"""Checks of chapter 4: the parallel form."""

import math

import torch
from torch.nn.functional import logsigmoid, softplus

from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 4.1


def log_decay(i, f):
    """Reference: log D_ts = F_t - F_s + i_s for s <= t, else -inf.  i, f: (..., S) pre-activations -> (..., S, S)."""
    return _past(_difference(logsigmoid(f)) + i[..., None, :])


def _difference(log_f):
    cum_f = log_f.cumsum(-1)
    return cum_f[..., :, None] - cum_f[..., None, :]


def _past(log_D, diagonal=0, value=-torch.inf):
    keep = torch.ones(log_D.shape[-2:], dtype=torch.bool).tril(diagonal)
    return log_D.masked_fill(~keep, value)


@exercise("the matrix of log decays")
def check_log_decay(student, rng):
    H, S = rng.size(1, 3), rng.size(4, 7)
    past, diff = _past, _difference
    compare(
        student, log_decay, {"i": rng.normal(H, S), "f": rng.normal(H, S) + 1},
        diagnose={
            "the mask is missing: a token must not see those after it (s > t), put -inf there":
                lambda i, f: diff(logsigmoid(f)) + i[..., None, :],
            "the mask is too strict: a token is written before it is read, so s = t has to stay":
                lambda i, f: past(diff(logsigmoid(f)) + i[..., None, :], -1),
            "the mask keeps the future and drops the past: rows are t, columns are s":
                lambda i, f: past(diff(logsigmoid(f)).mT + i[..., :, None]).mT,
            "the masked places hold 0, and exp(0) = 1 is full weight: put -inf there":
                lambda i, f: past(diff(logsigmoid(f)) + i[..., None, :], value=0.0),
            "the sign of the decay is turned round: F_s - F_t grows with age; it has to be F_t - F_s":
                lambda i, f: past(diff(logsigmoid(f)).mT + i[..., None, :]),
            "the input gate is missing: add i_s": lambda i, f: past(diff(logsigmoid(f))),
            "the input gate of the row (t) is added; it is the token that was written, s, whose gate counts":
                lambda i, f: past(diff(logsigmoid(f)) + i[..., :, None]),
            "f is a pre-activation: the running sum is over log sigmoid(f), not over f":
                lambda i, f: past(diff(f) + i[..., None, :]),
            "the running sum is over sigmoid(f); its logarithm is missing":
                lambda i, f: past(diff(f.sigmoid()) + i[..., None, :]),
            "the token's own forget gate is counted too: what is written at s is first forgotten at s + 1":
                lambda i, f: past(diff(logsigmoid(f)) + logsigmoid(f)[..., None, :] + i[..., None, :]),
            "i is a logarithm already: add i_s itself, not exp(i_s)":
                lambda i, f: past(diff(logsigmoid(f)) + i.exp()[..., None, :]),
            "this is D, not its logarithm: leave the exponential away": lambda i, f: log_decay(i, f).exp(),
        },
    )


# ---------------------------------------------------------------- 4.2


def half_life(bias):
    """Reference: the tokens after which a memory behind the constant gate sigmoid(bias) is halved."""
    return math.log(2) / softplus(-bias)


@exercise("the half-life of a memory", cases=3)
def check_half_life(student, rng):
    compare(
        student, half_life, {"bias": rng.uniform(0.5, 7, rng.size(2, 5))},
        diagnose={
            "this is the time after which 1/e = 0.37 is left; a half-life asks for 1/2":
                lambda b: 1 / softplus(-b),
            "the sign is wrong: log sigmoid(bias) is negative, and so is log(1/2)": lambda b: -half_life(b),
            "the bias has to pass through the sigmoid before the logarithm": lambda b: -math.log(2) / b.log(),
            "a gate takes away a share of what is left, not of the first value: the decay is geometric, not a straight line":
                lambda b: 0.5 / (1 - b.sigmoid()),
            "the quotient is upside down": lambda b: softplus(-b) / math.log(2),
            "the answer is rounded; leave the fraction": lambda b: half_life(b).round(),
            "the answer is rounded up; leave the fraction": lambda b: half_life(b).ceil(),
        },
        rtol=1e-3,
    )


# ---------------------------------------------------------------- 4.3


def stabilise(log_D, lowest=0.0):
    """Reference: m_t = max(max_s log D_ts, lowest) and D' = exp(log D - m), one m for each row."""
    m = log_D.amax(-1).clamp(min=lowest)
    return torch.exp(log_D - m[..., None]), m


@exercise("a stabiliser for each row")
def check_stabilise(student, rng):
    H, S = rng.size(1, 3), rng.size(5, 8)
    i, f = 2 * rng.normal(H, S), rng.normal(H, S)
    i[:, 0], i[:, -1] = -rng.uniform(3, 150, H), rng.uniform(20, 150, H)  # the first row lies below 0, the last far above

    def by(m_of, subtract=lambda L, m: L - m[..., None]):
        return lambda L: (torch.exp(subtract(L, m_of(L))), m_of(L))

    compare(
        student, stabilise, {"log_D": log_decay(i, f)}, outputs=("D", "m"),
        diagnose={
            "the floor at 0 is missing: m_t = max(row's maximum, 0)": by(lambda L: L.amax(-1)),
            "m is cut from above; the 0 belongs inside the maximum, so that m_t >= 0": by(lambda L: L.amax(-1).clamp(max=0)),
            "one m for the whole matrix: a loud token silences every row; take the maximum of each row":
                by(lambda L: L.amax((-2, -1)).clamp(min=0)[..., None].expand(L.shape[:-1])),
            "the maximum runs down the columns; a row is one token's reading, so it runs along s, the last axis":
                by(lambda L: L.amax(-2).clamp(min=0)),
            "m_t is subtracted from column t; it belongs to row t: m[..., :, None]":
                by(lambda L: L.amax(-1).clamp(min=0), lambda L, m: L - m[..., None, :]),
            "m is right, and then not subtracted": by(lambda L: L.amax(-1).clamp(min=0), lambda L, m: L),
            "this is log D - m: take the exponential": lambda L: (L - stabilise(L)[1][..., None], stabilise(L)[1]),
            "each row is divided by its sum (a softmax); dividing by its largest weight, exp(m), is what is wanted":
                lambda L: (L.softmax(-1), stabilise(L)[1]),
            "the order is D, m": lambda L: stabilise(L)[::-1],
        },
    )


# ---------------------------------------------------------------- 4.4


def parallel_from(q, k, v, i, f, C, n, m):
    """Reference: the parallel form that starts from a memory.  q, k (H, S, d)  v (H, S, dv)  C (H, d, dv)  n (H, d)  m (H)."""
    return _from(q, k, v, i, f, C, n, m)


def _from(q, k, v, i, f, C, n, m, log_memory=None, stabiliser=None, parts=(1, 1), scales=None, floor=None, absolute=True):
    """The reference with its pieces exchangeable, so that one piece can be wrong."""
    log_D, F = log_decay(i, f), logsigmoid(f).cumsum(-1)
    log_memory = F + m[..., None] if log_memory is None else log_memory(F, m[..., None])
    m_t = torch.maximum(log_D.amax(-1), log_memory).clamp(min=0) if stabiliser is None else stabiliser(log_D)
    scale = q.shape[-1] ** -0.5
    inside, outside = (scale, scale) if scales is None else scales(scale)
    D, memory = torch.exp(log_D - m_t[..., None]), torch.exp(log_memory - m_t)
    scores = inside * (q @ k.mT) * D
    numerator = scores @ v + parts[0] * outside * memory[..., None] * (q @ C)
    normaliser = scores.sum(-1) + parts[1] * outside * memory * (q @ n[..., None])[..., 0]
    bottom = torch.exp(-m_t) if floor is None else floor(m_t)
    return numerator / torch.maximum(normaliser.abs() if absolute else normaliser, bottom)[..., None]


@exercise("the parallel form, started from a memory", cases=6)
def check_parallel_from(student, rng):
    H, S, d, dv = rng.size(2, 3), rng.size(3, 9), rng.size(2, 5), rng.size(2, 5)
    m = rng.uniform(0.5, 2.5, H)
    m[0] += 150  # a memory whose true size no float32 can hold: only a stabiliser that knows of it survives
    inputs = {
        "q": 2 * rng.normal(H, S, d), "k": rng.normal(H, S, d), "v": rng.normal(H, S, dv),
        "i": rng.normal(H, S), "f": rng.normal(H, S) + 2,
        "C": rng.normal(H, d, dv), "n": rng.normal(H, d),
        "m": m,
    }

    def wrong(**pieces):
        return lambda *a: _from(*a, **pieces)

    compare(
        student, parallel_from, inputs, rtol=1e-3, atol=1e-4,
        diagnose={
            "the memory is ignored: this is the parallel form that starts empty":
                lambda q, k, v, i, f, C, n, m: _variant()(q, k, v, i, f),
            "the memory is missing in the normaliser: add its share of q^T n": wrong(parts=(1, 0)),
            "the memory is missing in the numerator: add its share of q^T C": wrong(parts=(0, 1)),
            "the memory's stabiliser is left out: C stands for exp(m) C, so its log weight in row t is F_t + m":
                wrong(log_memory=lambda F, m: F),
            "the memory does not fade: its log weight in row t is F_t + m": wrong(log_memory=lambda F, m: m.expand(F.shape)),
            "the memory's stabiliser has the wrong sign: the log weight is F_t + m": wrong(log_memory=lambda F, m: F - m),
            "the stabiliser does not cover the memory: take the larger of the row's maximum and F_t + m":
                wrong(stabiliser=lambda L: L.amax(-1).clamp(min=0)),
            "the query that asks the memory is not divided by sqrt(d)": wrong(scales=lambda s: (s, 1)),
            "the query is not divided by sqrt(d)": wrong(scales=lambda s: (1, 1)),
            "the query that asks the memory is divided by sqrt(d) twice": wrong(scales=lambda s: (s, s * s)),
            "the floor of the denominator is 1; the stored numbers are exp(-m) times the real ones, so it is exp(-m_t)":
                wrong(floor=torch.ones_like),
            "the absolute value of the normaliser is missing": wrong(absolute=False),
        },
    )


# ---------------------------------------------------------------- 4.5


def _right(form):
    """A form of the library as form(q, k, v, i, f) -> h, with eps = 0: then all forms are exactly equal."""
    return lambda q, k, v, i, f: form(q, k, v, i, f, eps=0)[0]


def _liar(change):
    """The parallel form, one piece of it wrong."""

    def form(q, k, v, i, f):
        return change(q, k, v, i, f)

    return form


def _variant(log_D_of=log_decay, scale=None, denominator=None):
    def form(q, k, v, i, f):
        D, m = stabilise(log_D_of(i, f))
        scores = (q @ k.mT) * (q.shape[-1] ** -0.5 if scale is None else scale) * D
        total, floor = scores.sum(-1).abs(), torch.exp(-m)
        total = torch.maximum(total, floor) if denominator is None else denominator(total, floor)
        return scores @ v / total[..., None]

    return form


def _old_lost(i, f):
    log_D = log_decay(i, f)
    return log_D.masked_fill(torch.ones(log_D.shape[-2:], dtype=torch.bool).tril(-40), -torch.inf)


def _overflows(q, k, v, i, f):
    h = _right(mlstm_parallel)(q, k, v, i, f)
    return h * torch.where(i > 60, torch.nan, 1.0)[..., None]


LIARS = {
    "sees the future (no mask)": _variant(lambda i, f: _difference(logsigmoid(f)) + i[..., None, :]),
    "does not divide the query by sqrt(d)": _variant(scale=1.0),
    "has the floor 1 instead of exp(-m); it shows where an input gate is above 0": _variant(
        denominator=lambda total, floor: total.clamp(min=1)
    ),
    "has no floor under the denominator; it shows where little was stored: input gates well below 0": _variant(
        denominator=lambda total, floor: total
    ),
    "loses everything older than 40 tokens; it shows in long sequences whose forget gates are near 1": _variant(_old_lost),
    "uses the first head's gates for all heads; it shows with two heads or more": _liar(
        lambda q, k, v, i, f: _variant()(q, k, v, i[:, :1].expand_as(i), f[:, :1].expand_as(f))
    ),
    "uses the first sequence's gates for the whole batch; it shows with B >= 2": _liar(
        lambda q, k, v, i, f: _variant()(q, k, v, i[:1].expand_as(i), f[:1].expand_as(f))
    ),
    "returns NaN for input gates above 60; it shows with large gates, if NaN counts as a difference": _overflows,
}


@exercise("a test that cannot be fooled", cases=2)
def check_agree(student, rng):
    reference = _right(mlstm_chunkwise)
    for form, name in ((mlstm_parallel, "the parallel form"), (mlstm_chunkwise, "a second, exact form")):
        seen, calls = _verdict(student, _right(form), reference)
        expect(seen is not None, "nothing is returned; return True or False")
        expect(calls, "form is never called: there is nothing to compare")
        expect(
            seen,
            f"{name} of the library is right, and your test calls it wrong: is the tolerance too tight for the "
            "number type? Use float64",
        )
    for what, liar in LIARS.items():
        expect(not _verdict(student, liar, reference)[0], f"your test lets a form pass that {what}")


def _verdict(student, form, reference):
    calls = []

    def counted(*arguments):
        calls.append(1)
        return form(*arguments)

    seen = attempt(student, counted, reference)
    return (None if seen is None else bool(seen)), len(calls)


# ---------------------------------------------------------------- 4.6


def longest(budget, batch, heads, matrices):
    """Reference: the longest S with batch * heads * matrices decay matrices (S, S) of float32 within `budget` bytes."""
    return math.isqrt(budget // (4 * batch * heads * matrices))


@exercise("the longest sequence that fits", cases=4)
def check_longest(student, rng):
    def wrong(count):
        return lambda budget, b, h, n: math.isqrt(budget // count(b, h, n))

    inputs = {"budget": rng.size(10**8, 10**9), "batch": rng.size(13, 20), "heads": rng.size(5, 8), "matrices": rng.size(9, 12)}
    compare(
        student, longest, inputs, rtol=0, atol=0,
        diagnose={
            "this is the number of entries of a matrix, S²; S is its root":
                lambda budget, b, h, n: budget // (4 * b * h * n),
            "a float32 takes 4 bytes": wrong(lambda b, h, n: b * h * n),
            "these are 8 bytes a number; a float32 takes 4": wrong(lambda b, h, n: 8 * b * h * n),
            "every head has a matrix of its own": wrong(lambda b, h, n: 4 * b * n),
            "every sequence of the batch has a matrix of its own": wrong(lambda b, h, n: 4 * h * n),
            "each head keeps several matrices: count `matrices`": wrong(lambda b, h, n: 4 * b * h),
            "one token too many: round down, or it does not fit": lambda *a: longest(*a) + 1,
            "a number of tokens is whole: round down": lambda budget, b, h, n: math.sqrt(budget / (4 * b * h * n)),
        },
    )
