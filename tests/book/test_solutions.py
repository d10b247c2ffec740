"""What the build printed: every stub is "not attempted", every solution passes its own check, nothing failed; every line
fits the page, differences between models say what they are made of, and no number is -0.0.

Read from the notebooks that `make book` has executed; a chapter that it has not executed is an error, not a skip.
"""

import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
import nb
from execute import executed, exercise_faults, notebooks

from vil_lite.statistics import Difference

CHAPTERS = nb.chapters()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stubs_are_not_attempted_and_solutions_pass(path):
    notebook = executed(path)
    assert notebook is not None, f"{path.name} has not been executed as it is: run `make book` first"
    for tag in ("exercise", "solution"):
        assert any(tag in nb.tags(cell) for cell in notebook.cells)
    assert exercise_faults(notebook) == []


NUMBER = r"[+-][\d.e-]+"
DIFFERENCE = re.compile(rf"{NUMBER} \[ *{NUMBER}, +{NUMBER}\] (higher|lower|cannot be told apart)")
MINUS_ZERO = re.compile(r"(?<![\w.])-0(\.0*)?(?![\w.])")


def faults_of(printed: str) -> list[str]:
    """What is wrong with the text that one cell prints."""
    lines = printed.splitlines()
    differences = [line for line in lines if DIFFERENCE.search(line)]
    found = [f"over 80 columns: {line}" for line in lines if len(line) > 80]
    found += [f"minus nothing: {line}" for line in lines if MINUS_ZERO.search(line)]
    if differences and "% interval] of " not in printed:
        found.append(f"print its `basis` below: {differences[-1]}")
    return found


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)
def test_printed_lines_fit_and_differences_say_what_they_are_made_of_and_nothing_is_minus_nothing(path):
    for cell in executed(path).cells:
        outputs = cell.get("outputs", [])
        printed = "".join(output.text for output in outputs if output.output_type == "stream")
        printed += "".join(
            output.data.get("text/plain", "") for output in outputs if output.output_type == "execute_result"
        )
        assert faults_of(printed) == [], cell.id


def test_faults_of_what_is_printed_are_found():
    good = f"ViL {Difference(1, -0.004, 2, 5)}\nViT {Difference(-2, -12.3, -1e-5, 5)}\n"
    basis = Difference(1, 0.5, 2, 5, comparisons=3).basis
    assert faults_of(good + basis) == faults_of("3-0, 10.0 and -0.01, 1e-05, v-0.0") == []
    assert len(faults_of(good)) == len(faults_of("[-0.0  1. ]")) == len(faults_of("a -0")) == len(faults_of("-0.")) == 1
    assert "over 80 columns" in faults_of(" " * 50 + good + basis)[0]
    error = "ValueError: an image of 427 x 640 pixels does not divide into patches of 32 at "
    assert faults_of(f"{error}3") == [] and faults_of(f"{error}32") == [f"over 80 columns: {error}32"]


def run(tag: str, text: str, **output):
    cell = new_code_cell("ch03.check_a(f)", metadata={"tags": [tag]})
    cell.outputs = [new_output("stream", text=text)] + ([new_output("error", **output)] if output else [])
    return exercise_faults(new_notebook(cells=[cell]))


def test_each_fault_is_found():
    assert run("exercise", "Not attempted yet: a\n") == run("solution", "✓ a\n") == []
    assert "printed '✓ a" in run("exercise", "✓ a\n")[0]
    assert "printed 'Not attempted" in run("solution", "Not attempted yet: a\n")[0]
    assert "printed ''" in run("solution", "")[0]
    assert "CheckFailed: wrong" in run("solution", "✓ a\n", ename="CheckFailed", evalue="wrong")[0]


def test_no_sentence_of_a_student_notebook_says_minus_nothing():
    """They hold the numbers of the book's last run: round one such to more digits."""
    sentences = [
        line
        for path in sorted((ROOT / "student").glob("*.ipynb"))
        for cell in nb.read(path).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
    ]
    assert len(sentences) > 1000 and [line for line in sentences if MINUS_ZERO.search(line)] == []
