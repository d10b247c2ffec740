"""VisionLSTM: patches, positions, ViL blocks, pooling, head; and the published sizes by name.

Shapes: images (B, 3, height, width) -> tokens (B, S, dim) on a grid (H, W) -> logits (B, num_classes).
Source: Vision-LSTM (Alkin et al. 2024, arXiv 2406.04303), Table 1 (sizes) and Table 3 (pooling).
"""

import difflib

import torch
from torch import nn

from vil_lite.block import ViLEncoder
from vil_lite.checkpoints import load_official_state_dict, official_state_dict
from vil_lite.layers import LayerNorm, PatchEmbed, PositionEmbedding

POOLINGS = {
    "bilateral_avg": lambda x: (x[:, 0] + x[:, -1]) / 2,
    "bilateral_concat": lambda x: torch.cat([x[:, 0], x[:, -1]], dim=-1),
    "avg": lambda x: x.mean(1),
    "middle_patch": lambda x: x[:, x.shape[1] // 2],
    "middle_cls": lambda x: x[:, (x.shape[1] - 1) // 2],  # a learned token stands there, see embed()
    "first": lambda x: x[:, 0],
    "last": lambda x: x[:, -1],
}

#: name -> dim, depth in blocks, version.  (Vision-LSTM, Table 1; v2 counts pairs of blocks, so its depth 12 is 24 here.)
SIZES = {
    "vil_tiny": (192, 24, 1),
    "vil_tinyplus": (192, 29, 1),
    "vil_small": (384, 24, 1),
    "vil_smallplus": (384, 26, 1),
    "vil_base": (768, 24, 1),
    "vil_large": (1024, 48, 1),
    "vil2_tiny": (192, 24, 2),
    "vil2_small": (384, 24, 2),
    "vil2_base": (768, 24, 2),
}


class VisionLSTM(nn.Module):
    """Vision-LSTM.  images (B, channels, height, width) -> logits (B, num_classes)

    dim, depth: width of a token, number of blocks (both versions).    version: 1 (June 2024) or 2.
    image_size: int or (height, width) in pixels that the positions are made for; images of any other size that divides
        into patches are taken too, with positions resized.
    num_classes: 0 leaves out the head and the norm before it; the model then returns the pooled vector.
    pooling: a name from POOLINGS; None takes the version's own (1: bilateral_avg, 2: bilateral_concat).  middle_cls puts
        a token between the patches, which leaves a sequence but no grid: version 1 and designs that read rows take it.
    design, drop_path, layer_scale and further options go to ViLEncoder.
    Raises ValueError for unknown names, for middle_cls where a grid is needed, for images that do not divide into patches.
    """

    def __init__(
        self,
        dim=192,
        depth=24,
        version=1,
        patch_size=16,
        stride=None,
        image_size=224,
        channels=3,
        num_classes=1000,
        pooling=None,
        design="alternating_bidirectional",
        drop_path=0.0,
        **block,
    ):
        super().__init__()
        pooling = pooling or {1: "bilateral_avg", 2: "bilateral_concat"}.get(version)
        if pooling not in POOLINGS and version in (1, 2):
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if pooling == "middle_cls" and (version == 2 or "quad" in design):
            needs = "the 3 x 3 convolution of version=2" if version == 2 else f"reading columns, as in design={design!r},"
            raise ValueError(
                f"pooling='middle_cls' puts a token between the patches, and {needs} needs a grid of patches alone; "
                "use pooling='middle_patch', or version=1 with a design that reads rows"
            )
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.dim, self.version, self.pooling = dim, version, pooling
        self.patch_embed = PatchEmbed(dim, patch_size, stride, channels)
        self.pos_embed = PositionEmbedding(dim, self.patch_embed.grid(height, width))
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=0.02)) if pooling == "middle_cls" else None
        self.encoder = ViLEncoder(dim, depth, design, version, drop_path=drop_path, **block)
        self.token_norm = LayerNorm(dim, bias=version == 2, eps=1e-5 if version == 1 else 1e-6)
        self.num_features = 2 * dim if pooling == "bilateral_concat" else dim
        if num_classes:
            self.pooled_norm = nn.LayerNorm(self.num_features, eps=1e-6 if version == 1 else 1e-5)
            self.head = nn.Linear(self.num_features, num_classes)
            nn.init.trunc_normal_(self.head.weight, std=2e-5)
            nn.init.zeros_(self.head.bias)
        else:
            self.pooled_norm = self.head = nn.Identity()

    def forward(self, images):
        return self.head(self.pooled_norm(self.pool(self.forward_features(images))))

    def forward_features(self, images):
        """Tokens (B, S, dim) after the last norm, row by row."""
        tokens, grid = self.embed(images)
        return self.token_norm(self.encoder(tokens, grid))

    def feature_map(self, images):
        """The same tokens as an image of features (B, dim, H, W); a [CLS] token is left out."""
        return self._as_map(self.forward_features(images), images)

    def feature_maps(self, images, blocks=(7, 11, 15, 23)):
        """What stands after some blocks, counted from 0, each as (B, dim, H, W): the input of a decoder for dense tasks.

        The default is the choice of the paper's segmentation head for 24 blocks.  Raises ValueError for a block not there.
        """
        depth = len(self.encoder.blocks)
        if wrong := [b for b in blocks if not -depth <= b < depth]:
            raise ValueError(f"blocks must lie in 0 .. {depth - 1}, got {wrong}")
        after = {}
        hooks = [
            self.encoder.blocks[b].register_forward_hook(lambda _m, _i, out, b=b: after.update({b: out})) for b in blocks
        ]
        try:
            self.encoder(*self.embed(images))
        finally:
            for hook in hooks:
                hook.remove()
        return [self._as_map(after[b], images) for b in blocks]

    def _as_map(self, tokens, images):
        grid = self.patch_embed.grid(*images.shape[2:])
        if self.cls_token is not None:
            middle = (tokens.shape[1] - 1) // 2
            tokens = torch.cat([tokens[:, :middle], tokens[:, middle + 1 :]], dim=1)
        return tokens.transpose(-1, -2).unflatten(2, grid)

    def embed(self, images):
        """Patches with their positions (B, S, dim), and the grid (H, W)."""
        tokens, grid = self.patch_embed(images)
        tokens = self.pos_embed(tokens, grid)
        if self.cls_token is None:
            return tokens, grid
        middle = tokens.shape[1] // 2
        cls = self.cls_token.expand(len(tokens), 1, -1)
        return torch.cat([tokens[:, :middle], cls, tokens[:, middle:]], dim=1), (1, tokens.shape[1] + 1)

    def pool(self, tokens):
        """Tokens (B, S, dim) to one vector (B, num_features)."""
        return POOLINGS[self.pooling](tokens)


def create_model(name, pretrained=False, sha256=None, **overrides):
    """Build a Vision-LSTM by name (the keys of SIZES); overrides are arguments of VisionLSTM.

    pretrained: True downloads the published weights, once (checkpoints.official_state_dict); the name of another published
        file of the model takes that one.  Positions are resized for image_size and stride; another num_classes gets a fresh head.
    sha256: hexadecimal hash that the downloaded file must have, None to check its length alone.
    Raises ValueError that lists the names when there is none such; OSError when weights cannot be downloaded.
    """
    if name not in SIZES:
        near = difflib.get_close_matches(name, SIZES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no model is called {name!r}; {hint}there are: {', '.join(SIZES)}")
    dim, depth, version = SIZES[name]
    model = VisionLSTM(**{"dim": dim, "depth": depth, "version": version, **overrides})
    if pretrained:
        weights = official_state_dict(name, None if pretrained is True else pretrained, sha256)
        load_official_state_dict(model, weights, reset_head=overrides.get("num_classes", 1000) not in (0, 1000))
    return model
