"""Chapter 17: detections as one HTML file that needs nothing else: opened from a disk, sent by mail, kept with results.

from vil_lite.yolo.report import report
report(YOLO("best.pt").predict("scenes/"), "report.html")
"""

import base64
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import cv2

from vil_lite._files import write

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 2rem 0; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #888; }
th:first-child, td:first-child { text-align: left; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee; } }
"""


def report(results: Iterable[Any], path: str | Path, title: str = "Detections") -> Path:
    """Write ultralytics' Results, any iterable of them, to one HTML file: a table of counts, each image with its boxes.

    path: of the file to write; it appears whole or not at all.   title: heading, as plain text.
    Names of classes and files are shown as text, whatever they contain.   Returns path as a Path.
    Raises ValueError when there are no results, or when they hold no boxes (classification).
    """
    path, counts, figures = Path(path), Counter[str](), []
    for number, result in enumerate(results):
        if result.boxes is None:
            raise ValueError(f"results[{number}] has no boxes: report() shows detections, predict with a detector")
        found = Counter(result.names[int(c)] for c in result.boxes.cls)
        counts += found
        figures.append(_figure(result, found))
    if not figures:
        raise ValueError("results is empty: pass what model.predict(...) returned for at least one image")
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        f"<h1>{escape(title)}</h1>\n<p>Images: {len(figures)}. Detections: {counts.total()}.</p>\n"
        f"{_table(('class', 'detections'), counts.most_common())}\n{''.join(figures)}</main>\n</body>\n</html>\n"
    )
    write(path, page)
    return path


def _figure(result, found):
    """One image with its boxes drawn, what a screen reader says for it, and a table of the boxes."""
    name = Path(result.path).name
    listed = ", ".join(f"{count} × {kind}" for kind, count in found.most_common()) or "nothing"
    written, picture = cv2.imencode(".jpg", result.plot())
    if not written:
        raise ValueError(f"the image of {name} cannot be written as JPEG, its shape is {result.orig_shape}")
    data = base64.b64encode(picture.tobytes()).decode()
    rows = [
        (result.names[int(label)], f"{score:.2f}", *(f"{x:.0f}" for x in box))
        for box, score, label in zip(
            result.boxes.xyxy.tolist(), result.boxes.conf.tolist(), result.boxes.cls.tolist(), strict=True
        )
    ]
    return (
        f'<figure>\n<img alt="{escape(f"{name}, detected: {listed}")}" src="data:image/jpeg;base64,{data}">\n'
        f"<figcaption>{escape(name)}: {escape(listed)}</figcaption>\n"
        f"<details><summary>Boxes in pixels</summary>\n{_table(('class', 'score', 'x1', 'y1', 'x2', 'y2'), rows)}\n</details>\n"
        "</figure>\n"
    )


def _table(head, rows):
    lines = ["".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)]
    lines += ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"
