"""Every page of the built book in a real browser that reaches no other host: axe in light and in dark, colours of code."""

import check_pages
import pytest
from _browser import CHAPTERS, cut, excess, pages, reader, serious, visit


def test_every_page_is_accessible_fits_the_screen_and_works_without_a_network(chromium, site, book):
    """In light and, with the same page turned dark as its switch does it, in dark.

    What MathJax draws inside an equation is most of a chapter's elements and the same on all pages: it is taken out before
    axe looks.  The test on a narrow screen shows it one page of each folder with its equations.
    """
    faults = []
    with reader(chromium, site) as (tab, wrong):
        for name in pages(book):
            visit(tab, f"{site}/{name}")
            tab.add_style_tag(content="* { transition: none !important }")  # no colour half-way between two modes
            wrong += [f"the page is {excess(tab)} px wider than the screen"] * (excess(tab) > 0)
            wrong += cut(tab)
            tab.set_viewport_size({"width": 768, "height": 900})
            wrong += cut(tab)
            tab.set_viewport_size({"width": 1280, "height": 900})
            tab.evaluate("document.querySelectorAll('mjx-container').forEach(e => e.replaceChildren())")
            wrong += serious(tab, [".highlight"])
            tab.emulate_media(color_scheme="dark")
            tab.evaluate("document.documentElement.dataset.theme = 'dark'")
            wrong += [
                f"in dark: {fault}" for fault in serious(tab, [".highlight"], ["color-contrast"])
            ]  # nothing else depends on it
            tab.emulate_media(color_scheme="light")
            faults += [f"{name}: {fault}" for fault in wrong]
            wrong.clear()
    assert not faults, "\n".join(faults)


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
        assert serious(tab) == []
