"""One budget for all, finished runs kept, killed runs resumed, statistics that agree with ultralytics' own."""

import contextlib
import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import parsed
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import ap_per_class

from vil_lite.complexity import parameters
from vil_lite.yolo import __main__ as shell
from vil_lite.yolo import compare as comparing
from vil_lite.yolo.controls import control_names, control_yaml
from vil_lite.yolo.statistics import average_precisions, paired_difference, resampled_maps


def size(yaml):
    return parameters(parsed(yaml))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """YAMLs of two very small detectors, one with ViL; their names do not matter, their files do."""
    folder = tmp_path_factory.mktemp("tiny")
    head = "nc: 2\nscales:\n  n: [0.33, 0.125, 128]\n"
    paths = []
    for name, block in (("yolov8n-a", "C2f, [512, True]"), ("yolov8n-b", "C2fViL, [512, {version: 2}]")):
        path = folder / f"{name}.yaml"
        path.write_text(
            head
            + f"""backbone:
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [-1, 1, {block}]
  - [-1, 1, Conv, [512, 3, 2]]
head:
  - [[3, 4], 1, Detect, [nc]]
"""
        )
        paths.append(str(path))
    return paths


def words(tiny, toy_data, folder, **changes):
    """The arguments of `python -m vil_lite.yolo compare`."""
    values = {
        "models": ",".join(tiny),
        "data": toy_data,
        "epochs": 2,
        "seeds": "0,1",
        "imgsz": 64,
        "batch": 8,
        "threads": 1,
        "resamples": 20,
        "folder": folder,
        "mosaic": 0.0,
        **changes,
    }
    return [f"{key}={value}" for key, value in values.items()]


COMMAND = [
    sys.executable,
    "-m",
    "vil_lite.yolo",
    "compare",
]  # a process of its own, or main here: each takes seconds to start


def in_this_process(folder, name, seed, data, threads):
    """A run where `compare` would start a process: that takes six seconds, and the runs that are killed and fail have theirs."""
    comparing.run(folder, name, seed, data)


@pytest.fixture(scope="module")
def compared(tiny, toy_data, tmp_path_factory):
    """The folder of a comparison that was killed within its first run, and its output after it was called again."""
    folder = tmp_path_factory.mktemp("comparison")
    line = words(tiny, toy_data, folder, epochs=3)
    process = subprocess.Popen([*COMMAND, *line], start_new_session=True)
    last = folder / "runs/yolov8n-a-seed0/weights/last.pt"
    deadline = time.time() + 600
    while not last.exists():
        assert process.poll() is None and time.time() < deadline, "the run ended before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "yolov8n-a-seed0.json").exists()
    start, first = comparing._start, str(tiny[0])
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            comparing, "_start", lambda *run: (start if run[1:3] == (first, 0) else in_this_process)(*run)
        )  # the run that was killed goes on in a process of its own
        comparing.main(line)
    return folder, printed.getvalue(), json.loads((folder / "comparison.json").read_text()), line


def test_a_killed_comparison_goes_on_and_ends_with_everything(compared, tiny):
    folder, printed, result, _ = compared
    assert list(result["models"]) == tiny and result["seeds"] == [0, 1]
    assert len(list(folder.glob("yolov8n-*-seed*.pt"))) == 4
    for model in result["models"].values():
        assert [run["seed"] for run in model["runs"]] == [0, 1]
        for run in model["runs"]:
            assert len(run["curves"]["metrics/mAP50-95(B)"]) == 3 and run["curves"]["epoch"] == [1, 2, 3]
            assert run["cost"]["train_s"] > 0 and run["cost"]["memory_mb"] > 50 and run["cost"]["latency_ms"] > 0
            assert run["device"].endswith("1 threads") and set(run["versions"]) >= {"torch", "ultralytics"}
        mean = np.mean([run["metrics"]["mAP50-95"] for run in model["runs"]])
        assert model["metrics"]["mAP50-95"]["mean"] == pytest.approx(mean)
    first, *others = [run for model in result["models"].values() for run in model["runs"]]
    assert first["resumed_after"] in ([1], [2], []) and all(run["resumed_after"] == [] for run in others)
    assert (
        "mAP50-95" in printed and result["budget"]["threads"] == 1 and result["budget"]["settings"] == {"mosaic": 0.0}
    )
    gap = result["differences_mAP50-95"][tiny[1]]
    assert gap["low"] <= gap["high"] and "epochs=3" in result["command"] and "mosaic=0.0" in result["command"]


def test_the_class_table_has_ultralytics_layout(compared, toy_data):
    _, _, result, _ = compared
    for model in result["models"].values():
        for run in model["runs"]:
            assert list(run["classes"][0]) == [
                "class",
                "images",
                "instances",
                "precision",
                "recall",
                "mAP50",
                "mAP50-95",
            ]
            counts = [(row["class"], row["images"], row["instances"]) for row in run["classes"]]
            assert counts == [("all", 8, 16), ("disc", 8, 8), ("square", 8, 8)]
            every, *rows = run["classes"]
            for key in ("precision", "recall", "mAP50", "mAP50-95"):
                assert every[key] == pytest.approx(np.mean([row[key] for row in rows]))


def test_a_finished_comparison_trains_nothing_again(compared):
    folder, _, before, line = compared
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("yolov8n-*")}
    comparing.main(line)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("yolov8n-*")} == times
    assert json.loads((folder / "comparison.json").read_text())["models"] == before["models"]


def test_another_budget_in_the_same_folder_is_refused(compared, tiny, toy_data, monkeypatch):
    folder, _, _, _ = compared
    with pytest.raises(ValueError, match="epochs: 3 there, 9 asked for"):
        comparing.compare(tiny, toy_data, folder, epochs=9, imgsz=64, batch=8, mosaic=0.0)
    monkeypatch.setattr(sys, "argv", ["vil_lite.yolo", "compare", *words(tiny, toy_data, folder, batch=4)])
    with pytest.raises(SystemExit, match="batch: 8 there, 4 asked for"):
        shell.main()


def test_a_failing_run_shows_why(tiny, toy_data, tmp_path):
    with pytest.raises(RuntimeError, match="(?s)yolov8n-a-seed0 failed.*Adamm"):
        comparing.main(words(tiny[:1], toy_data, tmp_path / "x", optimizer="Adamm"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models=yolov8n", "epochs=3"], "needs data, folder"),
        (["models=yolov8n", "data=d.yaml", "folder=f", "epochs=3", "fast"], "KEY=VALUE"),
        (["models=yolov8n,yolov8n", "data=d.yaml", "folder=f", "epochs=3"], "nothing twice"),
        (["models=yolov8n-val", "data=d.yaml", "folder=f", "epochs=3"], "did you mean 'yolov8n-vil'"),
        (["models=yolov8n.pt", "data=d.yaml", "folder=f", "epochs=3"], "add pretrained=FILE.pt"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        comparing.main(arguments)


def test_bfloat16_and_what_a_model_has_for_itself_are_part_of_the_budget(tiny, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "_start", in_this_process)
    budget = {"epochs": 1, "seeds": [0], "imgsz": 64, "batch": 8, "resamples": 5, "amp": "bf16"}
    own = {tiny[0]: {"lr0": 1e-4, "imgsz": 96}}
    comparing.compare(tiny[:1], toy_data, tmp_path, own=own, **budget)
    assert json.loads((tmp_path / "plan.json").read_text())["settings"]["amp"] == "bf16"
    arguments = (tmp_path / "runs" / "yolov8n-a-seed0" / "args.yaml").read_text()
    assert "amp: false" in arguments  # ultralytics refuses bf16 on a CPU: the cast is ours
    assert "lr0: 0.0001" in arguments and "imgsz: 96" in arguments
    with pytest.raises(ValueError, match=r"own of yolov8n-a: \{.*0.0001.*\} there, \{\} asked for"):
        comparing.compare(tiny[:1], toy_data, tmp_path, **budget)
    with pytest.raises(ValueError, match="own: yolov8n-c not among the models yolov8n-a"):
        comparing.compare(tiny[:1], toy_data, tmp_path, own={"yolov8n-c": {}}, **budget)


def test_two_lists_of_images_are_two_data_sets(toy_data, tmp_path):
    """COCO names its images in text files; one that names no images is refused."""
    root, digests = toy_data.parent, []
    for n, name in enumerate(["a", "b", "none"]):
        images = [f"{root}/images/train/{k}.png" for k in range(n, n + 5 * (name != "none"))]
        (tmp_path / f"{name}.txt").write_text("\n".join(images))
        data = tmp_path / f"{name}.yaml"
        data.write_text(f"path: {tmp_path}\ntrain: {name}.txt\nval: {root}/images/val\nnames: [disc, square]\n")
        if name != "none":
            digests.append(comparing._digest(data))
    assert digests[0] != digests[1]
    with pytest.raises(ValueError, match="names no images for train"):
        comparing._digest(data)


def test_rivals_of_other_families_and_places_are_known():
    assert comparing.yaml_of("yolo11n") == "yolo11n.yaml" and comparing.yaml_of("yolov9t") == "yolov9t.yaml"
    assert comparing.yaml_of("yolo26n-vil").endswith("yolo26n-vil.yaml")
    plan = {"data": "d", "epochs": 1, "imgsz": 64, "batch": 4, "settings": {"device": 0, "pretrained": "w.pt"}}
    chosen = comparing._arguments(plan, Path("runs/a"), 0)
    assert chosen["device"] == 0 and chosen["workers"] == 8 and chosen["pretrained"] == "w.pt"


def test_a_torn_checkpoint_counts_as_none(compared, tmp_path):
    last = compared[0] / "runs/yolov8n-a-seed0/weights/last.pt"
    whole = last.read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    assert comparing._epochs_of(tmp_path / "last.pt") is None
    assert comparing._epochs_of(last) == math.inf


def test_of_an_epoch_written_twice_the_second_counts(tmp_path):
    with (tmp_path / "results.csv").open("w") as lines:
        csv.writer(lines).writerows([["epoch", " loss"], [1, 4.0], [2, 3.0], [2, 2.5], [3, 2.0]])
    assert comparing._curves(tmp_path / "results.csv") == {"epoch": [1, 2, 3], "loss": [4.0, 2.5, 2.0]}


@pytest.mark.parametrize("name", [name for name in control_names() if name[6] in "ns"])
def test_controls_have_the_parameters_of_the_vil_model(name):
    scale = name[6]
    wanted = size(comparing.yaml_of(f"yolov8{scale}-vil"))
    assert size(control_yaml(name)) == pytest.approx(wanted, rel=0.005)
    model = DetectionModel(control_yaml(name), verbose=False).eval()
    kind = {"c2f-equal": "C2f", "attention": "C2fPSA"}[name.split("-", 1)[1]]
    assert [type(model.model[row]).__name__ for row in (4, 6, 8)] == ["C2f", kind, kind]
    with torch.no_grad():
        assert model(torch.rand(1, 3, 64, 96))[0].shape[1] == 84


def invented(rng, images=40, classes=5):
    """Detections and truths with plenty of luck in them."""
    true = rng.integers(0, images, 120)
    count, kinds = 900, rng.integers(0, classes, 120).astype(float)
    quality = rng.random(count)
    return {
        "conf": rng.random(count).round(3),
        "pred_cls": rng.integers(0, classes, count).astype(float),
        "image": rng.integers(0, images, count),
        "tp": quality[:, None] > np.linspace(0.6, 1, 10)[None],
        "target_cls": kinds,
        "target_image": true,
    }


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_ultralytics_also_of_repeated_images(seed):
    rng = np.random.default_rng(seed)
    run = invented(rng)
    run["conf"] = rng.permutation(len(run["conf"])) / 1000  # no ties: their order is anybody's guess
    wanted = ap_per_class(run["tp"], run["conf"], run["pred_cls"], run["target_cls"])[5]
    assert np.allclose(average_precisions(run), wanted, atol=1e-9)

    weights = rng.integers(0, 3, 40)
    seen, true = weights[run["image"]], weights[run["target_image"]]
    repeated = [np.repeat(run[key], seen, axis=0) for key in ("tp", "conf", "pred_cls")]
    wanted = ap_per_class(*repeated, np.repeat(run["target_cls"], true))[5]
    # a repeated detection counts at once here and one after the other there, which moves the envelope by a little
    assert np.allclose(average_precisions(run, weights), wanted, atol=0.02)


def test_intervals_hold_the_truth_and_tell_a_real_difference_from_none():
    rng = np.random.default_rng(0)
    runs = {
        name: [invented(np.random.default_rng(k + shift)) for k in range(3)] for name, shift in (("a", 0), ("b", 10))
    }
    better = [{**run, "tp": run["tp"] | (rng.random(900) < 0.3)[:, None]} for run in runs["a"]]
    maps = resampled_maps({**runs, "better": better}, 40, resamples=60)
    assert maps["a"].shape == (3, 60)
    scores = {name: [average_precisions(run).mean() for run in of] for name, of in {**runs, "better": better}.items()}

    def gap(a, b):
        return paired_difference(maps[a], maps[b], scores[a], scores[b])

    none, real, again = gap("a", "b"), gap("a", "better"), gap("a", "a")
    assert none["low"] < 0 < none["high"] and real["low"] > 0
    assert real["low"] < real["difference"] < real["high"]
    assert again["low"] < 0 < again["high"], "seeds are not paired, so a model differs from itself by chance"
    single = paired_difference(maps["a"][:1], maps["better"][:1], scores["a"][:1], scores["better"][:1])
    assert single["seeds"] is None and single["high"] - single["low"] == pytest.approx(3.9 * single["images"], rel=0.1)


def test_a_draw_of_images_without_objects_is_drawn_again():
    run = invented(np.random.default_rng(0), images=1)
    maps = resampled_maps({"a": [run], "b": [{**run, "tp": run["tp"] * False}]}, images=4, resamples=50)
    assert np.isfinite(maps["a"]).all(), "one image of four has objects: a third of all draws has none"
    assert np.isfinite(list(paired_difference(maps["a"], maps["b"], [0.5], [0.0], spread=(0.1, 2)).values())).all()
    with pytest.raises(ValueError, match="hold no object"):
        resampled_maps({"a": [{**run, "target_image": run["target_image"][:0]}]}, images=4)
    with pytest.raises(ValueError, match="at least 2 resamples"):
        paired_difference(maps["a"][:, :1], maps["b"][:, :1], [0.5], [0.0])
