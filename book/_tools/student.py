"""Write student/: each chapter for Colab, with stubs, hints and checks, without solutions.

    python book/_tools/student.py            write it
    python book/_tools/student.py --check    change nothing; exit status 1 when student/ is not what would be written

Markdown that only the book's builder understands (roles, directives, labels) becomes plain Markdown.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nb import ROOT, chapters, dumps, read, tags
from plain import Labels, plain

from vil_lite.teach.setup_cell import REPOSITORY

DROPPED = {"solution", "remove-cell", "book-only"}
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/main/student/{name})"
)
README = """# Student notebooks

Made by `make student` from the chapters in `book/`: change those, not these.  Stubs, hints and checks, no solutions.

"""


def student(path: Path, labels: Labels):
    """The student's version of one chapter notebook."""
    master, cells = read(path), []
    for cell in master.cells:
        if DROPPED & set(tags(cell)):
            continue
        new = nbformat.from_dict({k: cell[k] for k in ("id", "cell_type", "source")} | {"metadata": {}})
        if kept := [tag for tag in tags(cell) if tag in {"setup", "exercise"}]:
            new.metadata.tags = kept
        if cell.cell_type == "markdown":
            new.source = plain(cell.source, labels, path)
        else:
            new.outputs, new.execution_count = [], None
        cells.append(new)
        if caption := cell.metadata.get("mystnb", {}).get("figure", {}).get("caption"):
            # Colab does not show the caption that the book takes from the metadata.
            number = labels.figures[cell.metadata.mystnb.figure.name]
            text = plain(f"*Figure {number}. {caption}*", labels, path)
            cells.append(nbformat.v4.new_markdown_cell(text, id=f"{cell['id']}-caption"))
    title, _, rest = cells[0].source.partition("\n")
    badge = BADGE.format(repository=REPOSITORY.removeprefix("https://github.com/"), name=path.name)
    cells[0].source = f"{title}\n\n{badge}\n{rest}".rstrip()
    master.cells = cells
    return master


def files(root: Path = ROOT) -> dict[str, str]:
    """{file name: content} of the whole folder."""
    sources = chapters(root)
    labels = Labels(root, sources)
    made = {path.name: dumps(student(path, labels), path) for path in sources}
    entries = "".join(f"- [{labels.titles[p.stem]}]({p.name})\n" for p in sources)
    return made | {"README.md": README + entries}


def drift(root: Path = ROOT) -> list[str]:
    """Names of the files that are missing, different or left over in student/."""
    made, folder = files(root), root / "student"
    there = {p.name: p.read_text(encoding="utf-8") for p in folder.glob("*") if p.is_file()} if folder.is_dir() else {}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def main(arguments=None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args(arguments).check:
        names = drift(root)
        for name in names:
            print(f"student/{name} is stale: run `make student` and commit the result")
        return bool(names)
    made, folder = files(root), root / "student"
    folder.mkdir(exist_ok=True)
    for name in drift(root):
        if name in made:
            (folder / name).write_text(made[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    print(f"student/: {len(made) - 1} notebooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
