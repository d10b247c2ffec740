"""Chapter 19: masked prediction: train a backbone on images without labels, by guessing the patches that it is not shown.

net = MaskedModel(VisionLSTM(64, 4, version=2, patch_size=4, image_size=28, channels=1, num_classes=0, pooling="avg"))
net.loss(images, random_mask(len(images), tokens=49, share=0.6)).backward()
net.backbone.reset_classifier(10)                    # later, with labels: the same backbone and a fresh head

Source: mask tokens, a linear head and a loss on masked patches alone are SimMIM's (Xie et al. 2022, arXiv 2111.09886, section 3);
the target with a mean of 0 and a deviation of 1 in each patch is MAE's (He et al. 2022, arXiv 2111.06377, section 4.1).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_lite.model import VisionLSTM


class MaskedModel(nn.Module):
    """A backbone, one mask token and a linear head.  images, mask -> a guess for each patch (B, S, channels * size * size)

    backbone: a VisionLSTM, or a vision transformer of timm without [CLS]; its patches must not overlap.
    normalise: the target of `loss` is each patch with its own mean and deviation taken out.

    Masked patches stay in the sequence: the token of each is replaced by the mask token before positions are added.
    Raises ValueError for a backbone with a [CLS] token or with overlapping patches.
    """

    def __init__(self, backbone: Any, normalise: bool = False) -> None:
        super().__init__()
        if getattr(backbone, "cls_token", None) is not None:
            raise ValueError("backbone has a [CLS] token, which is no patch; build it with another pooling")
        proj = backbone.patch_embed.proj
        if proj.stride != proj.kernel_size:
            raise ValueError(
                f"backbone has patches of {proj.kernel_size[0]} at stride {proj.stride[0]}: a masked patch shows in its "
                "neighbours; build it with stride=patch_size"
            )
        self.backbone, self.normalise, self.size = backbone, normalise, proj.kernel_size[0]
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(proj.out_channels), std=0.02))
        self.head = nn.Linear(proj.out_channels, proj.in_channels * self.size**2)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """images (B, channels, height, width), mask (B, S) True for what is hidden -> (B, S, channels * size * size)"""
        net = self.backbone
        if isinstance(net, VisionLSTM):
            tokens, grid = net.patch_embed(images)
            tokens = net.pos_embed(self.hide(tokens, mask), grid)
            return self.head(net.token_norm(net.encoder(tokens, grid)))
        tokens = self.hide(net.patch_embed(images), mask) + net.pos_embed
        return self.head(net.norm(net.blocks(tokens)))

    def hide(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, S, dim) with the mask token where mask (B, S) is True."""
        if mask.shape != tokens.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                f"mask must be bool of shape {tuple(tokens.shape[:2])}, one entry a patch, got {mask.dtype} of "
                f"{tuple(mask.shape)}; random_mask(images, patches) makes one"
            )
        return torch.where(mask[..., None], self.mask_token.to(tokens.dtype), tokens)

    def loss(self, images: Tensor, mask: Tensor) -> Tensor:
        """The mean squared error of the guesses for masked patches."""
        target = patches(images, self.size)
        return masked_loss(self(images, mask), normalised(target) if self.normalise else target, mask)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, mask: Tensor) -> Tensor:
        """The images with their masked patches guessed; for a model whose target is pixels.

        Raises ValueError with normalise=True: the guess of such a model lacks the mean and the deviation of each patch.
        """
        if self.normalise:
            raise ValueError("normalise=True: guesses are patches without their mean and deviation, not pixels")
        seen, guess = patches(images, self.size), self(images, mask).to(images.dtype)
        return unpatched(torch.where(mask[..., None], guess, seen), images.shape[2:], self.size)


def random_mask(images: int, tokens: int, share: float = 0.6, generator: torch.Generator | None = None) -> Tensor:
    """(images, tokens) bool, on the processor: in each row round(share * tokens) entries are True, anywhere with equal odds.

    Raises ValueError for a share that hides no patch or every one.
    """
    hidden = round(share * tokens)
    if not 0 < hidden < tokens:
        raise ValueError(f"share={share!r} hides {hidden} of {tokens} patches; at least one must be hidden, one seen")
    order = torch.rand(images, tokens, generator=generator).argsort(dim=1)
    return torch.zeros(images, tokens, dtype=torch.bool).scatter_(1, order[:, :hidden], True)


def patches(images: Tensor, size: int) -> Tensor:
    """The pixels of each patch: (B, channels, height, width) -> (B, S, channels * size * size), row by row."""
    return F.unfold(images, size, stride=size).transpose(1, 2)


def unpatched(x: Tensor, shape: Any, size: int) -> Tensor:
    """Undo `patches`: (B, S, channels * size * size) -> (B, channels, *shape), shape = (height, width)."""
    return F.fold(x.transpose(1, 2), tuple(shape), size, stride=size)


def normalised(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Each patch (B, S, pixels) minus its own mean, divided by the root of its own variance + eps.  (MAE, section 4.1)"""
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    return (x - mean) / (variance + eps).sqrt()


def masked_loss(guess: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The mean squared error over all pixels of masked patches of the batch, a scalar in float32 or better.

    guess, target: (B, S, pixels).   mask: (B, S) bool.   Raises ValueError when nothing is masked.
    """
    if not bool(mask.any()):
        raise ValueError("mask hides nothing, so there is nothing to guess; random_mask makes one that does")
    error = (guess - target).float() if guess.dtype.itemsize < 4 else guess - target
    return error[mask].square().mean()
