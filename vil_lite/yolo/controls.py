"""Chapter 15: models of equal parameters without ViL, to tell what the ViL block does from what its size does.

    yolov8n-c2f-equal    rows 6 and 8 stay C2f, but narrower: as many parameters as yolov8n-vil
    yolov8n-attention    rows 6 and 8 are ultralytics' C2fPSA: self-attention and a feed-forward network, as in a ViT block

for the scales n, s, m, l, x.  The hidden width of the two rows is the one that comes nearest to the parameters of
yolov8{scale}-vil; attention of equal size needs a slightly narrower block than ViL, a bottleneck a much narrower one.
"""

from bisect import bisect_left
from functools import cache

import torch
from ultralytics.nn.modules.block import C2f, C2fPSA

from vil_lite._names import did_you_mean
from vil_lite.complexity import parameters
from vil_lite.yolo.block import C2fViL
from vil_lite.yolo.models import FAMILIES, rows_of, stock_yaml, write_yaml

KINDS = {"c2f-equal": C2f, "attention": C2fPSA}
SCALES = FAMILIES["yolov8"]


def control_names():
    """The names that `control_yaml` knows."""
    return [f"yolov8{scale}-{kind}" for kind in KINDS for scale in SCALES]


def control_yaml(name):
    """Write the YAML of a control and return its path, for YOLO(path).  Raises ValueError for unknown names."""
    stem = str(name).removesuffix(".yaml")
    if stem not in control_names():
        known = control_names()
        raise ValueError(f"no model {name!r}{did_you_mean(stem, known)}; there are {', '.join(known)}")
    scale, kind = stem[len("yolov8")], stem.split("-", 1)[1]
    model, e = stock_yaml("yolov8", scale), equal_width(kind, scale)
    for row in rows_of(model, "vil"):
        source, repeats, _, (channels, *_) = model["backbone"][row]
        arguments = [channels, True, 1, e] if kind == "c2f-equal" else [channels, e]
        model["backbone"][row] = [source, repeats, KINDS[kind].__name__, arguments]
    return write_yaml(stem, model, f"yolov8.yaml of scale {scale} with as many parameters as yolov8{scale}-vil")


@cache
def equal_width(kind, scale):
    """The hidden share e (of the output channels, in 1/256) at which the rows are nearest to ViL's in parameters."""
    wanted = sum(_count(C2fViL, c, n) for c, n in _rows(scale))

    @cache
    def size(e):
        arguments = (True, 1, e) if kind == "c2f-equal" else (e,)
        return sum(_count(KINDS[kind], c, n, *arguments) for c, n in _rows(scale))

    shares = [k / 256 for k in range(32, 193) if _fits(kind, scale, k / 256)]
    first = bisect_left(shares, wanted, key=size)  # a wider row has more parameters, so eight sizes tell
    nearest = min(shares[max(first - 1, 0) : first + 1], key=lambda e: abs(size(e) - wanted))
    return shares[bisect_left(shares, size(nearest), key=size)]  # of the shares that give these widths the smallest


def _fits(kind, scale, e):
    """Attention divides its width into heads of about 64 channels, and needs an even number in each."""
    widths = [int(c * e) for c, _ in _rows(scale)]
    return kind == "c2f-equal" or all(width % (2 * max(width // 64, 1)) == 0 for width in widths)


def _rows(scale):
    """(channels, repeats) of the two rows at a scale, as ultralytics' parser computes them."""
    model = stock_yaml("yolov8", scale)
    depth, width, most = model["scales"][scale]
    rows = [model["backbone"][row] for row in rows_of(model, "vil")]
    return [(-(-int(min(c, most) * width) // 8) * 8, max(round(n * depth), 1)) for _, n, _, (c, *_) in rows]


def _count(block, channels, repeats, *arguments):
    with torch.device("meta"):  # draws no random numbers, takes no memory
        return parameters(block(channels, channels, repeats, *arguments))
