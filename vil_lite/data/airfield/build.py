"""Scenes as a data set on disk, in the layout that ultralytics reads.

root/manifest.json                 the arguments, so that nobody mixes two sets by mistake
root/images/{train,val}/000000.png lossless: the pixels of `scene`, to the last bit
root/labels/{train,val}/000000.txt one line for each aircraft, numbers in 0..1 of the image's side
root/data.yaml                     written last: its presence means that the set is complete
"""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from vil_lite._files import UNFINISHED, write

from .scene import METRES, SPLITS, Scene, check, scale, scene

VERSION = 2  # raise it when a change makes other pixels or labels
LABELS = ("detect", "obb", "segment")
STALE = 600  # seconds after which a temporary file belongs to nobody any more


def build(
    root: str | Path,
    train: int = 400,
    val: int = 100,
    image_size: int = 320,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    balance: str = "uniform",
    labels: str = "detect",
    metres_per_pixel: float | tuple[float, float] = METRES,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Draw a detection data set and return the path of its data.yaml.

    train, val: numbers of images.  image_size, seed, classes, balance, metres_per_pixel: as for `scene`.
    labels: "detect" (class, centre x, centre y, width, height), "obb" (class and four corners, cut at the image's border) or
    "segment" (class and outline).  workers: processes, None: one for each core.  progress: a bar, where tqdm is installed.

    Every file appears under its name only when it is whole.  After an interruption the same call goes on: finished images
    are checked with their labels and kept, damaged ones drawn again.  Raises ValueError, naming argument and remedy, also
    when root already holds a set with other arguments.
    """
    names = check(seed=seed, image_size=image_size, classes=classes, balance=balance)
    for name, value in (("train", train), ("val", val), ("workers", 1 if workers is None else workers)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")
    if labels not in LABELS:
        raise ValueError(f"labels must be one of {LABELS}, got {labels!r}")
    wanted: dict[str, Any] = {
        "version": VERSION,
        "train": int(train),
        "val": int(val),
        "image_size": int(image_size),
        "seed": int(seed),
        "classes": list(names),
        "balance": balance,
        "labels": labels,
        "metres_per_pixel": list(scale(metres_per_pixel)),
    }
    root = Path(root).expanduser().resolve()
    _claim(root, wanted)
    todo = [(split, k) for split in SPLITS for k in range(wanted[split]) if not _finished(root, split, k, image_size)]
    if todo:
        for cache in (root / "labels").glob(
            "*.cache"
        ):  # what ultralytics noted about labels that may have been damaged
            cache.unlink()
    _run(root, todo, workers or _cores(), progress)
    yaml = root / "data.yaml"
    write(yaml, _yaml(root, names).encode())
    return yaml


def _claim(root, wanted):
    """Make the folders and the manifest, or compare with the manifest that is there."""
    manifest = root / "manifest.json"
    if manifest.exists():
        found = _manifest(root)
        other = [f"{k}: {found.get(k)!r} there, {v!r} asked for" for k, v in wanted.items() if found.get(k) != v]
        if other:
            raise ValueError(
                f"root {root} holds a set made with other arguments ({'; '.join(other)}): choose another root or delete it"
            )
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"root {root} is not empty and was not made by airfield.build: choose a new folder")
    for kind in ("images", "labels"):
        for split in SPLITS:
            folder = root / kind / split
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"*{UNFINISHED}"):
                if time.time() - left.stat().st_mtime > STALE:
                    left.unlink(missing_ok=True)
    if not manifest.exists():
        write(manifest, json.dumps(wanted, indent=1).encode())


def _manifest(root):
    """The arguments of the set in root; sets of earlier versions do not name their scale."""
    return {"metres_per_pixel": list(METRES), **json.loads((root / "manifest.json").read_text())}


def _paths(root, split, index):
    return root / "images" / split / f"{index:06d}.png", root / "labels" / split / f"{index:06d}.txt"


def _finished(root, split, index, size):
    """True when image and label are whole and belong together: the image carries the label file's digest."""
    image, label = _paths(root, split, index)
    try:
        content = image.read_bytes()
        with PngImagePlugin.PngImageFile(io.BytesIO(content)) as picture:  # not Image.open: ultralytics replaces it
            picture.verify()  # the checksums of a PNG, all but the last
            digest, shape = picture.info["labels"], picture.size
        whole = content.endswith(b"IEND\xaeB\x60\x82") and shape == (size, size)
        return whole and digest == hashlib.sha256(label.read_bytes()).hexdigest()
    except (OSError, KeyError, SyntaxError, ValueError):  # what Pillow raises for files that are not whole
        return False


def make(root, wanted, split, index):
    """Draw one image with its label file: the label first, so that an image never lacks one."""
    same = {name: wanted[name] for name in ("seed", "image_size", "classes", "balance", "metres_per_pixel")}
    one = scene(index=index, split=split, **same)
    image, label = _paths(root, split, index)
    text = "".join(f"{line}\n" for line in label_lines(one, wanted["labels"])).encode()
    info = PngImagePlugin.PngInfo()
    info.add_text("labels", hashlib.sha256(text).hexdigest())
    png = io.BytesIO()
    Image.fromarray(one.image).save(png, "PNG", compress_level=1, pnginfo=info)
    write(label, text)
    write(image, png.getvalue())


def label_lines(one: Scene, kind: str = "detect") -> list[str]:
    """Lines of a YOLO label file, six decimals, all numbers in 0..1."""
    size = one.image.shape[0]
    if kind == "detect":
        low, high = one.boxes[:, :2], one.boxes[:, 2:]
        shapes = list(np.concatenate([(low + high) / 2, high - low], axis=1))
    else:
        shapes = list(one.obb if kind == "obb" else one.polygons)
    numbers = [np.clip(np.asarray(shape).ravel() / size, 0, 1) for shape in shapes]
    return [" ".join([str(label), *(f"{x:.6f}" for x in row)]) for label, row in zip(one.labels, numbers, strict=True)]


def boxes_of(root: str | Path, split: str = "train") -> list[tuple[Path, np.ndarray]]:
    """Boxes of a set with "detect" labels: [(image path, (N, 5) array of class, centre x, centre y, width, height), …]."""
    found = []
    for image in sorted((Path(root) / "images" / split).glob("*.png")):
        rows = [line.split() for line in (Path(root) / "labels" / split / f"{image.stem}.txt").read_text().splitlines()]
        found.append((image, np.array(rows, dtype=float).reshape(-1, 5)))
    return found


def _yaml(root, names):
    quoted = [f"  {k}: {json.dumps(name)}" for k, name in enumerate(names)]
    lines = [
        f"path: {json.dumps(str(root))}",
        "train: images/train",
        "val: images/val",
        f"nc: {len(names)}",
        "names:",
        *quoted,
    ]
    return "\n".join(lines) + "\n"


def _run(root, todo, workers, progress):
    """Draw all of todo, in this process or in several."""
    bar = _bar(len(todo)) if progress and todo else None
    workers = min(workers, -(-len(todo) // 40))  # starting a process costs as much as some images
    try:
        if workers <= 1:
            wanted = _manifest(root)
            for split, index in todo:
                make(root, wanted, split, index)
                if bar:
                    bar.update()
        else:
            jobs, stop = iter(todo), threading.Event()
            with ThreadPoolExecutor(workers) as pool:
                drivers = [pool.submit(_drive, root, jobs, stop, bar) for _ in range(workers)]
                try:
                    for driver in drivers:
                        driver.result()
                finally:
                    stop.set()  # after an error or Ctrl-C the others finish their image and end
    finally:
        if bar:
            bar.close()


def _cores():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bar(total):
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return None
    return tqdm(total=total, desc="airfield", unit="image")


def _drive(root, jobs, stop, bar):
    """Run a worker process until there are no more jobs: one line in, one image, one line back.

    A plain child process, not concurrent.futures.ProcessPoolExecutor (tried, "spawn"): that breaks in a script without a
    guard around its main part, and its workers stay when this process is killed; "fork" would copy running threads.
    """
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "vil_lite.data.airfield", str(root)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes) as child:
        assert child.stdout and child.stderr
        for split, index in jobs:
            with contextlib.suppress(BrokenPipeError):  # then the worker is gone, and its last words follow
                print(split, index, file=child.stdin, flush=True)
            if not child.stdout.readline():
                stop.set()
                raise RuntimeError(
                    f"a worker stopped at {split} image {index}; call build again to go on\n{child.stderr.read()}"
                )
            if bar:
                bar.update()
            if stop.is_set():
                return


def work(root):
    """What a worker process does until its input closes."""
    wanted = _manifest(root)
    for line in sys.stdin:
        split, index = line.split()
        make(root, wanted, split, int(index))
        print("done", flush=True)
