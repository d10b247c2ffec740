"""Figures and equations are numbered by chapter, as in the student notebooks: Figure 3.2, (3.4).

The numbers are those of book/_tools/plain.py, so that a page and its notebook cannot differ.
"""

from pathlib import Path

from docutils import nodes
from nb import chapter_number
from sphinx.application import Sphinx


def chapter_of(env, docname: str):
    """3, "P1" for a project, None for a page that is no chapter."""
    return chapter_number(Path(env.doc2path(docname))) or None if "/part" in docname else None


def equations(app: Sphinx, doctree: nodes.document) -> None:
    """Number the labelled equations of a page from 1, after its chapter."""
    chapter = chapter_of(app.env, app.env.docname)
    domain, count = app.env.get_domain("math"), 0
    for node in doctree.findall(nodes.math_block):
        if chapter and node.get("number") and node.get("label"):
            count += 1
            node["number"] = f"{chapter}.{count}"
            domain.equations[node["label"]] = (app.env.docname, node["number"])


def figures(app: Sphinx, env) -> list[str]:
    """Number the figures of a chapter from 1, after its number; those of other pages run on."""
    for docname, kinds in env.toc_fignumbers.items():
        if chapter := chapter_of(env, docname):
            for numbers in kinds.values():
                numbers.update({ident: (chapter, n) for n, ident in enumerate(numbers, 1)})
    return []


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", equations)
    app.connect("env-get-updated", figures, priority=900)  # after Sphinx has given its numbers
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
