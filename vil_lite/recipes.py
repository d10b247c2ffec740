"""Chapter 11: what a training run is made of: the paper's Tables 5 and 6, their ingredients, and the DeiT-III baseline.

r = recipe("vil_small", batch_size=256)
model = create_model("vil_small", num_classes=5, image_size=r.image_size, **r.model)
fit(model, ImageFolder("train", augment(r.image_size)), ImageFolder("val", preprocess(r.image_size)), **r.fit)
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.transforms import v2

from vil_lite._names import did_you_mean

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours


class Recipe(NamedTuple):
    """image_size: pixels.  model: arguments for create_model or deit3_tiny.  fit: arguments for vil_lite.training.fit."""

    image_size: int
    model: dict[str, Any]
    fit: dict[str, Any]


#: Table 5.  lr is that of a batch of 1024.
VIL = {"lr": 1e-3, "min_lr": 1e-6, "warmup": 5, "weight_decay": 0.05, "clip": 1.0, "mixup": 0.8, "cutmix": 1.0}
#: name -> pixels, drop path, what fit takes
RECIPES: dict[str, tuple[int, float, dict[str, Any]]] = {
    "vil_tiny": (224, 0.0, {**VIL, "epochs": 800, "batch_size": 2048}),
    "vil_tinyplus": (224, 0.0, {**VIL, "epochs": 800, "batch_size": 2048}),
    "vil_small": (224, 0.05, {**VIL, "epochs": 400, "batch_size": 1024}),
    "vil_smallplus": (224, 0.05, {**VIL, "epochs": 400, "batch_size": 1024}),
    "vil_base": (224, 0.2, {**VIL, "epochs": 400, "batch_size": 2048}),
    # Of version 2 the paper gives no table: the values of version 1.
    "vil2_tiny": (224, 0.0, {**VIL, "epochs": 800, "batch_size": 2048}),
    "vil2_small": (224, 0.05, {**VIL, "epochs": 400, "batch_size": 1024}),
    "vil2_base": (224, 0.2, {**VIL, "epochs": 400, "batch_size": 2048}),
    # Table 6: the same but for the clipping; then 20 epochs of "deit3_tiny_224".
    "deit3_tiny": (192, 0.0, {**VIL, "epochs": 800, "batch_size": 1024, "clip": None}),
    "deit3_tiny_224": (224, 0.0, {**VIL, "epochs": 20, "batch_size": 1024, "clip": None, "lr": 1e-5}),
    # Fine-tuning with stride=8 (729 tokens at 224 pixels) at a constant learning rate.
    "long_sequence": (
        224,
        0.0,
        {**VIL, "epochs": 30, "batch_size": 1024, "lr": 1e-5, "min_lr": 1e-5, "warmup": 0, "weight_decay": 1e-8},
    ),
}


def recipe(name: str, batch_size: int | None = None, **changes: Any) -> Recipe:
    """The paper's settings by name (the keys of RECIPES) as Recipe(image_size, model, fit).

    batch_size: another than the paper's; the learning rates follow in proportion, as in the paper.  changes: to `fit`.
    Raises ValueError that lists the names.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}{did_you_mean(name, RECIPES)}; there are: {', '.join(RECIPES)}")
    image_size, drop_path, fit = RECIPES[name]
    batch_size = fit["batch_size"] if batch_size is None else batch_size
    scaled = {rate: fit[rate] * batch_size / 1024 for rate in ("lr", "min_lr")}
    return Recipe(image_size, {"drop_path": drop_path}, {**fit, "batch_size": batch_size, **scaled, **changes})


def decay_groups(model: nn.Module, weight_decay: float, layer_decay: float | None = None) -> list[dict[str, Any]]:
    """Parameters for an optimiser: weight decay on matrices and kernels, none on vectors (norms, biases, skips), position
    embeddings and [CLS] tokens.

    layer_decay: for fine-tuning, a factor of the learning rate from one layer to the layer before it, such as 0.65 (the
    paper's for dense tasks).  Each group then has its "lr_scale" = layer_decay ** (layers above it): 1 for the head and the
    norm before it, layer_decay for the last block and the norm of its tokens, and so on down to the patches, as in timm.
    Raises ValueError when layer_decay is not in (0, 1], or the model's blocks are not in a list called `blocks`.
    """
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, or None for one rate, got {layer_decay!r}")
    top = 1 + max((_layer(name) or 0 for name, _ in model.named_parameters()), default=0)
    if layer_decay is not None and top == 1:
        raise ValueError("layer_decay needs a model with a list of blocks called `blocks`; pass None for one rate")
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {(0, False): [], (0, True): []}
    for name, parameter in model.named_parameters():
        layer = _layer(name)
        if layer is None and _bare(name).split(".")[0] in {"token_norm", "norm"}:
            layer = top - 1
        above = 0 if layer is None or layer_decay is None else top - layer
        free = parameter.ndim < 2 or bool({"pos_embed", "cls_token"} & set(name.split(".")))
        groups.setdefault((above, free), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": 0.0 if free else weight_decay}
        | ({} if layer_decay is None else {"lr_scale": layer_decay**above})
        for (above, free), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]


def _layer(name: str) -> int | None:
    """0 for patches, positions and [CLS] tokens, n for block n counted from 1, None for what comes after the blocks."""
    if found := re.search(r"(?:^|\.)blocks\.(\d+)\.", name):
        return int(found[1]) + 1
    return 0 if {"patch_embed", "pos_embed", "cls_token"} & set(name.split(".")) else None


def _bare(name: str) -> str:
    """Without what a wrapper puts before it: torch.compile, data parallelism, an average of weights."""
    return re.sub(r"^((module|_orig_mod)\.)+", "", name)


def is_head(name: str) -> bool:
    """True for the name of a parameter of the classifier's head, or of the norm of the pooled vector before it."""
    return _bare(name).split(".")[0] in {"head", "pooled_norm", "fc_norm", "fc", "classifier"}


def learning_rate(step: int, steps: int, warmup_steps: int, lr: float, min_lr: float) -> float:
    """The learning rate of one step: up in a line, down in half a cosine.  A function of the step, so it has no state."""
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2


def mixer(mixup: float, cutmix: float, num_classes: int) -> v2.RandomChoice | None:
    """Mix the images of a batch and their labels (then (B, num_classes)): mixup, cutmix, either at random, or None."""
    mixers = [v2.MixUp(alpha=mixup, num_classes=num_classes)] if mixup else []
    mixers += [v2.CutMix(alpha=cutmix, num_classes=num_classes)] if cutmix else []
    return v2.RandomChoice(mixers) if mixers else None


def average(decay: float) -> Callable[..., None]:
    """How a moving average of weights blends: with decay, but (1 + n) / (10 + n) at first, so that it forgets the start."""

    def blend(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + int(count)) / (10 + int(count))))(averaged, current, count)

    return blend


def augment(image_size: int = 224, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> v2.Compose:
    """RGB image of any size -> training tensor (3, image_size, image_size): random crop, flip, 3-Augment, colour jitter."""
    three = [v2.Grayscale(num_output_channels=3), v2.RandomSolarize(0.5, p=1.0), v2.GaussianBlur(13, sigma=(0.1, 2.0))]
    return v2.Compose(
        [
            v2.RandomResizedCrop(image_size, scale=(0.08, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomChoice(three),
            v2.ColorJitter(0.3, 0.3, 0.3),
            v2.Normalize(mean, std),
        ]
    )


def preprocess(image_size: int = 224, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> v2.Compose:
    """RGB image of any size -> tensor (3, image_size, image_size) for evaluation: short side resized, centre cut out."""
    return v2.Compose(
        [
            v2.Resize(image_size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(image_size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )


def deit3_tiny(
    image_size: int | tuple[int, int] = 192,
    patch_size: int = 16,
    channels: int = 3,
    num_classes: int = 1000,
    dim: int = 192,
    depth: int = 12,
    num_heads: int = 3,
    **options: Any,
) -> nn.Module:
    """DeiT-III-T, the plain vision transformer to compare with: [CLS], learned positions, LayerScale 1e-4 (Table 6).

    image_size: int or (height, width).  options go to timm's VisionTransformer (dynamic_img_size=True for other sizes).
    As in DeiT III, the [CLS] token has no position.  Raises ModuleNotFoundError when timm is missing.
    """
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the DeiT-III baseline comes from timm: pip install timm") from error
    return VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        in_chans=channels,
        num_classes=num_classes,
        embed_dim=dim,
        depth=depth,
        num_heads=num_heads,
        init_values=1e-4,
        no_embed_class=True,
        **options,
    )
