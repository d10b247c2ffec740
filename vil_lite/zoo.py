"""The models of this library under their names in timm: timm.create_model("vil_tiny", ...).

`import vil_lite` is enough, before or after `import timm`, and does not import timm.  timm's own names of options work:

    timm.create_model("vil_tiny", pretrained=True, num_classes=10, img_size=256, in_chans=3, drop_path_rate=0.1)
    timm.create_model("vil_tiny", features_only=True, out_indices=(7, 11, 15, 23))   # images -> list of (B, dim, H, W)
"""

import importlib.abc
import importlib.machinery
import sys

from torch import nn

from vil_lite.checkpoints import FILES, URL
from vil_lite.model import SIZES, create_model

RENAMED = {"in_chans": "channels", "img_size": "image_size", "drop_path_rate": "drop_path", "global_pool": "pooling"}
OF_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # passed to every builder; the weights here are not timm's

#: The preprocessing that the published weights expect, in timm's words.
PREPROCESSING = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


class FeatureMaps(nn.Module):
    """images (B, channels, height, width) -> a list of (B, dim, H, W): the tokens after the blocks `out_indices`.

    feature_info says channels() and reduction() of each, as for timm's own backbones.
    """

    def __init__(self, model, out_indices):
        super().__init__()
        from timm.models import FeatureInfo

        depth = len(model.encoder.blocks)
        if wrong := [b for b in out_indices if not -depth <= b < depth]:
            raise ValueError(f"out_indices must lie in 0 .. {depth - 1}, got {wrong}")
        self.model, self.out_indices = model, [b % depth for b in out_indices]
        stride = model.patch_embed.stride
        info = [{"num_chs": model.dim, "reduction": stride, "module": f"encoder.blocks.{b}"} for b in range(depth)]
        self.feature_info = FeatureInfo(info, tuple(self.out_indices))

    def forward(self, images):
        return self.model.feature_maps(images, self.out_indices)


def build(name, pretrained=False, features_only=False, out_indices=(7, 11, 15, 23), **options):
    """create_model with timm's names of options; features_only=True gives a FeatureMaps."""
    options = {RENAMED.get(key, key): value for key, value in options.items() if key not in OF_TIMM}
    if features_only:
        options["num_classes"] = 0
    model = create_model(name, pretrained, **options)
    model.num_classes = options.get("num_classes", 1000)
    model.pretrained_cfg = {**PREPROCESSING, "architecture": name, "num_classes": 1000, "classifier": "head"}
    if name in FILES:
        model.pretrained_cfg["url"] = URL + FILES[name][0]
    return FeatureMaps(model, out_indices) if features_only else model


def register():
    """Register all names of SIZES with timm (imports it)."""
    from timm.models import register_model

    for name in SIZES:
        def entry(pretrained=False, name=name, **options):
            return build(name, pretrained, **options)

        entry.__name__ = entry.__qualname__ = name
        entry.__doc__ = f"Vision-LSTM, {name}."
        register_model(entry)


class _WhenTimmIsImported(importlib.abc.MetaPathFinder):
    """Python asks finders for every module; this one answers for timm alone, and registers once timm is there."""

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name == "timm" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                register()

            spec.loader.exec_module = execute_and_register
        return spec


if "timm" in sys.modules:
    register()
else:
    sys.meta_path.insert(0, _WhenTimmIsImported())
