"""Decoders of segmentation_models_pytorch on the maps of ViL, which all have one stride."""

import pytest
import torch

import vil_lite.zoo  # noqa: F401  (registers)

smp = pytest.importorskip("segmentation_models_pytorch", reason="pip install 'vil-lite[clients]'")


def learns(net, images, encoder):
    masks = net(images)
    assert masks.shape == (len(images), 3, *images.shape[2:]) and torch.isfinite(masks).all()
    masks.square().mean().backward()
    used = [p for name, p in encoder.named_parameters() if not name.startswith(("head", "token_norm", "pooled_norm"))]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in used)


@pytest.mark.parametrize("name", ["tu-vil_tiny", "tu-vil2_tiny"])
def test_dpt(name):
    net = smp.DPT(name, encoder_weights=None, classes=3, decoder_fusion_channels=32)
    learns(net, torch.randn(2, 3, 64, 96), net.encoder.model)


def test_the_decoder_of_segformer_on_the_blocks_that_the_paper_takes():
    from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
    from segmentation_models_pytorch.encoders.timm_vit import TimmViTEncoder

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = TimmViTEncoder("vil_tiny", False, depth=4, output_indices=[7, 11, 15, 23])
            self.decoder = SegformerDecoder([3, *self.encoder.out_channels], encoder_depth=5, segmentation_channels=32)
            self.head = smp.base.SegmentationHead(32, 3, upsampling=4)  # the decoder has made four of sixteen

        def forward(self, images):
            maps, _ = self.encoder(images)
            return self.head(self.decoder([images, *maps]))

    net = Net()
    assert net.encoder.output_strides == [16] * 4
    learns(net, torch.randn(2, 3, 64, 96), net.encoder.model)


def test_a_pyramid_decoder_says_that_it_cannot():
    with pytest.raises(ValueError, match="downsampling pattern"):
        smp.Unet("tu-vil_tiny", encoder_weights=None)
