"""Write the submissions of an invented class into a folder: python examples/class/make.py FOLDER."""

import json
import re
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
CHAPTER = HERE.parents[1] / "book" / "part1_memory" / "03_matrix_memory.ipynb"
STUDENT = HERE.parents[1] / "student" / "03_matrix_memory.ipynb"


def notebook(sources) -> str:
    """The text of a notebook with these code cells."""
    empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    return json.dumps(
        {"cells": [empty | {"source": s} for s in sources], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    )


def answer(name: str) -> str:
    """The notebook of answers/NAME.py: a cell for each `# %%`; a cell that begins with "SYNTAX ERROR" loses its quotes."""
    cells = re.split(r"^# %%\n", (HERE / "answers" / f"{name}.py").read_text(encoding="utf-8"), flags=re.M)
    return notebook(re.sub(r'^"""SYNTAX ERROR\n((?:.|\n)*?)"""', r"\1", cell.strip()) for cell in cells)


def solved() -> str:
    """The chapter as somebody hands it in who has solved everything."""
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    code = [
        cell for cell in cells if cell["cell_type"] == "code" and "exercise" not in cell["metadata"].get("tags", [])
    ]
    return notebook("".join(cell["source"]) for cell in code)


def write(folder: Path) -> None:
    """One entry a student: a notebook, a folder or a zip."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blank.ipynb").write_text(STUDENT.read_text(encoding="utf-8"), encoding="utf-8")
    with zipfile.ZipFile(folder / "solved.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Homework final (2).ipynb", solved())
    for name in ("half", "near", "crash", "hostile"):
        (folder / f"{name}.ipynb").write_text(answer(name), encoding="utf-8")
    (folder / "twice").mkdir(exist_ok=True)
    for name, source in (("first", "half"), ("second", "near")):
        (folder / "twice" / f"{name}.ipynb").write_text(answer(source), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
