"""Every page of the built book in a real browser that reaches no other host: keyboard, screens, axe in light and dark, code."""

import re

from _browser import CHAPTERS, ROOT, accessible, cut, equations, excess, legible, pages, reader, unfold, visit

CODE = [".highlight"]  # its colours: the last test


# Each letter of an equation becomes one box of the equation's size, each line of coloured code plain text.
PLAIN = """() => {
    const drawn = [...document.querySelectorAll("mjx-container:has(mjx-math)")].map(e => [e, e.querySelector("mjx-math").getBoundingClientRect()]);
    for (const [equation, { width, height }] of drawn) {
        const box = document.createElement("span");
        box.style.cssText = `display: inline-block; width: ${width}px; height: ${height}px`;
        equation.replaceChildren(box);
    }
    for (const code of document.querySelectorAll(".highlight pre")) code.textContent = code.textContent;
}"""


def test_every_page_works_by_keyboard_fits_any_screen_and_is_accessible_in_light_and_dark_without_a_network(
    chromium, site, book
):
    """One visit for each page: on a phone, on a tablet, on a laptop; there in light and, turned as its switch does it, dark.

    Equations and the words of code, each in its colour, are most of a chapter's elements and the same on all pages: after
    the phone both are made plain.  On a phone axe sees the first chapter with both, and one page of each other folder without:
    what a narrow screen folds away is the same for all of them.
    """
    faults, folders, looks, with_equations = [], set(), {"light": set(), "dark": set(), "narrow": set()}, set()
    with reader(chromium, site, 390) as (tab, wrong):

        def fits(width):
            if over := excess(tab):
                wrong.append(f"the page is {over} px wider than {width} px")

        for name in pages(book):
            visit(tab, f"{site}/{name}")
            # no colour half-way between two modes, nothing half faded in
            tab.add_style_tag(content="* { transition: none !important; animation: none !important }")
            fits(390)
            wrong += [*equations(tab), *(hands(tab, name) if name in CHAPTERS else [])]
            if tab.locator("article mjx-container").count():
                with_equations.add(name)
            unfold(tab)
            fits(390)
            wrong += cut(tab)
            folder = name.rpartition("/")[0]
            if folder not in folders:
                if name != CHAPTERS[0]:
                    tab.evaluate(PLAIN)
                wrong += [*accessible(tab, CODE), *legible(tab, looks["narrow"], CODE)]
            folders.add(folder)
            tab.evaluate(PLAIN)
            for width in (768, 1280):
                tab.set_viewport_size({"width": width, "height": 900})
                fits(width)
                wrong += cut(tab)
            wrong += [*accessible(tab, CODE), *legible(tab, looks["light"], CODE)]
            tab.emulate_media(color_scheme="dark")
            tab.evaluate("document.documentElement.dataset.theme = 'dark'")
            wrong += [f"in dark: {fault}" for fault in legible(tab, looks["dark"], CODE)]
            tab.goto("about:blank")  # or the page that is left would be laid out once more
            tab.emulate_media(color_scheme="light")
            tab.set_viewport_size({"width": 390, "height": 900})
            faults += [f"{name}: {fault}" for fault in wrong]
            wrong.clear()
    assert not faults, "\n".join(faults)
    assert with_equations >= {"book/appendix/notation.html", *CHAPTERS}
    assert min(map(len, looks.values())) > 20


def hands(tab, name):
    """What is wrong with the sliders, solutions and hints of a chapter, by keyboard."""
    sliders = tab.query_selector_all(".vl-explore input[type=range]")
    source = (ROOT / name).with_suffix(".ipynb").read_text(encoding="utf-8")
    if not sliders and ("/part" in name or "teach.explore(" in source):
        yield "no slider"
    for n, slider in enumerate(sliders):
        before = slider.evaluate(STATE)
        if before["labels"] != 1:
            yield f"slider {n} has {before['labels']} labels"
        tab.keyboard.press("ArrowRight")
        moved = slider.evaluate(STATE)
        if moved["value"] != "1" or any(moved[part] == before[part] for part in ("src", "said")) or not moved["alt"]:
            yield f"slider {n} changes no frame: {moved['value']}, {moved['said']}, {moved['alt']}"
        tab.keyboard.press("ArrowLeft")
        if slider.evaluate(STATE) != before:
            yield f"slider {n} does not go back"
    for summary in tab.query_selector_all("article summary")[:3]:
        if summary.evaluate("s => { s.focus(); return s.parentElement.open; }"):
            yield "something hidden is open from the start"
        tab.keyboard.press("Enter")
        if not summary.evaluate("s => s.parentElement.open"):
            yield "something hidden does not open by keyboard"


STATE = """s => { s.focus(); const { src, alt } = s.closest("figure").querySelector("img");
    return { src, alt, said: s.getAttribute("aria-valuetext"), value: s.value, labels: s.labels.length }; }"""


def test_every_colour_of_code_is_legible(chromium, site, book):
    """One span for each kind of token that occurs in the book: much quicker than every token of every page."""
    kinds = set()
    for name in pages(book):
        for kind in re.findall(
            r'<span class="([^"]+)">', "".join(LISTING.findall((book / name).read_text(encoding="utf-8")))
        ):
            kinds.add(kind)
    assert len(kinds) > 10
    spans = "".join(f'<span class="{kind}">token</span> ' for kind in sorted(kinds))
    with reader(chromium, site) as (tab, _):
        visit(tab, f"{site}/book/index.html")
        cell = f'<div class="cell"><div class="cell_input"><div class="highlight-ipython3"><div class="highlight"><pre tabindex="0">{spans}'
        tab.evaluate("html => document.querySelector('article').insertAdjacentHTML('beforeend', html)", cell)
        assert tab.locator("article .highlight span").count() >= len(kinds)
        assert accessible(tab) == [] and legible(tab, set()) == []
        tab.add_style_tag(content="* { transition: none !important }")
        tab.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert legible(tab, set()) == []


LISTING = re.compile(r'<div class="highlight"><pre>(.*?)</pre>', re.S)
