"""A data set with every kind of dirt."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from ultralytics.data.base import BaseDataset

from vil_lite.yolo import audit
from vil_lite.yolo.auditing import images_of

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
    "mixed": ("0 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.3 0.1 0.3 0.3", "a polygon among boxes: the image is left out"),
    "twice": ("1.0 0.5 0.5 0.2 0.2\n\n1 0.5 0.5 0.2 0.2", "the same as line 1"),
    "fine": ("1.0 0.5 0.5 0.2 0.2\n\n   \n0 0.1 0.1 0.3 0.1", None),  # a class as 1.0, blank lines
    "polygon": ("0 0.1 0.1 0.3 0.1 0.3 0.3", None),
    "mark": ("\ufeff0 0.5 0.5 0.1 0.1", None),  # of byte order, as editors on Windows write it
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
        (labels / f"train/{name}.txt").write_text(text, encoding="utf-8")
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


@pytest.fixture
def clean(tmp_path):
    """A folder with four good images and their labels in one place, as ultralytics' autosplit finds them."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(4):
        Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(tmp_path / f"images/{number}.png")
        (tmp_path / f"labels/{number}.txt").write_text("0 0.5 0.5 0.2 0.2")
    return tmp_path


def test_lists_that_share_a_folder_and_begin_with_a_mark(clean):
    for name, numbers in (("train", (0, 1)), ("val", (2, 3))):
        lines = "".join(f"./images/{number}.png\n" for number in numbers)
        (clean / f"{name}.txt").write_text(lines, encoding="utf-8-sig")
    (clean / "data.yaml").write_text(f"path: {clean}\ntrain: train.txt\nval: val.txt\nnames: [a]\n")
    assert audit(clean / "data.yaml") == []
    (clean / "labels/9.txt").write_text("")
    assert audit(clean / "data.yaml") == [("train/9.txt", "a label file without an image")]


def test_the_images_of_a_folder_are_those_that_ultralytics_takes(clean):
    (clean / "images/._0.png").write_text("what macOS leaves beside a file")
    (clean / "elsewhere").mkdir()
    shutil.move(clean / "images/3.png", clean / "elsewhere/3.png")
    (clean / "images/more").symlink_to(clean / "elsewhere")
    found = images_of({"train": str(clean / "images")})["train"]
    theirs = BaseDataset.get_img_files(SimpleNamespace(fraction=1.0, prefix=""), str(clean / "images"))
    assert [str(path) for path in found] == theirs
    assert [path.name for path in found] == ["0.png", "1.png", "2.png", "3.png"]


def test_keypoints_are_fractions_too(clean):
    (clean / "data.yaml").write_text(f"path: {clean}\ntrain: images\nval: images\nkpt_shape: [2, 3]\nnames: [a]\n")
    for number, points in enumerate(
        ("0.4 0.3 2 0.5 0.6 2", "0 0 0 0.5 0.6 1", "40 30 2 0.5 0.6 2", "0.4 0.3 2 0.5 60 2")
    ):
        (clean / f"labels/{number}.txt").write_text(f"0 0.5 0.5 0.2 0.2 {points}")
    told = [problem for problem in audit(clean / "data.yaml") if problem.place.startswith("train")]
    said = "is not in 0..1: fractions of the image, not pixels"
    assert told == [("train/2.txt:1", f"40 {said}"), ("train/3.txt:1", f"60 {said}")]
