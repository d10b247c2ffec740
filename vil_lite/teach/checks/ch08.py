"""Exercises of chapter 8: block designs."""

import functools
import itertools

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


def width_for(budget, depth, paths, shared, step, *, fits=lambda count, budget: count <= budget, further=0, **counted):
    """The largest multiple of `step` that is a width at which the blocks have at most `budget` parameters."""
    width = 0
    while fits(encoder_parameters(width + step, depth, paths, shared, **counted), budget):
        width += step
    return width + further * step


@exercise(
    "8.3",
    "a width that makes a design as large as another",
    width_for,
    cases=6,
    rtol=0,
    atol=0,
    mistakes={
        "`shared` is ignored: shared paths count once": lambda b, n, p, s, step: width_for(b, n, p, False, step),
        "the number of paths is ignored": lambda b, n, p, s, step: width_for(b, n, p, True, step),
        "`shared` is the wrong way round": lambda b, n, p, s, step: width_for(b, n, p, not s, step),
        "the depth is missing: the budget is that of all blocks": lambda b, n, p, s, step: width_for(b, 1, p, s, step),
        "one step too wide: this has more parameters than the budget": {"further": 1},
        "at most the budget: a width that needs exactly the budget is allowed": {"fits": lambda count, b: count < b},
        "one step too narrow: a wider model fits into the budget, too": {"further": -1},
        "a multiple of `step` is wanted": lambda b, n, p, s, step: width_for(b, n, p, s, 1),
        "the two projections are counted once per path; all paths share them": {"once": (0, 1), "each": (6, 86, 8)},
        "the norm of a block (d) is counted once per path; all paths share it": {"once": (6, 0), "each": (0, 87, 8)},
        "the norm of the block is missing: d": {"once": (6, 0)},
    },
)
def check_width_for(rng):
    step, width = rng.choice([4, 8]), rng.size(6, 40)
    design = {"depth": rng.size(2, 30), "paths": rng.choice([2, 4]), "shared": rng.turn([True, False])}
    for steps, short in ((width, 0), (width + 1, 1)):  # just enough for one width; one parameter short of the next
        budget = encoder_parameters(steps * step, **design) - short
        yield {"budget": budget, **design, "step": step}


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
def sees(blocks, *, place=torch.argsort, join=lambda mask, seen: (mask @ seen) > 0):
    """(S, S) bool, [t, s]: can output t depend on input s?  blocks: one list of orders (S,) each, the first block first."""
    seen = torch.eye(len(blocks[0][0]))
    for orders in blocks:
        places = [place(order) for order in orders]
        mask = sum((p[None, :] <= p[:, None]).float() for p in places)  # whatever one of the paths lets through
        seen = join(mask, seen).float()
    return seen.bool()


def _shortest_first(count, most):
    for depth in range(1, most + 1):
        yield from itertools.product(range(count), repeat=depth)


def shortest(
    orders,
    needed,
    most,
    *,
    stacks=_shortest_first,
    known=sees,
    enough=lambda known, needed: (known | ~needed).all(),
    told=list,
    none=(),
):
    """Numbers of orders, the first block's first: a shortest stack after which output t knows each s with needed[t, s].

    [] if `most` blocks are too few.
    """
    for stack in stacks(len(orders), most):
        if enough(known([[orders[n]] for n in stack]), needed):
            return told(stack)
    return list(none)


def _judged(function, orders, needed, most):
    """The answer in words: several shortest stacks can be right."""
    stack = [int(n) for n in function(orders, needed, most)]
    if not stack:
        return "[]"
    if not set(stack) <= set(range(len(orders))):
        return f"{stack}, which is no list of numbers of orders"
    enough = (sees([[orders[n]] for n in stack]) | ~needed).all()
    return f"a stack of {len(stack)} that {'is enough' if enough else 'is not enough'}"


def _without_repeats(count, most):
    for depth in range(1, min(count, most) + 1):
        yield from itertools.permutations(range(count), depth)


_WRONG_STACKS: dict[str, dict] = {
    "the stack is the wrong way round: the first block stands first": {"told": lambda stack: list(stack)[::-1]},
    "this is enough, but a shorter stack is enough, too": {
        "stacks": lambda count, most: reversed(list(_shortest_first(count, most)))
    },
    "an order may come twice in a stack": {"stacks": _without_repeats},
    "what the blocks see by themselves is united here; a block reads what the one before wrote": {
        "known": lambda blocks: sees(blocks, join=lambda mask, seen: mask + seen > 0)
    },
    "only the last block counts here": {"known": lambda blocks: sees(blocks[-1:])},
    "rows and columns of `needed` are exchanged: [t, s], and output t has to know input s": {
        "enough": lambda known, needed: (known | ~needed.T).all()
    },
    "to know some of what is needed is not enough: all of `needed`": {
        "enough": lambda known, needed: (known & needed & ~torch.eye(len(known)).bool()).any()
    },
    "each output has to know what `needed` says, not everything": {"enough": lambda known, needed: known.all()},
    "an output may know more than it needs": {"enough": torch.equal},
    "the deepest stack has `most` blocks, and that many are allowed": {
        "stacks": lambda count, most: _shortest_first(count, most - 1)
    },
    "where no stack of at most `most` blocks is enough, an empty list is wanted": {"none": (0,)},
}


@exercise("8.5", "a stack as short as can be", shortest, through=_judged, cases=1, mistakes=_WRONG_STACKS)
def check_shortest(rng):
    """Cases until no two mistakes, nor one and the right answer, agree in all of them."""
    all_of_them = [{}, *_WRONG_STACKS.values()]
    told: list[tuple] = [()] * len(all_of_them)
    while len(set(told)) < len(told):
        given = _wishes(rng)
        more = [
            (*words, _judged(functools.partial(shortest, **wrong), *given.values()))
            for words, wrong in zip(told, all_of_them)
        ]
        if len(set(more)) > len(set(told)):
            told = more
            yield given


def _wishes(rng):
    """Two or three orders of a few tokens, and some of what a stack of them knows; now and then more than any of them does."""
    S, most = rng.size(5, 6), rng.size(2, 3)
    orders = [torch.randperm(S, generator=rng.generator) for _ in range(rng.size(2, 3))]
    stack = [rng.size(0, len(orders) - 1) for _ in range(rng.size(1, most))]
    kind = rng.size(0, 3)
    if kind == 0:
        orders, stack, most = orders[:2], [0, 1, 0], 3
    known = sees([[orders[n]] for n in stack])
    needed = known if kind == 0 or rng.size(0, 1) else known & (rng.uniform(0, 1, S, S) < 0.7)
    if kind == 1:
        needed = needed | (rng.uniform(0, 1, S, S) < 0.3)
    return {"orders": orders, "needed": needed, "most": most}
