"""One budget for all, finished runs kept, killed runs resumed, statistics that agree with ultralytics' own."""

import contextlib
import csv
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from test_models import parsed
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import ap_per_class

from vil_lite._files import claim
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
        (
            ["models=yolov8n", "data=d.yaml", "folder=f", "epochs=3", "seeds=0,1,"],
            "seeds: '0,1,' are not whole numbers",
        ),
        (["models=yolov8n,", "data=d.yaml", "folder=f", "epochs=3"], "models: 'yolov8n,' are not names"),
        (["models=yolov8n", "data=d.yaml", "folder=f", "epochs=3", "seed=5"], "seed differ from run to run"),
        (["models=yolov8n", "data=d.yaml", "folder=f", "epochs=3", "lrr0=0.1"], "'lrr0' is not a valid YOLO argument"),
        (["models=yolov8n", "data=d.yaml", "folder=f", "epochs=3", "resamples=1"], "resamples: .* at least 2"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        comparing.main(arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": "yolov8n"}, r"models: 'yolov8n' is no list; write \['yolov8n'\]"),
        ({"seeds": 3}, r"seeds: 3 is no list; write \[3\]"),
        ({"project": "mine", "name": "run"}, "arguments: name, project differ from run to run"),
        ({"own": {"yolov8n": {"save_dir": "x"}}}, "own of yolov8n: save_dir differ"),
        ({"own": {"yolov8n": {"epoch": 3}}}, "own of yolov8n: 'epoch' is not a valid YOLO argument"),
        ({"lr0": "fast"}, "arguments: 'lr0=fast' is of invalid type"),
    ],
)
def test_wrong_arguments_are_named_before_anything_starts(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        comparing.compare(**{"models": ["yolov8n"], "data": "d.yaml", "folder": tmp_path / "x", "epochs": 3, **changes})
    assert not (tmp_path / "x").exists()


@pytest.fixture
def started(monkeypatch):
    """`compare` that only notes which runs it would start, with what data: [(model, seed, data), ...]."""
    runs = []
    monkeypatch.setattr(comparing, "_start", lambda folder, name, seed, data, threads: runs.append((name, seed, data)))
    monkeypatch.setattr(comparing, "summarise", lambda *_: {})
    return runs


def test_a_yaml_file_is_known_by_its_content(tiny, toy_data, tmp_path, started):
    paths = [tmp_path / place / "m.yaml" for place in "ab"]
    for path, yaml in zip(paths, tiny, strict=True):
        path.parent.mkdir()
        path.write_text(Path(yaml).read_text())
    folder = tmp_path / "x"
    with pytest.raises(ValueError, match="nothing twice .a YAML file counts by its name"):
        comparing.compare(paths, toy_data, folder, 3)
    comparing.compare(paths[1:], toy_data, folder, 3, seeds=[0])
    comparing.compare(paths[:1], toy_data, folder, 3, seeds=[0])  # nothing was trained yet
    (folder / "m-seed0.json").write_text("{}")
    paths[0].write_text("# a remark changes nothing\n" + paths[0].read_text())
    comparing.compare(paths[:1], toy_data, folder, 3, seeds=[0, 1])
    assert started == [(str(paths[k]), seed, str(toy_data)) for k, seed in ((1, 0), (0, 0), (0, 1))]
    for path in paths:
        path.write_text(Path(tiny[1]).read_text())
        with pytest.raises(ValueError, match="the YAML file of m has changed"):
            comparing.compare([path], toy_data, folder, 3, seeds=[0, 1])
    with pytest.raises(ValueError, match="the YAML file of .*m.yaml was changed while"):
        comparing.run(folder, str(paths[0]), 1, str(toy_data))
    plan = json.loads((folder / "plan.json").read_text())
    del plan["yamls"]  # as it was written before files were noted
    (folder / "plan.json").write_text(json.dumps(plan))
    comparing.compare(paths[:1], toy_data, folder, 3, seeds=[0])


def test_a_plan_is_what_json_says_and_holds_once_a_run_has_an_epoch(toy_data, tmp_path, started):
    def again(**settings):
        comparing.compare(["yolov8n"], toy_data, tmp_path, 3, seeds=[0], **settings)

    again(lr0=0.1, own={"yolov8n": {"lrf": 0.5}})
    again(classes=(0, 1), pretrained=Path("x.pt"))  # nothing was trained yet: another budget, and nothing of its own
    assert "own" not in json.loads((tmp_path / "plan.json").read_text())
    last = tmp_path / "runs/yolov8n-seed0/weights/last.pt"
    last.parent.mkdir(parents=True)
    last.touch()
    again(classes=(0, 1), pretrained=Path("x.pt"))
    with pytest.raises(
        ValueError, match=r"settings: \{'classes': \[0, 1\], 'pretrained': 'x.pt'\} there, \{\} asked for"
    ):
        again()
    with pytest.raises(ValueError, match="settings: .*are kept as JSON"):
        again(augmentations=[object()])


def test_one_process_at_a_run_and_no_other_plan_meanwhile(toy_data, tmp_path, started):
    comparing.compare(["yolov8n", "yolov8s"], toy_data, tmp_path, 3)
    (tmp_path / "runs/yolov8s-seed0").mkdir(parents=True)
    with claim(tmp_path / "runs/yolov8n-seed0"), ThreadPoolExecutor(1) as other:
        with pytest.raises(BlockingIOError, match="yolov8n-seed0"):
            other.submit(comparing.run, tmp_path, "yolov8n", 0, str(toy_data)).result()
        with pytest.raises(BlockingIOError, match="yolov8n-seed0"):
            other.submit(comparing.compare, ["yolov8s"], toy_data, tmp_path, 9).result()
        own = {"yolov8s": {"lr0": 1e-3}}
        other.submit(comparing.compare, ["yolov8s"], toy_data, tmp_path, 3, own=own).result()
    assert json.loads((tmp_path / "plan.json").read_text())["own"] == own


def test_data_may_be_a_name_that_ultralytics_finds(toy_data, tmp_path, started, monkeypatch):
    monkeypatch.setattr("ultralytics.data.utils.DATASETS_DIR", tmp_path)
    for split in ("train", "val"):  # what coco8.yaml says
        for kind in ("images", "labels"):
            shutil.copytree(toy_data.parent / kind / split, tmp_path / "coco8" / kind / split)
    monkeypatch.chdir(toy_data.parent)
    for data in ("coco8.yaml", "coco8", "data.yaml"):
        comparing.compare(["yolov8n"], data, tmp_path / data, 3, seeds=[0])
    assert [run[2] for run in started] == ["coco8.yaml", "coco8", str(toy_data)]
    for label in (tmp_path / "coco8/labels/val").iterdir():
        label.write_text("\n")
    with pytest.raises(ValueError, match="no image of val in coco8.yaml has an object"):
        comparing.compare(["yolov8n"], "coco8.yaml", tmp_path / "x", 3)


def saved(small, path, **changes):
    """A checkpoint of the small detector as it starts."""
    model = YOLO(small)
    model.model = DetectionModel(small, verbose=False, **changes)
    model.save(path)
    return path


def test_validation_counts_what_training_counted(small, toy_data, tmp_path):
    (tmp_path / "runs").mkdir()
    last = saved(small, tmp_path / "runs" / "last.pt", nc=1)
    plan = {"data": str(toy_data), "imgsz": 64, "batch": 8}
    for settings, instances in (({"single_cls": True}, 16), ({"single_cls": True, "classes": [1]}, 8)):
        found = comparing._validate(last, {**plan, "settings": settings})
        assert found["classes"][0]["instances"] == instances and len(found["detections"]["target_cls"]) == instances


def test_the_cost_of_other_channels_and_of_a_size_that_was_rounded(small, tmp_path):
    colour, grey = (saved(small, tmp_path / f"{ch}.pt", ch=ch) for ch in (3, 1))
    whole, rounded, cheaper = (comparing._cost(*of)["gflops"] for of in ((colour, 32), (colour, 20), (grey, 32)))
    assert cheaper < rounded == whole


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


@pytest.mark.parametrize(
    "error", [OSError(116, "Stale file handle"), ModuleNotFoundError("timm"), RuntimeError("memory")]
)
def test_a_checkpoint_that_cannot_be_reached_is_not_a_torn_one(tmp_path, monkeypatch, error):
    monkeypatch.setattr("ultralytics.nn.tasks.torch_load", Mock(side_effect=error))
    (tmp_path / "last.pt").touch()
    with pytest.raises(type(error), match=str(error.args[-1])):
        comparing._epochs_of(tmp_path / "last.pt")


def test_a_torn_checkpoint_is_put_aside(compared, tmp_path, monkeypatch):
    shutil.copy(compared[0] / "plan.json", tmp_path)
    weights = tmp_path / "runs/m-seed0/weights"
    weights.mkdir(parents=True)
    (weights / "last.pt").write_bytes(b"PK")
    (weights / "best.pt").write_bytes(b"still good")
    monkeypatch.setattr(comparing, "_train", Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):
        comparing.run(tmp_path, "m", 0, "data.yaml")
    (torn,) = tmp_path.glob("runs/m-seed0/weights-torn-*")
    assert not weights.exists() and sorted(p.name for p in torn.iterdir()) == ["best.pt", "last.pt"]


def test_time_and_memory_are_those_that_the_training_process_noted(compared, tmp_path, toy_data, monkeypatch):
    """On several GPUs ultralytics trains in other processes, which get copies of the callbacks."""

    def elsewhere(plan, place, name, seed, epoch, state, notes):
        notes.write_text(json.dumps({**state, "train_s": 5.0, "memory_mb": 9.0, "resumed_after": [1]}))

    name = "yolov8n-a"
    shutil.copy(compared[0] / "plan.json", tmp_path)
    shutil.copytree(compared[0] / "runs" / f"{name}-seed0", tmp_path / "runs" / f"{name}-seed0")
    monkeypatch.setattr(comparing, "_epochs_of", lambda _: 1)
    monkeypatch.setattr(comparing, "_train", elsewhere)
    comparing.run(tmp_path, name, 0, str(toy_data))
    result = json.loads((tmp_path / f"{name}-seed0.json").read_text())
    assert (result["cost"]["train_s"], result["cost"]["memory_mb"], result["resumed_after"]) == (5.0, 9.0, [1])


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
