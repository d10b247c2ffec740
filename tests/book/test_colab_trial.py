"""The trial of the student notebooks outside the checkout: what it runs, and what it calls a failure."""

import json
import subprocess
import sys
from pathlib import Path

import colab_trial
import nb
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
STUB = "def f(x):\n    raise NotImplementedError\n\nprint('Not attempted yet: f')  # check_f(f)"
RIGHT = "def f(x):\n    return x\n\nprint('✓ f')  # check_f(f)"


def notebook(*cells):
    return new_notebook(cells=[new_code_cell(source, metadata={"tags": [tag]}) for tag, source in cells])


def test_solutions_take_the_place_of_the_stubs_of_every_chapter():
    for path in nb.chapters():
        master, given = nb.read(path), nb.read(ROOT / "student" / path.name)
        solutions = [cell.source for cell in master.cells if "solution" in nb.tags(cell)]
        made = colab_trial.solved(given, master)
        assert [cell.source for cell in made.cells if "solution" in nb.tags(cell)] == solutions
        assert not any("exercise" in nb.tags(cell) for cell in made.cells)
    with pytest.raises(ValueError, match="more solutions"):
        colab_trial.solved(notebook(), notebook(("solution", RIGHT)))


def test_notebooks_are_chosen_by_how_their_names_begin():
    stems = [path.stem for path in colab_trial.choose(["05", "project"])]
    assert stems == ["05_chunkwise_form", "05b_family", "project", "project2"]
    assert [path.stem for path in colab_trial.choose(["05_"])] == ["05_chunkwise_form"]
    assert len(colab_trial.choose([])) == len(nb.chapters())
    with pytest.raises(SystemExit, match="no notebook begins with '99'"):
        colab_trial.choose(["99"])


def test_a_folder_inside_the_checkout_is_refused(capsys):
    with pytest.raises(SystemExit):
        colab_trial.main(["--folder", str(ROOT / "_build" / "trial")])
    assert "inside the checkout" in capsys.readouterr().err


@pytest.fixture
def environment(tmp_path):
    """A layer above the packages that this runs in: no kernel like Colab's, but the same way to it."""
    made = colab_trial.layer(Path(sys.prefix), tmp_path / "layer")
    assert subprocess.check_output(
        [made / "bin" / "python", "-c", "import sys; print(sys.prefix)"], text=True
    ).strip() == str(made)
    return made


def test_what_fails_and_what_passes_outside(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("VIL_STATIC", "1")  # of our shell, which a stranger's does not have
    (tmp_path / "empty").mkdir()
    good = (
        "import os\nassert os.listdir() == [] and 'VIL_STATIC' not in os.environ\nprint(os.environ['VIL_LITE_SOURCE'])"
    )
    tried = notebook(
        ("x", good), ("exercise", STUB), ("solution", STUB), ("exercise", RIGHT), ("x", "1 / 0"), ("x", "2")
    )
    faults = colab_trial.execute(tried, environment, tmp_path / "empty", tmp_path / "a.whl")
    assert tried.cells[0].outputs[0].text == f"{tmp_path / 'a.whl'}\n" and tried.cells[-1].execution_count == 6
    assert len(faults) == 3 and "ZeroDivisionError" in faults[2]
    assert "1 checks in this solution printed 'Not attempted yet" in faults[0]
    assert "1 checks in this exercise printed '✓" in faults[1]
    died = notebook(("x", "import os; os._exit(1)"))
    (fault,) = colab_trial.execute(died, environment, tmp_path / "empty", tmp_path / "a.whl")
    assert "DeadKernelError" in fault


CONVERTER = """#!{python}
import os, sys, nbformat
from nbclient import NotebookClient
assert sys.argv[1:4] == ["--to", "notebook", "--execute"] and "VIL_STATIC" not in os.environ
given, made = sys.argv[5], sys.argv[7]
notebook = nbformat.read(given, 4)
NotebookClient(notebook, kernel_name=sys.argv[4].partition("kernel_name=")[2]).execute()
nbformat.write(notebook, made)
"""


def test_a_notebook_goes_through_jupyter_nbconvert(environment, tmp_path, monkeypatch):
    """With a stand-in for it: the tests' environment has `jupyter` and no nbconvert."""
    monkeypatch.setenv("VIL_STATIC", "1")
    folder = tmp_path / "empty"
    folder.mkdir()
    with_python = "import sys; print(sys.prefix)"
    tried = notebook(("x", with_python), ("exercise", STUB), ("exercise", RIGHT))
    (fault,) = colab_trial.convert(tried, environment, folder, tmp_path / "a.whl")
    assert fault.startswith("jupyter nbconvert: ") and "not found" in fault
    converter = environment / "bin" / "jupyter-nbconvert"
    converter.write_text(CONVERTER.format(python=sys.executable))
    converter.chmod(0o755)
    (fault,) = colab_trial.convert(tried, environment, folder, tmp_path / "a.whl")
    assert "1 checks in this exercise printed '✓" in fault
    assert tried.cells[0].outputs[0].text == f"{environment}\n"  # not the Python that nbconvert runs in
    (fault,) = colab_trial.convert(notebook(("x", "1 / 0")), environment, folder, tmp_path / "a.whl")
    assert "ZeroDivisionError" in fault


def test_the_table_and_the_exit_status(tmp_path, monkeypatch, capsys):
    """main() with the parts that take minutes replaced: what passed is kept, what failed is run again and is an error."""
    ran = []

    def trial(path, form, *_):
        ran.append((path.stem[:2], form))
        return {"seconds": 7, "faults": ["abc: TypeError: no"] if form == "solved" and path.stem[:2] == "03" else []}

    def wheel(root, folder):
        folder.mkdir()
        (folder / "vil_lite.whl").touch()

    for name, made in {
        "trial": trial,
        "wheel": wheel,
        "base_environment": lambda *_: Path("base"),
        "layer": lambda *_: None,
    }.items():
        monkeypatch.setattr(colab_trial, name, made)
    arguments = ["01", "03", "--python", "here", "--folder", str(tmp_path)]
    assert colab_trial.main(arguments) == 1
    assert ran == [("01", "stubs"), ("01", "solved"), ("01", "nbconvert"), ("03", "stubs"), ("03", "solved")]
    said = capsys.readouterr().out
    assert "| 03_matrix_memory | passes, 7 s | 1 error, 7 s |  |" in said and "5 runs, 1 with errors" in said
    assert "abc: TypeError: no" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "| 01_lstm_limits | passes, 7 s | passes, 7 s | passes, 7 s |" in said
    assert len(json.loads((tmp_path / "passed.json").read_text())) == 4
    ran.clear()
    assert colab_trial.main(arguments) == 1 and ran == [("03", "solved")]
    assert colab_trial.main(["01", *arguments[2:]]) == 0 and colab_trial.main([*arguments, "--form", "stubs"]) == 0
    assert ran == [("03", "solved")]
