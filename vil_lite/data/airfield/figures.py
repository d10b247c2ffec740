"""Looking at the data: scenes with their boxes, and all aircraft side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .aircraft import AIRCRAFT
from .scene import SPLITS, Scene
from .shapes import parts

BOX, INK = "#ffd23f", "#20242a"
SHADES = {
    "wing": "#8fa3b5",
    "body": "#6f8496",
    "engine": "#4d6072",
    "glass": "#20303f",
    "flap": "#7b90a2",
    "fin": "#34495c",
    "prop": "#34495c",
    "blade": "#34495c",
    "dome": "#34495c",
    "stripe": "#c5d0d9",
}


def preview(
    root_or_scenes: str | Path | Scene | Sequence[Scene], n: int = 8, columns: int = 4, names: bool = True
) -> Any:
    """matplotlib Figure of the first n scenes with the boxes of their aircraft.

    root_or_scenes: the folder (or data.yaml) of a set that `build` made, a Scene, or a list of them.  names: write each class.
    """
    import matplotlib.pyplot as plt

    if n < 1 or columns < 1:
        raise ValueError(f"n and columns must be at least 1, got {n} and {columns}")
    if isinstance(root_or_scenes, (str, Path)):
        shown = _from_root(Path(root_or_scenes), n)
    else:
        shown = _from_scenes(root_or_scenes, n)
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 3 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, (image, found) in zip(axes.flat, shown, strict=False):
        axis.imshow(image, interpolation="nearest")
        axis.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
        for name, corners in found:
            corners = corners - 0.5  # imshow puts the middle of the first pixel at 0
            axis.add_patch(plt.Polygon(corners, fill=False, edgecolor=BOX, linewidth=1.1))
            if names:
                x, y = corners.min(axis=0)
                style = {"facecolor": BOX, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
                axis.text(max(x, 2), max(y - 2, 7), name, fontsize=6, color=INK, bbox=style, va="bottom", clip_on=True)
    return figure


def _rectangle(x0, y0, x1, y1):
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _from_scenes(scenes, n):
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)[:n]
    if not scenes:
        raise ValueError("root_or_scenes is an empty list: give at least one scene")
    return [
        (s.image, [(s.names[k], _rectangle(*box)) for k, box in zip(s.labels, s.boxes, strict=True)]) for s in scenes
    ]


def _from_root(root, n):
    root = root.parent if root.name == "data.yaml" else root
    if not (root / "data.yaml").exists():
        raise ValueError(
            f"root_or_scenes: {root} has no data.yaml, so it is no finished set: build it first with airfield.build"
        )
    names = json.loads((root / "manifest.json").read_text())["classes"]
    paths = [p for split in SPLITS for p in sorted((root / "images" / split).glob("*.png"))][:n]
    shown = []
    for path in paths:
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        found = []
        for line in (root / "labels" / path.parent.name / f"{path.stem}.txt").read_text().splitlines():
            label, *numbers = line.split()
            shape = np.array(numbers, dtype=float) * image.shape[0]
            if len(shape) == 4:
                low, size = shape[:2] - shape[2:] / 2, shape[2:]
                shape = _rectangle(*low, *(low + size))
            found.append((names[int(label)], shape.reshape(-1, 2)))
        shown.append((image, found))
    return shown


def silhouettes(width: float = 330.0, classes: Sequence[str] | None = None) -> Any:
    """matplotlib Figure of every aircraft from above, all to one scale, with a bar of 50 m.  width: metres of a row."""
    import matplotlib.pyplot as plt

    unknown = [c for c in classes or () if c not in AIRCRAFT]
    if unknown:
        raise ValueError(f"classes does not know {unknown}: choose from {', '.join(AIRCRAFT)}")
    planes = [(name, plane) for name in (classes or AIRCRAFT) for plane in AIRCRAFT[name]]
    planes.sort(key=lambda pair: -pair[1].length)
    row: list[tuple] = []
    rows, x = [], 0.0
    for name, plane in planes:
        need = max(plane.span, 19.0) + 8  # a narrow aircraft still needs room for its name
        if row and x + need > width:
            rows.append(row)
            row, x = [], 0.0
        row.append((name, plane, x + need / 2))
        x += need
    rows.append(row)

    heights = [max(_extent(p) for _, p, _ in row) + 15 for row in rows]
    figure, axis = plt.subplots(figsize=(10, 10 * sum(heights) / width), layout="constrained")
    top = 0.0
    for row, height in zip(rows, heights, strict=True):
        for name, plane, middle in row:
            centre = top - (height - 15) / 2
            for part in parts(plane, 0.6):
                if part.solid:
                    shade = SHADES[part.kind.split("_")[0]]
                    axis.fill(middle + part.outline[:, 1], centre + part.outline[:, 0], color=shade, linewidth=0.2)
            axis.text(middle, top - height + 11.5, name, ha="center", va="top", fontsize=7.5, color=INK, weight="bold")
            axis.text(middle, top - height + 6.8, plane.name, ha="center", va="top", fontsize=6, color="#55606b")
        top -= height
    axis.plot([width - 55, width - 5], [top + 4, top + 4], color=INK, linewidth=2, solid_capstyle="butt")
    axis.text(width - 30, top + 6, "50 m", ha="center", va="bottom", fontsize=8, color=INK)
    axis.set(xlim=(0, width), ylim=(top, 4), aspect="equal")
    axis.axis("off")
    return figure


def _extent(plane):
    """Metres that an aircraft takes along its body, with rotors that reach beyond it."""
    return 2 * max(np.abs(part.outline[:, 0]).max() for part in parts(plane, 0.6))
