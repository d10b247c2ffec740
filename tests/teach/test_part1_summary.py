"""The three listings on the summary page of Part 1 are the library's three forms."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import logsigmoid

from vil_lite.mlstm import mlstm_recurrent

PAGE = Path(__file__).parents[2] / "book/part1_memory/summary.md"


@pytest.fixture(scope="module")
def listings():
    space = {"torch": torch, "logsigmoid": logsigmoid}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S):
        exec(code, space)
    return space


@pytest.mark.parametrize(
    ("name", "options"), [("recurrent", []), ("parallel", []), *(("chunkwise", [L]) for L in (1, 7, 30))]
)
@pytest.mark.parametrize("louder", [-5, 0, 5])
def test_a_listing_is_the_library(listings, name, options, louder):
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 3, 30, 4, generator=g, dtype=torch.float64)
    v = torch.randn(3, 30, 5, generator=g, dtype=torch.float64)
    i, f = torch.randn(2, 3, 30, generator=g, dtype=torch.float64) + torch.tensor([louder, 2.0])[:, None, None]
    wanted = mlstm_recurrent(*(x[None] for x in (q, k, v, i, f)), eps=0)[0][0]
    torch.testing.assert_close(listings[name](q, k, v, i, f, *options), wanted, rtol=1e-9, atol=1e-11)


def test_no_line_of_the_sheets_is_cut():
    for page in PAGE.parents[1].glob("part*/summary.md"):
        for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S):
            assert max(map(len, code.splitlines())) <= 80, page
