"""The notebook linter: every chapter passes, and a notebook with one fault fails with a message about that fault."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
import lint_notebooks
import nb

CHAPTERS = nb.chapters()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_is_clean_and_complete(path):
    assert lint_notebooks.lint(path) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_is_written_as_the_tool_writes_it(path):
    assert nb.dumps(nb.read(path), path) == path.read_text(encoding="utf-8")


def test_median_of_the_whole_book():
    sizes = [lint_notebooks.lines(c) for p in CHAPTERS for _, c in lint_notebooks.code_cells(nb.read(p))]
    assert sizes and sorted(sizes)[len(sizes) // 2] < 10 and max(sizes) <= 25


# ---------------------------------------------------------------- a small complete chapter


def exercise_cells(n: int) -> list:
    return [
        new_markdown_cell(f"### Exercise 3.{n}: do it\n\nDifficulty ●●○○○ · importance ●●●○○ · 5 minutes"),
        new_code_cell(
            f"def f{n}(x):\n    raise NotImplementedError\n\nch03.check_{n}(f{n})", metadata={"tags": ["exercise"]}
        ),
        new_markdown_cell("<details><summary>Hint 1</summary>\n\nThink.\n</details>"),
        new_code_cell(
            f"def f{n}(x):\n    return x * {n}00\n\nch03.check_{n}(f{n})", metadata={"tags": ["solution", "hide-cell"]}
        ),
    ]


FOLDED = {"tags": ["draws", "hide-input"]}


def good() -> nbformat.NotebookNode:
    figure = {"mystnb": {"image": {"alt": "A line"}, "figure": {"name": "fig-03-a", "caption": "A line."}}}
    cells = [
        new_markdown_cell("# 3. A memory\n\n20 minutes · difficulty ●○○○○ · prerequisites: none"),
        new_markdown_cell("## Objectives\n\n- do (Exercise 3.1)\n- do more (Exercises 3.2)\n- discuss (open question)"),
        new_code_cell(nb.setup_cell(3), metadata={"tags": ["setup"]}),
        new_code_cell("from vil_lite import teach\nrun = teach.setup(seed=0)"),
        new_markdown_cell("## Predict first\n\nWhat?\n\n<details><summary>Answer</summary>\n\nThis.\n</details>"),
        new_code_cell("def draw(n):\n    fig, ax = plt.subplots()\n    return fig", metadata=FOLDED),
        new_code_cell("draw(3);", metadata=figure),
        new_code_cell('teach.explore(draw, alt="a", caption="c", n=[1, 2])', metadata=FOLDED),
        *[cell for n in range(1, 5) for cell in exercise_cells(n)],
        new_markdown_cell("## Open question\n\nWhy?\n\n*What earns the points.* 2 points."),
        new_markdown_cell("## Now in the library\n\nIt is.\n\n## Summary\n\nDone.\n\n## Further reading\n\nMuch."),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def lint(tmp_path):
    def run(notebook) -> list[str]:
        path = tmp_path / "03_memory.ipynb"
        path.write_text(nbformat.v4.writes_json(notebook))  # unlike nbformat.write, it mends nothing
        return lint_notebooks.lint(path)

    return run


def test_the_small_chapter_is_fine(lint):
    assert lint(good()) == []


def test_a_line_may_begin_with_an_operator_or_be_for_ipython(lint):
    notebook = good()
    notebook.cells.insert(-1, new_code_cell("rest = (\n    17\n    % 3\n)\nif rest:\n    text = '!'"))
    notebook.cells.insert(-1, new_code_cell("if rest:\n    !ls\n%cd x"))
    assert lint(notebook) == []


def cell(notebook, start: str):
    return next(c for c in notebook.cells if c.source.startswith(start))


def change(start: str, old: str, new: str):
    def fault(notebook):
        found = cell(notebook, start)
        assert old in found.source
        found.source = found.source.replace(old, new)

    return fault


def retag(start: str, *tags):
    def fault(notebook):
        cell(notebook, start).metadata = {"tags": list(tags)}

    return fault


def drop(start: str):
    return lambda notebook: notebook.cells.remove(cell(notebook, start))


def output(notebook):
    cell(notebook, "draw(3)").outputs = [nbformat.v4.new_output("stream", text="x")]


def count(notebook):
    cell(notebook, "draw(3)").execution_count = 1


def no_id(notebook):
    del notebook.cells[1]["id"]


def same_id(notebook):
    notebook.cells[1]["id"] = notebook.cells[0]["id"]


def lose(kind: str, key: str):
    def fault(notebook):
        del cell(notebook, "draw(3)").metadata.mystnb[kind][key]

    return fault


def long_cells(notebook):
    for found in notebook.cells:
        if found.cell_type == "code" and "setup" not in found.metadata.get("tags", []):
            found.source += "\n" + "x = 1\n" * 12


def books_function(notebook):
    answer = cell(notebook, "def f2(x):\n    raise")
    answer.source = answer.source.replace("ch03.check_2(f2)", "f2 = ch03.check_f(f2)")
    before, after = (
        notebook.cells.index(c) for c in (cell(notebook, "draw(3)"), cell(notebook, "def f4(x):\n    return"))
    )
    notebook.cells.insert(after + 1, new_code_cell("ch03.f2(1)"))
    notebook.cells.insert(before, new_code_cell("ch03.f2(1)"))  # fine: nobody has been asked yet


def bare_plot(notebook):
    notebook.cells.insert(8, new_code_cell("plt.plot([1, 2])"))


def unfolded_slider(beside: str):
    def fault(notebook):
        shown = cell(notebook, "teach.explore")
        shown.metadata, shown.source = {}, f"{beside}\n{shown.source}"

    return fault


def long_figure(code: str):
    def fault(notebook):
        shown = cell(notebook, "draw(3)")
        shown.source = "fig, ax = plt.subplots()\nfor x in runs:\n    ax.plot(x.mean(0))\nax.set(xlabel='step')" + code

    return fault


def swap_hint(notebook):
    hint = cell(notebook, "<details><summary>Hint")
    position = notebook.cells.index(hint)
    notebook.cells[position], notebook.cells[position + 1] = notebook.cells[position + 1], hint


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (output, "holds outputs or an execution count"),
        (count, "holds outputs or an execution count"),
        (no_id, "has no id; run"),
        (same_id, "has the id of an earlier cell"),
        (change("draw(3)", "draw(3);", "x = 1\n" * 26), "has 26 lines of code; at most 25"),
        (change("draw(3)", "draw(3);", f"draw(3)  # {'x' * 80}"), "a line has 91 columns; at most 80"),
        (long_cells, "the median code cell has"),
        (books_function, "calls ch03.f2(...) after its check; call f2(...)"),
        (lose("image", "alt"), "without mystnb.image.alt"),
        (lose("figure", "caption"), "without mystnb.figure.caption"),
        (lose("figure", "name"), "without mystnb.figure.name"),
        (bare_plot, "without mystnb.image.alt"),
        (change("teach.explore", 'alt="a", ', ""), "explore() has no alt="),
        (change("teach.explore", 'caption="c", ', ""), "explore() has no caption="),
        (drop("teach.explore"), "nothing to explore"),
        (retag("teach.explore"), "only makes a slider: tag it `draws`"),
        (unfolded_slider("x = 1"), "teach.explore() stands beside other code"),
        (retag("def draw"), "only draws for a slider: tag it `draws`"),
        (long_figure(""), "only draws: tag it `draws`"),
        (change("# 3.", "# 3. A", "# 4. A"), "must begin with `# 3. Title`"),
        (change("# 3.", "prerequisites", "needs"), "does not mention 'prerequisites'"),
        (change("draw(3)", "draw(3)", "draw(run.pick(3, 30))"), "how many minutes the FULL budget takes on two CPUs"),
        (drop("from vil_lite"), "no cell runs `run = teach.setup(seed=0)`"),
        (change("# What this chapter", "--no-deps", "--upgrade"), "is not the set-up cell"),
        (drop("# What this chapter"), "0 cells are tagged `setup`"),
        (drop("## Objectives"), "no section `## Objectives`"),
        (change("## Objectives", "- discuss (open question)", ""), "2 objectives"),
        (change("## Objectives", "(Exercise 3.1)", ""), "names no exercise that proves it: 'do"),
        (change("## Objectives", "3.2", "3.9"), "names Exercise 3.9, which does not exist"),
        (drop("## Predict"), "no `Predict first` question"),
        (change("## Predict", "<details>", "<p>"), "`Predict first` has no hidden answer"),
        (change("### Exercise 3.2", "3.2", "3.5"), "exercises are numbered"),
        (change("### Exercise 3.1", "●", "x"), "has no difficulty"),
        (change("### Exercise 3.1", "importance", ""), "has no importance"),
        (change("### Exercise 3.1", "5 minutes", ""), "has no minutes"),
        (drop("<details><summary>Hint"), "this exercise has no hint"),
        (retag("def f1(x):\n    return", "hide-cell"), "this exercise has no solution"),
        (retag("def f1(x):\n    return", "solution"), "the solution is not hidden"),
        (retag("def f1(x):\n    raise"), "this exercise has no stub"),
        (swap_hint, "the order is stub, hint, solution"),
        (change("def f1(x):\n    return", "check_1", "check_2"), "must call the same check_"),
        (
            change("def f1(x):\n    raise", "raise NotImplementedError", "return x"),
            "neither raises NotImplementedError",
        ),
        (change("## Open question", "What earns", "Thoughts on"), "no open question that says"),
        (
            change("## Open question", "2 points.", "<details><summary>Rubric</summary>42</details>"),
            "a rubric with answers",
        ),
        (change("## Now", "Now in the library", "The code"), "no section `## Now in the library`"),
        (change("## Now", "## Summary", "## End"), "no section `## Summary`"),
        (change("## Now", "## Further reading", "## More"), "no section `## Further reading`"),
    ],
)
def test_each_rule_bites(lint, fault, said):
    notebook = good()
    fault(notebook)
    problems = lint(notebook)
    assert any(said in problem for problem in problems), problems
    assert all(problem.startswith("03_memory.ipynb") for problem in problems)


@pytest.mark.parametrize(
    "code", ["\nassert runs", "\nprint(x)", "\nteach.glue('x', x)", "\nax.plot(memory(x))", "\ndef f(x):\n    return x"]
)
def test_a_figure_that_also_computes_or_tells_may_stay_open(lint, code):
    notebook = good()
    long_figure(code)(notebook)
    assert lint(notebook) == []


@pytest.mark.parametrize("beside", ["assert draw", "def memory(x):\n    return x"])
def test_what_draws_for_a_slider_may_stay_open_beside_what_tells_something(lint, beside):
    notebook = good()
    shown = cell(notebook, "def draw")
    shown.metadata, shown.source = {}, f"{shown.source}\n\n\n{beside}"
    assert lint(notebook) == []


def test_three_exercises_are_too_few(lint):
    notebook = good()
    notebook.cells = [c for c in notebook.cells if "3.4" not in c.source and "check_4" not in c.source]
    assert any("3 exercises; four to six are wanted" in p for p in lint(notebook))


def test_messages_name_the_cell(lint):
    notebook = good()
    bare_plot(notebook)
    assert re.match(r"03_memory.ipynb, cell 8 \(\w+\): draws", lint(notebook)[0])


def test_the_command_fails_and_says_why(tmp_path):
    path = tmp_path / "03_memory.ipynb"
    tool = ROOT / "book" / "_tools" / "lint_notebooks.py"
    nbformat.write(good(), path)
    done = subprocess.run([sys.executable, tool, path], capture_output=True, text=True)
    assert done.returncode == 0 and "all well" in done.stdout
    notebook = good()
    output(notebook)
    nbformat.write(notebook, path)
    done = subprocess.run([sys.executable, tool, path], capture_output=True, text=True)
    assert done.returncode == 1 and "holds outputs" in done.stdout


def test_the_command_looks_at_the_sizes_in_an_appendix_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lint_notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(lint_notebooks, "chapters", lambda root: [])
    appendix = tmp_path / "book" / "appendix" / "speed.ipynb"
    appendix.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_code_cell("x = 1\n" * 26)]), appendix)
    assert lint_notebooks.main([]) == 1
    assert "speed.ipynb" in (said := capsys.readouterr().out) and "26 lines of code" in said


def project():
    """The small chapter's cells as a project: tasks in place of exercises, a report, a rubric."""
    notebook = good()
    notebook.cells[0].source = notebook.cells[0].source.replace("# 3. A memory", "# Project: a memory")
    for found in notebook.cells:
        found.source = re.sub(r"Exercise 3\.(\d)", r"Task \1", found.source)
    notebook.cells.append(new_markdown_cell("## Report\n\nOne page.\n\n## Rubric\n\n20 points.\n"))
    return notebook


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda notebook: None, None),
        (change("# Project", "# Project: ", "# 3. "), "must begin with `# Project: Title`"),
        (change("### Task 2", "Task 2", "Task 5"), "the tasks must be headed"),
        (swap_hint, "the order is stub, hint, solution"),
        (drop("teach.explore"), "nothing to explore"),
        (retag("teach.explore"), "only makes a slider: tag it `draws`"),
        (unfolded_slider("x = 1"), "teach.explore() stands beside other code"),
        (retag("def draw"), "only draws for a slider: tag it `draws`"),
        (long_figure(""), "only draws: tag it `draws`"),
        (change("## Report", "## Rubric", "Rubric"), "no section `## Rubric`"),
    ],
)
def test_a_project_has_an_anatomy_of_its_own(tmp_path, fault, said):
    notebook = project()
    fault(notebook)
    path = tmp_path / "part1_memory" / "project.ipynb"
    path.parent.mkdir()
    path.write_text(nbformat.v4.writes_json(notebook))
    problems = lint_notebooks.lint(path)
    assert problems == [] if said is None else said in "\n".join(problems)


# ---------------------------------------------------------------- conversion


DRAFT = """# %% [markdown]
# # 3. A memory

# %% tags=["setup"]
pass

# %% tags=["exercise"] mystnb={"image": {"alt": "A \\u201cline\\u201d"}}
x = 1
"""


def test_a_draft_becomes_a_clean_notebook_and_keeps_its_ids(tmp_path):
    draft, path = tmp_path / "draft.py", tmp_path / "03_memory.ipynb"
    draft.write_text(DRAFT)
    nb.main(["to-ipynb", str(draft), str(path)])
    first = nb.read(path)
    assert [c.cell_type for c in first.cells] == ["markdown", "code", "code"]
    assert first.cells[1].source == nb.setup_cell(3)
    assert first.cells[2].metadata == {"tags": ["exercise", "remove-output"], "mystnb": {"image": {"alt": "A “line”"}}}
    draft.write_text(DRAFT.replace("x = 1", "x = 2") + "\n# %%\ny = 3\n")
    nb.main(["to-ipynb", str(draft), str(path)])
    second = nb.read(path)
    assert [c.id for c in second.cells[:2]] == [c.id for c in first.cells[:2]]
    assert len({c.id for c in second.cells}) == 4


def test_there_and_back_changes_nothing(tmp_path):
    path, draft = tmp_path / "03_memory.ipynb", tmp_path / "draft.py"
    nb.write(good(), path)
    before = path.read_text()
    nb.main(["to-py", str(path), str(draft)])
    nb.main(["to-ipynb", str(draft), str(path)])
    assert path.read_text() == before


def test_part_three_also_sees_to_ultralytics():
    assert "ultralytics" in nb.setup_cell(14) and "ultralytics" not in nb.setup_cell(12)
