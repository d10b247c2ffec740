"""A training run on its way: what its checkpoint holds, and one method for each thing that is done with it."""

import math
import time
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, is_initialized
from accelerate.utils import DataLoaderConfiguration, parse_choice_from_env
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from vil_lite._files import whole
from vil_lite.loading import Examples, Order, autocast, check_data, ignore_interrupts, seed_step
from vil_lite.recipes import average, decay_groups, is_head, learning_rate, mixer
from vil_lite.run_log import write_log
from vil_lite.trained import read_checkpoint


class Run:
    """The state of training.fit, which holds the meaning of all arguments."""

    def __init__(self, model, train, test, settings, about, workers, folder):
        self.settings, self.raw, self.about, self.saves = settings, model, dict(about or {}), folder is not None
        self.checkpoint = Path(folder or ".") / "checkpoint.pt"
        self.step, self.log, self.loss_sum = 0, [], 0.0
        check_accelerate()
        # Every process takes its slice of each batch.  Autocast is ours: accelerate's would be one choice per Python process.
        split = DataLoaderConfiguration(split_batches=True)
        self.accelerator = Accelerator(mixed_precision="no", dataloader_config=split)
        processes, batch_size = self.accelerator.num_processes, settings["batch_size"]
        if batch_size % processes:
            raise ValueError(f"batch_size = {batch_size} must be a multiple of the number of processes, {processes}")
        if batch_size > len(train):
            raise ValueError(
                f"batch_size = {batch_size} is more than the {len(train)} images of train; make it smaller"
            )

        seed, num_classes = settings["seed"], check_data(model, train, test, settings["precision"])
        self.mix = mixer(settings["mixup"], settings["cutmix"], num_classes)
        common = {"batch_size": batch_size, "num_workers": workers, "persistent_workers": workers > 0}
        common["worker_init_fn"] = ignore_interrupts  # Ctrl-C reaches all processes of a terminal
        self.order = Order(len(train), seed, shuffle=True)
        examples = Examples(train, "train", num_classes, seed)
        batches, tests = DataLoader(examples, sampler=self.order, drop_last=True, **common), None
        if test is not None:
            examples = Examples(test, "test", num_classes, seed)
            tests = DataLoader(examples, sampler=Order(len(test), seed, shuffle=False), **common)
        optimizer = torch.optim.AdamW(
            decay_groups(model, settings["weight_decay"], settings["layer_decay"]),
            lr=settings["lr"],
            betas=(0.9, 0.999),
        )
        prepared = self.accelerator.prepare(model, optimizer, batches, tests)
        self.model, self.optimizer, self.batches, self.tests = prepared
        self.ema = None if settings["ema"] is None else AveragedModel(model, multi_avg_fn=average(settings["ema"]))
        self.scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=settings["precision"] == "fp16")
        self.frozen = [p for name, p in model.named_parameters() if not is_head(name)] if settings["freeze"] else []
        if len(self.frozen) == len(list(model.parameters())) > 0:
            raise ValueError("freeze: the model has no parameters called head, fc or classifier to train alone; pass 0")
        self.epoch_steps = len(batches)
        self.steps = self.epoch_steps * settings["epochs"]

    def autocast(self):
        return autocast(self.accelerator.device, self.settings["precision"])

    def rate(self, step):
        s = self.settings
        return learning_rate(step, self.steps, round(s["warmup"] * self.epoch_steps), s["lr"], s["min_lr"])

    def train_step(self, images, labels):
        """One update; returns the loss, a float."""
        s = self.settings
        seed_step(s["seed"], "step", self.step, self.accelerator.process_index)
        lr = self.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
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
                self.accelerator.backward(self.scaler.scale(part_loss))
            loss += part_loss.detach()
        optimizer = self.optimizer.optimizer  # within accelerate's, which would look for a scaler of its own
        self.scaler.unscale_(optimizer)
        if self.step < s["freeze"] * self.epoch_steps:
            for parameter in self.frozen:
                parameter.grad = None  # neither moved nor decayed nor counted in the norm
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), s["clip"] or math.inf)
        # A gradient too large for float16 is no fault: the scaler leaves the step out and halves the scale of the next.
        overflow = s["precision"] == "fp16" and math.isfinite(loss) and self.scaler.get_scale() > 1
        if not math.isfinite(loss + norm) and not overflow:  # before the update: the weights are still good
            raise FloatingPointError(
                f"loss {loss:.3g}, gradient norm {norm:.3g} at step {self.step} of {self.steps} (epoch "
                f"{self.step // self.epoch_steps}), lr {lr:.2g}, precision {s['precision']!r}: this step was not taken.  "
                "Check the images for NaN and infinity; else lower lr, lengthen warmup, set clip=1.0 or precision='no'"
            )
        self.scaler.step(optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update_parameters(self.raw)
        self.step += 1
        self.loss_sum += loss.item()
        return loss.item()

    def saved_on_errors(self, batches):
        """The batches.  If one cannot be read, what has been learned so far is saved first."""
        before = self.step
        try:
            yield from batches
        except Exception:
            if self.step > before and self.accelerator.num_processes == 1:  # of several, the others are elsewhere
                self.save()
            raise

    def stop(self):
        """Save and raise KeyboardInterrupt."""
        if self.accelerator.num_processes == 1:
            self.save()
        raise KeyboardInterrupt(f"stopped after step {self.step} of {self.steps}")

    def finish_epoch(self, epoch, started, stop):
        """Add a row to the log."""
        row = {"epoch": epoch, "step": self.step, "lr": self.rate(self.step - 1)}
        row["train_loss"] = self.mean_loss() / self.epoch_steps
        self.loss_sum = 0.0
        if self.tests is not None:
            row["test_loss"], row["test_accuracy"] = self.evaluate(self.model, stop)
            if self.ema:
                row["ema_loss"], row["ema_accuracy"] = self.evaluate(self.ema, stop)
        row["seconds"] = time.perf_counter() - started
        self.log.append(row)

    def mean_loss(self):
        """The sum of the epoch's losses so far, averaged over the processes."""
        if self.accelerator.num_processes == 1:
            return self.loss_sum
        loss_sum = torch.tensor(self.loss_sum, device=self.accelerator.device)
        return self.accelerator.reduce(loss_sum, "mean").item()

    @torch.no_grad()
    def evaluate(self, model, stop):
        """Mean loss and accuracy on the test data."""
        model.eval()
        rows = []
        for images, labels in self.tests:
            if stop.is_set():
                raise KeyboardInterrupt(f"stopped while testing after step {self.step} of {self.steps}")
            with self.autocast():
                logits = model(images)
            losses = F.cross_entropy(logits.float(), labels, reduction="none")
            row = torch.stack([losses, (logits.argmax(1) == labels).float()], dim=1)
            rows.append(self.accelerator.gather_for_metrics(row))  # of all processes, each example once
        return torch.cat(rows).mean(0).tolist()

    def save(self):
        """Write checkpoint.pt and log.csv, if there is a folder; whenever the process is killed, a whole checkpoint is there."""
        if not self.saves:
            return
        loss_sum = self.mean_loss()  # all processes take part in this line, one in the rest
        if self.accelerator.is_main_process:
            state = {"model": self.raw.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
            state |= {"ema": self.ema and self.ema.state_dict(), "scaler": self.scaler.state_dict()}
            state |= {"settings": self.settings, "about": self.about, "log": self.log, "loss_sum": loss_sum}
            with whole(self.checkpoint, "wb", sync=True) as file:
                torch.save(state, file)
            write_log(self.checkpoint.with_name("log.csv"), self.log)

    def load(self):
        state = read_checkpoint(self.checkpoint)
        then, now = {**state["about"], **state["settings"]}, {**self.about, **self.settings}
        if other := sorted(name for name in then | now if then.get(name) != now.get(name)):
            told = "; ".join(f"{name} was {then.get(name)!r}, now {now.get(name)!r}" for name in other)
            raise ValueError(f"{self.checkpoint} is from another run: {told}.  Pass what it had, or another folder")
        self.raw.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.step, self.log, self.loss_sum = state["step"], state["log"], state["loss_sum"]


def check_accelerate():
    """ValueError where this process has accelerate set up in a way that would change what fit does."""
    precision = AcceleratorState().mixed_precision if is_initialized() else "no"
    parts = max(GradientState().num_steps, int(parse_choice_from_env("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")))
    if precision != "no" or parts != 1:
        raise ValueError(
            f"accelerate is set to mixed_precision={precision!r}, gradient_accumulation_steps={parts} for all of this process "
            "(an Accelerator made before, or the environment); call fit in a process of its own, or with 'no' and 1 there, "
            "and pass precision and accumulate to fit"
        )
