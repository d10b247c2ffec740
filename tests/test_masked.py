"""Chapter 19's part of the library: masks, the loss and both kinds of backbone, against loops over patches."""

import pytest
import torch
from timm.models import VisionTransformer

from vil_lite import VisionLSTM
from vil_lite.masked import MaskedModel, masked_loss, normalised, patches, random_mask, unpatched

VIL = {"patch_size": 4, "image_size": 16, "channels": 2, "num_classes": 0, "num_heads": 2}
VIT = {"patch_size": 4, "img_size": 16, "in_chans": 2, "num_classes": 0, "embed_dim": 16, "depth": 2, "num_heads": 2}


def vil(**options):
    torch.manual_seed(0)
    return VisionLSTM(16, 2, **{"version": 2, "pooling": "avg", **VIL, **options})


def vit(**options):
    torch.manual_seed(0)
    return VisionTransformer(**VIT, **{"class_token": False, "global_pool": "avg", "fc_norm": False, **options})


@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_every_image_has_a_mask_of_its_own_with_the_same_count(share):
    mask = random_mask(200, 16, share, torch.Generator().manual_seed(0))
    assert mask.shape == (200, 16) and mask.dtype == torch.bool
    assert set(mask.sum(1).tolist()) == {round(share * 16)}
    assert len({tuple(row) for row in mask.tolist()}) > 10
    odds = mask.float().mean(0)
    assert (odds - share).abs().max() < 0.15  # no place is preferred
    again = random_mask(200, 16, share, torch.Generator().manual_seed(0))
    assert torch.equal(mask, again)


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0, 0.99, -1.0])
def test_a_share_that_hides_nothing_or_all_is_refused(share):
    with pytest.raises(ValueError, match="at least one must be hidden, one seen"):
        random_mask(2, 16, share)


def test_patches_are_pixels_row_by_row_and_back():
    images = torch.rand(3, 2, 8, 12)
    cut = patches(images, 4)
    assert cut.shape == (3, 6, 32)
    for s in range(6):
        row, column = 4 * (s // 3), 4 * (s % 3)
        assert torch.equal(cut[:, s].view(3, 2, 4, 4), images[:, :, row : row + 4, column : column + 4])
    assert torch.equal(unpatched(cut, (8, 12), 4), images)


def test_normalised_patches_have_mean_0_and_deviation_1_and_flat_ones_stay_0():
    x = torch.randn(2, 5, 30) * 3 + 7
    x[0, 0] = 2.0
    z = normalised(x)
    torch.testing.assert_close(z.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    assert (z[0, 0] == 0).all()
    torch.testing.assert_close(z[1].std(-1, correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_the_loss_is_the_mean_over_pixels_of_hidden_patches():
    torch.manual_seed(0)
    guess, target = torch.randn(2, 3, 6, 5)
    mask = torch.rand(3, 6) < 0.4
    squares = [
        (guess[b, s, p] - target[b, s, p]).item() ** 2
        for b in range(3)
        for s in range(6)
        for p in range(5)
        if mask[b, s]
    ]
    assert masked_loss(guess, target, mask).item() == pytest.approx(sum(squares) / len(squares), rel=1e-5)
    with pytest.raises(ValueError, match="mask hides nothing"):
        masked_loss(guess, target, torch.zeros(3, 6, dtype=torch.bool))


@pytest.mark.parametrize("make", [vil, vit, lambda: vil(version=1)])
def test_guesses_do_not_depend_on_what_is_hidden_and_do_on_what_is_seen(make):
    net, images = MaskedModel(make()).eval(), torch.rand(2, 2, 16, 16)
    mask = random_mask(2, 16, 0.6, torch.Generator().manual_seed(0))
    other = torch.where(mask[..., None], torch.rand(2, 16, 32), patches(images, 4))
    with torch.no_grad():
        guess = net(images, mask)
        torch.testing.assert_close(net(unpatched(other, (16, 16), 4), mask), guess)
        seen = torch.where(mask[..., None], patches(images, 4), 0.5)
        assert (net(unpatched(seen, (16, 16), 4), mask) - guess).abs().max() > 1e-3
    assert guess.shape == (2, 16, 32)


@pytest.mark.parametrize("make", [vil, vit])
def test_with_nothing_hidden_the_backbone_computes_what_it_does_alone(make):
    net, images = MaskedModel(make()).eval(), torch.rand(2, 2, 16, 16)
    nothing = torch.zeros(2, 16, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(net(images, nothing), net.head(net.backbone.forward_features(images)))


@pytest.mark.parametrize("make", [vil, vit])
def test_the_loss_reaches_backbone_mask_token_and_head(make):
    net = MaskedModel(make(), normalise=True)
    net.loss(torch.rand(2, 2, 16, 16), random_mask(2, 16)).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without or all("pooled" in name for name in without)
    assert net.mask_token.grad.abs().max() > 0 and net.head.weight.grad.abs().max() > 0


def test_images_of_other_sizes():
    net = MaskedModel(vil()).eval()
    images, mask = torch.rand(2, 2, 8, 20), random_mask(2, 10)
    filled = net.reconstruct(images, mask)
    assert filled.shape == images.shape
    kept = ~mask[..., None]
    assert torch.equal(patches(filled, 4) * kept, patches(images, 4) * kept)


def test_what_cannot_work_says_why():
    with pytest.raises(ValueError, match="no patch"):
        MaskedModel(vil(version=1, pooling="middle_cls"))
    with pytest.raises(ValueError, match="no patch"):
        MaskedModel(vit(class_token=True))
    with pytest.raises(ValueError, match="stride=patch_size"):
        MaskedModel(vil(stride=2))
    net, images = MaskedModel(vil(), normalise=True), torch.rand(2, 2, 16, 16)
    with pytest.raises(ValueError, match="not pixels"):
        net.reconstruct(images, random_mask(2, 16))
    for mask in (torch.zeros(2, 15, dtype=torch.bool), torch.zeros(2, 16)):
        with pytest.raises(ValueError, match=r"mask must be bool of shape \(2, 16\)"):
            net(images, mask)
