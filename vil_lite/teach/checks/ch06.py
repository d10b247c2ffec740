"""Exercises of chapter 6: images as sequences."""

import torch
import torch.nn.functional as F

from vil_lite.traversal import DIRECTIONS, restore, traverse

from ._base import exercise, expect


# ---------------------------------------------------------------- 6.1
def patchify(image, P, *, axes=(0, 2, 4, 1, 3, 5)):
    """Image (B, channels, height, width) -> (B, S, channels * P * P), patches row by row.

    axes: the order in which (B, channels, H, P, W, P) of the cut image are joined.
    """
    B, channels, height, width = image.shape
    cut = image.reshape(B, channels, height // P, P, width // P, P).permute(axes)
    return cut.reshape(B, -1, channels * P * P)


@exercise(
    "6.1",
    "an image cut into patches",
    patchify,
    mistakes={
        "reshape alone cuts no squares: split into (H, P), (W, P) first": lambda x, P: x.reshape(patchify(x, P).shape),
        "the patches come column by column; row by row is wanted": {"axes": (0, 4, 2, 1, 3, 5)},
        "inside a patch the channels come last; the order is channel, row, column": {"axes": (0, 2, 4, 3, 5, 1)},
        "inside a patch rows and columns are exchanged": {"axes": (0, 2, 4, 1, 5, 3)},
        "height was split into (P, H) and width into (P, W): neighbouring pixels end up in different patches": lambda x, P: (
            x.unflatten(3, (P, -1)).unflatten(2, (P, -1)).permute(0, 3, 5, 1, 2, 4).flatten(3).flatten(1, 2)
        ),
        "H and W are still two axes: join them into S": lambda x, P: patchify(x, P).unflatten(1, (-1, x.shape[3] // P)),
        "S and the features are exchanged, as a convolution leaves them": lambda x, P: patchify(x, P).mT,
    },
)
def check_patchify(rng):
    P, H = rng.size(2, 4), rng.size(2, 4)
    W = H + rng.size(1, 2)
    return {"image": rng.normal(rng.size(2, 3), rng.size(2, 4), H * P, W * P), "P": P}


# ---------------------------------------------------------------- 6.2
def grid_of(height, width, P, stride, *, rest=lambda size, P, stride: (size - P) % stride, least=1, asked=slice(None)):
    """(H, W), how many patches of side P fit at this stride; ValueError where pixels would be left over."""
    for size in (height, width)[asked]:
        if size < least * P or rest(size, P, stride):
            raise ValueError(f"{size} pixels do not divide into patches of {P} at stride {stride}")
    return (height - P) // stride + 1, (width - P) // stride + 1


_ONE_PATCH = "an image just as large as a patch is refused; it has one patch: refuse what is smaller"


def _or_refused(function, *inputs):
    """The grid; where there is none, and only there, a ValueError is the answer."""
    try:
        return function(*inputs)
    except ValueError:
        try:
            grid = grid_of(*inputs)
        except ValueError:
            return "refused"
        expect(1 not in grid, _ONE_PATCH)
        raise


def _each(count):
    """A grid by this rule, refused where it has to be."""

    def wrong(*inputs):
        grid_of(*inputs)
        height, width, P, stride = inputs
        return count(height, P, stride), count(width, P, stride)

    return wrong


@exercise(
    "6.2",
    "how many patches an image gives",
    grid_of,
    through=_or_refused,
    rtol=0,
    atol=0,
    mistakes={
        "the stride is ignored: this counts patches that do not overlap": _each(lambda n, P, s: n // P),
        "this is size // stride; the last patch must still fit into the image": _each(lambda n, P, s: n // s),
        "one too few on each side: the first patch stands at pixel 0": _each(lambda n, P, s: (n - P) // s),
        "rows and columns are exchanged: (H, W) is wanted": lambda *a: grid_of(*a)[::-1],
        "this is the number of tokens; (H, W) is wanted": lambda *a: grid_of(*a)[0] * grid_of(*a)[1],
        "pixels that belong to no patch are not refused: raise ValueError": {"rest": lambda n, P, s: 0},
        "an image smaller than a patch is not refused: raise ValueError": {"least": 0},
        _ONE_PATCH: {"rest": lambda n, P, s: (n - P) % s or n == P},
        "nothing is refused: raise ValueError for pixels left over, or fewer than a patch has": {"asked": slice(0)},
        "the remainder to refuse is (size - P) % stride; the first patch takes P": {"rest": lambda n, P, s: n % s},
        "patches overlap: the remainder to refuse is (size - P) % stride, not size % P": {
            "rest": lambda n, P, s: n % P
        },
        "only the height is looked at; pixels of the width can be left over, too": {"asked": slice(0, 1)},
        "only the width is looked at; pixels of the height can be left over, too": {"asked": slice(1, 2)},
    },
)
def check_grid_of(rng):
    stride = rng.size(3, 6)
    P, H, W = 2 * stride + rng.size(1, stride - 1), rng.size(2, 6), rng.size(8, 12)
    inputs = {"height": P + (H - 1) * stride, "width": P + (W - 1) * stride, "P": P, "stride": stride}
    yield inputs
    for name in ("height", "width"):
        yield {**inputs, name: inputs[name] + rng.size(1, stride - 1)}
        yield {**inputs, name: P - stride}
        yield {**inputs, name: P}  # one patch is enough
    # Left over, although both sides divide by the stride, or by P.
    yield {**inputs, **{name: inputs[name] + -inputs[name] % stride for name in ("height", "width")}}
    yield {**inputs, "height": 2 * P, "width": 3 * P if 2 * P % stride else 2 * P}


# ---------------------------------------------------------------- 6.3
def resize(embed, grid, **options):
    """Embed (1, H, W, dim) -> (1, *grid, dim), bicubic."""
    options = {"mode": "bicubic", **options}
    return F.interpolate(embed.permute(0, 3, 1, 2), size=tuple(grid), **options).permute(0, 2, 3, 1)


def _as_a_line(embed, grid):
    line = F.interpolate(embed.flatten(1, 2).mT, size=grid[0] * grid[1], mode="linear")
    return line.mT.unflatten(1, grid)


def _unmoved(embed, grid):
    _, H, W, dim = embed.shape
    return F.interpolate(embed.reshape(1, dim, H, W), size=grid, mode="bicubic").reshape(1, *grid, dim)


@exercise(
    "6.3",
    "positions for another grid",
    resize,
    mistakes={
        "the mode is bilinear; bicubic is wanted": {"mode": "bilinear"},
        "the mode is nearest, the default; bicubic is wanted": {"mode": "nearest"},
        "`align_corners=True` is set: it moves the inner positions; leave it out": {"align_corners": True},
        "`antialias=True` is set: it changes the values; leave it out": {"antialias": True},
        "the positions are resized as a line: the grid has two directions, keep both": _as_a_line,
        "features were mixed with places: a reshape never moves an axis, permute does": _unmoved,
        "the features still come before the grid: move them to the end": lambda e, g: resize(e, g).permute(0, 3, 1, 2),
        "the grid is (W, H): rows and columns are exchanged": lambda e, g: resize(e, g[::-1]),
        "the positions are cut off or repeated, not resized": lambda e, g: e.repeat(1, 2, 2, 1)[:, : g[0], : g[1]],
    },
)
def check_resize(rng):
    H, W = rng.size(3, 5), rng.size(6, 8)
    grid = (H + rng.size(1, 3), W + rng.size(1, 3))
    return {"embed": rng.normal(1, H, W, rng.size(2, 5)), "grid": grid}


# ---------------------------------------------------------------- 6.4
def _rows_reversed(tokens, grid, direction):
    by_rows = tokens.unflatten(1, grid).flip(1).flatten(1, 2) if direction.endswith("reversed") else tokens
    return restore(by_rows, grid, direction)


def _features_reversed(tokens, grid, direction):
    there = restore(tokens, grid, direction.removesuffix("_reversed"))
    return there.flip(-1) if direction.endswith("reversed") else there


@exercise(
    "6.4",
    "the way back from each of the four orders",
    restore,
    function="restore_by_hand",
    cases=8,
    mistakes={
        "nothing is put back": lambda tokens, grid, direction: tokens,
        "this is traverse once more: read by columns, the tokens are a grid of W × H, not of H × W": traverse,
        "the columns are not turned back into rows": lambda x, grid, d: x.flip(1) if d.endswith("reversed") else x,
        "the reversal is not undone": lambda x, grid, d: restore(x, grid, d.removesuffix("_reversed")),
        "each row is reversed by itself; the whole sequence is read backwards": _rows_reversed,
        "only column orders have to be transposed": lambda x, grid, d: restore(x, grid, d.replace("row", "column")),
        "the features are reversed; the tokens are axis 1": _features_reversed,
    },
)
def check_restore(rng):
    H = rng.size(2, 4)
    grid, direction = (H, H + rng.size(1, 3)), rng.turn(DIRECTIONS)
    tokens = traverse(rng.normal(rng.size(1, 3), grid[0] * grid[1], rng.size(2, 4)), grid, direction)
    return {"tokens": tokens, "grid": grid, "direction": direction}


# ---------------------------------------------------------------- 6.5
def order(grid, direction):
    """Token numbers in the order in which `direction` visits them: (S,)."""
    return traverse(torch.arange(grid[0] * grid[1])[None, :, None], grid, direction).flatten()


def _sees(grid, direction, place=lambda visited: visited.argsort()):
    place = place(order(grid, direction))
    return place[None, :] <= place[:, None]  # (t, s)


def _compose(mask, seen):
    return (mask.float() @ seen.float()) > 0


def reach(directions, grid, *, join=_compose, place=lambda visited: visited.argsort()):
    """(S, S) bool, [t, s]: does output t know input s after causal blocks in these directions?"""
    first, *others = (_sees(grid, direction, place) for direction in directions)
    for mask in others:
        first = join(mask, first)
    return first


@exercise(
    "6.5",
    "which patches a stack of blocks can see",
    reach,
    mistakes={
        "rows and columns of the result are exchanged: [t, s], and t sees s": lambda d, g: reach(d, g).T,
        "a token does not see itself: its residual keeps it, s = t counts": lambda *x: reach(*x).fill_diagonal_(False),
        "this joins what each block sees by itself; block 2 reads what block 1 wrote": {"join": torch.logical_or},
        "only what every block sees by itself is kept; seeing once is enough": {"join": torch.logical_and},
        "combined in the wrong order: the last block's mask stands on the left": {"join": lambda m, s: _compose(s, m)},
        "only the last block counts here": {"join": lambda mask, seen: mask},
        "only the first block counts here": {"join": lambda mask, seen: seen},
        "only the first two blocks count here": lambda d, g: reach(d[:2], g),
        "`order` lists which token is n-th; the place of each token is order.argsort()": {
            "place": lambda visited: visited
        },
    },
)
def check_reach(rng):
    H = rng.size(2, 3)
    grid = (H, H + rng.size(1, 2))
    # Most stacks that turn round see everything, whatever is done wrong; these two by two do not.
    yield {
        "directions": rng.turn([["row", "column"], ["column", "row"], ["row_reversed", "column_reversed"]]),
        "grid": grid,
    }
    once, again = rng.turn([("row", "column"), ("column_reversed", "row_reversed")])
    yield {"directions": [once, once, again], "grid": grid}
    yield {"directions": [rng.choice(DIRECTIONS) for _ in range(rng.size(1, 3))], "grid": grid}


# ---------------------------------------------------------------- 6.6
def influence(model, tokens, t, *, scalar=lambda y, t: y[0, t].square().sum(), size=lambda g: g.norm(dim=-1)):
    """(S,), the size of the gradient of |output t|² with respect to each input token; tokens (1, S, dim)."""
    with torch.enable_grad():
        tokens = tokens.detach().clone().requires_grad_()
        return size(torch.autograd.grad(scalar(model(tokens), t), tokens)[0][0])


@exercise(
    "6.6",
    "how much one output depends on each input",
    influence,
    mistakes={
        "all outputs are summed; only output t is wanted": {"scalar": lambda y, t: y.square().sum()},
        "this is the gradient of the sum of output t; take that of squares": {"scalar": lambda y, t: y[0, t].sum()},
        "this is the gradient of the length of output t; its square is wanted": {"scalar": lambda y, t: y[0, t].norm()},
        "this is the gradient of the mean of squares; add them": {"scalar": lambda y, t: y[0, t].square().mean()},
        "one number for each feature; the norm goes over them, the last axis": {"size": lambda g: g.norm(dim=0)},
        "the features are added with their signs, so they cancel; take the norm": {"size": lambda g: g.sum(-1)},
        "this is the sum of absolute values; take the norm": {"size": lambda g: g.abs().sum(-1)},
        "this is the square of the norm; take the root": {"size": lambda g: g.square().sum(-1)},
        "this is the gradient itself; its norm over the features is wanted": {"size": lambda g: g},
        "the batch axis is still there: (S,) is wanted": {"size": lambda g: g.norm(dim=-1)[None]},
        "this is how output s depends on input t; wanted is how output t depends on input s": lambda model, x, t: (
            torch.stack([influence(model, x, s)[t] for s in range(x.shape[1])])
        ),
    },
)
def check_influence(rng):
    S, dim = rng.size(5, 8), rng.size(3, 4)
    mix, turn = rng.normal(S, S).tril(), rng.normal(dim, dim)
    return {"model": lambda x: x + torch.tanh(mix @ x @ turn), "tokens": rng.normal(1, S, dim), "t": rng.size(1, S - 2)}
