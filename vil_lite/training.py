"""Chapter 11: train a classifier: one loop, from a laptop to many GPUs (Hugging Face accelerate, imported here and in _run.py).

    fit(model, train, test, epochs=30)                           in a notebook or a script
    python -m vil_lite photographs --model vil_tiny              on folders of images, from a shell
    accelerate launch -m vil_lite photographs --model vil_tiny   the same on all GPUs of the machine

Chance is a function here, not a history: what is random about an example depends on (seed, epoch, example), what is
random in a step (mixup, drop path) on (seed, step, process).  So a resumed run needs no generator's past: weights,
optimiser, average and step are all its state, and it ends in the same weights, bit for bit, as a run never interrupted.
"""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from vil_lite._files import claim
from vil_lite.complexity import parameters
from vil_lite.loading import as_dataset, check_plain, check_settings, kept_chance, plain
from vil_lite.run_log import plot, read_log  # noqa: F401  (to be found here)

try:
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env
    from tqdm import tqdm

    from vil_lite._run import Run
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("vil_lite.training needs two more packages: pip install accelerate tqdm") from error


class Fit(NamedTuple):
    """model: as trained (the argument of fit).  ema: its moving average or None.  log: one dict per epoch, as in log.csv."""

    model: nn.Module
    ema: nn.Module | None
    log: list[dict[str, float]]


def fit(
    model: nn.Module,
    train: Any,
    test: Any = None,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    min_lr: float = 1e-6,
    warmup: float | None = None,
    weight_decay: float = 0.05,
    clip: float | None = 1.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    ema: float | None = None,
    layer_decay: float | None = None,
    freeze: int = 0,
    precision: str = "auto",
    accumulate: int = 1,
    workers: int = 0,
    seed: int = 0,
    folder: str | Path | None = None,
    save_every: float | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Fit:
    """Train model (images (B, ...) -> logits (B, num_classes)) in place with AdamW; returns Fit(model, ema, log).

    The model stays on the device where accelerate trains: a GPU if there is one.

    train, test: a map-style Dataset of (image tensor, label), or a pair of tensors (images, labels).  test is measured
        after each epoch.
    batch_size: images per step, over all processes.  What is left over at the end of an epoch waits for the next.
    lr, min_lr, warmup: linear warm-up for so many epochs (None: a tenth of the run, at most 5), then a cosine to min_lr.
    weight_decay: on what decay_groups() lists.     clip: largest gradient norm; None for no clipping.
    mixup, cutmix: their alpha; 0 is off.  With both, each step takes one of them at random.
    ema: decay of a moving average of the weights, such as 0.999 (shorter at first); None is off.
    layer_decay, freeze: for fine-tuning.  A factor of the learning rate from layer to layer (recipes.decay_groups), None for
        one rate; and for how many epochs the head learns alone (recipes.is_head) while the rest stays as it is.
    precision: "no" (float32), "bf16", "fp16" (float16 with loss scaling: a step whose gradients overflow is left out), or
        "auto": bf16 on GPUs that compute in it (from Ampere), fp16 on older ones such as a T4, "no" elsewhere.
    accumulate: work through each batch in so many parts, for less memory; the gradient stays that of the whole batch.
    workers: processes that load data.     seed: the run's chance; not the initial weights, which the model brings along,
        nor what the caller draws later: the generators of torch, NumPy and Python are left as they were.
    folder: where log.csv and checkpoint.pt go, after each epoch and every save_every steps; None keeps nothing.
        It is held while the run lasts: a second process is refused.  Ctrl-C saves, after the step in progress.
    resume: go on from folder/checkpoint.pt, if there is one.
    about: what else the checkpoint shall say, plain values by name, such as the classes; a resumed run must say the same.
    progress: show a bar, and a line for each epoch.
    Raises ValueError for bad arguments and labels before training starts, FileExistsError rather than overwrite a run,
    OSError where folder is in use, full or read-only, FloatingPointError that names the step when loss or gradient are not
    finite, KeyboardInterrupt after Ctrl-C.
    (Vision-LSTM, Table 5: its own numbers are in vil_lite.recipes.  Epochs and batch of the defaults are for small data.)
    """
    warmup = min(5, epochs / 10) if warmup is None else warmup
    if precision == "auto":
        precision = best_precision()
    settings: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "min_lr": min_lr,
        "warmup": warmup,
    }
    settings |= {"weight_decay": weight_decay, "clip": clip, "mixup": mixup, "cutmix": cutmix, "ema": ema}
    settings |= {"layer_decay": layer_decay, "freeze": freeze}
    settings |= {"precision": precision, "accumulate": accumulate, "seed": seed}
    settings, save_every = {name: plain(value) for name, value in settings.items()}, plain(save_every)
    check_settings(settings, save_every, folder, resume)
    check_plain({**settings, **{f"about[{name!r}]": value for name, value in (about or {}).items()}})
    train, test = as_dataset(train, "train"), None if test is None else as_dataset(test, "test")
    settings["examples"] = len(train)

    with ExitStack() as stack:
        stack.enter_context(kept_chance())
        if folder is not None and is_main_process():
            stack.enter_context(claim(folder, room_for(model, ema, folder)))
        run = Run(model, train, test, settings, about, workers, folder)
        if folder is not None and run.checkpoint.exists():
            if not resume:
                raise FileExistsError(
                    f"{run.checkpoint} holds a run already: pass resume=True to go on, or another folder"
                )
            run.load()
        run.accelerator.wait_for_everyone()  # nobody writes before everybody has looked
        shown = progress and run.accelerator.is_main_process
        stop = stack.enter_context(gentle_interrupts())
        bar = stack.enter_context(tqdm(total=run.steps, initial=run.step, disable=not shown, unit="step"))
        for epoch in range(len(run.log), epochs):
            started, run.order.epoch, done = time.perf_counter(), epoch, run.step - epoch * run.epoch_steps
            batches = run.accelerator.skip_first_batches(run.batches, done) if done < run.epoch_steps else ()
            for images, labels in run.saved_on_errors(batches):
                bar.set_postfix(loss=f"{run.train_step(images, labels):.3f}", refresh=False)
                bar.update()
                if stop.is_set():
                    run.stop()
                if save_every and run.step % save_every == 0 and run.step % run.epoch_steps:
                    run.save()
            if test is not None:
                run.save()  # whatever happens while testing
            run.finish_epoch(epoch, started, stop)
            run.save()
            if shown:
                tqdm.write(
                    f"epoch {epoch + 1}/{epochs}: " + ", ".join(map(_told, *zip(*list(run.log[-1].items())[3:])))
                )
            if stop.is_set():
                run.stop()
        run.accelerator.free_memory()
    return Fit(model, run.ema and run.ema.module, run.log)


def _told(name: str, value: float) -> str:
    return f"{value:.0f} s" if name == "seconds" else f"{name.replace('_', ' ')} {value:.4f}"


def is_main_process() -> bool:
    """True in the one of all processes of a launch that writes files and speaks."""
    return PartialState(
        cpu=parse_flag_from_env("ACCELERATE_USE_CPU")
    ).is_main_process  # the flag: as Accelerator reads it


def best_precision() -> str:
    """What `precision="auto"` stands for on this machine."""
    if not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "no"
    return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"  # older ones emulate bfloat16, slowly


def room_for(model: nn.Module, ema: float | None, folder: str | Path) -> int:
    """Bytes that a run needs on the disk: for a checkpoint and, from the second on, for the one that is to replace it."""
    size = 4 * parameters(model) * (3 + (ema is not None))
    return size * (1 if (Path(folder) / "checkpoint.pt").exists() else 2)


@contextmanager
def gentle_interrupts() -> Iterator[threading.Event]:
    """Within the block the first Ctrl-C only sets the event that the block gets; the second one is as ever."""
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield asked  # a background job of a shell ignores it; only the main thread may choose
        return

    def note(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
