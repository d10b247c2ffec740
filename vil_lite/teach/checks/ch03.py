"""Exercises of chapter 3: a matrix as memory."""

import torch
from torch.nn.functional import logsigmoid, normalize

from ._base import exercise


# ---------------------------------------------------------------- 3.1
def recall(q, k, v):
    """What each query reads from the sum of k_s v_s^T.  q (M, d)  k (N, d)  v (N, dv) -> (M, dv)."""
    return q @ (k.mT @ v)


@exercise(
    "3.1",
    "store pairs and ask for them",
    recall,
    mistakes={
        "the memory is transposed: k_s v_s^T has a row for each number of the key": lambda q, k, v: q @ (v.mT @ k),
        "the query is not used: this is the sum of all values": lambda q, k, v: v.sum(0).expand(len(q), -1),
        "divided by the number of pairs; the memory is a sum, not a mean": lambda q, k, v: recall(q, k, v) / len(k),
        "this is a softmax over the keys; here the weight is q^T k itself": lambda q, k, v: (q @ k.mT).softmax(-1) @ v,
        "this is the nearest key's value; the memory adds up all of them": lambda q, k, v: v[(q @ k.mT).argmax(-1)],
        "divided by sqrt(d); that comes with the mLSTM": lambda q, k, v: recall(q, k, v) / k.shape[-1] ** 0.5,
        "this is the memory, not yet what a query reads from it": lambda q, k, v: k.mT @ v,
        "only the last pair is stored: add them all": lambda q, k, v: recall(q, k[-1:], v[-1:]),
        "the last pair is missing: add them all": lambda q, k, v: recall(q, k[:-1], v[:-1]),
    },
)
def check_recall(rng):
    N, M, d = rng.size(3, 6), rng.size(2, 7), rng.size(2, 5)
    return {"q": rng.normal(M, d), "k": rng.normal(N, d), "v": rng.normal(N, d + rng.turn([0, 0, 2]))}


# ---------------------------------------------------------------- 3.2
def interference(k, v):
    """Squared error of all pairs read back, as a share of the squared length of the values.  k (N, d)  v (N, dv)."""
    return _size(_error(k, v)) / _size(v)


def _error(k, v):
    return recall(k, k, v) - v


def _size(x, *axis):
    return x.square().sum(*axis)


@exercise(
    "3.2",
    "measure the interference",
    interference,
    mistakes={
        "the value itself is in it: subtract v from what is read": lambda k, v: _size(recall(k, k, v)) / _size(v),
        "the error is not squared": lambda k, v: _error(k, v).abs().sum() / v.abs().sum(),
        "lengths instead of squares: leave the root away": lambda k, v: _error(k, v).norm() / v.norm(),
        "not relative: divide by the squared length of the values": lambda k, v: _size(_error(k, v)),
        "divide by the squared length of the values, not by their number": lambda k, v: _error(k, v).square().mean(),
        "divided by the number of pairs once too often": lambda k, v: interference(k, v) / len(k),
        "a mean of ratios; take the ratio of the sums": lambda k, v: (_size(_error(k, v), -1) / _size(v, -1)).mean(),
        "this is one number for each pair; add up before dividing": lambda k, v: _size(_error(k, v), -1) / _size(v, -1),
        "relative to what is read, not to the values": lambda k, v: _size(_error(k, v)) / _size(recall(k, k, v)),
        "upside down: the error belongs above": lambda k, v: 1 / interference(k, v),
    },
)
def check_interference(rng):
    N, d = rng.size(3, 9), rng.size(3, 6)
    lengths = rng.uniform(0.5, 2, N, 1)
    return {"k": normalize(rng.normal(N, d), dim=-1), "v": rng.normal(N, rng.size(2, 5)) * lengths}


# ---------------------------------------------------------------- 3.3
def covariance(C, k_sum, v_sum, N):
    """The sum of (k_s - mean k)(v_s - mean v)^T, from the plain sums.  C (d, dv)  k_sum (d)  v_sum (dv)."""
    return C - torch.outer(k_sum, v_sum) / N


@exercise(
    "3.3",
    "take the shared part out",
    covariance,
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "sums are not means: divide the product of the sums by N": lambda C, k, v, N: C - torch.outer(k, v),
        "the product of the means is in the memory N times, not once": lambda C, k, v, N: C - torch.outer(k, v) / N**2,
        "the shared part is added; subtract it": lambda C, k, v, N: C + torch.outer(k, v) / N,
        "the shared part is transposed: keys are the rows": lambda C, k, v, N: C - torch.outer(v, k) / N,
        "this is the covariance itself; leave the last division by N away": lambda *x: covariance(*x) / x[3],
        "only C is divided by N": lambda C, k, v, N: C / N - torch.outer(k, v) / N,
        "this is the shared part; it has to be subtracted from C": lambda C, k, v, N: torch.outer(k, v) / N,
        "the sign is turned round: subtract the shared part from C": lambda C, k, v, N: -covariance(C, k, v, N),
    },
)
def check_covariance(rng):
    N, d = rng.size(3, 9), rng.size(2, 5)
    k, v = rng.normal(N, d) + 1, rng.normal(N, d + rng.turn([0, 0, 1])) - 1
    return {"C": k.mT @ v, "k_sum": k.sum(0), "v_sum": v.sum(0), "N": N}


# ---------------------------------------------------------------- 3.4
def _gates(m, i, f, *, log_gate=logsigmoid, lowest=0.0, own_m=1, written=torch.sub):
    """What is kept of the old memory, the weight of the token, and the new stabiliser."""
    log_f = log_gate(f)
    m_t = torch.maximum(log_f + m, i).clamp(min=lowest)
    return torch.exp(log_f + own_m * m - m_t), torch.exp(written(i, m_t)), m_t


def _floor(total, m):
    """The denominator: the larger of |q^T n| and the floor 1, in the units of what is stored."""
    return torch.maximum(total.abs(), torch.exp(-m))


def step(
    C, n, m, q, k, v, i, f, *, in_n=lambda *x: x, scale=-0.5, early=False, bottom=_floor, outer=torch.outer, **gates
):
    """One token of the mLSTM.  C (d, dv)  n, q, k (d)  v (dv)  m, i, f ().  Returns h, C, n, m."""
    forget, write, m_t = _gates(m, i, f, **gates)
    C_t, (of_n, of_k) = forget * C + write * outer(k, v), in_n(forget, write)
    n_t, query = of_n * n + of_k * k, q * q.shape[-1] ** scale
    C_read, n_read = (C, n) if early else (C_t, n_t)
    return query @ C_read / bottom(query @ n_read, m_t), C_t, n_t, m_t


@exercise(
    "3.4",
    "one step of the mLSTM",
    step,
    outputs=("h", "C", "n", "m"),
    cases=8,
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the stabiliser may not fall below 0: m_t = max(log σ(f) + m, i, 0)": {"lowest": -torch.inf},
        "f is a pre-activation: its logarithm is log σ(f)": {"log_gate": lambda f: f},
        "the forget gate is σ(f), and in the exponent its logarithm is wanted": {"log_gate": torch.sigmoid},
        "the forget gate is exponential; in this book it is a sigmoid": {"log_gate": torch.exp},
        "the old stabiliser is missing in f': exp(log σ(f) + m - m_t)": {"own_m": 0},
        "the input gate is missing": {"written": lambda i, m_t: 0 * i},
        "the input gate is not stabilised: exp(i - m_t)": {"written": lambda i, m_t: i},
        "the normaliser is not forgotten: it gets the same two gates as C": {"in_n": lambda forget, write: (1, write)},
        "the key enters the normaliser without its input gate": {"in_n": lambda forget, write: (forget, 1)},
        "the query is not divided by sqrt(d)": {"scale": 0},
        "the query is divided by d; by sqrt(d) is wanted": {"scale": -1},
        "the memory is read before the token is written; a token also reads itself": {"early": True},
        "the denominator is 1 here: the floor in stored units is exp(-m_t)": {"bottom": lambda x, m: x.abs().clamp(1)},
        "the floor is exp(m_t); it is exp(-m_t)": {"bottom": lambda x, m: torch.maximum(x.abs(), m.exp())},
        "the absolute value of the normaliser is missing": {"bottom": lambda x, m: torch.maximum(x, torch.exp(-m))},
        "the floor is missing: take the larger of |q^T n| and exp(-m_t)": {"bottom": lambda x, m: x.abs()},
        "the floor is missing, and so is the absolute value": {"bottom": lambda x, m: x},
        "the floor is added; take the larger of the two": {"bottom": lambda x, m: x.abs() + torch.exp(-m)},
        "h is not divided by the normaliser": {"bottom": lambda x, m: 1},
        "key and value are exchanged: k_t v_t^T has its rows from the key": {"outer": lambda k, v: torch.outer(v, k)},
        "the order is h, C, n, m": lambda *a: (*step(*a)[1:], step(*a)[0]),
    },
)
def check_step(rng):
    d = rng.size(2, 5)
    # m, what i has above m, and q^T n: the floor of 1 decides; a smaller floor is passed; twice |q^T n| decides.
    # The last memory is of a true size that no float32 can hold.
    m, loud, total = rng.turn([(0.2, -2.5, 0.3), (1.5, 0.5, 0.5), (0.2, -2.5, -2.0), (120.0, 0.5, -1.2)])
    dv = d + rng.choice([0, 1]) if rng.case else d
    inputs = {"C": rng.normal(d, dv), "n": rng.normal(d), "m": torch.tensor(m), "q": 2 * rng.normal(d)}
    inputs |= {"k": rng.normal(d), "v": rng.normal(dv)}
    inputs |= {"i": m + loud + 0.3 * rng.normal().abs(), "f": 0.3 * rng.normal() - 1}
    n_t = step(*inputs.values())[2]
    inputs["q"] += (total * d**0.5 - inputs["q"] @ n_t) / (n_t @ n_t) * n_t
    return inputs


# ---------------------------------------------------------------- 3.5
def overwrite(C, k, v):
    """The delta rule with a key of length 1: afterwards k reads exactly v.  C (d, dv)  k (d)  v (dv)."""
    return C + torch.outer(k, v - k @ C)


@exercise(
    "3.5",
    "overwrite what a key holds",
    overwrite,
    mistakes={
        "the old value stays: after a plain update k reads old + new": lambda C, k, v: C + torch.outer(k, v),
        "the old value is taken out, but the new one not put in": lambda C, k, v: C - torch.outer(k, k @ C),
        "the whole memory is wiped; only what k reads may change": lambda C, k, v: torch.outer(k, v),
        "the sign is turned round: write new minus old": lambda C, k, v: C - torch.outer(k, v - k @ C),
        "the old memory is left out: add the correction to C": lambda C, k, v: torch.outer(k, v - k @ C),
        "old and new are averaged (half a correction)": lambda C, k, v: C + 0.5 * torch.outer(k, v - k @ C),
        "what k reads is k^T C, not C k": lambda C, k, v: C + torch.outer(k, v - C @ k),
        "the correction is transposed: keys are the rows": lambda C, k, v: C + torch.outer(v - k @ C, k),
    },
)
def check_overwrite(rng):
    d = rng.size(2, 5)
    dv = d + rng.turn([0, 0, 1])
    return {"C": rng.normal(d, dv), "k": normalize(rng.normal(d), dim=0), "v": rng.normal(dv)}
