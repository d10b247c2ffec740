"""The built book in a real browser that reaches no other host: math, sliders, keyboard, contrast, width, console.

Without Chromium these tests are skipped, and they alone.
"""

import contextlib
import functools
import http.server
import shutil
import threading
from pathlib import Path

import check_pages
import execute
import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in execute.notebooks()]


def explores(name) -> bool:
    """Every chapter must; a page of the appendix may."""
    return "teach.explore(" in (ROOT / name).with_suffix(".ipynb").read_text(encoding="utf-8")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; closed before other tests run, as its event loop would be in their way."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: install Debian's package `chromium` to run the browser tests")
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=program, args=FLAGS)) as browser,
    ):
        yield browser


@pytest.fixture(scope="module")
def site(book):
    """The address of a server that shows the built book."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def reader(chromium, site, width=1280, mode="light"):
    """A page of the browser and the list of what went wrong in it."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
    tab, wrong = context.new_page(), []

    def guard(route):
        address = route.request.url
        if address.startswith((f"{site}/", "data:", "blob:")):
            route.continue_()
        else:
            wrong.append(f"asks for {address}")
            route.abort()

    context.route("**/*", guard)
    tab.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    tab.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    tab.on("response", lambda answer: wrong.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    try:
        yield tab, wrong
    finally:
        context.close()


def visit(tab, address):
    """Open a page and wait until its equations are set."""
    tab.goto(address, wait_until="load")
    tab.evaluate("window.MathJax?.startup?.promise")


def pages(book) -> list[str]:
    names = [path.relative_to(book).as_posix() for path in sorted((book / "book").rglob("*.html"))]
    assert "book/index.html" in names
    return names


def serious(tab, exclude=(), rules=None) -> list[str]:
    """What axe finds serious or critical on the page that is open, outside of `exclude`; by `rules` alone if given."""
    from axe_playwright_python.sync_playwright import Axe

    # preload: axe would fetch what style sheets import, from the wrong folder.
    found = Axe().run(
        tab,
        context={"exclude": [[selector] for selector in exclude]} if exclude else None,
        options={"resultTypes": ["violations"], "preload": False} | ({"runOnly": rules} if rules else {}),
    ).response["violations"]
    return [
        f"axe: {fault['id']} ({fault['impact']}): {fault['nodes'][0]['html'][:160]}: {fault['nodes'][0]['failureSummary'][:240]}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_accessible_fits_the_screen_and_works_without_a_network(chromium, site, book, width):
    """In light and, with the same page turned dark as its switch does it, in dark.

    Contrast does not depend on the width, and what a narrow screen folds away is the same for all pages of a folder:
    there, where axe takes seconds a page, it looks at one of each.
    """
    faults, folders = [], set()
    with reader(chromium, site, width) as (tab, wrong):
        for name in pages(book):
            visit(tab, f"{site}/{name}")
            tab.add_style_tag(content="* { transition: none !important }")  # no colour half-way between two modes
            over = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            wrong += [f"the page is {over} px wider than the screen"] * (over > 0)
            folder = name.rpartition("/")[0]
            for mode in ("light", "dark") if width == 1280 or folder not in folders else ():
                tab.emulate_media(color_scheme=mode)
                tab.evaluate("mode => document.documentElement.dataset.theme = mode", mode)
                rules = ["color-contrast"] if mode == "dark" else None  # nothing else depends on the mode
                wrong += [f"in {mode}: {fault}" for fault in serious(tab, [".highlight"], rules)]
            folders.add(folder)
            tab.emulate_media(color_scheme="light")
            faults += [f"{name}: {fault}" for fault in wrong]
            wrong.clear()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_book_opens_in_the_mode_of_the_machine(chromium, site, mode):
    with reader(chromium, site, mode=mode) as (tab, _):
        visit(tab, f"{site}/book/index.html")
        assert tab.evaluate("document.documentElement.dataset.theme") == mode


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


def test_the_guards_notice_what_they_are_there_for(chromium, site):
    """A request to elsewhere, a missing file, an error, a wide page and a faint text are all seen."""
    with reader(chromium, site, 390) as (tab, wrong):
        visit(tab, f"{site}/book/index.html")
        assert wrong == [] and serious(tab) == []
        tab.evaluate(
            """() => { console.error('oh'); setTimeout(() => { throw new Error('ah') });
            document.querySelector('article').insertAdjacentHTML('beforeend',
            '<img src="https://example.org/a.png" alt="A"><img src="gone.png" alt="B">' +
            '<p style="color:#ccc;background:#fff">faint</p><p style="width:900px">wide</p>') }"""
        )
        tab.wait_for_timeout(500)
        for word in ("asks for https://example.org/a.png", "404", "console: oh", "script: ah"):
            assert any(word in fault for fault in wrong), f"{word} not in {wrong}"
        assert any("color-contrast" in fault for fault in serious(tab))
        assert tab.evaluate("document.documentElement.scrollWidth") > 390


CUT = """() => [...document.querySelectorAll("article div.math mjx-math")]
    .filter(e => e.getBoundingClientRect().left < e.closest("div.math").getBoundingClientRect().left - 1).length"""


def test_equations_are_set(chromium, site):
    with reader(chromium, site, 390) as (tab, wrong):
        for name in ["book/appendix/notation.html", *CHAPTERS]:
            visit(tab, f"{site}/{name}")
            sources, done = tab.locator("article .math").count(), tab.locator("article mjx-container").count()
            assert done >= sources > 0, f"{name}: {done} of {sources} equations are set"
            assert tab.evaluate(CUT) == 0, f"{name}: wide equations lose their left end, where nobody can scroll to"
            assert tab.locator("article mjx-merror").count() == 0, f"{name}: an equation has an error"
        assert wrong == []


@pytest.mark.parametrize("name", [name for name in CHAPTERS if "/part" in name or explores(name)])
def test_sliders_move_by_keyboard(chromium, site, name):
    with reader(chromium, site, 390) as (tab, wrong):
        visit(tab, f"{site}/{name}")
        sliders = tab.locator(".vl-explore input[type=range]")
        assert sliders.count() > 0, f"{name} has no slider"
        for n in range(sliders.count()):
            slider = sliders.nth(n)
            assert slider.evaluate("s => s.labels.length") == 1
            picture = slider.locator("xpath=ancestor::figure").locator("img")
            state = picture.get_attribute("src"), picture.get_attribute("alt"), slider.get_attribute("aria-valuetext")
            slider.focus()
            tab.keyboard.press("ArrowRight")
            assert slider.input_value() == "1"
            assert picture.get_attribute("src") != state[0], f"{name}: slider {n} changes no frame"
            assert slider.get_attribute("aria-valuetext") != state[2]
            assert picture.get_attribute("alt")
            tab.keyboard.press("ArrowLeft")
            assert picture.get_attribute("src") == state[0] and picture.get_attribute("alt") == state[1]
        assert wrong == []


def test_solutions_and_hints_open_by_keyboard(chromium, site):
    with reader(chromium, site) as (tab, _):
        for name in CHAPTERS:
            visit(tab, f"{site}/{name}")
            for summary in tab.locator("article summary").all()[:3]:
                box = summary.locator("xpath=..")
                assert not box.evaluate("d => d.open"), f"{name}: something hidden is open from the start"
                summary.focus()
                tab.keyboard.press("Enter")
                assert box.evaluate("d => d.open")
