"""The book as one PDF and as one file for a room without a network: made here of two small pages."""

import shutil
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path
from types import SimpleNamespace

import archive
import pytest
import student
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parents[2]
PAGE = "<!doctype html><html lang='en'><head><title>x</title></head><body><article class='bd-article'><h1>{title}</h1>{body}</article></body></html>"
TOC = "root: book/index\nparts:\n  - caption: One\n    chapters:\n      - file: book/chapter\n"
SLIDER = (
    "<figure class='vl-explore'><img src='data:,' alt=''>"
    '<script type="application/json">{"frames": [null, null, null], "alts": ["first", "middle", "last"]}</script></figure>'
    "<script src='book.js'></script>"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A built book of a landing page and a chapter of two sheets, and its _toc.yml."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "_toc.yml").write_text(TOC)
    (root / "html" / "book").mkdir(parents=True)
    landing = "<p class='x'><a href='chapter.html'>go</a></p><p class=\"vl-take-away\"></p>"
    chapter = (
        "<p><a href='#end'>down</a></p><details><summary>Hint</summary>a hidden answer</details>"
        + SLIDER
        + "<h2 style='break-before:page' id='end'>The end</h2><p><a href='https://example.org/'>out</a></p>"
    )
    (root / "html" / "book" / "index.html").write_text(PAGE.format(title="Landing", body=landing))
    (root / "html" / "book" / "chapter.html").write_text(PAGE.format(title="1. A chapter", body=chapter))
    (root / "html" / "index.html").write_text("<p>see book/index.html</p>")
    shutil.copy(ROOT / "book" / "_static" / "book.js", root / "html" / "book")
    return root


@pytest.fixture(scope="module")
def printed(tiny):
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium on this machine: install Debian's package `chromium`")
    # In a process of its own: Playwright's event loop would be in the way of other tests.
    code = "import sys, pdf; from pathlib import Path; root = Path(sys.argv[1]); print(pdf.make(root / 'html', root))"
    done = subprocess.run(
        [sys.executable, "-c", code, tiny], cwd=ROOT / "book" / "_tools", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return PdfReader(done.stdout.strip())


def test_pages_contents_and_numbers(printed):
    text = [page.extract_text() for page in printed.pages]
    assert len(text) == 4 and "Landing" in text[0] and "Contents" in text[1] and "The end" in text[3]
    assert "1. A chapter" in text[1] and "3" in text[1].split()  # the chapter begins on sheet 3
    assert [words.split()[-1] for words in text] == ["1", "2", "3", "4"]


def test_hints_are_open_and_a_slider_is_three_stills(printed):
    text = unicodedata.normalize("NFKC", printed.pages[2].extract_text())  # ligatures apart
    assert all(words in text for words in ("a hidden answer", "first", "middle", "last"))


def test_bookmarks(printed):
    def names(level):
        return [names(entry) if isinstance(entry, list) else entry.title for entry in level]

    assert names(printed.outline) == ["Landing", "Contents", "One", ["1. A chapter", ["The end"]]]


def test_links_stay_inside_the_file(printed):
    def links(number):
        for link in printed.pages[number].get("/Annots") or []:
            link = link.get_object()
            if "/Dest" in link:
                yield next(n for n, page in enumerate(printed.pages) if page.indirect_reference == link["/Dest"][0])
            else:
                yield link["/A"]["/URI"]

    assert list(links(0)) == [2] and list(links(1)) == [0, 2] and list(links(2)) == [3]
    assert list(links(3)) == ["https://example.org/"]


def test_the_landing_page_links_what_was_made_once(tiny):
    import pdf

    for words in ("old", "new"):
        pdf.link(tiny / "html", "a.pdf", words)
    assert (tiny / "html/book/index.html").read_text().count('<a href="../a.pdf">') == 1


@pytest.mark.parametrize("megabytes", [40, 41])
def test_a_pdf_that_is_too_large_is_an_error_and_not_linked(tmp_path, monkeypatch, capsys, megabytes):
    import pdf

    def make(folder):
        path = folder / pdf.NAME
        with open(path, "wb") as file:
            file.truncate(megabytes * 2**20)
        return path

    (tmp_path / "book").mkdir()
    landing = tmp_path / "book" / "index.html"
    landing.write_text('<p class="vl-take-away"></p>')
    monkeypatch.setattr(pdf, "make", make)
    monkeypatch.setattr(pdf, "PdfReader", lambda _: SimpleNamespace(pages=[1]))
    assert pdf.main([str(tmp_path)]) == (megabytes > 40)
    assert ("more than 40 MB" in capsys.readouterr().err) == (megabytes > 40)
    assert (pdf.NAME in landing.read_text()) == (megabytes <= 40)


def test_the_archive_holds_pages_a_wheel_and_notebooks_without_solutions(tiny, tmp_path):
    with zipfile.ZipFile(archive.make(tiny / "html", tmp_path / "book.zip")) as packed:
        names = [name.partition("/")[2] for name in packed.namelist()]
    assert {"READ-FIRST.txt", "html/book/chapter.html", "student/01_lstm_limits.ipynb"} <= set(names)
    # made for it: in the folder somebody may have worked
    assert {name for name in names if name.startswith("student/")} == {f"student/{name}" for name in student.files()}
    (wheel,) = [name for name in names if name.startswith("wheels/")]
    assert wheel.startswith("wheels/vil_lite-") and wheel.endswith("-none-any.whl")
    with pytest.raises(SystemExit, match="no built book"):
        archive.make(tmp_path, tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()
