"""How a reader finds the way: terms linked to the glossary, the API page, a link to report an error.

- the first time that a chapter uses a term of the glossary, the term links there
- the table of symbols says in which chapter each comes in (book/_tools/symbols.py)
- {api} lists the public names of the library, from their docstrings, each with its chapter (book/_tools/api.py)
- "Report an error on this page" under each page, once `vil_report_errors` in _config.yml says that the repository's
  address is real
"""

import re
from pathlib import Path
from urllib.parse import urlencode

import api
import symbols
from docutils import nodes
from nb import ROOT, chapter_number
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from vil_numbers import chapter_of

GLOSSARY = "book/appendix/notation"
#: Words of daily life, too: linked where the words around them show which sense is meant.
TRIO = re.compile(r"\b(query|queries|keys?|values?)\b", re.I)
SENSES = {
    "head": r"\b(?:each|every|per|four|one|token and|heads of) (heads?)\b(?! for)|\ba (head)'s\b",
    "detection head": r"\b(detection heads?)\b|\b[Tt]he (head)\b(?! for)",
    "skip": r"\b(?:a|the|learnable|gated|residual) (skip)\b",
}


# ---------------------------------------------------------------- terms


def glossary_terms(root: Path) -> list[str]:
    """The terms of the glossary; those of more words first, so that "detection head" is not found as "head"."""
    path = root / f"{GLOSSARY}.md"
    found = (
        re.search(r"^```\{glossary\}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
        if path.is_file()
        else None
    )
    terms = [line for line in found[1].splitlines() if line and line[0] != " "] if found else []
    return sorted(terms, key=lambda term: -len(term.split()))


def prose(doctree: nodes.document) -> list[nodes.Text]:
    """The texts of paragraphs and lists: no headings, code, equations, links, captions, tables or outputs."""
    apart = (nodes.title, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.reference)
    apart += (nodes.caption, nodes.table, nodes.raw, nodes.citation, addnodes.pending_xref)

    def kept(text):
        while (text := text.parent) is not None:
            classes = text.get("classes", []) if isinstance(text, nodes.Element) else []
            if isinstance(text, apart) or {"cell", "cell_output", "cell_input"} & set(classes):
                return False
        return True

    return [text for text in doctree.findall(nodes.Text) if kept(text)]


def span(term: str, text: nodes.Text) -> tuple[int, int] | None:
    """Where `text` uses the term, in the singular or plural, at the beginning of a sentence too."""
    if pattern := SENSES.get(term):
        found = re.search(pattern, text)
        return found.span(next(n for n, part in enumerate(found.groups(), 1) if part)) if found else None
    same_case = term != term.lower()
    stem = r"quer(?:y|ies)" if term == "query" else re.escape(term) + "s?"
    found = re.search(rf"(?<![\w-]){stem}(?![\w-])", text, 0 if same_case else re.I)
    if term in ("query", "key", "value"):
        kinds = (nodes.Text, nodes.strong, nodes.emphasis, addnodes.pending_xref)  # not the name of a glued number
        around = " ".join(part.astext() for part in text.parent.children if isinstance(part, kinds))
        found = found if len({word.lower()[:3] for word in TRIO.findall(around)}) > 1 else None
    return found.span() if found else None


def link_terms(doctree: nodes.document, terms: list[str], docname: str = "") -> list[str]:
    """Make a link to the glossary of the first place of each term; returns the terms that were found."""
    linked = []
    for term in terms:
        if term == "detection head" and "/part3" not in docname:
            continue  # elsewhere a head is one of the cell's
        for text in prose(doctree):
            if place := span(term, text):
                begin, end = place
                link = addnodes.pending_xref(
                    "", refdomain="std", reftype="term", reftarget=term, refdoc=docname, refexplicit=True, refwarn=True
                )
                link += nodes.inline("", text[begin:end], classes=["xref", "std", "std-term"])
                parts = [nodes.Text(text[:begin]), link, nodes.Text(text[end:])]
                text.parent.replace(text, [part for part in parts if part.astext()])
                linked.append(term)
                break
    return linked


def link_chapter(app: Sphinx, doctree: nodes.document) -> None:
    if chapter_of(app.env, app.env.docname) and (terms := glossary_terms(Path(app.srcdir))):
        app.env.note_dependency(str(Path(app.srcdir) / f"{GLOSSARY}.md"))
        link_terms(doctree, terms, app.env.docname)


# ---------------------------------------------------------------- symbols


def index_symbols(app: Sphinx, doctree: nodes.document) -> None:
    """Add to the table of symbols a column: the chapter in which each comes in, as a link."""
    if app.env.docname != GLOSSARY or not (table := next(doctree.findall(nodes.tgroup), None)):
        return
    table.parent["classes"].append("vl-symbols")
    table["cols"] += 1
    table.insert(len(list(table.findall(nodes.colspec))), nodes.colspec(colwidth=1))
    (head,) = next(table.findall(nodes.thead)).children
    head += nodes.entry("", nodes.paragraph("", "from chapter"))
    body = next(table.findall(nodes.tbody)).children
    for row, known in zip(body, symbols.rows(Path(app.srcdir)), strict=True):
        row += nodes.entry("", nodes.paragraph("", "", *chapter_link(symbols.where(known))))


def chapter_link(path: Path | None) -> list[nodes.Node]:
    if path is None:
        return []
    page = "/" + path.relative_to(ROOT).with_suffix("").as_posix()
    link = addnodes.pending_xref(
        "", refdomain="std", reftype="doc", reftarget=page, refdoc=GLOSSARY, refexplicit=True, refwarn=True
    )
    link += nodes.inline("", str(chapter_number(path)))
    return [link]


# ---------------------------------------------------------------- the API page


class Api(SphinxDirective):
    """``{api}``: sections of a page, one for each package and module with public names."""

    def run(self):
        made, chapters = {}, api.known_chapters()
        for one in api.entries():
            self.env.note_dependency(str(api.file_of(one.source)))
            if one.module not in made:
                made[one.module] = self.section(one.module)
            made[one.module][-1].append(self.item(one, chapters))
        return list(made.values())

    def section(self, module: str) -> nodes.section:
        section = nodes.section(
            "", nodes.title("", "", nodes.literal("", module)), ids=[nodes.make_id(f"api-{module}")]
        )
        section["names"] = [f"api-{module}"]
        line = (api.ast.get_docstring(api.tree(module)) or "").partition("\n")[0].partition(".  ")[0]
        line = re.sub(r"^(Chapters? [^:]*|Part 3|vil_lite): +", "", line)
        section.extend(
            [nodes.paragraph("", "", *words(f"{line[:1].upper()}{line[1:].rstrip('.')}.")), nodes.definition_list()]
        )
        return section

    def item(self, one: api.Entry, chapters: dict[str, Path]) -> nodes.definition_list_item:
        term = nodes.term("", "", nodes.literal("", one.name + one.signature), ids=[anchor(one)])
        kind, numbers = api.built_in(one)
        links = ", ".join(f"{{doc}}`{n} </{self.page(chapters[n])}>`" for n in numbers)
        label = {"built": "Built in", "used": "First used in"}[kind] + (
            " chapters " if len(numbers) > 1 else " chapter "
        )
        given = self.parse_text_to_nodes(f"{label}{links}.")
        given[0]["classes"].append("vl-built-in")
        return nodes.definition_list_item("", term, nodes.definition("", *paragraphs(one.doc), *given))

    def page(self, path: Path) -> str:
        return path.relative_to(api.ROOT).with_suffix("").as_posix()


def anchor(one: api.Entry) -> str:
    return nodes.make_id(f"api-{one.module}-{one.name}")


def words(text: str) -> list[nodes.Node]:
    """A text with `code` in backticks."""
    parts = re.split(r"`+([^`]+)`+", text)
    return [nodes.literal("", part) if n % 2 else nodes.Text(part) for n, part in enumerate(parts) if part]


def paragraphs(doc: str) -> list[nodes.Node]:
    """A docstring as paragraphs; arguments, one or more to a line, as a list; indented code as it is."""
    made = []
    for block in filter(str.strip, doc.split("\n\n")):
        if block.startswith(" "):
            made.append(nodes.literal_block("", block.strip("\n"), language="none"))
        elif len(items := parts(block)) > 1:
            made.append(
                nodes.bullet_list("", *(nodes.list_item("", nodes.paragraph("", "", *words(i))) for i in items))
            )
        else:
            made.append(nodes.paragraph("", "", *words(items[0])))
    return made


def parts(block: str) -> list[str]:
    """Pieces of a paragraph: "name: what it is" begins one at the start of a line and after three spaces."""
    items = [""]
    for piece in re.split(r"\n(?=\w[\w, ]*: |Raises |Returns )|(?<=\S) {3,}(?=\w[\w, ]*: )", block):
        items.append(" ".join(piece.split()))
    return [item for item in items if item]


# ---------------------------------------------------------------- report an error


def report_address(repository: str, title: str, docname: str) -> str:
    """The form for a new issue, with the page's name filled in."""
    body = f"Page: {title} ({docname})\n\nWhat it says:\n\nWhat it should say:\n"
    return f"{repository}/issues/new?" + urlencode({"title": f"{title}: ", "body": body})


def report_link(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if app.config.vil_report_errors and doctree is not None:
        title = re.sub(r"<[^>]+>", "", context.get("title", "")) or pagename
        address = report_address(app.config.html_theme_options["repository_url"], title, pagename).replace("&", "&amp;")
        context["body"] += f'<p class="vl-report"><a href="{address}">Report an error on this page</a></p>'


def setup(app: Sphinx) -> dict:
    app.add_config_value("vil_report_errors", False, "html")
    app.connect("doctree-read", link_chapter)
    app.connect("doctree-read", index_symbols)
    app.connect("html-page-context", report_link)
    app.add_directive("api", Api)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
