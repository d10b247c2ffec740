"""The built book in a real browser that reaches no other host: modes, guards, sizes, sheets to print."""

import io
import shutil

import pytest
from _browser import CHAPTERS, ROOT, accessible, cut, equations, excess, legible, reader, unfold, visit
from pdf import PAPER, served
from pypdf import PdfReader


@pytest.fixture(scope="module")
def laptop(chromium, site):
    """One window for all that is to be seen there: it fetches and compiles what pages share once."""
    with reader(chromium, site) as (tab, _):
        visit(tab, f"{site}/{CHAPTERS[0]}")
        yield tab


def test_the_book_opens_in_the_mode_of_the_machine(chromium, site):
    with reader(chromium, site) as (tab, _):
        for mode in ("light", "dark"):
            tab.emulate_media(color_scheme=mode)
            visit(tab, f"{site}/book/index.html")
            assert tab.evaluate("document.documentElement.dataset.theme") == mode


def test_the_guards_notice_what_they_are_there_for(chromium, site):
    """A request to elsewhere, a missing file, an error, a wide page, a faint text, an unmarked link and a wrong equation are all seen."""
    with reader(chromium, site, 390) as (tab, wrong):
        visit(tab, f"{site}/book/index.html")
        looks = set()
        unfold(tab)
        assert wrong == accessible(tab) == legible(tab, looks) == cut(tab) == [] and excess(tab) == 0
        tab.evaluate(
            """() => { console.error('oh'); setTimeout(() => { throw new Error('ah') });
            document.querySelector('article').insertAdjacentHTML('beforeend',
            '<img src="https://example.org/a.png" alt="A"><img src="gone.png" alt="B"><span class="math"></span>' +
            '<p>Words around <a href="#" style="color:#555;text-decoration:none">a link</a></p>' +
            '<p style="color:#ccc;background:#fff">faint</p><input><p style="width:900px">wide</p><mjx-merror></mjx-merror>' +
            '<details><div class="cell"><pre style="white-space:pre">' + 'long '.repeat(40) + '</pre></div></details>') }"""
        )
        tab.wait_for_timeout(500)
        for word in ("asks for https://example.org/a.png", "404", "console: oh", "script: ah"):
            assert any(word in fault for fault in wrong), f"{word} not in {wrong}"
        unfold(tab)
        for _ in range(2):  # what is found once is found again
            assert sorted(fault.split()[1] for fault in legible(tab, looks)) == ["color-contrast", "link-in-text-block"]
        assert any("label" in fault for fault in accessible(tab))
        assert excess(tab) > 0
        assert len(cut(tab)) == 1
        assert len(list(equations(tab))) == 2


def test_code_is_as_large_on_a_tablet_as_on_a_laptop(laptop):
    sizes = set()
    for width in (768, 1280):
        laptop.set_viewport_size({"width": width, "height": 900})
        sizes.add(laptop.evaluate("getComputedStyle(document.querySelector('.cell_input pre')).fontSize"))
    assert len(sizes) == 1


WRAPPED = """<html data-theme="light"><head><meta name="viewport" content="width=device-width"><title>x</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="book.css"><script src="book.js"></script></head>
<body><article class="bd-article"><div class="highlight"><pre>short = 1

{long}
    deeper = 2
</pre></div></article></body></html>"""
MARKS = """() => [...document.querySelectorAll(".vl-line")].map(line => {
    const { height, borderLeftWidth, borderLeftColor } = getComputedStyle(line, "::before");
    return [parseFloat(height), line.offsetHeight, borderLeftWidth, borderLeftColor]; })"""


def test_what_goes_on_of_a_wrapped_line_has_a_mark_and_nothing_else_has(chromium, tmp_path):
    for name in ("book.css", "book.js"):
        shutil.copy(ROOT / "book" / "_static" / name, tmp_path)
    (tmp_path / "index.html").write_text(WRAPPED.format(long="result = " + "one_of_many + " * 12))
    colours = set()
    with served(tmp_path) as address, reader(chromium, address, 390) as (tab, wrong):
        tab.goto(f"{address}/index.html")
        for mode in ("light", "dark"):
            tab.evaluate("mode => { document.documentElement.dataset.theme = mode }", mode)
            short, empty, wrapped, deeper = tab.evaluate(MARKS)
            line = short[1]
            assert [one[0] for one in (short, empty, deeper)] == [0, 0, 0]
            assert wrapped[1] >= 2 * line and wrapped[0] == pytest.approx(wrapped[1] - line, abs=1)
            assert wrapped[2] == "1px"
            colours.add(wrapped[3])
        assert wrong == [] and len(colours) == 2 and excess(tab) == 0


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


def test_the_button_to_copy_code_is_there_for_a_finger_and_hides_no_code(chromium, site, laptop):
    with reader(chromium, site, 390, has_touch=True, is_mobile=True) as (tab, _):
        visit(tab, f"{site}/{CHAPTERS[2]}")
        seen = tab.evaluate(COPY)
    assert len(seen) > 20 and {opacity for opacity, _ in seen} == {"1"}
    assert [under for _, under in seen if under.strip()] == []
    assert {opacity for opacity, _ in laptop.evaluate(COPY)} == {"0"}


def test_a_box_of_code_is_printed_with_its_code(laptop):
    """Where the code alone must not be torn and its box may be, an empty box ends the sheet and the code begins the next."""
    laptop.emulate_media(media="print")
    torn = laptop.evaluate(
        """() => [...document.querySelectorAll('.bd-article pre')].flatMap(pre => {
        const may = [];
        for (let box = pre; !box.matches('.cell, section, details, article'); box = box.parentElement)
            if (getComputedStyle(box).breakInside !== 'avoid') may.push(box.className || box.tagName);
        return may; })"""
    )
    laptop.emulate_media(media="null")
    assert sorted(set(torn)) == []


@pytest.mark.parametrize("part", ["part1_memory", "part2_vision", "part3_detection", "part4_beyond"])
def test_a_part_on_one_page_is_both_sides_of_one_sheet(laptop, site, part):
    """The last to use the window, as it leaves the chapter."""
    visit(laptop, f"{site}/book/{part}/summary.html")
    code = laptop.evaluate("[...document.querySelectorAll('article pre')].map(e => e.scrollWidth - e.clientWidth)")
    assert max(code, default=0) <= 1, "a listing is cut"
    assert len(PdfReader(io.BytesIO(laptop.pdf(**PAPER))).pages) <= 2
