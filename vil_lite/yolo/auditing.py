"""Chapter 15: what is wrong with a data set, before a training swallows it.

Ultralytics drops an image with a bad label line, and takes one without labels for background; a line in its log says so.

    for place, problem in vil_lite.yolo.audit("data.yaml"): print(place, problem)
    python -m vil_lite.yolo audit data=data.yaml
"""

import hashlib
import warnings
from glob import escape, glob
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset, img2label_paths
from ultralytics.utils import patches

#: Pillow's own: ultralytics puts one in its place that installs a package when it meets a file that is no image.
_open = getattr(patches, "_image_open", Image.open)
SMALLEST = 10  # pixels of a side: ultralytics leaves smaller images out


class Problem(NamedTuple):
    place: str  # "train/a.png", or "train/a.txt:3" for a line of a label file
    problem: str


def audit(data: str | Path) -> list[Problem]:
    """Look through the images and labels of a data.yaml (path) and return the problems, a list of (place, problem).

    Images that cannot be read, are too small or too large, or stand in two splits; images without a label file and label
    files without an image in any split; lines that are no label: words, missing numbers, a class that there is not,
    coordinates outside 0..1, boxes without area, the same line twice; boxes and polygons in one file.  Labels of boxes,
    polygons, oriented boxes and (with kpt_shape) poses.
    Nothing is changed.  Raises what ultralytics raises for a data.yaml that it cannot use.
    """
    found = check_det_dataset(str(data), autodownload=False)
    classes, keypoints = len(found["names"]), found.get("kpt_shape")
    problems: list[Problem] = []
    seen: dict[bytes, tuple[str, str]] = {}
    splits = images_of(found)
    labels = {split: {Path(p) for p in img2label_paths([*map(str, images)])} for split, images in splits.items()}
    expected = set().union(*labels.values())
    for split, images in splits.items():
        folders = {label.parent for label in labels[split]}
        for label in sorted(file for folder in folders for file in folder.glob("*.txt") if file not in expected):
            problems.append(Problem(f"{split}/{label.name}", "a label file without an image"))
            expected.add(label)  # told once
        for image in images:
            place = f"{split}/{image.name}"
            if problem := _unreadable(image):
                problems.append(Problem(place, problem))
            if image.is_file():
                first = seen.setdefault(hashlib.sha256(image.read_bytes()).digest(), (split, place))
                if first[0] != split:
                    problems.append(Problem(place, f"the same image as {first[1]}"))
            label = Path(img2label_paths([str(image)])[0])
            if not label.is_file():
                problems.append(Problem(place, "no label file: it counts as background"))
                continue
            text = label.read_text(encoding="utf-8-sig", errors="replace")
            for number, problem in _bad_lines(text, classes, keypoints):
                problems.append(Problem(f"{split}/{label.name}:{number}", problem))
    return problems


def images_of(found):
    """{split: sorted paths of its images} of a data set as `check_det_dataset` gives it: folders, or lists in text files."""
    splits = {}
    for split in ("train", "val", "test"):
        places = found.get(split) or []
        images = []
        for place in map(Path, places if isinstance(places, list) else [places]):
            if place.is_dir():
                files = glob(str(Path(escape(str(place))) / "**" / "*.*"), recursive=True)  # as ultralytics: not .*.*
                images += [p for p in map(Path, files) if p.suffix[1:].lower() in IMG_FORMATS]
            else:  # a list of files; those that begin with ./ lie beside it
                lines = [line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines()]
                images += [place.parent / line if line.startswith("./") else Path(line) for line in lines if line]
        if images:
            splits[split] = sorted(images)
    return splits


def _unreadable(path):
    """What keeps an image from being used, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _open(path) as image:
                width, height = image.size
                if min(width, height) < SMALLEST:
                    return f"{width} x {height} pixels: too small, less than {SMALLEST}"
                image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return f"too large: more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels"
    except FileNotFoundError:
        return "the image is not there"
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        return f"cannot be read: {error}".replace(str(path), path.name)
    return None


def _bad_lines(text, classes, keypoints):
    """(number of the line, problem) for each line that is no label; blank lines are none."""
    lines: dict[tuple, int] = {}
    shapes: set[bool] = set()  # whether a polygon
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            kind, *numbers = map(float, line.split())
        except ValueError:
            yield number, f"not numbers: {line.strip()[:40]!r}"
            continue
        wanted = 4 + keypoints[0] * keypoints[1] if keypoints else 4
        polygon = not keypoints and len(numbers) >= 6 and len(numbers) % 2 == 0
        if len(numbers) != wanted and not polygon:
            yield number, f"{len(numbers)} numbers behind the class, {wanted} are wanted"
            continue
        if kind not in range(classes):  # 3.0 is, NaN and infinity are not
            yield number, f"class {line.split()[0]}: there are 0 to {classes - 1}"
        if shapes == {not polygon}:
            yield number, f"a {'polygon among boxes' if polygon else 'box among polygons'}: the image is left out"
        shapes.add(polygon)
        step = keypoints[1] if keypoints else 2  # x and y, of poses often with a third number, 0, 1 or 2
        points = numbers[:4] + [x for start in range(4, len(numbers), step) for x in numbers[start : start + 2]]
        if outside := [x for x in points if not 0 <= x <= 1]:
            yield number, f"{outside[0]:g} is not in 0..1: fractions of the image, not pixels"
        elif not polygon and min(numbers[2:4]) == 0:
            yield number, "a box without area"
        first = lines.setdefault((kind, *numbers), number)
        if first != number:
            yield number, f"the same as line {first}"
