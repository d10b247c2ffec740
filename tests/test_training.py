"""The loop: it learns; it survives SIGKILL bit for bit; two processes give what one gives; errors come early and clear."""

import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _disks import small_disk
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch.utils.data import Dataset, Subset, TensorDataset

import vil_lite
from vil_lite import VisionLSTM
from vil_lite.data import digits
from vil_lite.run_log import write_log
from vil_lite.training import best_precision, fit, plot, read_log

PATHS = os.pathsep.join([str(Path(__file__).parent), str(Path(vil_lite.__file__).parents[1])])


def small_model(seed=0, dim=16, drop_path=0.0):
    torch.manual_seed(seed)
    size = {"patch_size": 2, "image_size": 8, "channels": 1, "num_classes": 10}
    return VisionLSTM(dim=dim, depth=2, drop_path=drop_path, **size)


def some_digits(train=128, test=50):
    data = digits.load()
    mixed = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(0))[:train]
    return [part[mixed] for part in data.train], [part[::7][:test] for part in data.test]


def same_weights(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Sums are then taken in the same order here and in the processes that are started."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def start(code, *launcher, **environment):
    """Run code in another process, where this file can be imported; returns the finished process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS, **environment}
    command = launcher or (sys.executable, "-c", f"from test_training import *\ntorch.set_num_threads(1)\n{code}")
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_learns_the_digits_and_says_so(tmp_path, capsys):
    data = digits.load()
    model = small_model(dim=32)
    done = fit(model, data.train, data.test, epochs=3, batch_size=64, lr=2e-2, ema=0.9, folder=tmp_path)
    assert done.model is model
    last = done.log[-1]
    model.eval()
    with torch.no_grad():
        accuracy = (model(data.test.images).argmax(1) == data.test.labels).float().mean().item()
        ema_accuracy = (done.ema.eval()(data.test.images).argmax(1) == data.test.labels).float().mean().item()
    assert (last["test_accuracy"], last["ema_accuracy"]) == (pytest.approx(accuracy), pytest.approx(ema_accuracy))
    assert min(accuracy, ema_accuracy) > 0.8  # what is drawn for a seed differs between releases of torch
    assert last["step"] == 3 * (len(data.train.labels) // 64)
    assert "66/66" in capsys.readouterr().err  # the progress bar

    assert read_log(tmp_path / "log.csv") == done.log
    loss, accuracies = plot(tmp_path / "log.csv").axes
    assert [line.get_label() for line in loss.lines] == ["train", "test", "ema"]
    assert list(accuracies.lines[0].get_ydata()) == [row["test_accuracy"] for row in done.log]


class Noisy(Dataset):
    """Digits with noise from all three generators; the process kills itself when it reads example number kill_at."""

    def __init__(self, pairs, kill_at=None):
        self.pairs, self.kill_at, self.count = pairs, kill_at, 0

    def __len__(self):
        return len(self.pairs[1])

    def __getitem__(self, index):
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        noise = 0.1 * torch.randn(1, 8, 8) + 0.1 * np.random.rand() + 0.1 * random.random()
        return self.pairs[0][index] + noise.float(), int(self.pairs[1][index])


def random_run(folder, kill_at=None, model_seed=0, epochs=3, **options):
    """A run in which everything is random that can be: epochs of 8 steps."""
    train, test = some_digits()
    model = small_model(model_seed, drop_path=0.3)
    options = {"mixup": 0.8, "cutmix": 1.0, "ema": 0.9, "save_every": 3, "seed": 5, **options}
    return fit(
        model,
        Noisy(train, kill_at),
        test,
        epochs=epochs,
        batch_size=16,
        lr=5e-3,
        folder=folder,
        progress=False,
        **options,
    )


def test_killed_and_resumed_is_bit_for_bit_the_run_that_was_not(tmp_path):
    whole = random_run(tmp_path / "whole")

    folder = tmp_path / "killed"
    died = start(f"random_run({str(folder)!r}, kill_at=1 + 128 + 6 * 16 + 7)")  # in the second epoch, within a batch
    assert died.returncode == -signal.SIGKILL, died.stderr
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert (saved["step"], len(saved["log"])) == (12, 1)  # in the middle of an epoch of 8 steps

    resumed = random_run(folder, model_seed=2, resume=True)
    assert same_weights(resumed.model, whole.model)
    assert same_weights(resumed.ema, whole.ema)
    untimed = [[{**row, "seconds": 0} for row in log] for log in (resumed.log, whole.log)]
    assert untimed[0] == untimed[1]

    again = random_run(folder, model_seed=3, resume=True)  # nothing is left to do
    assert same_weights(again.model, whole.model)
    assert again.log == resumed.log


def test_the_number_of_workers_changes_nothing_and_the_seed_does(tmp_path):
    options = ({}, {"workers": 2}, {"seed": 6})
    alone, helped, other = (random_run(None, epochs=2, save_every=None, **o) for o in options)
    assert same_weights(alone.model, helped.model)
    assert not same_weights(alone.model, other.model)


def test_each_epoch_has_its_own_order_and_noise():
    train, _ = some_digits(64)
    seen = []

    class Watched(Noisy):
        def __getitem__(self, index):
            seen.append((index, super().__getitem__(index)[0]))
            return seen[-1][1], int(self.pairs[1][index])

    fit(small_model(), Watched(train), epochs=2, batch_size=16, progress=False)
    first, second = (dict(part) for part in (seen[-128:-64], seen[-64:]))
    assert sorted(first) == sorted(second) == list(range(64))
    assert list(first) != list(second)
    assert not any(torch.equal(first[index], second[index]) for index in first)


def test_chance_after_a_run_is_the_callers():
    """Of models made in a loop, each trained with the same seed, no two start from the same weights."""
    train, _ = some_digits(64)

    def drawn(trained):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(3)
        for _ in range(3):
            weight = torch.nn.Linear(1, 1).weight.item()
            yield weight, torch.rand(()).item(), np.random.rand(), random.random()
            if trained:
                fit(model, Noisy(train), epochs=1, progress=False)

    model = Steep()
    assert list(drawn(True)) == list(drawn(False))
    assert len(set(drawn(True))) == 3


def split_run(folder):
    """A run without chance but for the order of the digits; 50 test digits do not divide among two processes."""
    train, test = some_digits()
    return fit(
        small_model(),
        train,
        test,
        epochs=2,
        lr=5e-3,
        batch_size=16,
        ema=0.9,
        accumulate=2,
        folder=folder,
        progress=False,
    )


def test_two_processes_give_what_one_gives(tmp_path):
    one = split_run(tmp_path / "one")
    script = tmp_path / "script.py"
    script.write_text(
        "import test_training as t, accelerate\n"
        f"t.split_run({str(tmp_path / 'two')!r})\n"
        "state = accelerate.PartialState()\n"
        "print(f'process {state.process_index} of {state.num_processes}, {state.backend}')\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--main_process_port", port, "--mixed_precision", "no", "--dynamo_backend", "no", str(script)]
    done = start(None, *launch, ACCELERATE_USE_CPU="true")  # the launcher of many GPUs, with gloo on processors
    assert done.returncode == 0, done.stderr
    assert all(f"process {i} of 2, gloo" in done.stdout for i in (0, 1)), done.stdout

    log = read_log(tmp_path / "two" / "log.csv")
    for theirs, ours in zip(log, one.log, strict=True):
        assert {**theirs, "seconds": 0} == pytest.approx({**ours, "seconds": 0}, rel=1e-5)
    weights = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["model"]
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)


def test_a_batch_in_parts_gives_the_same_gradient():
    train, _ = some_digits(64)
    whole = fit(small_model(), train, epochs=2, batch_size=16, progress=False)
    parts = fit(small_model(), train, epochs=2, batch_size=16, accumulate=3, progress=False)
    assert [r["train_loss"] for r in parts.log] == pytest.approx([r["train_loss"] for r in whole.log], rel=1e-5)


def test_precision():
    train, _ = some_digits(64)
    runs = {
        name: fit(small_model(), train, epochs=1, batch_size=16, precision=name, progress=False)
        for name in ("no", "bf16", "fp16")
    }
    full = runs["no"].log[0]["train_loss"]
    for name in ("bf16", "fp16"):
        assert full != runs[name].log[0]["train_loss"] == pytest.approx(full, rel=0.02)
        assert all(p.dtype == torch.float32 for p in runs[name].model.parameters())


def test_precision_that_fits_the_card(monkeypatch):
    """The one thing that is pretended here: which card the machine has."""
    for available, capability, wanted in ((False, (0, 0), "no"), (True, (7, 5), "fp16"), (True, (8, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda a=available: a)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        assert best_precision() == wanted  # a T4 has 7.5: no bfloat16
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert best_precision() == "no"


class Steep(torch.nn.Module):
    """Its gradients are so large that float16 cannot hold them at the first scales of the loss."""

    def __init__(self, slope=30.0):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.slope = torch.nn.Linear(64, 10), slope

    def forward(self, x):
        return self.head(self.slope * x.flatten(1))


def test_steps_that_overflow_float16_are_left_out_and_a_resumed_run_knows_the_scale(tmp_path):
    train, _ = some_digits(64)
    same = {"epochs": 3, "batch_size": 16, "precision": "fp16", "lr": 1e-3, "progress": False}
    first = Steep()
    fit(first, train, folder=tmp_path, **{**same, "epochs": 1, "warmup": 0})
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["scaler"]["scale"] < 2**16
    assert same_weights(first, Steep())  # four steps, all too large

    whole = fit(Steep(), train, **same).model
    assert not same_weights(whole, Steep())
    with pytest.raises(Stop):
        fit(Steep(), Stopping(train, after=100), folder=tmp_path / "stopped", **same)
    resumed = fit(Steep(), train, folder=tmp_path / "stopped", resume=True, **same).model
    assert same_weights(resumed, whole)

    with pytest.raises(FloatingPointError, match="'fp16'"):  # logits beyond 65504: no scale of the loss can help
        fit(Steep(1e6), train, **same)


class Stop(Exception):
    pass


class Stopping(TensorDataset):
    """Digits, the reading of which fails after a while."""

    def __init__(self, pair, after):
        super().__init__(*pair)
        self.left = after

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            raise Stop
        return super().__getitem__(index)


def test_what_cannot_be_read_costs_no_step(tmp_path):
    """A file that fails in the second epoch; then one of the test data, at once after the last step of an epoch."""
    train, test = some_digits(64)
    same = {"epochs": 2, "batch_size": 16, "folder": tmp_path, "progress": False}
    with pytest.raises(Stop):  # 1 + 64 + 2 * 16 examples are read before; accelerate reads one batch ahead
        fit(small_model(), Stopping(train, after=1 + 64 + 2 * 16 + 5), test, **same)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (saved["step"], len(saved["log"])) == (5, 1)
    with pytest.raises(Stop):
        fit(small_model(1), train, Stopping(test, after=10), resume=True, **same)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (saved["step"], len(saved["log"])) == (8, 1)
    resumed = fit(small_model(2), train, test, resume=True, **same)
    whole = fit(small_model(), train, test, **{**same, "folder": None})
    assert same_weights(resumed.model, whole.model)
    assert [{**row, "seconds": 0} for row in resumed.log] == [{**row, "seconds": 0} for row in whole.log]


def test_a_disk_that_fills_up_is_named_and_leaves_the_last_checkpoint_and_the_log(tmp_path):
    train, _ = some_digits(64)

    class Filling(Noisy):
        def __getitem__(self, index):
            if self.count == 1 + 64 + 5:  # in the second epoch
                with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            return super().__getitem__(index)

    same = {"epochs": 2, "batch_size": 16, "progress": False}
    with small_disk(tmp_path / "disk", 300) as disk:
        with pytest.raises(OSError, match="make room: '.*disk/run/checkpoint.pt'"):
            fit(small_model(), Filling(train), folder=disk / "run", **same)
        assert torch.load(disk / "run" / "checkpoint.pt", weights_only=True)["step"] == 4
        assert len(read_log(disk / "run" / "log.csv")) == 1
        (disk / "filler").unlink()
        fit(small_model(1), Noisy(train), folder=disk / "run", resume=True, **same)
        with pytest.raises(OSError, match="are needed, .* are free; make room, .*disk/other'"):
            fit(small_model(dim=64), Noisy(train), folder=disk / "other", **same)


def test_fine_tuning_in_layers():
    train, _ = some_digits(64)
    fit(model := small_model(), train, epochs=1, freeze=1, batch_size=16, lr=1e-2, weight_decay=0.5, progress=False)
    start = small_model().state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, start[name]) == (not name.startswith(("head.", "pooled_norm."))), name

    whole = fit(small_model(), train, epochs=2, batch_size=64, layer_decay=0.1, warmup=0, progress=False).model
    moved = {n: (p - start[n]).abs().max().item() for n, p in whole.named_parameters() if n.endswith("weight")}
    last, first, patches = (moved[n] for n in LAYERS)  # Adam's first steps are as long as the learning rate
    assert (first / last, patches / last) == (pytest.approx(0.1, rel=0.3), pytest.approx(0.01, rel=0.3))
    with pytest.raises(ValueError, match="freeze: the model has no parameters called head"):
        fit(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), train, epochs=1, freeze=1, progress=False)


LAYERS = ("encoder.blocks.1.layer.proj_up.weight", "encoder.blocks.0.layer.proj_up.weight", "patch_embed.proj.weight")


def test_numbers_of_numpy_and_torch_are_read_again(tmp_path):
    train, _ = some_digits(64)
    settings = {"lr": np.logspace(-3, -2, 2)[0], "seed": np.int64(1), "epochs": np.int64(1), "save_every": np.int64(2)}
    settings |= {"weight_decay": torch.tensor(0.05), "batch_size": 16, "folder": tmp_path, "progress": False}
    done = fit(Steep(), train, **settings)
    assert fit(Steep(), train, **settings, resume=True).log == done.log
    for other in (tmp_path, np.float64(1), np.zeros(2), {"mean": np.zeros(1)}, float("nan")):
        with pytest.raises(ValueError, match=r"about\['data'\] must be of plain values \(numbers, .*\), got a?"):
            fit(Steep(), train, epochs=1, folder=tmp_path / "other", about={"data": other}, progress=False)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("tested_first", [False, True])
def test_a_run_may_go_on_with_test_data_or_without(tmp_path, tested_first):
    train, test = some_digits(64)
    same = {"epochs": 2, "batch_size": 16, "folder": tmp_path, "progress": False}
    with pytest.raises(Stop):
        fit(Steep(), Stopping(train, after=1 + 64 + 2 * 16 + 5), test if tested_first else None, **same)
    done = fit(Steep(), train, None if tested_first else test, resume=True, **same)
    assert ["test_loss" in row for row in done.log] == [tested_first, not tested_first]
    assert read_log(tmp_path / "log.csv") == done.log
    loss, accuracy = plot(tmp_path / "log.csv").axes
    assert [line.get_label() for line in loss.lines] == ["train", "test"]
    assert np.isfinite(accuracy.lines[0].get_ydata()).tolist() == [tested_first, not tested_first]


def test_the_log_of_a_run_that_ended_in_its_first_epoch(tmp_path):
    write_log(tmp_path / "log.csv", [])
    assert read_log(tmp_path / "log.csv") == []
    assert not plot(tmp_path / "log.csv").axes[0].lines


def test_an_accelerator_of_the_callers_that_would_change_the_run_is_refused(monkeypatch):
    train, _ = some_digits(64)
    refused = pytest.raises(
        ValueError, match=r"accelerate is set to mixed_precision='(no|bf16)', gradient.*; call fit in a"
    )
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with refused:
        fit(Steep(), train, epochs=1, progress=False)
    monkeypatch.delenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS")
    for given in ({"mixed_precision": "bf16"}, {"gradient_accumulation_steps": 2}):
        for state in (AcceleratorState, GradientState):
            state._reset_state()
        theirs = Accelerator(**given)
        try:
            with refused:
                fit(Steep(), train, epochs=1, progress=False)
            assert theirs.gradient_accumulation_steps == given.get("gradient_accumulation_steps", 1)
        finally:
            for state in (AcceleratorState, GradientState):
                state._reset_state()
    fit(Steep(), train, epochs=1, progress=False)


def test_nan_names_the_step_and_leaves_the_weights_good():
    images, labels = (part.clone() for part in some_digits(64)[0])
    fit(before := small_model(), (images, labels), epochs=1, batch_size=64, seed=3, progress=False)
    images[7, 0, 2, 2] = float("nan")
    model = small_model()
    with pytest.raises(FloatingPointError, match=r"nan.* at step \d+ of 8 .*lower lr"):
        fit(model, (images, labels), epochs=2, batch_size=16, progress=False)
    assert all(p.isfinite().all() for p in model.parameters())
    fit(again := small_model(), (images.nan_to_num(0), labels), epochs=1, batch_size=64, seed=3, progress=False)
    assert all(p.isfinite().all() for p in again.parameters())  # the failure left nothing behind
    assert not same_weights(before, small_model())


class WithTargets(TensorDataset):
    """As torchvision's data sets: labels can be read without images; reading an image is counted."""

    reads = 0

    @property
    def targets(self):
        return self.tensors[1].tolist()

    def __getitem__(self, index):
        type(self).reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "wrap", [lambda i, y: (i, y), WithTargets, lambda i, y: Subset(TensorDataset(i, y), range(64))]
)
@pytest.mark.parametrize("label", [10, -1])
def test_labels_are_checked_before_training(wrap, label):
    images, labels = (part.clone() for part in some_digits(64)[0])
    labels[41] = label
    model = small_model()
    with pytest.raises(ValueError, match=rf"train\[41\] has label {label}, but the model's 10 classes are 0 to 9"):
        fit(model, wrap(images, labels), epochs=1, progress=False)
    assert same_weights(model, small_model())
    with pytest.raises(ValueError, match=r"test\[41\] has label"):
        fit(model, (images, labels.clamp(0, 9)), wrap(images, labels), epochs=1, progress=False)
    assert WithTargets.reads <= 4 * 2


def test_labels_that_cannot_be_read_ahead_are_checked_when_they_come():
    images, labels = (part.clone() for part in some_digits(64)[0])
    labels[41] = 10
    with pytest.raises(ValueError, match=r"train\[41\] has label 10"):
        fit(small_model(), Noisy((images, labels)), epochs=1, batch_size=16, progress=False)


def test_labels_that_a_dataset_gives_otherwise_than_it_keeps_them(tmp_path):
    class Remapped(WithTargets):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, label // 7

    images, labels = some_digits(64)[0]
    fit(Steep(), Remapped(images, 7 * labels), epochs=1, progress=False)
    with pytest.raises(ValueError, match=r"train\[0\] has label 10, but the model's 10 classes"):
        fit(Steep(), Remapped(images, torch.full_like(labels, 70)), epochs=1, progress=False)


BAD = {
    "epochs": (0, 2.5),
    "batch_size": (0, 65),
    "accumulate": (0,),
    "lr": (0, float("nan")),
    "min_lr": (-1, 1.0),
    "warmup": (-1, 2),
    "weight_decay": (-0.1,),
    "clip": (0,),
    "mixup": (-1,),
    "cutmix": (-1,),
    "ema": (1.0, 0),
    "precision": ("fp8",),
    "layer_decay": (0, 1.5),
    "freeze": (-1, 3),
    "save_every": (0,),
    "resume": (True,),
}


@pytest.mark.parametrize("name,value", [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_argument_is_named(name, value):
    with pytest.raises(ValueError, match=rf"{name}\b.*{value}"):
        fit(small_model(), some_digits(64)[0], **{"epochs": 2, "progress": False, name: value})


def test_bad_data_is_named():
    images, labels = some_digits(64)[0]
    cases = {
        "train must be a Dataset or a pair": (images, labels, labels),
        "64 images and labels of shape \\(63,\\)": (images, labels[1:]),
        "train is empty": (images[:0], labels[:0]),
        "float tensors, got .*torch.uint8.*divide a uint8": ((images * 255).byte(), labels),
        "label must be one integer": (images, labels.float()),
        "map-style Dataset": iter([]),
    }
    for message, train in cases.items():
        with pytest.raises(ValueError, match=message):
            fit(small_model(), train, epochs=1, progress=False)
    for model in (small_model(), Steep()):
        with pytest.raises(
            ValueError, match=r"test: images are torch.float64 and the weights torch.float32; use images.to"
        ):
            fit(model, (images, labels), (images.double(), labels), epochs=1, progress=False)
        assert model.training
    fit(Steep(), (images.bfloat16(), labels), epochs=1, precision="bf16", progress=False)  # autocast takes both types
    with pytest.raises(ValueError, match="model must return logits"):
        fit(torch.nn.Conv2d(1, 10, 2), (images, labels), epochs=1, progress=False)


def test_a_run_is_neither_overwritten_nor_mixed_with_another(tmp_path):
    train, _ = some_digits(64)
    fit(small_model(), train, epochs=1, folder=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="resume=True"):
        fit(small_model(), train, epochs=1, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="epochs was 1, now 2; lr was 0.001, now 0.01"):
        fit(small_model(), train, epochs=2, warmup=0.1, lr=0.01, folder=tmp_path, resume=True, progress=False)


def test_the_core_imports_torch_and_nothing_that_only_some_of_it_needs():
    code = (
        "import sys, vil_lite, vil_lite.checkpoints; print(*sys.modules); import vil_lite.recipes; print(*sys.modules)"
    )
    core, more = map(str.split, subprocess.check_output([sys.executable, "-c", code], text=True).splitlines())
    others = {"accelerate", "timm", "sklearn", "matplotlib", "IPython", "ipywidgets", "ultralytics", "vil_lite.teach"}
    assert {"torch", "vil_lite.mlstm", "vil_lite.block", "vil_lite.model"} <= set(core)
    assert not set(core) & (others | {"torchvision", "torch._dynamo"})  # the first block needs torchvision
    assert not set(more) & others
