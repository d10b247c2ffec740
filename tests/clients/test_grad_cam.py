"""Where in the image a class is seen, by grad-cam."""

import pytest
import timm
import torch

import vil_lite.zoo  # noqa: F401  (registers)

grad_cam = pytest.importorskip("pytorch_grad_cam", reason="pip install 'vil-lite[clients]'")


@pytest.mark.parametrize("name", ["vil_tiny", "vil2_tiny"])
def test_a_map_of_the_image(name):
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    model, images = timm.create_model(name, depth=4, num_classes=3).eval(), torch.randn(2, 3, 64, 96)
    torch.nn.init.normal_(model.head.weight)
    with grad_cam.GradCAM(
        model, [model.encoder.blocks[-2]], reshape_transform=lambda tokens: tokens.mT.unflatten(2, (4, 6))
    ) as cam:
        one = cam(images, [ClassifierOutputTarget(1)] * 2)
        other = cam(images, [ClassifierOutputTarget(2)] * 2)
    assert one.shape == (2, 64, 96) and one.min() >= 0 and one.max() > 0
    assert (one != other).any()
