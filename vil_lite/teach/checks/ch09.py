"""Checks of chapter 9: pooling."""

import numpy as np
import torch

from ._base import compare, exercise

NAMES = ("avg", "middle_patch", "bilateral_avg", "bilateral_concat")

# ---------------------------------------------------------------- 9.1


def pool(tokens, name):
    """Reference: tokens (B, S, d) -> one vector (B, d), or (B, 2 d) for "bilateral_concat"."""
    S = tokens.shape[1]
    if name == "bilateral_concat":
        return tokens[:, [0, S - 1]].flatten(1)
    take = {"avg": range(S), "middle_patch": [S // 2], "bilateral_avg": [0, S - 1]}[name]
    return tokens[:, list(take)].mean(1)


def _only(which, wrong):
    """`wrong` for the pooling `which`; right for the others."""
    return lambda tokens, name: wrong(tokens) if name == which else pool(tokens, name)


@exercise("tokens pooled to one vector", cases=8)
def check_pool(student, rng):
    S = 2 * rng.size(3, 6) + rng.size(0, 1)
    for name in NAMES:
        inputs = {"tokens": rng.normal(rng.size(2, 4), S, rng.size(2, 5)), "name": name}
        compare(
            student, pool, inputs,
            diagnose={
                "the mean is taken over the features; it is over the tokens, axis 1": lambda x, n: x.mean(-1),
                "the mean is taken over the images of the batch; it is over the tokens, axis 1": lambda x, n: x.mean(0),
                "the axis of the tokens is still there; the result has two axes": lambda x, n: pool(x, n)[:, None],
                "the middle is token S // 2, counted from 0": _only("middle_patch", lambda x: x[:, S // 2 - 1]),
                "bilateral AVG is the mean of both ends, not their sum":
                    _only("bilateral_avg", lambda x: x[:, 0] + x[:, -1]),
                "bilateral AVG takes the first and the last token, not all of them":
                    _only("bilateral_avg", lambda x: x.mean(1)),
                "first and last are exchanged: the first token comes first":
                    _only("bilateral_concat", lambda x: torch.cat([x[:, -1], x[:, 0]], -1)),
                "the ends are stacked as images: join them along the last axis":
                    _only("bilateral_concat", lambda x: torch.cat([x[:, 0], x[:, -1]])),
                "the ends still stand on an axis of their own: (B, 2, d); (B, 2 d) is wanted":
                    _only("bilateral_concat", lambda x: torch.stack([x[:, 0], x[:, -1]], 1)),
            },
        )  # fmt: skip


# ---------------------------------------------------------------- 9.2


def with_cls(tokens, cls):
    """Reference: tokens (B, S, d), cls (d,) -> (B, S + 1, d) with cls in place S // 2."""
    return _inserted(tokens, cls, tokens.shape[1] // 2)


def _inserted(tokens, cls, at):
    token = cls.repeat(len(tokens), 1, 1)
    return torch.cat((tokens[:, :at], token, tokens[:, at:]), 1)


def _replaced(tokens, cls):
    out = tokens.clone()
    out[:, tokens.shape[1] // 2] = cls
    return out


@exercise("a [CLS] token in the middle")
def check_with_cls(student, rng):
    S, d = rng.size(5, 10), rng.size(2, 5)
    compare(
        student, with_cls, {"tokens": rng.normal(rng.size(2, 4), S, d), "cls": rng.normal(d)},
        diagnose={
            "the token stands in front; S // 2 patches come before it": lambda x, c: _inserted(x, c, 0),
            "the token stands at the end; S // 2 patches come before it": lambda x, c: _inserted(x, c, S),
            "one patch too many before the token: S // 2 of them": lambda x, c: _inserted(x, c, S // 2 + 1),
            "one patch too few before the token: S // 2 of them": lambda x, c: _inserted(x, c, S // 2 - 1),
            "the middle patch is overwritten; the token is inserted, and no patch is lost": _replaced,
            "the middle patch is lost: the second part starts at S // 2":
                lambda x, c: torch.cat([with_cls(x, c)[:, : S // 2 + 1], x[:, S // 2 + 1 :]], 1),
            "the token is added to the patches; it stands between them": lambda x, c: x + c,
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 9.3


def middle_of(H, W):
    """Reference: (row, column) of token S // 2 on a grid of H rows and W columns."""
    t = (H * W) // 2
    return t // W, t % W


@exercise("where the middle of the sequence lies", cases=8)
def check_middle_of(student, rng):
    H = rng.size(3, 9)
    W = rng.choice([w for w in range(3, 12) if w != H])  # not square: rows and columns cannot be confused unnoticed
    compare(
        student, middle_of, {"H": H, "W": W}, rtol=0, atol=0,
        diagnose={
            "this is the middle of the image; token S // 2 is asked for": lambda H, W: (H // 2, W // 2),
            "a row has W tokens: divide by W, not by H": lambda H, W: divmod(H * W // 2, H),
            "row and column are exchanged": lambda H, W: middle_of(H, W)[::-1],
            "rows and columns count from 0": lambda H, W: tuple(n + 1 for n in middle_of(H, W)),
            "this is token S // 2 - 1; tokens count from 0": lambda H, W: divmod(H * W // 2 - 1, W),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 9.4


def tail_parameters(name, d, classes):
    """Reference: parameters of the norm of the pooled vector, the head and the [CLS] token, if any."""
    width = d * (2 if name == "bilateral_concat" else 1)
    return 2 * width + width * classes + classes + (d if name == "middle_cls" else 0)


@exercise("the parameters of a tail", cases=3)
def check_tail_parameters(student, rng):
    d, classes = 16 * rng.size(2, 20), rng.size(10, 1000)

    def off(by):
        return lambda name, d, classes: tail_parameters(name, d, classes) + by(name, d, classes)

    def width(name, d):
        return 2 * d if name == "bilateral_concat" else d

    for name in (*NAMES, "middle_cls"):
        compare(
            student, tail_parameters, {"name": name, "d": d, "classes": classes}, rtol=1e-12, atol=0,
            diagnose={
                "concat gives the head 2 d inputs, and the norm too":
                    lambda n, d, k: tail_parameters("avg" if n == "bilateral_concat" else n, d, k),
                "the norm of the concatenated vector has 2 d features as well":
                    off(lambda n, d, k: -2 * d if n == "bilateral_concat" else 0),
                "the learned token is missing: d parameters": off(lambda n, d, k: -d if n == "middle_cls" else 0),
                "the bias of the head is missing: one for each class": off(lambda n, d, k: -k),
                "the bias of the norm is missing": off(lambda n, d, k: -width(n, d)),
                "the norm is missing: weight and bias": off(lambda n, d, k: -2 * width(n, d)),
                "only middle_cls has a learned token": off(lambda n, d, k: d if n != "middle_cls" else 0),
            },
        )  # fmt: skip


# ---------------------------------------------------------------- 9.5


def paired(a, b):
    """Reference: mean of a - b over the seeds, and its standard error."""
    difference = np.array(a, dtype=float) - np.array(b, dtype=float)
    n = len(difference)
    mean = difference.sum() / n
    return float(mean), float((((difference - mean) ** 2).sum() / (n - 1) / n) ** 0.5)


def _error(of):
    return lambda a, b: (float((a - b).mean()), float(of(a, b)))


@exercise("a difference with its standard error, seed by seed")
def check_paired(student, rng):
    n = rng.size(3, 7)
    a, b = (rng.uniform(60, 90, n).double().numpy() for _ in range(2))
    compare(
        student, paired, {"a": a, "b": b},
        diagnose={
            "the sign is wrong: a - b": lambda a, b: paired(b, a),
            "the standard deviation divides by n - 1: ddof=1": _error(lambda a, b: (a - b).std() / n**0.5),
            "this is the standard deviation of one difference; that of their mean is smaller by the root of n":
                _error(lambda a, b: (a - b).std(ddof=1)),
            "divide by the root of n, not by n": _error(lambda a, b: (a - b).std(ddof=1) / n),
            "the pairs are torn apart: take the standard deviation of the differences, not those of a and b":
                _error(lambda a, b: ((a.var(ddof=1) + b.var(ddof=1)) / n) ** 0.5),
            "this is the variance; take the root": _error(lambda a, b: (a - b).var(ddof=1) / n),
        },
    )  # fmt: skip
