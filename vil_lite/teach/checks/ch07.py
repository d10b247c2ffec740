"""Checks of chapter 7: the ViL block, part by part."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 7.1


def block_diagonal(x, weight):
    """Reference: x (B, S, E), weight (n, b, b) as (block, out, in) -> (B, S, E); block j maps features j b to (j + 1) b."""
    n, b, _ = weight.shape
    return torch.einsum("noi,bsni->bsno", weight, x.unflatten(-1, (n, b))).flatten(-2)


def _interleaved(x, weight):
    n, b, _ = weight.shape
    return torch.einsum("noi,bsin->bson", weight, x.unflatten(-1, (b, n))).flatten(-2)


@exercise("each block of features is mapped by its own small matrix")
def check_block_diagonal(student, rng):
    n, b = rng.size(2, 5), rng.size(2, 5)
    inputs = {"x": rng.normal(rng.size(1, 3), rng.size(2, 6), n * b), "weight": rng.normal(n, b, b)}
    compare(
        student, block_diagonal, inputs,
        diagnose={
            "the blocks are transposed: weight is (block, out, in), so an output is a sum over the last index":
                lambda x, w: block_diagonal(x, w.mT),
            "the features of a block must be neighbours: unfold E to (n, b), not to (b, n)": _interleaved,
            "the features of a block must be neighbours: unfold E to (n, b), not to (b, n); and the blocks are transposed":
                lambda x, w: _interleaved(x, w.mT),
            "all blocks use the first matrix; block j has weight[j]":
                lambda x, w: block_diagonal(x, w[:1].expand_as(w)),
            "the blocks are added up; they stand side by side, each makes its own b outputs":
                lambda x, w: torch.einsum("noi,bsni->bso", w, x.unflatten(-1, (n, b))),
            "the two last axes still have to be joined to E = n * b":
                lambda x, w: block_diagonal(x, w).unflatten(-1, (n, b)),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 7.2


def causal_conv(x, weight, bias):
    """Reference: x (B, S, E), weight (E, K), bias (E,): y_t = bias + sum_j weight[:, j] x_{t - (K - 1) + j}."""
    K = weight.shape[1]
    padded = F.pad(x, (0, 0, K - 1, 0))
    return bias + sum(weight[:, j] * padded[:, j : j + x.shape[1]] for j in range(K))


def _shifted(x, weight, bias):
    K = weight.shape[1]
    padded = F.pad(x, (0, 0, K, 0))
    return bias + sum(weight[:, j] * padded[:, j : j + x.shape[1]] for j in range(K))


def _centred(x, weight, bias):
    K = weight.shape[1]
    padded = F.pad(x, (0, 0, K // 2, K - 1 - K // 2))
    return bias + sum(weight[:, j] * padded[:, j : j + x.shape[1]] for j in range(K))


@exercise("a convolution that does not look ahead")
def check_causal_conv(student, rng):
    B, S, E, K = rng.size(1, 3), rng.size(7, 10), rng.size(2, 5), rng.size(3, 5)
    inputs = {"x": rng.normal(B, S, E), "weight": rng.normal(E, K), "bias": rng.normal(E)}
    _not_ahead(student, inputs, S)
    compare(
        student, causal_conv, inputs,
        diagnose={
            "the taps are mirrored: the last one, weight[:, K - 1], belongs to the token itself":
                lambda x, w, b: causal_conv(x, w.flip(1), b),
            "every output is one token late: pad K - 1 zeros in front, not K": _shifted,
            "the bias is missing": lambda x, w, b: causal_conv(x, w, 0 * b),
            "all features use the same taps; feature e has weight[e]":
                lambda x, w, b: causal_conv(x, w[:1].expand_as(w), b),
            "the output is shorter than the input: the zeros in front of the first token are missing":
                lambda x, w, b: causal_conv(x, w, b)[:, K - 1 :],
            "the output is longer than the input: zeros go in front of the first token only":
                lambda x, w, b: causal_conv(F.pad(x, (0, 0, 0, K - 1)), w, b),
        },
    )  # fmt: skip


def _not_ahead(student, inputs, S):
    """Change the tokens from the middle on: earlier outputs must stay as they are."""
    half = S // 2
    later = inputs["x"].clone()
    later[:, half:] += 1
    before = attempt(student, *(v.clone() for v in inputs.values()))
    if not isinstance(before, torch.Tensor) or before.dim() != 3:
        return  # compare() says what is wrong with that
    after = attempt(student, later, inputs["weight"].clone(), inputs["bias"].clone())
    changed = (before - after)[:, :half].abs().amax((0, 2)) > 1e-6
    expect(
        not changed.any(),
        f"it looks ahead: output {int(changed.nonzero()[0]) if changed.any() else 0} changes when only the inputs "
        f"from token {half} on are changed. Zeros go in front of the first token, none behind the last",
    )


# ---------------------------------------------------------------- 7.3


def bias_for_span(span):
    """Reference: the bias b with 1 / (1 - sigmoid(b)) = span."""
    return math.log(span - 1)


@exercise("the bias of a forget gate for a wanted span")
def check_bias_for_span(student, rng):
    span = float(rng.uniform(3, 400))
    compare(
        student, bias_for_span, {"span": span}, rtol=1e-5,
        diagnose={
            "the span is 1 + e^b, not e^b": math.log(span),
            "this is the gate σ(b); the bias b is wanted": 1 - 1 / span,
            "this is log σ(b); the bias b is wanted: undo the sigmoid": math.log(1 - 1 / span),
            "the sign is wrong: a longer memory needs a larger bias": -math.log(span - 1),
            "this is the logarithm to base 10; the natural one is wanted": math.log10(span - 1),
            "this is e^b; take the logarithm": span - 1,
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 7.4


def gates(q, k, v, weight, bias):
    """Reference: q, k, v (H, B, S, d), weight (H, 3 H d), bias (H,) -> pre-activations (H, B, S)."""
    side_by_side = [x.permute(1, 2, 0, 3).flatten(2) for x in (q, k, v)]  # (B, S, H d) each
    return (torch.cat(side_by_side, dim=-1) @ weight.T + bias).permute(2, 0, 1)


def _own_head(q, k, v, weight, bias):
    H, d = q.shape[0], q.shape[-1]
    mask = torch.eye(H).repeat_interleave(d, dim=1).repeat(1, 3)  # a head's own features in q, in k and in v
    return gates(q, k, v, weight * mask, bias)


def _reshaped(q, k, v, weight, bias):
    H, B, S, d = q.shape
    return (torch.cat([x.reshape(B, S, H * d) for x in (q, k, v)], dim=-1) @ weight.T + bias).permute(2, 0, 1)


def _by_feature(q, k, v, weight, bias):
    side_by_side = [x.permute(1, 2, 3, 0).flatten(2) for x in (q, k, v)]
    return (torch.cat(side_by_side, dim=-1) @ weight.T + bias).permute(2, 0, 1)


@exercise("one gate of the cell")
def check_gates(student, rng):
    H, B, S, d = rng.size(2, 4), rng.size(2, 3), rng.size(3, 6), rng.size(2, 5)
    q, k, v = (rng.normal(H, B, S, d) for _ in range(3))
    inputs = {"q": q, "k": k, "v": v, "weight": rng.normal(H, 3 * H * d), "bias": rng.normal(H)}
    compare(
        student, gates, inputs,
        diagnose={
            "tokens and heads are mixed: the head axis has to be moved next to d (permute) before the two are joined": _reshaped,
            "each gate sees its own head only; it reads q, k and v of all heads": _own_head,
            "the order is q, k, v": lambda q, k, v, w, b: gates(k, q, v, w, b),
            "the bias is missing: and with weights that start at 0, the bias is all there is":
                lambda q, k, v, w, b: gates(q, k, v, w, 0 * b),
            "a sigmoid is applied; the cell wants pre-activations": lambda *a: gates(*a).sigmoid(),
            "an exponential is applied; the cell wants pre-activations": lambda *a: gates(*a).exp(),
            "the result is (B, S, H); the cell wants the heads in front, (H, B, S)": lambda *a: gates(*a).permute(1, 2, 0),
            "features are joined as (d, heads); within q, k and v the features of head 0 come first, then those of head 1":
                _by_feature,
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 7.5


def vil_block(x, parts, reverse):
    """Reference: the whole block of version 1, from its parts.  x: (B, S, d) -> (B, S, d)."""
    return _assemble(x, parts, reverse)


def _assemble(x, p, reverse, **wrong):
    """The block, or with one of the mistakes in `wrong` built in."""
    y = x if "no norm" in wrong else p.norm(x)
    y = y.flip(1) if reverse else y
    x_m, z = p.proj_up(y).chunk(2, dim=-1)
    x_m, z = (z, x_m) if "exchanged" in wrong else (x_m, z)
    c = p.conv(x_m)
    c = c if "no silu" in wrong else F.silu(c)
    v = p.v_proj(c if "v from c" in wrong else x_m)
    read = x_m if "q, k from x_m" in wrong else c
    h = p.cell(p.q_proj(read), p.k_proj(read), v)
    gate = torch.sigmoid(z) if "sigmoid" in wrong else z if "linear gate" in wrong else F.silu(z)
    skip = p.skip * (x_m if "skip of x_m" in wrong else c)
    if "late skip" in wrong:
        h = h * gate + skip
    else:
        h = (h if "no skip" in wrong else h + skip) * gate
    y = p.proj_down(h)
    y = y.flip(1) if reverse and "left reversed" not in wrong else y
    if "no residual" in wrong:
        return y
    return y + (p.norm(x) if "residual of norm" in wrong else x)


MISTAKES = {
    "v from c": "v is made of c; it is made of x_m, what the convolution has not touched",
    "q, k from x_m": "q and k are made of x_m; they are made of c, after convolution and SiLU",
    "no silu": "the SiLU after the convolution is missing",
    "skip of x_m": "the skip carries c, not x_m",
    "no skip": "the learnable skip is missing",
    "late skip": "the skip is added after the gate; it is added before: (h + skip * c) * SiLU(z)",
    "sigmoid": "the gate is a sigmoid; it is SiLU(z)",
    "linear gate": "the gate is z itself; it is SiLU(z)",
    "exchanged": "x_m and z are exchanged: x_m is the first half of what proj_up returns",
    "left reversed": "the order of the tokens is not restored: undo the reversal before the residual",
    "no residual": "the residual is missing",
    "residual of norm": "the residual adds the normalised tokens; it adds x itself",
    "no norm": "the norm at the entrance is missing",
}


def _random_parts(rng, d):
    """Functions with the right shapes, and simple insides in which no two steps can be exchanged unnoticed."""
    E = 2 * d
    up, down = rng.normal(d, 2 * E), rng.normal(E, d)
    q, k, v = (rng.normal(E) for _ in range(3))
    return SimpleNamespace(
        norm=lambda x: F.layer_norm(x, (d,)),
        proj_up=lambda x: x @ up,
        conv=lambda x: x + 0.5 * F.pad(x, (0, 0, 1, 0))[:, :-1],
        q_proj=lambda x: x * q,
        k_proj=lambda x: x * k,
        v_proj=lambda x: x * v,
        cell=lambda q, k, v: torch.tanh(q) * (torch.tanh(k) * v).cumsum(1),
        skip=rng.normal(E),
        proj_down=lambda x: x @ down,
    )


@exercise("the block, assembled", cases=6)
def check_vil_block(student, rng):
    d = rng.size(3, 6)
    reverse = bool(rng.size(0, 1))
    inputs = {"x": rng.normal(rng.size(1, 3), rng.size(4, 7), d), "parts": _random_parts(rng, d), "reverse": reverse}
    wrong = {
        message: lambda x, parts, reverse, key=key: _assemble(x, parts, reverse, **{key: True})
        for key, message in MISTAKES.items()
    }
    wrong["`reverse` is ignored: odd blocks read the tokens from the last to the first"] = (
        lambda x, parts, reverse: _assemble(x, parts, False)
    )
    wrong["the tokens are reversed although `reverse` is False"] = lambda x, parts, reverse: _assemble(x, parts, True)
    compare(student, vil_block, inputs, diagnose=wrong)


# ---------------------------------------------------------------- 7.6


def v2_parameters(d):
    """Reference: parameters of a version 2 ViL block of width d."""
    return 6 * d**2 + 111 * d + 8


@exercise("the parameters of a version 2 block")
def check_v2_parameters(student, rng):
    d = 8 * rng.size(2, 60)

    def off(by, why):
        return {why: lambda d: v2_parameters(d) + by(d)}

    compare(
        student, v2_parameters, {"d": d}, rtol=1e-12, atol=0,
        diagnose={
            "this is version 1; version 2 has a 3 × 3 convolution and biases": lambda d: 6 * d**2 + 87 * d + 8,
            **off(lambda d: -10 * d, "the convolution still has 4 taps; 3 × 3 are 9, for each of 2d features"),
            **off(lambda d: -6 * d, "the biases of q, k and v are missing: 2d each"),
            **off(lambda d: -5 * d, "the biases of proj_up (4d) and proj_down (d) are missing"),
            **off(lambda d: -4 * d, "the bias of proj_up is missing: one for each of its 4d outputs"),
            **off(lambda d: -3 * d, "the biases of the two norms are missing: d and 2d"),
            **off(lambda d: -2 * d, "a bias of 2d is missing: that of the output norm, of q, k or v, or of the convolution?"),
            **off(lambda d: -d, "a bias of d is missing: that of the first norm, or of proj_down?"),
            **off(lambda d: 8, "the gates had their biases already in version 1: they are counted twice"),
            **off(lambda d: 2 * d, "2d too many: does the learnable skip have a bias, or is the convolution's counted twice?"),
        },
    )  # fmt: skip
