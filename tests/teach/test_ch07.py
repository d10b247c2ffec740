"""Chapter 7: its references are the library."""

import math

import torch

from vil_lite.block import ViLBlock
from vil_lite.layers import CausalConv1d, LinearBlockDiagonal
from vil_lite.teach.checks import ch07


def test_the_references_are_the_library():
    for d in (16, 48, 192):
        assert ch07.v2_parameters(d) == sum(p.numel() for p in ViLBlock(d, version=2).parameters())
    x, conv, proj = torch.randn(2, 9, 16), CausalConv1d(16), LinearBlockDiagonal(16, num_heads=4)
    torch.nn.init.normal_(proj.weight)
    torch.testing.assert_close(ch07.causal_conv(x, conv.weight[:, 0], conv.bias), conv(x))
    heads = ch07.block_diagonal(x, proj.weight).unflatten(-1, (4, 4)).permute(2, 0, 1, 3)
    torch.testing.assert_close(heads, proj(x))
    cell = ViLBlock(8).layer.paths[0].mlstm_cell
    torch.nn.init.normal_(cell.igate.weight)
    q, k, v = torch.randn(3, 4, 2, 9, 4)
    torch.testing.assert_close(ch07.gates(q, k, v, cell.igate.weight, cell.igate.bias), cell.gates(q, k, v)[0].float())
    assert math.isclose(1 / (1 - torch.sigmoid(torch.tensor(ch07.bias_for_span(20.0))).item()), 20, rel_tol=1e-4)
