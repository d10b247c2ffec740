"""Chapters 14 and 15: settings under which ViL trains well in ultralytics, and a plain YOLO's weights as a start."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from ultralytics.nn import tasks


def train_settings(batch: float = 16, device: str | int | None = None, **changes: Any) -> dict[str, Any]:
    """Arguments for YOLO(...).train() that suit gates and small data; `changes` are added or take precedence.

    batch: images of an optimizer step; -1 or a share of the memory lets ultralytics choose, and gather 64 images for a step.
    device: as for ultralytics, "cpu", 0, "0,1", ...; None is the GPU if there is one.  On a CPU the images are read by the
    process that trains; on a GPU by 8 others, and 16 bits a number halve the memory (the gates stay in float32 or better):
    bfloat16 where the GPU computes in it, float16 with a scaled loss on others, such as a T4.  Before float16, the model is
    tried (`survives_float16`; for one without a block of ours, ultralytics downloads another and tries that).
    """
    gpu = torch.cuda.is_available() if device is None else str(device) not in ("cpu", "mps")
    return {
        "batch": batch,
        # ultralytics otherwise gathers 64 images for one optimizer step: on small data, one step an epoch
        **({"nbs": batch} if float(batch) >= 1 else {}),
        "optimizer": "AdamW",  # "auto" may choose an orthogonalising optimizer, which is not made for gates
        "lr0": 2e-3,
        # An optimizer chosen by name keeps ultralytics' default, 0.1, which would carry the forget gates' biases away in the
        # first epoch ("auto" sets 0 by itself).
        "warmup_bias_lr": 0.0,
        # bfloat16 has the range of float32: unlike float16 (amp=True) it needs no scaling of the loss, and no self-test.
        "amp": gpu and ("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else True),
        "workers": 8 if gpu else 0,
        "plots": False,
        **({} if device is None else {"device": device}),
        **changes,
    }


def survives_float16(network, image_size=256):
    """Whether a network computes in torch's mixed precision what it computes in float32, on its device: amp=True's self-test.

    network: the nn.Module of a YOLO, which stays as it is.   image_size: height and width of the images of noise, in pixels.
    True when all predictions and the gradient of their means are finite, and each is off by less than a tenth of its length
    (its numbers taken as one vector).
    """
    network = copy.deepcopy(network).eval()
    for part in network.modules():  # as in training: what it has seen so far, nothing perhaps, would shrink all signals
        part.train(isinstance(part, nn.BatchNorm2d))
    device = next(network.parameters()).device
    channels = network.yaml.get("channels", 3)  # of the data
    images = torch.rand(2, channels, image_size, image_size, generator=torch.Generator().manual_seed(0))
    images = images.to(device).requires_grad_()
    wanted = _numbers(network(images))
    with torch.autocast(device.type, torch.float16):
        got = _numbers(network(images))
    (gradient,) = torch.autograd.grad(sum(x.float().mean() for x in got), images)
    close = [(x.float() - y).norm() < 0.1 * y.norm() for x, y in zip(got, wanted, strict=True)]
    return bool(gradient.isfinite().all()) and all(close)  # what is not finite is not less either


def _numbers(output):
    """All tensors of floating-point numbers in a network's predictions, as they are decoded and before.

    The maps that its head reads are returned beside them and are none: in a deep new network they carry more of the rounding.
    """
    if isinstance(output, dict):
        output = [part for name, part in output.items() if name != "feats"]
    if isinstance(output, (list, tuple)):
        return [x for part in output for x in _numbers(part)]
    return [output] if torch.is_tensor(output) and output.is_floating_point() else []


def train_in_bfloat16(model):
    """From now on, model.train() computes convolutions and products in bfloat16 on a CPU; weights, losses and validation stay
    in float32.

    model: a YOLO.   For CPUs that multiply bfloat16 (AMX, AVX512-BF16; `lscpu` names them): there a YOLOv8n takes twice as
    many images a second, on others fewer.  ultralytics' own amp="bf16" is for GPUs.
    """
    model.add_callback("on_train_start", _cast_on_the_way)


def _cast_on_the_way(trainer):
    casts = []

    def enter(layer, inputs):
        casts.append(torch.autocast("cpu", torch.bfloat16))
        casts[-1].__enter__()

    def leave(layer, inputs, output):
        casts.pop().__exit__(None, None, None)

    trainer.model.to(memory_format=torch.channels_last)  # what these CPUs' convolutions read without rearranging
    layers = trainer.model.model  # one by one: the network's own forward computes the loss, too
    for layer in layers:
        layer.register_forward_pre_hook(enter)
        layer.register_forward_hook(leave, always_call=True)
    layers[-1].register_forward_hook(lambda head, inputs, output: _in_float32(output))


def _in_float32(output):
    """What a head returns, for the loss: tensors of floating-point numbers in float32."""
    if isinstance(output, dict):
        return {name: _in_float32(part) for name, part in output.items()}
    if isinstance(output, (list, tuple)):
        return type(output)(_in_float32(part) for part in output)
    return output.float() if torch.is_tensor(output) and output.is_floating_point() else output


class Loaded(NamedTuple):
    """What `load_weights` did: names of tensors, and how many numbers they hold."""

    loaded: list  # taken over
    missing: list  # of the model, not in the source, or of another shape there: they keep their initial values
    unused: list  # of the source, without a place in the model
    fraction: float  # of the model's parameters and buffers, by count of numbers, that were loaded

    def __str__(self):
        total = len(self.loaded) + len(self.missing)
        lines = [f"{len(self.loaded)} of {total} tensors loaded ({self.fraction:.1%} of the model's numbers)"]
        for title, names in (("keeps its initial values", self.missing), ("not used from the source", self.unused)):
            for part, count in _by_part(names).items():
                lines.append(f"  {title}: {part} ({count} tensors)")
        return "\n".join(lines)


def load_weights(model: Any, source: Any) -> Loaded:
    """Copy into `model` every weight of `source` that has the same name and shape, and return a report to print.

    model: a YOLO or its nn.Module.       source: a path to a .pt file, a YOLO, an nn.Module or a state dict.
    A file is read with restricted loading, which runs no code from it.  After this, YOLO(...).train() starts from these
    weights; set by hand, they would be lost, because the trainer builds the model anew.
    Raises ValueError when the source cannot be read as a YOLO, when not a single tensor fits, and when one of the two is fused
    and the other is not.
    """
    network = model if isinstance(model, nn.Module) and not hasattr(model, "ckpt") else model.model
    target, given = network.state_dict(), _state_dict(source)
    fits = {k: v for k, v in given.items() if k in target and v.shape == target[k].shape}
    if not fits:
        raise ValueError(
            "no tensor of the source has the name and shape of one in the model; is it a YOLOv8 of this scale?"
        )
    for fused, other, name in ((given, target, "source"), (target, given, "model")):
        if _norms_of_biases(fused) & other.keys() - fused.keys():
            raise ValueError(
                f"{name}: it is fused, its norms are folded into its convolutions, and those of the other are not; build or "
                "read it anew and load before fuse()"
            )
    network.load_state_dict(fits, strict=False)
    if network is not model:
        model.ckpt = {"model": network}  # tells YOLO.train() that the weights of this object count
    size = {k: v.numel() for k, v in target.items()}
    missing, unused = [k for k in target if k not in fits], [k for k in given if k not in fits]
    return Loaded(list(fits), missing, unused, sum(size[k] for k in fits) / sum(size.values()))


def _state_dict(source):
    if isinstance(source, dict):
        return source
    if isinstance(source, nn.Module) and not hasattr(source, "ckpt"):
        return source.state_dict()
    if hasattr(source, "ckpt"):
        return source.model.state_dict()
    if not isinstance(source, (str, Path)):
        raise ValueError(
            f"source: {source!r} is no source of weights; pass the path of a .pt file, a YOLO, an nn.Module or a state dict"
        )
    try:
        checkpoint, _ = tasks.torch_safe_load(source, safe_only=True)
        return (checkpoint.get("ema") or checkpoint["model"]).float().state_dict()
    except Exception as error:
        there = "is not a checkpoint of a YOLO" if Path(source).is_file() else "is not there"
        raise ValueError(
            f"source: {str(source)!r} {there} ({type(error).__name__}: {error}); name a .pt file that ultralytics wrote, "
            "or pass a YOLO, an nn.Module or a state dict (a file with classes of your own needs "
            "torch.serialization.add_safe_globals)"
        ) from error


def _norms_of_biases(names):
    """The norms whose biases fuse() puts into convolutions: model.0.conv.bias -> model.0.bn.bias"""
    return {f"{name.removesuffix('conv.bias')}bn.bias" for name in names if name.endswith(".conv.bias")}


def _by_part(names):
    """Names counted by layer and part: model.6.m.0.norm.weight -> model.6.m.0"""
    return Counter(".".join(name.split(".")[: 4 if ".m." in name else 3]) for name in names)
