"""The summary page of Part 4: its listing runs, and its numbers are those that the chapters' pages glue."""

import ast
import json
import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "book/part4_beyond/summary.md").read_text(encoding="utf-8")

#: What a row of the page says: its numbers in their order, as (name in the chapter, format).
ROWS = {
    "half-life of a head": [("ch19-half-3", ".0f"), ("ch19-half-6", ".0f")],
    "mean IoU if each cell": [(f"ch18-{what}-{s}", ".2f") for what in ("ceiling", "soft") for s in (4, 8, 16)],
    "36 times the pixels": [
        ("ch18-more", ".0f"),
        *((f"ch18-grown-{kind}", ".0f") for kind in ("ViL", "U-Net", "ViT")),
    ],
    "an encoder on all tokens": [("ch19-saved", ".1f"), ("ch19-scan-cost", ".1f")],
    "gradient × input$\\rvert$ of a trained": [("ch20-inked-random", ".2f")],
    "memories silent": [(f"ch20-{what}", ".0f") for what in ("no-memory", "full", "summed", "together")],
}
VERDICTS = {
    "ch18-ViT-32-verdict": "ViL is ahead",
    "ch18-ViT-64-verdict": "cannot be told apart",
    "ch18-U-Net-32-verdict": "cannot be told apart",
    "ch18-U-Net-64-verdict": "cannot be told apart",
    **{f"ch19-gain-ViL-{n}-verdict": "cannot be told apart" for n in (10, 50, 250)},
    **{f"ch19-gain-ViT-{n}-verdict": "higher" for n in (10, 50, 250)},
    **{f"ch19-beats-{n}-verdict": "cannot be told apart" for n in (10, 50, 250)},
}


GLUED = json.loads((ROOT / "book/glued.json").read_text(encoding="utf-8"))
VALUES = {name: ast.literal_eval(value) for page in GLUED.values() for name, value in page["numbers"].items()}


def test_the_listing_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.M | re.S)
    torch.manual_seed(0)
    space = {"images": torch.rand(1, 3, 224, 224), "masks": torch.randint(5, (1, 224, 224))}
    exec(code, space)
    assert space["table"].sum() == 224**2 and 0 <= space["score"] <= 1 and space["loss"].isfinite()
    assert space["forget"].shape[1:] == (1, 196) and len(space["smaller"].encoder.blocks) == 23
    logits = [net(space["images"]) for net in (space["silent"], space["smaller"])]
    assert {x.shape for x in logits} == {(1, 10)}


def test_the_numbers_are_those_of_the_chapters():
    for start, wanted in ROWS.items():
        (row,) = (line for line in TEXT.splitlines() if start in line)
        places = [row.find(f"{VALUES[name]:{form}}") for name, form in wanted]
        assert -1 not in places, (start, [f"{VALUES[name]:{form}}" for name, form in wanted])


def test_the_verdicts_are_those_of_the_chapters():
    assert {name: VALUES[name] for name in VERDICTS} == VERDICTS
