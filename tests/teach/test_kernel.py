"""What a reader sees in a real kernel: one figure and not two, a message and not a traceback."""

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

DRAW = """\
import matplotlib.pyplot as plt, torch
from vil_lite import teach
from vil_lite.teach.checks._base import exercise
run = teach.setup(seed=0)

def draw(n):
    fig, ax = plt.subplots()
    ax.plot([0, n])
    return fig"""
EXPLORE = 'teach.explore(draw, alt="a line", caption="A line", n=[1, 2, 3])'
CHECK = """\
def book(a):
    return a * a

@exercise("0.1", "squares", book, mistakes={"this is the double": lambda a: 2 * a}, function="square")
def check(rng):
    return {"a": rng.normal(3, 4)}

three = torch.tensor(3.0)"""
ANSWER = "def square(a):\n    {}\n\nsquare = check(square)\nprint(float(square(three)))"
STUB = ANSWER.format("raise NotImplementedError('your turn')")
WRONG = ANSWER.format("return a ** 3")
DOUBLE = ANSWER.format("return 2 * a")
RIGHT = ANSWER.format("return a ** 2 + 0 * three")


@pytest.fixture(scope="module")
def ran():
    """{"0": {cell: outputs}, "1": ...} after running the cells in one fresh kernel, live and then as the book build does."""
    cells = [DRAW]
    for static in "01":
        cells += [f"%env VIL_STATIC={static}", EXPLORE, CHECK, STUB, WRONG, DOUBLE, RIGHT]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=120, allow_errors=True).execute()
    errors = [
        o for cell in (*notebook.cells[:5], *notebook.cells[8:12]) for o in cell.outputs if o.output_type == "error"
    ]
    assert errors == []
    return {
        static: {cell.source: cell.outputs for cell in notebook.cells[at : at + 7]}
        for static, at in (("0", 1), ("1", 8))
    }


@pytest.fixture(params=["0", "1"], ids=["live", "static"])
def outputs(request, ran):
    return {"static": request.param == "1"} | ran[request.param]


def test_explore_shows_one_thing(outputs):
    (shown,) = outputs[EXPLORE]
    wanted = "text/html" if outputs["static"] else "application/vnd.jupyter.widget-view+json"
    assert wanted in shown.data
    assert "image/png" not in shown.data
    if outputs["static"]:
        assert shown.data["text/html"].startswith('<figure class="vl-explore"')


def text(outputs) -> str:
    return "".join(o.text for o in outputs if o.output_type == "stream")


def test_the_page_goes_on_with_the_readers_function_or_the_books_and_says_which(outputs):
    if outputs["static"]:
        assert text(outputs[RIGHT]) == "✓ squares\n9.0\n"
        assert text(outputs[STUB]) == "Not attempted yet: squares\n9.0\n"
        return
    assert text(outputs[RIGHT]) == "✓ squares; the page goes on with your `square`\n9.0\n"
    assert "Not attempted yet: squares" in text(outputs[STUB])
    for cell in (STUB, WRONG, DOUBLE):
        assert "Stuck? The page goes on with the book's `square`.\n9.0\n" in text(outputs[cell])


def test_a_wrong_answer_gives_a_message_and_no_traceback(outputs):
    """To a reader; the build of the book stops."""
    if outputs["static"]:
        (error,) = outputs[DOUBLE]
        (line,) = error.traceback
        assert error.ename == "CheckFailed" and line.startswith("✗ squares: this is the double.")
    else:
        told = [o.text for o in outputs[DOUBLE] if o.output_type == "stream" and o.name == "stderr"]
        assert len(told) == 1 and told[0].startswith("✗ squares: this is the double.")


def test_an_unexplained_wrong_matrix_is_drawn_beside_the_right_one(outputs):
    figure, *_ = outputs[WRONG]
    assert "image/png" in figure.data and "reference" in figure.metadata["image/png"]["alt"]
    assert outputs["static"] or "is off by up to" in text(outputs[WRONG])
