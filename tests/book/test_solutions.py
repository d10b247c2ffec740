"""What the build printed: every stub is "not attempted", every solution passes its own check, nothing failed.

Read from the notebooks that `make book` has executed; a chapter that it has not executed is an error, not a skip.
"""

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
import nb
from execute import executed, exercise_faults

CHAPTERS = nb.chapters()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stubs_are_not_attempted_and_solutions_pass(path):
    notebook = executed(path)
    assert notebook is not None, f"{path.name} has not been executed as it is: run `make book` first"
    for tag in ("exercise", "solution"):
        assert any(tag in nb.tags(cell) for cell in notebook.cells)
    assert exercise_faults(notebook) == []


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
