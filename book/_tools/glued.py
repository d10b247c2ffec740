"""Record the numbers that the executed notebooks gave the prose: book/glued.json, for the sentences of student/.

    python book/_tools/glued.py      (`make numbers`: builds the book if it is stale, then this, then student/)

A page takes {glue:text}`name` from its own outputs; a student notebook has none before it is run, so its sentences say what
the book's run gave.  Each record names the code it belongs to: when that has changed, the sentences show names until the
numbers are recorded again.
"""

import json
import sys
from pathlib import Path

from execute import executed
from library import write
from myst_nb.core.variables import format_plain_text
from nb import ROOT, chapters, code_hash, read


def numbers(notebook) -> dict[str, str]:
    """{name: value as text} of all that an executed notebook glued."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if about := output.get("metadata", {}).get("scrapbook"):
                found[about["name"]] = output["data"][f"{about['mime_prefix']}text/plain"]
    return found


def recorded(path: Path, root: Path) -> dict[str, str]:
    """{name: value as text} for a notebook, empty if what is recorded belongs to other code."""
    file = root / "book" / "glued.json"
    if not file.exists():
        return {}
    record = json.loads(file.read_text(encoding="utf-8")).get(path.stem, {})
    return record["numbers"] if record.get("code") == code_hash(read(path)) else {}


def said(name: str, known: dict[str, str]) -> str:
    """What a sentence shows for `name` or `name:format`: the value as the page formats it, or else the name."""
    name, _, spec = name.partition(":")
    return format_plain_text(known[name], spec or "s") if name in known else f"`{name}`"


def main(root: Path = ROOT) -> int:
    made = {}
    for path in chapters(root):
        notebook = executed(path, root)
        if notebook is None:
            raise SystemExit(f"{path.name} has not been executed as it is: run `make book` first")
        made[path.stem] = {"code": code_hash(read(path)), "numbers": numbers(notebook)}
    write(root / "book" / "glued.json", json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    print(f"== book/glued.json: {sum(len(one['numbers']) for one in made.values())} numbers of {len(made)} notebooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
