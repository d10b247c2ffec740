"""No network attempt, whenever one asks for that; and the command line."""

import subprocess
import sys

import pytest

from vil_lite.yolo.__main__ import resolve
from vil_lite.yolo.models import model_yaml

BEFORE = """
import os
os.environ.update(YOLO_OFFLINE="1")
import vil_lite.yolo
from ultralytics import utils
from ultralytics.utils import checks, events
assert utils.ONLINE is False and utils.AUTOINSTALL is False and events.events.enabled is False
assert checks.check_font("Arial.ttf").exists() and checks.check_font("Arial.Unicode.ttf").exists()
assert not attempts, attempts
print("quiet")
"""

AFTER = """
import ultralytics
from ultralytics import utils
from ultralytics.utils import checks, events
before = len(attempts)                      # ultralytics looked whether there is a network: it was not asked not to
assert before > 0
settings = utils.SETTINGS_FILE.read_text()
import vil_lite.yolo
vil_lite.yolo.offline()
assert not any(getattr(m, "ONLINE", False) for m in (utils, checks, events))
assert not checks.AUTOINSTALL and not events.events.enabled and not utils.SETTINGS["sync"]
assert checks.check_font("Arial.Unicode.ttf").exists()
checks.check_pip_update_available()
assert utils.SETTINGS_FILE.read_text() == settings, "the user's settings file was rewritten"
assert len(attempts) == before, attempts
print("quiet")
"""


def test_offline_before_ultralytics(fresh, tmp_path):
    assert "quiet" in fresh(BEFORE, VIL_LITE_CACHE=str(tmp_path), YOLO_CONFIG_DIR=str(tmp_path))


def test_offline_after_ultralytics(fresh, tmp_path):
    assert "quiet" in fresh(AFTER, YOLO_OFFLINE="0", YOLO_CONFIG_DIR=str(tmp_path))


def test_names_are_resolved_on_the_command_line():
    path = model_yaml("yolov8s-vil-p5")
    assert resolve(["train", "model=yolov8s-vil-p5", "epochs=1"]) == ["train", f"model={path}", "epochs=1"]
    assert resolve(["train", "model", "=", "yolov8s-vil-p5.yaml"]) == ["train", f"model={path}"]
    for untouched in (["val", "model=runs/best.pt"], ["train", "model=yolov8n.yaml"], ["train", "model=my/yolov8n-vil.yaml"]):
        assert resolve(untouched) == untouched
    with pytest.raises(ValueError, match="did you mean 'yolov8n-vil'"):
        resolve(["train", "model=yolov8n-vill"])


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "vil_lite.yolo", *arguments], check=False, capture_output=True, text=True)


def test_the_command_line_trains(toy_data, tmp_path):
    result = command(
        "train", "model=yolov8n-vil", f"data={toy_data}", "epochs=1", "imgsz=64", "batch=8", "workers=0", "amp=False",
        f"project={tmp_path}", "name=cli", "plots=False",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "cli/weights/best.pt").exists()
    assert "vil_lite.yolo.block.C2fViL" in result.stdout + result.stderr


def test_the_command_line_explains_a_wrong_name():
    result = command("train", "model=yolov8n-vill")
    assert result.returncode == 1 and "did you mean 'yolov8n-vil'" in result.stderr and "Traceback" not in result.stderr
