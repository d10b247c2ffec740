"""book/appendix/tables.md: every "equal", "within 1 %" or "transcribed" is a test that exists, every "measured" a record or page that exists."""

import ast
import csv
import re
from pathlib import Path

import execute
import glance
import nb
import pytest
import timm
import torch

from vil_lite import complexity, create_model

ROOT = Path(__file__).resolve().parents[2]
TESTED = ("equal", "within 1 %", "transcribed")
ROWS = glance.entries()


def evidence(*status):
    """(row in words, its evidence as a list) of the rows with one of these."""
    for row in ROWS:
        if row["status"] in status:
            yield f"{row['table']}, {row['rows']}: {row['column']}", row["evidence"]


def test_eight_tables_and_five_kinds_of_status():
    page = (ROOT / "book/appendix/tables.md").read_text(encoding="utf-8")
    assert list(dict.fromkeys(row["table"] for row in ROWS)) == re.findall("^## .+", page, re.M)
    assert {row["status"] for row in ROWS} == {*TESTED, "measured", "out of reach"}
    cells = [(row["table"], row["rows"], row["column"]) for row in ROWS]
    assert len(set(cells)) == len(cells), "a cell has two rows"


def test_every_tested_cell_names_a_test_that_pytest_collects():
    for cell, tests in evidence(*TESTED):
        assert tests, cell
        for test in tests:
            file, name = re.fullmatch(r"(tests/(?:\w+/)*test_\w+\.py)::(test_\w+)", test).groups()
            module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, f"{cell}: {test}"


def test_every_measured_cell_names_a_record_or_a_page_of_the_book():
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in execute.notebooks()}
    for cell, names in evidence("measured"):
        assert names, cell
        for name in names:
            found = name in pages if name.startswith("book/") else (ROOT / "book/results" / f"{name}.json").is_file()
            assert found, f"{cell}: {name}"


def test_what_is_out_of_reach_says_why():
    for row in ROWS:
        if row["status"] == "out of reach":
            assert len(row["note"].split()) > 3 and not row["evidence"], row


def test_a_setting_is_not_called_a_result():
    """Tests of a recipe compare what we typed with what we typed: such a row is transcribed, and FLOPs are within 1 %."""
    for row in ROWS:
        settings = ("tests/test_recipes.py", "tests/test_training.py", "test_blocks_that_are_read_by_default")
        assert any(test in " ".join(row["evidence"]) for test in settings) == (row["status"] == "transcribed"), row
        if row["status"] in TESTED:
            assert (row["column"] == "FLOPs") == (row["status"] == "within 1 %"), row


@pytest.mark.parametrize(
    ("what", "page", "others"),
    [
        ("digits", "part2_vision/11_training", set()),
        ("pixels", "part4_beyond/18_segmentation", {2}),
        ("labels", "part4_beyond/19_self_supervision", {2, 4, 6, 12}),
    ],
)
def test_the_readme_judges_as_the_page_does(what, page, others):
    """An interval depends on how many comparisons it is widened for; others: what the page judges apart from this."""
    notebook = execute.executed(ROOT / f"book/{page}.ipynb")
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    widened = {int(n) for text in printed for n in re.findall(r"widened for (\d+) comparisons", text)}
    assert widened - others == {glance.TOGETHER[what]}


def relatives():
    """{model: (parameters in millions, multiply-adds in billions or nothing, top-1; of T, S and B each, source)}"""
    page = (ROOT / "book/part2_vision/relatives.md").read_text(encoding="utf-8").split("## What they cost")[1]
    rows = re.findall(r"^\| \*\*(\w+)\*\*[^|]*\|([^|]+)\|([^|]+)\|([^|]+)\|([^|]+)\|$", page, re.M)
    return {
        name: (*([float(x) for x in re.findall(r"[\d.]+", cell)] for cell in cells), source)
        for name, *cells, source in rows
    }


def test_every_relative_has_a_source_and_agrees_with_table_1_where_that_has_it():
    found = relatives()
    assert list(found) == ["ViL", "Vim", "VMamba", "VRWKV", "ViG", "DeiT"]
    with (ROOT / "book/results/10_table1.csv").open(encoding="utf-8") as lines:
        table = {row["model"]: row for row in csv.DictReader(lines)}
    for name, (params, work, top1, source) in found.items():
        assert "https://" in source or "{doc}" in source, name
        assert len(params) == len(top1) == 3 and len(work) in (0, 3), name
        for n, size in enumerate("TSB"):
            if row := table.get(f"{name}-{size}"):
                assert float(row["top1"]) == top1[n], row
                assert not row["gflops"] or [float(row["params_m"]), float(row["gflops"])] == [params[n], work[n]], row


@pytest.mark.parametrize(
    ("name", "models", "make", "half"),
    [
        ("ViL", ("vil_tiny", "vil_small", "vil_base"), lambda m: create_model(m, form="parallel"), True),
        ("DeiT", [f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")], timm.create_model, False),
    ],
)
def test_costs_that_the_page_on_relatives_calls_counted_are_counted(name, models, make, half):
    params, work, _, _ = relatives()[name]
    image = torch.empty(1, 3, 224, 224, device="meta")
    for n, model in enumerate(models):
        with torch.device("meta"):
            net = make(model)
        assert round(complexity.parameters(net) / 1e6, 1) == params[n], model
        assert round(complexity.flops(net, image, half=half) / 1e9, 1) == work[n], model


def published(page):
    """What a chapter quotes of the list of Fashion-MNIST, {network: % right}, and its text."""
    cells = nb.read(ROOT / f"book/part2_vision/{page}.ipynb").cells
    quoted = [
        ast.literal_eval(node.value)
        for cell in cells
        if cell.cell_type == "code" and re.search("^published = ", cell.source, re.M)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "published"
    ]
    assert len(quoted) == 1, page
    return quoted[0], "".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_figures_of_fashion_mnist_are_quoted_alike_and_with_their_address():
    (few, first), (all_of_them, second) = (published(page) for page in ("08_block_designs", "11_training"))
    assert few and few.items() <= all_of_them.items()
    for text in (first, second):
        assert "(https://github.com/zalandoresearch/fashion-mnist#benchmark)" in text
