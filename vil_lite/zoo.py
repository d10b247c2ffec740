"""Chapter 10: the models of this library in timm.  `import vil_lite.zoo` registers them, with timm's words for options:

    timm.create_model("vil_tiny", pretrained=True, num_classes=10, img_size=256, in_chans=3, drop_path_rate=0.1)
    timm.create_model("vil_tiny", features_only=True, out_indices=(7, 11, 15, 23))   # images -> list of (B, dim, H, W)
    timm.list_models("vil*", pretrained=True)                                        # "vil_tiny.e800_in1k", ...

What timm's programs call on a model (reset_classifier, forward_intermediates, ...) stands in VisionLSTM itself.
As everywhere in timm, num_classes=0 keeps the norm of the pooled vector: what comes out is what the head would read.
"""

from contextlib import nullcontext

import torch

from vil_lite.block import ViLBlock
from vil_lite.checkpoints import FILES, URL, converted_state_dict, source_of, state_dict_in
from vil_lite.layers import PatchEmbed, PositionEmbedding
from vil_lite.model import SIZES, VisionLSTM
from vil_lite.recipes import MEAN, STD

try:
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, register_notrace_module
    from timm.models._builder import resolve_pretrained_cfg
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("vil_lite.zoo registers with timm: pip install timm") from error

RENAMED = {"in_chans": "channels", "img_size": "image_size", "drop_path_rate": "drop_path", "global_pool": "pooling"}

#: What the published weights expect.
PREPROCESSING = {
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": (14, 14),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": MEAN,
    "std": STD,
    "first_conv": "patch_embed.proj",
    "classifier": "head",
}


def _configurations():
    """timm's "name.tag" -> preprocessing and address: vil_tiny16_e800_in1k.th has the tag e800_in1k."""
    for name in SIZES:
        if name not in FILES:
            yield name, PREPROCESSING
        for file in FILES.get(name, ()):
            tag = file.split("16_")[1].removesuffix(".th")
            grid = {"pool_size": (27, 27)} if tag.endswith("stride8") else {}
            yield f"{name}.{tag}", {**PREPROCESSING, **grid, "url": URL + file}


default_cfgs = generate_default_cfgs(dict(_configurations()))


def _vision_lstm(device=None, dtype=None, **options):
    """VisionLSTM from timm's words."""
    options = {RENAMED.get(key, key): value for key, value in options.items()}
    num_classes, pooling = options.pop("num_classes"), options.pop("pooling", None)
    with torch.device(device) if device else nullcontext():
        model = VisionLSTM(num_classes=num_classes or 1, pooling=pooling or None, **options)
    if not num_classes or pooling == "":
        model.reset_classifier(num_classes, pooling)
    return model.to(dtype=dtype)


def _convert(state_dict, model):
    """The published weights in our names, strictly; timm fits the first convolution and the head itself."""
    theirs = {"patch_embed.proj.weight"} if model.in_chans != 3 else set()
    theirs |= {"head.weight", "head.bias"} if model.num_classes != PREPROCESSING["num_classes"] else set()
    return converted_state_dict(model, state_dict_in(state_dict), unchecked=theirs)


def _build(name, pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, **options):
    cfg = resolve_pretrained_cfg(name, pretrained_cfg, pretrained_cfg_overlay)
    if cfg.url and cfg.url.startswith(URL):
        pretrained_cfg_overlay = {**(pretrained_cfg_overlay or {}), "url": source_of(cfg.url.removeprefix(URL))}
    if (cfg.tag or "").endswith("stride8"):
        options.setdefault("stride", 8)
    dim, depth, version = SIZES[name]
    return build_model_with_cfg(
        _vision_lstm,
        name,
        pretrained,
        pretrained_cfg=pretrained_cfg,
        pretrained_cfg_overlay=pretrained_cfg_overlay,
        pretrained_filter_fn=_convert,
        feature_cfg={"out_indices": (7, 11, 15, 23), "feature_cls": "getter"},
        **{"dim": dim, "depth": depth, "version": version, **options},
    )


def _register(name):
    def entry(pretrained=False, **options):
        return _build(name, pretrained, **options)

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"Vision-LSTM, {name}."
    register_model(entry)


for _module in (ViLBlock, PatchEmbed, PositionEmbedding):  # they look at sizes, which a symbolic trace does not know
    register_notrace_module(_module)
for _name in SIZES:
    _register(_name)
