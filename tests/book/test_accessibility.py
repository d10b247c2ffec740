"""Every page of the built book in a real browser that reaches no other host: screens, axe in light and dark, colours of code."""

import check_pages
import pytest
from _browser import CHAPTERS, accessible, cut, equations, excess, legible, pages, reader, visit

CODE = [".highlight"]  # its colours: the last test


def test_every_page_fits_any_screen_is_accessible_in_light_and_dark_and_works_without_a_network(chromium, site, book):
    """One visit for each page: on a phone, on a tablet, on a laptop; there in light and, turned as its switch does it, dark.

    What MathJax draws inside an equation and the words of code, each in its colour, are most of a chapter's elements and the
    same on all pages: equations are emptied and code is plain before axe looks at the wide page.  On a phone axe sees one
    page of each folder with both: what a narrow screen folds away is the same for all of them.
    """
    faults, folders, looks, with_equations = [], set(), {"light": set(), "dark": set(), "narrow": set()}, set()
    with reader(chromium, site, 390) as (tab, wrong):

        def screen(width):
            tab.set_viewport_size({"width": width, "height": 900})
            wrong.extend([f"the page is {excess(tab)} px wider than {width} px"] * (excess(tab) > 0))
            wrong.extend(cut(tab))

        for name in pages(book):
            visit(tab, f"{site}/{name}")
            tab.add_style_tag(content="* { transition: none !important }")  # no colour half-way between two modes
            screen(390)
            wrong += equations(tab)
            if tab.locator("article mjx-container").count():
                with_equations.add(name)
            folder = name.rpartition("/")[0]
            if folder not in folders:
                wrong += [*accessible(tab, CODE), *legible(tab, looks["narrow"], CODE)]
            folders.add(folder)
            screen(768)
            screen(1280)
            tab.evaluate(
                """() => {
                for (const drawn of document.querySelectorAll("mjx-container")) drawn.replaceChildren();
                for (const code of document.querySelectorAll(".highlight pre")) code.textContent = code.textContent;
                for (const box of document.querySelectorAll("article details")) box.open = true;
                }"""
            )
            wrong += [*accessible(tab, CODE), *legible(tab, looks["light"], CODE)]
            tab.emulate_media(color_scheme="dark")
            tab.evaluate("document.documentElement.dataset.theme = 'dark'")
            wrong += [f"in dark: {fault}" for fault in legible(tab, looks["dark"], CODE)]
            tab.emulate_media(color_scheme="light")
            tab.goto("about:blank")  # or the page that is left would be laid out once more
            tab.set_viewport_size({"width": 390, "height": 900})
            faults += [f"{name}: {fault}" for fault in wrong]
            wrong.clear()
    assert not faults, "\n".join(faults)
    assert with_equations >= {"book/appendix/notation.html", *CHAPTERS}
    assert min(map(len, looks.values())) > 20


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_colour_of_code_is_legible(chromium, site, book, mode):
    """One span for each kind of token that occurs in the book: much quicker than every token of every page."""
    kinds = set()
    for name in pages(book):
        for code in check_pages.soup(book / name).select(".highlight pre"):
            kinds |= {" ".join(token["class"]) for token in code.find_all("span", class_=True)}
    assert not CHAPTERS or len(kinds) > 10
    spans = "".join(f'<span class="{kind}">token</span> ' for kind in sorted(kinds))
    with reader(chromium, site, mode=mode) as (tab, _):
        visit(tab, f"{site}/book/index.html")
        cell = f'<div class="cell"><div class="cell_input"><div class="highlight-ipython3"><div class="highlight"><pre tabindex="0">{spans}'
        tab.evaluate("html => document.querySelector('article').insertAdjacentHTML('beforeend', html)", cell)
        assert tab.locator("article .highlight span").count() >= len(kinds)
        assert accessible(tab) == [] and legible(tab, set()) == []
