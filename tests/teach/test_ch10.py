"""Chapter 10: its references are the library."""

import torch

from vil_lite import complexity, create_model
from vil_lite.block import ViLBlock
from vil_lite.checkpoints import official_name
from vil_lite.teach.checks import ch10


def test_the_references_are_the_library():
    with torch.device("meta"):
        small, block = create_model("vil_small", depth=3, num_classes=7, image_size=160), ViLBlock(64, form="parallel")
        x = torch.empty(1, 35, 64)
    assert ch10.vil_parameters(384, 3, 100, 7) == complexity.parameters(small)
    norms = 5 * 35 * 64 + 5 * 35 * 128
    assert ch10.block_multiply_adds(35, 64) + norms == complexity.flops(block, x, (5, 7))
    for raw, wanted in ch10.RAW:
        assert official_name(raw.format(i=3), version=1) == wanted.format(i=3) == ch10.library_name(raw.format(i=3))
