"""Chapter 14: the ViL variants of YOLO: ultralytics' model YAMLs with some of their C2f-like rows replaced by C2fViL.

    name of the place   ViL where C2f, C3k2, C2fCIB, A2C2f (YOLO12) or RepNCSPELAN4 (YOLOv9) stood, at strides
    vil                 16 and 32 of the backbone (P4, P5): the default
    vil-p5              32 of the backbone
    vil-p345            8, 16 and 32 of the backbone: 6400 tokens at P3 in an image of 640 x 640
    vil-neck            16 and coarser of the neck

A name is family, scale, place: yolov8n-vil, yolov8s-p2-vil-p5, yolo11n-vil, yolo26x-vil-neck; the families are those of
FAMILIES.  yolov8l-vil-reported, 32 classes and version 1, is the one architecture that fits a reported model summary.

The default version of the block is 2, the authors' revised one: its 3 x 3 convolution looks around in the image, where
version 1 looks back along the row; the difference is 0.2 % of the model.
"""

import hashlib
import re
from typing import Any

import yaml
from ultralytics.utils import ROOT

from vil_lite._files import write
from vil_lite._names import did_you_mean
from vil_lite.yolo.block import check_options
from vil_lite.yolo.environment import cache_dir

#: family -> its scales.  What follows the scale in ultralytics' names follows it here: yolov8n-p2.
FAMILIES = {
    "yolov8": "nsmlx",
    "yolov8-p2": "nsmlx",
    "yolov8-p6": "nsmlx",
    "yolov9": "tsmce",
    "yolov10": "nsmblx",
    "yolo11": "nsmlx",
    "yolo12": "nsmlx",
    "yolo26": "nsmlx",
    "yolo26-p2": "nsmlx",
    "yolo26-p6": "nsmlx",
}
#: place -> part of the YAML, strides of the rows that become C2fViL
PLACES = {
    "vil": ("backbone", (16, 32)),
    "vil-p5": ("backbone", (32,)),
    "vil-p345": ("backbone", (8, 16, 32)),
    "vil-neck": ("head", (16, 32, 64)),
}
#: task -> what ultralytics' YAML with its head has behind the family
TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
REPORTED = "yolov8l-vil-reported"
#: Blocks that C2fViL stands in for.
REPLACED = {"C2f", "C2", "C3k2", "C2fCIB", "C2fPSA", "A2C2f", "RepNCSPELAN4"}


def available(family: str | None = None) -> list[str]:
    """The names that `model_yaml` knows, of one family or of all.  Raises ValueError for a family that there is not."""
    if family is not None and family not in FAMILIES:
        raise ValueError(f"no family {family!r}{did_you_mean(family, FAMILIES)}; families: {', '.join(FAMILIES)}")
    families = FAMILIES if family is None else [family]
    names = [name_of(f, scale, place) for f in families for place in PLACES for scale in FAMILIES[f]]
    return names + [REPORTED] * ("yolov8" in families)


def name_of(family, scale, place):
    """The name of a model: yolov8-p2, n, vil -> yolov8n-p2-vil"""
    base, dash, variant = family.partition("-")
    return f"{base}{scale}{dash}{variant}-{place}"


def tasks_of(family, scales=None):
    """The tasks for which ultralytics has a model YAML of this family, in any of the scales (None: all)."""
    return [task for task in TASKS if any(_source(family, scale, task) for scale in scales or FAMILIES[family])]


def model_yaml(name: str, *, task: str = "detect", nc: int | None = None, **options: Any) -> str:
    """Write the YAML of a ViL variant of a YOLO and return its path, for YOLO(path).

    name: as above, with or without ".yaml".   task: detect, segment, pose, obb or classify, where the family has it.
    nc: number of classes of a model that is built without data (training takes it from the data).
    options: those of C2fViL, for all its rows.

    The path is safe for ultralytics, which reads the scale letter off the file's name and, when there is no file of exactly
    that name, off any digit-and-letter of the whole path: this file exists under its full name, one folder per content.
    The file holds its own scale and no other, so a copy under any name is the same model.
    Raises ValueError for unknown names, tasks and options, and says which there are.
    """
    stem = str(name).removesuffix(".yaml")
    family, scale, place = parts(stem)
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}{did_you_mean(task, TASKS)}")
    if nc is not None and (isinstance(nc, bool) or not isinstance(nc, int) or nc < 1):
        raise ValueError(f"nc must be a positive number of classes, got {nc!r}")
    if stem == REPORTED:
        nc, options = nc or 32, {"version": 1, **options}
    options = {key: value for key, value in check_options(options).items() if value is not None}
    model = stock_yaml(family, scale, task)
    rows = rows_of(model, place)
    if not rows:
        other = stem.removesuffix("-neck")
        raise ValueError(f"{stem}: a model of task {task!r} has no neck in which ViL could stand; use {other}")
    for part, start in (("backbone", 0), ("head", len(model["backbone"]))):
        model[part] = [_vil(row, options) if start + j in rows else row for j, row in enumerate(model[part])]
    if nc is not None:
        model["nc"] = nc
    if int(re.findall(r"\d+", family)[0]) >= 11:
        model["legacy"] = False
    title = f"ultralytics' {family} of scale {scale} ({task}) with C2fViL in rows {', '.join(map(str, rows))}"
    return write_yaml(f"{stem}{TASKS[task]}", model, f"{title}, written by vil_lite.yolo.model_yaml")


def parts(name):
    """(family, scale, place) of a name.  Raises ValueError that names the nearest one, and what names are made of."""
    if name == REPORTED:
        return "yolov8", "l", "vil"
    for family in FAMILIES:
        for scale in FAMILIES[family]:
            for place in PLACES:
                if name == name_of(family, scale, place):
                    return family, scale, place
    scales = ", ".join(f"{family} ({' '.join(letters)})" for family, letters in FAMILIES.items())
    raise ValueError(
        f"no model {name!r}{did_you_mean(name, available())}; a name is family, scale and place, as in yolov8n-vil or "
        f"yolov8s-p2-vil-p5; families and scales: {scales}; places: {', '.join(PLACES)}; and {REPORTED}"
    )


def stock_yaml(family, scale, task="detect"):
    """ultralytics' own model of a family, scale and task, as a dict that knows only this scale.

    Raises ValueError when ultralytics has none, and says which tasks there are.
    """
    path = _source(family, scale, task)
    if path is None:
        there = ", ".join(tasks_of(family, scale))
        raise ValueError(f"ultralytics has no {family} of scale {scale} for task {task!r}; it has {there}")
    model = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "scales" in model:
        model["scales"] = {scale: model["scales"][scale]}
    return model


def _source(family, scale, task):
    """The path of ultralytics' YAML: one a family, or, for YOLOv9 and v10, one a scale.  None where there is none."""
    base, dash, variant = family.partition("-")
    names = [f"{base}{s}{TASKS[task]}{dash}{variant}.yaml" for s in ("", scale)]
    return next((p for name in names for p in (ROOT / "cfg" / "models").glob(f"*/{name}")), None)


def rows_of(model, place):
    """The numbers of the rows of a model (a dict) that become C2fViL.

    In the backbone the last row of each stride: YOLOv9e has two backbones, the second of which feeds the neck.
    """
    part, wanted = PLACES[place]
    kinds, split = [row[2] for row in (*model["backbone"], *model["head"])], len(model["backbone"])
    found = {row: stride for row, stride in enumerate(strides(model)) if kinds[row] in REPLACED}
    if part == "head":
        return [row for row, stride in found.items() if row >= split and stride in wanted]
    return sorted({stride: row for row, stride in found.items() if row < split and stride in wanted}.values())


def strides(model):
    """The stride of each row of a model (a dict): pixels of the image per cell of its map."""
    found: list[int] = []
    for source, _, kind, arguments in [*model["backbone"], *model["head"]]:
        source = source if isinstance(source, int) else source[-1 if kind == "CBFuse" else 0]
        stride = found[source] if found else 1
        if kind in ("AConv", "ADown") or (kind in ("Conv", "SCDown") and arguments[2:3] == [2]):
            stride *= 2
        found.append(stride // 2 if kind == "nn.Upsample" else stride)
    return found


def _vil(row, options):
    """The row of C2fViL that takes the place of another: the same channels, repeats and hidden share e."""
    source, repeats, kind, (channels, *others) = row
    e = others[1] if kind == "C3k2" and len(others) > 1 else 0.5
    if kind == "RepNCSPELAN4":  # its repeats are an argument; its channels are not scaled: 360 is one of them
        repeats, width = others[2], -(-channels // 2 // 8) * 8
        e = 0.5 if 2 * width == channels else round((width + 0.5) / channels, 4)
    return [source, repeats, "C2fViL", [channels, options] + [e] * (e != 0.5)]


def write_yaml(stem, model, title):
    """Write a model (a dict) as STEM.yaml below the cache and return its path; a folder for each content."""
    lines = [
        f"# {stem}: {title}.",
        "# `import vil_lite.yolo` before building it; a copy under another name is the same model.",
    ]
    for key, value in model.items():
        if key in ("backbone", "head"):
            first = 0 if key == "backbone" else len(model["backbone"])
            rows = [f"  - {_flow(row)} # {first + j}" for j, row in enumerate(value)]
            lines += [f"{key}: # [from, repeats, module, args]", *rows]
        else:
            lines.append(f"{key}: {_flow(value)}")
    text = "\n".join(lines) + "\n"
    # A hexadecimal digest holds no n, s, l, m or x: the folder's name cannot be taken for a scale.
    path = cache_dir() / "yolo" / hashlib.sha256(text.encode()).hexdigest()[:12] / f"{stem}.yaml"
    if not path.exists():
        write(path, text)
    return str(path)


def _flow(value):
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("\n...\n").strip()
