"""Chapters 9 and 10: VisionLSTM: patches, positions, ViL blocks, pooling, head; and the published sizes by name.

Shapes: images (B, 3, height, width) -> tokens (B, S, dim) on a grid (H, W) -> logits (B, num_classes).
Source: Vision-LSTM (Alkin et al. 2024, arXiv 2406.04303; figures and tables as numbered in its version 1); the authors' code, by
file#line, version 1 and version 2 of the model:
    https://github.com/NX-AI/vision-lstm/blob/5ab06eb85b42dc4f591febc8d4fe16946e0029e3/vision_lstm/vision_lstm.py
    https://github.com/NX-AI/vision-lstm/blob/641b14ccdd260a69744b51d796126367bd9fdc17/vision_lstm/vision_lstm2.py
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vil_lite._names import did_you_mean
from vil_lite.block import DESIGNS, ViLEncoder
from vil_lite.checkpoints import load_official_state_dict, official_state_dict
from vil_lite.layers import LayerNorm, PatchEmbed, PositionEmbedding, resize_positions
from vil_lite.traversal import Grid, oriented

POOLINGS = {
    "avg": lambda x: x.mean(1),
    "middle_patch": lambda x: x[:, x.shape[1] // 2],
    "middle_cls": lambda x: x[:, (x.shape[1] - 1) // 2],  # a learned token stands there, see embed()
    "bilateral_avg": lambda x: (x[:, 0] + x[:, -1]) / 2,
    "bilateral_concat": lambda x: torch.cat([x[:, 0], x[:, -1]], dim=-1),
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
    drop_rate: dropout before the head.    design, drop_path (the same at every depth) and layer_scale
        go to ViLEncoder, and with them num_heads, expansion, qkv_block_size, form, chunk_size, checkpointing.
    Raises ValueError for unknown names, for middle_cls where a grid is needed, for images that do not divide into patches.

    The second half of the class is what timm and programs built on it call; names and meanings there are timm's.
    (Vision-LSTM, Figure 1, sizes: Table 1, pooling: Table 3.  The authors' VisionLSTM, vision_lstm.py#L506, and VisionLSTM2,
    vision_lstm2.py#L593.)
    """

    def __init__(
        self,
        dim: int = 192,
        depth: int = 24,
        version: int = 1,
        patch_size: int = 16,
        stride: int | None = None,
        image_size: int | tuple[int, int] = 224,
        channels: int = 3,
        num_classes: int = 1000,
        pooling: str | None = None,
        design: str = "alternating_bidirectional",
        drop_path: float = 0.0,
        drop_rate: float = 0.0,
        **block: Any,
    ) -> None:
        super().__init__()
        pooling = pooling or {1: "bilateral_avg", 2: "bilateral_concat"}.get(version)
        if version in (1, 2):  # the encoder refuses others
            _check_pooling(pooling, version, design)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.dim, self.version, self.pooling = dim, version, pooling
        self.in_chans, self.num_classes, self.drop_rate = channels, num_classes, drop_rate
        self.patch_embed = PatchEmbed(dim, patch_size, stride, channels)
        self.pos_embed = PositionEmbedding(dim, self.patch_embed.grid(height, width))
        self.cls_token = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=0.02)) if pooling == "middle_cls" else None
        )
        self.encoder = ViLEncoder(dim, depth, design, version, drop_path=drop_path, **block)
        # Each version has one norm of 1e-5 and one of 1e-6, the other way round: so the published weights were trained.
        self.token_norm: nn.Module = LayerNorm(dim, bias=version == 2, eps=1e-5 if version == 1 else 1e-6)
        self.pooled_norm: nn.Module = nn.Identity()
        self.head: nn.Module = nn.Identity()
        self.head_drop = nn.Dropout(drop_rate)
        if num_classes:
            self.reset_classifier(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Patches with their positions (B, S, dim), and the grid (H, W)."""
        tokens, grid = self.patch_embed(images)
        tokens = self.pos_embed(tokens, grid)
        if self.cls_token is None:
            return tokens, grid
        middle = tokens.shape[1] // 2
        cls = self.cls_token.expand(tokens.shape[0], 1, -1)
        return torch.cat([tokens[:, :middle], cls, tokens[:, middle:]], dim=1), (1, tokens.shape[1] + 1)

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens (B, S, dim) after the last norm, row by row."""
        tokens, grid = self.embed(images)
        return self.token_norm(self.encoder(tokens, grid))

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (B, S, dim) to one vector (B, head_hidden_size)."""
        return POOLINGS[self.pooling](tokens) if self.pooling else tokens

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, S, dim) to logits (B, num_classes), or with pre_logits=True to what the head reads."""
        x = self.head_drop(self.pooled_norm(self.pool(tokens)))
        return x if pre_logits else self.head(x)

    def feature_map(self, images: Tensor) -> Tensor:
        """The tokens of forward_features as an image of features (B, dim, H, W); a [CLS] token is left out."""
        return self._patches(self.forward_features(images), images, "NCHW")

    def feature_maps(self, images: Tensor, blocks: Sequence[int] = (7, 11, 15, 23)) -> list[Tensor]:
        """What stands after some blocks, counted from 0, each as (B, dim, H, W): the input of a decoder for dense tasks.

        The default is the choice of the paper's segmentation head for 24 blocks.  Raises ValueError for a block not there.
        """
        return self.forward_intermediates(images, blocks, intermediates_only=True)

    def _patches(self, tokens: Tensor, images: Tensor, output_fmt: str) -> Tensor:
        if self.cls_token is not None:
            middle = (tokens.shape[1] - 1) // 2
            tokens = torch.cat([tokens[:, :middle], tokens[:, middle + 1 :]], dim=1)
        if output_fmt == "NLC":
            return tokens
        return tokens.transpose(-1, -2).unflatten(2, self.patch_embed.grid(*images.shape[2:]))

    # ---- what timm, and what is built on it, calls

    @property
    def num_features(self) -> int:
        """Width of a token."""
        return self.dim

    @property
    def head_hidden_size(self) -> int:
        """Width of the pooled vector, which the head reads: 2 * dim for bilateral_concat, else dim."""
        return 2 * self.dim if self.pooling == "bilateral_concat" else self.dim

    @property
    def global_pool(self) -> str | None:
        """timm's name of `pooling`; "" for none."""
        return self.pooling

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Width, stride and module name of what stands after each block."""
        one = {"num_chs": self.dim, "reduction": self.patch_embed.stride}
        return [{**one, "module": f"encoder.blocks.{b}"} for b in range(len(self.encoder.blocks))]

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head, and a fresh norm before it where none fits.

        num_classes=0: no head; the norm stays, and the model returns forward_head(tokens, pre_logits=True).
        global_pool: another pooling; "" with num_classes=0: none, the model returns the tokens.
        Raises ValueError for an unknown pooling, for "" with a head, and for a change to or from middle_cls.
        """
        pooling = self.pooling if global_pool is None else global_pool
        if pooling and pooling != self.pooling:
            _check_pooling(pooling, self.version, self.encoder.design)
            if (pooling == "middle_cls") != (self.cls_token is not None):
                raise ValueError(
                    f"global_pool={pooling!r}: this model was built {'without' if self.cls_token is None else 'with'} "
                    "a [CLS] token between its patches; build a new one with this pooling"
                )
        if num_classes and not pooling:
            raise ValueError(
                f"a head of {num_classes} classes reads a pooled vector; global_pool='' needs num_classes=0"
            )
        self.pooling, self.num_classes = pooling, num_classes
        like: dict[str, Any] = {
            "device": self.patch_embed.proj.weight.device,
            "dtype": self.patch_embed.proj.weight.dtype,
        }
        width = self.head_hidden_size
        if not self.pooling:
            self.pooled_norm = nn.Identity()
        elif num_classes and getattr(self.pooled_norm, "normalized_shape", None) != (width,):
            self.pooled_norm = nn.LayerNorm(width, eps=1e-6 if self.version == 1 else 1e-5, **like)
        self.head = nn.Identity()
        if num_classes:
            self.head = head = nn.Linear(width, num_classes, **like)
            nn.init.trunc_normal_(head.weight, std=2e-5)
            nn.init.zeros_(head.bias)
        self.pooled_norm.train(self.training)
        self.head.train(self.training)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Tokens after the last norm, and what stands after some blocks; with intermediates_only that alone.

        indices: blocks counted from 0 (negative: from the end), an int for the last so many, None for all.
        norm: pass each through the last norm.    stop_early: skip the blocks after the last one wanted.
        output_fmt: "NCHW" for (B, dim, H, W), "NLC" for (B, H * W, dim); a [CLS] token is left out.
        Raises ValueError for a block that is not there and for another output_fmt.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NLC', got {output_fmt!r}")
        wanted = self._blocks(indices)
        tokens, grid = self.embed(images)
        after = {}
        for b in range(max(wanted) + 1 if stop_early or intermediates_only else len(self.encoder.blocks)):
            tokens = self.encoder.step(b, tokens, grid)
            if b in wanted:
                after[b] = self._patches(self.token_norm(tokens) if norm else tokens, images, output_fmt)
        maps = [after[b] for b in wanted]
        return maps if intermediates_only else (self.token_norm(tokens), maps)

    def _blocks(self, indices: int | Sequence[int] | None) -> list[int]:
        depth = len(self.encoder.blocks)
        if isinstance(indices, int) and not 0 < indices <= depth:
            raise ValueError(f"there are {depth} blocks, cannot take the last {indices}")
        if indices is None or isinstance(indices, int):
            indices = range(depth - (indices or depth), depth)
        if not indices or (wrong := [b for b in indices if not -depth <= b < depth]):
            raise ValueError(f"blocks must lie in 0 .. {depth - 1}, got {wrong if indices else 'none'}")
        return [b % depth for b in indices]

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the blocks after the last one wanted, and with them the last norm (prune_norm) and the head (prune_head).

        indices: as for forward_intermediates; returned as a list of numbers from 0.
        """
        wanted = self._blocks(indices)
        self.encoder.blocks = self.encoder.blocks[: max(wanted) + 1]
        if prune_norm:
            self.token_norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return wanted

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.encoder.checkpointing = enable

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Resize the stored positions for images of img_size, int or (height, width).  The patch size cannot be changed."""
        if patch_size not in (None, self.patch_embed.patch_size, (self.patch_embed.patch_size,) * 2):
            raise ValueError(f"patch_size={patch_size!r}: this model has patches of {self.patch_embed.patch_size}")
        if img_size is not None:
            old = self.pos_embed.embed
            grid = self.patch_embed.grid(*((img_size, img_size) if isinstance(img_size, int) else img_size))
            self.pos_embed.embed = nn.Parameter(resize_positions(old.detach(), grid), old.requires_grad)

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay beside vectors: the positions, as in the paper, and [CLS]."""
        return {"pos_embed.embed", "cls_token"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names by depth, for learning rates that fall with it: embedding, one block after another."""
        blocks = r"^encoder\.blocks" if coarse else r"^encoder\.blocks\.(\d+)"
        return {"stem": r"^(?:patch_embed|pos_embed|cls_token)", "blocks": [(blocks, None), (r"^token_norm", (99999,))]}


def _check_pooling(pooling: str | None, version: int, design: str) -> None:
    if pooling not in POOLINGS:
        raise ValueError(
            f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}{did_you_mean(pooling, POOLINGS)}"
        )
    directions, _ = DESIGNS.get(str(design), ([], False))  # the encoder refuses others
    by_columns = any(oriented((1, 2), direction) != (1, 2) for block in directions for direction in block)
    if pooling == "middle_cls" and (version == 2 or by_columns):
        needs = "the 3 x 3 convolution of version=2" if version == 2 else f"reading columns, as in design={design!r},"
        raise ValueError(
            f"pooling='middle_cls' puts a token between the patches, and {needs} needs a grid of patches alone; "
            "use pooling='middle_patch', or version=1 with a design that reads rows"
        )


def create_model(name: str, pretrained: bool | str = False, sha256: str | None = None, **overrides: Any) -> VisionLSTM:
    """Build a Vision-LSTM by name (the keys of SIZES); overrides are arguments of VisionLSTM.

    pretrained: True downloads the published weights, once (checkpoints.official_state_dict); the name of another published
        file of the model takes that one, "..._stride8.th" with stride=8 unless told otherwise.  Positions are resized for
        image_size and stride; another num_classes gets a fresh head.
    sha256: hexadecimal hash that the downloaded file must have, None to check its length alone.
    Raises ValueError that lists the names when there is none such; OSError when weights cannot be downloaded.
    """
    if name not in SIZES:
        raise ValueError(f"no model is called {name!r}{did_you_mean(name, SIZES)}; there are: {', '.join(SIZES)}")
    dim, depth, version = SIZES[name]
    if str(pretrained).endswith("_stride8.th"):
        overrides.setdefault("stride", 8)
    model = VisionLSTM(**{"dim": dim, "depth": depth, "version": version, **overrides})
    if pretrained:
        weights = official_state_dict(name, None if pretrained is True else pretrained, sha256)
        load_official_state_dict(model, weights, reset_head=overrides.get("num_classes", 1000) not in (0, 1000))
    return model
