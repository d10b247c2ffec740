"""Training, and what becomes of the checkpoint in processes that never imported us."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.engine import trainer
from ultralytics.nn.tasks import DetectionModel

from vil_lite.block import ViLLayer
from vil_lite.yolo import C2fViL, load_weights, model_yaml, registration, train_settings
from vil_lite.yolo.training import survives_float16, train_in_bfloat16


class Stop(Exception):
    """Leaves ultralytics' trainer at the point where a callback raises it."""


def stop(trainer):
    raise Stop


FRESH = """
import sys, json, torch
torch.set_num_threads(1)
from pathlib import Path
from ultralytics import YOLO
from ultralytics.engine.exporter import Exporter
run, data, image = sys.argv[1:]
model = YOLO(f"{run}/weights/best.pt")
boxes = model.predict(image, imgsz=64, conf=0.001, verbose=False)[0].boxes.data
torch.save(boxes, f"{run}/fresh.pt")
metrics = model.val(data=data, imgsz=64, batch=8, workers=0, plots=False, verbose=False, project=run, name="val")
print("mAP50", float(metrics.box.map50))
assert not attempts, attempts
Exporter(_callbacks=model.callbacks)  # as model.export() makes it; a trainer asks for callbacks in the same way
print([call.__name__ for event in ("on_export_start", "on_train_end") for call in model.callbacks[event]])
"""


def test_best_pt_predicts_bit_identically_and_validates_in_a_fresh_process(trained, toy_data, fresh):
    image = toy_data.parent / "images/val/0.png"
    output = fresh(FRESH, trained, toy_data, image)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        here = YOLO(trained / "weights/best.pt").predict(image, imgsz=64, conf=0.001, verbose=False)[0].boxes.data
    finally:
        torch.set_num_threads(threads)
    there = torch.load(trained / "fresh.pt", weights_only=True)
    assert len(here) > 0 and torch.equal(here, there)
    assert "mAP50" in output
    assert output.count("'prepare'") == output.count("'say_what_it_needs'") == 1


KILLED = """
import os, signal, sys
from ultralytics import YOLO
model, epoch, settings = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
if model.endswith(".yaml"):
    import vil_lite.yolo
model = YOLO(model)
model.add_callback("on_train_batch_end", lambda trainer: trainer.epoch == epoch and os.kill(os.getpid(), signal.SIGKILL))
model.train(**settings)
assert not attempts, attempts
"""


def test_a_run_that_is_killed_in_each_epoch_resumes(small, toy_data, tmp_path, fresh):
    """SIGKILL in the middle of the second epoch, again in the third, in a process that imports nothing of us; then to the end."""
    settings = train_settings(
        8, imgsz=64, epochs=3, device="cpu", data=str(toy_data), project=str(tmp_path), name="cut"
    )
    model, last = small, tmp_path / "cut/weights/last.pt"
    for epoch in (1, 2):
        with pytest.raises(AssertionError):
            fresh(KILLED, model, epoch, settings)
        assert YOLO(last).ckpt["epoch"] == epoch - 1
        model, settings = last, {"resume": True}
    YOLO(last).train(resume=True)
    rows = list(csv.DictReader((tmp_path / "cut/results.csv").read_text().splitlines()))
    assert sorted({int(row["epoch"]) for row in rows}) == [1, 2, 3]
    assert type(YOLO(tmp_path / "cut/weights/best.pt").model.model[3]) is C2fViL


@pytest.mark.parametrize(
    "option",
    [
        {"amp": True},
        {"multi_scale": 0.5},
        {"rect": True},
        {"freeze": 4},
        {"close_mosaic": 1, "mosaic": 1.0},
        {"cache": "ram"},
        {"single_cls": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_that_people_set_first(option, small, toy_data, tmp_path, monkeypatch):
    """ultralytics trains a step with each, without a network; ViL moves and stays finite, and what is frozen stays.

    amp=True is tried as on a GPU, with our self-test; autocast takes float16 there and bfloat16 on this CPU.
    """
    torch.manual_seed(0)
    model, seen, kinds = YOLO(small), {}, set()
    if "amp" in option:
        monkeypatch.setattr(trainer, "check_amp", survives_float16)

    def look(training):
        training.model.model[3].register_forward_hook(lambda m, inputs, y: kinds.add(y.dtype))

    model.add_callback("on_train_start", look)
    model.add_callback("on_train_start", lambda t: seen.update({k: v.clone() for k, v in t.model.state_dict().items()}))
    settings = {"imgsz": 64, "epochs": 1, "fraction": 0.34, "val": False, "warmup_epochs": 0, **option}
    model.train(data=str(toy_data), project=str(tmp_path), **train_settings(8, **settings))
    after = model.trainer.model.state_dict()
    assert all(value.isfinite().all() and value.dtype != torch.bfloat16 for value in after.values())
    assert kinds == {torch.bfloat16 if "amp" in option else torch.float32}
    moved = {name for name in after if not torch.equal(after[name], seen[name])}
    weights = {f"model.{row}.m.0.layer.proj_down.weight" for row in (3, 5)}
    assert moved >= (weights if "freeze" not in option else {"model.5.m.0.layer.proj_down.weight"})
    if "freeze" in option:
        assert not any(name.startswith("model.3.") and name.endswith("weight") for name in moved)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("yolov8n-vil", "detect"),
        ("yolov9t-vil", "detect"),
        ("yolo11n-vil", "segment"),
        ("yolo26n-p6-vil", "detect"),
        ("yolov8n-vil", "classify"),
    ],
)
def test_before_mixed_precision_the_model_itself_is_tried(name, task):
    """It passes as it is; with one activation that float16 cannot hold (above 65,504) it does not.  Nothing of it changes."""
    torch.manual_seed(0)
    network = YOLO(model_yaml(name, task=task)).model.train()
    before, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    assert survives_float16(network, image_size=128)
    assert network.training and all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and all(p.grad is None for p in network.parameters())
    block = next(m for m in network.modules() if isinstance(m, C2fViL))
    with torch.no_grad():
        block.m[0].layer.proj_up.weight.mul_(1e6)
    assert not survives_float16(network, image_size=128)


def test_images_of_the_self_test_have_the_channels_of_the_data(small):
    """Data of grey images, `channels: 1`, get a model that takes no others."""
    assert survives_float16(DetectionModel(small, ch=1, verbose=False), image_size=128)


def test_amp_asks_our_self_test_for_our_models_alone(monkeypatch):
    """On a GPU ultralytics' own would download a model; a tensor without a device's memory stands for one there."""
    plain, ours = (YOLO(name).model for name in ("yolov8n.yaml", model_yaml("yolov8n-vil")))
    assert not trainer.check_amp(ours)  # registered, and on a CPU ultralytics has no mixed precision
    check_amp = registration._with_our_test(lambda model: "ultralytics")
    monkeypatch.setattr(registration, "survives_float16", lambda model: "ours")
    assert [check_amp(model) for model in (plain, ours)] == ["ultralytics", "ultralytics"]
    assert [check_amp(model.to("meta")) for model in (plain, ours)] == ["ultralytics", "ours"]


@pytest.mark.parametrize(("major", "amp"), [(7, True), (9, "bf16")])
def test_on_a_gpu_bfloat16_is_used_where_it_is_computed_and_else_float16(major, amp, monkeypatch):
    """A T4 (7.5) emulates bfloat16, slowly: torch says that it is supported there too."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert train_settings()["amp"] == amp and train_settings()["workers"] == 8
    for place in ("cpu", "mps"):
        elsewhere = train_settings(device=place)
        assert elsewhere["amp"] is False and elsewhere["workers"] == 0


def test_restricted_loading_works_after_import(trained, toy_data, fresh):
    source = """
import sys
import vil_lite.yolo
from ultralytics import YOLO
model = YOLO(sys.argv[1])
assert type(model.model.model[3]) is vil_lite.yolo.C2fViL
model.predict(sys.argv[2], imgsz=64, verbose=False)
"""
    fresh(source, trained / "weights/best.pt", toy_data.parent / "images/val/0.png", ULTRALYTICS_SAFE_LOAD="1")


def test_load_weights_says_what_it_did_and_training_starts_from_it(toy_data, tmp_path):
    torch.manual_seed(1)
    plain, model = YOLO("yolov8n.yaml"), YOLO(model_yaml("yolov8n-vil"))
    report = load_weights(model, plain)
    ours = model.model.state_dict()
    assert sorted(report.loaded + report.missing) == sorted(ours)
    assert all(".m." in name and name.startswith(("model.6.", "model.8.")) for name in report.missing + report.unused)
    assert 0.9 < report.fraction < 1
    assert f"{len(report.loaded)} of {len(ours)} tensors loaded ({report.fraction:.1%}" in str(report)
    assert "keeps its initial values: model.6.m.0 (" in str(report)
    for name, value in plain.model.state_dict().items():
        assert name in report.unused or torch.equal(ours[name], value)

    seen = {}
    model.add_callback("on_pretrain_routine_end", lambda t: (seen.update(t.model.state_dict()), stop(t)))
    with pytest.raises(Stop):
        model.train(data=str(toy_data), project=str(tmp_path), **train_settings(8, imgsz=64, epochs=1))
    assert torch.equal(seen["model.0.conv.weight"], plain.model.state_dict()["model.0.conv.weight"])


def test_load_weights_reads_files_and_refuses_strangers(small, trained, toy_data, tmp_path):
    report = load_weights(YOLO(small), trained / "weights/best.pt")
    assert report.missing == [] and report.fraction == 1.0
    for wrong, said in ((tmp_path / "nix.pt", "is not there"), (toy_data, "is not a checkpoint of a YOLO")):
        with pytest.raises(
            ValueError, match=f"source: '.*{wrong.name}' {said} .*name a .pt file that ultralytics wrote"
        ):
            load_weights(YOLO(small), wrong)
    with pytest.raises(ValueError, match="source: None is no source of weights; pass the path of a .pt file"):
        load_weights(YOLO(small), None)
    with pytest.raises(ValueError, match="no tensor of the source has the name and shape"):
        load_weights(YOLO(small), {"encoder.weight": torch.zeros(3)})


def test_load_weights_does_not_mix_fused_and_unfused(small, tmp_path):
    fused, plain = YOLO(small), YOLO(small)
    fused.fuse()
    fused.save(tmp_path / "fused.pt")
    for source in (fused, tmp_path / "fused.pt"):
        with pytest.raises(ValueError, match="source: it is fused, .* load before fuse"):
            load_weights(plain, source)
    before = fused.model.model[0].conv.weight.clone()
    with pytest.raises(ValueError, match="model: it is fused, .* load before fuse"):
        load_weights(fused, plain)
    assert torch.equal(fused.model.model[0].conv.weight, before)
    assert load_weights(fused, fused.model.state_dict()).fraction == 1
    only_blocks = {name: x for name, x in plain.model.state_dict().items() if ".m." in name}  # biases and no norms
    assert load_weights(plain, only_blocks).unused == []


@pytest.mark.parametrize("batch", [-1, 0.7])
def test_settings_for_a_batch_that_ultralytics_chooses(batch):
    assert get_cfg(overrides=train_settings(batch)).nbs == 64


def test_train_settings_keep_the_forget_gates(small, toy_data, tmp_path):
    """With ultralytics' default warm-up the biases of the gates run away from their initial 3 ... 6 within an epoch."""
    moved = {}
    for bias_lr in (0.0, 0.1):
        model = YOLO(small)

        def note(trainer, bias_lr=bias_lr):
            bias = trainer.model.model[3].m[0].layer.paths[0].mlstm_cell.fgate.bias.detach()
            moved.setdefault(bias_lr, float((bias - torch.linspace(3, 6, 4)).abs().max()))

        model.add_callback("on_train_epoch_end", note)
        settings = train_settings(8, imgsz=64, epochs=2, warmup_bias_lr=bias_lr, val=False)  # the first one warms up
        model.train(data=str(toy_data), project=str(tmp_path), name=f"lr{bias_lr}", **settings)
    assert moved[0.0] < 0.02 and moved[0.1] > 0.05


def test_on_a_cpu_training_can_multiply_in_bfloat16(small, toy_data, tmp_path):
    model, seen, lost = YOLO(small), [], []

    def watch(trainer):
        cell = next(m for m in trainer.model.modules() if isinstance(m, ViLLayer))
        cell.proj_up.register_forward_hook(lambda module, inputs, output: seen.append((module.training, output.dtype)))

    def watch_loss(trainer):
        criterion = trainer.model.criterion = trainer.model.init_criterion()
        for part in (criterion.bbox_loss, criterion.bce):
            part.register_forward_pre_hook(
                lambda module, inputs: lost.extend(x.dtype for x in inputs if torch.is_tensor(x))
            )

    train_in_bfloat16(model)
    model.add_callback("on_train_start", watch)
    model.add_callback("on_train_start", watch_loss)
    model.train(data=str(toy_data), epochs=1, imgsz=64, project=str(tmp_path), **train_settings(8, device="cpu"))
    assert set(lost) <= {torch.float32, torch.bool} and torch.float32 in lost
    assert {dtype for training, dtype in seen if training} == {torch.bfloat16}
    assert {dtype for training, dtype in seen if not training} <= {torch.float32}
    kept = YOLO(model.trainer.last).model
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in kept.modules())
    assert all(torch.isfinite(p).all() for p in kept.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_torchscript_agrees_with_pytorch(trained, tmp_path):
    """TorchScript of a trained checkpoint, on a photograph-like image, as raw boxes (pixels) and scores."""
    weights = tmp_path / "best.pt"
    weights.write_bytes((trained / "weights/best.pt").read_bytes())
    size = (160, 192)  # 480 and 120 tokens: more than one chunk
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).resize(size[::-1], Image.BICUBIC)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        wanted = YOLO(weights).model.eval()(x)[0]

    script = YOLO(weights).export(format="torchscript", imgsz=size)
    got = torch.jit.load(script)(x)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-3)
