"""Real ultralytics, no network, no trace outside temporary folders."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Before anything imports ultralytics: it reads the environment while it is imported.
_HOME = tempfile.mkdtemp(prefix="vil-yolo-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(YOLO_OFFLINE="1", VIL_LITE_CACHE=_HOME, YOLO_CONFIG_DIR=str(Path(_HOME, "config")))

import numpy as np
import pytest
from PIL import Image, ImageDraw

GUARD = """
import socket
attempts = []
def _refuse(*address, **_):
    attempts.append(address)
    raise OSError(f"a network attempt: {address}")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = _refuse
"""


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """data.yaml of 24 + 8 images of 64 pixels with dark discs (class 0) and bright squares (class 1) on grey noise."""
    root, rng = tmp_path_factory.mktemp("toy"), np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for n in range(count):
            image = Image.fromarray(rng.integers(90, 150, (64, 64, 3), dtype=np.uint8))
            rows = []
            for kind in range(2):
                size = int(rng.integers(14, 22))
                x, y = (int(v) for v in rng.integers(0, 64 - size, 2))
                draw = ImageDraw.Draw(image)
                (draw.ellipse if kind == 0 else draw.rectangle)(
                    (x, y, x + size, y + size), fill=("black", "white")[kind]
                )
                rows.append(f"{kind} {(x + size / 2) / 64} {(y + size / 2) / 64} {size / 64} {size / 64}")
            image.save(root / "images" / split / f"{n}.png")
            (root / "labels" / split / f"{n}.txt").write_text("\n".join(rows))
    path = root / "data.yaml"
    path.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [disc, square]\n")
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The YAML of a small detector, C2fViL in rows 3 and 5, for what does not depend on the size: a third of yolov8n-vil's time."""
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text("""nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 2, C2fViL, [32]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C2fViL, [32]]
head:
  - [[3, 5], 1, Detect, [nc]]
""")
    return str(path)


@pytest.fixture(scope="session")
def trained(small, toy_data, tmp_path_factory):
    """The folder of a short run of the small detector: weights/best.pt, results.csv."""
    from ultralytics import YOLO

    import vil_lite.yolo

    model = YOLO(small)
    project = tmp_path_factory.mktemp("runs")
    settings = vil_lite.yolo.train_settings(batch=8, imgsz=64, epochs=3, seed=0, verbose=False, mosaic=0.0)
    model.train(data=str(toy_data), project=str(project), name="short", **settings)
    return project / "short"


@pytest.fixture(scope="session")
def fresh():
    """Run Python source in a process of its own, with every network attempt recorded and refused; returns its output.

    `python` holds the source; other keywords go into the environment.  Fails the test when the process fails.
    """

    def run(python, *arguments, **environment):
        result = subprocess.run(
            [sys.executable, "-c", GUARD + python, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run
