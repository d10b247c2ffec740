"""Check the built pages: alt texts, nothing loaded from elsewhere, no dead link inside the book, no endless output.

    python book/_tools/check_pages.py [FOLDER]       _build/html by default

A link *to* another site is fine; a page that *loads* from one is not: the book must work without a network.
"""

import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
LOADED = {  # tag: attributes whose address the browser fetches by itself
    "img": ("src", "srcset"),
    "script": ("src",),
    "iframe": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
LINKS_LOADED = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
CSS_ADDRESS = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
MOST_LINES = 60  # of what a cell prints
TABLE_RULE = re.compile(r"\|\s*:?[-—–]+:?\s*\|")  # the line under the head of a Markdown table, as typed or as dashes
FILE_NAME = re.compile(r"\.(png|svg|jpe?g|webp|gif)$", re.I)


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(
        tag.get("id") or tag.get("name") for tag in soup(path).find_all(lambda t: t.get("id") or t.get("name"))
    )


def outside(address: str) -> bool:
    return bool(urlsplit(address.strip()).netloc)


def css_addresses(text: str) -> list[str]:
    return [a or b for a, b in CSS_ADDRESS.findall(text)]


def loaded(page: BeautifulSoup):
    """(tag name, address) of everything that the page fetches."""
    for name, attributes in LOADED.items():
        for tag in page.find_all(name):
            for attribute in attributes:
                value = tag.get(attribute)
                for part in (value or "").split(",") if attribute == "srcset" else [value]:
                    if part and part.strip():
                        yield name, part.strip().split()[0] if attribute == "srcset" else part
    for tag in page.find_all("link", href=True):
        if LINKS_LOADED & {rel.lower() for rel in tag.get("rel", [])}:
            yield "link", tag["href"]
    for tag in page.find_all("style"):
        yield from (("style", address) for address in css_addresses(tag.get_text()))
    for tag in page.find_all(style=True):
        yield from (("style", address) for address in css_addresses(tag["style"]))


def alt_faults(page: BeautifulSoup):
    """Pictures of the text without words for those who do not see them."""
    article = page.find("article")
    if article is None:  # the search page and the index: nothing but the theme's own
        return
    for image in article.find_all("img"):
        alt = (image.get("alt") or "").strip()
        if not alt or FILE_NAME.search(alt):
            yield f"a figure without alt text: {image.get('src', '')[:80]}"
    for svg in article.find_all("svg"):
        if svg.get("aria-hidden") != "true" and not (svg.get("aria-label") or svg.find("title")):
            yield "a drawing (svg) without title, aria-label or aria-hidden"


def long_outputs(page: BeautifulSoup):
    """What a cell printed and nobody reads: often a value on its last line that was meant to stay silent."""
    for printed in page.select("div.cell_output pre"):
        text = printed.get_text().rstrip()
        if (lines := text.count("\n") + 1) > MOST_LINES:
            yield f"a cell prints {lines} lines, more than {MOST_LINES}: {text[:60]!r}"


def raw_tables(page: BeautifulSoup):
    """Markdown tables that were left as they were typed."""
    article = page.find("article")
    for paragraph in article.find_all("p") if article else ():
        if TABLE_RULE.search(text := paragraph.get_text()):
            yield f"a table that stayed text: {text[:60]!r}"


def target_fault(page: Path, address: str, root: Path) -> str | None:
    """Why an address inside the book leads nowhere, or None."""
    parts = urlsplit(address.strip())
    if parts.scheme or parts.netloc:
        return None
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file() or root not in target.parents:
        return f"a dead link: {address}"
    fragment = unquote(parts.fragment)
    if fragment and fragment != "top" and target.suffix == ".html" and fragment not in anchors(target):
        return f"a dead link, no such place on the page: {address}"
    return None


def page_faults(path: Path, root: Path):
    page = soup(path)
    yield from alt_faults(page)
    yield from long_outputs(page)
    yield from raw_tables(page)
    for name, address in loaded(page):
        if address.startswith(("data:", "#", "blob:")):
            continue
        if outside(address):
            yield f"loads from elsewhere ({name}): {address}"
        elif fault := target_fault(path, address, root):
            yield fault
    for link in page.find_all("a", href=True):
        if fault := target_fault(path, link["href"], root):
            yield fault


def check(root: Path) -> list[str]:
    """All faults of the built book in `root`."""
    root, problems = root.resolve(), []
    pages = sorted(root.rglob("*.html"))
    if not pages:
        return [f"{root} holds no page"]
    for path in pages:
        if "_static" not in path.relative_to(root).parts:
            problems += [f"{path.relative_to(root)}: {fault}" for fault in dict.fromkeys(page_faults(path, root))]
    for path in sorted(root.rglob("*.css")):
        for address in css_addresses(path.read_text(encoding="utf-8", errors="replace")):
            if outside(address):
                problems.append(f"{path.relative_to(root)}: loads from elsewhere: {address}")
    soup.cache_clear()
    anchors.cache_clear()
    return problems


def main(arguments: list[str]) -> int:
    problems = check(Path(arguments[0]) if arguments else ROOT / "_build" / "html")
    print("\n".join(problems) or "pages: all well")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
