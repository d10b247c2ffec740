"""What the tests in a real browser share: a page that reaches no other host, and what axe says about it."""

import contextlib
import functools
import http.server
import threading
from pathlib import Path

import execute
from axe_playwright_python.base import AXE_SCRIPT

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in execute.notebooks()]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a server that shows a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
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


def excess(tab) -> int:
    """By how many pixels the page is wider than the screen."""
    return tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def serious(tab, exclude=(), rules=None) -> list[str]:
    """What axe finds serious or critical on the page that is open, outside of `exclude`; by `rules` alone if given."""
    if not tab.evaluate("'axe' in window"):  # once a page: it is half a megabyte
        tab.evaluate(AXE_SCRIPT)
    options = {
        "resultTypes": ["violations"],
        "preload": False,
    }  # preload: it would fetch imported styles from the wrong folder
    found = tab.evaluate(
        "([exclude, options]) => axe.run(exclude.length ? {exclude} : document, options).then(found => found.violations)",
        [[[selector] for selector in exclude], options | ({"runOnly": rules} if rules else {})],
    )
    return [
        f"axe: {fault['id']} ({fault['impact']}): {fault['nodes'][0]['html'][:160]}: {fault['nodes'][0]['failureSummary'][:240]}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
    ]


def cut(tab) -> list[str]:
    """The cells' code and outputs that go on beyond their box on the page that is open, folded ones too."""
    return tab.evaluate(
        """() => {
        const closed = [...document.querySelectorAll("article details:not([open])")], found = [];
        for (const box of closed) box.open = true;
        for (const pre of document.querySelectorAll("article .cell pre"))
          if (pre.scrollWidth > pre.clientWidth + 1) {
            const longest = pre.textContent.split("\\n").reduce((a, b) => (b.length > a.length ? b : a));
            found.push(`cut at ${innerWidth} px: ${longest.slice(0, 100)}`);
          }
        for (const box of closed) box.open = false;
        return found;
      }"""
    )
