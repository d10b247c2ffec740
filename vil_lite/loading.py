"""Chapter 11: examples for training: checked before the first step, and random in a way that can be repeated.

What is random about an example (crop, flip, colours) is drawn from a seed made of (seed, epoch, index).  So it is the same
with any number of processes and workers, and in a run that was interrupted and resumed.
"""

import io
import operator
import random
import signal
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, Subset, TensorDataset

from vil_lite._names import did_you_mean

PRECISIONS = ("auto", "bf16", "fp16", "no")


class Examples(Dataset):
    """(epoch, index) -> (image, label int): data with its chance fixed and its labels checked one by one.

    Raises ValueError that names the example when its label is not an integer in 0 .. num_classes - 1.
    """

    def __init__(self, data, name, num_classes, seed):
        self.data, self.name, self.num_classes, self.seed = data, name, num_classes, seed

    def __len__(self):
        return len(self.data)

    def __getitem__(self, key):
        epoch, index = key
        seed_example(self.seed, self.name, epoch, index)
        image, label = self.data[index]
        return image, check_label(label, self.num_classes, f"{self.name}[{index}]")


class Order(Sampler):
    """Keys (epoch, index) for Examples, in an order that depends on (seed, epoch) alone; set `epoch` before iterating."""

    def __init__(self, length, seed, shuffle):
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, 0

    def __len__(self):
        return self.length

    def __iter__(self):
        indices = list(range(self.length))
        if self.shuffle:
            random.Random(f"{self.seed}/order/{self.epoch}").shuffle(indices)
        return ((self.epoch, index) for index in indices)


def seed_example(*parts):
    """Seed the generators that transforms draw from: torch's on the processor, NumPy's, Python's.  Returns the seed."""
    number = random.Random("/".join(map(str, parts))).getrandbits(32)
    torch.default_generator.manual_seed(number)  # torch.manual_seed takes ten times as long
    np.random.seed(number)
    random.seed(number)
    return number


def seed_step(*parts):
    """Seed the same, and torch on all devices."""
    torch.manual_seed(seed_example(*parts))


@contextmanager
def kept_chance():
    """Within the block those generators may be seeded; then they are as they were before it."""
    generators = [(torch.get_rng_state, torch.set_rng_state), (np.random.get_state, np.random.set_state)]
    generators += [(random.getstate, random.setstate)]
    for device in (torch.cuda, torch.xpu):
        generators += [(device.get_rng_state_all, device.set_rng_state_all)] if device.is_initialized() else []
    generators += [(torch.mps.get_rng_state, torch.mps.set_rng_state)] if torch.backends.mps.is_available() else []
    states = [get() for get, _ in generators]
    try:
        yield
    finally:
        for (_, put), state in zip(generators, states):
            put(state)


def autocast(device, precision):
    """The context in which a model computes with this precision."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def as_dataset(data, name):
    """A map-style Dataset from a Dataset or from a pair of tensors (images (N, ...), labels (N,)); else ValueError."""
    if isinstance(data, (tuple, list)):
        if len(data) != 2 or not all(isinstance(part, torch.Tensor) for part in data):
            raise ValueError(f"{name} must be a Dataset or a pair of tensors (images, labels), got {summary(data)}")
        if len(data[0]) != len(data[1]) or data[1].ndim != 1:
            raise ValueError(
                f"{name}: {len(data[0])} images and labels of shape {tuple(data[1].shape)}; one label per image is wanted"
            )
        data = TensorDataset(*data)
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise ValueError(f"{name} must have a length and examples by index (a map-style Dataset), got {summary(data)}")
    if len(data) == 0:
        raise ValueError(f"{name} is empty; give it at least one image")
    return data


def check_data(model, train, test, precision):
    """Run one image through the model, compare all labels that can be read without an image; returns num_classes."""
    for name, data in (("train", train), ("test", test)):
        if data is None:
            continue
        example = data[0]
        if not (isinstance(example, (tuple, list)) and len(example) == 2):
            raise ValueError(f"{name}[0] must be a pair (image, label), got {summary(example)}")
        image = example[0]
        if not (isinstance(image, torch.Tensor) and image.is_floating_point()):
            raise ValueError(
                f"{name}: images must be float tensors, got {summary(image)}; give the dataset a transform "
                "(vil_lite.recipes.augment or preprocess), or divide a uint8 tensor by 255"
            )
        num_classes = count_classes(model, image, name, precision)
        labels, first = labels_of(data), 0
        if labels is not None and not labels.is_floating_point():
            wrong = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
            first = int(wrong[0]) if len(wrong) else 0
        # As the dataset gives it: it may count its classes otherwise than what it keeps.
        check_label((data[first] if first else example)[1], num_classes, f"{name}[{first}]")
    return num_classes


@torch.no_grad()
def count_classes(model, image, name, precision):
    """The number of logits that the model gives for one image; ValueError when it gives something else."""
    training, parameter = model.training, next(model.parameters())
    model.eval()
    try:
        # As in training, where images keep their type.
        with autocast(parameter.device, precision if image.dtype != parameter.dtype else "no"):
            logits = model(image[None].to(parameter.device))
    except (RuntimeError, TypeError) as error:
        if image.dtype == parameter.dtype:
            raise
        remedy = f"images are {image.dtype} and the weights {parameter.dtype}; use images.to({parameter.dtype})"
        raise ValueError(f"{name}: {remedy}") from error
    finally:
        model.train(training)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError(f"model must return logits (B, num_classes), got {summary(logits)}")
    return logits.shape[1]


def labels_of(data):
    """All labels (N,) where a dataset keeps them apart from its images, else None."""
    if isinstance(data, Subset):
        labels = labels_of(data.dataset)
        return None if labels is None else labels[torch.as_tensor(data.indices)]
    if isinstance(data, TensorDataset):
        return data.tensors[1]
    if getattr(data, "target_transform", None) is not None:
        return None
    try:
        labels = torch.as_tensor(data.targets)  # where torchvision's datasets keep them
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
    return labels if labels.shape == (len(data),) else None


def check_label(label, num_classes, name):
    """The label as an int; ValueError when it is none or the model has no such class."""
    try:
        label = operator.index(label)
    except TypeError:
        raise ValueError(
            f"{name}: a label must be one integer, got {summary(label)}; count the classes from 0"
        ) from None
    if not 0 <= label < num_classes:
        raise ValueError(
            f"{name} has label {label}, but the model's {num_classes} classes are 0 to {num_classes - 1}: "
            "count the classes from 0, or build the model with a larger num_classes"
        )
    return label


def summary(value):
    """What a value is, in a few words, for messages."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def plain(value):
    """A number of NumPy's or torch's as Python's: a checkpoint, which is read without running code, gives back no other."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def check_plain(values):
    """Raise ValueError that names the first value which a checkpoint would not give back as it is."""
    for name, value in values.items():
        try:
            torch.save(value, buffer := io.BytesIO())
            buffer.seek(0)
            fine = bool(torch.load(buffer, weights_only=True) == value)
        except Exception:  # whatever the value raises when it is written, read or compared
            fine = False
        if not fine:
            raise ValueError(f"{name} must be of plain values (numbers, strings, lists, dicts), got {summary(value)}")


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
    wanted["layer_decay"] = s["layer_decay"] is None or 0 < s["layer_decay"] <= 1, "above 0, at most 1, or None"
    wanted["freeze"] = 0 <= s["freeze"] <= s["epochs"], f"from 0 (off) to epochs = {s['epochs']}"
    hint = did_you_mean(s["precision"], PRECISIONS)
    wanted["precision"] = s["precision"] in PRECISIONS, "one of 'auto', 'bf16', 'fp16' and 'no'" + hint
    wanted["resume"] = not (resume and folder is None), "False without a folder to resume from"
    for name, (fine, wish) in wanted.items():
        if not fine:
            got = {**s, "save_every": save_every, "resume": resume}[name]
            raise ValueError(f"{name} must be {wish}; got {got!r}")


def ignore_interrupts(_worker):
    """For a process that loads data: Ctrl-C is its parent's to deal with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
