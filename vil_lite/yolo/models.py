"""The ViL variants of YOLOv8: ultralytics' own YAMLs with some C2f rows replaced by C2fViL.

    name                   ViL in rows     places
    yolov8n-vil            6, 8            backbone, strides 16 and 32 (P4, P5): the default
    yolov8n-vil-p5         8               backbone, stride 32
    yolov8n-vil-p345       4, 6, 8         backbone, strides 8, 16 and 32: 6400 tokens at P3 in an image of 640 x 640
    yolov8n-vil-neck       12, 18, 21      neck, strides 16, 16 and 32
    yolov8l-vil-reported   6, 8            32 classes, version 1: the one architecture that fits a reported model summary

for the scales n, s, m, l, x (the last for l alone).  The default version of the block is 2, the authors' revised one: its
3 x 3 convolution looks around in the image, where version 1 looks back along the row; the difference is 0.2 % of the model.
"""

import hashlib
import os
import re

from ultralytics.utils import ROOT

from vil_lite.yolo.block import check_options, suggest
from vil_lite.yolo.environment import cache_dir

SCALES = "nsmlx"
#: suffix of the name -> rows of yolov8.yaml in which C2f becomes C2fViL
PLACES = {"vil": (6, 8), "vil-p5": (8,), "vil-p345": (4, 6, 8), "vil-neck": (12, 18, 21)}
REPORTED = "yolov8l-vil-reported"
#: task -> ultralytics' YAML that has its head
TASKS = {"detect": "yolov8", "segment": "yolov8-seg", "pose": "yolov8-pose", "obb": "yolov8-obb"}


def available():
    """The names that `model_yaml` knows."""
    return [f"yolov8{scale}-{place}" for place in PLACES for scale in SCALES] + [REPORTED]


def model_yaml(name, *, task="detect", nc=None, **options):
    """Write the YAML of a ViL variant of YOLOv8 and return its path, for YOLO(path).

    name: from `available()`, with or without ".yaml".   task: detect, segment, pose or obb.   nc: number of classes of a
    model that is built without data (training takes it from the data).   options: those of C2fViL, for all its rows.

    The path is safe for ultralytics, which reads the scale letter off the file's name and, when there is no file of exactly
    that name, off any digit-and-letter of the whole path: this file exists under its full name, one folder per content.
    Raises ValueError for unknown names, tasks and options, and says which there are.
    """
    stem = str(name).removesuffix(".yaml")
    if stem not in available():
        raise ValueError(f"no model {name!r}{suggest(stem, available())}; there are {', '.join(available())}")
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}{suggest(task, TASKS)}")
    if nc is not None and (isinstance(nc, bool) or not isinstance(nc, int) or nc < 1):
        raise ValueError(f"nc must be a positive number of classes, got {nc!r}")
    if stem == REPORTED:
        nc, options, place = nc or 32, {"version": 1, **options}, "vil"
    else:
        place = stem.split("-", 1)[1]
    text = write(stem, PLACES[place], task, nc, check_options(options))
    # A hexadecimal digest holds no n, s, l, m or x: the folder's name cannot be taken for a scale.
    folder = cache_dir() / "yolo" / hashlib.sha256(text.encode()).hexdigest()[:12]
    path = folder / f"{stem}{TASKS[task].removeprefix('yolov8')}.yaml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{os.getpid()}.partial"  # written aside: another process never reads half a file
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return str(path)


def write(stem, rows, task="detect", nc=None, options=None):
    """The text of a model YAML: ultralytics' own for the task, with C2fViL and its options in the given rows."""
    text = (ROOT / "cfg" / "models" / "v8" / f"{TASKS[task]}.yaml").read_text(encoding="utf-8")
    lines, row = [], -1
    for line in text.splitlines():
        if line.startswith("  - ["):
            row += 1
            if row in rows:
                line = _vil_row(line, options or {})
        elif line.startswith("nc:") and nc is not None:
            line = f"nc: {nc}"
        elif re.match(r"  [nsmlx]: \[", line):
            line = line.split(" #")[0]  # the comment counts the parameters of plain YOLOv8
        lines.append(line)
    title = [f"# {stem}: ultralytics' {TASKS[task]}.yaml with C2fViL in rows {', '.join(map(str, rows))}, written by",
             "# vil_lite.yolo.model_yaml. `import vil_lite.yolo` before building it; edit a copy under another name."]
    return "\n".join(title + lines) + "\n"


def _vil_row(line, options):
    mapping = ", ".join(f"{name}: {value}" for name, value in options.items() if value is not None)
    changed, found = re.subn(r"C2f, \[(\d+)(, True)?\]", rf"C2fViL, [\1, {{{mapping}}}]", line)
    if not found:
        raise ValueError(f"expected a C2f row of ultralytics' YAML, got {line.strip()!r}; ViL goes where C2f is")
    return changed
