"""Chapter 6: the four orders in which a grid of tokens can be read, and the way back.

A grid of H x W tokens arrives row by row, as (B, H * W, dim).  A causal scan sees only what comes before in its order, so
the order decides what a token can know:

    row               left to right, top to bottom          column             top to bottom, left to right
    row_reversed      the same backwards                    column_reversed    the same backwards

Vision-LSTM alternates `row` and `row_reversed` from block to block (Alkin et al. 2024, arXiv 2406.04303, Figure 1;
Table 2 compares the orders); the authors flip the tokens in their ViLLayer (vil_lite/block.py says where it stands).
An order of your own, a serpentine for instance, is the project of Part 2: book/part2_vision/project2.ipynb.
"""

from torch import Tensor

from vil_lite._names import did_you_mean

Grid = tuple[int, int]
#: direction -> (by columns? backwards?)
_WAYS = {
    "row": (False, False),
    "row_reversed": (False, True),
    "column": (True, False),
    "column_reversed": (True, True),
}
DIRECTIONS = tuple(_WAYS)


def traverse(tokens: Tensor, grid: Grid, direction: str) -> Tensor:
    """Put row-by-row tokens (B, H * W, dim) of grid (H, W) into the order of `direction`; same shape.

    Raises ValueError for an unknown direction and for a grid that does not have as many cells as there are tokens.
    """
    check(tokens, grid, direction)
    by_columns, backwards = _WAYS[direction]
    if by_columns:
        tokens = _transpose(tokens, grid)
    return tokens.flip(1) if backwards else tokens


def restore(tokens: Tensor, grid: Grid, direction: str) -> Tensor:
    """Undo `traverse` with the same grid and direction."""
    check(tokens, grid, direction)
    by_columns, backwards = _WAYS[direction]
    if backwards:
        tokens = tokens.flip(1)
    return _transpose(tokens, grid[::-1]) if by_columns else tokens


def oriented(grid: Grid, direction: str) -> Grid:
    """The (rows, columns) of the grid as a scan in `direction` meets it: read by columns, a grid is its transpose."""
    by_columns, _ = _WAYS[direction]
    return grid[::-1] if by_columns else grid


def check(tokens: Tensor, grid: Grid, direction: str) -> None:
    """Raise ValueError unless tokens (B, S, dim), grid (H, W) and direction fit together."""
    if direction not in DIRECTIONS:
        raise ValueError(
            f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}{did_you_mean(direction, DIRECTIONS)}"
        )
    if tokens.ndim != 3 or len(grid) != 2 or grid[0] * grid[1] != tokens.shape[1]:
        raise ValueError(
            f"tokens must be (B, H * W, dim) with grid = (H, W), got tokens {tuple(tokens.shape)} and grid {tuple(grid)}"
        )


def _transpose(tokens: Tensor, grid: Grid) -> Tensor:
    return tokens.unflatten(1, grid).transpose(1, 2).flatten(1, 2)
