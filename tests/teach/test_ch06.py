"""Chapter 6: its references are the library."""

import torch

from vil_lite.layers import PatchEmbed, PositionEmbedding
from vil_lite.teach.checks import ch06
from vil_lite.traversal import DIRECTIONS, traverse


def test_the_references_are_the_library():
    torch.manual_seed(0)
    image, embed = torch.randn(2, 3, 8, 12), PatchEmbed(16, patch_size=4)
    by_hand = ch06.patchify(image, 4) @ embed.proj.weight.flatten(1).T + embed.proj.bias
    torch.testing.assert_close(by_hand, embed(image)[0])
    assert ch06.grid_of(224, 320, 16, 8) == PatchEmbed(16, 16, stride=8).grid(224, 320) == (27, 39)
    positions = PositionEmbedding(16, (3, 5))
    tokens = torch.randn(2, 28, 16)
    resized = tokens + ch06.resize(positions.embed, (4, 7)).flatten(1, 2)
    torch.testing.assert_close(resized, positions(tokens, (4, 7)))
    for direction in DIRECTIONS:
        there = traverse(tokens, (4, 7), direction)
        assert torch.equal(ch06.restore(there, (4, 7), direction), tokens)
