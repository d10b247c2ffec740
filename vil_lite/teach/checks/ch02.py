"""Exercises of chapter 2: exponential gates and the stabiliser."""

import math

import torch
from torch.nn.functional import logsigmoid

from ._base import attempt, exercise, expect, expect_gradients

# ---------------------------------------------------------------- 2.1


def loudness(n, share):
    """The pre-activation with which one token holds `share` of a memory beside n tokens of weight 1."""
    return math.log(n * share / (1 - share))


@exercise(
    "2.1",
    "how loud a newcomer must be",
    loudness,
    mistakes={
        "this is the weight; the pre-activation is its logarithm": lambda n, p: n * p / (1 - p),
        "the others are forgotten: all n of them have weight 1": lambda n, p: math.log(p / (1 - p)),
        "the newcomer's own weight is part of the sum: share = w / (w + n)": lambda n, p: math.log(n * p),
        "share and rest are exchanged": lambda n, p: math.log(n * (1 - p) / p),
        "the sign is wrong: a louder token has a larger pre-activation": lambda n, p: -loudness(n, p),
        "the logarithm is to base 10; the gate is e to the power of i": lambda n, p: math.log10(n * p / (1 - p)),
        "the logarithm is to base 2; the gate is e to the power of i": lambda n, p: math.log2(n * p / (1 - p)),
        "n counts the others, the newcomer comes on top": lambda n, p: math.log((n - 1) * p / (1 - p)),
    },
)
def check_loudness(rng):
    return {"n": rng.size(5, 200), "share": rng.uniform(0.55, 0.98).item()}


# ---------------------------------------------------------------- 2.2


def deaf_for(loudness, f):
    """n such that e^loudness f^n = 1 + f + ... + f^(n-1): the shout against all later tokens, each of weight 1."""
    return math.log(1 + math.exp(loudness) * (1 - f)) / -math.log(f)


@exercise(
    "2.2",
    "how long a shout is heard",
    deaf_for,
    mistakes={
        "this is when the shout has faded to weight 1; together the later tokens weigh more than the newest of them": (
            lambda x, f: x / -math.log(f)
        ),
        "the later tokens fade, too: n of them weigh (1 - f^n) / (1 - f), not n": lambda x, f: _falls_to_zero(
            lambda n: math.exp(x) * f**n - n
        ),
        "there are only n later tokens; 1 / (1 - f) is the weight of endlessly many": lambda x, f: (
            math.log(math.exp(-x) / (1 - f)) / math.log(f)
        ),
        "one later token too many is counted: after n of them the sum ends with f^(n-1)": lambda x, f: (
            math.log(f + math.exp(x) * (1 - f)) / -math.log(f)
        ),
        "the weight of the shout is e^loudness, not its pre-activation": lambda x, f: (
            math.log(1 + x * (1 - f)) / -math.log(f)
        ),
        "this is f^n, what is left of a weight after n tokens; take its logarithm to the base f": lambda x, f: (
            1 / (1 + math.exp(x) * (1 - f))
        ),
        "the sign is wrong: log f is negative": lambda x, f: -deaf_for(x, f),
        "the logarithm of f^n is n log f: divide by log f": lambda x, f: math.log(1 + math.exp(x) * (1 - f)),
    },
)
def check_deaf_for(rng):
    if rng.case == 0:  # a soft shout that is soon forgotten: here each term of the sum counts
        return {"loudness": rng.uniform(3, 4).item(), "f": rng.uniform(0.4, 0.6).item()}
    return {"loudness": rng.uniform(3, 9).item(), "f": rng.uniform(0.4, 0.95).item()}


def _falls_to_zero(function, low=0.0, high=1e6):
    """Where a falling function is 0."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return low


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
        "eps is the distance from 1 to the next number; the range ends at finfo.max": lambda t: (
            -math.log(torch.finfo(t).eps)
        ),
        "this is where exp underflows (finfo.tiny); the other end is wanted": lambda t: math.log(torch.finfo(t).tiny),
        "this is the bound of float32 for every type; ask torch.finfo(dtype)": lambda t: loudest(torch.float32),
    },
)
def check_loudest(rng):
    return {"dtype": rng.turn([torch.float16, torch.bfloat16, torch.float32, torch.float64])}


# ---------------------------------------------------------------- 2.4


def stabilised_cell(
    z,
    i,
    f,
    *,
    maximum=lambda log_f, m, i: torch.maximum(log_f + m, i),
    log_keep=logsigmoid,
    forget=lambda log_f, m, m_t: torch.exp(log_f + m - m_t),
    write=lambda i, m, m_t: torch.exp(i - m_t),
    write_n=None,
    first=-torch.inf,
):
    """The same cell with the running maximum m.  z, i, f: (S, ...) -> h, m (S, ...)."""
    c = n = torch.zeros_like(z[0])
    m, h, ms = torch.full_like(z[0], first), [], []
    for z_t, i_t, f_t in zip(z, i, f):
        log_f = log_keep(f_t)
        m_t = maximum(log_f, m, i_t)
        kept, gate = forget(log_f, m, m_t), write(i_t, m, m_t)
        c, n, m = kept * c + gate * z_t, kept * n + (write_n(i_t) if write_n else gate), m_t
        h.append(c / n)
        ms.append(m)
    return torch.stack(h), torch.stack(ms)


@exercise(
    "2.4",
    "the stabilised cell",
    stabilised_cell,
    outputs=("h", "m"),
    cases=6,
    mistakes={
        "m never falls: the old maximum has to fade with the forget gate, log f + m": {
            "maximum": lambda log_f, m, i: torch.maximum(m, i),
            "first": -1e30,
        },
        "m is kept at 0 or above; that is right with a floor in the denominator (later in this chapter), not here": {
            "maximum": lambda log_f, m, i: torch.maximum(log_f + m, i).clamp(min=0)
        },
        "the old memory is scaled by f alone; it was stored in units of the old m: exp(log f + m_old - m_new)": {
            "forget": lambda log_f, m, m_t: log_f.exp()
        },
        "the maximum takes f itself; it needs log sigmoid(f)": {"log_keep": lambda f: f},
        "the maximum takes sigmoid(f); it needs its logarithm": {"log_keep": torch.sigmoid},
        "the normaliser is not stabilised: it sums exp(i - m), with the same factors as c": {"write_n": torch.exp},
        "the gates are not stabilised: subtract m in both exponents": {
            "forget": lambda log_f, m, m_t: log_f.exp(),
            "write": lambda i, m, m_t: i.exp(),
        },
        "the new token is scaled by the old m; take the new one": {
            "write": lambda i, m, m_t: torch.exp(i - m),
            "first": 0.0,
        },
        "m is the input gate alone; a loud memory has to count as well": {"maximum": lambda log_f, m, i: i},
        "m grows by a sum; it is a maximum": {"maximum": lambda log_f, m, i: log_f + m + i, "first": 0.0},
        "the memory starts at m = 0, as if something of weight 1 were stored; nothing is: m starts at minus infinity": {
            "first": 0.0
        },
        "the order is h, m": lambda *x: stabilised_cell(*x)[::-1],
        "the values are right, but no gradient comes back": lambda *x: tuple(y.detach() for y in stabilised_cell(*x)),
    },
)
def check_stabilised_cell(rng, student):
    shape, loud = (rng.size(5, 9), *rng.turn([(), (3,)])), rng.turn([3, 3, 300, 300])
    i = loud * rng.normal(*shape)
    i[0] = -1 - i[0].abs()  # below 0 at first; then a quiet token, after which m fades; then a loud one
    i[1], i[2] = i[0] - 6, i[2].abs() + loud / 2
    inputs = {"z": rng.normal(*shape), "i": i, "f": rng.normal(*shape)}
    yield inputs
    expect_gradients(student, stabilised_cell, inputs)


# ---------------------------------------------------------------- 2.5


def floored_cell(
    k,
    z,
    i,
    f,
    *,
    least=0.0,
    bottom=lambda n, m: torch.maximum(n.abs(), torch.exp(-m)),
    key_c=lambda k: k,
    key_n=lambda k: k,
):
    """With keys of either sign, the denominator max(|n|, 1) and m >= 0.  All (S,) -> h (S,)."""
    c = n = m = torch.zeros_like(z[0])
    h = []
    for k_t, z_t, i_t, f_t in zip(k, z, i, f):
        log_f = logsigmoid(f_t)
        m_t = torch.maximum(log_f + m, i_t).clamp(min=least)
        forget, write = torch.exp(log_f + m - m_t), torch.exp(i_t - m_t)
        c, n, m = forget * c + write * key_c(k_t) * z_t, forget * n + write * key_n(k_t), m_t
        h.append(c / bottom(n, m))
    return torch.stack(h)


_OVERFLOWS = "the output is fine, but with gates far below 0 a gradient is NaN: exp(-m) overflows; keep m at 0 or above"


@exercise(
    "2.5",
    "a floor that cannot overflow",
    floored_cell,
    outputs=("h",),
    mistakes={
        "the floor is 1 in the units of the stored memory; 1 in true units is exp(-m)": {
            "bottom": lambda n, m: n.abs().clamp(min=1)
        },
        "the sign of n is kept: the denominator is max(|n|, exp(-m))": {
            "bottom": lambda n, m: torch.maximum(n, torch.exp(-m))
        },
        "there is no floor: with n near 0 the output explodes": {"bottom": lambda n, m: n},
        "there is no floor, and the sign of n is lost": {"bottom": lambda n, m: n.abs()},
        "the floor is exp(m); dividing by exp(m) turns 1 into exp(-m)": {
            "bottom": lambda n, m: torch.maximum(n.abs(), torch.exp(m))
        },
        "the floor is added; take the larger of the two": {"bottom": lambda n, m: n.abs() + torch.exp(-m)},
        "the floor ends at 1 while m falls below 0: then 1 is more than is meant; keep m itself at 0 or above": {
            "least": -torch.inf,
            "bottom": lambda n, m: torch.maximum(n.abs(), torch.exp(-m.clamp(min=0))),
        },
        "the key is missing in the memory c": {"key_c": torch.ones_like},
        "the key is missing in the normaliser n": {"key_n": torch.ones_like},
        "the normaliser sums |k|; n carries the key's sign, and only the denominator takes |n|": {"key_n": torch.abs},
        "with gates far below 0 the output is not finite": lambda *x: floored_cell(*x).masked_fill(
            x[2] < -90, torch.nan
        ),
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
    expect(h.isfinite().all(), "with gates far below 0 the output is not finite")
    if h.requires_grad:
        h.sum().backward()
        bad = [name for name, x in quiet.items() if x.grad is not None and not x.grad.isfinite().all()]
        expect(not bad, _OVERFLOWS, f" (here that of {' and '.join(bad)})")
    expect_gradients(student, floored_cell, inputs)
