"""Checks of chapter 6: images as sequences."""

import torch
import torch.nn.functional as F

from vil_lite.traversal import DIRECTIONS, traverse

from ._base import attempt, compare, exercise, expect

# ---------------------------------------------------------------- 6.1


def patchify(image, P):
    """Reference: image (B, channels, height, width) -> (B, S, channels * P * P), patches row by row."""
    return _patchify(image, P, (0, 2, 4, 1, 3, 5))


def _patchify(image, P, axes):
    """With the axes (B, channels, H, P, W, P) of the cut image in the given order."""
    B, channels, height, width = image.shape
    cut = image.reshape(B, channels, height // P, P, width // P, P).permute(axes)
    return cut.reshape(B, -1, channels * P * P)


@exercise("an image cut into patches")
def check_patchify(student, rng):
    P, H = rng.size(2, 4), rng.size(2, 4)
    W = H + rng.size(1, 2)
    inputs = {"image": rng.normal(rng.size(1, 3), rng.size(2, 4), H * P, W * P), "P": P}
    compare(
        student, patchify, inputs,
        diagnose={
            "reshape alone does not cut squares: split height into (H, P) and width into (W, P), then move the axes":
                lambda x, P: x.reshape(len(x), H * W, -1),
            "the patches come column by column; row by row is wanted": lambda x, P: _patchify(x, P, (0, 4, 2, 1, 3, 5)),
            "inside a patch the channels come last; the order is channel, row, column":
                lambda x, P: _patchify(x, P, (0, 2, 4, 3, 5, 1)),
            "inside a patch rows and columns are exchanged": lambda x, P: _patchify(x, P, (0, 2, 4, 1, 5, 3)),
            "height was split into (P, H) and width into (P, W): neighbouring pixels end in different patches":
                lambda x, P: x.reshape(len(x), -1, P, H, P, W).permute(0, 3, 5, 1, 2, 4).reshape(len(x), H * W, -1),
            "H and W are still two axes: join them to S": lambda x, P: patchify(x, P).unflatten(1, (H, W)),
            "S and the features are exchanged, as a convolution leaves them": lambda x, P: patchify(x, P).mT,
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 6.2


def grid_of(height, width, P, stride):
    """Reference: (H, W), how many patches of side P fit at this stride; ValueError where pixels would be left over."""
    for size in (height, width):
        if size < P or (size - P) % stride:
            raise ValueError(f"{size} pixels do not divide into patches of {P} at stride {stride}")
    return (height - P) // stride + 1, (width - P) // stride + 1


def _each(count):
    return lambda height, width, P, stride: (count(height, P, stride), count(width, P, stride))


@exercise("how many patches an image gives")
def check_grid_of(student, rng):
    stride = rng.size(2, 6)
    P, H, W = stride * rng.size(2, 3), rng.size(2, 6), rng.size(8, 12)
    inputs = {"height": P + (H - 1) * stride, "width": P + (W - 1) * stride, "P": P, "stride": stride}
    compare(
        student, grid_of, inputs, rtol=0, atol=0,
        diagnose={
            "the stride is ignored: this counts patches that do not overlap": _each(lambda size, P, stride: size // P),
            "this is size // stride; the last patch must still fit into the image":
                _each(lambda size, P, stride: size // stride),
            "one too few in each direction: the first patch stands at pixel 0, before any step":
                _each(lambda size, P, stride: (size - P) // stride),
            "rows and columns are exchanged: (H, W) is wanted": lambda *a: grid_of(*a)[::-1],
            "this is the number of tokens; (H, W) is wanted": lambda *a: grid_of(*a)[0] * grid_of(*a)[1],
        },
    )  # fmt: skip
    rest = rng.size(1, stride - 1)
    for name in ("height", "width"):
        _refuses(student, {**inputs, name: inputs[name] + rest}, f"{rest} pixels of the {name} belong to no patch")
        _refuses(student, {**inputs, name: P - stride}, f"the {name} is smaller than a patch")


def _refuses(student, inputs, why):
    def trial(*arguments):
        try:
            return student(*arguments)
        except ValueError:
            return "refused"

    got = attempt(trial, *inputs.values())
    told = ", ".join(f"{name} = {value}" for name, value in inputs.items())
    expect(got == "refused", f"for {told} it returns {got}, but {why}: raise ValueError")


# ---------------------------------------------------------------- 6.3


def resize(embed, grid):
    """Reference: embed (1, H, W, d) -> (1, *grid, d), bicubic."""
    return _resize(embed, grid)


def _resize(embed, grid, **options):
    return F.interpolate(embed.permute(0, 3, 1, 2), size=grid, **{"mode": "bicubic", **options}).permute(0, 2, 3, 1)


def _as_a_line(embed, grid):
    line = F.interpolate(embed.flatten(1, 2).mT, size=grid[0] * grid[1], mode="linear")
    return line.mT.unflatten(1, grid)


def _unmoved(embed, grid):
    _, H, W, d = embed.shape
    return F.interpolate(embed.reshape(1, d, H, W), size=grid, mode="bicubic").reshape(1, *grid, d)


@exercise("positions for another grid")
def check_resize(student, rng):
    H, W = rng.size(3, 5), rng.size(6, 8)
    grid = (H + rng.size(1, 3), W + rng.size(1, 3))
    compare(
        student, resize, {"embed": rng.normal(1, H, W, rng.size(2, 5)), "grid": grid},
        diagnose={
            "the mode is bilinear; bicubic is wanted": lambda e, g: _resize(e, g, mode="bilinear"),
            "the mode is nearest, the default; bicubic is wanted": lambda e, g: _resize(e, g, mode="nearest"),
            "`align_corners=True` is set: it moves the inner positions; leave it out":
                lambda e, g: _resize(e, g, align_corners=True),
            "the positions are resized as a line: the grid has two directions, keep both": _as_a_line,
            "features were mixed with places: a reshape never moves an axis, permute does": _unmoved,
            "the features still stand before the grid: move them back to the end":
                lambda e, g: _resize(e, g).permute(0, 3, 1, 2),
            "the grid is (W, H): rows and columns are exchanged": lambda e, g: _resize(e, g[::-1]),
            "the positions are cut off or repeated, not resized": lambda e, g: e.repeat(1, 2, 2, 1)[:, : g[0], : g[1]],
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 6.4


def _transpose(tokens, grid):
    return tokens.unflatten(1, grid).transpose(1, 2).flatten(1, 2)


def restore(tokens, grid, direction):
    """Reference: tokens (B, S, d) in the order of `direction` -> row by row."""
    tokens = tokens.flip(1) if direction.endswith("reversed") else tokens
    return _transpose(tokens, grid[::-1]) if direction.startswith("column") else tokens


def _with(transpose, flip=lambda tokens, grid: tokens.flip(1)):
    """A restore with its own way to transpose and to reverse."""

    def wrong(tokens, grid, direction):
        tokens = flip(tokens, grid) if direction.endswith("reversed") else tokens
        return transpose(tokens, grid) if direction.startswith("column") else tokens

    return wrong


@exercise("the way back from each of the four orders", cases=8)
def check_restore(student, rng):
    H = rng.size(2, 4)
    grid, direction = (H, H + rng.size(1, 3)), rng.choice(DIRECTIONS)
    tokens = traverse(rng.normal(rng.size(1, 3), grid[0] * grid[1], rng.size(2, 4)), grid, direction)

    def rows_only(tokens, grid):
        return tokens.unflatten(1, grid).flip(2).flatten(1, 2)

    compare(
        student, restore, {"tokens": tokens, "grid": grid, "direction": direction},
        diagnose={
            "nothing is put back": lambda tokens, grid, direction: tokens,
            "this is traverse once more: read by columns, the tokens are a grid of W × H, not of H × W":
                _with(_transpose),
            "the columns are not turned back into rows": _with(lambda tokens, grid: tokens),
            "the reversal is not undone": _with(lambda t, g: _transpose(t, g[::-1]), lambda tokens, grid: tokens),
            "each row is reversed by itself; the whole sequence is read backwards":
                _with(lambda t, g: _transpose(t, g[::-1]), rows_only),
            "row orders are transposed too: only column orders need it":
                lambda t, g, d: _transpose(t.flip(1) if d.endswith("reversed") else t, g[::-1]),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 6.5


def order(grid, direction):
    """Token numbers in the order in which `direction` visits them: (S,)."""
    return traverse(torch.arange(grid[0] * grid[1])[None, :, None], grid, direction).flatten()


def _sees(grid, direction):
    place = order(grid, direction).argsort()
    return place[None, :] <= place[:, None]  # (t, s)


def reach(directions, grid):
    """Reference: (S, S) bool, [t, s]: does output t know input s after causal blocks in these directions?"""
    seen = torch.eye(grid[0] * grid[1], dtype=torch.bool)
    for direction in directions:
        seen = (_sees(grid, direction).float() @ seen.float()) > 0
    return seen


def _fold(combine, sees=_sees):
    def wrong(directions, grid):
        masks = [sees(grid, direction) for direction in directions]
        seen = masks[0]
        for mask in masks[1:]:
            seen = combine(seen, mask)
        return seen

    return wrong


def _by_order(grid, direction):
    place = order(grid, direction)
    return place[None, :] <= place[:, None]


def _compose(seen, mask):
    return (mask.float() @ seen.float()) > 0


REACH_MISTAKES = {
    "rows and columns of the result are exchanged: [t, s], and t sees s": lambda d, g: reach(d, g).T,
    "a token does not see itself: the block keeps what it has, so s = t counts":
        lambda d, g: reach(d, g) & ~torch.eye(g[0] * g[1], dtype=torch.bool),
    "this joins what each block sees by itself; block 2 reads what block 1 wrote, so the steps combine":
        _fold(lambda seen, mask: seen | mask),
    "only what every block sees by itself is kept; seeing once is enough, the residual keeps it":
        _fold(lambda seen, mask: seen & mask),
    "the blocks are combined in the wrong order: the last block's mask stands on the left":
        _fold(lambda seen, mask: _compose(mask, seen)),
    "only the last block counts here": lambda d, g: _sees(g, d[-1]),
    "only the first block counts here": lambda d, g: _sees(g, d[0]),
    "`order` lists which token is visited n-th; wanted is when token t is visited: argsort turns one into the other":
        _fold(_compose, _by_order),
}  # fmt: skip


@exercise("which patches a stack of blocks can see")
def check_reach(student, rng):
    H = rng.size(2, 3)
    grid = (H, H + rng.size(1, 2))
    # Most stacks that turn round see everything, whatever is done wrong; these two by two do not.
    turns = [["row", "column"], ["column", "row"], ["row_reversed", "column_reversed"]]
    any_stack = [rng.choice(DIRECTIONS) for _ in range(rng.size(1, 3))]
    for directions in (rng.choice(turns), any_stack):
        compare(student, reach, {"directions": directions, "grid": grid}, diagnose=REACH_MISTAKES)


# ---------------------------------------------------------------- 6.6


def influence(model, tokens, t):
    """Reference: (S,), the size of the gradient of |output t|² with respect to each input token; tokens (1, S, d)."""
    return _gradient(model, tokens, t).norm(dim=-1)


def _gradient(model, tokens, t, scalar=lambda out, t: out[0, t].square().sum()):
    with torch.enable_grad():
        tokens = tokens.detach().clone().requires_grad_()
        return torch.autograd.grad(scalar(model(tokens), t), tokens)[0][0]  # (S, d)


@exercise("how much one output depends on each input")
def check_influence(student, rng):
    S, d = rng.size(5, 8), rng.size(3, 4)
    t, mix, turn = rng.size(1, S - 2), rng.normal(S, S).tril(), rng.normal(d, d)

    def model(x):
        return x + torch.tanh(mix @ x @ turn)

    def norm_of(scalar):
        return lambda model, x, t: _gradient(model, x, t, scalar).norm(dim=-1)

    compare(
        student, influence, {"model": model, "tokens": rng.normal(1, S, d), "t": t},
        diagnose={
            "all outputs are summed; only output t is wanted": norm_of(lambda out, t: out.square().sum()),
            "this is the gradient of the plain sum of output t; take the sum of its squares":
                norm_of(lambda out, t: out[0, t].sum()),
            "this is the gradient of the length of output t; its square is wanted": norm_of(lambda out, t: out[0, t].norm()),
            "one number for each feature; the norm goes over the features (the last axis), one number for each token":
                lambda *a: _gradient(*a).norm(dim=0),
            "the features of the gradient are added with their signs, so they cancel; take the norm":
                lambda *a: _gradient(*a).sum(-1),
            "this is the sum of absolute values; take the norm": lambda *a: _gradient(*a).abs().sum(-1),
            "this is the square of the norm; take the root": lambda *a: _gradient(*a).square().sum(-1),
            "this is the gradient itself; its norm over the features is wanted": _gradient,
            "the batch axis is still there: (S,) is wanted": lambda *a: influence(*a)[None],
            "this is how output s depends on input t; wanted is how output t depends on input s":
                lambda model, x, t: torch.stack([influence(model, x, s)[t] for s in range(S)]),
        },
    )  # fmt: skip
