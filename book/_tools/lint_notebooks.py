"""Check that every chapter notebook is clean and complete.

    python book/_tools/lint_notebooks.py [NOTEBOOK...]      all chapters by default; exit status 1 for a problem

Each message names the notebook, the cell and the remedy.
"""

import ast
import io
import re
import statistics
import sys
import tokenize
from contextlib import suppress
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from nb import ROOT, chapter_number, chapters, is_project, read, setup_cell, tags

MOST_LINES, MEDIAN_LINES, MOST_COLUMNS = 25, 10, 80
DRAWING = {"plot", "preview", "imshow", "subplots", "scatter", "bar", "hist", "heatmap", "heatmaps", "curves", "show"}
FOLD_FROM = 4  # lines of a figure: the fold of a shorter one would hide less than it saves
# What else a figure calls: it looks numbers up, puts them into shape, and gives a line and its band.
FOR_FIGURES = {*dir(Axes), *dir(Axis), *dir(Figure), *dir(pyplot), "Rectangle", "set_params"}
FOR_FIGURES |= set(
    re.findall(
        r"\w+",
        """zip enumerate range len list dict sorted reversed min max items values replace join index
        tolist numpy ravel flatten reshape permute arange linspace clamp log10 where isfinite mean median std amin amax""",
    )
)


class Problems(list):
    """Messages about one notebook."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, message: str, position: int | None = None, cell=None) -> None:
        where = "" if position is None else f", cell {position} ({cell.get('id', 'no id')})"
        self.append(f"{self.path.name}{where}: {message}")


def lines(cell) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def statements(cell) -> int:
    """Lines of code, a wrapped one and a docstring counted once."""
    return sum(token.type == tokenize.NEWLINE for token in tokenize.generate_tokens(io.StringIO(python(cell)).readline))


def python(cell) -> str:
    """The code of a cell; if Python cannot read it as it stands, without the lines for IPython."""
    with suppress(SyntaxError):
        ast.parse(cell.source)
        return cell.source
    return re.sub(r"^([ \t]*)[%!].*$", r"\1pass", cell.source, flags=re.M)


def code_cells(notebook):
    return [(n, cell) for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def lint(path: Path) -> list[str]:
    """All problems of one chapter or project."""
    notebook, problems = read(path), Problems(path)
    anatomy = (tasks,) if is_project(path) else (objectives, predict, exercises, sections)
    for rule in (ids, clean, length, figures, folded, title, setup, goes_on, *anatomy):
        rule(notebook, problems)
    return problems


# ---------------------------------------------------------------- clean


def ids(notebook, problems) -> None:
    seen = set()
    for n, cell in enumerate(notebook.cells):
        ident = cell.get("id")
        if not ident:
            problems.add("has no id; run `python book/_tools/nb.py clean`", n, cell)
        elif ident in seen:
            problems.add("has the id of an earlier cell", n, cell)
        seen.add(ident)


def clean(notebook, problems) -> None:
    for n, cell in code_cells(notebook):
        if cell.outputs or cell.execution_count is not None:
            problems.add("holds outputs or an execution count; run `python book/_tools/nb.py clean`", n, cell)


def length(notebook, problems) -> None:
    for n, cell in code_cells(notebook):
        if lines(cell) > MOST_LINES:
            problems.add(f"has {lines(cell)} lines of code; at most {MOST_LINES}: split it", n, cell)
        for line in cell.source.splitlines():
            if len(line) > MOST_COLUMNS:
                problems.add(f"a line has {len(line)} columns; at most {MOST_COLUMNS}: {line.strip()[:40]!r}", n, cell)
    sizes = [statements(cell) for _, cell in code_cells(notebook)]
    if sizes and statistics.median(sizes) >= MEDIAN_LINES:
        problems.add(f"the median code cell has {statistics.median(sizes):g} lines; it must stay under {MEDIAN_LINES}")


def goes_on(notebook, problems) -> None:
    """After its check, a page calls the reader's function, or the book's in its place: never the check module's."""
    given: dict[str, str] = {}
    for n, cell in code_cells(notebook):
        if not {"exercise", "solution"} & set(tags(cell)):
            for book, name in given.items():
                if re.search(rf"(?<![\w.]){re.escape(book)}\(", cell.source):
                    problems.add(f"calls {book}(...) after its check; call {name}(...), which is the reader's", n, cell)
        for name, module, check in re.findall(r"^(\w+) = (\w+)\.check_(\w+)\(\w+\)", cell.source, flags=re.M):
            given |= {f"{module}.{name}": name, f"{module}.{check}": name}


# ---------------------------------------------------------------- figures


def called(node) -> str:
    """The last name of a call: `plot` for ax.plot(...)."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def draws(tree, functions: set[str]) -> bool:
    """Does this code draw when it runs?  What stands inside a def or lambda only draws when it is called."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)) and node is not tree:
            continue
        if isinstance(node, ast.Call):
            if called(node) in DRAWING | functions:
                return True
            if called(node) == "explore":
                continue
        todo.extend(ast.iter_child_nodes(node))
    return False


def parse(cell):
    return ast.parse(python(cell))


def drawing_functions(notebook) -> set[str]:
    """Names of the notebook's own functions that draw a figure."""
    names: set[str] = set()
    for _, cell in code_cells(notebook):
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.FunctionDef) and draws(node, names):
                names.add(node.name)
    return names


def figures(notebook, problems) -> None:
    functions = drawing_functions(notebook)
    for n, cell in code_cells(notebook):
        tree, metadata = parse(cell), cell.metadata.get("mystnb", {})
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) == "explore":
                given = {keyword.arg for keyword in node.keywords}
                for wanted in {"alt", "caption"} - given:
                    problems.add(f"explore() has no {wanted}=", n, cell)
        if not ("figure" in metadata or "image" in metadata or draws(tree, functions)):
            continue
        if "remove-output" in tags(cell) or "remove-cell" in tags(cell):
            continue
        if not str(metadata.get("image", {}).get("alt", "")).strip():
            problems.add("draws a figure without mystnb.image.alt in its metadata", n, cell)
        for wanted in ("name", "caption"):
            if not str(metadata.get("figure", {}).get(wanted, "")).strip():
                problems.add(f"draws a figure without mystnb.figure.{wanted} in its metadata", n, cell)


# ---------------------------------------------------------------- what is folded


def folded(notebook, problems) -> None:
    """The idea before the machinery: what only draws has the tag `draws`, so that the page shows the figure and not its code."""
    draw, words = handed_to_explore(notebook)
    functions = drawing_functions(notebook)
    for n, cell in code_cells(notebook):
        if {"draws", "exercise", "solution", "setup"} & set(tags(cell)):
            continue
        parts = parse(cell).body
        if any(slider(part) for part in parts):
            beside = [part for part in parts if not (slider(part) or is_named(part, draw | words))]
            if beside:
                problems.add(
                    "teach.explore() stands beside other code: give it a cell of its own, tagged `draws`", n, cell
                )
            else:
                problems.add("only makes a slider: tag it `draws`, which folds its code", n, cell)
        elif any(is_named(part, draw) for part in parts) and all(
            is_named(part, functions | words) or isinstance(part, ast.Assign) for part in parts
        ):
            problems.add("only draws for a slider: tag it `draws`, which folds its code", n, cell)
        elif only_draws(parts, functions) and lines(cell) >= FOLD_FROM:
            problems.add("only draws: tag it `draws`, which folds its code", n, cell)


def slider(part) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Call) and called(part.value) == "explore"


def is_named(part, names: set[str]) -> bool:
    return isinstance(part, ast.FunctionDef) and part.name in names


def handed_to_explore(notebook) -> tuple[set[str], set[str]]:
    """Names of the functions that a slider calls: those that draw, and those that say what is seen."""
    draw: set[str] = set()
    words: set[str] = set()
    for _, cell in code_cells(notebook):
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.Call) and called(node) == "explore":
                draw |= {one.id for one in node.args if isinstance(one, ast.Name)}
                words |= {one.value.id for one in node.keywords if one.arg == "alt" and isinstance(one.value, ast.Name)}
    return draw, words


def only_draws(parts: list, functions: set[str]) -> bool:
    """Statements that draw, and of which every call is of a figure.  What computes, prints, glues or asserts is not that."""
    code = ast.Module(parts, [])
    nodes = list(ast.walk(code))
    if any(isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assert)) for node in nodes):
        return False
    calls = {called(node) for node in nodes if isinstance(node, ast.Call)}
    return draws(code, functions) and calls <= DRAWING | FOR_FIGURES | functions


# ---------------------------------------------------------------- the anatomy of a chapter


def text(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def title(notebook, problems) -> None:
    start = "# Project: " if is_project(problems.path) else f"# {chapter_number(problems.path)}. "
    if not notebook.cells or not re.match(rf"{start}\S", notebook.cells[0].source):
        problems.add(f"the first cell must begin with `{start}Title`")
    opening = "\n".join(cell.source for cell in notebook.cells[:3]).lower()
    for word in ("minutes", "difficulty", "prerequisites"):
        if word not in opening:
            problems.add(f"the card in the first cells does not mention {word!r}")
    told = all(words in opening for words in ("full budget", "two cpus", "t4"))
    if not told and any(re.search(r"\brun\.(pick|full)\b", cell.source) for _, cell in code_cells(notebook)):
        problems.add("the card does not say how many minutes the FULL budget takes on two CPUs and on a T4")
    if not any("teach.setup(" in cell.source for _, cell in code_cells(notebook)):
        problems.add("no cell runs `run = teach.setup(seed=0)`")


def setup(notebook, problems) -> None:
    cells = [(n, cell) for n, cell in code_cells(notebook) if "setup" in tags(cell)]
    if len(cells) != 1:
        problems.add(f"{len(cells)} cells are tagged `setup`; one is wanted")
    for n, cell in cells:
        if cell.source != setup_cell(chapter_number(problems.path)):
            message = "is not the set-up cell of vil_lite/teach/setup_cell.py; run `python book/_tools/nb.py clean`"
            problems.add(message, n, cell)


def section(notebook, pattern: str) -> str | None:
    """The text under the first heading that matches, up to the next heading of the same level or above."""
    match = re.search(rf"^(#+) [^\n]*(?:{pattern})[^\n]*$", text(notebook), flags=re.M | re.I)
    if not match:
        return None
    rest = text(notebook)[match.end() :]
    end = re.search(rf"^#{{1,{len(match.group(1))}}} ", rest, flags=re.M)
    return rest[: end.start()] if end else rest


def objectives(notebook, problems) -> None:
    found = section(notebook, "objectives|will be able|you will learn")
    if found is None:
        problems.add("no section `## Objectives`")
        return
    items = [item for item in re.split(r"^(?:[-*]|\d+\.) ", found, flags=re.M)[1:] if item.strip()]
    if not 3 <= len(items) <= 5:
        problems.add(f"{len(items)} objectives; three to five are wanted")
    numbers = exercise_numbers(notebook)
    for item in items:
        named = re.findall(r"[Ee]xercises? (\d+[a-z]?\.\d+)", item)
        if not named and "open question" not in item.lower():
            problems.add(f"this objective names no exercise that proves it: {item.strip()[:60]!r}")
        for number in named:
            if number not in numbers:
                problems.add(f"an objective names Exercise {number}, which does not exist")


def exercise_numbers(notebook) -> list[str]:
    return re.findall(r"^#{2,4} Exercise (\d+[a-z]?\.\d+)", text(notebook), flags=re.M)


def predict(notebook, problems) -> None:
    for n, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and "predict first" in cell.source.lower():
            near = "\n".join(c.source for c in notebook.cells[n : n + 2])
            if not re.search(r"<details>\s*<summary>[^<]*answer", near, flags=re.I):
                problems.add("`Predict first` has no hidden answer (<details><summary>Answer</summary>)", n, cell)
            return
    problems.add("no `Predict first` question")


def exercises(notebook, problems) -> None:
    number = chapter_number(problems.path)
    heading = re.compile(r"^#{2,4} Exercise ", flags=re.M)
    starts = [n for n, c in enumerate(notebook.cells) if c.cell_type == "markdown" and heading.search(c.source)]
    if not 4 <= len(starts) <= 6:
        problems.add(f"{len(starts)} exercises; four to six are wanted")
    wanted = [f"{number}.{k}" for k in range(1, len(starts) + 1)]
    if exercise_numbers(notebook) != wanted:
        problems.add(f"exercises are numbered {exercise_numbers(notebook)}; {wanted} is wanted")
    for start, end in zip(starts, [*starts[1:], len(notebook.cells)]):
        exercise(notebook.cells[start:end], start, problems)
    stubs = sum("exercise" in tags(c) for c in notebook.cells)
    solutions = sum("solution" in tags(c) for c in notebook.cells)
    if not stubs == solutions == len(starts):
        problems.add(
            f"{len(starts)} exercises, {stubs} tagged `exercise`, {solutions} tagged `solution`: one each, please"
        )


def tasks(notebook, problems) -> None:
    """A project: tasks with a check, numbered from 1, something to explore, a report with a rubric."""
    heading = re.compile(r"^#{2,4} Task (\d+):", flags=re.M)
    found = {n: heading.findall(c.source) for n, c in enumerate(notebook.cells) if c.cell_type == "markdown"}
    starts = [n for n, numbers in found.items() if numbers]
    if not starts or [number for n in starts for number in found[n]] != [str(k) for k in range(1, len(starts) + 1)]:
        problems.add("the tasks must be headed `### Task 1: ...`, `### Task 2: ...`, one a cell")
    for start, end in zip(starts, [*starts[1:], len(notebook.cells)]):
        exercise(notebook.cells[start:end], start, problems)
    if not any(re.search(r"\bexplore\(", cell.source) for _, cell in code_cells(notebook)):
        problems.add("nothing to explore: no teach.explore(...)")
    for name in ("Report", "Rubric", "Further reading"):
        if section(notebook, name) is None:
            problems.add(f"no section `## {name}`")


def exercise(cells: list, start: int, problems) -> None:
    """One exercise: its card, then stub with check, hint, solution with the same check."""
    card = cells[0]
    for pattern, what in (("●", "difficulty (●●○○○)"), ("importance", "importance"), ("minute|min\\b", "minutes")):
        if not re.search(pattern, card.source, flags=re.I):
            problems.add(f"the card of this exercise has no {what}", start, card)
    order = [kind(cell) for cell in cells]
    for what in ("stub", "hint", "solution"):
        if what not in order:
            problems.add(f"this exercise has no {what}", start, card)
    if "stub" not in order or "solution" not in order:
        return
    if "hint" in order and not order.index("stub") < order.index("hint") < order.index("solution"):
        problems.add("the order is stub, hint, solution", start, card)
    stub, solution = cells[order.index("stub")], cells[order.index("solution")]
    checks = [re.findall(r"\bcheck_\w+", cell.source) for cell in (stub, solution)]
    if not checks[0] or not set(checks[0]) <= set(checks[1]):
        problems.add("stub and solution must call the same check_...", start, card)
    if not re.search(r"NotImplementedError|= *(None|\.\.\.)\s*(#|$)", stub.source, flags=re.M):
        problems.add("the stub neither raises NotImplementedError nor leaves a value at None", start, card)
    if "hide-cell" not in tags(solution) and "hide-input" not in tags(solution):
        problems.add("the solution is not hidden: tag it `hide-cell`", start, card)


def kind(cell) -> str | None:
    if "exercise" in tags(cell):
        return "stub"
    if "solution" in tags(cell):
        return "solution"
    return "hint" if re.search(r"<summary>[^<]*hint", cell.source, flags=re.I) else None


def sections(notebook, problems) -> None:
    if not any(re.search(r"\bexplore\(", cell.source) for _, cell in code_cells(notebook)):
        problems.add("nothing to explore: no teach.explore(...)")
    if not all(re.search(p, text(notebook), flags=re.I) for p in ("open question", r"\*What earns the points\.\*")):
        problems.add("no open question that says `*What earns the points.*`")
    if re.search("<summary>[^<]*rubric", text(notebook), flags=re.I):
        problems.add("a rubric with answers: students see what earns points, the key stands in book/classroom/chNN.md")
    for name in ("Now in the library", "Summary", "Further reading"):
        if section(notebook, name) is None:
            problems.add(f"no section `## {name}`")


def main(paths: list[str]) -> int:
    chosen = [Path(path) for path in paths] or chapters(ROOT)
    problems = [problem for path in chosen for problem in lint(path)]
    for path in [] if paths else sorted(set(ROOT.glob("book/**/*.ipynb")) - set(chosen)):
        found = Problems(path)  # an appendix has no anatomy, only sizes
        length(read(path), found)
        problems += found
    sizes = [statements(cell) for path in chosen for _, cell in code_cells(read(path))]
    if sizes and statistics.median(sizes) >= MEDIAN_LINES:
        problems.append(
            f"the book's median code cell has {statistics.median(sizes):g} lines; under {MEDIAN_LINES}, please"
        )
    summary = f"{len(chosen)} notebooks, {len(sizes)} code cells, median {statistics.median(sizes or [0]):g} lines"
    print("\n".join(problems) or f"{summary}: all well")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
