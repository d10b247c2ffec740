"""Each fault of a page makes the build fail: proven on a tiny book with the real extension, configuration and checks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import api
import build
import check_pages
import codespell_lib
import execute
import nb
import nbformat
import pytest
import vil_book
import yaml
from bs4 import BeautifulSoup
from plain import Labels
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).resolve().parents[2]
FIGURE = {"mystnb": {"image": {"alt": "A line that rises"}, "figure": {"name": "fig-line", "caption": "A line."}}}
DRAW = "import matplotlib.pyplot as plt\nplt.plot([0, 1]);"
TOC = "format: jb-book\nroot: book/index\nchapters:\n  - file: book/chapter\n"
CELL = "from vil_lite import answer\nprint(answer)"
PAGE = "# A page\n\nThe stabiliser. Text with a [link](chapter.ipynb) and $x^2$.\n"


def notebook(*cells):
    """Cells: code, or (code, metadata); the title comes first."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [nbformat.v4.new_markdown_cell("# A chapter", id="title")]
    for n, cell in enumerate(cells):
        code, metadata = cell if isinstance(cell, tuple) else (cell, {})
        made.cells.append(nbformat.v4.new_code_cell(code, metadata=metadata, id=f"cell-{n}"))
    return made


class Book:
    """A book of one page and one chapter, built as the real one is."""

    def __init__(self, root: Path):
        self.root = root
        config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
        config["sphinx"]["local_extensions"] = dict.fromkeys(
            config["sphinx"]["local_extensions"], str(ROOT / "book" / "_tools")
        )
        self.write("_config.yml", yaml.safe_dump(config))
        self.write("_toc.yml", TOC)
        self.write("book/references.bib", (ROOT / "book/references.bib").read_text(encoding="utf-8"))
        shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
        self.write("vil_lite/__init__.py", "answer = 42\n")
        self.write("book/index.md", PAGE)
        self.chapter(CELL)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def chapter(self, *cells) -> None:
        self.write("book/chapter.ipynb", nbformat.writes(notebook(*cells)))

    def build(self, *options):
        command = [sys.executable, str(ROOT / "book" / "_tools" / "build.py"), *options, str(self.root)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        self.output = done.stdout + done.stderr
        return done.returncode

    def html(self, page: str) -> str:
        return (self.root / "_build" / "html" / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A faultless tiny book, built once."""
    book = Book(tmp_path_factory.mktemp("book"))
    book.chapter(CELL, (DRAW, FIGURE))
    assert book.build() == 0, book.output
    return book


@pytest.fixture
def faulty(built, tmp_path):
    """A copy of the faultless book, executed outputs too, to put one fault into."""
    shutil.copytree(built.root, tmp_path / "book")
    book = Book.__new__(Book)
    book.root = tmp_path / "book"
    return book


def test_a_good_book_is_built_offline_with_its_outputs(built):
    page = built.html("book/chapter.html")
    assert "42" in page and 'alt="A line that rises"' in page and "Figure 1" in page
    assert "unpkg.com" not in page and "sphinx-thebe.js" not in page
    assert (built.root / "_build/html/_static/mathjax/tex-chtml.js").is_file()
    assert "mathjax/tex-chtml.js" in built.html("book/index.html")
    assert not build.stale(built.root)
    assert "vl-report" not in page, "the repository's address is a placeholder: nobody reads reports there"


def test_downloads_have_names(built):
    """A reader of the page knows what .ipynb is not."""
    chapter, page = built.html("book/chapter.html"), built.html("book/index.html")
    assert "This page as a notebook (.ipynb)" in chapter and "Text of this page (.md)" in page
    for html in (chapter, page):
        assert "Print this page, or save it as PDF" in html
        assert re.search(r'btn__text-container">\s*\.', html) is None


def test_a_new_student_notebook_is_given_without_a_new_build(faulty):
    """Else `make archive` would pack the old one beside the new one."""
    faulty.write("student/01_gates.ipynb", "the new one")
    faulty.write("_build/html/_sources/book/part1_memory/01_gates.ipynb", "the old one")
    assert build.main(["--if-stale", str(faulty.root)]) == 0
    assert faulty.html("_sources/book/part1_memory/01_gates.ipynb") == "the new one"


def test_search_finds_both_spellings(built):
    index = json.loads(built.html("searchindex.js").removeprefix("Search.setIndex(").removesuffix(")"))
    british, american = SearchEnglish({}).stem("stabiliser"), SearchEnglish({}).stem("stabilizer")
    assert british != american and index["terms"][british] == index["terms"][american] != []


ALIKE = r"\w*wise|(adv|disgu|exerc|no|pra|prom|ra|rev|r|superv|surpr)is\w+|disable|four|ours|hours?|yours?"
APART = {"storey"}  # without the e it is another word


def american(word: str) -> str:
    """Another spelling of what looks British, by its ending: -ise, -our, -re."""
    if re.fullmatch(ALIKE, word):
        return word
    word = re.sub(r"is(e[ds]?|ers?|ing|ations?|able)$", r"iz\1", word)
    word = re.sub(r"our(s|ed|ing|hoods?|able|ite|al|less)?$", r"or\1", word)
    return re.sub(r"(?<=[bcdgkt])re(s?)$", r"er\1", word)


def test_each_british_word_of_the_pages_is_found_in_american_spelling():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")]
    for path in execute.notebooks():
        for cell in nb.read(path).cells:
            texts.append(cell.source if cell.cell_type == "markdown" else "")
            texts.append(cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", ""))
    texts += [one.doc or "" for one in api.entries()]
    listed = Path(codespell_lib.__file__).parent / "data" / "dictionary_en-GB_to_en-US.txt"
    known = dict(line.split("->") for line in listed.read_text(encoding="utf-8").split())
    stem, groups = SearchEnglish({}).stem, [group.split() for group in vil_book.SPELLINGS.split(", ")]
    together = [set(map(stem, group)) for group in groups]
    missed = set()
    for word in set(re.findall(r"[a-z]{4,}", " ".join(texts).lower())) - APART:
        pair = {stem(word), stem(known.get(word, american(word)))}
        if len(pair) > 1 and not any(pair <= group for group in together):
            missed.add(f"{word} {known.get(word, american(word))}")
    assert sorted(missed) == []


def test_prose_executes_nothing_again_and_a_chapter_links_terms_and_gives_reports_to_a_real_repository(faulty):
    assert faulty.build("--if-stale") == 0 and "up to date" in faulty.output
    address = "https://github.com/somebody/book"
    config = yaml.safe_load((faulty.root / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["vil_report_errors"], config["repository"]["url"] = True, address
    faulty.write("_config.yml", yaml.safe_dump(config))
    chapter, words = "book/part1_memory/01_gates", "book/appendix/notation"
    faulty.write("_toc.yml", f"{TOC}  - file: {chapter}\n  - file: {words}\n")
    faulty.write("book/index.md", PAGE + "\nOne more sentence: a gate in a page that is no chapter.\n")
    faulty.write(f"{chapter}.md", "# 1. A chapter\n\nA gate opens. Two gates are two values.\n")
    faulty.write(f"{words}.md", "# Words\n\n```{glossary}\ngate\n  It opens.\n\nvalue\n  What is stored.\n```\n")
    assert faulty.build("--if-stale") == 0, faulty.output
    assert "already executed" in faulty.output and "One more sentence" in faulty.html("book/index.html")
    page = BeautifulSoup(faulty.html(f"{chapter}.html"), "html.parser")
    (term,) = page.select("article a:has(> .std-term)")
    assert term["href"].endswith("notation.html#term-gate") and term.get_text() == "gate"
    (report,) = page.select(".vl-report a")
    assert report["href"].startswith(f"{address}/issues/new?")
    assert "1. A chapter" in parse_qs(urlsplit(report["href"]).query)["title"][0]
    faulty.write("README.md", "The landing page includes a part of it.\n")
    assert build.stale(faulty.root)


def test_a_changed_library_is_executed_again_and_a_broken_cell_fails_after_a_green_build(faulty):
    before = execute.cache_folder(faulty.root)
    faulty.write("vil_lite/__init__.py", "question = 6 * 9\n")
    assert faulty.build() == 1
    assert "ImportError" in faulty.output and "chapter.ipynb failed" in faulty.output
    assert build.stale(faulty.root), "a failed build must not count as a built book"
    assert not before.exists(), "the outputs of the old library are still there"
    assert faulty.build() == 1, "the second run of a failing book must fail too"


def test_other_weights_in_the_package_make_another_cache(tmp_path):
    weights = tmp_path / "vil_lite" / "yolo" / "weights" / "detector.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"of yesterday")
    before = execute.key(tmp_path)
    weights.write_bytes(b"of today")
    assert execute.key(tmp_path) != before


def test_warnings_and_output_on_stderr_fail_the_build_each_time(faulty):
    faults = [
        "{ref}`nowhere`",
        "{cite:p}`nobody1900`",
        "```{nonsense}\n```",
        "[gone](missing.md)",
        "```{figure} no.png\n```",
    ]
    faulty.write("book/index.md", PAGE + "\n" + "\n\n".join(faults) + "\n")
    faulty.chapter("import warnings\nwarnings.warn('old habits')")
    assert faulty.build() == 1
    warnings = [line for line in faulty.output.splitlines() if "WARNING" in line]
    for word in ("nowhere", "nobody1900", "nonsense", "missing.md", "no.png", "stderr"):
        assert any(word in line for line in warnings), f"no warning about {word}:\n{faulty.output}"
    assert faulty.build() == 1, "the second run turned green"


def test_what_the_check_finds_fails_the_build(faulty):
    faulty.chapter(CELL, DRAW)
    faulty.write("book/index.md", PAGE + '\n<img src="https://example.org/a.png" alt="A picture from elsewhere">\n')
    assert faulty.build() == 1
    assert "a figure without alt text" in faulty.output and "loads from elsewhere" in faulty.output


# ---------------------------------------------------------------- faults that need no build: the check alone


PRINTED = '<div class="cell_output"><pre>{}</pre></div>'
SEEDED = [
    ('<img src="a.png">', "a figure without alt text"),
    ('<img src="a.png" alt=" ">', "a figure without alt text"),
    ('<img src="a.png" alt="../_images/a.png">', "a figure without alt text"),
    ("<svg></svg>", "a drawing (svg) without title"),
    ('<img src="https://example.org/a.png" alt="A">', "loads from elsewhere (img): https://example.org/a.png"),
    (
        '<img src="a.png" srcset="a.png 1x, //example.org/b.png 2x" alt="A">',
        "loads from elsewhere (img): //example.org/b.png",
    ),
    ('<script src="//cdn.example.org/x.js"></script>', "loads from elsewhere (script)"),
    ('<iframe src="https://example.org/video"></iframe>', "loads from elsewhere (iframe)"),
    ('<link rel="stylesheet" href="https://example.org/x.css">', "loads from elsewhere (link)"),
    ('<link rel="preconnect" href="https://example.org">', "loads from elsewhere (link)"),
    ('<style>@import "https://example.org/x.css";</style>', "loads from elsewhere (style)"),
    ('<p style="background: url(https://example.org/x.png)">x</p>', "loads from elsewhere (style)"),
    ('<video poster="http://example.org/p.png"></video>', "loads from elsewhere (video)"),
    ('<a href="gone.html">x</a>', "a dead link: gone.html"),
    ('<a href="other.html#gone">x</a>', "no such place on the page: other.html#gone"),
    ('<a href="#gone">x</a>', "no such place on the page: #gone"),
    ('<a href="../outside.html">x</a>', "a dead link: ../outside.html"),
    ('<img src="gone.png" alt="A">', "a dead link: gone.png"),
    (PRINTED.format("9\n" * 61), "a cell prints 61 lines"),
    ("<p>| a | b |\n|---|---|\n| 1 | 2 |</p>", "a table that stayed text"),
    ("<p>| a | b | |—|:—:| | 1 | 2 |</p>", "a table that stayed text"),
]
GOOD = (
    '<p id="here"><img src="a.png" alt="A line"><a href="#here">x</a><a href="other.html#there">x</a><a href="#">x</a>'
    '<a href="https://example.org">elsewhere</a><a href="mailto:a@example.org">x</a><img src="data:image/png;base64,AA" alt="B">'
    "<svg aria-hidden='true'></svg><svg><title>C</title></svg></p>" + PRINTED.format("9\n" * 60)
)


def page(folder: Path, body: str) -> Path:
    (folder / "a.png").write_bytes(b"")
    (folder / "other.html").write_text('<article><p id="there">x</p></article>')
    (folder / "index.html").write_text(f"<html><body><article>{body}</article></body></html>")
    return folder


def test_the_check_accepts_a_good_page(tmp_path):
    assert check_pages.check(page(tmp_path, GOOD)) == []


@pytest.mark.parametrize("fault, message", SEEDED, ids=[message[:40] + str(n) for n, (_, message) in enumerate(SEEDED)])
def test_the_check_finds_one_seeded_fault(tmp_path, fault, message):
    problems = check_pages.check(page(tmp_path, GOOD + fault))
    assert len(problems) == 1 and message in problems[0], problems


def test_the_check_reads_style_sheets_and_refuses_an_empty_folder(tmp_path):
    (tmp_path / "x.css").write_text("@font-face { src: url(https://example.org/f.woff2) }")
    assert "holds no page" in check_pages.check(tmp_path)[0]
    assert "https://example.org/f.woff2" in check_pages.check(page(tmp_path, GOOD))[0]


def test_the_tools_import_no_torch():
    """Each small build above starts them twice, and so does everybody who writes a page."""
    code = "import sys, build, lint_notebooks, student, vil_book, vil_finding; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "book" / "_tools")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


# ---------------------------------------------------------------- the book itself


def test_the_launch_buttons_open_the_student_notebooks(book):
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    for path in execute.notebooks():
        html = (book / path.relative_to(ROOT)).with_suffix(".html").read_text(encoding="utf-8")
        chapter = path.parent.name.startswith(
            "part"
        )  # a notebook of the appendix has no exercises: it is opened as it is
        opened = f"student/{path.name}" if chapter else path.relative_to(ROOT).as_posix()
        colab = (
            f"https://colab.research.google.com/github/{address.removeprefix('https://github.com/')}/blob/main/{opened}"
        )
        assert f'"{colab}"' in html, path.name
        assert ("Notebook to work in (.ipynb)" in html) == chapter, path.name
        assert not chapter or f"blob/main/book/{path.parent.name}/{path.name}" not in html


def test_figures_and_equations_have_the_numbers_of_the_student_notebooks(book):
    labels, figures, equations = Labels(ROOT, nb.chapters()), {}, {}
    for path in nb.chapters():
        html = (book / path.relative_to(ROOT)).with_suffix(".html").read_text(encoding="utf-8")
        equations |= dict(re.findall(r'id="equation-(eq-[\w-]+)"[^>]*>\s*<span class="eqno">\(([\w.]+)\)', html))
        for ident, inside in re.findall(r'<figure[^>]* id="(fig-[\w-]+)"[^>]*>(.*?)</figcaption>', html, flags=re.S):
            figures[ident] = re.search(r'"caption-number">Figure ([\w.]+)', inside)[1]
    assert len(figures) > 60 and figures == labels.figures
    assert len(equations) > 60 and equations == labels.equations


def test_every_recorded_run_says_where_it_comes_from():
    for path in sorted((ROOT / "book" / "results").glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        missing = {"command", "device", "versions", "seeds", "figures"} - run.keys()
        assert not missing, f"{path.name} lacks {sorted(missing)}"
        script = re.match(r"python (experiments/\w+\.py)", run["command"])
        assert script and (ROOT / script[1]).is_file(), f"{path.name}: no command of the repository makes it"
        assert path.stem in (ROOT / script[1]).read_text(encoding="utf-8"), (
            f"{path.name}: {script[1]} does not write it"
        )


def test_where_no_gpu_could_be_had_the_page_says_so():
    """Once a run on one is recorded, these sentences are wrong."""
    devices = [
        json.loads(path.read_text(encoding="utf-8"))["device"] for path in (ROOT / "book" / "results").glob("*.json")
    ]
    assert all(re.fullmatch(r"(AMD|Intel).*, \d+ cores, \d+ threads", device) for device in devices)
    chapter = nb.read(ROOT / "book/part3_detection/14_vil_in_yolov8.ipynb")
    texts = {"chapter 14": "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")}
    texts |= {name: (ROOT / f"book/{name}.md").read_text(encoding="utf-8") for name in ("index", "appendix/status")}
    assert [name for name, text in texts.items() if "No GPU could be had" not in text.replace("no GPU", "No GPU")] == []
    cards = [nb.read(path).cells[0].source for path in nb.chapters()]
    assert any("on a T4" in card for card in cards) == ("minutes on a T4, they are estimates" in texts["index"])
