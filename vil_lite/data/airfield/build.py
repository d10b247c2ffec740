"""Write scenes as a data set in YOLO's layout, atomically, and go on where an earlier build stopped; look at it."""

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image

from .scene import check, scene

KINDS = ("detect", "obb", "segment")
VERSION = 1  # of the drawing: raise it when pixels change, so that an old folder is not taken for a new one


def build(
    root,
    train=400,
    val=100,
    image_size=320,
    seed=0,
    classes=None,
    balance="uniform",
    labels="detect",
    workers=None,
    progress=True,
):
    """Draw `train` + `val` scenes under root and return the Path of its data.yaml, ready for YOLO(...).train(data=...).

    image_size, seed, classes, balance: as for `scene`.   labels: "detect" (boxes), "obb" (turned boxes), "segment" (outlines).
    workers: processes (None: one for each core, one alone for small sets).   progress: show a bar when tqdm is installed.

    Each file is written whole or not at all.  A build that was interrupted goes on: finished scenes are kept, damaged ones
    drawn again.  Raises ValueError for wrong arguments, and when root holds a set with other parameters (it names them).
    """
    names = check(seed=seed, image_size=image_size, classes=classes, balance=balance)
    for name, value in (("train", train), ("val", val)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of scenes from 1, got {value!r}")
    if labels not in KINDS:
        raise ValueError(f"labels must be one of {', '.join(KINDS)}, got {labels!r}")
    root = Path(root).resolve()
    parameters = {
        "version": VERSION,
        "train": train,
        "val": val,
        "image_size": image_size,
        "seed": seed,
        "classes": list(names),
        "balance": balance,
        "labels": labels,
    }
    _claim(root, parameters)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
    drawing = {"seed": seed, "image_size": image_size, "classes": names, "balance": balance}
    jobs = [
        (root, labels, {**drawing, "split": split, "index": index})
        for split, count in (("train", train), ("val", val))
        for index in range(count)
        if not _finished(root, split, index, image_size)
    ]
    workers = workers or min(os.cpu_count() or 1, 1 + len(jobs) // 50)
    for _ in _bar(_run(jobs, workers), len(jobs), progress):
        pass
    return _write(root / "data.yaml", _data_yaml(root, names).encode())


def boxes_of(root, split="train"):
    """All boxes of a built "detect" set: a list of (image path, array (N, 5) of class, x, y, w, h relative to the image)."""
    images = sorted((Path(root) / "images" / split).glob("*.png"))
    return [(path, _read_labels(Path(root), split, path.stem)) for path in images]


def preview(source, n=8, columns=4):
    """A matplotlib Figure of the first n scenes with their boxes; source: a built folder (or its data.yaml), or scenes."""
    import matplotlib.pyplot as plt

    if isinstance(source, (str, Path)):
        root = Path(source).parent if str(source).endswith(".yaml") else Path(source)
        names = json.loads((root / "manifest.json").read_text())["classes"]
        pictures = [_read_picture(path, rows, names) for path, rows in boxes_of(root)[:n]]
    else:
        pictures = [(s.image, s.boxes, [s.names[k] for k in s.labels]) for s in list(source)[:n]]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.6 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax, (image, boxes, words) in zip(axes.flat, pictures, strict=False):
        ax.imshow(image)
        for (x0, y0, x1, y1), word in zip(boxes, words, strict=True):
            ax.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="#f0e442", linewidth=1))
            ax.text(x0, y0 - 1, word, color="#f0e442", fontsize=6, va="bottom")
    return figure


def _claim(root, parameters):
    """Record the parameters of the set in root, or compare them with those that are there."""
    manifest = root / "manifest.json"
    if manifest.is_file():
        there = json.loads(manifest.read_text())
        other = [key for key in parameters if there.get(key) != parameters[key]]
        if other:
            listed = "; ".join(f"{key}: {there.get(key)!r} there, {parameters[key]!r} asked for" for key in other)
            raise ValueError(
                f"{root} holds a set with other parameters ({listed}); choose another root or delete this one"
            )
        return
    if root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and was not made by airfield.build; choose another root")
    root.mkdir(parents=True, exist_ok=True)
    _write(manifest, json.dumps(parameters, indent=1).encode())


def _run(jobs, workers):
    if workers == 1:
        for job in jobs:
            yield _draw(*job)
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        for done in as_completed([pool.submit(_draw, *job) for job in jobs]):
            yield done.result()


def _draw(root, kind, drawing):
    s = scene(**drawing)
    split, name = drawing["split"], f"{drawing['index']:06d}"
    _write(root / "labels" / split / f"{name}.txt", "".join(f"{line}\n" for line in label_lines(s, kind)).encode())
    path = root / "images" / split / f"{name}.png"  # last: a scene with its image is finished
    part = path.with_suffix(".part")
    Image.fromarray(s.image).save(part, format="png", compress_level=4)
    os.replace(part, path)


def label_lines(s, kind="detect"):
    """The lines of a YOLO label file for a Scene: class and coordinates relative to the image, inside [0, 1]."""
    size = s.image.shape[0]
    for k, label in enumerate(s.labels):
        if kind == "detect":
            x0, y0, x1, y1 = s.boxes[k] / size
            numbers = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
        else:
            numbers = ((s.obb[k] if kind == "obb" else s.polygons[k]) / size).ravel()
        yield " ".join([str(label), *(f"{number:.6f}" for number in numbers.clip(0, 1))])


def _finished(root, split, index, image_size):
    name = f"{index:06d}"
    image, label = root / "images" / split / f"{name}.png", root / "labels" / split / f"{name}.txt"
    if not (image.is_file() and label.is_file()):
        return False
    try:
        with Image.open(image) as picture:
            picture.load()
            return picture.size == (image_size, image_size)
    except OSError:
        return False


def _write(path, content):
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
    return path


def _data_yaml(root, names):
    listed = "".join(f"  {k}: {json.dumps(name)}\n" for k, name in enumerate(names))
    return f"path: {json.dumps(str(root))}\ntrain: images/train\nval: images/val\nnc: {len(names)}\nnames:\n{listed}"


def _read_labels(root, split, name):
    lines = (root / "labels" / split / f"{name}.txt").read_text().split("\n")
    return np.array([line.split() for line in lines if line], dtype=float).reshape(-1, 5)


def _read_picture(path, rows, names):
    image = np.asarray(Image.open(path))
    centre, extent = rows[:, 1:3], rows[:, 3:5]
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1) * image.shape[0]
    return image, boxes, [names[int(k)] for k in rows[:, 0]]


def _bar(iterable, total, progress):
    if not progress or not total:
        return iterable
    try:
        from tqdm import tqdm
    except ImportError:
        return iterable
    return tqdm(iterable, total=total, desc="airfield", unit="scene", file=sys.stdout, mininterval=1.0)
