"""What a reader sees in a real kernel: one figure and not two, a message and not a traceback."""

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

DRAW = """\
import matplotlib.pyplot as plt, torch
from vil_lite import teach
from vil_lite.teach.checks._base import compare, exercise
run = teach.setup(seed=0)

def draw(n):
    fig, ax = plt.subplots()
    ax.plot([0, n])
    return fig"""
EXPLORE = 'teach.explore(draw, alt="a line", caption="A line", n=[1, 2, 3])'
CHECK = """\
@exercise("squares")
def check(student, rng):
    compare(student, lambda a: a * a, {"a": rng.normal(3, 4)}, diagnose={"this is the double": lambda a: 2 * a})"""
STUB = "def square(a):\n    raise NotImplementedError('your turn')\n\ncheck(square)"
WRONG = "check(lambda a: a ** 3)"
DOUBLE = "check(lambda a: 2 * a)"
RIGHT = "check(lambda a: a ** 2)"


@pytest.fixture(scope="module", params=["0", "1"], ids=["live", "static"])
def outputs(request):
    """{cell: outputs} after running the cells in a fresh kernel, live or as the book build does."""
    cells = [DRAW, EXPLORE, CHECK, STUB, WRONG, DOUBLE, RIGHT]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIL_STATIC", request.param)
        NotebookClient(notebook, kernel_name="python3", timeout=120, allow_errors=True).execute()
    errors = [o for cell in notebook.cells[:4] for o in cell.outputs if o.output_type == "error"]
    assert errors == []
    return {"static": request.param == "1"} | {cell.source: cell.outputs for cell in notebook.cells}


def test_explore_shows_one_thing(outputs):
    (shown,) = outputs[EXPLORE]
    wanted = "text/html" if outputs["static"] else "application/vnd.jupyter.widget-view+json"
    assert wanted in shown.data
    assert "image/png" not in shown.data
    if outputs["static"]:
        assert shown.data["text/html"].startswith('<figure class="vl-explore"')


def test_checks_print_one_line(outputs):
    assert [o.text for o in outputs[STUB]] == ["Not attempted yet: squares\n"]
    assert [o.text for o in outputs[RIGHT]] == ["✓ squares\n"]


def test_a_wrong_answer_gives_a_message_and_no_traceback(outputs):
    (error,) = outputs[DOUBLE]
    assert error.ename == "CheckFailed"
    (line,) = error.traceback
    assert line.startswith("✗ squares: this is the double.")


def test_an_unexplained_wrong_matrix_is_drawn_beside_the_right_one(outputs):
    figure, error = outputs[WRONG]
    assert "image/png" in figure.data and "reference" in figure.metadata["image/png"]["alt"]
    assert "is off by up to" in error.evalue
