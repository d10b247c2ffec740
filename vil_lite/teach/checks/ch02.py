"""Checks of chapter 2: exponential gates and the stabiliser."""

import math

import torch
from torch.nn.functional import logsigmoid

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 2.1


def loudness(n, share):
    """Reference: the pre-activation with which one token holds `share` of a memory beside n tokens of weight 1."""
    return math.log(n * share / (1 - share))


@exercise("how loud a newcomer must be")
def check_loudness(student, rng):
    compare(
        student, loudness, {"n": rng.size(5, 200), "share": rng.uniform(0.55, 0.98).item()},
        diagnose={
            "this is the weight; the pre-activation is its logarithm": lambda n, p: n * p / (1 - p),
            "the others are forgotten: all n of them have weight 1": lambda n, p: math.log(p / (1 - p)),
            "the newcomer's own weight is part of the sum: share = w / (w + n)": lambda n, p: math.log(n * p),
            "share and rest are exchanged": lambda n, p: math.log(n * (1 - p) / p),
            "the logarithm is to base 10; the gate is e to the power of i": lambda n, p: math.log10(n * p / (1 - p)),
            "the logarithm is to base 2; the gate is e to the power of i": lambda n, p: math.log2(n * p / (1 - p)),
            "n counts the others, the newcomer comes on top": lambda n, p: math.log((n - 1) * p / (1 - p)),
        },
    )


# ---------------------------------------------------------------- 2.2


def exponential_cell(z, i, f):
    """Reference: c and n with an exponential input gate, without stabiliser.  z, i, f: (S, ...) -> h (S, ...)."""
    return _plain(z, i, f)


def _plain(z, i, f, write=torch.exp, keep=torch.sigmoid, keep_n=None, count=None, read=lambda c, n: c / n, new=1.0):
    c = n = torch.zeros_like(z[0])
    h = []
    for z_t, i_t, f_t in zip(z, i, f):
        c = keep(f_t) * c + new * write(i_t) * z_t
        n = (keep if keep_n is None else keep_n)(f_t) * n + (write(i_t) if count is None else count(i_t, z_t))
        h.append(read(c, n))
    return torch.stack(h)


@exercise("a cell with an exponential gate and a normaliser")
def check_exponential_cell(student, rng):
    S = rng.size(4, 8)
    ones = torch.ones_like
    compare(
        student, exponential_cell, {"z": rng.normal(S), "i": rng.normal(S), "f": rng.normal(S) + 1}, outputs=("h",),
        diagnose={
            "h is the memory c itself; divide it by the normaliser n": lambda *x: _plain(*x, read=lambda c, n: c),
            "the normaliser is not faded: n forgets with the same gate as c": lambda *x: _plain(*x, keep_n=ones),
            "f is a pre-activation: it passes through a sigmoid": lambda *x: _plain(*x, keep=lambda f: f),
            "i is a pre-activation: the gate is exp(i)": lambda *x: _plain(*x, write=lambda i: i),
            "the input gate is still a sigmoid: take exp(i)": lambda *x: _plain(*x, write=torch.sigmoid),
            "the normaliser counts tokens; it sums their weights exp(i)": lambda *x: _plain(*x, count=lambda i, z: ones(i)),
            "the normaliser sums exp(i) z; leave z out, it is what the cell returns for values that are all 1":
                lambda *x: _plain(*x, count=lambda i, z: i.exp() * z),
            "both gates are exponential; here f is a sigmoid": lambda *x: _plain(*x, keep=torch.exp),
            "the forget gate is turned round: sigmoid(f) keeps": lambda *x: _plain(*x, keep=lambda f: 1 - f.sigmoid()),
        },
    )


# ---------------------------------------------------------------- 2.3


def loudest(dtype):
    """Reference: the largest pre-activation whose exponential is finite in this floating-point type."""
    return math.log(torch.finfo(dtype).max)


@exercise("where the exponential ends", cases=6)
def check_loudest(student, rng):
    dtype = rng.choice([torch.float16, torch.bfloat16, torch.float32, torch.float64])
    info = torch.finfo(dtype)
    compare(
        student, loudest, {"dtype": dtype}, rtol=2e-3,
        diagnose={
            "this is the largest number itself; ask which i has exp(i) equal to it": info.max,
            "the logarithm is to base 2; the gate is e to the power of i": math.log2(info.max),
            "the logarithm is to base 10; the gate is e to the power of i": math.log10(info.max),
            "eps is the distance from 1 to the next number; the range ends at finfo.max": -math.log(info.eps),
            "this is where exp underflows (finfo.tiny); the other end is wanted": math.log(info.tiny),
            "this is the bound of float32 for every type; ask torch.finfo(dtype)": math.log(torch.finfo(torch.float32).max),
        },
    )


# ---------------------------------------------------------------- 2.4


def stabilised_cell(z, i, f):
    """Reference: the same cell with the running maximum m.  z, i, f: (S, ...) -> h, m (S, ...)."""
    return _stable(z, i, f)


def _stable(z, i, f, rule=None, log_keep=logsigmoid, forget=None, write=None, write_n=None, first=-torch.inf):
    c = n = torch.zeros_like(z[0])
    m, h, ms = torch.full_like(z[0], first), [], []
    for z_t, i_t, f_t in zip(z, i, f):
        log_f = log_keep(f_t)
        new = torch.maximum(log_f + m, i_t) if rule is None else rule(log_f, m, i_t)
        keep = torch.exp(log_f + m - new) if forget is None else forget(log_f, m, new)
        gate = torch.exp(i_t - new) if write is None else write(i_t, m, new)
        c, n, m = keep * c + gate * z_t, keep * n + (gate if write_n is None else write_n(i_t)), new
        h.append(c / n)
        ms.append(m)
    return torch.stack(h), torch.stack(ms)


@exercise("the stabilised cell")
def check_stabilised_cell(student, rng):
    S, loud = rng.size(5, 9), rng.choice([3, 300])
    compare(
        student, stabilised_cell, {"z": rng.normal(S), "i": loud * rng.normal(S), "f": rng.normal(S)}, outputs=("h", "m"),
        diagnose={
            "m never falls: the old maximum has to fade with the forget gate, log f + m":
                lambda *x: _stable(*x, rule=lambda lf, m, i: torch.maximum(m, i), first=-1e30),
            "m is kept at 0 or above; that is right with a floor in the denominator (later in this chapter), not here":
                lambda *x: _stable(*x, rule=lambda lf, m, i: torch.maximum(lf + m, i).clamp(min=0)),
            "the old memory is scaled by f alone; it was stored in units of the old m: exp(log f + m_old - m_new)":
                lambda *x: _stable(*x, forget=lambda lf, m, new: lf.exp()),
            "the maximum takes f itself; it needs log sigmoid(f)": lambda *x: _stable(*x, log_keep=lambda f: f),
            "the maximum takes sigmoid(f); it needs its logarithm": lambda *x: _stable(*x, log_keep=torch.sigmoid),
            "the normaliser is not stabilised: it sums exp(i - m), with the same factors as c":
                lambda *x: _stable(*x, write_n=torch.exp),
            "the gates are not stabilised: subtract m in both exponents":
                lambda *x: _stable(*x, forget=lambda lf, m, new: lf.exp(), write=lambda i, m, new: i.exp()),
            "the new token is scaled by the old m; take the new one": lambda *x: _stable(*x, write=lambda i, m, new: torch.exp(i - m), first=0.0),
            "m is the input gate alone; a loud memory has to count as well": lambda *x: _stable(*x, rule=lambda lf, m, i: i),
            "m grows by a sum; it is a maximum": lambda *x: _stable(*x, rule=lambda lf, m, i: lf + m + i, first=0.0),
            "the order is h, m": lambda *x: _stable(*x)[::-1],
        },
    )


# ---------------------------------------------------------------- 2.5


def floored_cell(k, z, i, f):
    """Reference: with keys of either sign, the denominator max(|n|, 1) and m >= 0.  All (S,) -> h (S,)."""
    return _floored(k, z, i, f)


def _floored(k, z, i, f, least=0.0, bottom=lambda n, m: torch.maximum(n.abs(), torch.exp(-m)), key_c=True, key_n=True):
    c = n = m = torch.zeros_like(z[0])
    h = []
    for k_t, z_t, i_t, f_t in zip(k, z, i, f):
        log_f = logsigmoid(f_t)
        new = torch.maximum(log_f + m, i_t)
        new = new if least is None else new.clamp(min=least)
        keep, gate = torch.exp(log_f + m - new), torch.exp(i_t - new)
        c = keep * c + gate * z_t * (k_t if key_c else 1)
        n = keep * n + gate * (k_t if key_n else 1)
        m = new
        h.append(c / bottom(n, m))
    return torch.stack(h)


@exercise("a floor that cannot overflow")
def check_floored_cell(student, rng):
    S = rng.size(5, 9)
    loud = {"k": rng.normal(S), "z": rng.normal(S), "i": 1 + rng.normal(S), "f": 1 + rng.normal(S)}
    compare(
        student, floored_cell, loud, outputs=("h",),
        diagnose={
            "the floor is 1 in the units of the stored memory; 1 in true units is exp(-m)":
                lambda *x: _floored(*x, bottom=lambda n, m: n.abs().clamp(min=1)),
            "the sign of n is kept: the denominator is max(|n|, exp(-m))":
                lambda *x: _floored(*x, bottom=lambda n, m: torch.maximum(n, torch.exp(-m))),
            "there is no floor: with n near 0 the output explodes": lambda *x: _floored(*x, bottom=lambda n, m: n),
            "there is no floor, and the sign of n is lost": lambda *x: _floored(*x, bottom=lambda n, m: n.abs()),
            "the floor is exp(m); dividing by exp(m) turns 1 into exp(-m)":
                lambda *x: _floored(*x, bottom=lambda n, m: torch.maximum(n.abs(), torch.exp(m))),
            "the floor is added; take the larger of the two": lambda *x: _floored(*x, bottom=lambda n, m: n.abs() + torch.exp(-m)),
            "the key is missing in the memory c": lambda *x: _floored(*x, key_c=False),
            "the key is missing in the normaliser n": lambda *x: _floored(*x, key_n=False),
        },
    )
    quiet = {**loud, "i": -100 - 50 * rng.uniform(0, 1, S), "f": rng.normal(S) - 60}
    quiet = {name: x.clone().requires_grad_() for name, x in quiet.items()}
    h = attempt(student, *quiet.values())
    expect(h.isfinite().all(), "with gates far below 0 the output is not finite")
    h.sum().backward()
    bad = [name for name, x in quiet.items() if x.grad is not None and not x.grad.isfinite().all()]
    expect(
        not bad,
        f"the output is fine, but with gates far below 0 the gradient of {' and '.join(bad)} is NaN: exp(-m) overflows; keep m at 0 or above",
    )
