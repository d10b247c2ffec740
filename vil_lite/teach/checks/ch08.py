"""Checks of chapter 8: block designs."""

import torch
import torch.nn.functional as F

from vil_lite.traversal import DIRECTIONS

from ._base import compare, exercise

DESIGNS = (
    "unidirectional", "bidirectional", "quaddirectional", "alternating_bidirectional", "alternating_quaddirectional",
    "bidirectional_shared", "quaddirectional_shared",
)  # fmt: skip

# ---------------------------------------------------------------- 8.1


def plan(design, depth):
    """Reference: the directions of each block, a list of `depth` lists."""
    ways = list(DIRECTIONS[: 4 if "quad" in design else 2 if "bi" in design else 1])
    return [[ways[j % len(ways)]] if "alternating" in design else ways for j in range(depth)]


def _in_pairs(design, depth):
    ways = plan(design.replace("alternating_", ""), 1)[0]
    return [[ways[j * len(ways) // depth]] if "alternating" in design else ways for j in range(depth)]


@exercise("the directions of every block", cases=14)
def check_plan(student, rng):
    compare(
        lambda design, depth: [" + ".join(block) for block in student(design, depth)],
        lambda design, depth: [" + ".join(block) for block in plan(design, depth)],
        {"design": rng.choice(DESIGNS), "depth": 4 * rng.size(1, 3) + 1},
        diagnose={
            "an alternating design has one direction in each block, and the next one in the next block":
                lambda design, depth: [" + ".join(b) for b in plan(design.replace("alternating_", ""), depth)],
            "the directions change from block to block, not from one part of the depth to the next":
                lambda design, depth: [" + ".join(b) for b in _in_pairs(design, depth)],
            "block 0 reads `row`, forwards":
                lambda design, depth: [" + ".join(b) for b in plan(design, depth + 1)[1:]],
            "sharing weights does not change what is read: the directions are those of the design without `_shared`":
                lambda design, depth: [
                    " + ".join(b[:1] if "shared" in design else b) for b in plan(design, depth)
                ],
            "the second direction is `row_reversed`; columns come third and fourth":
                lambda design, depth: [
                    " + ".join({"row_reversed": "column", "column": "row_reversed"}.get(w, w) for w in b)
                    for b in plan(design, depth)
                ],
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 8.2


def several_paths(x_m, z, paths, orders):
    """Reference: x_m, z (B, S, E), paths: functions (B, S, E) -> same, orders: index tensors (S,) -> (B, S, E)."""
    y = torch.zeros_like(x_m)
    for j, order in enumerate(orders):
        h = paths[j % len(paths)](x_m[:, order])
        y = y + h[:, order.argsort()]
    return y * F.silu(z)


@exercise("several paths through one block", cases=8)
def check_several_paths(student, rng):
    B, S, E = rng.size(1, 3), rng.size(5, 9), rng.size(2, 5)
    count = rng.choice([2, 3, 4])
    paths = [_causal(rng.normal(E, E)) for _ in range(rng.choice([1, count]))]
    orders = [torch.randperm(S, generator=rng.generator) for _ in range(count)]
    compare(
        student, several_paths,
        {"x_m": rng.normal(B, S, E), "z": rng.normal(B, S, E), "paths": paths, "orders": orders},
        diagnose={
            "the outputs are averaged; the design sums them":
                lambda x, z, p, o: several_paths(x, z, p, o) / len(o),
            "the outputs are not put back in place before they are summed":
                lambda x, z, p, o: sum(p[j % len(p)](x[:, w]) for j, w in enumerate(o)) * F.silu(z),
            "indexing with `order` again is not the way back; use its inverse, order.argsort()":
                lambda x, z, p, o: sum(p[j % len(p)](x[:, w])[:, w] for j, w in enumerate(o)) * F.silu(z),
            "all paths read the tokens as they come: index x_m with each order":
                lambda x, z, p, o: sum(p[j % len(p)](x) for j, _ in enumerate(o)) * F.silu(z),
            "with one set of weights there are still several orders: take paths[j % len(paths)]":
                lambda x, z, p, o: several_paths(x, z, p, o[: len(p)]),
            "the gate is missing: multiply the sum by SiLU(z)":
                lambda x, z, p, o: several_paths(x, torch.ones_like(z), p, o) / F.silu(torch.tensor(1.0)),
            "the gate is z itself; it goes through a SiLU": lambda x, z, p, o: several_paths(x, z, p, o) / F.silu(z) * z,
            "all orders use the first path's weights; each has its own where there are several":
                lambda x, z, p, o: several_paths(x, z, p[:1], o),
        },
    )  # fmt: skip


def _causal(weight):
    """A stand-in for convolution and cell: every token becomes a mix of the tokens before it."""
    return lambda x: torch.tanh(x.cumsum(1) @ weight)


# ---------------------------------------------------------------- 8.3


def encoder_parameters(d, depth, paths, shared):
    """Reference: parameters of `depth` version 1 blocks of width d with this many paths each."""
    own = 1 if shared else paths
    return depth * (6 * d**2 + d + own * (86 * d + 8))


@exercise("the parameters of a design", cases=10)
def check_encoder_parameters(student, rng):
    def paths_as(count):
        return lambda d, depth, paths, shared: encoder_parameters(d, depth, count(paths), shared)

    compare(
        student, encoder_parameters,
        {"d": 8 * rng.size(2, 60), "depth": rng.size(2, 30), "paths": rng.choice([2, 4]), "shared": rng.choice([True, False])},
        rtol=1e-12, atol=0,
        diagnose={
            "`shared` is ignored: shared paths are counted once": lambda d, n, p, s: encoder_parameters(d, n, p, False),
            "the number of paths is ignored: each has a convolution, q, k, v, gates, norm and skip of its own":
                lambda d, n, p, s: encoder_parameters(d, n, p, True),
            "the depth is missing: this is one block": lambda d, n, p, s: encoder_parameters(d, 1, p, s),
            "the two projections are counted once per path; all paths share them":
                lambda d, n, p, s: n * ((6 * d**2 + 86 * d + 8) * (1 if s else p) + d),
            "the whole block is counted once per path; norm and projections are shared by all paths":
                lambda d, n, p, s: n * (6 * d**2 + 87 * d + 8) * (1 if s else p),
            "one path too many: the block of chapter 7 has one already": paths_as(lambda p: p + 1),
            "the norm of a block (d) is counted once per path; all paths read the same normalised tokens":
                lambda d, n, p, s: n * (6 * d**2 + (1 if s else p) * (87 * d + 8)),
            "the norm of the block is missing: d": lambda d, n, p, s: encoder_parameters(d, n, p, s) - n * d,
            "the biases of the gates are missing: 8 for each path":
                lambda d, n, p, s: encoder_parameters(d, n, p, s) - 8 * n * (1 if s else p),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 8.4


def path_flops(d, S):
    """Reference: multiply-adds of one path of a version 1 block of width d on S tokens, S x S products in full."""
    return S * (8 * d + 24 * d + 48 * d + 10 * d) + 4 * d * S**2


@exercise("the multiply-adds of one path")
def check_path_flops(student, rng):
    def with_parts(linear, square):
        return lambda d, S: linear * d * S + square * d * S**2

    compare(
        student, path_flops, {"d": 8 * rng.size(2, 60), "S": rng.size(20, 900)}, rtol=1e-12, atol=0,
        diagnose={
            "half of the S × S products is missing: there are two (queries with keys, decays with values), each in full":
                with_parts(90, 2),
            "the heads are counted twice: four heads of width E/4 together are one product of width E": with_parts(90, 16),
            "the products have width E = 2d, not d, in the convolution, q, k, v, gates and norm too": with_parts(45, 2),
            "the projections up and down are counted; they belong to the block and not to a path":
                lambda d, S: path_flops(d, S) + 6 * d**2 * S,
            "the S × S products are missing: they are the larger part": with_parts(90, 0),
            "the norm is missing: 5 for each of the 2d numbers of a token": with_parts(80, 4),
            "the gates are missing: two of them, four heads each, over 3E features": with_parts(42, 4),
            "24 dS are missing: q, k and v together (4 multiply-adds for each of 3 · 2d features), or one of the two gates":
                with_parts(66, 4),
            "the convolution is missing: 4 taps for each of 2d features": with_parts(82, 4),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- 8.5


def sees(blocks, token):
    """Reference: which tokens can the output at `token` depend on?  blocks: one list of orders (S,) each -> (S,) bool."""
    seen = torch.zeros(len(blocks[0][0]), dtype=torch.bool)
    seen[token] = True
    for orders in reversed(blocks):
        wider = seen.clone()
        for order in orders:
            last = int(seen[order].nonzero().max())  # the latest seen token in this order has read all before it
            wider[order[: last + 1]] = True
        seen = wider
    return seen


def _forwards(blocks, token):
    return sees(blocks[::-1], token)


def _one_block(blocks, token):
    return sees(blocks[-1:], token)


def _first_block(blocks, token):
    return sees(blocks[:1], token)


def _strict(blocks, token):
    seen = torch.zeros(len(blocks[0][0]), dtype=torch.bool)
    seen[token] = True
    for orders in reversed(blocks):
        wider = seen.clone()
        for order in orders:
            wider[order[: int(seen[order].nonzero().max())]] = True
        wider[token] = False
        seen = wider if wider.any() else seen
    return seen


@exercise("what a token can see", cases=12)
def check_sees(student, rng):
    S = rng.size(8, 14)

    def orders(count):
        return [torch.randperm(S, generator=rng.generator) for _ in range(count)]

    for shape in ((1, 1), (2,), (2, 1, 2)):  # paths of each block; several structures, since each hides some mistake
        _check_sees(student, [orders(count) for count in shape], rng.size(0, S - 1))


def _check_sees(student, blocks, token):
    compare(
        student, sees, {"blocks": blocks, "token": token},
        diagnose={
            "the blocks are walked from first to last; the output hangs on the last block, so begin there": _forwards,
            "only the last block is looked at": _one_block,
            "only the first block is looked at": _first_block,
            "a token always sees itself": _strict,
            "only the first path of each block is followed": lambda b, t: sees([orders[:1] for orders in b], t),
            "`order` is a list of tokens; a token's place in it is order.argsort()[token]":
                lambda b, t: sees([[o.argsort() for o in orders] for orders in b], t),
            "this is what a token is seen by: a causal path reads what comes before":
                lambda b, t: sees([[o.flip(0) for o in orders] for orders in b], t),
        },
    )  # fmt: skip
