"""Exercises of chapter 4: the parallel form."""

import math

import torch
from torch.nn.functional import logsigmoid, pad, softplus

from vil_lite.mlstm import mlstm_chunkwise, mlstm_parallel

from ._base import CheckFailed, attempt, exercise, expect, expect_gradients
from .ch03 import _floor


# ---------------------------------------------------------------- 4.1
def log_decay(
    i, f, *, log_gate=logsigmoid, written=lambda i: i[..., None, :], turned=False, own=False, past=torch.tril, at=None
):
    """log D_ts = F_t - F_s + i_s for s <= t, else -inf.  i, f: (..., S) pre-activations -> (..., S, S)."""
    F = log_gate(f).cumsum(-1)
    difference = F[..., :, None] - F[..., None, :]
    log_D = (difference.mT if turned else difference) + written(i)
    log_D = log_D + log_gate(f)[..., None, :] if own else log_D
    return log_D.masked_fill(past(torch.ones(log_D.shape[-2:])) == 0, -torch.inf if at is None else at)


def _minus_infinity(function, *inputs):
    """What is so low that it is nothing, as -1e9 is, counts as minus infinity."""
    result = function(*inputs)
    return result.masked_fill(result < -1e8, -torch.inf) if isinstance(result, torch.Tensor) else result


@exercise(
    "4.1",
    "the matrix of log decays",
    log_decay,
    through=_minus_infinity,
    mistakes={
        "the mask is missing: a token must not see those after it (s > t), put -inf there": {"past": torch.ones_like},
        "the mask is too strict: a token is written before it is read, so s = t stays": {"past": lambda x: x.tril(-1)},
        "the mask keeps the future and drops the past: rows are t, columns are s": {"past": torch.triu},
        "the masked places hold 0, and exp(0) = 1 is full weight: put -inf there": {"at": 0.0},
        "the masked places hold a number that a long or closed memory reaches, too: put -inf there": {"at": -1e4},
        "the sign of the decay is turned round: F_s - F_t grows with age; it has to be F_t - F_s": {"turned": True},
        "the input gate is missing: add i_s": {"written": lambda i: 0 * i[..., None, :]},
        "the row's input gate is added; that of the token written, s, counts": {"written": lambda i: i[..., :, None]},
        "f is a pre-activation: the running sum is over log sigmoid(f), not over f": {"log_gate": lambda f: f},
        "the running sum is over sigmoid(f); its logarithm is missing": {"log_gate": torch.sigmoid},
        "the sigmoid of a shut gate is 0, its log -inf: take logsigmoid(f)": {"log_gate": lambda f: f.sigmoid().log()},
        "the token's own forget gate is counted too: what is written at s is first forgotten at s + 1": {"own": True},
        "i is a logarithm already: add i_s itself, not exp(i_s)": {"written": lambda i: i.exp()[..., None, :]},
        "this is D, not its logarithm: leave the exponential away": lambda i, f: log_decay(i, f).exp(),
    },
)
def check_log_decay(rng):
    shape = *rng.turn([(), (2,), (2, 3)]), rng.size(4, 7)
    f = rng.normal(*shape) + 1
    f[..., -1] = -rng.uniform(110, 150, *shape[:-1])  # shut
    return {"i": rng.normal(*shape), "f": f}


# ---------------------------------------------------------------- 4.2
def half_life(bias):
    """The tokens after which a memory behind the constant gate sigmoid(bias) is halved."""
    return math.log(2) / softplus(-bias)


@exercise(
    "4.2",
    "the half-life of a memory",
    half_life,
    cases=3,
    rtol=1e-3,
    mistakes={
        "this is the time after which 1/e = 0.37 is left; a half-life asks for 1/2": lambda b: 1 / softplus(-b),
        "the sign is wrong: log sigmoid(bias) is negative, and so is log(1/2)": lambda b: -half_life(b),
        "the bias has to pass through the sigmoid before the logarithm": lambda b: -math.log(2) / b.log(),
        "the bias is no logarithm: from one token to the next sigmoid(bias) is left": lambda b: math.log(2) / b,
        "a gate takes a share of what is left: the decay is no straight line": lambda b: 0.5 / (1 - b.sigmoid()),
        "the quotient is upside down": lambda b: softplus(-b) / math.log(2),
        "the answer is rounded; leave the fraction": lambda b: half_life(b).round(),
        "the answer is rounded down; leave the fraction": lambda b: half_life(b).floor(),
        "the answer is rounded up; leave the fraction": lambda b: half_life(b).ceil(),
    },
)
def check_half_life(rng):
    bias = rng.uniform(0.5, 7, 6)
    for n, wanted in enumerate((10.3, 20.7)):  # one to be rounded down, one to be rounded up
        bias[n] = -math.log(math.expm1(math.log(2) / wanted))
    return {"bias": rng.turn([bias[: rng.size(3, 5)], bias.view(2, 3), bias[0]])}


# ---------------------------------------------------------------- 4.3
def stabilise(log_D):
    """m_t = max(max_s log D_ts, 0) and D' = exp(log D - m), one m for each row."""
    m = log_D.amax(-1).clamp(min=0)
    return torch.exp(log_D - m[..., None]), m


_END = math.log(torch.finfo(torch.float32).max)


def dies(i, f, *, end=_END, m_of=lambda log_D: log_D.amax(-1), **decay):
    """In which rows does the paper's floor exp(-m_t), m_t = max_s log D_ts, overflow float32?  i, f (..., S) -> bool."""
    return m_of(log_decay(i, f, **decay)) < -end


@exercise(
    "4.3",
    "the rows that die",
    dies,
    mistakes={
        "a quiet gate is not enough: a louder token before it that has not faded holds m_t up": lambda i, f: i < -_END,
        "what was written before fades: the largest i so far is not yet m_t": lambda i, f: i.cummax(-1).values < -_END,
        "a token's own gate is in its row, too: s = t belongs to the maximum": {"past": lambda x: x.tril(-1)},
        "the largest weight of a row decides": {"m_of": lambda x: x.where(x.isfinite(), torch.inf).amin(-1)},
        "the weights of a row are added up; m_t is the largest of them": {"m_of": lambda log_D: log_D.logsumexp(-1)},
        "float32 ends above at e^88.7; e^87.3 is where it underflows, the other end": {"end": 87.3365},
        "this is the end of float16; the question is about float32": {"end": math.log(65504)},
        "the pre-activation has to pass through log sigmoid before it is summed": {"log_gate": lambda f: f},
        "the token's own forget gate is counted too: what is written at s is first forgotten at s + 1": {"own": True},
        "the mask is missing: a later, louder token does not help a row before it": {"past": torch.ones_like},
        "with 0 in the maximum no row dies; the paper's form has none": {"m_of": lambda x: x.amax(-1).clamp(min=0)},
        "turned round: these are the rows that live": lambda i, f: ~dies(i, f),
        "one answer for each row is wanted, not one for the sequence": lambda i, f: dies(i, f).any(-1),
    },
)
def check_dies(rng):
    # Token by token: quiet from the first; close to the end; faded beyond it; loud; quiet beside something loud; after a
    # closed gate; two that are dead each and would live if added up; quiet before something loud; a gate of its own; the last.
    i = torch.tensor([-120, -88, -200, 5, -130, -130, -89.1, -89.1, -140, -30, -150, -87.8, -120])
    f = torch.tensor([1, 2, -3, 0, 4, -100, 3, 20, -6, 1, -70, -1.5, -3])
    shape = *rng.turn([(), (2,), (2, 3)]), len(i)
    return {"i": i + rng.uniform(-0.1, 0.1, *shape), "f": f + rng.uniform(-0.1, 0.1, *shape)}


# ---------------------------------------------------------------- 4.4
def parallel_from(
    q, k, v, i, f, C, n, m, *, log_memory=torch.add, top=torch.maximum, reads=(1, 1), scales=(-0.5, -0.5), bottom=_floor
):
    """The parallel form that starts from a memory.  q, k (H, S, d)  v (H, S, dv)  C (H, d, dv)  n (H, d)  m (H)."""
    log_D, log_m = log_decay(i, f), log_memory(logsigmoid(f).cumsum(-1), m[..., None])
    m_t = top(log_D.amax(-1), log_m).clamp(min=0)
    inside, outside = (q * q.shape[-1] ** scale for scale in scales)
    D, memory = torch.exp(log_D - m_t[..., None]), torch.exp(log_m - m_t)
    scores = (inside @ k.mT) * D
    numerator = scores @ v + reads[0] * memory[..., None] * (outside @ C)
    normaliser = scores.sum(-1) + reads[1] * memory * (outside @ n[..., None])[..., 0]
    return numerator / bottom(normaliser, m_t)[..., None]


@exercise(
    "4.4",
    "the parallel form, started from a memory",
    parallel_from,
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the memory is ignored: this is the parallel form that starts empty": lambda *x: _form()(*x[:5]),
        "the memory is missing in the normaliser: add its share of q^T n": {"reads": (1, 0)},
        "the memory is missing in the numerator: add its share of q^T C": {"reads": (0, 1)},
        "the memory's stabiliser is left out: C stands for exp(m) C, so add m to F_t": {"log_memory": lambda F, m: F},
        "the memory does not fade: its log weight in row t is F_t + m": {"log_memory": lambda F, m: 0 * F + m},
        "the memory fades one token late: the first gate is in F_t": {"log_memory": lambda F, m: pad(F, (1, -1)) + m},
        "the memory's stabiliser has the wrong sign: the log weight is F_t + m": {"log_memory": torch.sub},
        "one m for all rows: the loud ones silence the others": {"top": lambda *x: torch.maximum(*x).amax(-1, True)},
        "the stabiliser does not cover the memory: F_t + m may be the larger one": {"top": lambda row, memory: row},
        "the query that asks the memory is not divided by sqrt(d)": {"scales": (-0.5, 0)},
        "the query is not divided by sqrt(d)": {"scales": (0, 0)},
        "the query that asks the memory is divided by sqrt(d) twice": {"scales": (-0.5, -1)},
        "the floor is 1; in the units of what is stored it is exp(-m_t)": {"bottom": lambda x, m: x.abs().clamp(1)},
        "the absolute value of the normaliser is missing": {"bottom": lambda x, m: torch.maximum(x, torch.exp(-m))},
        "the values are right, but no gradient comes back": lambda *a: parallel_from(*a).detach(),
    },
)
def check_parallel_from(rng, student):
    H, S, d, dv = rng.size(2, 3), rng.size(4, 9), rng.size(2, 5), rng.size(2, 5)
    q, k, v, i, f = (
        2 * rng.normal(H, S, d),
        rng.normal(H, S, d),
        rng.normal(H, S, dv),
        rng.normal(H, S),
        rng.normal(H, S),
    )
    C, n, m = rng.normal(H, d, dv), rng.normal(H, d), rng.uniform(0.5, 2.5, H)
    m[0] += 150  # a memory whose true size no float32 can hold: only a stabiliser that knows of it survives
    # The first token of head 1 reads half of what is stored from m = 1 on; its floor is lower, but 1 is not.
    i[1, 0], m[1] = -4.0, 2.0
    q[1, 0] += (0.5 * d**0.5 - q[1, 0] @ n[1]) / (n[1] @ n[1]) * n[1]
    q[1, 1] = -q[1, 0]
    f[0, -1] = -200.0  # the last token of head 0 forgets all that was loud
    inputs = {"q": q, "k": k, "v": v, "i": i, "f": f + 2, "C": C, "n": n, "m": m}
    yield inputs
    if rng.case == 0:
        expect_gradients(student, parallel_from, {**inputs, "m": m.clamp(max=3)})


# ---------------------------------------------------------------- 4.5
def _exact(form):
    """A form of the library as form(q, k, v, i, f) -> h, with eps = 0: then all forms are exactly equal."""
    return lambda q, k, v, i, f: form(q, k, v, i, f, eps=0)[0]


def _form(log_D_of=log_decay, scale=-0.5, bottom=_floor):
    """The parallel form, or one with a piece that lies."""

    def form(q, k, v, i, f):
        D, m = stabilise(log_D_of(i, f))
        scores = q @ k.mT * q.shape[-1] ** scale * D
        return scores @ v / bottom(scores.sum(-1), m)[..., None]

    return form


def _old_lost(i, f):
    return log_decay(i, f).masked_fill(torch.ones(i.shape[-1], i.shape[-1]).tril(-40) > 0, -torch.inf)


def _nan_if_loud(q, k, v, i, f):
    return _form()(q, k, v, i, f) * torch.where(i > 60, torch.nan, 1.0)[..., None]


_LOST = "loses everything older than 40 tokens; it shows in long sequences whose forget gates are near 1"
LIARS = {
    "sees the future (no mask)": _form(lambda i, f: log_decay(i, f, past=torch.ones_like)),
    "has no floor under the denominator; it shows with input gates well below 0": _form(bottom=lambda x, m: x.abs()),
    "does not divide the query by sqrt(d)": _form(scale=0),
    "has the floor 1, not exp(-m); it shows where an input gate is above 0": _form(
        bottom=lambda x, m: x.abs().clamp(1)
    ),
    _LOST: _form(_old_lost),
    "uses the first head's gates for all heads; it shows with two heads or more": lambda q, k, v, i, f: _form()(
        q, k, v, i[:, :1].expand_as(i), f[:, :1].expand_as(f)
    ),
    "uses the first sequence's gates for the whole batch; it shows with B >= 2": lambda q, k, v, i, f: _form()(
        q, k, v, i[:1].expand_as(i), f[:1].expand_as(f)
    ),
    "returns NaN for input gates above 60; it shows with large gates, if NaN counts as a difference": _nan_if_loud,
}


def _close(h, exact):
    return torch.allclose(h, exact, rtol=1e-8, atol=1e-10)


def agree(form, reference, *, lengths=(1, 7, 100), loud=(-5, 0, 100), B=2, H=3, d=8, dtype=torch.float64, close=_close):
    """Do both give the same h (B, H, S, dv) for random q, k, v and i, f, in every situation where a form can fail?"""
    for S in lengths:
        for loudness in loud:
            q, k, v = torch.randn(3, B, H, S, d, dtype=dtype)
            i, f = loudness + torch.randn(B, H, S, dtype=dtype), 5 + torch.randn(B, H, S, dtype=dtype)
            if not close(form(q, k, v, i, f), reference(q, k, v, i, f)):
                return False
    return True


_PASSES = "your test lets a form pass that "
_TIGHT = "your test calls a right form wrong: is the tolerance too tight for the number type? Use float64"
_WEAK = [  # tests that find every liar before the one that they let pass, in the order of LIARS
    {"close": lambda h, exact: _close(h[:, :, -1], exact[:, :, -1])},
    {"loud": (100,)},
    {"d": 1},
    {"loud": (-5,)},
    {"lengths": (1, 7, 30)},
    {"H": 1},
    {"B": 1},
    {"close": lambda h, exact: not ((h - exact).abs() > 1e-8 * (1 + exact.abs())).any()},
]


@exercise(
    "4.5",
    "a test that cannot be fooled",
    agree,
    cases=1,
    mistakes={
        "form is never called: there is nothing to compare": lambda form, reference: True,
        _TIGHT: {"dtype": torch.float32, "close": torch.equal},
        **{_PASSES + what: weak for what, weak in zip(LIARS, _WEAK)},
    },
)
def check_agree(rng, student):
    exact = _exact(mlstm_chunkwise)
    forms = {"": _exact(mlstm_parallel), "a second, exact form": exact, **LIARS}
    # A test with open gates finds the form that loses what is old by luck, now and then; so it is asked three times.
    names, verdicts = [*forms, _LOST, _LOST], dict[str, bool]()
    while names:  # in any order: a test must not learn what comes when
        name, calls = names.pop(rng.size(0, len(names) - 1)), list[int]()
        verdict = attempt(student, lambda *x, form=forms[name], calls=calls: calls.append(1) or form(*x), exact)
        if verdict is None:
            raise CheckFailed("nothing is returned; return True or False")
        expect(calls, "form is never called: there is nothing to compare")
        verdicts[name] = bool(verdict) or verdicts.get(name, False)
    expect(verdicts[""] and verdicts["a second, exact form"], _TIGHT)
    for what in LIARS:
        expect(not verdicts[what], _PASSES + what)


# ---------------------------------------------------------------- 4.6
def longest(
    budget, batch, heads, matrices, *, count=lambda b, h, n: 4 * b * h * n, root=lambda x, y: math.isqrt(x // y)
):
    """The longest S with batch * heads * matrices decay matrices (S, S) of float32 within `budget` bytes."""
    return root(budget, count(batch, heads, matrices))


def _side(budget, each):
    return math.sqrt(budget / each)


@exercise(
    "4.6",
    "the longest sequence that fits",
    longest,
    cases=4,
    rtol=0,
    atol=0,
    mistakes={
        "this is the number of entries of a matrix, S²; S is its root": {"root": lambda budget, each: budget // each},
        "a float32 takes 4 bytes": {"count": lambda b, h, n: b * h * n},
        "these are 8 bytes a number; a float32 takes 4": {"count": lambda b, h, n: 8 * b * h * n},
        "every head has a matrix of its own": {"count": lambda b, h, n: 4 * b * n},
        "every sequence of the batch has a matrix of its own": {"count": lambda b, h, n: 4 * h * n},
        "each head keeps several matrices: count `matrices`": {"count": lambda b, h, n: 4 * b * h},
        "a budget that is used to the last byte is enough": lambda budget, *sizes: longest(budget - 1, *sizes),
        "one token too many: round down, or it does not fit": lambda *a: longest(*a) + 1,
        "rounded up: round down, or it is too long": {"root": lambda budget, x: math.ceil(_side(budget, x))},
        "rounded to the nearest: round down, or it is too long": {"root": lambda budget, x: round(_side(budget, x))},
        "a number of tokens is whole: round down": {"root": _side},
    },
)
def check_longest(rng):
    batch, heads, matrices, S = rng.size(13, 20), rng.size(5, 8), rng.size(9, 12), rng.size(120, 400)
    rest = rng.turn([0, S // 3, S + S // 2])  # of the S + 1 + S numbers by which the next matrix is larger
    budget = 4 * batch * heads * matrices * (S * S + rest) + (rng.size(0, 3) if rest else 0)
    return {"budget": budget, "batch": batch, "heads": heads, "matrices": matrices}
