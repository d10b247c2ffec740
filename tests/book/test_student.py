"""student/: no solution in it, nothing that Colab cannot show, and never stale."""

import ast
import base64
import io
import json
import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
import drawings
import glued
import nb
import student
from PIL import Image
from plain import Labels, plain

from vil_lite.teach.setup_cell import REPOSITORY

CHAPTERS = nb.chapters()


def test_the_folder_is_what_the_chapters_say():
    assert student.drift() == [], "run `make student` and commit the result"


def code_lines(cells) -> set[str]:
    lines = {line.strip() for cell in cells for line in cell.source.splitlines()}
    return {line for line in lines if len(line) > 26 and not line.startswith(("#", "def ", "import ", "from "))}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_solution_leaks(path):
    master, given = nb.read(path), nb.read(ROOT / "student" / path.name)
    solutions = [c for c in master.cells if "solution" in nb.tags(c)]
    secret = code_lines(solutions) - code_lines([c for c in master.cells if "solution" not in nb.tags(c)])
    assert solutions and secret
    shown = "\n".join(c.source for c in given.cells)
    assert [line for line in secret if line in shown] == []
    assert not {c.id for c in given.cells} & {c.id for c in solutions}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stubs_hints_checks_and_badge_stay(path):
    master, given = nb.read(path), nb.read(ROOT / "student" / path.name)
    nbformat.validate(given)
    stubs = [c.source for c in master.cells if "exercise" in nb.tags(c)]
    assert [c.source for c in given.cells if "exercise" in nb.tags(c)] == stubs
    shown = "\n".join(c.source for c in given.cells)
    assert shown.count("<summary>Hint") == "\n".join(c.source for c in master.cells).count("<summary>Hint") > 0
    assert REPOSITORY.removeprefix("https://github.com") + f"/blob/main/student/{path.name}" in given.cells[0].source
    assert nb.setup_cell(nb.chapter_number(path)) in [c.source for c in given.cells]
    assert f"Made from `{path.relative_to(ROOT).as_posix()}`, do not edit" in given.cells[0].source
    assert "<summary>Rubric" not in shown  # what earns points is told, the answers stand in the teachers' pages


def names(cells) -> tuple[set[str], set[str]]:
    """What these cells define, and what they use."""
    defined, used = set(), set()
    for node in (node for cell in cells for node in ast.walk(ast.parse(cell.source))):
        if isinstance(node, ast.Name):
            (defined if isinstance(node.ctx, ast.Store) else used).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
    return defined, used


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_nothing_uses_what_a_dropped_cell_defined(path):
    code = [cell for cell in nb.read(path).cells if cell.cell_type == "code"]
    dropped, _ = names(cell for cell in code if student.DROPPED & set(nb.tags(cell)))
    defined, used = names(cell for cell in code if not student.DROPPED & set(nb.tags(cell)))
    assert (dropped - defined) & used == set()


def runs_of_words(text: str, length: int = 12) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[n : n + length]) for n in range(len(words) - length + 1)}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_sentence_of_a_teachers_key_is_in_it(path):
    key = ROOT / "book" / "classroom" / f"ch{path.stem.split('_')[0]}.md"
    if nb.is_project(path):  # it has no open question
        return
    _, key = key.read_text(encoding="utf-8").split("## The open question: key and anchors")
    prose = [c.source for c in nb.read(ROOT / "student" / path.name).cells if c.cell_type == "markdown"]
    assert len(runs_of_words(key)) > 100
    assert not runs_of_words(key) & set().union(*map(runs_of_words, prose))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_nothing_is_left_that_only_the_book_understands(path):
    given = nb.read(ROOT / "student" / path.name)
    prose = "\n".join(c.source for c in given.cells if c.cell_type == "markdown")
    prose = re.sub(r"^```\w*\n.*?^```", "", prose, flags=re.M | re.S)
    assert re.findall(r"\{[\w:-]+\}`|^(?:`{3,}|:{3,})\{.*|\$\$ *\([\w-]+\)|^\([\w-]+\)=", prose, flags=re.M) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_numbers_of_the_sentences_are_those_of_this_code(path):
    prose = "\n".join(cell.source for cell in nb.read(path).cells if cell.cell_type == "markdown")
    glued_in = {name.partition(":")[0].strip() for name in re.findall(r"\{glue:\w+\}`([^`]+)`", prose)}
    known = glued.recorded(path, ROOT)
    assert known or not glued_in, "the code has changed since the last `make numbers`: its sentences show names"
    assert sorted(glued_in - known.keys()) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_picture_needs_a_network(path):
    """Except for the badge, which is of use with a network only."""
    given = nb.read(ROOT / "student" / path.name)
    prose = "\n".join(c.source for c in given.cells if c.cell_type == "markdown")
    shown = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", prose) + re.findall(r"<img[^>]*src=[\"']?([^\"'> ]+)", prose)
    assert shown and shown.pop(0) == student.BADGE.partition("](")[2].partition(")")[0]
    # neither SVG nor attachments: Colab shows none of these
    assert [address[:60] for address in shown if not address.startswith("data:image/png;base64,")] == []


@pytest.mark.parametrize("svg", drawings.of_chapters(), ids=lambda p: p.stem)
def test_a_drawing_in_a_notebook_is_the_one_of_the_page_with_its_colours(svg):
    picture = Image.open(io.BytesIO(base64.b64decode(drawings.address(svg).partition(",")[2])))  # of this SVG and style
    width, height = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg.read_text(encoding="utf-8")).groups()
    assert picture.size == (drawings.SCALE * int(width), drawings.SCALE * int(height))
    colours = {colour for count, colour in picture.convert("RGB").getcolors() if count > 200}
    ink, accent = (0x26, 0x32, 0x3D), (0x0B, 0x62, 0xA0)
    for wanted in (ink, accent, (255, 255, 255)):
        assert any(max(abs(a - b) for a, b in zip(wanted, one)) < 8 for one in colours), wanted
    dark = sum(count for count, grey in picture.convert("L").getcolors() if grey < 60)
    assert dark < 0.1 * picture.width * picture.height, "shapes are filled with black where the style is missing"


# ---------------------------------------------------------------- a small book


BIB = """@article{one2024, author = {Beck, Maximilian and Other, A. and Third, B.}, year = {2024}, title = {A}}
@article{two2025, author = {Alkin, Benedikt and Other, A.}, year = {2025}, title = {B}}
@article{three2025, author = {Yang, C.}, year = {2025b}, title = {C}, url = {https://arxiv.org/abs/1}}
@article{four1908, author = {Student}, year = {1908}, title = {D}, doi = {10.1/2}}"""


@pytest.fixture
def book(tmp_path):
    part = tmp_path / "book" / "part1_memory"
    part.mkdir(parents=True)
    (tmp_path / "book" / "_static").mkdir()
    (tmp_path / "book" / "_static" / "a.svg").write_text('<svg><title id="t">The road</title></svg>')
    drawings.save(Image.new("RGB", (2, 1)), tmp_path / "book" / "_static" / "a.svg")
    (tmp_path / "book" / "references.bib").write_text(BIB)
    (tmp_path / "book" / "notation.md").write_text("# Notation\n\n(all-symbols)=\n## All symbols\n")
    figure = {
        "mystnb": {"image": {"alt": "a"}, "figure": {"name": "fig-03-a", "caption": "A line, see {eq}`eq-03-b`."}}
    }
    third = new_notebook(
        cells=[
            new_markdown_cell("# 3. A memory\n\nCard."),
            new_code_cell("pass", metadata={"tags": ["setup", "hide-input"]}),
            new_markdown_cell("$$ a = b $$ (eq-03-a)\n\n$$\nc\n$$ (eq-03-b)"),
            new_code_cell("plt.plot(x)", metadata=figure),
            new_code_cell("def f():\n    raise NotImplementedError", metadata={"tags": ["exercise"]}),
            new_code_cell("def f():\n    return 'the answer'", metadata={"tags": ["solution"]}),
            new_code_cell("secret()", metadata={"tags": ["remove-cell"]}),
            new_markdown_cell(
                "```{drawing} a.svg\n:name: fig-03-d\nOnly the book.\n```", metadata={"tags": ["book-only"]}
            ),
        ]
    )
    nb.write(third, part / "03_memory.ipynb")
    nb.write(new_notebook(cells=[new_markdown_cell("# 4. Forms")]), part / "04_forms.ipynb")
    work = new_notebook(cells=[new_markdown_cell("# Project: a cell\n\n$$ d $$ (eq-p1-d)\n\nSee {eq}`eq-p1-d`.")])
    nb.write(work, part / "project.ipynb")
    return tmp_path


def test_what_is_kept_and_what_is_dropped(book):
    made = student.files(book)
    assert list(made) == ["03_memory.ipynb", "04_forms.ipynb", "project.ipynb", "README.md"]
    assert "See (P1.1)." in made["project.ipynb"]
    cells = json.loads(made["03_memory.ipynb"])["cells"]
    sources = ["".join(c["source"]) for c in cells]
    assert sources[0].startswith("# 3. A memory\n\n[![Open in Colab]") and sources[0].endswith("Card.")
    assert "*Figure 3.1. A line, see (3.2).*" in sources
    for gone in ("the answer", "secret", "Only the book"):
        assert gone not in made["03_memory.ipynb"]
    assert cells[1]["metadata"]["tags"][0] == "setup"
    assert "- [3. A memory](03_memory.ipynb)" in made["README.md"]
    assert student.files(book) == made


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("see {numref}`fig-03-a` and {numref}`Fig. %s <fig-03-a>`", "see Figure 3.1 and Fig. 3.1"),
        ("by {eq}`eq-03-b`", "by (3.2)"),
        ("{cite:t}`one2024` and {cite:p}`two2025`", "Beck et al. (2024) and (Alkin and Other, 2025)"),
        ("{cite:p}`one2024,two2025`", "(Beck et al., 2024; Alkin and Other, 2025)"),
        ("{cite:t}`three2025`", "[Yang (2025b)](https://arxiv.org/abs/1)"),
        (
            "{cite:p}`three2025,four1908`",
            "([Yang, 2025b](https://arxiv.org/abs/1); [Student, 1908](https://doi.org/10.1/2))",
        ),
        ("{glue:text}`accuracy:.3f` right", "`accuracy` right"),
        ("{doc}`04_forms`", "[4. Forms](04_forms.ipynb)"),
        ("{doc}`the symbols <../notation>`", f"[the symbols]({REPOSITORY}/blob/main/book/notation.md)"),
        ("{doc}`4 </book/part1_memory/04_forms>`", "[4](04_forms.ipynb)"),
        ("{doc}`symbols </book/notation>`", f"[symbols]({REPOSITORY}/blob/main/book/notation.md)"),
        ("[symbols](/book/notation.md)", f"[symbols]({REPOSITORY}/blob/main/book/notation.md)"),
        ("{ref}`all-symbols`, {term}`gate <gates>`, {math}`x`", "All symbols, gate, $x$"),
        ("[next](../part1_memory/04_forms.ipynb#top)", "[next](04_forms.ipynb#top)"),
        ("![a](../_static/a.png)", "![a](DATA)"),
        ("[work](project.ipynb)", "[work](project.ipynb)"),
        ("[out](https://arxiv.org/abs/1)", "[out](https://arxiv.org/abs/1)"),
        ("(all-symbols)=\n## All", "## All"),
        ("$$\nc\n$$ (eq-03-b)", "$$\nc\n\\tag{3.2}\n$$"),
        ("```{note}\nOne\ntwo\n```", "> **Note**\n>\n> One\n> two"),
        (":::{admonition} Look\n:class: tip\nOne\n:::", "> **Look**\n>\n> One"),
        ("::::{admonition} Out\n:::{note}\nin\n:::\n::::", "> **Out**\n>\n> > **Note**\n> >\n> > in"),
        (
            "```{drawing} a.svg\n:name: fig-03-d\nA road.\n```",
            "![The road](DATA)\n\n*Figure 3.2. A road.*",
        ),
        ("```python\n{eq}`x`\n```", "```python\n{eq}`x`\n```"),
    ],
)
def test_the_books_markdown_becomes_plain(book, text, wanted):
    labels = Labels(book, nb.chapters(book))
    wanted = wanted.replace("DATA", drawings.address(book / "book" / "_static" / "a.png"))
    assert plain(text, labels, book / "book" / "part1_memory" / "03_memory.ipynb") == wanted


def test_a_drawing_that_has_changed_needs_a_new_picture(book):
    svg = book / "book" / "_static" / "a.svg"
    assert drawings.address(svg) == drawings.address(svg.with_suffix(".png"))
    svg.write_text('<svg><title id="t">Another road</title></svg>')
    with pytest.raises(SystemExit, match="a.png is not the picture of a.svg as it is: python book/_tools/drawings.py"):
        drawings.address(svg)
    svg.with_suffix(".png").unlink()
    with pytest.raises(SystemExit, match="drawings.py"):
        drawings.address(svg)


def test_a_sentence_says_the_number_of_the_books_run_and_its_name_once_the_code_is_another(book):
    path = book / "book" / "part1_memory" / "03_memory.ipynb"
    notebook = nb.read(path)
    notebook.cells.append(new_markdown_cell("{glue:text}`share:.1f` % of {glue:text}`kind`, {glue:text}`lost:.0e`"))
    nb.write(notebook, path)
    glue = {"metadata": {"scrapbook": {"name": "share", "mime_prefix": "x/"}}, "data": {"x/text/plain": "88.0571"}}
    ran = new_notebook(cells=[new_code_cell("", outputs=[nbformat.from_dict({"output_type": "display_data", **glue})])])
    numbers = glued.numbers(ran) | {"kind": "'digits'"}
    assert numbers["share"] == "88.0571"
    record = {"03_memory": {"code": nb.code_hash(nb.read(path)), "numbers": numbers}}
    (book / "book" / "glued.json").write_text(json.dumps(record))

    made = json.loads(student.files(book)["03_memory.ipynb"])["cells"]
    assert "".join(made[-1]["source"]) == "88.1 % of digits, `lost`"
    assert "those of the book's run" in "".join(made[0]["source"])
    notebook.cells[3].source = "plt.plot(x, y)"
    nb.write(notebook, path)
    made = json.loads(student.files(book)["03_memory.ipynb"])["cells"]
    assert "".join(made[-1]["source"]) == "`share` % of `kind`, `lost`"
    assert "those of the book's run" not in "".join(made[0]["source"])


def test_numbers_are_recorded_of_a_whole_book_or_not_at_all(book):
    with pytest.raises(SystemExit, match="03_memory.ipynb has not been executed as it is"):
        glued.main(book)
    assert not (book / "book" / "glued.json").exists()


def test_no_two_works_are_cited_alike_and_each_can_be_found():
    """A notebook has no list of references.  Two papers of one group and year: 2024a and 2024b in references.bib."""
    labels = Labels(ROOT, CHAPTERS)
    said = {key: labels.cite(key, in_text=True) for key in labels.works}
    names = [re.sub(r"\]\(.*", "", text) for text in said.values()]
    assert [name for name in names if names.count(name) > 1] == []
    assert [key for key, text in said.items() if "](https://" not in text] == []


def test_an_unknown_label_is_an_error(book):
    with pytest.raises(KeyError, match="fig-none"):
        plain("{numref}`fig-none`", Labels(book, nb.chapters(book)), book / "book" / "part1_memory" / "03_memory.ipynb")


def test_check_names_stale_missing_and_left_over_files(book, capsys):
    assert student.main(["--check"], root=book) == 1
    assert student.main([], root=book) == 0
    assert student.main(["--check"], root=book) == 0
    (book / "student" / "03_memory.ipynb").write_text("{}")
    (book / "student" / "project.ipynb").unlink()
    part = book / "book" / "part1_memory"
    (part / "04_forms.ipynb").rename(part / "04_shapes.ipynb")
    capsys.readouterr()
    assert student.main(["--check"], root=book) == 1
    said = capsys.readouterr().out
    for name in ("03_memory", "04_forms", "04_shapes", "project"):
        assert f"student/{name}.ipynb is stale: run `make student`" in said
    assert student.main(["--force"], root=book) == 0
    assert student.drift(book) == []


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_work_that_git_does_not_have_is_kept(book, capsys):
    """`make lab` used to write student/ again, over the answers of the day before."""
    folder, part = book / "student", book / "book" / "part1_memory"
    assert student.main([], root=book) == 0
    git(book, "init", "-q")
    git(book, "add", ".")
    answered = (folder / "03_memory.ipynb").read_text().replace("raise NotImplementedError", "return 'mine'")
    copied = (folder / "04_forms.ipynb").read_text()
    own = {"report.md": "mine", "curve.png": "\x89PNG", "Untitled.ipynb": "{}", "04_forms-Copy1.ipynb": copied}
    for name, text in own.items():
        (folder / name).write_text(text, encoding="latin-1")
    assert student.drift(book) == []  # files of other names are nobody's business
    (folder / "03_memory.ipynb").write_text(answered)
    (folder / "project.ipynb").write_bytes(b"\x89")
    (part / "04_forms.ipynb").rename(part / "04_shapes.ipynb")

    capsys.readouterr()
    assert student.main([], root=book) == 1
    said = capsys.readouterr().out
    assert "student/03_memory.ipynb holds what git does not have and was kept" in said and "--force" in said
    assert (folder / "03_memory.ipynb").read_text() == answered
    assert all((folder / name).read_text(encoding="latin-1") == text for name, text in own.items())
    assert (folder / "04_shapes.ipynb").exists() and not (folder / "04_forms.ipynb").exists()
    assert student.drift(book) == ["03_memory.ipynb", "project.ipynb"]
    assert student.main(["--force"], root=book) == 0
    assert student.drift(book) == []


def test_an_author_gets_a_fresh_notebook_at_every_call(book):
    """Without a commit in between: what student.py wrote is nobody's work."""
    git(book, "init", "-q")
    path = book / "book" / "part1_memory" / "03_memory.ipynb"
    for n in range(3):
        notebook = nb.read(path)
        notebook.cells[0].source += f"\n\nSentence {n}."
        nb.write(notebook, path)
        assert student.main([], root=book) == 0
        assert student.drift(book) == []


def test_without_git_nothing_is_overwritten(book, monkeypatch):
    assert student.main([], root=book) == 0
    (book / "student" / "03_memory.ipynb").write_text("mine")
    assert student.main([], root=book) == 1  # git is there, a repository is not
    monkeypatch.setenv("PATH", "")
    assert student.main([], root=book) == 1
    assert (book / "student" / "03_memory.ipynb").read_text() == "mine"


def test_the_notebooks_are_opened_as_they_are():
    done = subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True)
    assert "jupyter lab" in done.stdout and "student.py" not in done.stdout, done.stderr


def test_both_readmes_say_where_a_notebook_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("**Run.**")[1].split("**Teach.**")[0]
    for text in (readme, (ROOT / "student" / "README.md").read_text(encoding="utf-8")):
        for place in ("Colab", "make lab", "VS Code", "Jupyter of your", "jupyter nbconvert --to notebook --execute"):
            assert place in text, place
        (name,) = re.findall(r"--output \S+ (?:student/)?(\S+\.ipynb)`", text)
        assert name in {path.name for path in CHAPTERS}
