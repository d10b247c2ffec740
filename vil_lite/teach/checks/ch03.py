"""Checks of chapter 3: a matrix as memory."""

import torch
from torch.nn.functional import logsigmoid, normalize

from ._base import compare, exercise

# ---------------------------------------------------------------- 3.1


def recall(q, k, v):
    """Reference: what each query reads from the sum of k_s v_s^T.  q (M, d)  k (N, d)  v (N, dv) -> (M, dv)."""
    return q @ (k.mT @ v)


@exercise("store pairs and ask for them")
def check_recall(student, rng):
    N, M, d = rng.size(3, 6), rng.size(2, 7), rng.size(2, 5)
    compare(
        student, recall, {"q": rng.normal(M, d), "k": rng.normal(N, d), "v": rng.normal(N, rng.choice([d, d, d + 2]))},
        diagnose={
            "the memory is transposed: k_s v_s^T has a row for each number of the key": lambda q, k, v: q @ (v.mT @ k),
            "the query is not used: this is the sum of all values": lambda q, k, v: v.sum(0).expand(len(q), -1),
            "divided by the number of pairs; the memory is a sum, not a mean": lambda q, k, v: recall(q, k, v) / len(k),
            "this is a softmax over the keys (attention); here the weight is the product q^T k itself":
                lambda q, k, v: (q @ k.mT).softmax(-1) @ v,
            "this returns the value of the nearest key; the memory adds up all of them": lambda q, k, v: v[(q @ k.mT).argmax(-1)],
            "divided by sqrt(d); that comes with the mLSTM, further down": lambda q, k, v: recall(q, k, v) / k.shape[-1] ** 0.5,
            "this is the memory, not yet what a query reads from it": lambda q, k, v: k.mT @ v,
            "only the last pair is stored: add them all": lambda q, k, v: recall(q, k[-1:], v[-1:]),
        },
    )


# ---------------------------------------------------------------- 3.2


def interference(k, v):
    """Reference: squared error of all pairs read back, as a share of the squared length of the values.  k (N, d)  v (N, dv)."""
    return (recall(k, k, v) - v).square().sum() / v.square().sum()


@exercise("measure the interference")
def check_interference(student, rng):
    N, d = rng.size(3, 9), rng.size(3, 6)
    k, v = normalize(rng.normal(N, d), dim=-1), rng.normal(N, rng.size(2, 5)) * rng.uniform(0.5, 2, N, 1)

    def error(k, v):
        return recall(k, k, v) - v

    compare(
        student, interference, {"k": k, "v": v},
        diagnose={
            "the value itself is still in it: subtract v from what is read":
                lambda k, v: recall(k, k, v).square().sum() / v.square().sum(),
            "the error is not squared": lambda k, v: error(k, v).abs().sum() / v.abs().sum(),
            "lengths instead of squares: leave the root away": lambda k, v: error(k, v).norm() / v.norm(),
            "not relative: divide by the squared length of the values": lambda k, v: error(k, v).square().sum(),
            "not relative: divide by the squared length of the values, not by their number":
                lambda k, v: error(k, v).square().mean(),
            "divided by the number of pairs once too often": lambda k, v: interference(k, v) / len(k),
            "a mean of ratios: short values count too much; divide the sum of all errors by the sum of all squared values":
                lambda k, v: (error(k, v).square().sum(-1) / v.square().sum(-1)).mean(),
            "this is one number for each pair; add up before dividing":
                lambda k, v: error(k, v).square().sum(-1) / v.square().sum(-1),
            "upside down: the error belongs above": lambda k, v: 1 / interference(k, v),
        },
    )


# ---------------------------------------------------------------- 3.3


def covariance(C, k_sum, v_sum, N):
    """Reference: the sum of (k_s - mean k)(v_s - mean v)^T, from the plain sums.  C (d, dv)  k_sum (d)  v_sum (dv)."""
    return C - torch.outer(k_sum, v_sum) / N


@exercise("take the shared part out")
def check_covariance(student, rng):
    N, d = rng.size(3, 9), rng.size(2, 5)
    k, v = rng.normal(N, d) + 1, rng.normal(N, rng.choice([d, d, d + 1])) - 1
    compare(
        student, covariance, {"C": k.mT @ v, "k_sum": k.sum(0), "v_sum": v.sum(0), "N": N}, rtol=1e-3, atol=1e-4,
        diagnose={
            "sums are not means: the shared part is N times the product of the means, which is the product of the sums over N":
                lambda C, k, v, N: C - torch.outer(k, v),
            "the product of the means is subtracted once; it is in the memory N times":
                lambda C, k, v, N: C - torch.outer(k, v) / N**2,
            "the shared part is added; subtract it": lambda C, k, v, N: C + torch.outer(k, v) / N,
            "the shared part is transposed: keys are the rows": lambda C, k, v, N: C - torch.outer(v, k) / N,
            "this is the covariance itself; the memory is N times as large: leave the last division away":
                lambda C, k, v, N: covariance(C, k, v, N) / N,
            "only C is divided by N": lambda C, k, v, N: C / N - torch.outer(k, v) / N,
            "this is the shared part; it has to be subtracted from C": lambda C, k, v, N: torch.outer(k, v) / N,
        },
    )


# ---------------------------------------------------------------- 3.4


def step(C, n, m, q, k, v, i, f):
    """Reference: one token of the mLSTM.  C (d, dv)  n, q, k (d)  v (dv)  m, i, f ().  Returns h, C, n, m."""
    return _step(C, n, m, q, k, v, i, f)


def _step(C, n, m, q, k, v, i, f, log_gate=logsigmoid, lowest=0.0, old_m=1, own_i=True, fade_n=True, write_n=True,
          scale=True, before=False, floor=None, bottom=None, absolute=True, outer=torch.outer):
    """The reference with its pieces exchangeable, so that one piece can be wrong."""
    log_f = log_gate(f)
    m_t = torch.maximum(log_f + m, i).clamp(min=lowest)
    forget, write = torch.exp(log_f + old_m * m - m_t), torch.exp(i - m_t) if own_i else torch.ones_like(i)
    C_t = forget * C + write * outer(k, v)
    n_t = (forget if fade_n else 1) * n + (write if write_n else 1) * k
    query = q * q.shape[-1] ** -0.5 if scale else q
    normaliser = query @ (n if before else n_t)
    normaliser = normaliser.abs() if absolute else normaliser
    floor = torch.exp(-m_t) if floor is None else floor(m_t)
    below = torch.maximum(normaliser, floor) if bottom is None else bottom(normaliser, floor)
    return query @ (C if before else C_t) / below, C_t, n_t, m_t


@exercise("one step of the mLSTM", cases=10)
def check_step(student, rng):
    d = rng.size(2, 5)
    dv = rng.choice([d, d + 1])
    m = rng.choice([0.2, 0.2, 1.5, 120.0])  # the last: a memory whose true size no float32 can hold
    inputs = {
        "C": rng.normal(d, dv), "n": rng.normal(d), "m": torch.tensor(m), "q": 2 * rng.normal(d), "k": rng.normal(d),
        "v": rng.normal(dv), "i": rng.choice([0.0, 0.0, m]) + 2 * rng.normal(), "f": rng.normal(),
    }
    _, _, n, m_t = step(*inputs.values())
    if (inputs["q"] @ n).abs() > torch.exp(-m_t) > (inputs["q"] @ n).abs() * d**-0.5:
        inputs["q"] = inputs["q"] * d**-0.5  # or a missing floor and a missing sqrt(d) would give the same answer

    def wrong(**pieces):
        return lambda *a: _step(*a, **pieces)

    compare(
        student, step, inputs, outputs=("h", "C", "n", "m"), rtol=1e-3, atol=1e-4,
        diagnose={
            "the stabiliser may not fall below 0: m_t = max(log σ(f) + m, i, 0)": wrong(lowest=-torch.inf),
            "f is a pre-activation: its logarithm is log σ(f)": wrong(log_gate=lambda f: f),
            "the forget gate is σ(f), and in the exponent its logarithm is wanted": wrong(log_gate=torch.sigmoid),
            "the forget gate is exponential; in this book it is a sigmoid": wrong(log_gate=torch.exp),
            "the old stabiliser is missing in f': exp(log σ(f) + m - m_t)": wrong(old_m=0),
            "the input gate is missing": wrong(own_i=False),
            "the normaliser is not forgotten: it gets the same two gates as C": wrong(fade_n=False),
            "the key enters the normaliser without its input gate": wrong(write_n=False),
            "the query is not divided by sqrt(d)": wrong(scale=False),
            "the memory is read before the token is written; a token also reads itself": wrong(before=True),
            "the denominator is 1 here: the floor is exp(-m_t), for what is stored is exp(-m) times what is meant":
                wrong(floor=torch.ones_like),
            "the floor is exp(m_t); it is exp(-m_t)": wrong(floor=torch.exp),
            "the absolute value of the normaliser is missing": wrong(absolute=False),
            "the floor is missing: the denominator is the larger of |q^T n| and exp(-m_t)": wrong(bottom=lambda a, b: a),
            "the floor is added; the denominator is the larger of the two": wrong(bottom=torch.add),
            "h is not divided by the normaliser": wrong(bottom=lambda a, b: torch.ones_like(a)),
            "key and value are exchanged: k_t v_t^T has a row for each number of the key":
                wrong(outer=lambda k, v: torch.outer(v, k)),
            "the order is h, C, n, m": lambda *a: (*step(*a)[1:], step(*a)[0]),
        },
    )


# ---------------------------------------------------------------- 3.5


def overwrite(C, k, v):
    """Reference: the delta rule with a key of length 1: afterwards k reads exactly v.  C (d, dv)  k (d)  v (dv)."""
    return C + torch.outer(k, v - k @ C)


@exercise("overwrite what a key holds")
def check_overwrite(student, rng):
    d = rng.size(2, 5)
    dv = rng.choice([d, d, d + 1])
    compare(
        student, overwrite, {"C": rng.normal(d, dv), "k": normalize(rng.normal(d), dim=0), "v": rng.normal(dv)},
        diagnose={
            "the old value stays: this is the plain update, and k now reads old + new": lambda C, k, v: C + torch.outer(k, v),
            "the old value is taken out, but the new one not put in": lambda C, k, v: C - torch.outer(k, k @ C),
            "the whole memory is wiped; only what k reads may change": lambda C, k, v: torch.outer(k, v),
            "the sign is turned round: write new minus old": lambda C, k, v: C - torch.outer(k, v - k @ C),
            "the old memory is left out: add the correction to C": lambda C, k, v: torch.outer(k, v - k @ C),
            "old and new are averaged (half a correction)": lambda C, k, v: C + 0.5 * torch.outer(k, v - k @ C),
            "what k reads is k^T C, not C k": lambda C, k, v: C + torch.outer(k, v - C @ k),
            "the correction is transposed: keys are the rows": lambda C, k, v: C + torch.outer(v - k @ C, k),
        },
    )
