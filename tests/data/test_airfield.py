"""Scenes: the same on every machine, labelled as drawn, written whole, resumed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vil_lite.data import airfield

SMALL = {"train": 6, "val": 2, "image_size": 64, "progress": False}


def fingerprint(s):
    return hashlib.sha256(s.image.tobytes() + "\n".join(airfield.label_lines(s)).encode()).hexdigest()[:16]


def contents(root):
    return {
        p.relative_to(root).as_posix(): p.read_bytes() for p in Path(root).rglob("*") if p.suffix in (".png", ".txt")
    }


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"seed": 0, "index": 0, "image_size": 128}, "e627572678d2da5e"),
        ({"seed": 7, "index": 3, "image_size": 320, "split": "val"}, "cd4dae8d816eb616"),
        (
            {"seed": 1, "index": 2, "image_size": 160, "classes": ["f16", "b52"], "balance": "reported"},
            "2964fe3565917366",
        ),
    ],
)
def test_pixels_and_labels_are_the_same_on_every_machine(arguments, wanted):
    assert fingerprint(airfield.scene(**arguments)) == wanted


def test_27_classes_as_in_the_reported_table():
    assert len(airfield.CLASSES) == len(set(airfield.CLASSES)) == 27
    assert {"c17", "helicopter", "other", "command", "su-27", "tu-22"} <= set(airfield.CLASSES)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), index=st.integers(0, 10**6))
def test_boxes_are_tight_around_what_is_seen(seed, index):
    s = airfield.scene(seed=seed, index=index, image_size=160)
    assert len(s.labels) == len(s.boxes) == len(s.visible) >= 1
    sub = s.owners.shape[0] // 160
    for k, box in enumerate(s.boxes):
        y, x = np.nonzero(s.owners == k + 1)
        assert np.allclose(box * sub, [x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert s.visible[k] >= 0.4
    assert s.boxes.min() >= 0 and s.boxes.max() <= 160
    for line in airfield.label_lines(s):
        label, *numbers = line.split()
        assert 0 <= int(label) < 27 and len(numbers) == 4 and all(0 <= float(x) <= 1 for x in numbers)


def test_the_set_does_not_depend_on_the_number_of_processes(tmp_path):
    for workers in (1, 2):
        airfield.build(tmp_path / str(workers), workers=workers, **SMALL)
    one = contents(tmp_path / "1")
    assert len(one) == 16 and one == contents(tmp_path / "2")


@pytest.mark.parametrize("labels", ["obb", "segment"])
def test_turned_boxes_and_outlines(tmp_path, labels):
    airfield.build(tmp_path / "set", labels=labels, **SMALL)
    for path in (tmp_path / "set" / "labels").rglob("*.txt"):
        for line in path.read_text().splitlines():
            numbers = [float(x) for x in line.split()[1:]]
            assert (len(numbers) == 8 if labels == "obb" else len(numbers) >= 6) and len(numbers) % 2 == 0
            assert 0 <= min(numbers) and max(numbers) <= 1


def test_ultralytics_reads_the_set(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("YOLO_AUTOINSTALL", "0")
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(airfield.build(tmp_path / "set", classes=["f16", "c5"], **SMALL)), autodownload=False)
    assert data["nc"] == 2 and list(data["names"].values()) == ["f16", "c5"]
    assert len(list(Path(data["train"]).glob("*.png"))) == 6


def test_a_killed_build_goes_on_and_gives_the_same_set(tmp_path):
    airfield.build(tmp_path / "whole", **SMALL)
    code = (
        "from vil_lite.data import airfield; "
        f"airfield.build({str(tmp_path / 'cut')!r}, train=6, val=2, image_size=64, progress=False, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    images = tmp_path / "cut" / "images" / "train"
    while process.poll() is None and len(list(images.glob("*.png"))) < 2:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = sorted(images.glob("*.png"))
    assert 2 <= len(finished) < 6, "the build was too fast to be cut"
    (finished[0]).write_bytes(finished[0].read_bytes()[:50])  # and one file was damaged since
    kept = finished[1].stat().st_mtime_ns
    airfield.build(tmp_path / "cut", **SMALL)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert finished[1].stat().st_mtime_ns == kept


def test_another_set_in_the_same_folder_is_refused(tmp_path):
    airfield.build(tmp_path / "set", **SMALL)
    with pytest.raises(ValueError, match="seed: 0 there, 1 asked for"):
        airfield.build(tmp_path / "set", seed=1, **SMALL)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        airfield.build(tmp_path / "else", **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"train": 0}, "train must be a whole number"),
        ({"val": 2.5}, "val must be a whole number"),
        ({"classes": ["f-16"]}, r"does not know \['f-16'\]"),
        ({"classes": "f16"}, "must be a list"),
        ({"balance": "even"}, "balance must be"),
        ({"labels": "mask"}, "labels must be one of"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        airfield.build(tmp_path / "set", **{**SMALL, **change})
    assert not (tmp_path / "set").exists()


def test_preview_shows_scenes_with_their_boxes(tmp_path):
    data = airfield.build(tmp_path / "set", **SMALL)
    from_files = airfield.preview(data, n=3)
    from_scenes = airfield.preview([airfield.scene(index=k, image_size=64) for k in range(3)])
    assert len(from_files.axes) == len(from_scenes.axes) == 3
    for a, b in zip(from_files.axes, from_scenes.axes, strict=True):
        assert len(a.patches) == len(b.patches) >= 1
