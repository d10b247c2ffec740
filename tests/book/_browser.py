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
    return _axe(tab, {"exclude": [[selector] for selector in exclude]}, {"color-contrast": {"enabled": False}})


def legible(tab, seen: set, exclude=()) -> list[str]:
    """Texts of the page that is open that axe finds hard to read: one text for each look that is not in `seen`.

    A look is what the contrast depends on: colour, background, size, weight and opacity.  A chapter has thousands of
    texts and a few dozen looks.
    """
    new = tab.evaluate(LOOKS, [sorted(seen), list(exclude)])
    if not new:
        return []
    found = _axe(tab, {"include": [["[data-look]"]]}, {}, ["color-contrast"])
    tab.evaluate("document.querySelectorAll('[data-look]').forEach(e => e.removeAttribute('data-look'))")
    if not found:
        seen.update(new)
    return found


LOOKS = """([seen, exclude]) => {
    const known = new Set(seen), found = [];
    for (const box of document.querySelectorAll("body *")) {
        if (![...box.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || !box.checkVisibility()
            || exclude.some(selector => box.closest(selector))) continue;
        const style = getComputedStyle(box), behind = [];
        let opacity = 1;
        for (let e = box; e; e = e.parentElement) {
            const { backgroundColor, backgroundImage, opacity: part } = getComputedStyle(e);
            opacity *= part;
            if (backgroundColor !== "rgba(0, 0, 0, 0)" || backgroundImage !== "none") behind.push(backgroundColor, backgroundImage);
        }
        const look = [style.color, style.fontSize, style.fontWeight, style.textShadow, opacity, ...behind].join();
        if (known.has(look)) continue;
        known.add(look);
        found.push(look);
        box.dataset.look = "";
    }
    return found;
}"""


def _axe(tab, context, rules, only=None) -> list[str]:
    if not tab.evaluate("'axe' in window"):  # once a page: it is half a megabyte
        tab.evaluate(AXE_SCRIPT)
    # preload would fetch imported styles from the wrong folder
    options = {"resultTypes": ["violations"], "preload": False, "rules": rules} | ({"runOnly": only} if only else {})
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


def cut(tab) -> list[str]:
    """Code and outputs that go on beyond their box on the page that is open, folded ones too."""
    return tab.evaluate(
        """() => {
        const closed = [...document.querySelectorAll("article details:not([open])")], found = [];
        for (const box of closed) box.open = true;
        for (const pre of document.querySelectorAll("article pre"))
          if (pre.scrollWidth > pre.clientWidth + 1) {
            const longest = pre.textContent.split("\\n").reduce((a, b) => (b.length > a.length ? b : a));
            found.push(`cut at ${innerWidth} px: ${longest.slice(0, 100)}`);
          }
        for (const box of closed) box.open = false;
        return found;
      }"""
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
