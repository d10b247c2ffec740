"""What the tests in a real browser share: a page that reaches no other host, and what axe says about it."""

import contextlib
from pathlib import Path

import execute
from axe_playwright_python.base import AXE_SCRIPT

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no other host; a route in between would undo the cache
]
ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in execute.notebooks()]


@contextlib.contextmanager
def reader(chromium, site, width=1280, mode="light", **options):
    """A page of the browser and the list of what went wrong in it.  options: of the context, has_touch=True ..."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=mode, **options)
    tab, wrong = context.new_page(), []

    def guard(request):
        if not request.url.startswith((f"{site}/", "data:", "blob:")):
            wrong.append(f"asks for {request.url}")

    context.on("request", guard)
    tab.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    tab.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    tab.on("response", lambda answer: wrong.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    try:
        yield tab, wrong
    finally:
        context.close()


def visit(tab, address):
    """Open a page and wait until its equations are set, with their letters."""
    tab.goto(address, wait_until="load")
    tab.evaluate("window.MathJax?.startup?.promise.then(() => document.fonts.ready)")


def pages(book) -> list[str]:
    names = [path.relative_to(book).as_posix() for path in sorted((book / "book").rglob("*.html"))]
    assert "book/index.html" in names
    return names


def excess(tab) -> int:
    """By how many pixels the page is wider than the screen."""
    return tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def accessible(tab, exclude=()) -> list[str]:
    """What axe finds moderate or worse on the page that is open, outside of `exclude`; of colours `legible` tells."""
    rules = {rule: {"enabled": False} for rule in COLOURS}
    return _axe(tab, {"exclude": [[selector] for selector in exclude]}, {"rules": rules})


def legible(tab, seen: set, exclude=()) -> list[str]:
    """Texts of the page that is open that axe finds hard to read, or links hard to tell from text: one for each look not `seen`.

    A look is what the contrast depends on: colour, background, size, weight and opacity; of a link, also its line and the
    text around it.  A chapter has thousands of texts and a few dozen looks.
    """
    new = tab.evaluate(LOOKS, [sorted(seen), list(exclude)])
    if not new:
        return []
    found = _axe(tab, {"include": [["[data-look]"]]}, {"runOnly": COLOURS})
    tab.evaluate(
        """() => { for (const box of document.querySelectorAll("[data-look]")) box.removeAttribute("data-look");
        for (const box of document.querySelectorAll("[data-aside]")) { box.style.display = box.dataset.aside; delete box.dataset.aside; } }"""
    )
    if not found:
        seen.update(new)
    return found


COLOURS = ["color-contrast", "link-in-text-block"]
LOOKS = """([seen, exclude]) => {
    const known = new Set(seen), found = [], all = new Map([[null, [1, ""]]]);
    const behind = e => {  // opacity and backgrounds down to one that hides the rest, of each box once
        if (!all.has(e)) {
            const [opacity, rest] = behind(e.parentElement), { backgroundColor, backgroundImage, opacity: part } = getComputedStyle(e);
            const none = backgroundColor === "rgba(0, 0, 0, 0)" && backgroundImage === "none";
            const hides = opacity * part === 1 && backgroundImage === "none" && backgroundColor.startsWith("rgb(");
            all.set(e, [opacity * part, none ? rest : [backgroundColor, backgroundImage, hides ? "" : rest].join()]);
        }
        return all.get(e);
    };
    for (const box of document.querySelectorAll("body *")) {
        if (![...box.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || !box.checkVisibility()
            || exclude.some(selector => box.closest(selector))) continue;
        const style = getComputedStyle(box), link = box.closest("a[href]"), look = [style.color, style.fontSize, style.fontWeight,
            style.textShadow, ...behind(box)];
        if (link) look.push(getComputedStyle(link).textDecorationLine, getComputedStyle(link.parentElement).color);
        if (known.has(look.join())) continue;
        known.add(look.join());
        found.push(look.join());
        (link ?? box).dataset.look = "";
    }
    if (found.length)  // axe measures all that it sees: what has no new look steps aside
        for (const box of document.querySelectorAll("article section > *, article details > *, article .cell"))
            if (!box.matches("[data-look], [data-look] *, :has([data-look])")) {
                box.dataset.aside = box.style.display;
                box.style.display = "none";
            }
    return found;
}"""


def _axe(tab, context, options) -> list[str]:
    if not tab.evaluate("'axe' in window"):  # once a page: it is half a megabyte
        tab.evaluate(AXE_SCRIPT)
    # preload would fetch imported styles from the wrong folder
    options = {"resultTypes": ["violations"], "preload": False} | options
    found = tab.evaluate(
        "([context, options]) => axe.run({include: [['html']], ...context}, options).then(found => found.violations)",
        [context, options],
    )
    return [
        f"axe: {fault['id']} ({fault['impact']}): {node['html'][:160]}: {node['failureSummary'][:240]}"
        for fault in found
        if fault["impact"] != "minor"
        for node in fault["nodes"][:3]
    ]


def unfold(tab) -> None:
    """Open all that is folded, once for all widths: each opening lays out the page again."""
    tab.evaluate("for (const box of document.querySelectorAll('article details')) box.open = true")


def cut(tab) -> list[str]:
    """Code and outputs that go on beyond their box on the page that is open and unfolded."""
    return tab.evaluate(
        """() => [...document.querySelectorAll("article pre")].filter(pre => pre.scrollWidth > pre.clientWidth + 1).map(pre =>
        `cut at ${innerWidth} px: ${pre.textContent.split("\\n").reduce((a, b) => b.length > a.length ? b : a).slice(0, 100)}`)"""
    )


OVER = """() => [...document.querySelectorAll("article div.math mjx-math")]
    .filter(e => e.getBoundingClientRect().left < e.closest("div.math").getBoundingClientRect().left - 1).length"""


def equations(tab):
    """What is wrong with the equations of the page that is open."""
    sources, done = tab.locator("article .math").count(), tab.locator("article mjx-container").count()
    if done < sources:
        yield f"{done} of {sources} equations are set"
    if tab.evaluate(OVER):
        yield "wide equations lose their left end, where nobody can scroll to"
    if tab.locator("article mjx-merror").count():
        yield "an equation has an error"
