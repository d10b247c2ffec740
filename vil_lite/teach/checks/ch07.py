"""Exercises of chapter 7: the ViL block, part by part."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from ._base import exercise, expect, watched


# ---------------------------------------------------------------- 7.1
def causal_conv(x, weight, bias, *, front=lambda K: K - 1, behind=lambda K: 0):
    """x (B, S, E), weight (E, K), bias (E,): y_t = bias + sum_j weight[:, j] x_{t - (K - 1) + j}."""
    K = weight.shape[1]
    padded = F.pad(x, (0, 0, front(K), behind(K)))
    return bias + sum(weight[:, j] * padded[:, j : padded.shape[1] - K + 1 + j] for j in range(K))


_AHEAD = "it looks ahead: zeros go in front of the first token, none behind the last"


@exercise(
    "7.1",
    "a convolution that does not look ahead",
    causal_conv,
    mistakes={
        "the taps are mirrored: the last one is that of the token itself": lambda x, w, b: causal_conv(x, w.flip(1), b),
        "one token late: pad K - 1 zeros in front, not K": lambda x, w, b: causal_conv(F.pad(x, (0, 0, 1, -1)), w, b),
        "the bias is missing": lambda x, w, b: causal_conv(x, w, 0 * b),
        "all features use one row; feature e has weight[e]": lambda x, w, b: causal_conv(x, w[:1].expand_as(w), b),
        "the output is shorter than the input: the zeros in front are missing": {"front": lambda K: 0},
        "the output is longer than the input: zeros go in front of the first token only": {"behind": lambda K: K - 1},
        _AHEAD: {"front": lambda K: K // 2, "behind": lambda K: K - 1 - K // 2},
    },
)
def check_causal_conv(rng):
    B, S, E, K = rng.size(1, 3), rng.size(7, 10), rng.size(2, 5), rng.turn([3, 4, 5])
    return {"x": rng.normal(B, S, E), "weight": rng.normal(E, K), "bias": rng.normal(E)}


# ---------------------------------------------------------------- 7.2
def block_diagonal(x, weight, *, of=slice(None), inside=1, join=lambda y: y.flatten(-2)):
    """x (B, S, E), weight (n, b, b) as (block, out, in) -> (B, S, E); block j maps features j b to (j + 1) b."""
    n, b, _ = weight.shape
    parts = x.unflatten(-1, (n, b)) if inside else x.unflatten(-1, (b, n)).mT
    made = torch.einsum("noi,bsni->bsno", weight[of].expand_as(weight), parts)
    return join(made if inside else made.mT)


_A_LARGE_MATRIX = "the numbers are right, but a matrix of E × E is made; x.unflatten(-1, (n, b)) keeps the blocks small"
_A_LOOP = "the numbers are right, but there is a loop over tokens"


def _by_tokens(x, weight):
    return torch.stack([block_diagonal(x[:, t : t + 1], weight)[:, 0] for t in range(x.shape[1])], 1)


@exercise(
    "7.2",
    "each block of features is mapped by its own small matrix",
    block_diagonal,
    mistakes={
        "the blocks are transposed: weight is (block, out, in); sum over `in`": lambda x, w: block_diagonal(x, w.mT),
        "the features of a block must be neighbours: unfold E to (n, b), not to (b, n)": {"inside": 0},
        "E is unfolded to (b, n), and the blocks are transposed": lambda x, w: block_diagonal(x, w.mT, inside=0),
        "all blocks use the first matrix; block j has weight[j]": {"of": slice(1)},
        "the blocks are added up; they stand side by side, each makes its own b outputs": {"join": lambda y: y.sum(-2)},
        "the last two axes still have to be joined to E = n * b": {"join": lambda y: y},
        "the last two axes are joined in the wrong order": {"join": lambda y: y.mT.flatten(-2)},
        _A_LARGE_MATRIX: lambda x, w: x @ torch.block_diag(*w).mT,
        _A_LOOP: _by_tokens,
    },
)
def check_block_diagonal(rng, student):
    n, b = rng.size(2, 5), rng.size(2, 5)
    yield {"x": rng.normal(rng.size(1, 3), rng.size(2, 6), n * b), "weight": rng.normal(n, b, b)}
    if rng.case == 0:
        few, many = (watched(student, rng.normal(1, S, 64), rng.normal(16, 4, 4)) for S in (2, 32))
        expect(few.largest < 64 * 64, _A_LARGE_MATRIX)
        expect(many.operations <= few.operations + 4, _A_LOOP)


# ---------------------------------------------------------------- 7.3
def gates(q, k, v, weight, bias, *, joined=lambda x: x.permute(1, 2, 0, 3).flatten(2)):
    """q, k, v (num_heads, B, S, d), weight (num_heads, 3 num_heads d), bias (num_heads,) -> (num_heads, B, S)."""
    side_by_side = torch.cat([joined(x) for x in (q, k, v)], dim=-1)  # (B, S, 3 num_heads d)
    return (side_by_side @ weight.T + bias).permute(2, 0, 1)


def _own_head(q, k, v, weight, bias):
    num_heads, d = q.shape[0], q.shape[-1]
    mask = torch.eye(num_heads).repeat_interleave(d, dim=1).repeat(1, 3)  # a head's own features in q, in k and in v
    return gates(q, k, v, weight * mask, bias)


@exercise(
    "7.3",
    "one gate of the cell",
    gates,
    mistakes={
        "tokens and heads are mixed: permute before you join them": {"joined": lambda x: x.reshape(*x.shape[1:3], -1)},
        "each gate sees its own head only; it reads q, k and v of all heads": _own_head,
        "the order is q, k, v": lambda q, k, v, w, b: gates(k, q, v, w, b),
        "the order is q, k, v, and here it is v, k, q": lambda q, k, v, w, b: gates(v, k, q, w, b),
        "the bias is missing; with weights that start at 0, it is all there is": lambda *x: gates(*x[:4], 0 * x[4]),
        "a sigmoid is applied; the cell wants pre-activations": lambda *a: gates(*a).sigmoid(),
        "an exponential is applied; the cell wants pre-activations": lambda *a: gates(*a).exp(),
        "the result is (B, S, num_heads); the cell wants the heads in front": lambda *a: gates(*a).permute(1, 2, 0),
        "features are joined as (d, heads); wanted: (heads, d)": {"joined": lambda x: x.permute(1, 2, 3, 0).flatten(2)},
    },
)
def check_gates(rng):
    num_heads, B, S, d = rng.size(2, 4), rng.size(2, 3), rng.size(3, 6), rng.size(2, 5)
    q, k, v = (rng.normal(num_heads, B, S, d) for _ in range(3))
    return {"q": q, "k": k, "v": v, "weight": rng.normal(num_heads, 3 * num_heads * d), "bias": rng.normal(num_heads)}


# ---------------------------------------------------------------- 7.4
def bias_for_span(span):
    """The bias b with 1 / (1 - sigmoid(b)) = span."""
    return math.log(span - 1)


@exercise(
    "7.4",
    "the bias of a forget gate for a wanted span",
    bias_for_span,
    rtol=1e-5,
    mistakes={
        "the span is 1 + e^b, not e^b": math.log,
        "this is the gate σ(b); the bias b is wanted": lambda span: 1 - 1 / span,
        "this is log σ(b); the bias b is wanted: undo the sigmoid": lambda span: math.log(1 - 1 / span),
        "the sign is wrong: a longer memory needs a larger bias": lambda span: -bias_for_span(span),
        "this is the logarithm to base 10; the natural one is wanted": lambda span: math.log10(span - 1),
        "this is the logarithm to base 2; the natural one is wanted": lambda span: math.log2(span - 1),
        "this is e^b; take the logarithm": lambda span: span - 1,
        "a span below 2 needs a negative bias: do not cut it off at 0": lambda span: max(bias_for_span(span), 0.0),
    },
)
def check_bias_for_span(rng):
    # Below 2 the bias is negative.
    return {"span": float(rng.turn([rng.uniform(3, 400), rng.uniform(1.1, 1.9)]))}


# ---------------------------------------------------------------- 7.5
def vil_block(
    x,
    parts,
    reverse,
    *,
    norm=lambda norm, x: norm(x),
    exchanged=False,
    act=F.silu,
    qk=1,
    v=0,
    skip=1,
    gate=lambda h, skip, z: (h + skip) * F.silu(z),
    back=True,
    with_z=True,
    with_c=True,
    residual=lambda x, normed: x,
):
    """The whole block of version 1, from its parts.  x: (B, S, dim) -> (B, S, dim).

    qk, v, skip: what each is made of, x_m (0) or c (1).   with_z, with_c: is it in the order of h where it meets h?
    """
    y = norm(parts.norm, x)
    y = y.flip(1) if reverse else y
    x_m, z = parts.proj_up(y).chunk(2, dim=-1)[:: -1 if exchanged else 1]
    z = z.flip(1) if reverse and not with_z else z
    two = x_m, act(parts.conv(x_m))
    h = parts.cell(parts.q_proj(two[qk]), parts.k_proj(two[qk]), parts.v_proj(two[v]))
    skipped = parts.skip * two[skip]
    skipped = skipped.flip(1) if reverse and not with_c else skipped
    y = parts.proj_down(gate(h, skipped, z))
    y = y.flip(1) if reverse and back else y
    return residual(x, parts.norm(x)) + y


def _random_parts(rng, dim):
    """Functions with the right shapes, and simple insides in which no two steps can be exchanged unnoticed."""
    E = 2 * dim
    up, down = rng.normal(dim, 2 * E), rng.normal(E, dim)
    q, k, v = (rng.normal(E) for _ in range(3))
    return SimpleNamespace(
        norm=lambda x: F.layer_norm(x, (dim,)),
        proj_up=lambda x: x @ up,
        conv=lambda x: x + 0.5 * F.pad(x, (0, 0, 1, 0))[:, :-1],
        q_proj=lambda x: x * q,
        k_proj=lambda x: x * k,
        v_proj=lambda x: x * v,
        cell=lambda q, k, v: torch.tanh(q) * (torch.tanh(k) * v).cumsum(1),
        skip=rng.normal(E),
        proj_down=lambda x: x @ down,
    )


@exercise(
    "7.5",
    "the block, assembled",
    vil_block,
    cases=4,
    mistakes={
        "v is made from c; make it from x_m, which the convolution has not touched": {"v": 1},
        "q and k are made from x_m; make them from c, after convolution and SiLU": {"qk": 0},
        "the SiLU after the convolution is missing": {"act": lambda x: x},
        "the skip carries c, not x_m": {"skip": 0},
        "the learnable skip is missing": {"gate": lambda h, skip, z: h * F.silu(z)},
        "the skip is added after the gate: (h + skip * c) * SiLU(z)": {"gate": lambda h, skip, z: h * F.silu(z) + skip},
        "the gate is a sigmoid; SiLU(z) is wanted": {"gate": lambda h, skip, z: (h + skip) * z.sigmoid()},
        "the gate is z itself; SiLU(z) is wanted": {"gate": lambda h, skip, z: (h + skip) * z},
        "the gate is missing: (h + skip * c) * SiLU(z)": {"gate": lambda h, skip, z: h + skip},
        "x_m and z are exchanged: x_m is the first half of what proj_up returns": {"exchanged": True},
        "the order of the tokens is not restored: undo the reversal before the residual": {"back": False},
        "h is still reversed where it meets the gate, and z is not: reverse both, or neither": {"with_z": False},
        "h is never put back: it meets z, and then x, in another order than theirs": {"back": False, "with_z": False},
        "h is put back before the skip is added, and c is still reversed: add them first": {"with_c": False},
        "the residual is missing": {"residual": lambda x, normed: 0},
        "the residual adds the normalised tokens; add x itself": {"residual": lambda x, normed: normed},
        "the norm at the entrance is missing": {"norm": lambda norm, x: x},
        "`reverse` is ignored: odd blocks begin with the last token": lambda x, p, reverse: vil_block(x, p, False),
        "the tokens are reversed although `reverse` is False": lambda x, p, reverse: vil_block(x, p, True),
        "`reverse` is the wrong way round": lambda x, p, reverse: vil_block(x, p, not reverse),
    },
)
def check_vil_block(rng):
    dim = rng.size(3, 6)
    x = rng.normal(rng.size(1, 3), rng.size(4, 7), dim)
    return {"x": x, "parts": _random_parts(rng, dim), "reverse": rng.turn([False, True])}


# ---------------------------------------------------------------- 7.6
def v2_parameters(dim, *, off=lambda d: 0):
    """Parameters of a version 2 ViL block of width dim."""
    return 6 * dim**2 + 111 * dim + 8 + off(dim)


@exercise(
    "7.6",
    "the parameters of a version 2 block",
    v2_parameters,
    rtol=1e-12,
    atol=0,
    mistakes={
        "this is version 1; version 2 has a 3 × 3 convolution and biases": {"off": lambda d: -24 * d},
        "the convolution still has 4 taps; 3 × 3 are 9, for each of 2d features": {"off": lambda d: -10 * d},
        "the biases are missing: norm, proj_up, q, k, v, output norm, proj_down": {"off": lambda d: -14 * d},
        "the convolution runs over the features of x_m alone: 2d, not 4d": {"off": lambda d: 18 * d},
        "the biases of q, k and v are missing: 2d each": {"off": lambda d: -6 * d},
        "the biases of proj_up (4d) and proj_down (d) are missing": {"off": lambda d: -5 * d},
        "the bias of proj_up is missing: one for each of its 4d outputs": {"off": lambda d: -4 * d},
        "the biases of the two norms are missing: d and 2d": {"off": lambda d: -3 * d},
        "2d are missing: the bias of the output norm, of q, k or v, or of the convolution?": {"off": lambda d: -2 * d},
        "a bias of d is missing: that of the first norm, or of proj_down?": {"off": lambda d: -d},
        "the gates had their biases already in version 1: they are counted twice": {"off": lambda d: 8},
        "2d too many: does the skip have a bias, or is the convolution's counted twice?": {"off": lambda d: 2 * d},
    },
)
def check_v2_parameters(rng):
    return {"dim": 8 * rng.size(2, 60)}
