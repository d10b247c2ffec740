"""Checks of the project of Part 1: the mLSTM with a sigmoid input gate."""

import math

import torch
from torch.nn.functional import logsigmoid

from ._base import attempt, compare, exercise, expect
from .ch05 import watched

# ---------------------------------------------------------------- 1


def step(C, n, q, k, v, i, f):
    """Reference: one token of one head.  C (d, dv)  n (d)  q, k (d)  v (dv)  i, f ()  ->  h (dv), C, n."""
    return _step(C, n, q, k, v, i, f)


def _step(C, n, q, k, v, i, f, write=torch.sigmoid, keep=torch.sigmoid, write_n=None, keep_n=None, scale=True,
          bottom=lambda total: total.abs().clamp(min=1), early=False):
    """The reference with its pieces exchangeable, so that one piece can be wrong."""
    old = C, n
    C = keep(f) * C + write(i) * torch.outer(k, v)
    n = (keep_n or keep)(f) * n + (write_n or write)(i) * k
    query = q * q.shape[-1] ** -0.5 if scale else q
    C_read, n_read = old if early else (C, n)
    return (query @ C_read) / bottom(query @ n_read), C, n


@exercise("one step with a sigmoid input gate")
def check_step(student, rng):
    d, dv = rng.size(2, 5), rng.size(2, 5)
    one = torch.ones_like

    def inputs(loud):
        return {
            "C": loud * rng.normal(d, dv), "n": loud * rng.normal(d), "q": loud * rng.normal(d), "k": rng.normal(d),
            "v": rng.normal(dv), "i": rng.normal(), "f": rng.normal() + 1,
        }

    for loud in (0.2, 4):  # the floor decides: what is missing in the query shows; the normaliser: what is missing in n
        compare(
            student, step, inputs(loud), outputs=("h", "C", "n"),
            diagnose={
                "the input gate is still exponential; here it is sigmoid(i)": lambda *x: _step(*x, write=torch.exp),
                "i is a pre-activation: the gate is sigmoid(i)": lambda *x: _step(*x, write=lambda i: i),
                "f is a pre-activation: the gate is sigmoid(f)": lambda *x: _step(*x, keep=lambda f: f),
                "the normaliser is written without the input gate": lambda *x: _step(*x, write_n=one),
                "the normaliser does not forget": lambda *x: _step(*x, keep_n=one),
                "the query is not divided by sqrt(d)": lambda *x: _step(*x, scale=False),
                "the floor is missing: the denominator is max(|total|, 1)": lambda *x: _step(*x, bottom=lambda t: t),
                "the floor is missing, and the sign of the sum is lost": lambda *x: _step(*x, bottom=torch.abs),
                "the sign of the sum is kept: the denominator is max(|total|, 1)": lambda *x: _step(*x, bottom=lambda t: t.clamp(min=1)),
                "nothing divides: h is the numerator alone": lambda *x: _step(*x, bottom=one),
                "the old memory is read; a token is written before it is read": lambda *x: _step(*x, early=True),
                "the gates are tied (1 - f writes); here they are two numbers":
                    lambda C, n, q, k, v, i, f: _step(C, n, q, k, v, -f, f),
                "the order is h, C, n": lambda *x: (*_step(*x)[1:], _step(*x)[0]),
            },
        )


# ---------------------------------------------------------------- 2


def disguise(i):
    """Reference: the pre-activation with which the exponential cell becomes the sigmoid cell.  i: any shape."""
    return logsigmoid(i)


@exercise("the sigmoid in disguise")
def check_disguise(student, rng):
    shape = rng.size(1, 3), rng.size(3, 6)
    compare(
        student, disguise, {"i": 3 * rng.normal(*shape)},
        diagnose={
            "the library will take the exponential of this: give it the logarithm of the gate": torch.sigmoid,
            "this is i itself, and the gate becomes exp(i)": lambda i: i,
            "the sign of i is turned round: the gate would be 1 - sigmoid(i)": lambda i: logsigmoid(-i),
            "the sign is wrong: the logarithm of a number below 1 is negative": lambda i: -logsigmoid(i),
            "the logarithm is to base 10; the library takes e to this power": lambda i: torch.log10(i.sigmoid()),
            "log(1 + exp(i)) grows without bound; the gate ends at 1": lambda i: torch.log1p(i.exp()),
        },
    )
    quiet = attempt(student, torch.tensor([-200.0, 200.0]))
    expect(
        torch.as_tensor(quiet).isfinite().all(),
        "right for ordinary gates, but at i = -200 sigmoid(i) is 0 and its logarithm infinite: take logsigmoid",
    )


# ---------------------------------------------------------------- 3


def parallel(q, k, v, i, f):
    """Reference: all tokens at once.  q, k (..., S, d)  v (..., S, dv)  i, f (..., S)  ->  h (..., S, dv)."""
    return _parallel(q, k, v, i, f)


def weights(i, f):
    """D (..., S, S): what is left, when row t reads, of what column s wrote."""
    return _weights(i, f)


def _weights(i, f, log_write=logsigmoid, log_keep=logsigmoid, diagonal=0, own=False, row=False, masked=-torch.inf):
    log_f = log_keep(f)
    F = log_f.cumsum(-1)
    written = log_write(i)[..., :, None] if row else log_write(i)[..., None, :]
    log_D = F[..., :, None] - F[..., None, :] + written
    log_D = log_D + log_f[..., None, :] if own else log_D
    past = torch.ones(log_D.shape[-2:], dtype=torch.bool).tril(diagonal)
    return log_D.masked_fill(~past, masked).exp()


def _parallel(q, k, v, i, f, scale=True, bottom=lambda total: total.abs().clamp(min=1), **pieces):
    scores = (q @ k.mT) * _weights(i, f, **pieces) * (q.shape[-1] ** -0.5 if scale else 1)
    return scores @ v / bottom(scores.sum(-1, keepdim=True))


def _tokens(rng, S):
    H, d, dv = rng.size(1, 3), rng.size(2, 4), rng.size(2, 4)
    return {
        "q": 3 * rng.normal(H, S, d), "k": rng.normal(H, S, d), "v": rng.normal(H, S, dv),
        "i": 2 * rng.normal(H, S), "f": rng.normal(H, S) + 1,
    }


@exercise("the parallel form")
def check_parallel(student, rng):
    def wrong(**pieces):
        return lambda *x: _parallel(*x, **pieces)

    compare(
        student, parallel, _tokens(rng, rng.size(5, 8)), rtol=1e-3, atol=1e-5,
        diagnose={
            "the mask is missing: row t must not see columns s > t": lambda q, k, v, i, f: _unmasked(q, k, v, i, f),
            "the masked places hold 1, as exp(0) does: put -inf into the logarithm or 0 into D": wrong(masked=0.0),
            "the mask is too strict: a token reads itself, s = t stays": wrong(diagonal=-1),
            "the token's own forget gate is counted too: what is written at s is first forgotten at s + 1": wrong(own=True),
            "the input gate belongs to the token that was written, the column s, not to the row": wrong(row=True),
            "the input gate is exponential: its logarithm is logsigmoid(i), not i": wrong(log_write=lambda i: i),
            "the input gate is missing: add logsigmoid(i_s), or multiply by sigmoid(i_s)": wrong(log_write=torch.zeros_like),
            "sigmoid(i) is added to the logarithm; add logsigmoid(i)": wrong(log_write=torch.sigmoid),
            "f is a pre-activation: the running sum is over logsigmoid(f)": wrong(log_keep=lambda f: f),
            "the query is not divided by sqrt(d)": wrong(scale=False),
            "the floor is missing: the denominator is max(|row sum|, 1)": wrong(bottom=lambda t: t),
            "the sign of the row sum is kept: the denominator is max(|row sum|, 1)": wrong(bottom=lambda t: t.clamp(min=1)),
            "nothing divides: h is the numerator alone": wrong(bottom=torch.ones_like),
        },
    )
    inputs = _tokens(rng, 400)
    h = attempt(student, *inputs.values())
    expect(
        h.isfinite().all(),
        "right for a few tokens, NaN for 400: a running product of gates underflows to 0, and 0 / 0 follows; sum logarithms",
    )
    expect(torch.allclose(h, parallel(*inputs.values()), rtol=1e-3, atol=1e-4), "right for a few tokens, wrong for 400")


def _unmasked(q, k, v, i, f):
    F = logsigmoid(f).cumsum(-1)
    scores = (q @ k.mT) * q.shape[-1] ** -0.5 * torch.exp(F[..., :, None] - F[..., None, :] + logsigmoid(i)[..., None, :])
    return scores @ v / scores.sum(-1, keepdim=True).abs().clamp(min=1)


# ---------------------------------------------------------------- 4


def chunkwise(q, k, v, i, f, L):
    """Reference: chunks of L, one after the other, from an empty memory.  Shapes as for parallel, with a head axis."""
    return _chunkwise(q, k, v, i, f, L)


def _chunkwise(q, k, v, i, f, L, fade_read=lambda F: F, fade_key=lambda F: F[..., -1:] - F, fade_memory=lambda F: F[..., -1],
               carry_n=True, early=False, whole=False, hand_on=True, bottom=lambda total: total.abs().clamp(min=1)):
    """The reference with its pieces exchangeable.  fade_*: log decays from F, the running sum inside the chunk."""
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
        total = scores.sum(-1, keepdim=True) + read * (query @ n_read[..., None])
        h.append((scores @ v_b + read * (query @ C_read)) / bottom(total))
        C, n = new if hand_on else (C, n)
    return torch.cat(h, dim=1)


@exercise("the chunkwise form", cases=6)
def check_chunkwise(student, rng):
    L = rng.size(2, 5)
    inputs = {**_tokens(rng, 3 * L + rng.size(0, L - 1)), "L": L}

    def wrong(**pieces):
        return lambda *x: _chunkwise(*x, **pieces)

    compare(
        student, chunkwise, inputs, rtol=1e-3, atol=1e-5,
        diagnose={
            "the memory is not handed on: every chunk starts empty": wrong(hand_on=False),
            "the memory does not fade while the chunk reads it: token t finds exp(F_t) of it": wrong(fade_read=torch.zeros_like),
            "the whole chunk reads the memory as it is at the chunk's end: token t finds exp(F_t) of it":
                wrong(fade_read=lambda F: F[..., -1:].expand_as(F)),
            "the keys do not fade to the end of the chunk: their log weight there is F_L - F_s + logsigmoid(i_s)":
                wrong(fade_key=torch.zeros_like),
            "the keys fade by what came before them (F_s); up to the end they fade by what comes after: F_L - F_s":
                wrong(fade_key=lambda F: F),
            "the memory does not fade over the chunk: exp(F_L) of it is left": wrong(fade_memory=lambda F: 0 * F[..., -1]),
            "the memory is brought up to date before the chunk reads it, so its own tokens count twice": wrong(early=True),
            "n is not handed on": wrong(carry_n=False),
            "the last chunk is shorter than L and is missing: range(0, S, L)": wrong(whole=True),
            "the floor is missing: the denominator is max(|total|, 1)": wrong(bottom=lambda t: t),
            "each part has its own denominator: add numerators, add totals, then divide once": _two_quotients,
        },
    )
    _, largest = watched(student, *_tokens(rng, 240).values(), 10)
    expect(largest < 240 * 240, "right, but an S x S matrix is built: form weights inside a chunk only")


def _two_quotients(q, k, v, i, f, L):
    """Inside and memory, each divided by its own total."""
    H, S, d = q.shape
    C, n, h = q.new_zeros(H, d, v.shape[-1]), q.new_zeros(H, d), []
    for start in range(0, S, L):
        q_b, k_b, v_b, i_b, f_b = (x[:, start : start + L] for x in (q, k, v, i, f))
        F, query = logsigmoid(f_b).cumsum(-1), q_b * d**-0.5
        read = torch.exp(F)[..., None]
        old = read * (query @ C) / (read * (query @ n[..., None])).abs().clamp(min=1)
        h.append(parallel(q_b, k_b, v_b, i_b, f_b) + old)
        weighted_k, memory = torch.exp(F[..., -1:] - F + logsigmoid(i_b))[..., None] * k_b, torch.exp(F[..., -1])
        C, n = memory[:, None, None] * C + weighted_k.mT @ v_b, memory[:, None] * n + weighted_k.sum(1)
    return torch.cat(h, dim=1)


# ---------------------------------------------------------------- 5


def shift_needed(loudest, error):
    """Reference: B such that exp(B) sigmoid(x - B) is exp(x) but for a relative error, for every x up to loudest."""
    return loudest + math.log((1 - error) / error)


@exercise("how far to shift", cases=6)
def check_shift_needed(student, rng):
    inputs = {"loudest": rng.uniform(1, 20).item(), "error": 10 ** -rng.uniform(0.6, 6).item()}
    compare(
        student, shift_needed, inputs, rtol=1e-6,
        diagnose={
            "the sign of the logit is wrong: a smaller error needs a larger shift": lambda x, e: x - math.log((1 - e) / e),
            "this is -B: the question is how far to the right the sigmoid moves": lambda x, e: -x - math.log((1 - e) / e),
            "the loudest token is left out: at x = loudest the sigmoid must not bend yet": lambda x, e: math.log((1 - e) / e),
            "at x = B the error is already one half: go further": lambda x, e: x,
            "the logarithm is to base 10; the gate is e to the power of x": lambda x, e: x + math.log10((1 - e) / e),
            "the error is a weight here; take its logarithm": lambda x, e: x + (1 - e) / e,
        },
    )
    compare(
        student, shift_needed, {"loudest": 3.0, "error": 0.25}, rtol=1e-6,
        diagnose={"the error is sigmoid(x - B), not exp(x - B): 1 - e is missing in the logarithm": lambda x, e: x - math.log(e)},
    )


# ---------------------------------------------------------------- 6


def revise(distance, value, sharpness, bias, floor):
    """Reference: the hand-set cell with gates sigmoid(bias - sharpness distance), nothing forgotten.  (B, S) -> (B, S)."""
    return _revise(distance, value, sharpness, bias, floor)


def _revise(distance, value, sharpness, bias, floor, gate=torch.sigmoid, sign=-1, run=lambda x: x.cumsum(-1)):
    w = gate(bias + sign * sharpness * distance)
    n = run(w)
    return run(w * value) / (n.clamp(min=1) if floor else n)


@exercise("a hand-set sigmoid cell that revises", cases=6)
def check_revise(student, rng):
    shape = rng.size(2, 4), rng.size(4, 8)
    inputs = {
        "distance": rng.uniform(0, 1, *shape), "value": rng.uniform(0, 1, *shape),
        "sharpness": rng.uniform(3, 8).item(), "bias": rng.uniform(0.5, 2).item(), "floor": rng.choice([False, True]),
    }

    def wrong(**pieces):
        return lambda *x: _revise(*x, **pieces)

    def total(x):
        return x.sum(-1, keepdim=True).expand_as(x)

    compare(
        student, revise, inputs,
        diagnose={
            "the sign is turned round: the far candidates are loud; near ones have to be": wrong(sign=1),
            "the gate is exponential; here it is a sigmoid": wrong(gate=torch.exp),
            "the pre-activation is used as the gate: it passes through a sigmoid": wrong(gate=lambda x: x),
            "the future is read: h_t is made of the candidates up to t (cumsum)": wrong(run=total),
            "the bias is missing": lambda d, v, s, b, fl: _revise(d, v, s, 0, fl),
            "the bias is multiplied by the sharpness: the gate is sigmoid(bias - sharpness * distance)":
                lambda d, v, s, b, fl: _revise(d, v, s, s * b, fl),
            "floor turns the maximum on, here it is the wrong way round": lambda d, v, s, b, fl: _revise(d, v, s, b, not fl),
            "nothing divides: h is the sum alone": lambda d, v, s, b, fl: (torch.sigmoid(b - s * d) * v).cumsum(-1),
        },
    )
