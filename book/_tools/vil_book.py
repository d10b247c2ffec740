"""The book's own Sphinx extension.

- the execution cache is the one that book/_tools/execute.py fills
- MathJax comes from the pip package sphinx-mathjax-offline, only the files that pages can ask for
- thebe's scripts, which would load from a CDN, are left out
- a bibliography is plain text for screen readers
- launch buttons open the student notebook of a chapter; the entries of the download button say what they give
- search finds a word in British and in American spelling
- {drawing} puts an SVG of book/_static into the page, so that it follows light and dark mode
- {memory-slider} and {scene-with-detections} are the figures of the landing page (book/_tools/landing.py)
"""

import html
import importlib.util
import json
import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from execute import cache_folder
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]

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


CHAPTER = re.compile(r"book/part[^/]+/(\d\d[a-z]?_\w+|project\d?)$")


def launch_student(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """Send Colab and Binder to the notebook of student/ instead of the master with its solutions."""
    match = CHAPTER.search(pagename)
    if not match:
        return

    def redirect(buttons):
        for button in buttons:
            if "buttons" in button:
                redirect(button["buttons"])
            elif str(button.get("url", "")).startswith("http"):
                button["url"] = button["url"].replace(f"{pagename}.ipynb", f"student/{match[1]}.ipynb")

    redirect(context.get("header_buttons", []))


def name_downloads(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """Call the entries of the download button what a reader gets; the theme calls them .ipynb, .md and .pdf."""
    names = {
        ".ipynb": "Notebook to work in (.ipynb)" if CHAPTER.search(pagename) else "This page as a notebook (.ipynb)",
        ".md": "Text of this page (.md)",
        ".pdf": "Print this page, or save it as PDF",
    }
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") in names:
                button |= {"text": names[button["text"]], "tooltip": None}  # a tooltip would say it again


SPELLINGS = (  # words of one group are found with each other; more than two where the parts of a word have other stems
    "stabiliser stabilizer, normalise normalize, colour color, neighbour neighbor, optimiser optimizer, "
    "centre center, grey gray, initialise initialize, behaviour behavior, generalise generalize, regularise regularize, "
    "quantise quantize, neighbourhood neighborhood, recognise recognize recognizable, metre meter, decimetre decimeter, "
    "favour favor, harbour harbor, licence license, sceptical skeptical, discretise discretize, parallelise parallelize, "
    "orthogonalise orthogonalize, visualise visualize, synchronise synchronize, summarise summarize, "
    "catalogue catalog, fulfil fulfill, serialise serialize"
)


def spell_both_ways(app: Sphinx, exception) -> None:
    """Whoever searches for "stabilizer" finds the pages that say "stabiliser", and the other way round."""
    path = Path(app.outdir) / "searchindex.js"
    if exception is not None or not path.is_file():
        return
    before, after = "Search.setIndex(", ")"
    index = json.loads(path.read_text(encoding="utf-8").removeprefix(before).removesuffix(after))
    stem = SearchEnglish({}).stem
    for pair in SPELLINGS.split(", "):
        stems = [stem(word) for word in pair.split()]
        for terms in (index["terms"], index["titleterms"]):
            found = [[pages] if isinstance(pages := terms.get(name, []), int) else pages for name in stems]
            if pages := sorted(set().union(*found)):
                terms.update(dict.fromkeys(stems, pages))
    path.write_text(f"{before}{json.dumps(index, separators=(',', ':'))}{after}", encoding="utf-8")


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


class MemorySlider(SphinxDirective):
    """A matrix that remembers, under a slider."""

    def run(self):
        import landing  # here: it imports torch, which no other page needs

        return [nodes.raw("", landing.memory(), format="html")]


class SceneWithDetections(SphinxDirective):
    """What the detector in the package finds on one airfield."""

    def run(self):
        import landing

        root = Path(self.env.srcdir)
        self.env.note_dependency(str(root / "book" / "results" / "landing_scene.json"))
        (picture, width, height), words = landing.detections(root)
        image = f'<img src="{picture}" alt="{html.escape(words)}" width="{width}" height="{height}">'
        figure = f'<figure class="vl-scene">{image}<figcaption>{html.escape(words)}</figcaption></figure>'
        return [nodes.raw("", figure, format="html")]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", set_cache)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", plain_citations)
    app.connect("html-page-context", launch_student, priority=900)
    app.connect("html-page-context", name_downloads, priority=900)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", spell_both_ways)
    app.add_directive("drawing", Drawing)
    app.add_directive("memory-slider", MemorySlider)
    app.add_directive("scene-with-detections", SceneWithDetections)
    # The extension would copy all 16 MB; the address is what it would set.
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
