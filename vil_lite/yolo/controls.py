"""Models of equal parameters without ViL, to tell what the ViL block does from what its size does.

    yolov8n-c2f-equal    rows 6 and 8 stay C2f, but narrower: as many parameters as yolov8n-vil
    yolov8n-attention    rows 6 and 8 are ultralytics' C2fPSA: self-attention and a feed-forward network, as in a ViT block

for the scales n, s, m, l, x.  The hidden width of the two rows is the one that comes nearest to the parameters of
yolov8{scale}-vil; attention of equal size needs a slightly narrower block than ViL, a bottleneck a much narrower one.
"""

import hashlib
import re
from functools import cache

import yaml
from ultralytics.nn.modules.block import C2f, C2fPSA
from ultralytics.utils import ROOT

from vil_lite.yolo.block import C2fViL, suggest
from vil_lite.yolo.environment import cache_dir
from vil_lite.yolo.models import PLACES, SCALES

KINDS = {"c2f-equal": C2f, "attention": C2fPSA}


def control_names():
    """The names that `control_yaml` knows."""
    return [f"yolov8{scale}-{kind}" for kind in KINDS for scale in SCALES]


def control_yaml(name):
    """Write the YAML of a control and return its path, for YOLO(path).  Raises ValueError for unknown names."""
    stem = str(name).removesuffix(".yaml")
    if stem not in control_names():
        raise ValueError(f"no model {name!r}{suggest(stem, control_names())}; there are {', '.join(control_names())}")
    scale, kind = stem[len("yolov8")], stem.split("-", 1)[1]
    part = equal_width(kind, scale)
    text = (ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text(encoding="utf-8")
    row, lines = -1, [f"# {stem}: yolov8.yaml, its rows {PLACES['vil']} as wide as yolov8{scale}-vil has parameters"]
    for line in text.splitlines():
        row += line.startswith("  - [")
        if row in PLACES["vil"] and line.startswith("  - ["):
            line = re.sub(r"C2f, \[(\d+), True\]", _arguments(kind, part), line)
        elif re.match(r"  [nsmlx]: \[", line):
            line = line.split(" #")[0]  # the comment counts the parameters of plain YOLOv8
        lines.append(line)
    content = "\n".join(lines) + "\n"
    folder = cache_dir() / "yolo" / hashlib.sha256(content.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.yaml"
    if not path.exists():
        path.write_text(content, encoding="utf-8")
    return str(path)


def _arguments(kind, part):
    return rf"C2f, [\1, True, 1, {part}]" if kind == "c2f-equal" else rf"C2fPSA, [\1, {part}]"


@cache
def equal_width(kind, scale):
    """The hidden share e (of the output channels, in 1/256) at which the rows are nearest to ViL's in parameters."""
    wanted = sum(_count(C2fViL(c, c, n)) for c, n in _rows(scale))

    def gap(e):
        arguments = (True, 1, e) if kind == "c2f-equal" else (e,)
        return abs(sum(_count(KINDS[kind](c, c, n, *arguments)) for c, n in _rows(scale)) - wanted)

    return min((k / 256 for k in range(32, 193) if _fits(kind, scale, k / 256)), key=gap)


def _fits(kind, scale, e):
    """Attention divides its width into heads of about 64 channels, and needs an even number in each."""
    widths = [int(c * e) for c, _ in _rows(scale)]
    return kind == "c2f-equal" or all(width % (2 * max(width // 64, 1)) == 0 for width in widths)


def _rows(scale):
    """(channels, repeats) of the two rows at a scale, as ultralytics' parser computes them."""
    model = yaml.safe_load((ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text(encoding="utf-8"))
    depth, width, most = model["scales"][scale]
    rows = [model["backbone"][row] for row in PLACES["vil"]]
    return [(-(-int(min(c, most) * width) // 8) * 8, max(round(n * depth), 1)) for _, n, _, (c, *_) in rows]


def _count(module):
    return sum(p.numel() for p in module.parameters())
