"""Exercises of chapter 8: block designs."""

import torch
import torch.nn.functional as F

from vil_lite.block import DESIGNS
from vil_lite.traversal import DIRECTIONS

from ._base import exercise


# ---------------------------------------------------------------- 8.1
def plan(design, depth, *, ways=DIRECTIONS, which=lambda j, count, depth: j % count, alternates="alternating"):
    """The directions of each block, a list of `depth` lists."""
    ways = list(ways[: 4 if "quad" in design else 2 if "bi" in design else 1])
    return [[ways[which(j, len(ways), depth)]] if alternates in design else ways for j in range(depth)]


def _in_words(function, design, depth):
    return [" + ".join(block) for block in function(design, depth)]


@exercise(
    "8.1",
    "the directions of every block",
    plan,
    through=_in_words,
    cases=7,
    mistakes={
        "an alternating design has one direction per block, and the next block has the next": {"alternates": "never"},
        "the directions change from block to block": {"which": lambda j, count, depth: j * count // depth},
        "block 0 reads `row`, forwards": lambda design, depth: plan(design, depth + 1)[1:],
        "block 4 begins again with the first direction": {"which": lambda j, count, depth: min(j, count - 1)},
        "sharing weights does not change the directions": lambda name, n: plan("uni" if "shared" in name else name, n),
        "the second direction is `row_reversed`; columns come after it": {"ways": DIRECTIONS[::2] + DIRECTIONS[1::2]},
        "quad-directional has all four directions": lambda design, n: plan(design.replace("quad", "bi"), n),
    },
)
def check_plan(rng):
    return {"design": rng.turn(list(DESIGNS)), "depth": 4 * rng.size(1, 3) + 1}


# ---------------------------------------------------------------- 8.2
def several_paths(
    x_m,
    z,
    paths,
    orders,
    *,
    there=lambda x, order: x[:, order],
    back=lambda h, order: h[:, order.argsort()],
    path=lambda paths, j: paths[j % len(paths)],
    gate=F.silu,
):
    """x_m, z (B, S, E), paths: functions (B, S, E) -> same, orders: index tensors (S,) -> (B, S, E)."""
    return sum(back(path(paths, j)(there(x_m, order)), order) for j, order in enumerate(orders)) * gate(z)


_UNMOVED = {"there": lambda x, order: x}


@exercise(
    "8.2",
    "several paths through one block",
    several_paths,
    cases=6,
    mistakes={
        "the outputs are averaged; the design sums them": lambda *x: several_paths(*x) / len(x[3]),
        "the outputs are not put back in place before they are summed": {"back": lambda h, order: h},
        "indexing with `order` again is not the way back; order.argsort() is": {"back": lambda h, order: h[:, order]},
        "all paths read the tokens as they come: index x_m with each order": {**_UNMOVED, "back": lambda h, order: h},
        "x_m is not put into the order that is undone afterwards": _UNMOVED,
        "one set of weights, still several orders": lambda x_m, z, p, o: several_paths(x_m, z, p, o[: len(p)]),
        "the gate is missing: multiply the sum by SiLU(z)": {"gate": torch.ones_like},
        "the gate is z itself; SiLU(z) is wanted": {"gate": lambda z: z},
        "the gate is a sigmoid; SiLU(z) is wanted": {"gate": torch.sigmoid},
        "all orders use the first path's weights; each has its own": {"path": lambda paths, j: paths[0]},
    },
)
def check_several_paths(rng):
    B, S, E = rng.size(1, 3), rng.size(5, 9), rng.size(2, 5)
    count = rng.choice([2, 3, 4])
    paths = [_causal(rng.normal(E, E)) for _ in range(rng.turn([1, count]))]
    orders = [torch.randperm(S, generator=rng.generator) for _ in range(count)]
    orders[0] = torch.arange(S).roll(2)  # neither its own inverse nor the order in which the tokens come
    return {"x_m": rng.normal(B, S, E), "z": rng.normal(B, S, E), "paths": paths, "orders": orders}


def _causal(weight):
    """A stand-in for convolution and cell: every token becomes a mix of the tokens before it."""
    return lambda x: torch.tanh(x.cumsum(1) @ weight)


# ---------------------------------------------------------------- 8.3
def encoder_parameters(dim, depth, paths, shared, *, once=(6, 1), each=(0, 86, 8)):
    """Parameters of `depth` version 1 blocks of width dim with this many paths each.

    once, each: what a block has once and for each path, as factors of dim², dim and 1.
    """
    block = once[0] * dim**2 + once[1] * dim
    return depth * (block + (1 if shared else paths) * (each[0] * dim**2 + each[1] * dim + each[2]))


@exercise(
    "8.3",
    "the parameters of a design",
    encoder_parameters,
    cases=4,
    rtol=1e-12,
    atol=0,
    mistakes={
        "`shared` is ignored: shared paths count once": lambda d, n, p, s: encoder_parameters(d, n, p, False),
        "the number of paths is ignored": lambda d, n, p, s: encoder_parameters(d, n, p, True),
        "`shared` is the wrong way round": lambda d, n, p, s: encoder_parameters(d, n, p, not s),
        "the depth is missing: this is one block": lambda d, n, p, s: encoder_parameters(d, 1, p, s),
        "the two projections are counted once per path; all paths share them": {"once": (0, 1), "each": (6, 86, 8)},
        "the whole block is counted once per path; all share norm and projection": {"once": (0, 0), "each": (6, 87, 8)},
        "the norm of a block (d) is counted once per path; all paths share it": {"once": (6, 0), "each": (0, 87, 8)},
        "the norm of the block is missing: d": {"once": (6, 0)},
        "the biases of the gates are missing: 8 for each path": {"each": (0, 86, 0)},
    },
)
def check_encoder_parameters(rng):
    sizes = {"dim": 8 * rng.size(2, 60), "depth": rng.size(2, 30)}
    return {**sizes, "paths": rng.choice([2, 4]), "shared": rng.turn([True, False])}


# ---------------------------------------------------------------- 8.4
def path_flops(dim, S, *, linear=90, square=4):
    """Multiply-adds of one path of a version 1 block of width dim on S tokens, S x S products in full."""
    return linear * dim * S + square * dim * S**2


@exercise(
    "8.4",
    "the multiply-adds of one path",
    path_flops,
    rtol=1e-12,
    atol=0,
    mistakes={
        "half of the S × S products is missing: queries with keys, decays with values, in full": {"square": 2},
        "a quarter of the S × S products: there are two, in full, and both have the inner width 2d": {"square": 1},
        "the heads are counted twice: four heads of width E/4 together are one product of width E": {"square": 16},
        "the products have width E = 2d, not d, outside of the S × S part, too": {"linear": 45, "square": 2},
        "the projections belong to the block, not to a path": lambda d, S: path_flops(d, S) + 6 * d**2 * S,
        "the S × S products are missing: they are the larger part": {"square": 0},
        "the norm is missing: 5 for each of the 2d numbers of a token": {"linear": 80},
        "the gates are missing: two of them, four heads each, over 3E features": {"linear": 42},
        "24 dS are missing: q, k and v (4 for each of 3 · 2d features), or one of the gates": {"linear": 66},
        "the convolution is missing: 4 taps for each of 2d features": {"linear": 82},
        "this is one token; multiply by S": lambda d, S: 90 * d + 4 * d * S,
    },
)
def check_path_flops(rng):
    return {"dim": 8 * rng.size(2, 60), "S": rng.size(20, 900)}


# ---------------------------------------------------------------- 8.5
def sees(blocks, token, *, order=reversed, read=torch.clone, itself=True, paths=slice(None), fresh=True):
    """Which tokens can the output at `token` depend on?  blocks: one list of orders (S,) each -> (S,) bool."""
    seen = torch.zeros(len(blocks[0][0]), dtype=torch.bool)
    seen[token] = True
    for orders in order(blocks):
        wider = seen.clone()
        for visited in map(read, orders[paths]):
            last = int((seen if fresh else wider)[visited].nonzero().max())  # the latest has read all before it
            wider[visited[: last + itself]] = True
        wider[token] &= itself
        seen = wider if wider.any() else seen
    return seen


@exercise(
    "8.5",
    "what a token can see",
    sees,
    cases=4,
    mistakes={
        "the blocks are walked from first to last; start at the last one, which makes the output": {"order": iter},
        "only the last block is looked at": {"order": lambda blocks: blocks[-1:]},
        "only the first block is looked at": {"order": lambda blocks: blocks[:1]},
        "a token always sees itself": {"itself": False},
        "only the first path of each block is followed": {"paths": slice(1)},
        "a path sees what another path of the same block has just added": {"fresh": False},
        "`order` lists tokens; the place of one is order.argsort()[token]": {"read": torch.argsort},
        "these are the tokens that see this one: a causal path reads what comes before": {
            "read": lambda order: order.flip(0)
        },
    },
)
def check_sees(rng):
    S = 8 + rng.case
    token = rng.size(2, S - 3)
    others = [t for t in torch.randperm(S, generator=rng.generator).tolist() if t != token]

    def order(place):
        """A random order in which `token` is read as number `place`."""
        rest = [others[n] for n in torch.randperm(S - 1, generator=rng.generator)]
        return torch.tensor([*rest[:place], token, *rest[place:]])

    # Paths of each block; several structures, since each hides some mistake.
    yield {"blocks": [[order(2)], [order(3)]], "token": token}
    yield {"blocks": [[order(1), order(S // 2)]], "token": token}
    yield {"blocks": [[order(1), order(2)], [order(0)], [order(0), order(1)]], "token": token}
    first = torch.tensor([*others[:2], token, *others[2:]])
    second = torch.tensor([others[0], token, others[2], others[1], *others[3:]])
    yield {"blocks": [[first, second]], "token": token}  # what one path adds stands late in the other
