"""The whole book as one PDF, with bookmarks, a table of contents, page numbers and links between its pages.

    python book/_tools/pdf.py [FOLDER]       of the built book, _build/html by default (`make pdf`)

Chromium prints each page as it stands, with the styles for print of book.css; pypdf joins them.  The file lies beside the pages,
and the landing page links it.  Links between pages of the book become links inside the file.  Exit status 1, and no link, if
it is larger than 40 MB.
"""

import contextlib
import functools
import html
import http.server
import io
import re
import shutil
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from library import whole
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NullObject, NumberObject

ROOT = Path(__file__).resolve().parents[2]
NAME = "vision-lstm-step-by-step.pdf"
LIMIT = 40  # MB
PAPER = {"format": "A4", "margin": dict.fromkeys(("top", "bottom", "left", "right"), "16mm")}
STYLE = "<meta charset='utf-8'><style>body{font:11pt system-ui,'DejaVu Sans',sans-serif} a{color:inherit}"
CONTENTS = STYLE + (
    "a{text-decoration:none} li{display:flex;justify-content:space-between;margin:2pt 0} ul{list-style:none;padding:0}"
    "h2{font-size:12pt;margin:9pt 0 3pt}</style>"
)
NUMBERS = STYLE + (  # one sheet each
    "@page{margin:0} body{margin:0} p{height:291mm;margin:0;break-after:page;display:flex;align-items:end;"
    "justify-content:center;font-size:8pt}</style>"
)


def plan(root: Path) -> list[tuple[str, list[str]]]:
    """[(part, [page, ...])] of root/_toc.yml; the first part is the landing page alone."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))

    def pages(entries):
        for entry in entries:
            yield entry["file"].removesuffix(".ipynb")
            yield from pages(entry.get("sections", []))

    parts = toc.get("parts") or [{"caption": "", "chapters": toc.get("chapters", [])}]
    return [("", [toc["root"]]), *((part["caption"], list(pages(part["chapters"]))) for part in parts)]


@contextlib.contextmanager
def served(folder: Path):
    """The address of a server that shows a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def browser(**options):
    """A tab of Chromium, in light mode.  options: of the tab, device_scale_factor=2 ..."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise SystemExit("no Chromium on this machine: install Debian's package `chromium` to print the book")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield chromium.new_page(color_scheme="light", **options)
        finally:
            chromium.close()


def printed(tab, address: str) -> PdfReader:
    """One page of the book as PDF: equations set, stills of sliders decoded."""
    tab.goto(address, wait_until="load")
    tab.evaluate("window.MathJax?.startup?.promise")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
    return PdfReader(io.BytesIO(tab.pdf(**PAPER, print_background=True, outline=True, tagged=True)))


def set_page(tab, text: str, **paper) -> PdfReader:
    tab.set_content(text)
    return PdfReader(io.BytesIO(tab.pdf(**(PAPER | paper))))


def contents(parts, titles: dict, first: dict) -> str:
    """The table of contents as a page; its links are mended with all the others."""
    rows = ["<h1>Contents</h1>"]
    for part, names in parts:
        rows += [f"<h2>{html.escape(part)}</h2>"] * bool(part) + ["<ul>"]
        for name in names:
            link = f'<a href="http://book/{name}.html">{html.escape(titles[name])}</a>'
            rows.append(f"<li>{link}<span>{first[name] + 1}</span></li>")
        rows.append("</ul>")
    return CONTENTS + "\n".join(rows)


def place(writer: PdfWriter, page: int, top=None) -> ArrayObject:
    """A destination: a page of the whole file, at a height."""
    height = NullObject() if top is None else FloatObject(float(top))
    return ArrayObject(
        [writer.pages[page].indirect_reference, NameObject("/XYZ"), NumberObject(0), height, NullObject()]
    )


def mend_links(writer: PdfWriter, spans: list, first: dict, addresses: set[str]) -> None:
    """Lead links to pages of the book, and to places on the same page, to where these are in the whole file."""
    for reader, start in spans:
        places = reader.named_destinations
        for number in range(start, start + len(reader.pages)):
            for link in writer.pages[number].get("/Annots") or []:
                link = link.get_object()
                action = link.get("/A", DictionaryObject()).get_object()
                wanted = link.get("/Dest") or action.get("/D")
                parts = urlsplit(str(action.get("/URI", "")))
                page = unquote(parts.path).lstrip("/").removesuffix(".html")
                if isinstance(wanted, str) and (found := places.get(str(wanted))):
                    target = place(writer, start + reader.get_destination_page_number(found), found.top)
                elif parts.netloc in addresses and page in first:
                    target = place(writer, first[page])
                else:
                    continue
                link.pop("/A", None)
                link[NameObject("/Dest")] = target


def bookmarks(writer: PdfWriter, reader: PdfReader, title: str, start: int, parent) -> None:
    """A page's title and, below it, its sections."""
    entry = writer.add_outline_item(title=title, page_number=start, parent=parent)
    for level in reader.outline:
        for section in level if isinstance(level, list) else []:
            if not isinstance(section, list):
                words = section.title.rstrip("#").strip()
                page = start + reader.get_destination_page_number(section)
                writer.add_outline_item(title=words, page_number=page, parent=entry)


def join(tab, parts, printed_pages: dict, titles: dict, addresses: set[str]) -> PdfWriter:
    """Landing page, contents, all other pages; numbered."""
    root_page, length, first = parts[0][1][0], 1, {}
    while True:  # the table of contents may need a second sheet, which moves what it lists
        count = 0
        for _, names in parts:
            for name in names:
                first[name] = count
                count += len(printed_pages[name].pages) + (length if name == root_page else 0)
        listed = set_page(tab, contents(parts, titles, first))
        if len(listed.pages) == length:
            break
        length = len(listed.pages)
    writer, spans = PdfWriter(), []
    for part, names in parts:
        parent = None
        for name in names:
            for reader in (printed_pages[name], *([listed] if name == root_page else [])):
                spans.append((reader, len(writer.pages)))
                for page in reader.pages:
                    writer.add_page(page)
            if part and parent is None:
                parent = writer.add_outline_item(title=part, page_number=first[name])
            bookmarks(writer, printed_pages[name], titles[name], first[name], parent)
            if name == root_page:
                writer.add_outline_item(title="Contents", page_number=spans[-1][1])
    mend_links(writer, spans, first, addresses | {"book"})
    numbers = "".join(f"<p>{n + 1}</p>" for n in range(len(writer.pages)))
    over = set_page(tab, NUMBERS + numbers, margin=dict.fromkeys(("top", "bottom", "left", "right"), "0mm"))
    for page, number in zip(writer.pages, over.pages):
        page.merge_page(number)
        page.compress_content_streams()  # merging unpacks them
    return writer


def make(folder: Path, root: Path = ROOT) -> Path:
    """Print the built book in `folder`, whose pages root/_toc.yml orders; return the path of the PDF."""
    parts, pages, titles = plan(root), {}, {}
    with served(folder) as site, browser() as tab:
        for name in [name for _, names in parts for name in names]:
            if not (folder / f"{name}.html").is_file():
                raise SystemExit(f"{folder} lacks {name}.html: build the book first (make book)")
            pages[name] = printed(tab, f"{site}/{name}.html")
            titles[name] = re.sub(r"\s*#$", "", tab.inner_text("article h1")).strip()
        writer = join(tab, parts, pages, titles, {urlsplit(site).netloc})
    writer.add_metadata({"/Title": "Vision-LSTM, step by step", "/Author": "The vil-lite contributors"})
    writer.compress_identical_objects(remove_duplicates=True, remove_unreferenced=True)
    path = folder / NAME
    with whole(path, "wb") as file:
        writer.write(file)
    return path


def link(folder: Path, name: str, words: str) -> None:
    """Name a file in the landing page's list of what can be taken away, once."""
    for page in folder.glob("book/index.html"):
        text = page.read_text(encoding="utf-8")
        entry = f'<a href="../{name}">{words}</a> '
        text = re.sub(rf'<a href="\.\./{re.escape(name)}">[^<]*</a> ', "", text)
        page.write_text(text.replace('<p class="vl-take-away">', f'<p class="vl-take-away">{entry}'), encoding="utf-8")


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else ROOT / "_build" / "html").resolve()
    path = make(folder)
    count, size = len(PdfReader(path).pages), path.stat().st_size / 2**20
    if size > LIMIT:
        print(
            f"== {path}: {size:.1f} MB are more than {LIMIT} MB, look for large pictures; not linked", file=sys.stderr
        )
        return 1
    link(folder, NAME, f"The whole book as one PDF ({count} pages, {size:.0f} MB)")
    print(f"== {path}: {count} pages, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
