"""Exercises of the project of Part 2: a scan order of your own."""

import torch

from ._base import exercise


# ---------------------------------------------------------------- 1
def serpentine(H, W, *, turned=slice(1, None, 2), axis=1, by_columns=False):
    """The token numbers (H * W,) of a grid in the order of reading: row by row, every second row from right to left."""
    numbers = torch.arange(H * W).view(H, W)
    numbers = numbers.T.clone() if by_columns else numbers
    numbers[turned] = numbers[turned].flip(axis)
    return numbers.flatten()


@exercise(
    "P2.1",
    "the serpentine",
    serpentine,
    cases=6,
    rtol=0,
    atol=0,
    mistakes={
        "no row is turned: this is row order": {"turned": slice(0)},
        "every row is turned; turn every second one": {"turned": slice(None)},
        "the first row goes from left to right, and the second is the first to be turned": {
            "turned": slice(0, None, 2)
        },
        "the rows change places; they keep them, and every second one is read from right to left": {"axis": 0},
        "this goes column by column; rows are wanted": {"by_columns": True},
        "H and W are exchanged: the grid has H rows of W tokens": lambda H, W: serpentine(W, H),
        "this is still a grid; one line of H * W token numbers is wanted": lambda H, W: serpentine(H, W).view(H, W),
        "tokens are counted from 0": lambda H, W: serpentine(H, W) + 1,
    },
)
def check_serpentine(rng):
    H = rng.turn([4, 5, 6, 7, 1, 3])
    return {"H": H, "W": H + rng.size(1, 3) * rng.choice([1, -1] if H > 4 else [1])}


# ---------------------------------------------------------------- 2
def _diagonal(row, column, half):
    """Mirrored at the diagonal from top left: rows and columns exchanged."""
    return column, row


def _other_diagonal(row, column, half):
    return half - 1 - column, half - 1 - row


def _as_it_is(row, column, half):
    return row, column


def _other_curve(side):
    """The one that ends at the top right: rows and columns exchanged."""
    return hilbert(side) % side * side + hilbert(side) // side


def hilbert(side, *, first=_diagonal, last=_other_diagonal, quarters=((0, 0), (0, 1), (1, 1), (1, 0)), refuse=True):
    """The token numbers (side * side,) along Hilbert's curve from the top left to the bottom left; ValueError unless side is
    a power of two."""
    if refuse and (side < 1 or side & (side - 1)):
        raise ValueError(f"the side must be a power of two, got {side}")
    if side <= 1:
        return torch.zeros(1, dtype=torch.long)
    half = side // 2
    smaller = hilbert(half, first=first, last=last, quarters=quarters, refuse=refuse)
    order = []
    for (down, right), turn in zip(quarters, (first, _as_it_is, _as_it_is, last)):
        row, column = turn(smaller // half, smaller % half, half)
        order.append((row + down * half) * side + column + right * half)
    return torch.cat(order)


def _or_refused(function, side):
    """The order; where there is none, and only there, a ValueError is the answer."""
    whole = side > 0 and side & (side - 1) == 0
    try:
        order = function(side)
    except ValueError:
        if whole:
            raise
        return "refused"
    return order if whole else "not refused"


@exercise(
    "P2.2",
    "the Hilbert curve",
    hilbert,
    through=_or_refused,
    cases=1,
    rtol=0,
    atol=0,
    mistakes={
        "the first quarter is not turned: mirror it at the diagonal, so that it ends beside the second": {
            "first": _as_it_is
        },
        "the last quarter is not turned: mirror it at the other diagonal, so that it begins beside the third": {
            "last": _as_it_is
        },
        "the last quarter is mirrored at the diagonal of the first; the other diagonal is wanted": {"last": _diagonal},
        "the first quarter is mirrored at the diagonal of the last; the other diagonal is wanted": {
            "first": _other_diagonal
        },
        "first and last quarter are exchanged: each is mirrored at the other's diagonal": {
            "first": _other_diagonal,
            "last": _diagonal,
        },
        "no quarter is turned: the curve jumps from each to the next": {"first": _as_it_is, "last": _as_it_is},
        "this is the Z-order: two quarters above, then two below, and none turned": {
            "first": _as_it_is,
            "last": _as_it_is,
            "quarters": ((0, 0), (0, 1), (1, 0), (1, 1)),
        },
        "this curve ends at the top right; exchange rows and columns": _other_curve,
        "this curve begins at the bottom left; the same backwards is wanted": lambda side: hilbert(side).flip(0),
        "this is the serpentine": lambda side: serpentine(side, side),
        "this says when each token is read; wanted is which token is read next: argsort()": lambda side: hilbert(
            side
        ).argsort(),
        "this is still a grid; one line of side * side token numbers is wanted": lambda side: hilbert(side).view(
            side, side
        ),
        "tokens are counted from 0": lambda side: hilbert(side) + 1,
        "a side that is no power of two is not refused: raise ValueError": {"refuse": False},
    },
)
def check_hilbert(rng, student):
    for side in (4, 2, 8, 16, 1):
        yield {"side": side}
    yield {"side": 6}
    yield {"side": rng.choice([3, 12])}


# ---------------------------------------------------------------- 3
def scan_along(tokens, order, mix):
    """Tokens (B, S, dim), row by row, mixed in the order of reading (S,), and put back: (B, S, dim), row by row."""
    return mix(tokens[:, order])[:, order.argsort()]


@exercise(
    "P2.3",
    "read in an order, and put back",
    scan_along,
    mistakes={
        "nothing is put back: the output stands in the order of reading": lambda x, order, mix: mix(x[:, order]),
        "`mix` gets the tokens row by row: put them in order first": lambda x, order, mix: mix(x),
        "`mix` gets the tokens row by row, and what it returns is put back all the same": lambda x, order, mix: mix(x)[
            :, order.argsort()
        ],
        "the way back is `order` once more: that undoes an order which is its own inverse, such as the serpentine, "
        "and no other": lambda x, order, mix: mix(x[:, order])[:, order],
        "order and inverse are exchanged: `order` says which token is read next": lambda x, order, mix: mix(
            x[:, order.argsort()]
        )[:, order],
        "`mix` is not called": lambda x, order, mix: x,
        "the images of the batch are put in order: the tokens are the second axis": lambda x, order, mix: mix(
            x[order % len(x)]
        ),
    },
)
def check_scan_along(rng):
    B, S, dim = rng.size(2, 3), rng.size(6, 12), rng.size(2, 4)
    order = torch.randperm(S, generator=rng.generator)
    while torch.equal(order[order], torch.arange(S)):  # its own inverse
        order = torch.randperm(S, generator=rng.generator)
    fade = rng.uniform(0.3, 0.9, S)
    return {"tokens": rng.normal(B, S, dim), "order": order, "mix": lambda x: x.cumsum(1) * fade[:, None]}


# ---------------------------------------------------------------- 4
def distances(order, H, W, *, place=torch.argsort, of=torch.abs):
    """How far apart in the sequence each patch is from its right (H, W - 1) and from its lower neighbour (H - 1, W)."""
    placed = place(order).view(H, W)
    return of(placed.diff(dim=1)), of(placed.diff(dim=0))


def _columns_first(order, H, W):
    placed = order.argsort().view(W, H)
    return placed.diff(dim=1).abs(), placed.diff(dim=0).abs()


def _round_the_edge(order, H, W):
    placed = order.argsort().view(H, W)
    return (placed.roll(-1, 1) - placed).abs(), (placed.roll(-1, 0) - placed).abs()


@exercise(
    "P2.4",
    "how far apart neighbours are read",
    distances,
    outputs=("right", "lower"),
    mistakes={
        "`order` says which token is read next; the place of a token in the sequence is order.argsort()": {
            "place": lambda order: order
        },
        "a distance has no sign: take abs()": {"of": lambda gap: gap},
        "the sign is turned round, and a distance has none: take abs()": {"of": torch.neg},
        "right and lower neighbours are exchanged": lambda order, H, W: distances(order, H, W)[::-1],
        "the grid has H rows of W patches; here it has W rows of H": _columns_first,
        "these are the tokens in between; what is read next is at distance 1": {"of": lambda gap: gap.abs() - 1},
        "the edge is no neighbour of the opposite edge: one column, or row, fewer": _round_the_edge,
        "this is squared": {"of": torch.square},
    },
)
def check_distances(rng):
    H = rng.size(3, 5)
    W = H + rng.size(1, 3)
    return {"order": torch.randperm(H * W, generator=rng.generator), "H": H, "W": W}
