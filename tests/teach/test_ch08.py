"""Chapter 8's checks accept the chapter's solutions, and say what is wrong with plausible wrong answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _chapter import page_tests, rejects

from vil_lite.block import DESIGNS, ViLEncoder
from vil_lite.complexity import flops, parameters
from vil_lite.teach.checks import ch08
from vil_lite.traversal import DIRECTIONS, restore, traverse

CHECKS = {
    "plan": ch08.check_plan,
    "several_paths": ch08.check_several_paths,
    "encoder_parameters": ch08.check_encoder_parameters,
    "path_flops": ch08.check_path_flops,
    "sees": ch08.check_sees,
}

test_the_solution_passes, test_the_stub_is_not_attempted = page_tests(
    "part2_vision/08_block_designs.ipynb", CHECKS, {"torch": torch, "np": np, "F": F, "DIRECTIONS": DIRECTIONS}
)


def renamed(plan, names):
    return [[names.get(way, way) for way in block] for block in plan]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda design, depth: ch08.plan(design.replace("alternating_", ""), depth), "one direction in each block"),
        (lambda design, depth: ch08.plan(design, depth + 1)[1:], "block 0 reads"),
        (lambda design, depth: [b[:1] if "shared" in design else b for b in ch08.plan(design, depth)], "Sharing|sharing"),
        (
            lambda design, depth: renamed(ch08.plan(design, depth), {"row_reversed": "column", "column": "row_reversed"}),
            "columns come third",
        ),
        (
            lambda design, depth: (
                [[DIRECTIONS[j * (4 if "quad" in design else 2) // depth]] for j in range(depth)]
                if "alternating" in design
                else ch08.plan(design, depth)
            ),
            "one part of the depth",
        ),
    ],
)
def test_wrong_plans(wrong, message):
    rejects(ch08.check_plan, wrong, message)


def paths_by(x_m, z, paths, orders, way=lambda x, o: x[:, o], back=lambda h, o: h[:, o.argsort()], gate=F.silu, pick=None):
    """A student's paths, with room for mistakes."""
    y = 0
    for j, order in enumerate(orders):
        y = y + back(paths[j % len(paths) if pick is None else pick](way(x_m, order)), order)
    return y * gate(z)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, z, p, o: paths_by(x, z, p, o) / len(o), "averaged"),
        (lambda x, z, p, o: paths_by(x, z, p, o, back=lambda h, o: h), "not put back"),
        (lambda x, z, p, o: paths_by(x, z, p, o, back=lambda h, o: h[:, o]), "argsort"),
        (lambda x, z, p, o: paths_by(x, z, p, o, way=lambda x, o: x, back=lambda h, o: h), "as they come"),
        (lambda x, z, p, o: paths_by(x, z, p, o, gate=torch.ones_like), "gate is missing"),
        (lambda x, z, p, o: paths_by(x, z, p, o, gate=lambda z: z), "gate is z itself"),
    ],
)
def test_wrong_paths(wrong, message):
    rejects(ch08.check_several_paths, wrong, message)


def test_paths_that_are_forgotten():
    """Both mistakes show only for shared, or only for own weights; among five random cases there are both."""
    rejects(ch08.check_several_paths, lambda x, z, p, o: paths_by(x, z, p, o[: len(p)]), "still several orders")
    rejects(ch08.check_several_paths, lambda x, z, p, o: paths_by(x, z, p, o, pick=0), "each has its own")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d, n, p, s: ch08.encoder_parameters(d, n, p, False), "`shared` is ignored"),
        (lambda d, n, p, s: ch08.encoder_parameters(d, n, 1, False), "number of paths is ignored"),
        (lambda d, n, p, s: ch08.encoder_parameters(d, 1, p, s), "depth is missing"),
        (lambda d, n, p, s: n * (1 if s else p) * (6 * d**2 + 87 * d + 8), "whole block"),
        (lambda d, n, p, s: n * (6 * d**2 + (1 if s else p) * (87 * d + 8)), "norm of a block"),
        (lambda d, n, p, s: n * (6 * d**2 + (1 if s else p) * (86 * d + 8)), "norm of the block is missing"),
        (lambda d, n, p, s: n * (6 * d**2 + d + (1 if s else p) * 86 * d), "biases of the gates"),
        (lambda d, n, p, s: n * (6 * d**2 + 87 * d + 8 + (0 if s else p) * (86 * d + 8)), "one path too many"),
    ],
)
def test_wrong_parameters(wrong, message):
    rejects(ch08.check_encoder_parameters, wrong, message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d, S: 90 * d * S + 2 * d * S**2, "there are two"),
        (lambda d, S: 90 * d * S + 16 * d * S**2, "heads are counted twice"),
        (lambda d, S: 90 * d * S, "larger part"),
        (lambda d, S: (90 * d + 6 * d**2) * S + 4 * d * S**2, "belong to the block"),
        (lambda d, S: 66 * d * S + 4 * d * S**2, "one of the two gates"),
        (lambda d, S: 42 * d * S + 4 * d * S**2, "gates are missing"),
        (lambda d, S: 80 * d * S + 4 * d * S**2, "norm is missing"),
    ],
)
def test_wrong_flops(wrong, message):
    rejects(ch08.check_path_flops, wrong, message)


def seen_by(blocks, token, walk=reversed, own=True, paths=slice(None), place=lambda o: o):
    """A student's walk, with room for mistakes."""
    seen = torch.zeros(len(blocks[0][0]), dtype=torch.bool)
    seen[token] = True
    for orders in walk(blocks):
        wider = seen.clone()
        for order in map(place, orders[paths]):
            wider[order[: int(seen[order].nonzero().max()) + 1]] = True
        seen = wider
    return seen


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"walk": list}, "first to last"),
        ({"walk": lambda blocks: blocks[-1:]}, "only the last block|first to last"),
        ({"paths": slice(1)}, "only the first path"),
        ({"place": lambda o: o.argsort()}, "argsort"),
        ({"place": lambda o: o.flip(0)}, "what comes before"),
    ],
)
def test_wrong_walks(mistake, message):
    rejects(ch08.check_sees, lambda blocks, token: seen_by(blocks, token, **mistake), message)


def test_the_references_are_the_library():
    for design, (directions, shared) in DESIGNS.items():
        encoder = ViLEncoder(16, 5, design)
        assert [list(block.layer.directions) for block in encoder.blocks] == ch08.plan(design, 5)
        assert parameters(encoder) == ch08.encoder_parameters(16, 5, len(directions[0]), shared)
    x, grid = torch.randn(1, 12, 16), (3, 4)
    one, two = (flops(ViLEncoder(16, 1, d, form="parallel"), x, grid) for d in ("unidirectional", "bidirectional"))
    assert two - one == ch08.path_flops(16, 12)
    layer = ViLEncoder(16, 1, "quaddirectional").blocks[0].layer
    x_m, z = torch.randn(2, 1, 12, 32)
    orders = [traverse(torch.arange(12).view(1, -1, 1), grid, way).flatten() for way in layer.directions]
    wanted = sum(
        restore(path(traverse(x_m, grid, way), grid), grid, way)
        for path, way in zip(layer.paths, layer.directions, strict=True)
    )
    paths = [lambda x, path=path: path(x, grid) for path in layer.paths]
    torch.testing.assert_close(ch08.several_paths(x_m, z, paths, orders), wanted * F.silu(z))
