"""Exam variant of chapter 6: another scan."""

from vil_lite.teach.checks._base import exercise


def snake(tokens, grid, *, first=1):
    """tokens (B, S, d) row by row on a grid (H, W) -> every second row (the 2nd, 4th, ...) read from right to left."""
    rows = tokens.unflatten(1, grid).clone()
    rows[:, first::2] = rows[:, first::2].flip(2)
    return rows.flatten(1, 2)


@exercise(
    "exam 6",
    "the order of an ox that ploughs",
    snake,
    mistakes={
        "the 2nd, 4th, ... row are turned, not the 1st, 3rd": {"first": 0},
        "all rows are turned": lambda t, g: t.unflatten(1, g).flip(2).flatten(1, 2),
        "the whole sequence is turned; only every second row is": lambda t, g: t.flip(1),
        "nothing is turned": lambda t, g: t,
        "the grid is (H, W), rows first": lambda t, g: snake(t, g[::-1]),
    },
)
def check_snake(rng):
    grid = (rng.size(2, 3), rng.size(4, 5))
    return {"tokens": rng.normal(2, grid[0] * grid[1], 3), "grid": grid}
