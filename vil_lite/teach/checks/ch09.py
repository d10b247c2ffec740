"""Exercises of chapter 9: pooling."""

import numpy as np
import torch

from ._base import exercise

NAMES = ("avg", "middle_patch", "bilateral_avg", "bilateral_concat")


# ---------------------------------------------------------------- 9.1
def pool(tokens, name, **instead):
    """Tokens (B, S, dim) -> one vector (B, dim), or (B, 2 dim) for "bilateral_concat".  instead: another rule for a name."""
    first, middle, last = tokens[:, 0], tokens[:, tokens.shape[1] // 2], tokens[:, -1]
    if name in instead:
        return instead[name](tokens)
    if name == "avg":
        return tokens.mean(1)
    if name == "middle_patch":
        return middle
    return (first + last) / 2 if name == "bilateral_avg" else torch.cat([first, last], -1)


@exercise(
    "9.1",
    "tokens pooled to one vector",
    pool,
    mistakes={
        "the mean is taken over the features; it is over the tokens, axis 1": {"avg": lambda x: x.mean(-1)},
        "the mean is taken over the images of the batch; it is over the tokens, axis 1": {"avg": lambda x: x.mean(0)},
        "the axis of the tokens is still there; the result has two axes": lambda x, name: pool(x, name)[:, None],
        "the middle is token S // 2 from 0": {"middle_patch": lambda x: x[:, (x.shape[1] - 1) // 2]},
        "this is the token before the middle, S // 2 from 0": {"middle_patch": lambda x: x[:, x.shape[1] // 2 - 1]},
        "bilateral AVG is the mean of both ends, not their sum": {"bilateral_avg": lambda x: x[:, 0] + x[:, -1]},
        "bilateral AVG takes the first and the last token, not all of them": {"bilateral_avg": lambda x: x.mean(1)},
        "first and last are exchanged": {"bilateral_concat": lambda x: torch.cat([x[:, -1], x[:, 0]], -1)},
        "the ends are stacked as images": {"bilateral_concat": lambda x: torch.cat([x[:, 0], x[:, -1]])},
        "the ends stand on an axis of their own": {"bilateral_concat": lambda x: x[:, [0, -1]]},
    },
)
def check_pool(rng):
    S = 2 * rng.size(3, 6) + rng.case % 2
    tokens = rng.normal(rng.size(2, 4), S, rng.size(2, 5))
    for name in NAMES:
        yield {"tokens": tokens, "name": name}


# ---------------------------------------------------------------- 9.2
def with_cls(tokens, cls, *, before=lambda S: S // 2, lost=0):
    """Tokens (B, S, dim), cls (dim,) -> (B, S + 1, dim) with cls in place S // 2."""
    n = before(tokens.shape[1])
    return torch.cat((tokens[:, :n], cls.repeat(len(tokens), 1, 1), tokens[:, n + lost :]), 1)


@exercise(
    "9.2",
    "a [CLS] token in the middle",
    with_cls,
    mistakes={
        "the token stands in front; S // 2 patches come before it": {"before": lambda S: 0},
        "the token stands at the end; S // 2 patches come before it": {"before": lambda S: S},
        "one patch too many before the token: S // 2 of them": {"before": lambda S: S // 2 + 1},
        "rounded up: S // 2 patches come before it": {"before": lambda S: (S + 1) // 2},
        "one patch too few before the token: S // 2 of them": {"before": lambda S: S // 2 - 1},
        "the middle patch is overwritten; the token is inserted, and no patch is lost": {"lost": 1},
        "a patch appears twice: the second part starts where the first one ended": {"lost": -1},
        "the token is added to the patches; it stands between them": lambda x, c: x + c,
    },
)
def check_with_cls(rng):
    S, dim = 2 * rng.size(3, 5) + rng.case % 2, rng.size(2, 5)
    return {"tokens": rng.normal(rng.size(2, 4), S, dim), "cls": rng.normal(dim)}


# ---------------------------------------------------------------- 9.3
def middle_of(H, W):
    """(row, column) of token S // 2 on a grid of H rows and W columns."""
    return divmod(H * W // 2, W)


@exercise(
    "9.3",
    "where the middle of the sequence lies",
    middle_of,
    rtol=0,
    atol=0,
    mistakes={
        "this is the middle of the image; token S // 2 is asked for": lambda H, W: (H // 2, W // 2),
        "a row has W tokens: divide by W, not by H": lambda H, W: divmod(H * W // 2, H),
        "row and column are exchanged": lambda H, W: middle_of(H, W)[::-1],
        "rows and columns count from 0": lambda H, W: tuple(n + 1 for n in middle_of(H, W)),
        "this is token S // 2 - 1; tokens count from 0": lambda H, W: divmod(H * W // 2 - 1, W),
        "this is token (S - 1) // 2; S // 2 is asked for": lambda H, W: divmod((H * W - 1) // 2, W),
        "the middle is rounded up; S // 2 rounds down": lambda H, W: divmod((H * W + 1) // 2, W),
    },
)
def check_middle_of(rng):
    # Even by even, where the middle begins a row; even by odd; odd by even, where it stands in a row; odd by odd.
    for H, W in ((0, 0), (0, 1), (1, 0), (1, 1)):
        H, W = H + 2 * rng.size(2, 4), W + 2 * rng.size(2, 5)
        yield {"H": H, "W": W + 2 * (H == W)}  # not square: rows and columns cannot be confused unnoticed


# ---------------------------------------------------------------- 9.4
def taken(name, S, *, middle=lambda S: S // 2):
    """The numbers of the tokens that a pooling takes."""
    if name == "avg":
        return list(range(S))
    return {"first": [0], "last": [S - 1], "middle_patch": [middle(S)]}.get(name, [0, S - 1])


def choose(
    known,
    matters,
    offered,
    *,
    take=taken,
    enough=lambda known, matters: known[:, matters].all(1),
    share=lambda informed: informed.double().mean(),
    better=lambda new, best: new > best,
):
    """Of the poolings offered, the one that takes the largest share of tokens which know all that matters; the first of equals.

    known: (S, S) bool, [t, s], token t can know patch s.  matters: (S,) bool.  offered: names.
    """
    informed = enough(known, matters)
    shares = {name: float(share(informed[take(name, len(known))])) for name in offered}
    best = offered[0]
    for name in offered[1:]:
        best = name if better(shares[name], shares[best]) else best
    return best


_WRONG_CHOICES: dict[str, dict] = {
    "rows and columns of `known` are exchanged: known[t, s], and t is the token that is pooled": {
        "enough": lambda known, matters: known[matters].all(0)
    },
    "to know one of the patches is not enough: a token has to know all that matter": {
        "enough": lambda known, matters: known[:, matters].any(1)
    },
    "a token that knows half of what matters is not half a token: all, or it does not count": {
        "enough": lambda known, matters: known[:, matters].double().mean(1)
    },
    "a token has to know what matters, not every patch": {"enough": lambda known, matters: known.all(1)},
    "the patches that matter need not be taken, only known: this looks at `matters` alone": {
        "enough": lambda known, matters: matters
    },
    "this is the number of informed tokens; their share of the tokens taken is wanted": {
        "share": lambda informed: informed.double().sum()
    },
    "one informed token among those taken is a share, not all of it": {"share": lambda informed: informed.any()},
    "where one of the tokens taken is blind, the share is smaller, not 0": {"share": lambda informed: informed.all()},
    "of equal shares the first that is offered wins": {"better": lambda new, best: new >= best},
    "the largest share is wanted, not the smallest": {"better": lambda new, best: new < best},
    "the middle is token S // 2 from 0": {"take": lambda name, S: taken(name, S, middle=lambda S: (S - 1) // 2)},
    "bilateral poolings take both ends": {"take": lambda name, S: taken(name, S)[:: 1 if name == "avg" else 2]},
    "only `known` and `matters` decide; the order of `offered` only breaks ties": {"better": lambda new, best: False},
}


@exercise(
    "9.4",
    "a pooling for a task",
    choose,
    cases=2,
    mistakes=_WRONG_CHOICES,
)
def check_choose(rng):
    for wrong in _WRONG_CHOICES.values():
        given = _task(rng)
        while choose(**given) == choose(**given, **wrong):
            given = _task(rng)
        yield given


def _task(rng):
    """What the tokens of a causal reader know, backwards now and then, with some gaps; a few patches that matter."""
    S = 2 * rng.size(3, 5)
    known = torch.ones(S, S).tril().bool()
    known = (known.flip(0, 1) if rng.size(0, 1) else known) & (rng.uniform(0, 1, S, S) < 0.9) | torch.eye(S).bool()
    matters = torch.zeros(S, dtype=torch.bool)
    matters[torch.randperm(S, generator=rng.generator)[: rng.size(1, 3)]] = True
    names = ["first", "last", *NAMES]
    offered = [names[n] for n in torch.randperm(len(names), generator=rng.generator)[: rng.size(3, 5)]]
    return {"known": known, "matters": matters, "offered": offered}


# ---------------------------------------------------------------- 9.5
def paired(a, b, *, spread=lambda a, b: (a - b).std(ddof=1), root=0.5):
    """Mean of a - b over the seeds, and its standard error."""
    return float((a - b).mean()), float(spread(a, b) / len(a) ** root)


@exercise(
    "9.5",
    "a difference with its standard error, seed by seed",
    paired,
    mistakes={
        "the sign is wrong: a - b": lambda a, b: paired(b, a),
        "the standard deviation divides by n - 1: ddof=1": {"spread": lambda a, b: (a - b).std()},
        "this is the deviation of one difference; that of their mean is smaller by the root of n": {"root": 0},
        "divide by the root of n, not by n": {"root": 1},
        "the pairs are torn apart; they share a seed": {"spread": lambda a, b: np.hypot(a.std(ddof=1), b.std(ddof=1))},
        "the error of a difference is not a difference of errors": {
            "spread": lambda a, b: a.std(ddof=1) - b.std(ddof=1)
        },
        "this is the variance; take the root": {"spread": lambda a, b: (a - b).var(ddof=1), "root": 1},
        "a difference may be negative: leave its sign": lambda a, b: (abs(paired(a, b)[0]), paired(a, b)[1]),
        "the order is mean, standard error": lambda a, b: paired(a, b)[::-1],
    },
)
def check_paired(rng):
    n = 3 + rng.case
    common = rng.uniform(60, 90, n)
    a, b = (np.round((common + rng.normal(n)).double().numpy(), 3) for _ in range(2))
    b += rng.turn([6.0, -6.0])  # now this one is the better, now that
    return {"a": a, "b": b}
