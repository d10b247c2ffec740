"""book/appendix/tables.md: every "equal", "within 1 %" or "transcribed" is a test that exists, every "measured" a record or page that exists."""

import ast
import re
from pathlib import Path

import execute
import glance
import pytest

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
