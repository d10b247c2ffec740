"""The book's own Sphinx extension.

- the execution cache is the one that book/_tools/execute.py fills
- MathJax comes from the pip package sphinx-mathjax-offline, only the files that pages can ask for
- thebe's scripts, which would load from a CDN, are left out
- a bibliography is plain text for screen readers
- launch buttons open the student notebook of a chapter
- {drawing} puts an SVG of book/_static into the page, so that it follows light and dark mode
- {chapters} lists the chapters of a part, {recorded-results} book/results/*.json with command and device
- {paper-table} and {paper-tally} show book/appendix/tables.csv: what became of each cell of the paper's tables
"""

import csv
import importlib.util
import json
import re
import shutil
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_tools"))

from execute import cache_folder  # noqa: E402

MATHJAX = ("tex-chtml.js", "output/chtml", "input/tex/extensions", "a11y", "sre")


def set_cache(app: Sphinx, config) -> None:
    config.nb_execution_cache_path = str(cache_folder(Path(app.srcdir)))


def copy_mathjax(app: Sphinx, exception) -> None:
    if exception is not None or app.builder.format != "html":
        return
    source = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for name in MATHJAX:
        target = Path(app.outdir) / "_static" / "mathjax" / name
        if (source / name).is_dir():
            shutil.copytree(source / name, target, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)


def drop_thebe(app: Sphinx, pagename, templatename, context, doctree) -> None:
    def kept(script) -> bool:
        words = f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', {})}"
        return "thebe" not in words.lower()

    context["script_files"] = [script for script in context.get("script_files", []) if kept(script)]


def plain_citations(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """Take away docutils' list roles of a bibliography: their children break the rules of those roles."""
    if "citation-list" in context.get("body", ""):
        body = context["body"].replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        context["body"] = body.replace(' role="doc-biblioentry"', "")


def launch_student(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """Send Colab and Binder to the notebook of student/ instead of the master with its solutions."""
    match = re.search(r"book/part[^/]+/(\d\d_\w+|project)$", pagename)
    if not match:
        return

    def redirect(buttons):
        for button in buttons:
            if "buttons" in button:
                redirect(button["buttons"])
            elif str(button.get("url", "")).startswith("http"):
                button["url"] = button["url"].replace(f"{pagename}.ipynb", f"student/{match[1]}.ipynb")

    redirect(context.get("header_buttons", []))


class Drawing(SphinxDirective):
    """``{drawing} name.svg``: the SVG itself in the page, with a caption below.

    narrow: another SVG for screens under 600 px.  name: for {numref}.  The SVG says in <title> and <desc> what it shows.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"narrow": directives.unchanged, "name": directives.unchanged}

    def run(self):
        figure = nodes.figure(classes=["vl-drawing"])
        for file, classes in ((self.arguments[0], "vl-wide"), (self.options.get("narrow"), "vl-narrow")):
            if file:
                alone = "" if self.options.get("narrow") else " vl-alone"
                figure += nodes.raw("", f'<div class="{classes}{alone}">{self.svg(file)}</div>', format="html")
        if self.content:
            words, _ = self.parse_inline(" ".join(self.content))
            figure += nodes.caption("", "", *words)
        self.add_name(figure)
        return [figure]

    def svg(self, file: str) -> str:
        path = Path(self.env.srcdir) / "book" / "_static" / file
        self.env.note_dependency(str(path))
        text = path.read_text(encoding="utf-8")
        if not all(f"<{tag}" in text for tag in ("title", "desc")):
            raise self.error(f"{file}: a drawing needs <title> and <desc>: they are its alt text")
        # The same drawing may stand on a page twice, wide and narrow: ids must differ.
        stem = path.stem
        text = re.sub(r'\bid="([^"]+)"', rf'id="{stem}-\1"', text)
        text = re.sub(r"url\(#([^)]+)\)", rf"url(#{stem}-\1)", text)
        return re.sub(r'aria-labelledby="([^"]+)"', lambda m: _labelled(m, stem), text)


def _labelled(match, stem: str) -> str:
    return 'aria-labelledby="' + " ".join(f"{stem}-{name}" for name in match[1].split()) + '"'


class Chapters(SphinxDirective):
    """``{chapters} FOLDER``: the chapters of a part, linked once they are in the book.

    One a line, as ``file | title | words``; the words may be missing.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        items = nodes.bullet_list(classes=["vl-chapters"])
        for line in filter(None, self.content):
            file, title, *words = (part.strip() for part in line.split("|"))
            words = "".join(f": {part}" for part in words)
            name = f"book/{self.arguments[0]}/{file}"
            if name in self.env.found_docs:
                items += nodes.list_item("", nodes.paragraph("", "", link(self.env, name, title), nodes.Text(words)))
            else:
                items += nodes.list_item("", nodes.paragraph("", f"{title}{words} (in preparation)"))
        return [items]


class RecordedResults(SphinxDirective):
    """A table of the recorded runs: what, by which command, where, with which seeds."""

    def run(self):
        folder = Path(self.env.srcdir) / "book" / "results"
        rows = []
        for path in sorted(folder.glob("*.json")):
            self.env.note_dependency(str(path))
            run = json.loads(path.read_text(encoding="utf-8"))
            seeds = ", ".join(map(str, run["seeds"])) or "none"
            rows.append((nodes.literal(text=path.stem), nodes.literal(text=run["command"]), run["device"], seeds))
        if not rows:
            return [nodes.paragraph(text="No run has been recorded: every number of the book is computed on its page.")]
        return [table(("Result", "Command", "Device", "Seeds"), rows)]


class PaperTable(SphinxDirective):
    """``{paper-table} N``: what became of the cells of Table N of the paper, from book/appendix/tables.csv.

    Its evidence names, in one field: tests (file::function), recorded runs (book/results/NAME.json) and pages (book/...).
    """

    required_arguments = 1

    def run(self):
        rows = [row for row in statuses(self.env) if row["table"] == self.arguments[0]]
        if not rows:
            raise self.error(f"tables.csv has no row for table {self.arguments[0]}")
        terms = nodes.definition_list()  # not a table: the names of tests would make it wider than a telephone
        for name, group in groupby(rows, key=lambda row: row["rows"]):
            columns = nodes.bullet_list("", *[self.column(row) for row in group])
            terms += nodes.definition_list_item("", nodes.term(text=name), nodes.definition("", columns))
        return [terms]

    def column(self, row):
        how = nodes.paragraph("", f"{row['column']}: ", nodes.strong(text=row["status"]))
        words, _ = self.parse_inline(row["note"])
        how += [nodes.Text("; "), *words] if words else []
        for number, name in enumerate(row["evidence"].split()):
            how += nodes.Text(", " if number else ": ")
            how += link(self.env, name) if name.startswith("book/") else nodes.literal(text=name)
        return nodes.list_item("", how)


class PaperTally(SphinxDirective):
    """``{paper-tally}``: one sentence that counts the rows of book/appendix/tables.csv by status."""

    def run(self):
        count = Counter(row["status"] for row in statuses(self.env))
        text = ", ".join(f"{number} {status}" for status, number in count.most_common())
        return [nodes.paragraph(text=f"Of {sum(count.values())} rows: {text}.")]


def statuses(env) -> list[dict]:
    """The rows of book/appendix/tables.csv."""
    path = Path(env.srcdir) / "book" / "appendix" / "tables.csv"
    env.note_dependency(str(path))
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def link(env, name: str, title: str | None = None) -> nodes.Node:
    """A link to the page of this name (book/...), with the page's own title unless another is given."""
    return pending_xref(
        "", nodes.inline("", title or name), refdomain="std", reftype="doc", reftarget=f"/{name}", refexplicit=bool(title),
        refwarn=True, refdoc=env.docname,
    )


def table(head, rows):
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *[_row(row) for row in rows])
    return nodes.table("", group)


def _row(cells):
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", _node(cell))) for cell in cells])


def _node(cell):
    return cell if isinstance(cell, nodes.Node) else nodes.Text(str(cell))


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", set_cache)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", plain_citations)
    app.connect("html-page-context", launch_student, priority=900)
    app.connect("build-finished", copy_mathjax)
    app.add_directive("drawing", Drawing)
    app.add_directive("chapters", Chapters)
    app.add_directive("recorded-results", RecordedResults)
    app.add_directive("paper-table", PaperTable)
    app.add_directive("paper-tally", PaperTally)
    # The extension would copy all 16 MB; the address is what it would set.
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
