"""Exercises of chapter 2: exponential gates and the stabiliser."""

import math

import torch
from torch.nn.functional import logsigmoid

from ._base import attempt, exercise, expect, expect_gradients


# ---------------------------------------------------------------- 2.1
def loudness(N, share):
    """The pre-activation with which one token holds `share` of a memory beside N tokens of weight 1."""
    return math.log(N * share / (1 - share))


@exercise(
    "2.1",
    "how loud a newcomer must be",
    loudness,
    mistakes={
        "this is the weight; the pre-activation is its logarithm": lambda n, p: n * p / (1 - p),
        "the others are forgotten: all N of them have weight 1": lambda n, p: math.log(p / (1 - p)),
        "the newcomer's own weight is part of the sum: share = w / (w + N)": lambda n, p: math.log(n * p),
        "share and rest are exchanged": lambda n, p: math.log(n * (1 - p) / p),
        "the sign is wrong: a louder token has a larger pre-activation": lambda n, p: -loudness(n, p),
        "the logarithm is to base 10; the gate is e to the power of i": lambda n, p: math.log10(n * p / (1 - p)),
        "the logarithm is to base 2; the gate is e to the power of i": lambda n, p: math.log2(n * p / (1 - p)),
        "N counts the others, the newcomer comes on top": lambda n, p: math.log((n - 1) * p / (1 - p)),
    },
)
def check_loudness(rng):
    return {"N": rng.size(5, 200), "share": rng.uniform(0.55, 0.98).item()}


# ---------------------------------------------------------------- 2.2
def deaf_for(loudness, forget, *, weight=math.exp, total=lambda loud, f: 1 + loud * (1 - f)):
    """N such that e^loudness f^N = 1 + f + ... + f^(N-1): the shout against all later tokens, each of weight 1."""
    return math.log(total(weight(loudness), forget)) / -math.log(forget)


def _unfaded(loudness, forget):
    """e^loudness f^N = N, by bisection."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(loudness) * forget**middle > middle else (low, middle)
    return low


@exercise(
    "2.2",
    "how long a shout is heard",
    deaf_for,
    mistakes={
        "this is when it has faded to weight 1; the later tokens weigh more together": lambda x, f: x / -math.log(f),
        "the later tokens fade, too: N of them weigh (1 - f^N) / (1 - f), not N": _unfaded,
        "only N tokens come later; 1 / (1 - f) is the weight of endlessly many": {"total": lambda w, f: w * (1 - f)},
        "one later token too many: the sum of N of them ends with f^(N-1)": {"total": lambda w, f: f + w * (1 - f)},
        "the weight of the shout is e^loudness, not its pre-activation": {"weight": float},
        "this is f^N, what is left after N tokens; take its logarithm": lambda x, f: 1 / (1 + math.exp(x) * (1 - f)),
        "the sign is wrong: log f is negative": lambda x, f: -deaf_for(x, f),
        "the logarithm of f^N is N log f: divide by log f": lambda x, f: math.log(1 + math.exp(x) * (1 - f)),
    },
)
def check_deaf_for(rng):
    if rng.case == 0:  # a soft shout that is soon forgotten: here each term of the sum counts
        return {"loudness": rng.uniform(3, 4).item(), "forget": rng.uniform(0.4, 0.6).item()}
    return {"loudness": rng.uniform(3, 9).item(), "forget": rng.uniform(0.4, 0.95).item()}


# ---------------------------------------------------------------- 2.3
def loudest(dtype):
    """The largest pre-activation whose exponential is finite in this floating-point type."""
    return math.log(torch.finfo(dtype).max)


@exercise(
    "2.3",
    "where the exponential ends",
    loudest,
    cases=4,
    rtol=3e-3,  # among the numbers of bfloat16 itself, 88.5 is the largest
    mistakes={
        "this is the largest number itself; ask which i has exp(i) equal to it": lambda t: torch.finfo(t).max,
        "the logarithm is to base 2; the gate is e to the power of i": lambda t: math.log2(torch.finfo(t).max),
        "the logarithm is to base 10; the gate is e to the power of i": lambda t: math.log10(torch.finfo(t).max),
        "eps is the distance from 1 to the next number; the range ends at max": lambda t: -math.log(torch.finfo(t).eps),
        "this is where exp underflows (finfo.tiny); the other end is wanted": lambda t: math.log(torch.finfo(t).tiny),
        "this is the bound of float32 for every type; ask torch.finfo(dtype)": lambda t: loudest(torch.float32),
    },
)
def check_loudest(rng):
    return {"dtype": rng.turn([torch.float16, torch.bfloat16, torch.float32, torch.float64])}


# ---------------------------------------------------------------- 2.4
def join(c1, n1, m1, c2, n2, m2, log_f, *, top=torch.maximum, in_m=(1, 0), fade=(1, 0), change=torch.sub, in_n=True):
    """The stored memory of two stretches, one after the other, from that of each.  All of one shape -> c, n, m."""
    m = top(in_m[0] * log_f + m1, in_m[1] * log_f + m2)
    a, b = (torch.exp(times * log_f + change(own, m)) for times, own in zip(fade, (m1, m2)))
    return a * c1 + b * c2, a * n1 + b * n2 if in_n else n1 + n2, m


_AS_STORED = {"fade": (0, 0), "change": lambda own, m: 0 * m}


@exercise(
    "2.4",
    "two memories put together",
    join,
    outputs=("c", "n", "m"),
    rtol=1e-3,
    mistakes={
        "the first memory does not fade: the second stretch's gates act on it": {"in_m": (0, 0), "fade": (0, 0)},
        "the factors suit this m, but it is not the smallest: the old maximum fades, too, log f + m": {"in_m": (0, 0)},
        "this m is safe, but not the smallest: take the larger, not the logarithm of the sum": {"top": torch.logaddexp},
        "m >= 0 belongs to a floor in a denominator, not here": {"top": lambda x, y: torch.maximum(x, y).clamp(min=0)},
        "m is the second memory's alone; where the first is louder, its factor exceeds 1": {"top": lambda x, y: y},
        "m is right, but the first memory only changes its unit: log f belongs into its factor, too": {"fade": (0, 0)},
        "they are added as stored, but each has a unit of its own": _AS_STORED,
        "they are added as stored, but each has its own unit, and the first has faded": {**_AS_STORED, "in_m": (0, 0)},
        "the first fades, but both keep their old units: multiply by exp(m_old - m)": {"change": lambda x, m: 0 * m},
        "the second memory fades, too: its own forget gates have acted on it already": {"fade": (1, 1)},
        "the second stretch's forget gates act on the first memory, not on itself": {"in_m": (0, 1), "fade": (0, 1)},
        "the factors are upside down: from the old unit to the new it is exp(m_old - m_new)": {"change": torch.rsub},
        "the normalisers are added as they are; n is stored in the same units as c": {"in_n": False},
        "log_f is a logarithm already; there is no sigmoid left to take": lambda *x: join(*x[:-1], logsigmoid(x[-1])),
        "the order is c, n, m": lambda *x: (join(*x)[2], *join(*x)[:2]),
        "the values are right, but no gradient comes back": lambda *x: tuple(y.detach() for y in join(*x)),
    },
)
def check_join(rng, student):
    # m of both and log f: the second is louder; the first is, in spite of fading; only before fading; far above and
    # below what a number can hold
    rows = [(-4.0, -1.0, -0.5), (3.0, -2.0, -1.5), (1.0, -1.0, -4.0), (300.0, 299.0, -0.7), (-301.0, -300.0, -0.2)]
    m1, m2, log_f = (torch.tensor(x) + 0.2 * rng.normal(5) for x in zip(*rows))
    c1, c2 = rng.normal(2, 5)
    n1, n2 = rng.uniform(0.5, 2, 2, 5)
    inputs = dict(zip(("c1", "n1", "m1", "c2", "n2", "m2", "log_f"), (c1, n1, m1, c2, n2, m2, log_f)))
    if rng.case % 2:
        inputs = {name: torch.stack([x, x.flip(0)]) for name, x in inputs.items()}
    yield inputs
    nothing = torch.zeros_like(inputs["c1"])
    yield {**inputs, "c1": nothing, "n1": nothing, "m1": nothing - torch.inf}  # an empty memory before the first token
    expect_gradients(student, join, inputs)


# ---------------------------------------------------------------- 2.5
def floored_cell(
    k, z, i, f, *, least=0.0, size=torch.abs, floor=torch.exp, bottom=torch.maximum, in_c=torch.clone, in_n=torch.clone
):
    """With keys of either sign, the denominator max(|n|, 1) and m >= 0.  All (S,) -> h (S,)."""
    c = n = m = torch.zeros_like(z[0])
    h = []
    for k_t, z_t, i_t, f_t in zip(k, z, i, f):
        log_f = logsigmoid(f_t)
        m_t = torch.maximum(log_f + m, i_t).clamp(min=least)
        forget, write = torch.exp(log_f + m - m_t), torch.exp(i_t - m_t)
        c, n, m = forget * c + write * in_c(k_t) * z_t, forget * n + write * in_n(k_t), m_t
        h.append(c / bottom(size(n), floor(-m)))
    return torch.stack(h)


_OVERFLOWS = "the output is fine, but with gates far below 0 a gradient is NaN: exp(-m) overflows; keep m at 0 or above"


@exercise(
    "2.5",
    "a floor that cannot overflow",
    floored_cell,
    outputs=("h",),
    mistakes={
        "the floor is 1 in the units of the stored memory; 1 in true units is exp(-m)": {"floor": torch.ones_like},
        "the sign of n is kept: the denominator is max(|n|, exp(-m))": {"size": torch.clone},
        "there is no floor: with n near 0 the output explodes": {"size": torch.clone, "bottom": lambda n, floor: n},
        "there is no floor, and the sign of n is lost": {"bottom": lambda n, floor: n},
        "the floor is exp(m); dividing by exp(m) turns 1 into exp(-m)": {"floor": lambda x: torch.exp(-x)},
        "the floor is added; take the larger of the two": {"bottom": torch.add},
        "the floor ends at 1, m falls on; keep m >= 0": {"least": -torch.inf, "floor": lambda x: x.exp().clamp(max=1)},
        "the key is missing in the memory c": {"in_c": torch.ones_like},
        "the key is missing in the normaliser n": {"in_n": torch.ones_like},
        "the normaliser sums |k|; n carries the key's sign, and only the denominator takes |n|": {"in_n": torch.abs},
        "with gates far below 0 h is not finite": lambda *x: floored_cell(*x).masked_fill(x[2] < -90, torch.nan),
        _OVERFLOWS: {"least": -torch.inf},
        "the values are right, but no gradient comes back": lambda *x: floored_cell(*x).detach(),
    },
)
def check_floored_cell(rng, student):
    S = rng.size(5, 9)
    inputs = {"k": rng.normal(S), "z": rng.normal(S), "i": 1 + rng.normal(S), "f": 1 + rng.normal(S)}
    inputs["k"][0], inputs["i"][0] = -0.7, 2.0  # n is below 0, and between the floors exp(-m) and 1
    yield inputs
    yield {**inputs, "i": inputs["i"] - 4}  # little is stored: the floor decides
    quiet = {**inputs, "i": -100 - 50 * rng.uniform(0, 1, S), "f": rng.normal(S) - 60}
    quiet = {name: x.clone().requires_grad_() for name, x in quiet.items()}
    h = attempt(student, *quiet.values())
    expect(h.isfinite().all(), "with gates far below 0 h is not finite")
    if h.requires_grad:
        h.sum().backward()
        bad = [name for name, x in quiet.items() if x.grad is not None and not x.grad.isfinite().all()]
        expect(not bad, _OVERFLOWS, f" (here that of {' and '.join(bad)})")
    expect_gradients(student, floored_cell, inputs)
