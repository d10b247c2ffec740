"""A data set with every kind of dirt."""

import shutil

import numpy as np
import pytest
from PIL import Image

from vil_lite.yolo import audit

LINES = {
    "words": ("a plane at the left", "not numbers: 'a plane at the left'"),
    "short": ("0 0.5 0.5 0.1", "3 numbers behind the class, 4 are wanted"),
    "class": ("3.0 0.5 0.5 0.1 0.1", "class 3.0: there are 0 to 1"),
    "half": ("0.5 0.5 0.5 0.1 0.1", "class 0.5: there are 0 to 1"),
    "nan": ("0 nan 0.5 0.1 0.1", "nan is not in 0..1"),
    "nan class": ("nan 0.5 0.5 0.1 0.1", "class nan: there are 0 to 1"),
    "endless class": ("1e999 0.5 0.5 0.1 0.1", "class 1e999: there are 0 to 1"),
    "pixels": ("0 120 80 30 30", "120 is not in 0..1"),
    "flat": ("0 0.5 0.5 0 0.1", "a box without area"),
    "twice": ("1.0 0.5 0.5 0.2 0.2\n\n1 0.5 0.5 0.2 0.2", "the same as line 1"),
    "fine": ("1.0 0.5 0.5 0.2 0.2\n\n   \n0 0.1 0.1 0.3 0.1 0.3 0.3", None),  # a class as 1.0, blank lines, a polygon
    "empty": ("", None),
}


@pytest.fixture
def dirty(tmp_path):
    """data.yaml whose train images are named for what is wrong with their label or with themselves."""
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
    images, labels = tmp_path / "images", tmp_path / "labels"
    for number, (name, (text, _)) in enumerate(LINES.items()):
        Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(images / f"train/{name}.png")
        (labels / f"train/{name}.txt").write_text(text)
    (images / "train/text.jpg").write_text("no image")
    whole = (images / "train/fine.png").read_bytes()
    (images / "train/cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (9, 40)).save(images / "train/tiny.png")
    Image.new("1", (20_000, 20_000)).save(images / "train/huge.png")
    for name in ("text", "cut", "tiny", "huge", "orphan"):
        (labels / f"train/{name}.txt").write_text("")
    shutil.copy(images / "train/fine.png", images / "val/copy.png")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: [a, b]\n")
    return tmp_path / "data.yaml"


def test_every_kind_of_dirt_is_told_and_nothing_else(dirty):
    problems = {}
    for place, problem in audit(dirty):
        problems.setdefault(place, []).append(problem)
    wanted = {f"train/{name}.txt:{text.count(chr(10)) + 1}": said for name, (text, said) in LINES.items() if said}
    wanted |= {"train/text.jpg": "cannot be read", "train/cut.png": "cannot be read", "train/tiny.png": "9 x 40 pixels"}
    wanted |= {"train/huge.png": "too large", "train/orphan.txt": "without an image"}
    assert problems.pop("val/copy.png") == [
        "the same image as train/fine.png",
        "no label file: it counts as background",
    ]
    assert problems.keys() == wanted.keys()
    assert all(len(told) == 1 and wanted[place] in told[0] for place, told in problems.items()), problems


def test_lists_of_images_and_missing_ones(dirty):
    root = dirty.parent
    (root / "list.txt").write_text("./images/train/fine.png\n./images/train/gone.png\n")
    (root / "lists.yaml").write_text(f"path: {root}\ntrain: list.txt\nval: images/val\nnames: [a, b]\n")
    assert ("train/gone.png", "the image is not there") in audit(root / "lists.yaml")
