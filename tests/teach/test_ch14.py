"""Chapter 14: its references are the library."""

import torch

from vil_lite.block import ViLBlock
from vil_lite.complexity import parameters
from vil_lite.teach.checks import ch14


def test_the_references_are_the_library():
    for d in (16, 64, 256):
        assert ch14.block_parameters(d) == parameters(ViLBlock(d, version=1))
    block, x = ViLBlock(16), torch.rand(2, 16, 3, 5)
    from vil_lite.yolo import ViLBlock2d

    on_map = ViLBlock2d(16)
    on_map.load_state_dict(block.state_dict())
    torch.testing.assert_close(ch14.on_map(block, x), on_map(x))
