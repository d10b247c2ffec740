"""The drawings of chapters as pictures for the student notebooks: book/_static/NAME.png beside NAME.svg.

    python book/_tools/drawings.py      after a change of a drawing or of its colours (needs Chromium)

On a page the SVG stands in the page, coloured by book.css.  A notebook has no such style, and JupyterLab, VS Code and Colab
agree on one thing only that needs no network: a PNG that stands in the text.  Colab shows neither SVG nor attachments, and
JupyterLab no attached SVG.  Each PNG holds a hash of what it was made of.
"""

import base64
import hashlib
import io
import re
import sys
from pathlib import Path

from nb import ROOT, chapters, read
from PIL import Image, PngImagePlugin

SCALE = 2  # pixels of the picture for one of the drawing
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif"}
PAGE = """<style>{style}
body {{ margin: 0; }} .vl-drawing {{ width: {width}px; background: #fff; }} svg {{ min-width: 0 !important; }}
html {{ --pst-color-background: #fff; }}</style><div class="vl-drawing">{svg}</div>"""


def of_chapters(root: Path = ROOT) -> list[Path]:
    """The drawings that stand in a chapter."""
    text = "\n".join(cell.source for path in chapters(root) for cell in read(path).cells)
    names = re.findall(r"^```\{drawing\} *(\S+)$", text, flags=re.M)
    return [root / "book" / "_static" / name for name in dict.fromkeys(names)]


def style(svg: Path) -> str:
    """The part of book.css that a drawing takes its looks from."""
    css = svg.with_name("book.css")
    text = css.read_text(encoding="utf-8") if css.exists() else ""
    rules = re.findall(r"^\.vl-drawing .*\}$", text, flags=re.M)
    light = re.findall(r'^html(?:\[data-theme="light"\])? \{(.*?)\}$', text, flags=re.M | re.S)
    known = dict(re.findall(r"(--[\w-]+): ([^;]+);", "\n".join(light)))
    used = sorted(set(re.findall(r"var\((--[\w-]+)", "\n".join(rules))) & known.keys())
    return "\n".join(["html {", *(f"{name}: {known[name]};" for name in used), "}", *rules])


def made_of(svg: Path) -> str:
    """A hash of a drawing and of its looks."""
    return hashlib.sha256(f"{SCALE}{PAGE}{style(svg)}".encode() + svg.read_bytes()).hexdigest()[:16]


def save(picture: Image.Image, svg: Path) -> Path:
    """Write the picture of a drawing beside it, with few colours and the hash."""
    known, path = PngImagePlugin.PngInfo(), svg.with_suffix(".png")
    known.add_text("made-of", made_of(svg))
    picture.convert("RGB").quantize(64).save(path, optimize=True, pnginfo=known)
    return path


def address(file: Path) -> str:
    """A picture as a data: address; for a drawing, that of its PNG.  Raises SystemExit if there is none of it as it is."""
    if file.suffix == ".svg":
        drawing, file = file, file.with_suffix(".png")
        if not file.exists() or Image.open(file).text.get("made-of") != made_of(drawing):
            raise SystemExit(
                f"{file.name} is not the picture of {drawing.name} as it is: python book/_tools/drawings.py"
            )
    return f"data:{TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def main(root: Path = ROOT) -> int:
    from pdf import browser  # here: student.py needs no browser

    with browser(device_scale_factor=SCALE) as tab:
        for svg in of_chapters(root):
            text = svg.read_text(encoding="utf-8")
            width = re.search(r'viewBox="\S+ \S+ (\S+) ', text)[1]
            tab.set_content(PAGE.format(style=style(svg), width=width, svg=text))
            shot = tab.locator(".vl-drawing").screenshot()
            path = save(Image.open(io.BytesIO(shot)), svg)
            print(f"== {path.relative_to(root)}: {path.stat().st_size / 2**10:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
