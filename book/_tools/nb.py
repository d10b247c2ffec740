"""Notebooks as text: convert to and from jupytext's percent form, and keep them clean.

    python book/_tools/nb.py to-py NOTEBOOK.ipynb DRAFT.py      to write or edit a chapter
    python book/_tools/nb.py to-ipynb DRAFT.py NOTEBOOK.ipynb   cells that did not change keep their ids
    python book/_tools/nb.py clean NOTEBOOK.ipynb...            no outputs, no counts, the current set-up cell

The notebook is the source; a draft is thrown away.  Cell options stand in the percent line, as in
`# %% tags=["exercise"]` or `# %% mystnb={"image": {"alt": "..."}, "figure": {"name": "fig-03-x", "caption": "..."}}`.
A cell tagged `setup` is always written with the text of vil_lite/teach/setup_cell.py.
"""

import argparse
import difflib
import hashlib
import re
from functools import cache
from pathlib import Path

import jupytext
import nbformat
from library import setup_cell
from library import write as write_file

ROOT = Path(__file__).resolve().parents[2]

FOLDED = {"setup": "hide-input", "draws": "hide-input", "exercise": "remove-output", "solution": "hide-cell"}
SOLUTION = {"code_prompt_show": "Show solution", "code_prompt_hide": "Hide solution"}  # what the fold says
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def chapters(root: Path = ROOT) -> list[Path]:
    """The notebooks in the book's order: the chapters of a part, then its project, project.ipynb or project2.ipynb."""
    paths = (root / "book").glob("part*/*.ipynb")
    return sorted(path for path in paths if is_project(path) or re.match(r"\d\d[a-z]?_", path.name))


def is_project(path: Path) -> bool:
    return re.fullmatch(r"project\d?", Path(path).stem) is not None  # student/ has all names in one folder


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def chapter_number(path: Path) -> int | str:
    """3 for 03_x.ipynb, "5b" for 05b_x.ipynb, "P1" for the project of part1_memory, 0 for a notebook of the appendix."""
    if is_project(path):
        return "P" + re.match(r"part(\d)", Path(path).parent.name)[1]
    number = re.match(r"(\d+)([a-z]?)_", Path(path).name)
    if number and number[2]:
        return f"{int(number[1])}{number[2]}"
    return int(number[1]) if number else 0


def read(path: Path):
    """The notebook as it stands: nbformat.read would mend missing and repeated ids before the linter sees them."""
    return nbformat.v4.reads_json(Path(path).read_text(encoding="utf-8"))


@cache
def code(path: Path) -> str:
    """All code of a notebook."""
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")


def code_hash(notebook) -> str:
    """A hash of what a notebook computes; prose and the set-up cell leave it as it is."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code" and "setup" not in tags(cell)]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def write(notebook, path: Path) -> None:
    """Write a clean notebook: no outputs, one metadata, stable ids, one trailing newline."""
    write_file(path, dumps(notebook, Path(path)))


def dumps(notebook, path: Path) -> str:
    notebook = nbformat.from_dict(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if "setup" in tags(cell):
                cell.source = setup_cell(chapter_number(path))
            for mark, tag in FOLDED.items():  # on the page
                if mark in tags(cell) and tag not in tags(cell):
                    cell.metadata.tags = [*tags(cell), tag]
            if "solution" in tags(cell):
                cell.metadata.mystnb = {**cell.metadata.get("mystnb", {}), **SOLUTION}
    nbformat.validate(notebook)
    return nbformat.writes(notebook, indent=1, ensure_ascii=False).rstrip("\n") + "\n"


def convert(draft: Path, path: Path):
    """Read a percent script into a notebook whose unchanged cells keep the ids that they have in `path`."""
    notebook = jupytext.read(draft, fmt="py:percent")
    for cell in notebook.cells:
        # jupytext comments out magics and nothing else; the metadata of the header belongs to the draft.
        if "setup" in tags(cell):
            cell.source = setup_cell(chapter_number(path))
    keep_ids(notebook.cells, read(path).cells if Path(path).exists() else [], Path(path).stem)
    return notebook


def keep_ids(new: list, old: list, stem: str) -> None:
    """Give new cells the ids of the old cells they continue, and all others an id made of their content."""

    def keys(cells):
        return [(c.cell_type, c.source) for c in cells]

    for cell in new:
        cell.id = None
    for what, i, j, k, l in difflib.SequenceMatcher(None, keys(old), keys(new), autojunk=False).get_opcodes():  # noqa: E741
        if what == "equal" or (what == "replace" and j - i == l - k):
            for before, after in zip(old[i:j], new[k:l]):
                after.id = before.get("id")
    used = {cell.id for cell in new if cell.id}
    for cell in new:
        count = 0
        while not cell.id:
            made = hashlib.sha256(f"{stem}|{cell.cell_type}|{cell.source}|{count}".encode()).hexdigest()[:8]
            cell.id, count = (None if made in used else made), count + 1
        used.add(cell.id)


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["to-py", "to-ipynb", "clean"])
    parser.add_argument("paths", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    if given.action == "clean":
        for path in given.paths:
            write(read(path), path)
        return
    if len(given.paths) != 2:
        parser.error(f"{given.action} takes a source and a target")
    source, target = given.paths
    if given.action == "to-py":
        jupytext.write(read(source), target, fmt="py:percent")
    else:
        write(convert(source, target), target)


if __name__ == "__main__":
    main()
