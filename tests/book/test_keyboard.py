"""The book read with the keyboard alone, and what a screen reader is told: stops, names, states, and where the focus goes."""

import contextlib

import pytest
from _browser import CHAPTERS, reader, visit

PAGE, SMALL = CHAPTERS[0], "book/classroom/ch07.html"  # what stands around a page is the same on both
STILL = "* { transition: none !important; scroll-behavior: auto !important }"
WIDTHS = (1280, 768)

STOP = """() => {
    const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (e === document.body) return null;
    const words = (e.ariaLabel ?? e.textContent).trim().slice(0, 40), faults = [];
    const ring = [e, e.firstElementChild, e.closest("form")].some(part => part && getComputedStyle(part).outlineStyle !== "none");
    if (!e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) faults.push("is not seen");
    if (!ring && style.boxShadow === "none") faults.push("has no ring");
    if (box.bottom < 0 || box.top > innerHeight || box.right < 0 || box.left > innerWidth) faults.push("is off the screen");
    const bar = document.querySelector(".bd-header-article").getBoundingClientRect();
    if (e.closest("article") && box.top < bar.bottom - 1 && box.height < 400) faults.push("is behind the bar");
    if (e.matches("mjx-container") && e.scrollWidth <= e.clientWidth + 1) faults.push("is an equation that does not scroll");
    return [e.tagName, words, faults];
}"""


@pytest.fixture(scope="module")
def opened(chromium, site):
    """Open a page at a width; pages of one width share a browser window."""
    with contextlib.ExitStack() as stack:
        windows = {width: stack.enter_context(reader(chromium, site, width))[0] for width in WIDTHS}

        def show(width, name=PAGE):
            visit(windows[width], f"{site}/{name}")
            windows[width].add_style_tag(content=STILL)
            return windows[width]

        yield show


def told(tab, selector) -> dict:
    """Role, name and states of an element, as a screen reader is told them."""
    channel = tab.context.new_cdp_session(tab)
    there = channel.send("Runtime.evaluate", {"expression": f"document.querySelector({selector!r})"})["result"]
    node = channel.send("Accessibility.getPartialAXTree", {"objectId": there["objectId"], "fetchRelatives": False})
    node = node["nodes"][0]
    states = {state["name"]: state["value"].get("value") for state in node["properties"]}
    return {
        "role": node["role"]["value"],
        "name": node["name"]["value"],
        "text": node.get("description", {}).get("value"),
    } | states


def press_on(tab, selector, *keys):
    tab.locator(selector).first.focus()
    for key in keys:
        tab.keyboard.press(key)
    tab.wait_for_timeout(50)


def focused(tab, selector) -> bool:
    return tab.evaluate("selector => document.activeElement.matches(selector)", selector)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_stop_is_seen_and_has_a_ring(opened, width):
    tab, stops = opened(width), []
    for _ in range(600):
        tab.keyboard.press("Tab")
        stop = tab.evaluate(STOP)
        if stop is None:
            break
        stops.append(stop)
    else:
        pytest.fail("the keyboard never leaves the page")
    assert stops[0][1] == "Skip to main content" and len(stops) > 30
    assert [(tag, words, faults) for tag, words, faults in stops[1:] if faults] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_link_under_the_bar_comes_out_when_it_gets_the_focus(opened, width):
    tab = opened(width)
    link = "article p a.reference"
    tab.keyboard.press("Tab")  # from here on the keyboard leads, and shows its ring
    tab.evaluate("s => scrollTo(0, document.querySelector(s).getBoundingClientRect().top - 5)", link)
    tab.evaluate("s => document.querySelector(s).focus()", link)
    tab.wait_for_timeout(100)
    place = "s => document.querySelector(s).getBoundingClientRect()"
    assert tab.evaluate(place, link)["top"] >= tab.evaluate(place, ".bd-header-article")["bottom"]


def test_the_buttons_of_the_bar_say_what_is_open_and_keep_the_focus(opened):
    tab = opened(1280, SMALL)
    toggle = ".primary-toggle"
    assert told(tab, toggle)["name"] == "Contents of the book" and told(tab, toggle)["expanded"] is True
    tab.locator(toggle).focus()
    assert tab.locator(".tooltip").inner_text() == "Contents of the book"
    press_on(tab, toggle, "Enter")
    assert focused(tab, toggle) and told(tab, toggle)["expanded"] is False
    press_on(tab, toggle, "Enter")
    assert told(tab, toggle)["expanded"] is True
    said = set()
    for _ in range(3):
        press_on(tab, ".theme-switch-button", "Enter")
        assert focused(tab, ".theme-switch-button")
        said.add(told(tab, ".theme-switch-button")["name"])
    assert said == {f"Colour mode: {mode}" for mode in ("auto", "light", "dark")}


@pytest.mark.parametrize(
    "button, dialog, name",
    [
        (".primary-toggle", "#pst-primary-sidebar-modal", "Contents of the book"),
        (".secondary-toggle", "#pst-secondary-sidebar-modal", "Contents of this page"),
        (".header-article-items__end .search-button__button", "#pst-search-dialog", "Search"),
    ],
)
def test_what_opens_over_the_page_has_a_name_and_gives_the_focus_back(opened, button, dialog, name):
    tab = opened(768, SMALL)
    for leave in ("Escape", "Enter"):
        press_on(tab, button, "Enter")
        assert told(tab, dialog)["role"] == "dialog" and told(tab, dialog)["name"] == name
        assert tab.evaluate(f"document.querySelector('{dialog}').contains(document.activeElement)")
        if leave == "Enter" and "search" not in dialog:
            assert focused(tab, ".vl-close") and told(tab, f"{dialog} .vl-close")["name"] == "Close"
            tab.keyboard.press("Enter")
        else:
            tab.keyboard.press("Escape")
        tab.wait_for_timeout(50)
        assert tab.locator(dialog).evaluate("d => d.open") is False
        assert focused(tab, button)


def test_the_arrows_turn_no_page_while_something_is_open_over_it(opened):
    tab = opened(1280, SMALL)
    before = tab.url
    tab.keyboard.press("Control+k")
    tab.keyboard.type("gate")
    tab.keyboard.press("ArrowRight")
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(100)
    assert tab.url == before
    tab.keyboard.press("Escape")
    assert tab.locator("dialog[open]").count() == 0


def test_the_arrows_turn_the_page(opened):
    tab = opened(1280, SMALL)
    for key, page in (("ArrowRight", "ch08"), ("ArrowLeft", "ch07"), ("ArrowLeft", "ch06")):
        tab.keyboard.press(key)
        tab.wait_for_url(f"**/book/classroom/{page}.html")
    for key in ("Shift+ArrowRight", "Alt+ArrowUp", "Control+ArrowRight", "ArrowDown"):
        tab.keyboard.press(key)
    tab.locator(".primary-toggle").focus()  # a control has its own use of the keys
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(100)
    assert tab.url.endswith("/ch06.html")


MARKED = "[...document.querySelectorAll('.bd-links a.vl-read')].map(a => [a.getAttribute('href'), a.title, getComputedStyle(a, '::after').content])"


def test_a_chapter_whose_end_was_reached_has_a_mark_from_then_on(chromium, site):
    """In this browser, and only a page of a part."""
    with reader(chromium, site) as (tab, wrong):
        visit(tab, f"{site}/{SMALL}")
        tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        tab.wait_for_timeout(200)
        visit(tab, f"{site}/{PAGE}")
        tab.wait_for_timeout(200)
        assert tab.evaluate(MARKED) == [] and tab.evaluate("localStorage.getItem('vil-read')") is None
        tab.evaluate("document.querySelector('.prev-next-area').scrollIntoView()")
        tab.wait_for_function("document.querySelector('.bd-links a.vl-read')")
        ((href, title, mark),) = tab.evaluate(MARKED)
        assert title == "You have reached the end of this page" and mark == '"✓"'
        here = "/".join(PAGE.split("/")[-2:])
        assert tab.evaluate("JSON.parse(localStorage.getItem('vil-read'))") == [here]
        for page in (SMALL, PAGE):
            visit(tab, f"{site}/{page}")
            tab.wait_for_function("document.querySelector('.bd-links a.vl-read')")
            assert len(tab.evaluate(MARKED)) == 1
        for broken in ("no JSON", "null"):
            tab.evaluate("text => localStorage.setItem('vil-read', text)", broken)
            visit(tab, f"{site}/{PAGE}")
        assert wrong == []


def test_folded_code_is_called_what_it_says(opened):
    tab = opened(1280)
    folded = told(tab, "article details.hide > summary")
    assert folded["name"].startswith("Show") and "Hide" not in folded["name"] and folded["expanded"] is False
    press_on(tab, "article details.hide > summary", "Space")
    folded = told(tab, "article details.hide > summary")
    assert folded["name"].startswith("Hide") and folded["expanded"] is True


def test_a_slider_is_told_with_its_picture(opened):
    tab = opened(1280)
    slider = told(tab, ".vl-explore input")
    assert slider["role"] == "slider" and slider["name"] and slider["valuetext"]
    assert slider["text"] == tab.locator(".vl-explore img").first.get_attribute("alt")


def test_what_scrolls_can_be_reached_where_it_was_folded_too(opened):
    tab = opened(768, SMALL)
    wide = '<table style="width:2000px"><tr><td>wide</td></tr></table>'
    tab.evaluate(
        "html => document.querySelector('article').insertAdjacentHTML('beforeend', html)",
        f'<details id="wide"><summary>More</summary><div class="pst-scrollable-table-container">{wide}</div></details>',
    )
    press_on(tab, "#wide > summary", "Enter", "Tab")
    assert focused(tab, ".pst-scrollable-table-container")
    box = told(tab, "#wide .pst-scrollable-table-container")
    assert (box["role"], box["name"]) == ("group", "Table, scrolls sideways")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(300)
    assert tab.locator("#wide .pst-scrollable-table-container").evaluate("e => e.scrollLeft") > 0


def test_on_a_telephone_exactly_the_equations_that_scroll_are_stops(chromium, site):
    with reader(chromium, site, 390) as (tab, _):
        visit(tab, f"{site}/{PAGE}")
        boxes = tab.evaluate(
            """[...document.querySelectorAll("article mjx-container")].map(e => [e.tabIndex, e.scrollWidth - e.clientWidth,
            getComputedStyle(e).overflowX])"""
        )
    assert (
        0 < sum(stop == 0 for stop, _, _ in boxes) < len(boxes) / 4
    )  # the letters of a short one do not scroll in its box
    assert [box for box in boxes if (box[0] == 0) != (box[1] > 1 and box[2] == "auto")] == []


def test_the_number_of_pages_found_is_said(opened):
    tab = opened(1280, "search.html?q=stabilizer")
    tab.wait_for_selector("#search-results .search-summary")
    assert told(tab, "#search-results .search-summary")["role"] == "status"
