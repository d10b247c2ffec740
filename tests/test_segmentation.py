"""Chapter 18's parts of the library: against scikit-learn, against loops over pixels, on sizes of all kinds."""

import pytest
import timm
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix, jaccard_score

from vil_lite import VisionLSTM
from vil_lite.segmentation import IGNORE, Segmenter, UNet, confusion, iou


def small(**options):
    torch.manual_seed(0)
    backbone = VisionLSTM(16, 4, 2, patch_size=4, image_size=32, num_classes=0, **options)
    return Segmenter(backbone, 5, blocks=(0, 1, 3), width=8)


def masks(*shape, classes=4, ignored=0.1):
    torch.manual_seed(0)
    guess, truth = torch.randint(classes, (2, *shape))
    truth[torch.rand(shape) < ignored] = IGNORE
    return guess, truth


def test_the_decoder_is_the_sum_of_its_maps_pixel_by_pixel():
    net, x = small().eval(), torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        after = [net.backbone.token_norm(m.permute(0, 2, 3, 1)) for m in net.backbone.feature_maps(x, net.blocks)]
        coarse = torch.zeros(2, 5, 8, 12)
        for b in range(2):
            for row in range(8):
                for column in range(12):
                    total = sum(
                        conv.weight[:, :, 0, 0] @ m[b, row, column] + conv.bias for conv, m in zip(net.lateral, after)
                    )
                    coarse[b, :, row, column] = net.head.weight[:, :, 0, 0] @ F.gelu(total) + net.head.bias
        wanted = F.interpolate(coarse, (32, 48), mode="bilinear")
        torch.testing.assert_close(net(x), wanted)


@pytest.mark.parametrize("size", [(32, 32), (16, 40), (64, 64)])
def test_any_size_of_whole_patches_and_a_gradient_for_all_that_is_read(size):
    net = small()
    logits = net(torch.rand(1, 3, *size))
    assert logits.shape == (1, 5, *size)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_transformer_of_timm_is_a_backbone_too():
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 16, "depth": 4, "num_heads": 2, "num_classes": 0}
    vit = timm.models.VisionTransformer(**options, dynamic_img_size=True)
    assert Segmenter(vit, 3, blocks=(1, 3))(torch.rand(2, 3, 32, 48)).shape == (2, 3, 32, 48)


def test_blocks_that_are_read_by_default():
    backbone, x = VisionLSTM(16, 24, patch_size=4, image_size=8, num_classes=0), torch.rand(1, 3, 8, 8)
    torch.manual_seed(0)
    default = Segmenter(backbone, 3)
    torch.manual_seed(0)
    torch.testing.assert_close(default(x), Segmenter(backbone, 3, blocks=(7, 11, 15, 23))(x), rtol=0, atol=0)


@pytest.mark.parametrize("blocks", [(), (0, 4), (-1,), (7, 11, 15, 23)])
def test_blocks_that_are_not_there(blocks):
    with pytest.raises(ValueError, match="blocks must lie in 0 .. 3"):
        Segmenter(VisionLSTM(16, 4, num_classes=0), 5, blocks=blocks)


def test_the_u_net_keeps_the_size_and_sees_the_single_pixel():
    torch.manual_seed(0)
    net = UNet(5, width=4, levels=2).eval()
    x = torch.rand(1, 3, 24, 80, requires_grad=True)
    assert net(x).shape == (1, 5, 24, 80)
    net(x)[0, :, 12, 40].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[12, 40] and not seen[:, 0].any()  # convolutions have a reach
    with pytest.raises(ValueError, match=r"multiples of 4, got \(24, 30\)"):
        net(torch.rand(1, 3, 24, 30))


def test_confusion_and_iou_are_those_of_scikit_learn():
    guess, truth = masks(3, 20, 20)
    judged = truth != IGNORE
    matrix = confusion(guess, truth, 4)
    assert matrix.tolist() == confusion_matrix(truth[judged], guess[judged]).tolist()
    assert iou(matrix).tolist() == pytest.approx(jaccard_score(truth[judged], guess[judged], average=None))
    assert iou(matrix).nanmean().item() == pytest.approx(jaccard_score(truth[judged], guess[judged], average="macro"))


def test_matrices_of_several_images_add_up():
    guess, truth = masks(3, 20, 20)
    parts = [confusion(g, t, 4) for g, t in zip(guess, truth)]
    assert torch.equal(sum(parts), confusion(guess, truth, 4))


def test_a_class_that_is_nowhere_is_left_out_and_one_that_is_only_guessed_counts():
    truth = torch.tensor([0, 0, 1, IGNORE], dtype=torch.uint8)
    guess = torch.tensor([0, 2, 1, 1], dtype=torch.uint8)
    found = iou(confusion(guess, truth, 4))
    assert found[:3].tolist() == [0.5, 1, 0] and found[3].isnan()


def test_classes_that_are_not_there_and_shapes_that_differ():
    with pytest.raises(ValueError, match=r"truth must hold classes 0 .. 2 .* got 0 .. 3"):
        confusion(torch.tensor([0, 1]), torch.tensor([0, 3]), 3)
    with pytest.raises(ValueError, match="guess must hold classes"):
        confusion(torch.tensor([0, IGNORE]), torch.tensor([0, 2]), 3)
    with pytest.raises(ValueError, match="one shape"):
        confusion(torch.zeros(2, 3).long(), torch.zeros(3, 2).long(), 3)
    assert confusion(torch.tensor([7]), torch.tensor([IGNORE]), 3).sum() == 0
