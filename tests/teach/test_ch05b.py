"""Chapter 5b: what its page does with a reader's right answer."""

import ast
import json
import math
from pathlib import Path

import pytest
import torch

from vil_lite.teach.checks import ch05b

PAGE = Path(__file__).parents[2] / "book/part1_memory/05b_family.ipynb"


def counting(mirrors):
    """The page's `count`, with these mirrors."""
    sources = ["".join(cell["source"]) for cell in json.loads(PAGE.read_text())["cells"] if cell["cell_type"] == "code"]
    (source,) = [one for one in sources if one.startswith("def count(")]
    space = {"torch": torch, "math": math, "mirrors": mirrors}
    exec(compile(ast.parse(source), "the page", "exec"), space)
    return space["count"]


@pytest.mark.parametrize("angle", [lambda p: math.pi / p, lambda p: -math.pi / p, lambda p: math.pi - math.pi / p])
@pytest.mark.parametrize("first", [0.0, 0.7])
def test_the_page_counts_whichever_way_the_mirrors_turn(angle, first):
    def mirrors(p):
        return tuple(
            torch.tensor([math.cos(at), math.sin(at)], dtype=torch.float64) for at in (first, first + angle(p))
        )

    ch05b.check_mirrors(mirrors, seed=0)
    bits = torch.randint(0, 2, (20, 64), generator=torch.Generator().manual_seed(0)).float()
    for p in (2, 3, 5):
        assert torch.equal(counting(mirrors)(bits, p), bits.cumsum(1).long() % p)
