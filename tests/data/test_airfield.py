"""Scenes: the same on every machine, labelled as drawn, written whole, resumed."""

import csv
import hashlib
import inspect
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from vil_lite.data import airfield
from vil_lite.data.airfield import clutter, ground, placement, raster, shapes, sprite

TABLE = Path(__file__).parents[2] / "book" / "results" / "16_reported_results.csv"
SMALL = {"train": 6, "val": 2, "image_size": 64, "progress": False}


def fingerprint(s):
    labels = [line for kind in ("detect", "obb", "segment") for line in airfield.label_lines(s, kind)]
    return hashlib.sha256(s.image.tobytes() + "\n".join(labels).encode()).hexdigest()[:16]


def contents(root):
    return {
        p.relative_to(root).as_posix(): p.read_bytes() for p in Path(root).rglob("*") if p.suffix in (".png", ".txt")
    }


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"seed": 0, "index": 0, "image_size": 128}, "8e9030cb838845ed"),
        ({"seed": 7, "index": 3, "image_size": 320, "split": "val"}, "4acbc001d6172079"),
        (
            {"seed": 1, "index": 2, "image_size": 160, "classes": ["f16", "b52"], "balance": "reported"},
            "483a3a612dee44d9",
        ),
    ],
)
def test_pixels_and_labels_are_the_same_on_every_machine(arguments, wanted):
    assert fingerprint(airfield.scene(**arguments)) == wanted


def test_another_mathematical_library_draws_the_same(monkeypatch):
    """cos, sin and tan that err in the last bit, as those of other systems do, change neither a pixel nor a label."""
    expected = [fingerprint(airfield.scene(seed=5, index=k, image_size=160)) for k in range(4)]
    draws = random.Random(0)

    def shaky(function):
        def result(x):
            return np.nextafter(function(x), draws.choice([-np.inf, np.inf]))

        return result

    shapes._parts.cache_clear()  # polygons made with the exact ones
    for module in (ground, placement, raster, scene_module(), shapes, sprite):
        for name in ("cos", "sin", "tan"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, shaky(getattr(math, name)))
    for name in ("cos", "sin"):
        monkeypatch.setattr(clutter.np, name, shaky(getattr(np, name)))
    assert raster.direction.__globals__["cos"](1.0) != math.cos(1.0)
    assert [fingerprint(airfield.scene(seed=5, index=k, image_size=160)) for k in range(4)] == expected


def scene_module():
    """The module `scene`; its name in the package is the function's."""
    return sys.modules[airfield.scene.__module__]


def test_classes_and_their_frequencies_are_those_of_the_reported_table():
    rows = [row for row in csv.DictReader(TABLE.open()) if row["class"] != "all"]
    assert tuple(row["class"] for row in rows) == airfield.CLASSES == tuple(airfield.AIRCRAFT)
    assert {row["class"]: (int(row["images"]), int(row["instances"])) for row in rows} == airfield.REPORTED


def test_reported_balance_makes_rare_classes_rare():
    frame, counts, scenes = ground.Frame.make(320, 1.2, 0.0), Counter(), 4000
    for index in range(scenes):
        rng = np.random.Generator(np.random.PCG64([0, index]))
        counts.update({name for name, _ in placement._wanted(rng, frame, airfield.CLASSES, "reported", 0, 0, index)})
    pairs = sum(images for images, _ in airfield.REPORTED.values())
    for name, (images, _) in airfield.REPORTED.items():
        expected = 1.28 * scenes * images / pairs
        assert abs(counts[name] - expected) < 0.06 * expected + 5 * expected**0.5, name


def test_uniform_balance_deals_every_class():
    frame = ground.Frame.make(320, 1.2, 0.0)
    firsts = [
        placement._wanted(np.random.default_rng(k), frame, airfield.CLASSES, "uniform", 0, 0, k)[0][0]
        for k in range(27)
    ]
    assert sorted(firsts) == sorted(airfield.CLASSES)


@pytest.mark.parametrize(
    "plane", [p for variants in airfield.AIRCRAFT.values() for p in variants], ids=lambda p: p.name
)
def test_drawn_sizes_are_those_of_the_table(plane):
    seen = [part for turn in range(24) for part in shapes.parts(plane, turn * math.pi / 12) if part.solid]
    forward = np.concatenate([part.outline[:, 0] for part in seen if part.kind != "blade"])
    assert forward.max() - forward.min() == pytest.approx(plane.length, rel=0.06)
    right = np.concatenate([part.outline[:, 1] for part in seen])  # the rotors all the way round
    for side in (
        right.max(),
        -right.min(),
    ):  # tanks and rails at the wing tips reach a little beyond the published span
        assert abs(2 * side - plane.span) <= max(0.03 * plane.span, 0.6)


@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
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


def test_the_scale_is_kept_when_the_image_grows_and_reaches_the_files(tmp_path):
    """At half a metre a pixel an aircraft of 53 m is 106 pixels long on 320 and on 640 pixels, in memory and on disk."""
    for size in (320, 640):
        s = airfield.scene(3, 1, size, ["c17"], metres_per_pixel=0.5)
        whole = s.visible > 0.999
        forward = np.linalg.norm(s.obb[whole][:, 0] - s.obb[whole][:, 3], axis=1)
        assert s.metres == 0.5 and len(forward) and np.allclose(forward, 53 / 0.5, atol=6)
    same = {**SMALL, "image_size": 320, "train": 2, "val": 1, "seed": 3, "metres_per_pixel": (0.4, 0.5), "workers": 1}
    root = airfield.build(tmp_path / "set", **same).parent
    for index, (_, boxes) in enumerate(airfield.boxes_of(root)):
        s = airfield.scene(3, index, 320, metres_per_pixel=(0.4, 0.5))
        assert 0.4 <= s.metres <= 0.5 and np.allclose((s.boxes[:, 2:] - s.boxes[:, :2]) / 320, boxes[:, 3:], atol=1e-6)
    with pytest.raises(ValueError, match="metres_per_pixel"):
        airfield.build(root, **{**same, "metres_per_pixel": 0.5})


@pytest.mark.parametrize("scale", [0, 20.0, (0.8, 0.4), True, (0.5, float("nan"))])
def test_a_scale_that_cannot_be_is_refused(scale):
    with pytest.raises(ValueError, match="metres_per_pixel must be"):
        airfield.scene(metres_per_pixel=scale)


def inside(polygon, x, y):
    """Which points lie in a convex (4, 2) polygon, border included, in either order of its corners."""
    side = [
        (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in zip(polygon, np.roll(polygon, -1, axis=0))
    ]
    return np.all(np.array(side) >= -1e-6, axis=0) | np.all(np.array(side) <= 1e-6, axis=0)


@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6), index=st.integers(0, 10**6))
def test_turned_boxes_masks_and_outlines_agree_with_what_is_seen(seed, index):
    s = airfield.scene(seed=seed, index=index, image_size=160)
    assert s.masks.shape == (len(s.labels), 160, 160)
    for k, (x0, y0, x1, y1) in enumerate(s.boxes):
        y, x = (w / 4 for w in np.nonzero(s.owners == k + 1))  # upper left corners of sub-pixels
        corners = np.array([[x, x + 0.25, x, x + 0.25], [y, y, y + 0.25, y + 0.25]]).reshape(2, -1)
        nose_left, nose_right, tail_right, tail_left = s.obb[k]
        assert inside(s.obb[k], *corners).all()
        forward = (nose_left - tail_left) / np.linalg.norm(nose_left - tail_left)
        assert np.allclose(forward, (math.cos(s.headings[k]), math.sin(s.headings[k])), atol=1e-5)
        right = np.array((-forward[1], forward[0]))
        for axis, low, high in (
            (forward, tail_left, nose_left),
            (right, nose_left, nose_right),
        ):  # no side could move in
            along = axis @ corners
            assert along.min() - axis @ low < 0.13 and axis @ high - along.max() < 0.13
        assert (s.obb[k].min(axis=0) <= (x0 + 0.13, y0 + 0.13)).all() and (
            s.obb[k].max(axis=0) >= (x1 - 0.13, y1 - 0.13)
        ).all()

        rows, columns = np.nonzero(s.masks[k])
        assert (rows >= y0 - 0.75).all() and (rows + 1 <= y1 + 0.75).all()
        assert (columns >= x0 - 0.75).all() and (columns + 1 <= x1 + 0.75).all()
        area = len(x) / 16
        assert area <= (x1 - x0) * (y1 - y0) + 1e-9
        assert abs(s.masks[k].sum() - area) <= 0.35 * area + 3  # whole pixels count only roughly on small aircraft

        outline = s.polygons[k]
        assert (outline >= (x0, y0)).all() and (outline <= (x1, y1)).all()
        drawn = raster.fill([raster.turned(outline * 4)], 640, 640)
        piece = s.owners == k + 1
        assert (drawn & ~piece).sum() <= 0.25 * piece.sum() + 60  # within a sub-pixel of the mask ...
        assert (drawn & piece).sum() >= 0.5 * piece.sum()  # ... of the largest of its pieces
    assert not (s.masks.sum(axis=0) > 2).any()


def test_surfaces_name_every_pixel_and_agree_with_the_masks():
    names, seen = airfield.SURFACES, set()
    for index in range(12):
        s = airfield.scene(seed=1, index=index, image_size=160, metres_per_pixel=0.6)
        assert s.surfaces.shape == (160, 160) and s.surfaces.dtype == np.uint8
        aircraft = s.surfaces == names.index("aircraft")
        one = s.masks.sum(axis=0) > 0
        assert not (one & ~aircraft).any() and (aircraft & ~one).mean() < 0.002  # two aircraft may share a pixel
        seen |= {names[k] for k in np.unique(s.surfaces)}
    assert seen == set(names)


def test_a_later_block_covers_an_earlier_one_and_the_pavement():
    frame = ground.Frame.make(64, 1.0, 0.0)
    land = ground.draw(np.random.default_rng(0), frame)
    square = np.array([(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0)])
    blocks = [
        clutter.Block([(square, (0, 0, 0))], [square], 3.0, "building"),
        clutter.Block([(square[:3], (0, 0, 0))], [square[:3]], 3.0, "tree"),
    ]
    found = sys.modules["vil_lite.data.airfield.scene"]._surfaces(land, blocks)  # the package's `scene` is the function
    where = {name: found == airfield.SURFACES.index(name) for name in airfield.SURFACES}
    assert where["building"][25, 12] and where["tree"][15, 25] and not where["building"][15, 25]
    assert where["building"].sum() + where["tree"].sum() == 400
    assert not (where["runway"] & (land.paved < ground.FINE // 2)).any() and not where["aircraft"].any()


@pytest.mark.parametrize("kind", ["obb", "segment"])
def test_label_files_hold_turned_boxes_and_outlines(tmp_path, kind):
    airfield.build(tmp_path / "set", labels=kind, **SMALL)
    for split, count in (("train", 6), ("val", 2)):
        for index in range(count):
            s = airfield.scene(index=index, image_size=64, split=split)
            lines = (tmp_path / "set" / "labels" / split / f"{index:06d}.txt").read_text().splitlines()
            shapes_there = s.obb if kind == "obb" else s.polygons
            assert len(lines) == len(s.labels)
            for line, label, shape in zip(lines, s.labels, shapes_there):
                numbers = np.array(line.split(), dtype=float)
                assert numbers[0] == label and 0 <= numbers[1:].min() and numbers[1:].max() <= 1
                assert np.allclose(numbers[1:].reshape(-1, 2) * 64, shape.clip(0, 64), atol=1e-4)


def test_ultralytics_reads_the_set_with_each_kind_of_label(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("YOLO_AUTOINSTALL", "0")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    two = ["f16", "c5"]
    for kind in ("detect", "obb", "segment"):
        built = airfield.build(tmp_path / kind, labels=kind, classes=two, **SMALL)
        data = check_det_dataset(str(built), autodownload=False)
        assert data["nc"] == 2 and list(data["names"].values()) == two
        labels = YOLODataset(data["train"], imgsz=64, augment=False, data=data, task=kind).get_labels()
        assert len(labels) == 6
        for index, found in enumerate(labels):
            s = airfield.scene(index=index, image_size=64, classes=two)
            assert found["cls"].ravel().tolist() == s.labels.tolist()
            assert len(found["segments"]) == (kind != "detect") * len(s.labels)


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


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_damaged_file_is_found_and_made_again(tmp_path, kind):
    """Any bit flipped anywhere, a cut end, an empty file: the next build mends that scene and touches no other."""
    arguments = {"train": 1, "val": 1, "image_size": 64, "progress": False}
    airfield.build(tmp_path, **arguments)
    wanted = contents(tmp_path)
    (path,) = (tmp_path / kind / "train").iterdir()
    other = tmp_path / kind / "val" / path.name
    kept = other.stat().st_mtime_ns
    whole = path.read_bytes()
    spoilt = [b"", whole[:-1], whole[: len(whole) // 2]]
    for position in range(0, len(whole), max(1, len(whole) // 12)):
        spoilt.append(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    for content in spoilt:
        path.write_bytes(content)
        (tmp_path / "labels" / "train.cache").write_bytes(b"what ultralytics read from the damaged file")
        airfield.build(tmp_path, **arguments)
        assert contents(tmp_path) == wanted
        assert not (tmp_path / "labels" / "train.cache").exists()
    path.unlink()
    airfield.build(tmp_path, **arguments)
    assert contents(tmp_path) == wanted and other.stat().st_mtime_ns == kept


MANY = "airfield.build({root!r}, train=40, val=1, image_size=64, progress=False, workers=2)"  # the fewest that two draw


def test_workers_need_no_main_guard_and_end_with_the_build(tmp_path):
    """A plain script without `if __name__ == "__main__"` starts workers; kill it, and they end by themselves."""
    script = tmp_path / "script.py"
    script.write_text(
        "import torch; torch.ones(300, 300) @ torch.ones(300, 300)  # threads are running\n"
        f"from vil_lite.data import airfield\n{MANY.format(root=str(tmp_path / 'set'))}\n"
    )
    process = subprocess.Popen([sys.executable, script])
    workers, deadline = [], time.time() + 600
    while len(workers) < 2 or not any((tmp_path / "set" / "images").rglob("*.png")):
        assert process.poll() is None and time.time() < deadline, "the build ended before it could be looked at"
        workers = psutil.Process(process.pid).children()
        time.sleep(0.01)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    subprocess.run([sys.executable, script], check=True)
    assert len(contents(tmp_path / "set")) == 2 * 41
    s = airfield.scene(index=39, image_size=64)
    ((path, rows),) = airfield.boxes_of(tmp_path / "set")[-1:]
    assert path.stem == "000039" and rows[:, 0].tolist() == s.labels.tolist()


def test_an_error_in_a_worker_is_shown(tmp_path, monkeypatch):
    build_module = sys.modules[airfield.build.__module__]
    monkeypatch.setattr(build_module.sys, "executable", str(broken(tmp_path)))
    with pytest.raises(RuntimeError, match="(?s)a worker stopped at train image .*call build again.*no room left"):
        airfield.build(tmp_path / "set", train=90, val=2, image_size=64, progress=False, workers=2)


def broken(folder):
    """A program that stands for a Python whose drawing fails."""
    path = folder / "python"
    path.write_text("#!/bin/sh\nread line\necho 'no room left' >&2\nexit 1\n")
    path.chmod(0o755)
    return path


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
        ({"workers": 0}, "workers must be a whole number"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        airfield.build(tmp_path / "set", **{**SMALL, **change})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("kind", ["obb", "segment"])
def test_preview_draws_what_the_labels_say(tmp_path, kind):
    figure = airfield.preview(airfield.build(tmp_path / "set", labels=kind, **SMALL), n=1)
    s = airfield.scene(image_size=64)
    assert len(airfield.preview([s]).axes[0].patches) == len(s.boxes)  # scenes, too, with their boxes
    drawn = [patch.get_xy()[:-1] + 0.5 for patch in figure.axes[0].patches]
    for shape, wanted in zip(drawn, s.obb if kind == "obb" else s.polygons, strict=True):
        assert np.allclose(shape, wanted.clip(0, 64), atol=1e-4)


def test_silhouettes_names_every_aircraft():
    words = {text.get_text() for text in airfield.silhouettes().axes[0].texts}
    assert words >= set(airfield.CLASSES) and {"UH-60", "CH-47", "E-2C", "50 m"} <= words
    with pytest.raises(ValueError, match="f-16"):
        airfield.silhouettes(classes=["f-16"])


def test_the_data_card_tells_every_option_that_changes_what_is_drawn_or_written():
    card = (TABLE.parents[1] / "appendix" / "airfield.ipynb").read_text(encoding="utf-8")
    options = set(inspect.signature(airfield.build).parameters) - {"root", "workers", "progress"}
    assert not {name for name in options if f"{name}=" not in card and f"`{name}`" not in card}
