"""What the build printed: every stub is "not attempted", every solution passes its own check, nothing failed.

Read from the notebooks that `make book` has executed; a chapter that it has not executed is an error, not a skip.
"""

import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
import nb
from execute import executed

CHAPTERS = nb.chapters()


def printed(cell) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


def faults(notebook) -> list[str]:
    """What is wrong with the outputs of the exercises of an executed notebook."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        found += [f"{cell.id}: {o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
        checks = len(re.findall(r"\bcheck_\w+\(", cell.source))
        for tag, line in (("exercise", "Not attempted yet: "), ("solution", "✓ ")):
            if tag in nb.tags(cell) and not printed(cell).count(line) == checks > 0:
                found.append(f"{cell.id}: {checks} checks in this {tag} printed {printed(cell)!r}")
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stubs_are_not_attempted_and_solutions_pass(path):
    notebook = executed(path)
    assert notebook is not None, f"{path.name} has not been executed as it is: run `make book` first"
    for tag in ("exercise", "solution"):
        assert any(tag in nb.tags(cell) for cell in notebook.cells)
    assert faults(notebook) == []


def run(tag: str, text: str, **output):
    cell = new_code_cell("ch03.check_a(f)", metadata={"tags": [tag]})
    cell.outputs = [new_output("stream", text=text)] + ([new_output("error", **output)] if output else [])
    return faults(new_notebook(cells=[cell]))


def test_each_fault_is_found():
    assert run("exercise", "Not attempted yet: a\n") == run("solution", "✓ a\n") == []
    assert "printed '✓ a" in run("exercise", "✓ a\n")[0]
    assert "printed 'Not attempted" in run("solution", "Not attempted yet: a\n")[0]
    assert "printed ''" in run("solution", "")[0]
    assert "CheckFailed: wrong" in run("solution", "✓ a\n", ename="CheckFailed", evalue="wrong")[0]
