"""`python -m vil_lite` on real folders: what was trained is used, and whatever goes wrong costs no work and says its name."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnxruntime
import pytest
import torch
from _disks import read_only
from PIL import Image

import vil_lite
from vil_lite.__main__ import main, reason, start_model, training_options
from vil_lite.checkpoints import read_state_dict
from vil_lite.pictures import BadImage, Photographs
from vil_lite.recipes import preprocess
from vil_lite.training import fit, read_log

COLOURS = ("red", "green", "blue")


def photographs(folder):
    """12 training and 6 validation pictures in three colours."""
    for part, count in (("train", 4), ("val", 2)):
        for colour in COLOURS:
            (folder / part / colour).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40 + i, 36), colour).save(folder / part / colour / f"{i}.png")
    return folder


def command(data, out, *more, epochs=2):
    sizes = ["--epochs", str(epochs), "--batch-size", "4", "--image-size", "32", "--workers", "0"]
    return [str(data), "--out", str(out), *sizes, *more]


def fails(arguments, capsys):
    """What the command says when it ends with an error: no traceback."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code not in (0, None)
    return capsys.readouterr().err + (ended.value.code if isinstance(ended.value.code, str) else "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(data, out) of two epochs."""
    data, out = photographs(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("runs") / "run"
    main(command(data, out, "--lr", "1e-3"))
    return data, out


def test_what_is_trained_is_used(run, tmp_path, capsys):
    data, out = run
    assert [row["step"] for row in read_log(out / "log.csv")] == [3, 6]
    classifier = vil_lite.load(out / "checkpoint.pt")
    assert (classifier.classes, classifier.image_size) == (sorted(COLOURS), 32)

    files = sorted((data / "val").rglob("*.png"))
    bad = tmp_path / "bad.jpg"
    bad.touch()
    said = fails(
        ["predict", *map(str, (out / "checkpoint.pt", data / "val", bad, "--csv", tmp_path / "table.csv"))], capsys
    )
    assert "skipped: " in said and "bad.jpg: cannot be read (the file is empty)" in said and "1 of 7 images" in said
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(file) for file in files]
    for row, found in zip(rows, classifier.predict(files), strict=True):
        assert [row[f"class_{n}"] for n in (1, 2, 3)] == [name for name, _ in found]
        assert float(row["probability_1"]) == pytest.approx(found[0][1], abs=1e-5)
        assert sum(share for _, share in found) == pytest.approx(1)
    right = [row["class_1"] == Path(row["file"]).parent.name for row in rows]
    assert sum(right) / len(right) == read_log(out / "log.csv")[-1]["test_accuracy"]

    checkpoint = str(out / "checkpoint.pt")
    for into_a_folder in (
        ["predict", checkpoint, str(data), "--csv", str(tmp_path)],
        ["export", checkpoint, str(tmp_path)],
    ):
        assert f"{tmp_path} is a folder; name a file in it" in fails(into_a_folder, capsys)
    bad.unlink()
    bad.symlink_to("nowhere")
    twice = [files[0], bad, files[1], files[0]]
    said = fails(["predict", checkpoint, *map(str, twice), "--csv", str(tmp_path / "twice.csv")], capsys)
    assert "skipped: " in said and "1 of 4 images" in said
    with open(tmp_path / "twice.csv", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [str(files[0]), str(files[1]), str(files[0])]
    main(["predict", checkpoint, str(files[0]), "--top", "1"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"{files[0]}  {rows[0]['class_1']} ") and "," not in shown


def test_a_checkpoint_says_what_it_is(run, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint of vil_lite's training.*vil_lite\.load"):
        read_state_dict(run[1] / "checkpoint.pt")
    weights = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match="is a state dict"):
        vil_lite.load(weights)
    weights.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="damaged"):
        vil_lite.load(weights)
    for nothing in (run[1], tmp_path / "gone.pt"):
        with pytest.raises(
            OSError, match=f"{nothing.name}: (Is a|No such).*; pass the checkpoint.pt in the --out folder"
        ):
            vil_lite.load(nothing)
    saved = torch.load(run[1] / "checkpoint.pt", weights_only=True)
    torch.save({**saved, "about": {}}, weights)
    with pytest.raises(ValueError, match="build the model yourself"):
        vil_lite.load(weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_predictions_of_a_model_in_another_precision(run, dtype):
    classifier, files = vil_lite.load(run[1] / "checkpoint.pt"), sorted((run[0] / "val").rglob("*.png"))
    wanted = classifier.predict(files)
    classifier.model.to(dtype)
    for one, other in zip(classifier.predict(files), wanted, strict=True):
        assert dict(one) == pytest.approx(dict(other), abs=0.02)
        assert sum(share for _, share in one) == pytest.approx(1)


def test_what_is_exported_is_float32_in_evaluation_and_a_copy(run):
    classifier, images = vil_lite.load(run[1] / "checkpoint.pt"), torch.rand(2, 3, 32, 32)
    wanted = classifier._portable()(images)
    classifier.model.bfloat16().train()
    exported = classifier._portable()
    torch.testing.assert_close(exported(images), wanted, rtol=0.05, atol=0.02)
    assert not any(part.training for part in exported.modules())
    assert all(part.training for part in classifier.model.modules())  # the model itself stays as it was
    assert {p.dtype for p in classifier.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("options", [{"dim": 16, "depth": 1, "image_size": 32}, {"depth": 1, "image_size": 224}])
def test_onnx_agrees(tmp_path, capsys, options):
    """A small model, and a block of ViL-T as wide as published, which takes another way through the chunks."""
    torch.manual_seed(0)
    about = {
        "model": "vil_tiny",
        "classes": list("äbc"),
        "image_size": (size := options["image_size"]),
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.4],
    }
    about["options"] = {"num_classes": 3, **options}  # one block: to export takes long
    model = vil_lite.create_model("vil_tiny", **about["options"]).eval()
    torch.nn.init.normal_(model.head.weight)
    checkpoint = {"model": model.state_dict(), "about": about, "optimizer": {}, "settings": {}}
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    main(["export", str(tmp_path / "checkpoint.pt"), str(tmp_path / "new" / "model.onnx")])
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'new' / 'model.onnx'}\n")
    session = onnxruntime.InferenceSession(tmp_path / "new" / "model.onnx")
    told = session.get_modelmeta().custom_metadata_map
    assert (told["image_size"], json.loads(told["classes"])) == (str(size), list("äbc"))
    for count in (1, 5):  # another number of images than it was made with
        images = torch.rand(count, 3, size, size)
        mean, std = (torch.tensor(about[name])[:, None, None] for name in ("mean", "std"))
        with torch.no_grad():
            wanted = model((images - mean) / std)
        logits = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


BAD = {
    ("--lr", "0"): "lr must be greater than 0; got 0.0",
    ("--batch-size", "0"): "batch_size must be a whole number from 1; got 0",
    ("--batch-size", "13"): "batch_size = 13 is more than the 12 images of train",
    ("--model", "vil_tny"): "no model 'vil_tny' (did you mean 'vil_tiny'?); there are vil_tiny",
    ("--model", "deit3_tiny", "--pretrained"): "pretrained weights are published for Vision-LSTM alone",
    ("--layer-decay", "2"): "layer_decay must be above 0",
    ("--freeze", "3"): "freeze must be from 0 (off) to epochs = 2",
    ("--image-size", "30"): "an image of 30 x 30 pixels does not divide into patches of 16",
    ("--image-size", "0"): "--image-size must be at least 1, got 0",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_a_bad_argument_is_refused(run, tmp_path, capsys, arguments):
    said = fails(command(run[0], tmp_path / "out", *arguments), capsys)
    assert BAD[arguments] in said and "Traceback" not in said
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_run_is_not_mixed_with_another(run, tmp_path, capsys):
    data, out = run
    before = (out / "checkpoint.pt").read_bytes()
    assert "go on with --resume, or choose another --out" in fails(command(data, out), capsys)
    said = fails(command(data, out, "--lr", "1e-3", "--resume", "--model", "vil2_tiny"), capsys)
    assert "model was 'vil_tiny', now 'vil2_tiny'" in said
    renamed = photographs(tmp_path / "data")
    for part in ("train", "val"):
        (renamed / part / "red").rename(renamed / part / "rot")
    said = fails(command(renamed, out, "--lr", "1e-3", "--resume"), capsys)
    assert "classes was ['blue', 'green', 'red'], now ['blue', 'green', 'rot']" in said
    assert (out / "checkpoint.pt").read_bytes() == before


def test_folders_that_cannot_be_are_named(tmp_path, capsys):
    data = photographs(tmp_path / "data")
    assert "train is missing" in fails([str(tmp_path)], capsys)
    (data / "val" / "red").rename(data / "val" / "rot")
    assert "['red', 'rot'] are in only one of train and val" in fails(command(data, tmp_path / "out"), capsys)
    one = photographs(tmp_path / "one")
    for part in ("train", "val"):
        for colour in COLOURS[1:]:
            (one / part / colour).rename(one / f"{part}-{colour}")
    assert "one class only" in fails(command(one, tmp_path / "out"), capsys)


def test_a_bad_picture_is_named_before_the_first_step_or_left_out(tmp_path, capsys):
    data, out = photographs(tmp_path / "data"), tmp_path / "out"
    spoiled = [data / "train" / "red" / "1.png", data / "val" / "blue" / "0.png"]
    for path in spoiled:
        path.write_bytes(path.read_bytes()[:60])
    (data / "val" / "red" / "._0.png").write_bytes(b"\0\5\26\7")  # as macOS leaves them: no picture
    said = fails(command(data, out), capsys)
    assert f"{spoiled[0]}: cannot be read" in said and not (out / "checkpoint.pt").exists()
    main(command(data, out, "--skip-bad", epochs=1))
    told = capsys.readouterr()
    assert all(told.err.count(f"skipped: {path}") == 1 for path in spoiled)
    assert "epoch 1/1: train loss " in told.out and "after 1 epochs accuracy" in told.out


def test_a_picture_that_goes_bad_in_a_process_that_loads_data_is_named(tmp_path):
    data = photographs(tmp_path / "data")
    spoiled = data / "train" / "red" / "1.png"
    spoiled.write_bytes(spoiled.read_bytes()[:60])
    model = vil_lite.create_model("vil_tiny", dim=16, depth=1, num_classes=3, image_size=32)
    pictures = Photographs(data / "train", preprocess(32))
    with pytest.raises(BadImage) as caught:
        fit(model, pictures, epochs=1, batch_size=4, workers=1, progress=False)
    assert reason(caught.value).startswith(f"{spoiled}: cannot be read (") and "--skip-bad --resume" in reason(
        caught.value
    )


def test_a_place_that_takes_nothing_is_named_before_training(run, tmp_path, capsys):
    (tmp_path / "fixed").mkdir()
    with read_only(tmp_path / "fixed") as fixed:
        said = fails(command(run[0], fixed / "out"), capsys)
    assert "choose another place" in said and "fixed/out" in said


def test_a_file_is_no_place_for_a_run(run, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert f"is a file; choose a folder: '{tmp_path / 'out'}'" in fails(command(run[0], tmp_path / "out"), capsys)


def test_one_process_a_folder(run, tmp_path, capsys):
    code = "import sys, time\nfrom _files import claim\nwith claim(sys.argv[1]):\n print(flush=True)\n time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(Path(vil_lite.__file__).parent)}
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path / "out"], stdout=subprocess.PIPE, env=environment)
    with other:
        other.stdout.readline()
        said = fails(command(run[0], tmp_path / "out"), capsys)
        other.kill()
    assert f"in use by process {other.pid}" in said
    assert os.listdir(tmp_path / "out") == [".held-by"]


def test_interrupted_it_says_how_to_go_on(run, tmp_path, capsys):
    """Ctrl-C in a terminal reaches the process and those that load its data."""
    arguments = command(run[0], tmp_path / "out", "--workers", "1", epochs=2000)
    started = subprocess.Popen(
        [sys.executable, "-m", "vil_lite", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where the tests run in the background
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(vil_lite.__file__).parents[1])},
    )
    try:
        assert started.stdout.readline().startswith("epoch 1/2000: train loss")
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == 130 and "Traceback" not in said
    first, second = said.strip().splitlines()[-2:]
    step = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"]
    assert first == f"stopped after step {step} of 6000; saved in {tmp_path / 'out' / 'checkpoint.pt'}"
    assert second == f"go on: python -m vil_lite {shlex.join(arguments)} --resume"


def test_save_every_keeps_steps_within_an_epoch(tmp_path):
    """Killed in its first epoch of 300 steps, the run has lost at most the steps since the last one that it saved."""
    data, out = photographs(tmp_path / "data"), tmp_path / "out"
    for colour in COLOURS:
        for i in range(4, 100):
            Image.new("RGB", (32, 32), colour).save(data / "train" / colour / f"{i}.png")
    arguments = [*command(data, out, "--save-every", "2"), "--batch-size", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(vil_lite.__file__).parents[1])}
    started = subprocess.Popen(
        [sys.executable, "-m", "vil_lite", *arguments], env=environment, stderr=subprocess.DEVNULL
    )
    with started:
        while not (out / "checkpoint.pt").exists() and started.poll() is None:
            time.sleep(0.01)
        started.kill()
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 0 < saved["step"] < 300 and saved["step"] % 2 == 0 and not saved["log"]


def test_fine_tuning_starts_from_published_weights_and_may_move_the_head_alone(run, tmp_path, monkeypatch):
    """From a mirror, as a classroom has it."""
    torch.manual_seed(1)
    published = vil_lite.create_model("vil2_tiny", image_size=64).state_dict()
    (tmp_path / "mirror").mkdir()
    torch.save({"state_dict": published}, tmp_path / "mirror" / "vil2_tiny16_e800_in1k.th")
    monkeypatch.setenv("VIL_LITE_CHECKPOINTS", (tmp_path / "mirror").as_uri())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    more = ("--model", "vil2_tiny", "--pretrained", "--layer-decay", "0.65", "--freeze", "1", "--lr", "1e-3")
    main(command(run[0], tmp_path / "out", *more, epochs=1))
    saved = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    # As a script for a cluster calls it, which always goes on: there is nothing to go on from, or there is.
    for place, begins in (("new", True), ("out", False)):
        options = training_options().parse_args(command(run[0], tmp_path / place, *more, "--resume"))
        fresh = start_model(options, saved["about"]).state_dict()
        name = "encoder.blocks.0.layer.proj_up.weight"
        assert torch.equal(fresh[name], published[name]) == begins
    for name, value in saved["model"].items():
        if name == "pos_embed.embed":
            assert value.shape == (1, 2, 2, 192)  # resized
        elif name.startswith("head."):
            assert len(value) == 3
        elif not name.startswith("pooled_norm."):
            assert torch.equal(value, published[name]), name
