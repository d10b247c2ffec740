"""Orders of a grid: what they are, and that the way back is the way back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vil_lite.traversal import DIRECTIONS, oriented, restore, traverse


def test_the_four_orders_of_a_small_grid():
    tokens = torch.arange(6)[None, :, None]  # 0 1 2 / 3 4 5
    orders = {d: traverse(tokens, (2, 3), d).flatten().tolist() for d in DIRECTIONS}
    assert orders == {
        "row": [0, 1, 2, 3, 4, 5],
        "row_reversed": [5, 4, 3, 2, 1, 0],
        "column": [0, 3, 1, 4, 2, 5],
        "column_reversed": [5, 2, 4, 1, 3, 0],
    }


@given(st.integers(1, 7), st.integers(1, 7), st.sampled_from(DIRECTIONS))
def test_restore_undoes_traverse(height, width, direction):
    tokens = torch.randn(2, height * width, 3)
    path = traverse(tokens, (height, width), direction)
    assert torch.equal(restore(path, (height, width), direction), tokens)
    assert sorted(oriented((height, width), direction)) == sorted((height, width))


def test_wrong_arguments_are_named():
    tokens = torch.randn(1, 6, 2)
    with pytest.raises(ValueError, match="direction must be one of row"):
        traverse(tokens, (2, 3), "diagonal")
    with pytest.raises(ValueError, match=r"grid = \(H, W\)"):
        traverse(tokens, (2, 2), "row")
