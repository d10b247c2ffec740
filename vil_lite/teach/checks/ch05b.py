"""Exercises of chapter 5b: the family of linear recurrences."""

import math

import torch

from ._base import exercise, expect, expect_gradients, watched

_A_LOOP = "the numbers are right, but there is a loop over tokens"


# ---------------------------------------------------------------- 5b.1
def by_convolution(a, x, *, length=2, power=lambda a, n: a**n, keep=lambda c, S: c[:S]):
    """c_t = a c_{t-1} + x_t as a convolution with 1, a, a^2, ...  a: a float.  x: (S,) -> c (S,)."""
    S = len(x)
    kernel = power(a, torch.arange(S, dtype=x.dtype))
    product = torch.fft.rfft(kernel, n=length * S) * torch.fft.rfft(x, n=length * S)
    return keep(torch.fft.irfft(product, n=length * S), S)


def _without_lengths(a, x):
    kernel = a ** torch.arange(len(x), dtype=x.dtype)
    return torch.fft.irfft(torch.fft.rfft(kernel) * torch.fft.rfft(x))


_A_MATRIX = "the numbers are right, but a matrix of S x S is made"


def _by_matrix(a, x):
    """W_ts, the product of the decays after s until t, is a running product down each column.  a, x: (S,)."""
    below = torch.ones(len(a), len(a), dtype=torch.bool).tril(-1)
    return torch.where(below, a[:, None], 1.0).cumprod(0).tril() @ x


def _steps(a, x, after=False):
    c, out = torch.zeros((), dtype=x.dtype), []
    for a_t, x_t in zip(a, x):
        c = a_t * (c + x_t) if after else a_t * c + x_t
        out.append(c)
    return torch.stack(out)


@exercise(
    "5b.1",
    "a constant gate as a convolution",
    by_convolution,
    outputs=("c",),
    mistakes={
        "the convolution runs round a circle, and what leaves comes in again; make room with n=": {"length": 1},
        "the convolution runs round a circle, and an odd length loses a number: make room with n=": _without_lengths,
        "the kernel begins with a; a token is read at full strength when written": {"power": lambda a, n: a ** (n + 1)},
        "the kernel is turned round: the newest token has the weight 1": {"power": lambda a, n: a ** n.flip(0)},
        "these are the last S numbers of the longer sequence; keep the first": {"keep": lambda c, S: c[-S:]},
        "all numbers of the longer sequence are returned; keep the first S": {"keep": lambda c, S: c},
        _A_LOOP: lambda a, x: _steps(torch.full_like(x, a), x),
        _A_MATRIX: lambda a, x: _by_matrix(torch.full_like(x, a), x),
        "the values are right, but no gradient comes back": lambda a, x: by_convolution(a, x).detach(),
    },
)
def check_by_convolution(rng, student):
    S = 2 * rng.size(10, 19) + rng.turn([0, 1])
    inputs = {"a": rng.uniform(0.85, 0.95).item(), "x": rng.normal(S, dtype=torch.float64)}
    yield inputs
    seen = watched(student, 0.9, rng.normal(256, dtype=torch.float64))
    expect(seen.operations < 100, _A_LOOP, f" (256 tokens took {seen.operations} operations)")
    expect(seen.largest < 256 * 200, _A_MATRIX)
    if rng.case == 0:  # a loop over plain numbers, which no count of operations sees, loses them
        expect_gradients(student, by_convolution, inputs)


# ---------------------------------------------------------------- 5b.2
def scan(a, x, *, most=math.inf, join=lambda a, x, b, y: (a * b, a * y + x)):
    """c_t = a_t c_{t-1} + x_t in log2 S rounds.  a, x: (S,) -> c (S,)."""
    r = 1
    while r < len(x) and r <= most:
        earlier_a, earlier_x = torch.cat([a.new_ones(r), a[:-r]]), torch.cat([x.new_zeros(r), x[:-r]])
        a, x = join(a, x, earlier_a, earlier_x)
        r = 2 * r
    return x


def _quotients(a, x):
    product = a.cumprod(0)
    return product * (x / product).cumsum(0)


@exercise(
    "5b.2",
    "a parallel scan",
    scan,
    outputs=("c",),
    mistakes={
        "the decays are not joined: a step has the product of both": {"join": lambda a, x, b, y: (a, a * y + x)},
        "the order is turned round: the later a is for the earlier x": {"join": lambda a, x, b, y: (a * b, y + b * x)},
        "nothing fades: the earlier x is multiplied by the later step's a": {"join": lambda a, x, b, y: (a * b, y + x)},
        "there is one round only; the distance doubles until it reaches S": {"most": 1},
        "five rounds are not enough for more than 32 tokens: the distance doubles until it reaches S": {"most": 16},
        "a token's own x fades in the step in which it is written": lambda a, x: _steps(a, x, after=True),
        "dividing by a running product of decays overflows or gives 0 / 0 when they are small": _quotients,
        _A_LOOP: _steps,
        _A_MATRIX: _by_matrix,
        "the values are right, but no gradient comes back": lambda a, x: scan(a, x).detach(),
    },
)
def check_scan(rng, student):
    S = rng.size(17, 25) if rng.case else rng.size(70, 100)
    a, x = rng.uniform(0.1, 0.99, S), rng.normal(S)
    a[2] = 0.0  # a gate that closes altogether
    a[10:] = 0.9 + 0.1 * a[10:] if rng.case == 0 else a[10:]  # what is old counts
    yield {"a": a, "x": x}
    expect_gradients(student, scan, {"a": a, "x": x})
    few, many = (watched(student, rng.uniform(0.5, 1, S), rng.normal(S)) for S in (32, 128))
    told = f": {few.operations} operations for 32 tokens, {many.operations} for 128"
    expect(many.operations < 2 * few.operations, _A_LOOP, told)
    expect(many.largest < 128 * 64, _A_MATRIX)


# ---------------------------------------------------------------- 5b.3
def _column(beta):
    return beta[:, None]


def gated_delta(
    q,
    k,
    v,
    log_a,
    beta,
    *,
    looked_up=_column,
    written=_column,
    diagonal=-1,
    faded=torch.clone,
    read=torch.clone,
    sign=1,
):
    """C_t = a_t (I - beta_t k_t k_t^T) C_{t-1} + beta_t k_t v_t^T for all tokens at once.  -> h (S, dv)."""
    F = log_a.cumsum(0)
    D = torch.exp((F[:, None] - F[None, :]).clamp(max=0)).tril()
    T = looked_up(beta) * (k @ k.mT * faded(D)).tril(diagonal)
    system = torch.eye(len(k), dtype=k.dtype) + sign * T
    u = torch.linalg.solve_triangular(system, written(beta) * v, upper=False)
    return (q @ k.mT * read(D)).tril() @ u


def _delta_by_steps(q, k, v, log_a, beta):
    C, h = k.new_zeros(k.shape[1], v.shape[1]), []
    for t in range(len(q)):
        C = log_a[t].exp() * C
        C = C + beta[t] * torch.outer(k[t], v[t] - k[t] @ C)
        h.append(q[t] @ C)
    return torch.stack(h)


@exercise(
    "5b.3",
    "the parallel gated delta rule",
    gated_delta,
    outputs=("h",),
    mistakes={
        "nothing is looked up: this is the plain sum of beta k v^T with decay": {"sign": 0},
        "the decay is missing in the system: what is looked up has faded as well": {"faded": torch.ones_like},
        "the decay is missing in the reading: h = (q k^T, decayed) u": {"read": torch.ones_like},
        "the beta in the system is that of the token that writes, t, not of the other, s": {"looked_up": torch.clone},
        "beta is missing in the system: the look-up is multiplied by it, too": {"looked_up": torch.ones_like},
        "beta is missing on the right: what is written is beta_t (v_t - ...)": {"written": lambda beta: 1},
        "the sign is wrong: the system is (I + T) u = beta v": {"sign": -1},
        "a token looks up what it is about to write: T has nothing on the diagonal": {"diagonal": 0},
        _A_LOOP: _delta_by_steps,
        "the values are right, but no gradient comes back": lambda *x: gated_delta(*x).detach(),
    },
)
def check_gated_delta(rng, student):
    S, d, dv = rng.size(6, 12), rng.size(3, 5), rng.size(2, 4)
    inputs = _tokens(rng, S, d, dv)
    yield inputs
    expect_gradients(student, gated_delta, inputs)
    few, many = (watched(student, *_tokens(rng, S, 4, 3).values()).operations for S in (16, 64))
    expect(many < few + 16, _A_LOOP, f": {few} operations for 16 tokens, {many} for 64")


def _tokens(rng, S, d, dv):
    q, k, v = (rng.normal(S, n, dtype=torch.float64) for n in (d, d, dv))
    log_a, beta = rng.uniform(-0.6, -0.05, S, dtype=torch.float64), rng.uniform(0.2, 0.9, S, dtype=torch.float64)
    return {"q": q, "k": k / k.norm(dim=-1, keepdim=True), "v": v, "log_a": log_a, "beta": beta}


# ---------------------------------------------------------------- 5b.4
def mirrors(p, *, angle=lambda p: math.pi / p, length=1.0):
    """Two keys of length 1 whose reflections, one after the other, rotate by 2 pi / p."""
    second = torch.tensor([math.cos(angle(p)), math.sin(angle(p))], dtype=torch.float64)
    return torch.tensor([1.0, 0.0], dtype=torch.float64), length * second


def _turn(function, p):
    """What does not depend on where the first mirror stands: both lengths, and the matrix's mean factor and area."""
    first, second = (torch.as_tensor(key).double() for key in function(p))
    A, B = (torch.eye(2).double() - 2 * torch.outer(key, key) for key in (first, second))
    return first.norm(), second.norm(), (B @ A).trace() / 2, torch.linalg.det(B @ A)


@exercise(
    "5b.4",
    "two mirrors that count modulo p",
    mirrors,
    outputs=("the length of the first key", "the length of the second key", "the cosine of the rotation", "its area"),
    through=_turn,
    mistakes={
        "two mirrors that meet at an angle rotate by twice that angle": {"angle": lambda p: 2 * math.pi / p},
        "the rotation is half as far as it should be: a full turn is 2 pi": {"angle": lambda p: math.pi / p / 2},
        "both mirrors are the same: two reflections cancel": {"angle": lambda p: 0.0},
        "a key must have length 1, or it is no reflection": {"length": 1.5},
    },
)
def check_mirrors(rng):
    return {"p": rng.turn([2, 5, 4, 7, 6])}


# ---------------------------------------------------------------- 5b.5
def backward(q, k, v, F, C, dh, *, P=None, W=None, dq=None, dF=None, swap=False, faded=True):
    """Gradients dq, dk, dv, dF of H = (q k^T * D) v + e^F (q C), D_ts = e^(F_t - F_s) for s <= t."""
    D = torch.exp((F[:, None] - F[None, :]).tril()).tril()
    weighted = dh @ v.mT * D if P is None else P(dh @ v.mT, D)
    through = (F.exp()[:, None] if faded else 1) * (dh @ C.mT)
    d_q = weighted @ k + through if dq is None else dq(weighted @ k, through)
    d_k = weighted.mT @ q if not swap else weighted @ q
    d_v = (q @ k.mT * D).mT @ dh if W is None else W(q @ k.mT, D) @ dh
    parts = (q * d_q).sum(-1), (k * d_k).sum(-1), (q * (weighted @ k)).sum(-1)
    return d_q, d_k, d_v, parts[0] - parts[1] if dF is None else dF(*parts)


@exercise(
    "5b.5",
    "the backward pass of one chunk",
    backward,
    outputs=("dq", "dk", "dv", "dF"),
    rtol=1e-6,
    atol=1e-8,
    mistakes={
        "the decay is missing in P: dh v^T is multiplied by D place by place": {"P": lambda P, D: P.tril()},
        "the mask is missing in P: only later tokens read": {"P": lambda P, D: P * (D + torch.ones_like(D).triu(1))},
        "dq lacks what came through the memory": {"dq": lambda inside, through: inside},
        "dq: what came through the memory has faded by e^F": {"faded": False},
        "dk: P is transposed, for a key is read by later tokens": {"swap": True},
        "dv: G is transposed, for a value is read by later tokens": {"W": lambda scores, D: scores * D},
        "dv lacks the decay: G = q k^T times D": {"W": lambda scores, D: scores.tril().mT},
        "dF lacks the part through the keys: F_s enters with a minus": {"dF": lambda q, k, inside: q},
        "dF: the part through the keys has a minus": {"dF": lambda q, k, inside: q + k},
        "dF lacks the memory, which fades by e^F": {"dF": lambda q, k, inside: inside - k},
        "the order is dq, dk, dv, dF": lambda *x: (lambda a, b, c, d: (b, a, c, d))(*backward(*x)),
    },
)
def check_backward(rng):
    L, d, dv = rng.size(4, 8), rng.size(3, 5), rng.size(2, 4)
    normal = [rng.normal(*shape, dtype=torch.float64) for shape in ((L, d), (L, d), (L, dv), (d, dv), (L, dv))]
    F = -rng.uniform(0.1, 0.9, L, dtype=torch.float64).cumsum(0)
    return dict(zip(("q", "k", "v", "F", "C", "dh"), (*normal[:3], F, *normal[3:])))
