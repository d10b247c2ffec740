"""Chapter 8: its references are the library."""

import torch
import torch.nn.functional as F

from vil_lite.block import DESIGNS, ViLEncoder
from vil_lite.complexity import flops, parameters
from vil_lite.teach.checks import ch08
from vil_lite.traversal import restore, traverse


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
