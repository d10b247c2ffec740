"""No network attempt, whenever one asks for that; and the command line."""

import json
import subprocess
import sys

import pytest
import yaml
from ultralytics.utils import SETTINGS

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
print(utils.SETTINGS["datasets_dir"])

import runpy, sys
sys.argv = ["vil_lite.yolo", "train", "model=yolov8n-vill"]
try:
    runpy.run_module("vil_lite.yolo", run_name="__main__", alter_sys=True)  # as `python -m` does
except SystemExit as error:
    print(error.code)
"""

AFTER = """
import ultralytics.utils
assert attempts                      # ultralytics looked whether there is a network: it was not asked not to
ultralytics.utils.ONLINE = True      # here there is none; on most machines there is

import torch
from ultralytics import YOLO

def plain():
    torch.manual_seed(0)
    model = YOLO("yolov8n.yaml").model.eval()
    with torch.no_grad():
        return [(m.i, m.f, m.type, m.np) for m in model.model], model(torch.linspace(0, 1, 3 * 64 * 96).view(1, 3, 64, 96))[0]

rows, y = plain()
torch.manual_seed(0)
number = torch.rand(1)
torch.manual_seed(0)
attempts.clear()
import vil_lite.yolo
assert torch.equal(torch.rand(1), number), "the import drew random numbers"
for name in ("yolov8n-vil", "yolov8s-vil-p5"):
    YOLO(vil_lite.yolo.model_yaml(name))
rows_after, y_after = plain()
assert rows_after == rows and torch.equal(y, y_after)
assert not attempts, attempts
print("unchanged")

try:
    vil_lite.yolo.offline()
except RuntimeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def before(fresh, tmp_path_factory):
    """What a process printed that asked for no network, imported this package and then called its command line."""
    folder = tmp_path_factory.mktemp("before")
    settings = folder / ".config/Ultralytics/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({**SETTINGS, "datasets_dir": str(folder / "mine")}))
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config"), "YOLO_CONFIG_DIR": ""}
    return fresh(BEFORE, VIL_LITE_CACHE=str(folder), **home)


def test_offline_before_ultralytics(before):
    """Without YOLO_CONFIG_DIR, as most people have it: their settings of ultralytics count."""
    quiet, datasets = before.splitlines()[:2]
    assert quiet == "quiet" and datasets.endswith("/mine")


@pytest.fixture(scope="module")
def after(fresh, tmp_path_factory):
    """What a process printed that imported ultralytics first, with its network, and then this package."""
    return fresh(AFTER, YOLO_OFFLINE="0", YOLO_CONFIG_DIR=str(tmp_path_factory.mktemp("config")))


def test_offline_after_ultralytics(after):
    """Too late: nothing is rewritten in ultralytics' modules, and the error says what to do before."""
    assert "set os.environ['YOLO_OFFLINE'] = '1' before" in after


def test_plain_yolov8_is_the_same_before_and_after(after):
    assert "unchanged" in after


def test_names_are_resolved_on_the_command_line(tmp_path):
    path = model_yaml("yolov8s-vil-p5")
    assert resolve(["val", "model=yolov8s-vil-p5", "imgsz=64"]) == ["val", f"model={path}", "imgsz=64"]
    assert resolve(["val", "model", "=", "yolov8s-vil-p5.yaml"]) == ["val", f"model={path}"]
    for untouched in (
        ["val", "model=runs/best.pt"],
        ["val", "model=yolov8n.yaml"],
        ["val", "model=my/yolov8n-vil.yaml"],
    ):
        assert resolve(untouched) == untouched
    with pytest.raises(ValueError, match="did you mean 'yolov8n-vil'"):
        resolve(["val", "model=yolov8n-vill"])


@pytest.mark.parametrize("task", ["segment", "classify", "task=obb"])
def test_the_task_picks_the_head(task):
    wanted = model_yaml("yolo11n-vil", task=task.removeprefix("task="))
    assert resolve([task, "val", "model=yolo11n-vil"]) == [task, "val", f"model={wanted}"]


def test_a_training_gets_the_settings_unless_it_says_otherwise(tmp_path):
    added = set(resolve(["train", "model=yolov8n.yaml", "lr0=0.01", "batch=8", "device=cpu"]))
    assert {
        "nbs=8",
        "optimizer=AdamW",
        "warmup_bias_lr=0.0",
        "amp=False",
        "lr0=0.01",
    } <= added and "lr0=0.002" not in added
    assert resolve(["train", "resume=True", "model=last.pt"]) == ["train", "resume=True", "model=last.pt"]
    (tmp_path / "mine.yaml").write_text("optimizer: SGD\nnbs: 32\n")
    with_file = resolve(["train", "model=yolov8n.yaml", f"cfg={tmp_path / 'mine.yaml'}"])
    assert "amp=False" in with_file and not any(a.startswith(("optimizer", "nbs")) for a in with_file)


def test_task_mode_and_model_of_a_cfg_file_count(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("task: segment\nmode: train\nmodel: yolov8n-vil\nbatch: 4\n")
    wanted = f"model={model_yaml('yolov8n-vil', task='segment')}"
    arguments = resolve([f"cfg={file}"])
    assert arguments[:2] == [f"cfg={file}", wanted] and "nbs=4" in arguments
    assert resolve([f"cfg={file}", "model=yolov8n-vil", "val"]) == [f"cfg={file}", wanted, "val"]
    assert resolve([f"cfg={file}", "detect", "val"])[-1] == f"model={model_yaml('yolov8n-vil')}"
    assert resolve([f"cfg={file}", "val", "model=yolov8n.yaml"]) == [f"cfg={file}", "val", "model=yolov8n.yaml"]


def test_an_exported_folder_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-vil_openvino_model").mkdir()
    arguments = ["predict", "model=my-vil_openvino_model", "source=x"]
    assert resolve(arguments) == arguments


def test_the_command_line_trains(toy_data, tmp_path):
    where = [f"data={toy_data}", f"project={tmp_path}", "name=cli", "imgsz=64", "batch=8", "plots=False"]
    command = [sys.executable, "-m", "vil_lite.yolo", "train", "model=yolov8n-vil", "epochs=1", *where]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert (tmp_path / "cli/weights/best.pt").exists()
    assert "vil_lite.yolo.block.C2fViL" in said
    assert "These weights need vil-lite: pip install" in said and "YOLO_AUTOINSTALL=0" in said
    used = yaml.safe_load((tmp_path / "cli/args.yaml").read_text())
    wanted = {"optimizer": "AdamW", "nbs": 8, "amp": False, "warmup_bias_lr": 0.0, "lr0": 0.002, "workers": 0}
    assert {key: used[key] for key in wanted} == wanted


def test_the_command_line_explains_a_wrong_name(before):
    """Text that Python prints to stderr as it exits with status 1."""
    assert "did you mean 'yolov8n-vil'" in before.splitlines()[-1]
