"""Train a classifier: one loop, from a laptop's processor to many GPUs (Hugging Face accelerate, imported here alone).

    fit(model, train, test, epochs=30)                           in a notebook or a script
    python -m vil_lite photographs --model vil_tiny              on folders of images, from a shell
    accelerate launch -m vil_lite photographs --model vil_tiny   the same on all GPUs of the machine

Chance is a function here, not a history: what is random about an example depends on (seed, epoch, example), what is
random in a step (mixup, drop path) on (seed, step, process).  So a resumed run needs no generator's past: weights,
optimiser, average and step are all its state, and it ends in the same weights, bit for bit, as a run never interrupted.
"""

import csv
import math
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from vil_lite.loading import Examples, Order, as_dataset, check_data, seed_step
from vil_lite.recipes import average, decay_groups, learning_rate, mixer

try:
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration
    from tqdm import tqdm
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("vil_lite.training needs two more packages: pip install accelerate tqdm") from error


class Fit(NamedTuple):
    """model: as trained (the argument of fit).  ema: its moving average or None.  log: one dict per epoch, as in log.csv."""

    model: nn.Module
    ema: nn.Module | None
    log: list


def fit(
    model,
    train,
    test=None,
    *,
    epochs,
    batch_size=64,
    lr=1e-3,
    min_lr=1e-6,
    warmup=None,
    weight_decay=0.05,
    clip=1.0,
    mixup=0.0,
    cutmix=0.0,
    ema=None,
    precision="auto",
    accumulate=1,
    workers=0,
    seed=0,
    folder=None,
    save_every=None,
    resume=False,
    progress=True,
):
    """Train model (images (B, ...) -> logits (B, num_classes)) in place with AdamW; returns Fit(model, ema, log).

    The model stays on the device where accelerate trains: a GPU if there is one.

    train, test: a map-style Dataset of (image tensor, label), or a pair of tensors (images, labels).  test is measured
        after each epoch.
    batch_size: images per step, over all processes.  What is left over at the end of an epoch waits for the next.
    lr, min_lr, warmup: linear warm-up for so many epochs (None: a tenth of the run, at most 5), then a cosine to min_lr.
    weight_decay: on what decay_groups() lists.     clip: largest gradient norm; None for no clipping.
    mixup, cutmix: their alpha; 0 is off.  With both, each step takes one of them at random.
    ema: decay of a moving average of the weights, such as 0.999 (shorter at first); None is off.
    precision: "bf16", "no", or "auto": bf16 on GPUs that compute in it (from Ampere), "no" elsewhere.
    accumulate: work through each batch in so many parts, for less memory; the gradient stays that of the whole batch.
    workers: processes that load data.     seed: the run's chance; not the initial weights, which the model brings along.
    folder: where log.csv and checkpoint.pt go, after each epoch and every save_every steps; None keeps nothing.
    resume: go on from folder/checkpoint.pt, if there is one.
    Raises ValueError for bad arguments and labels before training starts, FileExistsError rather than overwrite a run,
    FloatingPointError that names the step when loss or gradient are not finite.
    (Vision-LSTM, Table 5: its own numbers are in vil_lite.recipes.  Epochs and batch of the defaults are for small data.)
    """
    warmup = min(5, epochs / 10) if warmup is None else warmup
    if precision == "auto":
        gpu = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "false").lower() not in ("true", "1")
        precision = "bf16" if gpu and torch.cuda.get_device_capability()[0] >= 8 else "no"  # older ones emulate it, slowly
    settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "min_lr": min_lr, "warmup": warmup}
    settings |= {"weight_decay": weight_decay, "clip": clip, "mixup": mixup, "cutmix": cutmix, "ema": ema}
    settings |= {"precision": precision, "accumulate": accumulate, "seed": seed}
    check_settings(settings, save_every, folder, resume)
    train, test = as_dataset(train, "train"), None if test is None else as_dataset(test, "test")
    settings["examples"] = len(train)

    run = _Run(model, train, test, settings, workers, folder)
    if folder is not None:
        if resume and run.checkpoint.exists():
            run.load()
        elif run.checkpoint.exists():
            raise FileExistsError(f"{run.checkpoint} holds a run already: pass resume=True to go on, or another folder")
    run.accelerator.wait_for_everyone()  # nobody writes before everybody has looked
    bar = tqdm(total=run.steps, initial=run.step, disable=not (progress and run.accelerator.is_main_process), unit="step")
    with bar:
        for epoch in range(run.step // run.epoch_steps, epochs):
            started, run.order.epoch = time.perf_counter(), epoch
            batches = run.accelerator.skip_first_batches(run.batches, run.step % run.epoch_steps)
            for images, labels in batches:
                bar.set_postfix(loss=f"{run.train_step(images, labels):.3f}", refresh=False)
                bar.update()
                if folder is not None and save_every and run.step % save_every == 0 and run.step % run.epoch_steps:
                    run.save()
            run.finish_epoch(epoch, started)
            if folder is not None:
                run.save()
    run.accelerator.free_memory()
    return Fit(model, run.ema and run.ema.module, run.log)


class _Run:
    """A run on its way: what a checkpoint holds, and one method for each thing that is done with it."""

    def __init__(self, model, train, test, settings, workers, folder):
        self.settings, self.raw = settings, model
        self.checkpoint = Path(folder or ".") / "checkpoint.pt"
        self.step, self.log, self.loss_sum = 0, [], 0.0
        # Every process takes its slice of each batch.  Autocast is ours: accelerate's would be one choice per Python process.
        split = DataLoaderConfiguration(split_batches=True)
        self.accelerator = Accelerator(mixed_precision="no", dataloader_config=split)
        processes, batch_size = self.accelerator.num_processes, settings["batch_size"]
        if batch_size % processes:
            raise ValueError(f"batch_size = {batch_size} must be a multiple of the number of processes, {processes}")
        if batch_size > len(train):
            raise ValueError(f"batch_size = {batch_size} is more than the {len(train)} images of train; make it smaller")

        seed, num_classes = settings["seed"], check_data(model, train, test)
        self.mix = mixer(settings["mixup"], settings["cutmix"], num_classes)
        common = {"batch_size": batch_size, "num_workers": workers, "persistent_workers": workers > 0}
        self.order = Order(len(train), seed, shuffle=True)
        examples = Examples(train, "train", num_classes, seed)
        batches, tests = DataLoader(examples, sampler=self.order, drop_last=True, **common), None
        if test is not None:
            examples = Examples(test, "test", num_classes, seed)
            tests = DataLoader(examples, sampler=Order(len(test), seed, shuffle=False), **common)
        optimizer = torch.optim.AdamW(decay_groups(model, settings["weight_decay"]), lr=settings["lr"], betas=(0.9, 0.999))
        prepared = self.accelerator.prepare(model, optimizer, batches, tests)
        self.model, self.optimizer, self.batches, self.tests = prepared
        self.ema = None if settings["ema"] is None else AveragedModel(model, multi_avg_fn=average(settings["ema"]))
        self.epoch_steps = len(batches)
        self.steps = self.epoch_steps * settings["epochs"]

    def autocast(self):
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.settings["precision"] == "bf16")

    def train_step(self, images, labels):
        """One update; returns the loss, a float."""
        s = self.settings
        seed_step(s["seed"], "step", self.step, self.accelerator.process_index)
        lr = learning_rate(self.step, self.steps, round(s["warmup"] * self.epoch_steps), s["lr"], s["min_lr"])
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        if self.mix:
            images, labels = self.mix(images, labels)
        parts = list(zip(images.chunk(s["accumulate"]), labels.chunk(s["accumulate"])))
        loss = 0.0
        for part, (some, their_labels) in enumerate(parts, start=1):
            # Processes exchange gradients once, with the last part.
            with self.accelerator.no_sync(self.model) if part < len(parts) else nullcontext():
                with self.autocast():
                    logits = self.model(some)
                part_loss = F.cross_entropy(logits.float(), their_labels) * (len(some) / len(images))
                self.accelerator.backward(part_loss)
            loss += part_loss.detach()
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), s["clip"] or math.inf)
        if not math.isfinite(loss + norm):  # before the update: the weights are still good
            raise FloatingPointError(
                f"loss {loss:.3g}, gradient norm {norm:.3g} at step {self.step} of {self.steps} (epoch "
                f"{self.step // self.epoch_steps}), lr {lr:.2g}, precision {s['precision']!r}: this step was not taken.  "
                "Check the images for NaN and infinity; else lower lr, lengthen warmup, set clip=1.0 or precision='no'"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update_parameters(self.raw)
        self.step += 1
        self.loss_sum += loss.item()
        return loss.item()

    def finish_epoch(self, epoch, started):
        """Add a row to the log."""
        row = {"epoch": epoch, "step": self.step, "lr": self.optimizer.param_groups[0]["lr"]}
        row["train_loss"] = self.mean_loss() / self.epoch_steps
        self.loss_sum = 0.0
        if self.tests is not None:
            row["test_loss"], row["test_accuracy"] = self.evaluate(self.model)
            if self.ema:
                row["ema_loss"], row["ema_accuracy"] = self.evaluate(self.ema)
        row["seconds"] = time.perf_counter() - started
        self.log.append(row)

    def mean_loss(self):
        """The sum of the epoch's losses so far, averaged over the processes."""
        if self.accelerator.num_processes == 1:
            return self.loss_sum
        loss_sum = torch.tensor(self.loss_sum, device=self.accelerator.device)
        return self.accelerator.reduce(loss_sum, "mean").item()

    @torch.no_grad()
    def evaluate(self, model):
        """Mean loss and accuracy on the test data."""
        model.eval()
        rows = []
        for images, labels in self.tests:
            with self.autocast():
                logits = model(images)
            losses = F.cross_entropy(logits.float(), labels, reduction="none")
            row = torch.stack([losses, (logits.argmax(1) == labels).float()], dim=1)
            rows.append(self.accelerator.gather_for_metrics(row))  # of all processes, each example once
        return torch.cat(rows).mean(0).tolist()

    def save(self):
        """Write checkpoint.pt and log.csv; whenever the process is killed, a whole checkpoint is there."""
        loss_sum = self.mean_loss()  # all processes take part in this line, one in the rest
        if self.accelerator.is_main_process:
            state = {"model": self.raw.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
            state |= {"ema": self.ema and self.ema.state_dict(), "settings": self.settings}
            state |= {"log": self.log, "loss_sum": loss_sum}
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.checkpoint.with_suffix(".unfinished")
            with open(unfinished, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self.checkpoint)
            write_log(self.checkpoint.with_name("log.csv"), self.log)

    def load(self):
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        other = {name for name in self.settings if self.settings[name] != state["settings"].get(name)}
        if other:
            told = "; ".join(f"{name} was {state['settings'].get(name)!r}, now {self.settings[name]!r}" for name in sorted(other))
            raise ValueError(f"{self.checkpoint} is from another run: {told}.  Pass what it had, or another folder")
        self.raw.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.step, self.log, self.loss_sum = state["step"], state["log"], state["loss_sum"]


def check_settings(s, save_every, folder, resume):
    """Raise ValueError that names the first argument of fit that cannot be."""
    whole = {"epochs": s["epochs"], "batch_size": s["batch_size"], "accumulate": s["accumulate"]}
    whole |= {"save_every": save_every} if save_every is not None else {}
    wanted = {name: (isinstance(value, int) and value >= 1, "a whole number from 1") for name, value in whole.items()}
    wanted["lr"] = s["lr"] > 0, "greater than 0"
    wanted["min_lr"] = 0 <= s["min_lr"] <= s["lr"], f"between 0 and lr = {s['lr']}"
    wanted["warmup"] = 0 <= s["warmup"] < s["epochs"], f"from 0 to less than epochs = {s['epochs']}"
    wanted["weight_decay"] = s["weight_decay"] >= 0, "0 or more"
    wanted["clip"] = s["clip"] is None or s["clip"] > 0, "greater than 0, or None for no clipping"
    wanted["mixup"] = s["mixup"] >= 0, "0 (off) or more"
    wanted["cutmix"] = s["cutmix"] >= 0, "0 (off) or more"
    wanted["ema"] = s["ema"] is None or 0 < s["ema"] < 1, "between 0 and 1, such as 0.999, or None"
    wanted["precision"] = s["precision"] in ("bf16", "no"), "'auto', 'bf16' or 'no'"
    wanted["resume"] = not (resume and folder is None), "False without a folder to resume from"
    for name, (fine, wish) in wanted.items():
        if not fine:
            got = {**s, "save_every": save_every, "resume": resume}[name]
            raise ValueError(f"{name} must be {wish}; got {got!r}")


def write_log(path, rows):
    """Write rows (dicts with the same keys) as CSV."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0] if rows else ["epoch"])
        writer.writeheader()
        writer.writerows(rows)


def read_log(path):
    """The rows of a log.csv, as fit returns them."""
    with open(path, newline="") as file:
        return [{k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def plot(log):
    """A figure of loss and, where there was test data, accuracy over the epochs.  log: rows, or the path of a log.csv."""
    from matplotlib.figure import Figure

    rows = log if isinstance(log, list) else read_log(log)
    epochs = [row["epoch"] + 1 for row in rows]
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for name in rows[0]:
            if name.endswith(kind):
                axes.plot(epochs, [row[name] for row in rows], label=name.split("_")[0])
        axes.set(xlabel="epoch", ylabel=kind)
        if axes.lines:
            axes.legend()
    return figure
