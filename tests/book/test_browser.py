"""The built book in a real browser that reaches no other host: modes, guards, sliders, keyboard, sheets to print."""

import io

import pytest
from _browser import CHAPTERS, ROOT, accessible, cut, equations, excess, legible, reader, visit
from pdf import PAPER
from pypdf import PdfReader


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_book_opens_in_the_mode_of_the_machine(chromium, site, mode):
    with reader(chromium, site, mode=mode) as (tab, _):
        visit(tab, f"{site}/book/index.html")
        assert tab.evaluate("document.documentElement.dataset.theme") == mode


def test_the_guards_notice_what_they_are_there_for(chromium, site):
    """A request to elsewhere, a missing file, an error, a wide page, a faint text and a wrong equation are all seen."""
    with reader(chromium, site, 390) as (tab, wrong):
        visit(tab, f"{site}/book/index.html")
        looks = set()
        assert wrong == accessible(tab) == legible(tab, looks) == cut(tab) == [] and excess(tab) == 0
        tab.evaluate(
            """() => { console.error('oh'); setTimeout(() => { throw new Error('ah') });
            document.querySelector('article').insertAdjacentHTML('beforeend',
            '<img src="https://example.org/a.png" alt="A"><img src="gone.png" alt="B"><span class="math"></span>' +
            '<p style="color:#ccc;background:#fff">faint</p><input><p style="width:900px">wide</p><mjx-merror></mjx-merror>' +
            '<details><div class="cell"><pre style="white-space:pre">' + 'long '.repeat(40) + '</pre></div></details>') }"""
        )
        tab.wait_for_timeout(500)
        for word in ("asks for https://example.org/a.png", "404", "console: oh", "script: ah"):
            assert any(word in fault for fault in wrong), f"{word} not in {wrong}"
        assert len(legible(tab, looks)) == 1 and legible(tab, looks)  # what is found once is found again
        assert any("label" in fault for fault in accessible(tab))
        assert excess(tab) > 0
        assert len(cut(tab)) == 1
        assert len(list(equations(tab))) == 2


@pytest.fixture(scope="module")
def phone(chromium, site):
    """One window for all chapters: it fetches and compiles what they share once."""
    with reader(chromium, site, 390) as window:
        yield window


@pytest.mark.parametrize("name", CHAPTERS)
def test_sliders_move_and_solutions_and_hints_open_by_keyboard(phone, site, name):
    tab, wrong = phone
    wrong.clear()
    visit(tab, f"{site}/{name}")
    sliders = tab.locator(".vl-explore input[type=range]")
    source = (ROOT / name).with_suffix(".ipynb").read_text(encoding="utf-8")
    assert sliders.count() > 0 or ("/part" not in name and "teach.explore(" not in source), f"{name} has no slider"
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
    for summary in tab.locator("article summary").all()[:3]:
        box = summary.locator("xpath=..")
        assert not box.evaluate("d => d.open"), f"{name}: something hidden is open from the start"
        summary.focus()
        tab.keyboard.press("Enter")
        assert box.evaluate("d => d.open")
    assert wrong == []


def test_code_is_as_large_on_a_tablet_as_on_a_laptop(chromium, site):
    sizes = set()
    for width in (768, 1280):
        with reader(chromium, site, width) as (tab, _):
            visit(tab, f"{site}/{CHAPTERS[0]}")
            sizes.add(tab.evaluate("getComputedStyle(document.querySelector('.cell_input pre')).fontSize"))
            assert cut(tab) == []
    assert len(sizes) == 1


COPY = """() => [...document.querySelectorAll("article .highlight:has(> .copybtn)")].filter(box => box.checkVisibility()).map(box => {
    const button = box.querySelector(".copybtn"), at = button.getBoundingClientRect(), range = document.createRange();
    const texts = document.createTreeWalker(box.querySelector("pre"), NodeFilter.SHOW_TEXT), under = [];
    while (texts.nextNode())
        for (const word of texts.currentNode.data.matchAll(/\\S+/g)) {  // spaces at the end of a line may hang under it
            range.setStart(texts.currentNode, word.index);
            range.setEnd(texts.currentNode, word.index + word[0].length);
            for (const part of range.getClientRects())
                if (part.right > at.left + 1 && part.width > 1 && part.bottom > at.top + 3 && part.top < at.bottom - 3)
                    under.push(word[0]);
        }
    return [getComputedStyle(button).opacity, under.join("")]; })"""


@pytest.mark.parametrize("finger", [True, False])
def test_the_button_to_copy_code_is_there_for_a_finger_and_hides_no_code(chromium, site, finger):
    with reader(chromium, site, 390, has_touch=finger, is_mobile=finger) as (tab, _):
        visit(tab, f"{site}/{CHAPTERS[2]}")
        seen = tab.evaluate(COPY)
        assert len(seen) > 20 and {opacity for opacity, _ in seen} == {"1" if finger else "0"}
        assert not finger or [under for _, under in seen if under.strip()] == []


@pytest.mark.parametrize("part", ["part1_memory", "part2_vision", "part3_detection"])
def test_a_part_on_one_page_is_both_sides_of_one_sheet(chromium, site, part):
    with reader(chromium, site) as (tab, _):
        visit(tab, f"{site}/book/{part}/summary.html")
        code = tab.evaluate("[...document.querySelectorAll('article pre')].map(e => e.scrollWidth - e.clientWidth)")
        assert max(code, default=0) <= 1, "a listing is cut"
        assert len(PdfReader(io.BytesIO(tab.pdf(**PAPER))).pages) <= 2


def test_a_box_of_code_is_printed_with_its_code(chromium, site):
    """Where the code alone must not be torn and its box may be, an empty box ends the sheet and the code begins the next."""
    with reader(chromium, site) as (tab, _):
        visit(tab, f"{site}/{CHAPTERS[0]}")
        tab.emulate_media(media="print")
        torn = tab.evaluate(
            """() => [...document.querySelectorAll('.bd-article pre')].flatMap(pre => {
            const may = [];
            for (let box = pre; !box.matches('.cell, section, details, article'); box = box.parentElement)
                if (getComputedStyle(box).breakInside !== 'avoid') may.push(box.className || box.tagName);
            return may; })"""
        )
        assert sorted(set(torn)) == []
