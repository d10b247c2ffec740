"""Chapter 18: a class for every pixel: a light decoder over the maps of a backbone of one stride, a U-Net, and the mean IoU.

net = Segmenter(create_model("vil2_tiny", num_classes=0), num_classes=5)      # reads what stands after blocks 7, 11, 15, 23
logits = net(images)                                                          # (B, 3, H, W) -> (B, 5, H, W)
iou(confusion(logits.argmax(1), masks, 5)).nanmean()

Source: the choice of blocks and the task are those of Vision-LSTM's segmentation (Alkin et al. 2024); the decoder is the
lightest that reads several blocks, and not the paper's UperNet (Xiao et al. 2018).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: A pixel of this value in a mask is neither learned nor judged.
IGNORE = 255


class Segmenter(nn.Module):
    """A backbone and a light decoder.  images (B, channels, height, width) -> logits (B, num_classes, height, width)

    backbone: a VisionLSTM, or a vision transformer of timm: anything with timm's `forward_intermediates` whose maps all have
        one stride.    blocks: what stands after these is read, counted from 0; the default is the paper's, for 24 blocks.
    width: features of the sum.

    Each map passes the backbone's last norm and a 1 x 1 convolution of its own; they are summed, and a second 1 x 1
    convolution makes logits of the stride of the backbone, which are enlarged bilinearly.
    Raises ValueError for no block, or one that is not there.
    """

    def __init__(
        self, backbone: Any, num_classes: int, blocks: Sequence[int] = (7, 11, 15, 23), width: int = 64
    ) -> None:
        super().__init__()
        depth = len(backbone.feature_info)
        if not blocks or any(not 0 <= b < depth for b in blocks):
            raise ValueError(f"blocks must lie in 0 .. {depth - 1} and be at least one, got {tuple(blocks)}")
        self.backbone, self.blocks = backbone, list(blocks)
        self.lateral = nn.ModuleList(nn.Conv2d(backbone.num_features, width, 1) for _ in blocks)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.backbone.forward_intermediates(images, self.blocks, norm=True, intermediates_only=True)
        total = torch.stack([conv(x) for conv, x in zip(self.lateral, maps)]).sum(0)
        return F.interpolate(self.head(F.gelu(total)), images.shape[2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """A small U-Net.  images (B, channels, height, width) -> logits (B, num_classes, height, width)

    width: channels at full size; each of the `levels` steps down halves the side and doubles the channels.  On the way up
    each map meets the one of its size from the way down.  Raises ValueError for a side that 2 ** levels does not divide.
    (U-Net, Ronneberger et al. 2015; with padding and batch norm, as today.)
    """

    def __init__(self, num_classes: int, width: int = 8, levels: int = 3, channels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(levels + 1)]
        self.down = nn.ModuleList(_two(a, b) for a, b in zip([channels, *widths], widths))
        self.up = nn.ModuleList(_two(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1]))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        step = 2 ** len(self.up)
        if images.shape[2] % step or images.shape[3] % step:
            raise ValueError(f"height and width must be multiples of {step}, got {tuple(images.shape[2:])}")
        kept: list[Tensor] = []
        x = images
        for n, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1]):
            x = block(
                torch.cat([F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), skip], dim=1)
            )
        return self.head(x)


def _two(before: int, after: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def confusion(guess: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """How many pixels of each class were called what: (num_classes, num_classes) int64, a row for each true class.

    guess, truth: whole numbers of one shape; pixels whose truth is IGNORE are left out.  Matrices of several images add up.
    Raises ValueError for shapes that differ and for classes outside 0 .. num_classes - 1.
    """
    if guess.shape != truth.shape:
        raise ValueError(f"guess and truth must have one shape, got {tuple(guess.shape)} and {tuple(truth.shape)}")
    judged = truth != IGNORE
    g, t = guess[judged].long(), truth[judged].long()
    for name, x in (("guess", g), ("truth", t)):
        if len(x) and not 0 <= int(x.min()) <= int(x.max()) < num_classes:
            raise ValueError(
                f"{name} must hold classes 0 .. {num_classes - 1} ({IGNORE} in truth is left out), "
                f"got {int(x.min())} .. {int(x.max())}"
            )
    return torch.bincount(t * num_classes + g, minlength=num_classes**2).view(num_classes, num_classes)


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class, float64; NaN for a class that is neither there nor guessed.

    matrix: from `confusion`, of all images together.  Its nanmean() is the mean IoU.
    """
    hit = matrix.diagonal().double()
    return hit / (matrix.sum(0) + matrix.sum(1) - hit)
