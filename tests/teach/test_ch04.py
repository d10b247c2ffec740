"""Chapter 4: its references are the library, its numbers are right."""

import math
import sys
from pathlib import Path

import torch
from torch.nn.functional import logsigmoid

from vil_lite.mlstm import MLSTMState, mlstm_parallel
from vil_lite.teach.checks import ch04

ROOT = Path(__file__).parents[2]
import nb

CHAPTER = ROOT / "book/part1_memory/04_parallel_form.ipynb"


def test_the_page_counts_the_liars():
    assert len(ch04.LIARS) == 8
    assert any("eight\nliars" in cell.source or "eight liars" in cell.source for cell in nb.read(CHAPTER).cells)


def test_the_references_are_the_library():
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 30, 4, generator=g, dtype=torch.float64)
    i, f = torch.randn(2, 1, 2, 30, generator=g, dtype=torch.float64)
    C, n, m = (
        torch.randn(1, 2, 4, 4, generator=g).double(),
        torch.randn(1, 2, 4, generator=g).double(),
        torch.ones(1, 2).double(),
    )
    ours = ch04.parallel_from(*(x[0] for x in (q, k, v, i, f, C, n, m)))
    torch.testing.assert_close(ours[None], mlstm_parallel(q, k, v, i, f, MLSTMState(C, n, m), eps=0)[0])


def test_numbers_in_the_prose():
    """Those that no cell of the page computes."""
    assert round(torch.tensor(3.0).sigmoid().item(), 2) == 0.95
    assert round(196 * -logsigmoid(torch.tensor(3.0)).item(), 1) == 9.5  # rubric
    assert round(196 * math.log(2)) == 136  # rubric
    assert int(math.log(sys.float_info.max)) == 709  # rubric
    assert 1e-44 < math.exp(-100) < 1e-43
